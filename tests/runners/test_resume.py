"""A training that ends at any step, however it ends, goes on, and ends with the weights of one that was never disturbed."""

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from xlift.registry import leases
from xlift.registry.inputs import Inputs
from xlift.registry.kept import NotRead
from xlift.registry.manifest.load import load
from xlift.registry.plan import Plan, Step, expand
from xlift.registry.store import Store
from xlift.runners import resume
from xlift.runners.jobs import Env, Job, Watched
from xlift.runners.pool import Crew
from xlift.runners.resume import Keeper
from xlift.runners.run import run
from xlift.runners.train import Diverged

STUDY = """\
schema: xlift/1
id: under-way
question: Does it go on?
data: {source: lab, world: {test_items: 10, train_items: 40, sentences: 100}}
models: [{id: one, make: {layers: 2, hidden: 16, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 8, batch: 8, max_length: 48, dropout: 0.1, head_dropout: 0.1}}
recipe: {lr: 1e-3, steps: 8, batch: 8, max_length: 64, dropout: 0.1, head_dropout: 0.1, warmup: 0.3}
mixtures: {multi: {of: [lab-paraphrase, lab-span]}}
mlm: {share: 0.25}
matrix: {intermediate: [none, lab-span, lab-continue, multi], variant: [plain, mlm], target: [lab-pos], seed: {count: 1, from: 1}}
"""
SORTS = {
    "whole": STUDY,
    "thin": STUDY.replace("warmup: 0.3}", "warmup: 0.3, lora: {rank: 2, dropout: 0.1}}"),
    "thin, in halves": STUDY.replace("warmup: 0.3}", "warmup: 0.3, precision: bf16, lora: {rank: 2}}"),
}


class Killed(BaseException):
    """What no handler of failures catches."""


def planned(folder: Path, text: str = STUDY) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(text)
    study = load(folder / "study.yaml")
    return expand(study, Inputs(study))


def trainings(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.stage.kind != "evaluate"]


def weights(store: Store, step: Step) -> dict[str, bytes]:
    folder = store.checkpoint(step.stage.id)
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def losses(store: Store, step: Step) -> list[tuple]:
    keep = ("step", "of", "loss", "gradient_norm", "lr")
    return [tuple(line.get(name) for name in keep) for line in store.log(step.stage.id)[0]]


@pytest.fixture
def ends(monkeypatch):
    """Trainings are kept at some steps, and end at others, once each."""
    after, plan = Keeper.after, {"keep": set(), "end": set()}

    def ending(self, step, state):
        self.every = 0.0 if step in plan["keep"] else 1e9
        after(self, step, state)
        if step in plan["keep"]:
            self._writing.join()
        if step in plan["end"]:
            plan["end"].remove(step)
            raise Killed

    monkeypatch.setattr(Keeper, "after", ending)
    return plan


@pytest.fixture
def begun(monkeypatch):
    """The steps that trainings go on after, one a training that is begun."""
    enter, found = Keeper.__enter__, list[int]()

    def entered(self):
        found.append(self.step)
        return enter(self)

    monkeypatch.setattr(Keeper, "__enter__", entered)
    return found


@pytest.mark.parametrize("sort", SORTS)
def test_a_training_that_ends_at_any_step_goes_on_bit_for_bit(tmp_path, ends, begun, sort):
    plan, rng = planned(tmp_path, SORTS[sort]), np.random.default_rng(0)
    whole, cut = (Env(tmp_path / name, Inputs(plan.study)) for name in ("whole", "cut"))
    kinds = set()
    for step in trainings(plan):
        assert run(step, whole)
        kept, first = sorted(rng.choice(np.arange(1, 6), 2, replace=False).tolist())
        ends |= {"keep": {kept, 6}, "end": {first, 7}}
        begun.clear()
        for _ in range(2):  # the second time one that has gone on already
            with pytest.raises(Killed):
                run(step, cut)
        assert list(Store(cut.store).folder(step.stage.id).glob("resume.*")) and not Store(cut.store).usable(step.stage.id)
        assert run(step, cut)
        assert begun == [0, kept if kept <= first else 0, 6]
        a, b = Store(whole.store), Store(cut.store)
        assert weights(a, step) == weights(b, step), step.stage.data.task
        assert losses(a, step) == losses(b, step)
        assert not [*b.folder(step.stage.id).glob("resume.*"), *b.folder(step.stage.id).glob(".resume.*")]
        kinds.add(step.stage.data.kind)
        ends |= {"keep": set(), "end": set()}
    assert {"mlm", "tag", "span", "choice", "mixture"} <= kinds


def test_what_is_kept_is_read_as_plain_values_and_is_no_result(tmp_path, ends):
    plan = planned(tmp_path)
    env, (step, *_) = Env(tmp_path / "store", Inputs(plan.study)), trainings(plan)
    ends |= {"keep": {3}, "end": {5}}
    with pytest.raises(Killed):
        run(step, env)
    store = Store(env.store)
    (path,) = store.folder(step.stage.id).glob("resume.*")
    found = torch.load(path, weights_only=True)
    assert found["step"] == 3 and found["form"] == resume.FORM and found["seconds"] > 0
    assert store.state(step.stage.id) != "finished" and store.record(step.stage.id) is None


