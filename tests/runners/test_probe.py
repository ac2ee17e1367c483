"""What some steps of training reach here, and the hours that a plan tells by it."""

import pytest

from xlift.registry import cost
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.standing import standing
from xlift.registry.store import Store
from xlift.runners import probe
from xlift.runners.jobs import Env

STUDY = """\
schema: xlift/1
id: probed
question: How long will it take?
data: {source: local}
models:
  - {id: made, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 120, positions: 64}}
  - {id: own, family: ours, folder: model}
  - {id: far, hub: google/mt5-small, revision: "REVISION"}
pretrain: {corpus: words, languages: [en]}
recipe: {batch: 4, max_length: 32, lora: {rank: 2}}
tasks: {words: {kind: mlm}}
matrix: {intermediate: [none], target: [pawsx], seed: {count: 1, from: 1}}
"""


def test_hours_are_those_of_what_was_reached_where_the_weights_are_here(tmp_path, encoder, tokenizer):
    encoder.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "study.yaml").write_text(STUDY.replace("REVISION", "a" * 40))
    study = load(tmp_path / "study.yaml")
    inputs = Inputs(study)
    plan = expand(study, inputs)
    found, reasons = probe.speeds(plan, Env(tmp_path / "store", inputs, models=tmp_path / "models"))
    assert reasons == {"far": "its weights are not here"} and {*found} == {"made", "own"}
    assert all(1e3 < each < 1e13 for each in found.values())
    stands = standing(plan, Store(tmp_path / "store"))
    guessed, told = (cost.costs(plan, stands, inputs, 1e9, reached) for reached in ({}, found))
    for one, other in zip(guessed, told, strict=True):
        assert other.flops == found.get(other.model, 1e9)
        assert other.gpu_hours == pytest.approx(one.gpu_hours * 1e9 / other.flops) and one.gpu_hours > 0
