"""A kind that nobody knows yet: one row, one module, and nothing else in the house, from `check` to `report`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = '    Kind("sentence", ("text", "label"), ("accuracy",), labels="needed"),\n'
MODULE = '''\
"""One text and one label: sentiment, topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from xlift.runners.kinds import columns, labels
from xlift.runners.kinds.base import Feature, Kind
from xlift.runners.kinds.example import Example
from xlift.runners.later import functional, heads, metrics, np, tokens


@dataclass(frozen=True, slots=True)
class Labelled(Example):
    text: str
    label: str

    @classmethod
    def read(cls, row, data, place):
        return cls(
            columns.string(columns.column(row, data, "text"), "text"), columns.label(columns.column(row, data, "label"), data)
        )

    @property
    def group(self):
        return (self.text,)

    @property
    def stratum(self):
        return self.label


@final
class SentenceKind(Kind):
    example = Labelled

    def encode(self, examples, reading, data, language):
        known = labels.indices(data)
        encoded = tokens.sequences(reading.tokenizer, [e.text for e in examples], max_length=reading.max_length)
        gold = [np.array(known[e.label]) for e in examples]
        return [Feature((ids,), label, example=at, units=1) for at, (ids, label) in enumerate(zip(encoded, gold, strict=True))]

    def head(self, encoder, data, dropout):
        return heads.Sentence(encoder, len(data.labels), dropout)

    def loss(self, outputs, batch):
        return functional.cross_entropy(outputs.float(), batch.stacked_labels(), reduction="sum")

    def decode(self, outputs, features, examples, data, scoring):
        return [data.labels[int(logits.argmax())] for logits in outputs]

    def measure(self, predictions, examples, data, language):
        measures = [metrics.class_accuracy([e.label for e in examples], predictions, len(data.labels))]
        return metrics.primary_first(measures, data.metric)


KIND = SentenceKind()
'''
STUDY = """\
schema: xlift/1
id: toy
question: Does a kind need anything else?
data: {source: local}
models:
  - {id: small, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 80, positions: 32}}
  - {id: large, make: {layers: 1, hidden: 32, heads: 2, vocabulary: 80, positions: 32}}
pretrain: {corpus: words, languages: [en, de], recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 24}}
recipe: {lr: 1e-3, steps: 3, batch: 8, max_length: 24}
tasks:
  mood: {kind: sentence, labels: [bad, good], languages: [en, de]}
  topic: {kind: sentence, labels: [home, world], languages: [en, de]}
  words: {kind: mlm, files: "words.{language}.jsonl"}
matrix: {intermediate: [none, topic], target: [mood], seed: {count: 1, from: 1}}
"""


def test_a_toy_kind_goes_from_check_to_report(tmp_path):
    for room in ("xlift", "registry", "runners", "analysis"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    kinds = tmp_path / "registry" / "kinds.py"
    kinds.write_text(kinds.read_text().replace("_ROWS = (\n", f"_ROWS = (\n{ROW}"))
    (tmp_path / "runners" / "kinds" / "sentence.py").write_text(MODULE)
    data = tmp_path / "data"
    for task, labels in (("mood", ("bad", "good")), ("topic", ("home", "world"))):
        (data / task).mkdir(parents=True)
        for split, language in (("train", "en"), ("test", "en"), ("test", "de")):
            rows = [{"text": f"{task} {split} {language} word{n}", "label": labels[n % 2]} for n in range(12)]
            (data / task / f"{split}.{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for language in ("en", "de"):
        lines = [json.dumps({"text": f"mood topic {language} word{n} and others"}) for n in range(20)]
        (data / f"words.{language}.jsonl").write_text("\n".join(lines))
    (tmp_path / "study.yaml").write_text(STUDY)

    def xlift(verb: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "xlift", *verb.split(), "study.yaml", "--data", "data"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "XLIFT_MLFLOW": "no", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    assert "study.yaml: ok" in xlift("check")
    assert "0 blocked" in xlift("plan")
    xlift("run --device cpu --no-mlflow")
    gains = xlift("gains --format csv").splitlines()
    assert len(gains) == 3 and all(",accuracy," in line for line in gains[1:])  # two models, in German
    page = Path(xlift("report --no-mlflow").rpartition("report: ")[2].strip())
    assert "mood" in (tmp_path / page).read_text(encoding="utf-8")
