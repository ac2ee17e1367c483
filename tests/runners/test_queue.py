"""Many workers on one store: each stage is computed once, failures are bounded over all of them, and waiting costs little."""

import contextlib
import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from xlift.registry import sheet
from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.standing import left, standing
from xlift.registry.store import Store, part_name
from xlift.runners import queue
from xlift.runners.jobs import Ending, Job
from xlift.runners.queue import Queue

STUDY = """\
schema: xlift/1
id: many
question: Who does what?
data: {source: lab, world: {test_items: 10, train_items: 40, sentences: 100}}
models:
  - {id: one, make: {layers: 1, hidden: 16, heads: 2}}
  - {id: two, make: {layers: 1, hidden: 32, heads: 2}}
pretrain: {recipe: {steps: 1}}
matrix: {intermediate: [none, lab-span, lab-continue], target: [lab-pos, lab-names], seed: {count: 3, from: 1}}
"""


def alike(step) -> float:
    return 1.0


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "study.yaml"
    path.write_text(STUDY)
    study = load(path)
    return expand(study, Inputs(study))


def computed(step, store: Store) -> bool:
    """What a worker does, without the work: False where another has the stage."""
    lease = store.lease(step.stage)
    if lease is None:
        return False
    with lease:
        commit(step, store, lease)
    return True


def commit(step, store: Store, lease) -> None:
    if step.stage.kind == "evaluate":
        names = [lease.named(part_name(language, data)) for language, data in step.tests.items()]
    else:
        names = [f"{lease.named('checkpoint')}/x"]
    for name in names:
        (lease.folder / name).parent.mkdir(exist_ok=True)
        (lease.folder / name).touch()
    store.commit(lease, names, started=datetime.now(UTC), host="", versions={})


def held_elsewhere(step, store: Store) -> None:
    """A living process of another host has the stage."""
    lease = store.lease(step.stage)
    owner = json.loads((lease.folder / f"claim.{lease.number}").read_bytes())
    (lease.folder / f"claim.{lease.number}").write_text(json.dumps({**owner, "host": "elsewhere"}))


EVENTS = {
    "open",
    "os.scandir",
    "os.listdir",
    "os.mkdir",
    "os.link",
    "os.remove",
    "os.rename",
    "os.utime",
    "os.rmdir",
    "os.truncate",
}
_counting: list[tuple[str, Counter]] = []


def _hook(event: str, arguments: tuple) -> None:
    for root, counter in _counting if event in EVENTS else ():
        if any(isinstance(each, str | os.PathLike) and os.fspath(each).startswith(root) for each in arguments[:2]):
            counter[event] += 1


sys.addaudithook(_hook)


