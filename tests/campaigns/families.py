"""Every family of models at four random toy sizes, three intermediate tasks and four targets in their real layouts, to a report.

    XLIFT_DATA=DIR python tests/campaigns/families.py FOLDER [FAMILY ...]

Writes models, a study and a store into FOLDER, runs one family after the other (the same command again goes on), and reports once
all of them are there. A line a family (a run of it) goes to FOLDER/families.csv: stages, scores and those that are missing, seconds. Exit status 1
where a run failed or a score is missing. Some half an hour on two cores; nothing is learnt, everything runs.
"""

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "runners")]
import real_data
from test_families import FAMILIES, written

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store

SIZES = 4
TEXT = "mt5-text"  # mT5 with its decoder, whose tokenizer knows the labels
LABELS = "O B-PER I-PER B-ORG I-ORG B-LOC I-LOC 0 1 entailment neutral contradiction"
STUDY = """\
schema: xlift/1
id: families
question: Does every family run to its report?
data: {{source: local, files: "{{task}}/{{split}}.{{language}}.jsonl", limit: {{train: 48, test: 24}}}}
languages: [en, de, es, ja]
models:
{models}
recipe: {{lr: 1e-3, batch: 8, steps: 6, max_length: 64, stride: 16}}
scoring: {{max_length: 64, stride: 16}}
tasks:
  pawsx: {{languages: [en, de, es, ja]}}
  panx: {{languages: [en, de, es]}}
  tatoeba: {{languages: [de, es, ja]}}
  qa: {{kind: span, metric: f1, languages: [en, de, es], source: TyDiQA-GoldP and XQuAD}}
matrix:
  intermediate: [none, sick, qa, panx]
  target: [pawsx, panx, qa, tatoeba]
  seed: {{count: 1, from: 1}}
"""
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers")
WIDTH, INNER = ("hidden_size", "d_model"), ("intermediate_size", "d_ff", "ffn_dim")


def sizes(family: str) -> list[dict[str, int]]:
    """Four toy sizes of a family, drawn from its name."""
    rng, names, made = np.random.default_rng([ord(letter) for letter in family]), FAMILIES[family][1], []
    for width in sorted(rng.choice(np.arange(16, 72, 8), SIZES, replace=False).tolist()):
        drawn = dict.fromkeys(LAYERS, int(rng.integers(1, 5))) | dict.fromkeys(WIDTH, width) | dict.fromkeys(INNER, 2 * width)
        made.append({name: drawn[name] for name in names if name in drawn})
    return made


def main(folder: Path, chosen: list[str]) -> int:
    data = real_data.data()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for family in (*FAMILIES, TEXT):
        kind, form = ("mt5", ", form: text-to-text") if family == TEXT else (family, "")
        for at, size in enumerate(sizes(kind), 1):
            here = folder / "models" / f"{family}-{at}"
            if not (here / "tokenizer_config.json").exists():
                written(kind, here, texts=LABELS if form else "", **size)
            rows.append(f"  - {{id: {family}-{at}, family: {family}, folder: models/{family}-{at}{form}}}")
    (folder / "study.yaml").write_text(STUDY.format(models="\n".join(rows)))
    xlift = [sys.executable, "-m", "xlift"]
    options = ["--data", str(data), "--store", str(folder / "store")]
    failed = False
    for family in chosen or [*FAMILIES, TEXT]:
        began = time.monotonic()
        only = ["--no-mlflow", "--only", f"family == '{family}'"]
        done = subprocess.run([*xlift, "run", str(folder / "study.yaml"), *options, *only], capture_output=True, text=True)
        study = load(folder / "study.yaml")
        plan, store = expand(study, Inputs(study, data)), Store(folder / "store")
        ours = [step for step in plan.steps if study.facts.models[step.model].family == family]
        missing = sum(len(store.missing(step.stage.id, step.tests)) for step in ours if step.stage.kind == "evaluate")
        scores = sum(len(step.tests) for step in ours if step.stage.kind == "evaluate")
        row = [family, SIZES, len(ours), scores, missing, round(time.monotonic() - began, 1)]
        with open(folder / "families.csv", "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
        print(*row, sep="  ", flush=True)
        if missing:
            print(done.stderr[-3000:], file=sys.stderr)
        failed |= missing > 0
    if not chosen and not failed:
        report = [*xlift, "report", str(folder / "study.yaml"), *options, "--no-mlflow"]
        done = subprocess.run(report, cwd=folder, capture_output=True, text=True)
        print(done.stdout[-2000:], done.stderr[-2000:])
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
