"""Searches: their trials, what a lock says of them, and what is left when something dies."""

import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

import optuna
from editable import Editable

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.manifest.lock import lock_path
from xlift.registry.orders import Order, Orders, ordered
from xlift.registry.plan import Step, expand
from xlift.registry.store import Store
from xlift.runners import jobs, pool, queue, tuning
from xlift.runners.tuning.search import readable
from xlift.runners.tuning.tuner import leak

STUDY = Editable("""\
schema: xlift/1
id: tuned
question: Does it tune?
data: {source: lab, world: {languages: [al1, al2], test_items: 40, train_items: 96, sentences: 200}}
models:
  - {id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}
  - {id: two, make: {layers: 1, hidden: 32, heads: 2, vocabulary: 400}}
pretrain: {recipe: {lr: 4e-3, steps: 10, batch: 16, max_length: 48}}
recipe: {lr: 1e-3, steps: 6, batch: 16, max_length: 48}
tuning: {trials: 3, space: {lr: {log: [1.0e-4, 1.0e-2]}, steps: [4, 8]}}
matrix: {intermediate: [none, lab-pos], target: [lab-names], seed: {count: 1, from: 1}}
""")


class Inline(pool.Crew):
    """A crew of one, in this process: a worker takes seconds to start."""

    def give(self, job):
        self.job = job

    def collect(self, go_on=lambda *_: True, idle=0.0):
        job = self.__dict__.pop("job", None)
        return [jobs.Ending(job, *pool.attempt(job, self.env, lambda look, score: go_on(job, look, score)))] if job else []

    @property
    def busy(self):
        return [self.job] if "job" in self.__dict__ else []


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr(tuning, "Crew", Inline)


def planned(folder, text=STUDY):
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(text)
    study = load(folder / "study.yaml")
    return expand(study, Inputs(study))


def tuned(folder, text=STUDY, **options):
    """A study that was tuned: its plan with what was found, and its store."""
    store = Store(folder / "store")
    return tuning.tune(planned(folder, text), store, None, **{"workers": 1, "device": "cpu"} | options), store


def trials(plan, store):
    """The trials of each search by its name."""
    return {search.name: store.trials(plan.builder.folder(search)) for search in plan.builder.searches}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "Crew", Inline)
        return tuned(tmp_path_factory.mktemp("done"))


def test_each_search_has_its_trials_the_study_s_own_recipe_first_and_the_best_wins(done):
    plan, store = done
    found = trials(plan, store)
    assert set(found) == {"one/lab-pos", "two/lab-pos"}
    for search, winner in plan.study.lock.by_search.items():
        ended = found[search.name]
        assert [trial.number for trial in ended] == [0, 1, 2] and winner.trials == 3
        assert (ended[0].origin, ended[0].values["lr"]) == ("own", 1e-3) and {trial.origin for trial in ended[1:]} == {"searched"}
        best = max(ended, key=lambda trial: (trial.score, -trial.number))
        assert (winner.trial, winner.recipe, winner.score) == (best.number, best.values, best.score)
        for trial in ended:  # a score is that of the store's evaluation, on development data in the source language
            (judge,) = trial.judges
            (score,) = [score for score in store.scores(judge) if score.primary]
            stage = store.stage(judge)
            assert (stage.data.split, score.language, score.value) == ("dev", "al1", trial.score)
            assert stage.parent.recipe.lr == trial.values["lr"] and stage.parent.seed == 0
    assert not plan.gaps()


def test_checkpoints_of_trials_are_let_go_and_trained_again_where_they_are_needed(done):
    plan, store = done
    (training,) = trials(plan, store)["one/lab-pos"][1].stages
    assert store.record(training).released and not store.usable(training) and not list(store.folder(training).glob("checkpoint*"))
    assert all(store.usable(step.stage.id) for step in plan.steps if step.stage.kind == "pretrain")


def test_tuned_again_nothing_runs_and_the_lock_stays(done, inline):
    plan, store = done
    path = lock_path(plan.study.path)
    before, runs = path.read_bytes(), sorted((store.root / "runs").iterdir())
    again = tuning.tune(plan, store, None, workers=1, device="cpu")
    assert path.read_bytes() == before and sorted((store.root / "runs").iterdir()) == runs
    assert again.study.lock == plan.study.lock


