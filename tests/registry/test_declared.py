"""The studies of the mission, on paper: what they would train, where all their files are there."""

from pathlib import Path

import pytest

from xlift.registry.inputs import Inputs
from xlift.registry.known.languages import XTREME
from xlift.registry.known.tasks import TASKS
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand

STUDIES = Path(__file__).parents[2] / "experiments"
NINE = {"anli", "mnli", "qqp", "squad1", "squad2", "hellaswag", "ccg", "cosmosqa", "commonsenseqa"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A file of every split that a study may name, no two of one content; plans look at digests, and at nothing within."""
    folder = tmp_path_factory.mktemp("data")
    names = [f"texts/{language}" for language in XTREME]
    for name, task in TASKS.items():
        names += [f"{name}/{split}.en" for split in ("train", "dev")] + [f"{name}/test.{code}" for code in task.languages]
    for name in names:
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"name": "{name}"}}\n' * 3)
    return folder


def planned(name: str, data: Path):
    study = load(STUDIES / f"{name}.yaml")
    return expand(study, Inputs(study, data))


def test_phang2020_has_ten_intermediate_models_a_seed_and_trains_squad_once_for_two_targets(data):
    plan = planned("phang2020", data)
    assert not plan.gaps()
    roots = [
        step.stage for step in plan.steps if step.stage.kind == "train" and step.stage.parent is None and step.stage.seed == 1
    ]
    below = {step.stage.parent.id for step in plan.steps if step.stage.kind == "train" and step.stage.parent}
    plain = [stage for stage in roots if stage.id in below and "mlm" not in stage.data.task and stage.data.task != "texts"]
    assert sorted(stage.data.task for stage in plain) == sorted([*NINE, "multi"])
    multi = next(stage for stage in plain if stage.data.task == "multi")
    assert {part.task for part in multi.data.of} == NINE and multi.data.mixing.cap == 2**17
    beside = [stage for stage in roots if stage.data.task.endswith("+ mlm")]
    assert len(beside) == 10 and all(len(stage.data.parts[-1].languages) == 40 for stage in beside)
    assert len([stage for stage in roots if stage.data.task == "texts"]) == 1  # and text alone
    for target in ("xquad", "mlqa"):  # whatever comes before, one training on SQuAD serves both
        rests = {step.stage.parent.id for step in plan.steps if step.stage.kind == "evaluate" and step.stage.data.task == target}
        assert rests == {
            step.stage.parent.id for step in plan.steps if step.stage.kind == "evaluate" and step.stage.data.task == "mlqa"
        }


def test_without_ccgbank_what_needs_it_is_declared_and_the_mixture_is_of_eight(data, tmp_path):
    for path in data.iterdir():
        if path.name != "ccg":
            (tmp_path / path.name).symlink_to(path)
    plan = planned("scaling-1b-10b", tmp_path)
    untuned = [reason for reason in plan.gaps() if "not tuned yet" in reason]
    assert untuned == list(plan.gaps())  # the searches come first, and nothing else is in the way
    kinds = {cell.intermediate for cell in plan.cells if not cell.declared}
    assert kinds == {"none", "all-eight", *NINE - {"ccg"}}
    assert {cell.blocked for cell in plan.cells if cell.intermediate == "all-nine"} == {
        "blocked: licence: bring CCGbank (LDC2005T13)"
    }
    (tmp_path / "texts").unlink()
    lacking = {cell.blocked for cell in planned("scaling-1b-10b", tmp_path).cells if cell.variant == "mlm" and not cell.declared}
    assert lacking and all("no text of texts" in str(why) or "not tuned yet" in str(why) for why in lacking)
    whole = planned("scaling-1b-10b", data)
    assert {cell.intermediate for cell in whole.cells} == {"none", "all-nine", *NINE}
    assert {cell.family for cell in whole.cells if cell.variant == "mlm"} == {"xlmr"}


def test_the_baseline_trains_each_target_once_a_seed(data):
    plan = planned("xtreme-baseline", data)
    assert not plan.gaps()
    tasks = sorted(step.stage.data.task for step in plan.steps if step.stage.kind == "train" and step.stage.seed == 2)
    assert tasks == ["mnli", "panx", "pawsx", "squad1", "tydiqa", "udpos"]
