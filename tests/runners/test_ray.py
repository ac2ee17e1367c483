"""What the driver makes of a study: which tasks it hands to Ray, behind which others, and which again."""

import sys
from pathlib import Path

import pytest
from test_queue import STUDY, commit, computed

from xlift.registry import sheet, submission
from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.profile import RayClass, place
from xlift.registry.standing import left
from xlift.registry.store import Store
from xlift.runners.engines import ray as engine

CLASSES = [RayClass(name="small", memory_gb=1, gpus=0, cpus=1), RayClass(name="large", memory_gb=80, gpus=0, cpus=4)]


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "stand_ins"))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    import ray

    yield ray
    sys.modules.pop("ray", None)


@pytest.fixture
def order(tmp_path):
    """A study that was sent, what its driver is told, and its store."""
    (tmp_path / "study.yaml").write_text(STUDY)
    study, store = load(tmp_path / "study.yaml"), Store(tmp_path / "store")
    plan = expand(study, Inputs(study))
    sheet.save(plan, store)
    placed = place(plan.steps, study.facts.models, CLASSES, {})
    number, _ = submission.begin(store, study.id)
    sent = {"study": study.id, "number": number, "engine": "ray", "at": "", "host": "", "jobs": ()}
    submission.save(store, submission.Submission(**sent, classes=placed.classes, of=placed.of))
    told = {
        "study": str(study.path),
        "number": number,
        "store": str(store.root),
        "data": None,
        "models": None,
        "minutes": 10.0,
        "device": "cpu",
    }
    return plan, store, {**told, "retries": 3, "classes": [each.model_dump(mode="json") for each in CLASSES]}


def driven(told, stub, monkeypatch, run):
    """What became of each stage, and the options of every task that was sent; `run` stands for the work of a stage."""
    options, driver = [], engine.Driver(told, stub)

    class Remote(stub.remote):
        def options(self, **given):
            options.append(given)
            return super().options(**given)

    monkeypatch.setattr(stub, "remote", Remote)
    monkeypatch.setattr(engine, "run_stage", run)
    return driver.run(), options


def test_a_study_is_run_each_stage_behind_its_ancestors(order, stub, monkeypatch):
    plan, store, told = order

    def run(task, *parents):
        step = task.job.step
        assert all(store.usable(stage.id) for stage in step.stage.lineage[:-1])
        assert {parent[0] for parent in parents} <= {stage.id for stage in step.stage.lineage[:-1]}
        assert computed(step, store)
        return step.stage.id, "done", ""

    ended, options = driven(told, stub, monkeypatch, run)
    assert {state for state, _ in ended.values()} == {"done"} and len(ended) == len(plan.steps) == len(options)
    assert not left(plan.steps, store) and all(given["num_gpus"] == 0 and given["max_retries"] == 3 for given in options)
    assert engine.Driver(told, stub).steps == {}  # a driver that comes after another died has what is left


@pytest.mark.parametrize(("kind", "times"), [("failed", 2), ("memory", 2), ("diverged", 1)])
def test_what_fails_is_sent_again_as_often_as_it_is_tried_and_memory_asks_for_more(order, stub, monkeypatch, kind, times):
    plan, store, told = order
    bad = next(step.stage for step in plan.steps if step.stage.data.task == "lab-span")

    def run(task, *parents):
        step = task.job.step
        lost = next((parent for parent in parents if parent[1] != "done"), None)
        if lost:
            return step.stage.id, "skipped", lost[0]
        with store.lease(step.stage) as lease:
            if step.stage.id == bad.id:
                store.fail(lease, "no", "trace", kind, step.mark)
                return step.stage.id, kind, "no"
            commit(step, store, lease)
        return step.stage.id, "done", ""

    ended, options = driven(told, stub, monkeypatch, run)
    below = {step.stage.id for step in plan.steps if bad.id in [stage.id for stage in step.stage.lineage[:-1]]}
    assert ended[bad.id][0] == kind and {id for id, (state, _) in ended.items() if state == "skipped"} == below
    assert len(store.failed(bad.id).attempts) == times
    assert sum(given["num_cpus"] == 4 for given in options) == (1 if kind == "memory" else 0)


def test_what_no_node_can_ever_give_is_refused_before_anything_is_sent(order, stub):
    _, _, told = order
    told["classes"][0]["gpus"] = 2.0
    with pytest.raises(UserError, match="class 'small' asks for 1 CPU, 2 GPU, and no node of the cluster has that"):
        engine.Driver(told, stub).run()


def test_a_driver_without_its_plan_says_so(order, stub):
    plan, _, told = order
    plan.study.path.write_text(STUDY.replace("count: 3", "count: 2"))
    with pytest.raises(UserError, match="send it again"):
        engine.Driver(told, stub)