def test_the_same_seed_with_one_worker_gives_the_same_lock(done, tmp_path, inline):
    plan, _ = tuned(tmp_path / "again")
    assert lock_path(plan.study.path).read_bytes() == lock_path(done[0].study.path).read_bytes()
    other, _ = tuned(tmp_path / "other", STUDY.replace("trials: 3", "trials: 3, seed: 5"))
    assert lock_path(other.study.path).read_bytes() != lock_path(done[0].study.path).read_bytes()


def test_a_larger_budget_goes_on_from_the_trials_that_there_are(done, tmp_path, inline):
    shutil.copytree(done[1].root, tmp_path / "store")
    plan, store = tuned(tmp_path, STUDY.replace("trials: 3", "trials: 4"))
    for name, ended in trials(plan, store).items():
        assert [t.number for t in ended] == [0, 1, 2, 3]
        assert [(t.values, t.score) for t in ended[:3]] == [(t.values, t.score) for t in trials(*done)[name]]


def test_a_training_that_diverges_is_infeasible_and_never_wins(tmp_path, inline):
    text = STUDY.replace("{lr: {log: [1.0e-4, 1.0e-2]}, steps: [4, 8]}", "{lr: [1.0e-3, 1.0e+30]}, sampler: grid")
    plan, store = tuned(tmp_path, text.replace("trials: 3, ", ""))
    for search, ended in trials(plan, store).items():
        states = {trial.values["lr"]: trial.state for trial in ended}
        assert states == {1e-3: "complete", 1e30: "infeasible"}, search
        assert "Diverged" in next(trial.reason for trial in ended if trial.state == "infeasible")
    assert {winner.recipe["lr"] for winner in plan.study.lock.winners} == {1e-3}


def test_a_training_that_takes_too_much_memory_is_infeasible_and_says_so(tmp_path, inline):
    with pytest.raises(tuning.NotTuned, match=r"one/lab-pos: no trial is complete; .* GB, above 0.001"):
        tuned(tmp_path, STUDY.replace("trials: 3", "trials: 1, constraints: {memory_gb: 0.001}"))
    assert not lock_path(tmp_path / "study.yaml").exists()


def test_a_pruner_ends_trainings_that_lag_behind(tmp_path, inline):
    text = STUDY.replace("trials: 3", "trials: 4, pruner: asha, reports: 4, sampler: random")
    text = text.replace("{lr: {log: [1.0e-4, 1.0e-2]}, steps: [4, 8]}", "{lr: [1.0e-7, 1.0e-2], steps: [40]}").replace(
        "  - {id: two", "#"
    )
    plan, store = tuned(tmp_path, text)
    (ended,) = trials(plan, store).values()
    pruned = [trial for trial in ended if trial.state == "pruned"]
    assert pruned and all(trial.score is None and store.record(trial.stages[0]) is None for trial in pruned)
    looks = [line for line in store.log(ended[0].stages[0])[0] if "dev" in line]
    assert [line["step"] for line in looks] == [10, 20, 30] and all(0 <= line["dev"] <= 1 for line in looks)
    (winner,) = plan.study.lock.winners
    assert winner.trial not in [trial.number for trial in pruned]


@pytest.mark.parametrize("across", ["warm-start", "halving"])
def test_a_larger_model_begins_where_the_smaller_one_ended(tmp_path, across, inline):
    plan, store = tuned(tmp_path, STUDY.replace("trials: 3", f"trials: 4, across: {across}"))
    small, large = (trials(plan, store)[f"{name}/lab-pos"] for name in ("one", "two"))
    over = [trial for trial in large if trial.origin.startswith("one, trial ")]
    best = sorted(small, key=lambda trial: (-trial.score, trial.number))
    assert (len(small), len(large)) == ((4, 4) if across == "warm-start" else (4, 2))
    assert len(over) == (3 if across == "warm-start" else 2)
    for trial, source in zip(over, best, strict=False):
        assert trial.origin == f"one, trial {source.number}" and trial.values["steps"] == source.values["steps"]
        assert trial.values["lr"] == pytest.approx(max(source.values["lr"] / 2, 1e-4), rel=1e-3)  # widths 16 and 32