@contextlib.contextmanager
def operations(root: Path, monkeypatch):
    """Counts file operations below a folder, looks at a file's state among them."""
    counter: Counter = Counter()
    stat = os.stat

    def looked(path, *arguments, **options):
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(str(root)):
            counter["stat"] += 1
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", looked)
    _counting.append((str(root), counter))
    yield counter
    _counting.pop()
    monkeypatch.setattr(os, "stat", stat)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [1000.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("seed", range(6))
def test_of_many_workers_each_stage_is_computed_by_one_and_no_finished_one_is_claimed(plan, tmp_path, clock, seed):
    store, rng = Store(tmp_path), np.random.default_rng(seed)
    queues = [Queue(left(plan.steps, store), store, alike) for _ in range(rng.integers(2, 6))]
    done: Counter = Counter()
    taken: list[tuple[Queue, object]] = []
    while any(queues):
        clock[0] += 1
        for each in rng.permutation(len(queues)):
            if len(taken) < len(queues) and (step := queues[each].take()):
                assert all(store.usable(stage.id) for stage in step.stage.lineage[:-1])
                lease = store.lease(step.stage)  # another may have been faster since it was looked at, in a real run
                taken.append((queues[each], step, lease))
                if lease:
                    lease.__enter__()
        if taken and rng.random() < 0.7:
            own, step, lease = taken.pop(rng.integers(len(taken)))
            if lease:
                commit(step, store, lease)
                lease.__exit__()
                done[step.stage.id] += 1
            own.ended(Ending(Job(step), "done" if lease else "held"))
    assert set(done) == {step.stage.id for step in plan.steps} and set(done.values()) == {1}
    assert not standing(plan, store).todo() and not left(plan.steps, store)
    for each in queues:
        assert sorted(each.outcome.done + each.outcome.elsewhere) == sorted(done) and not each.outcome.failed
    assert all(len(list(store.folder(id).glob("claim.*"))) == 1 and (store.folder(id) / "claim.1").exists() for id in done)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize(("kind", "times"), [("failed", 2), ("memory", 2), ("died", 2), ("device", 2), ("diverged", 1)])
def test_a_stage_that_always_fails_is_tried_twice_in_all_and_takes_its_descendants_with_it(
    plan, tmp_path, clock, workers, kind, times
):
    store = Store(tmp_path)
    bad = next(step.stage for step in plan.steps if step.stage.data.task == "lab-span")
    tries = 0
    outcomes = []
    for _ in range(2):  # those that are there from the start, and those that come later
        queues = [Queue(left(plan.steps, store), store, alike) for _ in range(workers)]
        while any(queues):
            clock[0] += 31
            for own in queues:
                if (step := own.take()) is None:
                    continue
                if step.stage.id == bad.id:
                    tries += 1
                    with store.lease(step.stage) as lease:
                        store.fail(lease, "no", "trace", kind, step.mark)
                    own.ended(Ending(Job(step), kind, "no"))
                else:
                    assert computed(step, store)
                    own.ended(Ending(Job(step), "done"))
        outcomes += [own.outcome for own in queues]
    below = {step.stage.id for step in plan.steps if bad.id in [stage.id for stage in step.stage.lineage[:-1]]}
    assert tries == times and below
    for outcome in outcomes:
        assert set(outcome.failed) == {bad.id} and set(outcome.skipped) == below
    attempts = store.failed(bad.id).attempts
    assert [(attempt.kind, bool(attempt.host)) for attempt in attempts] == [(kind, True)] * times
    assert store.forgive(bad)
    again = Queue(left(plan.steps, store), store, alike)
    assert again.take().stage.id == bad.id and len(store.failed(bad.id).attempts) == times  # none is forgotten


def test_what_is_full_or_read_only_ends_too(plan, tmp_path, clock):
    """Where an attempt cannot be noted, a process tries no more often than it would."""
    own = Queue(plan.steps[:1], Store(tmp_path), alike)
    for _ in range(2):
        own.ended(Ending(Job(own.take()), "failed", "disk full"))
    assert not own and own.outcome.failed == {plan.steps[0].stage.id: "disk full"}


def test_attempts_on_other_test_data_are_others(plan, tmp_path):
    from dataclasses import replace

    store = Store(tmp_path)
    step = next(step for step in plan.steps if step.stage.kind == "evaluate")
    for _ in range(2):
        with store.lease(step.stage) as lease:
            store.fail(lease, "a bad line", "trace", "failed", step.mark)
    assert store.failed(step.stage.id).final(step.mark)
    mended = replace(step, tests=dict.fromkeys(step.tests, "ab" * 32))
    assert not store.failed(step.stage.id).final(mended.mark)


def test_a_failure_of_an_older_version_is_tried_again(plan, tmp_path, clock):
    store, step = Store(tmp_path), plan.steps[0]
    store.lease(step.stage).__enter__().__exit__()
    (store.folder(step.stage.id) / "failure.json").write_text('{"form": 1, "reason": "r", "detail": "d", "at": "2026-01-01"}')
    own = Queue([step], store, alike)
    assert own.take() is step


def test_a_training_that_was_released_is_not_made_again_for_evaluations_that_others_finished(plan, tmp_path, clock):
    store = Store(tmp_path)
    late = Queue(left(plan.steps, store), store, alike)
    for step in plan.steps:
        assert computed(step, store)
    trained = [step.stage for step in plan.steps if step.stage.kind == "train"]
    for stage in trained:
        store.release(stage)
    assert late.take() is None and not late and not late.outcome.done
    judged = next(step for step in plan.steps if step.stage.kind == "evaluate" and step.stage.parent in trained)
    (store.folder(judged.stage.id) / "record.json").unlink()
    again = Queue(left(plan.steps, store), store, alike)
    made = []
    while again:
        step = again.take()
        made.append(step.stage.id)
        assert computed(step, store)
        again.ended(Ending(Job(step), "done"))
    assert made == [*[stage.id for stage in judged.stage.lineage if stage in trained], judged.stage.id]


def test_a_damaged_checkpoint_is_made_again_and_what_rests_on_it_goes_on(plan, tmp_path, clock):
    store = Store(tmp_path)
    for step in plan.steps[:1]:
        computed(step, store)
    own = Queue(left(plan.steps, store), store, alike)
    step = own.take()
    while step.stage.kind == "pretrain":
        computed(step, store)
        own.ended(Ending(Job(step), "done"))
        step = own.take()
    (store.folder(step.stage.parent.id) / "record.json").unlink()  # as `Store.checkpoint` does where a file is not what it was
    own.ended(Ending(Job(step), "damaged", "not what was committed"))
    made = []
    while own:
        again = own.take()
        assert computed(again, store)
        made.append(again.stage.id)
        own.ended(Ending(Job(again), "done"))
    assert made.index(step.stage.parent.id) < made.index(step.stage.id) and not own.outcome.failed
    assert not left(plan.steps, store)


def test_a_stage_s_memory_that_does_not_do_is_left_to_those_with_more(plan, tmp_path, clock):
    store, step = Store(tmp_path), plan.steps[0]
    small = Queue([step], store, alike, mine=lambda _, short: short == 0)
    large = Queue([step], store, alike, mine=lambda _, short: short == 1)
    assert large.take() is None and not large
    taken = small.take()
    with store.lease(taken.stage) as lease:
        store.fail(lease, "OutOfMemoryError", "trace", "memory")
    small.ended(Ending(Job(taken), "memory", "OutOfMemoryError"))
    assert small.take() is None and not small
    later = Queue([step], store, alike, mine=lambda _, short: short == 1)
    assert later and later.take() is step


def test_one_worker_on_a_finished_study_looks_at_each_evaluation_once(plan, tmp_path, monkeypatch):
    store = Store(tmp_path)
    for step in plan.steps:
        computed(step, store)
    evaluations = sum(step.stage.kind == "evaluate" for step in plan.steps)
    with operations(tmp_path, monkeypatch) as counted:
        assert not left(plan.steps, store)
    assert counted.total() == counted["open"] == evaluations


def test_idle_workers_beside_what_others_hold_ask_little(plan, tmp_path, monkeypatch, clock):
    """The bar: four idle workers beside 400 held stages make at most 40 operations a second together."""
    store = Store(tmp_path)
    steps = []
    for number in range(400):
        stage = plan.steps[0].stage.model_copy(update={"seed": number})
        steps.append(type(plan.steps[0])(stage, "one", {}))
        held_elsewhere(steps[-1], store)
    queues = [Queue(steps, store, alike) for _ in range(4)]
    with operations(tmp_path, monkeypatch) as counted:
        assert [own.take() for own in queues] == [None] * 4
        assert counted.total() <= 4 * (400 * 3 + 3)  # once they ask for all of them, and for the time
        worst, begun = 0, counted.total()
        for _ in range(600):
            clock[0] += 0.5
            before = counted.total()
            assert [own.take() for own in queues] == [None] * 4
            worst = max(worst, counted.total() - before)
        assert (counted.total() - begun) / 300 <= 40
    assert worst <= 4 * (30 * 3 + 3)
    for step in steps:  # and what becomes free is found: half of it within some minutes
        (store.folder(step.stage.id) / "claim.1").write_text('{"released": true}')
    clock[0] += 40
    assert queues[0].take()


def test_a_stored_plan_is_the_plan_and_one_of_another_manifest_is_not_read(plan, tmp_path):
    store = Store(tmp_path)
    sheet.save(plan, store)
    found = sheet.read(plan.study, store)
    assert found == plan.steps and [step.stage.id for step in found] == [step.stage.id for step in plan.steps]
    assert all(sheet.checked(step) is step for step in found)
    changed = tmp_path / "changed.yaml"
    changed.write_text(STUDY.replace("count: 3", "count: 2"))
    assert sheet.read(load(changed), store) is None
    path = tmp_path / "plans" / "many.json"
    whole = path.read_text()
    for old, new in (
        ('"weights": 0', '"weights": 99'),
        ('"model": "one"', '"model": "none"'),
        ('"form": 1', '"form": 99'),
        ("{", ""),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new, 1))
        assert sheet.read(plan.study, store) is None, old
    path.write_text(whole.replace('"seed": 1', '"seed": 7'))
    with pytest.raises(UserError, match="by another content"):
        for step in sheet.read(plan.study, store):
            sheet.checked(step)