@pytest.mark.parametrize("harm", ["", "torn", "empty", "another torch", "another form", "a pickle that runs code"])
def test_what_cannot_be_gone_on_with_is_begun_anew(tmp_path, ends, begun, harm):
    plan = planned(tmp_path)
    (step, *_) = trainings(plan)
    whole, cut = (Env(tmp_path / name, Inputs(plan.study)) for name in ("whole", "cut"))
    assert run(step, whole)
    ends |= {"keep": {3}, "end": {5}}
    with pytest.raises(Killed):
        run(step, cut)
    (path,) = Store(cut.store).folder(step.stage.id).glob("resume.*")
    if harm in ("torn", "empty"):
        path.write_bytes(path.read_bytes()[: 1000 if harm == "torn" else 0])
    elif harm == "a pickle that runs code":
        torch.save({**torch.load(path, weights_only=True), "step": Path(tmp_path / "owned")}, path)
    elif harm:
        torch.save(torch.load(path, weights_only=True) | ({"torch": "1.0"} if harm == "another torch" else {"form": 99}), path)
    ends |= {"keep": set(), "end": set()}
    with pytest.warns(NotRead, match="the training begins anew") if harm else nullcontext():
        assert run(step, cut)
    assert begun[1:] == [0, 0 if harm else 3]
    assert weights(Store(whole.store), step) == weights(Store(cut.store), step)


def test_of_a_training_that_diverges_or_is_pruned_nothing_stays(tmp_path, ends):
    plan = planned(tmp_path, STUDY.replace("lr: 4e-3, steps: 8", "lr: 1e30, steps: 8"))
    env, (step, *_) = Env(tmp_path / "store", Inputs(plan.study)), trainings(plan)
    ends |= {"keep": {1, 2, 3}, "end": set()}
    with pytest.raises(Diverged):
        run(step, env)
    assert not list(Store(env.store).folder(step.stage.id).glob("*resume*"))


def test_a_late_owner_keeps_nothing(tmp_path):
    folder = tmp_path / "run"
    with leases.lease(folder) as first:
        keeper = Keeper(first, "cpu", 0.0)
        (folder / "claim.2").write_text("{}")
        with pytest.raises(leases.Lost):
            keeper.after(1, dict)
    assert not list(folder.glob("*resume*"))


LONG = STUDY.replace("steps: 8, batch: 8, max_length: 48", "steps: 400, batch: 8, max_length: 48")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_worker_that_is_signalled_goes_on_where_it_was(tmp_path, number):
    """Asked to leave, it keeps its step; killed, it goes on from what was kept last. Its weights are those of an undisturbed one."""
    plan = planned(tmp_path, LONG)
    (step, *_) = trainings(plan)
    whole, cut = (
        Env(tmp_path / name, Inputs(plan.study), minutes=minutes)
        for name, minutes in (("whole", 10.0), ("cut", 0.0 if number == signal.SIGKILL else 10.0))
    )
    torch.set_num_threads(1)
    assert run(step, whole)
    folder = Store(cut.store).folder(step.stage.id)
    with Crew(cut, 1) as crew:
        crew.give(Job(step))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            _at(folder) > 20 and (number != signal.SIGKILL or list(folder.glob("resume.*")))
        ):
            crew.collect()
        os.kill(crew.workers[0].process.pid, number)
        endings = []
        while not endings:
            endings = crew.collect()
        assert endings[0].state == ("died" if number == signal.SIGKILL else "left") and list(folder.glob("resume.*"))
        failure = Store(cut.store).failed(step.stage.id)  # to be asked to leave is no failure
        assert [a.kind for a in failure.attempts] == ["died"] if number == signal.SIGKILL else failure is None
        (path,), ended = folder.glob("resume.*"), 1000 * time.time()
        kept = torch.load(path, weights_only=True)["step"]
        crew.give(Job(step))
        endings = []
        while not endings:
            endings = crew.collect()
        assert endings[0].state == "done"
    old = [line["step"] for line in Store(cut.store).log(step.stage.id)[0] if line["time"] < ended]
    assert 20 < kept == max(old) or kept - max(old) < 4  # what was done before is not done again; a line may be of several steps
    steps = [line[0] for line in losses(Store(cut.store), step)]
    assert steps == sorted(set(steps)) and steps[-1] == 400
    assert weights(Store(whole.store), step) == weights(Store(cut.store), step)


def _at(folder: Path) -> int:
    try:
        return len((folder / "log.jsonl").read_text().splitlines())
    except OSError:
        return 0


def test_a_watched_training_goes_on_bit_for_bit_and_is_looked_at_alike(tmp_path, ends, begun):
    plan = planned(
        tmp_path, STUDY.replace("matrix:", "tuning: {trials: 2, pruner: asha, reports: 4, space: {lr: [1.0e-3]}}\nmatrix:")
    )
    training, judges = plan.builder.trials(next(iter(plan.builder.searches)))[0]
    stores = []
    for name, cut in (("whole", False), ("cut", True)):
        env, looks = Env(tmp_path / name, Inputs(plan.study)), []
        for stage in training.stage.lineage[:-1]:
            assert run(Step(stage, training.model, {}), env)
        watched = Watched(judges, 4, lambda look, score, looks=looks: looks.append((look, score)) or True)
        if cut:
            ends |= {"keep": {2, 5}, "end": {3, 6}}
            for _ in range(2):
                with pytest.raises(Killed):
                    run(training, env, watched)
        assert run(training, env, watched)
        stores.append((Store(env.store), looks))
    (a, seen), (b, again) = stores
    assert weights(a, training) == weights(b, training) and losses(a, training) == losses(b, training)
    assert begun[-3:] == [0, 2, 5] and len(seen) == 3 and set(again) == set(seen) and len(again) > len(seen)