def test_trials_that_share_a_stage_at_once_are_each_told(tmp_path, monkeypatch):
    """Two workers have the same training for two trials: one of them holds it, and both end with its score."""

    class Two(Inline):
        jobs: list = []

        def give(self, job):
            self.jobs.append(job)

        def collect(self, go_on=lambda *_: True, idle=0.0):
            verdicts = [
                jobs.Ending(job, "held" if i else pool.attempt(job, self.env, go_on)[0]) for i, job in enumerate(self.jobs)
            ]
            self.jobs.clear()
            return verdicts

        @property
        def busy(self):
            return list(self.jobs)

    monkeypatch.setattr(tuning, "Crew", Two)
    text = STUDY.replace("trials: 3", "trials: 4, sampler: random").replace(
        "{log: [1.0e-4, 1.0e-2]}, steps: [4, 8]", "[1.0e-3], steps: [6]"
    )
    plan, store = tuned(tmp_path, text.replace("  - {id: two", "#"), workers=2)
    (ended,) = trials(plan, store).values()
    assert [trial.number for trial in ended] == [0, 1, 2, 3] and len({(trial.score, *trial.stages) for trial in ended}) == 1


def test_targets_are_tuned_after_intermediates_and_baselines_with_the_same_budget(tmp_path, inline):
    text = STUDY.replace("trials: 3", "trials: 2, roles: [intermediate, target]").replace("  - {id: two", "#")
    plan, store = tuned(tmp_path, text)
    found = trials(plan, store)
    assert {name: len(ended) for name, ended in found.items()} == {
        "one/lab-pos": 2,
        "one/none/lab-names": 2,
        "one/lab-pos/lab-names": 2,
    }
    assert not plan.gaps()
    lock = {search.name: winner for search, winner in plan.study.lock.by_search.items()}
    treated = next(
        step.stage for step in plan.steps if step.stage.id == next(c.stage for c in plan.cells if c.intermediate == "lab-pos")
    )
    assert [stage.recipe.lr for stage in treated.lineage[1:3]] == [
        lock["one/lab-pos"].recipe["lr"],
        lock["one/lab-pos/lab-names"].recipe["lr"],
    ]


def test_a_worker_that_is_killed_loses_no_trial_and_doubles_none(tmp_path, monkeypatch):
    """The worker is replaced, and its training begins again."""
    killed = []

    def kill(crew, job, give=pool.Crew.give):
        give(crew, job)
        if job.step.stage.data.task == "lab-pos" and job.step.stage.kind == "train" and not killed:
            killed.append(next(worker.process.pid for worker in crew.workers if worker.job is job))
            threading.Timer(0.2, os.kill, (killed[0], signal.SIGKILL)).start()

    monkeypatch.setattr(pool.Crew, "give", kill)
    plan, store = tuned(tmp_path, STUDY.replace("steps: [4, 8]", "steps: [40, 80]"), workers=2)
    assert killed and all([trial.number for trial in ended] == [0, 1, 2] for ended in trials(plan, store).values())
    assert all(trial.state == "complete" for ended in trials(plan, store).values() for trial in ended)


def test_trials_of_a_tuner_that_died_are_tried_again_once(done, tmp_path, inline):
    """Another tuner had asked for two trials and died: one had its file written, and Optuna had not been told; one had not."""
    shutil.copytree(done[1].root, tmp_path / "store")
    plan = planned(tmp_path, STUDY.replace("trials: 3", "trials: 5"))
    store = Store(tmp_path / "store")
    search = next(iter(plan.builder.searches))
    dead = tuning.Searching(plan.builder, search, store, tuning.storage(store, plan.study.id, None))
    written, lost = dead.ask("dead"), dead.ask("dead")
    old = store.trials(dead.folder)[0]
    store.save_trial(dead.folder, old.model_copy(update={"number": written.number, "score": 0.99}))
    plan = tuning.tune(plan, store, None, workers=1, device="cpu")
    ended = {trial.number: trial for trial in store.trials(dead.folder)}
    assert sorted(ended) == [0, 1, 2, written.number, lost.number + 1]
    assert ended[lost.number + 1].values == readable(lost.params)
    told = optuna.load_study(study_name=dead.folder, storage=tuning.storage(store, plan.study.id, None)).trials
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 4 + ["FAIL", "COMPLETE"]
    assert told[written.number].value == 0.99 and plan.study.lock.by_search[search].trial == written.number


def test_an_objective_that_leaks_is_refused_before_a_trial_runs(done):
    plan, _ = done
    search = next(iter(plan.builder.searches))
    training, (judge,) = plan.builder.trial(search, ("lab-pos", "plain"), ())
    leak(training, (judge,), plan.builder)
    test = judge.stage.model_copy(update={"data": judge.stage.data.model_copy(update={"split": None})})
    marks = plan.builder.parts("lab-names")
    for bad in (replace(judge, stage=test), replace(judge, tests={"al2": "x"}), replace(judge, tests={"al1": marks["al1"]})):
        with pytest.raises(tuning.UserError, match="leaks"):
            leak(training, (bad,), plan.builder)


