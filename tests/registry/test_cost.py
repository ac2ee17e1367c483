"""What a plan will take: counted by hand for a study of files, and for one whose files are not here."""

import json
from pathlib import Path

import pytest

from xlift.registry import cost
from xlift.registry.inputs import Inputs
from xlift.registry.known.parameters import count
from xlift.registry.manifest.load import load
from xlift.registry.manifest.models import configuration
from xlift.registry.plan import expand
from xlift.registry.stage import Shape
from xlift.registry.standing import standing
from xlift.registry.store import Store

STUDY = """\
schema: xlift/1
id: costly
question: What will it take?
data: {source: local, limit: {train: 30}}
languages: [en, de]
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2}}, {id: two, make: {layers: 2, hidden: 32, heads: 2}}]
pretrain: {corpus: words, languages: [en], recipe: {steps: 10, batch: 8, max_length: 64}}
recipe: {epochs: 2, batch: 4, max_length: 20}
scoring: {max_length: 40}
tasks: {words: {kind: mlm, files: "words.{language}.jsonl"}}
matrix: {intermediate: [none, mnli], target: [pawsx], seed: {count: 1, from: 1}}
"""


def planned(folder: Path, data: Path | None = None):
    study = load(folder / "study.yaml")
    inputs = Inputs(study, data)
    plan = expand(study, inputs)
    return plan, inputs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def write(folder: Path, name: str, rows: int, size: int) -> None:
    """A file of so many lines, each of so many bytes."""
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"sentence1": "", "sentence2": "", "label": "0"})
    path.write_text("".join(line + " " * (size - 1 - len(line)) + "\n" for _ in range(rows)))


def test_tokens_and_hours_are_those_of_the_files(folder):
    write(folder, "words.en.jsonl", 100, 120)  # 30 tokens a line
    write(folder, "mnli/train.en.jsonl", 50, 80)  # 20, of which a limit leaves 30 lines
    write(folder, "pawsx/train.en.jsonl", 10, 400)  # 100, cut at 20
    write(folder, "pawsx/test.en.jsonl", 8, 400)  # cut at 40
    write(folder, "pawsx/test.de.jsonl", 6, 80)
    plan, inputs = planned(folder, folder / "data")
    one, two = cost.costs(plan, standing(plan, Store(folder / "store")), inputs, flops=1e6)
    # pretraining, MNLI, PAWS-X twice (after nothing and after MNLI), and their two evaluations
    assert (one.stages, one.examples) == (6, 80 + 60 + 2 * 20 + 2 * 14)
    trained, tested = 80 * 30 + 60 * 20 + 2 * 20 * 20, 2 * (8 * 40 + 6 * 20)
    assert one.tokens == two.tokens == trained + tested
    sizes = count(configuration(Shape(layers=1, hidden=16, heads=2)))
    assert one.gpu_hours == pytest.approx((6 * trained + 2 * tested) * sizes.non_embedding / 1e6 / 3600)
    assert one.memory_gb == pytest.approx(16 * sizes.total / 1e9) and one.disk_gb == pytest.approx(4 * 4 * sizes.total / 1e9)
    assert one.released_gb == pytest.approx(2 * 4 * sizes.total / 1e9) and one.tuning_gpu_hours == 0
    every = cost.total([one, two])
    assert every.stages == 12 and every.gpu_hours == one.gpu_hours + two.gpu_hours and every.memory_gb == two.memory_gb


def test_what_is_not_here_is_told_by_known_sizes(folder):
    plan, inputs = planned(folder)
    one, _ = cost.costs(plan, standing(plan, Store(folder / "store")), inputs)
    assert one.stages == 6 and one.examples == 80 + 2 * 30 + 2 * 2 * 30 + 2 * 2 * 2000  # a limit; 2,000 tests a language
    assert one.tokens == 80 * 32 + 6 * 30 * 10 + 8000 * 20


def test_searches_that_have_found_nothing_are_counted_with_all_their_trials(folder):
    (folder / "study.yaml").write_text(STUDY + "tuning: {space: {lr: [1.0e-3, 1.0e-4]}, trials: 7, beside: false}\n")
    plan, inputs = planned(folder)
    stands = standing(plan, Store(folder / "store"))
    one, _ = cost.costs(plan, stands, inputs, flops=1e6)
    trial = 6 * 60 * 10 + 2 * 30 * 20  # a training on MNLI, of which a tenth is development data, and its evaluation
    parameters = count(configuration(Shape(layers=1, hidden=16, heads=2))).non_embedding
    assert one.tuning_gpu_hours == pytest.approx(7 * trial * parameters / 1e6 / 3600)