@pytest.mark.parametrize("kept", [False, True])
def test_a_stage_that_takes_all_of_its_workers_with_it_is_given_up_and_one_that_gets_on_is_not(plan, tmp_path, kept):
    """As where the kernel ends a container for its memory: nobody is left to note an attempt, so who takes over does."""
    from xlift.runners import run
    from xlift.runners.jobs import Env

    store, step, tries = Store(tmp_path), plan.steps[0], 0

    def vanish(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_train", vanish)
        for _ in range(12):
            lease = store.lease(step.stage)
            dead = {"host": "elsewhere", "pid": 1, "started": "1", "since": 0.0}
            path = lease.folder / f"claim.{lease.number}"
            path.write_text(json.dumps(dead))  # an owner that is gone
            os.utime(path, (0, 0))
            if kept:
                (lease.folder / f"resume.{lease.number}").touch()
            try:
                run.run(step, Env(tmp_path, Inputs(plan.study)))
            except KeyboardInterrupt:
                tries += 1
            except run.FailedBefore as error:
                assert "vanished" in str(error) and not kept
                break
    assert tries == (12 if kept else 4)


def test_a_job_s_share_of_a_machine_is_all_that_a_worker_uses(monkeypatch):
    """Slurm binds its tasks to cores only where it is set up to."""
    from xlift.runners.machine import cores

    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    whole = cores()
    for share, expected in (("1", 1), ("1000", whole), ("", whole), ("0", whole), ("x", whole)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", share)
        assert cores() == expected


@pytest.mark.parametrize(
    ("kind", "vain"), [("failed", 3), ("died", 3), ("device", 3), ("memory", 0), ("diverged", 0), ("left", 0)]
)
def test_what_tells_of_a_machine_rather_than_of_its_stages_is_counted(plan, tmp_path, clock, kind, vain):
    own = Queue(plan.steps, Store(tmp_path), alike)
    for step in plan.steps[:3]:
        own.under_way[step.stage.id] = own.waiting.pop(step.stage.id)
        own.ended(Ending(Job(step), kind, "{why}"))
    assert len(own.vain) == vain


def test_what_rests_on_another_version_s_run_is_not_run_and_says_so(plan, tmp_path, clock):
    store, first = Store(tmp_path), plan.steps[0]
    computed(first, store)
    path = store.folder(first.stage.id) / "record.json"
    path.write_text(path.read_text().replace('"form": 1', '"form": 99'))
    own = Queue(plan.steps, store, alike)
    while own:
        step = own.take()
        assert computed(step, store)
        own.ended(Ending(Job(step), "done"))
    below = {step.stage.id for step in plan.steps if first.stage.id in [stage.id for stage in step.stage.lineage[:-1]]}
    assert set(own.outcome.foreign) == {first.stage.id} and set(own.outcome.skipped) == below
    assert all("form 99" in reason for reason in own.outcome.skipped.values())


def test_a_run_says_what_is_not_tried_again_and_tries_it_when_it_is_told_to(plan, tmp_path, monkeypatch, capsys):
    from xlift.runners import pool, session

    store, bad, tries = Store(tmp_path), next(step.stage.id for step in plan.steps if step.stage.data.task == "lab-span"), []

    class Failing(pool.Crew):
        def give(self, job):
            self.job = job

        def collect(self, go_on=lambda *_: True, idle=0.0):
            job = self.__dict__.pop("job", None)
            if job is None:
                return []
            if job.step.stage.id == bad and len(tries) < 3:
                tries.append(bad)
                with store.lease(job.step.stage) as lease:
                    store.fail(lease, "ValueError: no", "trace", "failed")
                return [Ending(job, "failed", "ValueError: no")]
            assert computed(job.step, store)
            return [Ending(job, "done")]

        @property
        def busy(self):
            return [self.job] if "job" in self.__dict__ else []

    monkeypatch.setattr(session.pool, "Crew", Failing)
    monkeypatch.setattr(queue, "SOONEST", 0.01)
    how = {"workers": 1, "device": "cpu", "mlflow": False}
    first = session.run(plan, store, None, **how)
    said = capsys.readouterr().err
    assert (
        tries == [bad] * 2
        and set(first.failed) == {bad}
        and first.skipped
        and "--retry-failed" in said
        and "tried 2 times" in said
    )
    again = session.run(plan, store, None, **how)
    assert tries == [bad] * 2 and set(again.failed) == {bad} and not again.done
    told = session.run(plan, store, None, **how, retry=True)
    assert tries == [bad] * 3 and not told.failed and set(told.done) == {bad, *first.skipped}
    assert not standing(plan, store).todo() and store.failed(bad) is None


def test_a_part_that_is_damaged_is_made_again_by_workers_too_and_others_stay(plan, tmp_path):
    """Workers trust records, so whoever begins a run takes out of them what is not what was committed."""
    from dataclasses import replace

    store = Store(tmp_path)
    for step in plan.steps:
        computed(step, store)
    step = next(step for step in plan.steps if step.stage.kind == "evaluate")
    other = replace(step, tests=dict.fromkeys(step.tests, "cd" * 32))  # of another study, on other test data
    assert computed(other, store)
    language = next(iter(step.tests))
    (path,) = store.folder(step.stage.id).glob(part_name(language, step.tests[language]).replace(".jsonl", ".*.jsonl"))
    path.write_text("not what it was")
    assert not left(plan.steps, store)
    stands = standing(plan, store)
    assert [each.stage.id for each in stands.damaged] == [step.stage.id] == [each.stage.id for each in stands.todo()]
    stands.mend(store)
    assert [each.stage.id for each in left(plan.steps, store)] == [step.stage.id]
    assert store.missing(step.stage.id, step.tests) == (language,) and not store.missing(step.stage.id, other.tests)