@pytest.mark.parametrize("pruner", ["none", "asha", "none, of one point"])
def test_trials_that_workers_elsewhere_run_come_to_the_same(tmp_path, monkeypatch, pruner):
    """Trials are orders in the store, and pruning reads it: two workers that know nothing but the store."""
    text = STUDY.replace("trials: 3", f"trials: 4, sampler: random, pruner: {pruner}, reports: 3").replace(
        "steps: [4, 8]", "steps: [6]"
    )
    text = text.replace("  - {id: two", "#")
    if "of one point" in pruner:  # all trials share their stages, two of them at once
        text, pruner = text.replace(", of one point", "").replace("{log: [1.0e-4, 1.0e-2]}", "[1.0e-3]"), "none"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "Crew", Inline)
        local, there = tuned(tmp_path / "here", text.replace(f"pruner: {pruner}", "pruner: none"))
    (expected,) = trials(local, there).values()
    monkeypatch.setattr(tuning.elsewhere, "PAUSE", 0.05)
    monkeypatch.setattr(queue, "SOONEST", 0.05)
    store, threads, done, lock = Store(tmp_path / "there" / "store"), [], [], threading.Lock()

    class Alone(Inline):
        """Threads share torch's generator, which workers do not."""

        def collect(self, go_on=lambda *_: True, idle=0.0):
            time.sleep(idle)
            with lock:
                return super().collect(go_on)

    def work(plan):
        own = queue.Queue([], store, lambda _: 1.0, orders=Orders(store, plan.study.id))
        crew = Alone(jobs.Env(store.root, Inputs(plan.study)), 1)
        pool.execute(own, crew, lambda *_: None, lambda: False)
        done.append(own.outcome.done)

    def started():
        for _ in range(2):
            threads.append(threading.Thread(target=work, args=(planned(tmp_path / "there", text),)))
            threads[-1].start()

    plan, _ = tuned(tmp_path / "there", text, workers=2, elsewhere=started)
    for thread in threads:  # they leave when the tuner did
        thread.join(timeout=60)
        assert not thread.is_alive()
    (found,) = trials(plan, store).values()
    assert [trial.values for trial in found] == [trial.values for trial in expected]
    assert all(trial.state in ("complete", "pruned") for trial in found)
    scores = {trial.number: trial.score for trial in expected}
    assert all(trial.score == scores[trial.number] for trial in found if trial.state == "complete")
    assert pruner == "asha" or {trial.state for trial in found} == {"complete"}
    stages = {stage for trial in found if trial.state == "complete" for stage in (*trial.stages, *trial.judges)}
    assert sum(map(len, done)) >= len(stages) + 1
    assert not list((store.root / "tuning" / "tuned" / "orders").iterdir()) and not Orders(store, "tuned").open()


def test_a_training_that_its_tuner_prunes_ends_at_its_next_look(tmp_path, monkeypatch):
    """And so does one whose tuner is gone."""
    plan = planned(
        tmp_path, STUDY.replace("steps: [4, 8]", "steps: [8]").replace("trials: 3", "trials: 3, pruner: asha, reports: 4")
    )
    store, env = Store(tmp_path / "store"), jobs.Env(tmp_path / "store", Inputs(plan.study))
    training, judges = plan.builder.trials(next(iter(plan.builder.searches)))[0]
    for stage in training.stage.lineage[:-1]:
        assert pool.attempt(jobs.Job(Step(stage, training.model, {})), env, lambda *_: True)[0] == "done"
    orders = Orders(store, plan.study.id)
    for way in ("pruned", "gone"):
        orders.give(Order(what=ordered(training), judges=tuple(map(ordered, judges)), reports=4))
        own, looks = queue.Queue([], store, lambda _: 1.0, orders=orders), []
        own._asking = True
        step = own.take()
        job = own.job(step)
        assert step.stage.id == training.stage.id and job.reports == 4 and job.judges == judges

        def look(number, score, job=job, own=own, looks=looks, way=way):
            looks.append(number)
            if number == 2:
                orders.prune(job.step.stage.id) if way == "pruned" else orders.drop(job.step.stage.id)
            return own.go_on(job, number, score)

        ending = jobs.Ending(job, *pool.attempt(job, env, look))
        own.ended(ending)
        assert ending.state == "pruned" and looks == [1, 2]
        assert own.take() is None and not own.outcome.failed  # until it is ordered anew
        assert way == "gone" or orders.ended(training.stage.id).state == "pruned"
    assert store.failed(training.stage.id) is None
