"""A kind and a source that nobody knows yet: a row and a module, a section and a module, and nothing else in the house."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = '    Kind("sentence", ("text", "label"), (_ACCURACY,), labels="needed"),\n'
MODULE = '''\
"""One text and one label: sentiment, topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from xlift.runners.kinds import columns, labels
from xlift.runners.kinds.base import Feature, Kind
from xlift.runners.kinds.example import Example
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np


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
SECTION = '''\
"""A toy: sentences that are counted out."""

from typing import Literal

from pydantic import Field

from xlift.registry.known.tasks import Task
from xlift.registry.sources.base import Section, absent
from xlift.registry.spec import digest


class Toy(Section):
    source: Literal["toy"]
    items: int = Field(12, gt=0)

    @property
    def tasks(self):
        facts = {"languages": ("en", "de"), "fields": {"text": "text", "label": "label"}}
        return {
            "mood": Task("mood", "sentence", "accuracy", "counted", "mood", labels=("bad", "good"), **facts),
            "topic": Task("topic", "sentence", "accuracy", "counted", "topic", labels=("home", "world"), **facts),
            "words": Task("words", "mlm", "", "counted", "words", fields={"text": "text"}),
        }

    @property
    def languages(self):
        return ("en", "de")

    @property
    def texts(self):
        return ("en", "de")

    @property
    def pivot(self):
        return "en"

    def opened(self, data, patterns):
        return self

    def digest(self, task, split, language):
        return digest([task, split, language, self.items]) if split in ("train", "test") else None

    def at_most(self, limit, task, language):
        return self.items <= limit

    def sized(self, task, split, language):
        return self.items, 6.0

    def why_absent(self, task, split):
        return absent(task, split)
'''
READER = '''\
"""Sentences that are counted out."""

from xlift.runners.data import rows


def read(source, data, split, language):
    made = [
        {"text": f"{data.task} {split} {language} word{n} and others", "label": data.labels[n % 2] if data.labels else ""}
        for n in range(source.items)
    ]
    return source.digest(data.task, split, language), [rows.example(row, data, f"item {n}") for n, row in enumerate(made, 1)]
'''
STUDY = """\
schema: xlift/1
id: toy
question: Does a kind, or a source, need anything else?
data: {source: toy, items: 14}
models:
  - {id: small, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 80, positions: 32}}
  - {id: large, make: {layers: 1, hidden: 32, heads: 2, vocabulary: 80, positions: 32}}
pretrain: {corpus: words, recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 24}}
recipe: {lr: 1e-3, steps: 3, batch: 8, max_length: 24}
matrix: {intermediate: [none, topic], target: [mood], seed: {count: 1, from: 1}}
"""


def added(file: Path, after: str, line: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert after in text
    file.write_text(text.replace(after, after + line), encoding="utf-8")


def test_a_toy_kind_and_a_toy_source_go_from_check_to_report(tmp_path):
    for room in ("xlift", "registry", "runners", "analysis"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    added(tmp_path / "registry" / "kinds.py", "_ROWS = (\n", ROW)
    (tmp_path / "runners" / "kinds" / "sentence.py").write_text(MODULE)
    sources = tmp_path / "registry" / "sources"
    added(sources / "__init__.py", "import Local\n", "from xlift.registry.sources.toy import Toy\n")
    added(sources / "__init__.py", "Annotated[Lab | Local", " | Toy")
    (sources / "toy.py").write_text(SECTION)
    (tmp_path / "runners" / "data" / "toy.py").write_text(READER)
    (tmp_path / "study.yaml").write_text(STUDY)

    def xlift(verb: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "xlift", *verb.split(), "study.yaml"],
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
