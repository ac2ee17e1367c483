"""Several tasks in one training, and masked language modelling beside a task."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from editable import Editable

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.stage import Mixing
from xlift.registry.store import Store
from xlift.runners.jobs import Env
from xlift.runners.run import run
from xlift.runners.train import batch_shares

STUDY = Editable("""\
schema: xlift/1
id: mixtures
question: Does it mix?
data: {source: lab, world: {test_items: 20, train_items: 64, sentences: 200}}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 60, batch: 16, max_length: 48, dropout: 0, head_dropout: 0}}
recipe: {lr: 1e-3, epochs: 1, batch: 16, max_length: 48, dropout: 0, head_dropout: 0}
mixtures: {multi: {of: [lab-entail, lab-paraphrase], cap: 48, recipe: {epochs: 2}}}
mlm: {share: 0.25, recipe: {mask: 0.3}}
matrix: {intermediate: [none, lab-paraphrase, multi], variant: [plain, mlm], target: [lab-entail], seed: {count: 1, from: 1}}
""")


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    study = load(tmp_path / "study.yaml")
    return expand(study, Inputs(study))


@pytest.mark.parametrize(
    ("mixing", "shares", "epoch"),
    [
        (Mixing(), [0.1, 0.2, 0.7], 1000),
        (Mixing(cap=200), [0.2, 0.4, 0.4], 500),
        (Mixing(sampler="uniform"), [1 / 3] * 3, 1000),
        (Mixing(temperature=2.0), np.sqrt([1, 2, 7]) / np.sqrt([1, 2, 7]).sum(), 1000),
        (Mixing(text=0.5), [0.5 / 3, 1 / 3, 0.5], 600),
    ],
)
def test_batches_are_shared_out_by_min_of_items_and_cap_to_the_power_of_one_over_the_temperature(mixing, shares, epoch):
    found, items = batch_shares(["pair", "span", "mlm"], [100, 200, 700], mixing)
    assert found == pytest.approx(shares) and found.sum() == pytest.approx(1) and items == epoch


def test_a_mixture_is_one_training_on_all_of_its_tasks(plan):
    trained = {
        step.stage.data.task: step.stage
        for step in plan.steps
        if step.stage.kind == "train" and step.stage.parent.kind == "pretrain"
    }
    assert set(trained) == {"lab-entail", "lab-paraphrase", "multi", "lab-corpus", "lab-paraphrase + mlm", "multi + mlm"}
    multi, both = trained["multi"], trained["multi + mlm"]
    assert [part.task for part in multi.data.of] == ["lab-entail", "lab-paraphrase"] and multi.recipe.epochs == 2
    assert [part.task for part in both.data.of] == ["lab-entail", "lab-paraphrase", "lab-corpus"]
    assert (both.data.mixing.cap, both.data.mixing.text, both.recipe.mask) == (48, 0.25, 0.3)
    assert multi.recipe.mask == 0.15  # which its kinds do not read, so it stays at its default


def test_a_cell_whose_mixture_holds_the_target_s_training_set_is_a_same_task_cell(plan):
    assert {(cell.intermediate, cell.variant) for cell in plan.cells if cell.same_task} == {("multi", "plain"), ("multi", "mlm")}


@pytest.mark.parametrize(
    "old, new",
    [
        ("cap: 48", "cap: 49"),
        ("cap: 48", "sampler: uniform"),
        ("[lab-entail, lab-paraphrase], cap", "[lab-paraphrase, lab-entail], cap"),
    ],
)
def test_how_tasks_are_mixed_is_part_of_the_id(plan, tmp_path, old, new):
    (tmp_path / "other.yaml").write_text(STUDY.replace(old, new))
    study = load(tmp_path / "other.yaml")
    ids = [
        {s.stage.data.task: s.stage.id for s in p.steps if s.stage.kind == "train"} for p in (plan, expand(study, Inputs(study)))
    ]
    assert {task for task in ids[0] if ids[0][task] != ids[1][task]} >= {"multi", "multi + mlm"}


def test_a_mixture_with_text_trains_and_its_encoder_serves_the_target(plan, tmp_path):
    env = Env(tmp_path / "store", Inputs(plan.study))
    cell = next(cell for cell in plan.cells if (cell.intermediate, cell.variant) == ("multi", "mlm"))
    wanted = {stage.id for step in plan.steps if step.stage.id == cell.stage for stage in step.stage.lineage}
    for step in plan.steps:
        if step.stage.id in wanted:
            assert run(step, env)
    store = Store(tmp_path / "store")
    assert len(store.scores(cell.stage)) >= 3
    stage = next(step.stage for step in plan.steps if step.stage.data.task == "multi + mlm")
    lines = [json.loads(line) for line in (store.folder(stage.id) / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["of"] == round(2 * (48 + 48) / 0.75 / 16)
    assert not any(name.endswith("head.safetensors") for name in store.record(stage.id).files)


def test_continued_text_goes_on_with_the_head_of_pretraining(plan, tmp_path):
    store = Store(tmp_path / "store")
    steps = [step for step in plan.steps if step.stage.data.task == "lab-corpus"]
    for step in steps:
        assert run(step, Env(store.root, Inputs(plan.study)))
    first, last = ([row["loss"] for row in store.log(step.stage.id)[0]] for step in steps)
    assert last[0] < (first[0] + first[-1]) / 2  # a new head would begin near log(vocabulary), as pretraining did
