"""`xlift tune`: searches for the values of recipes, judged on development data; the only file that imports optuna.

One Optuna study a search; each trial is one or several trainings of the store, by content, so that none is computed twice.
What a trial came to is a file of the store, written before Optuna is told, and winners are picked from these files. A trial
belongs to a tuner, which holds a claim: of one that died, trials with a file are told and the others are tried again.
"""

import gc
import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlift.registry import claims
from xlift.registry.card import Scalar, Trial, TrialState
from xlift.registry.findings import UserError
from xlift.registry.manifest.sections import Range
from xlift.registry.manifest.tuned import is_whole
from xlift.registry.plan import Builder, Plan, Step, expand
from xlift.registry.sources import Sources
from xlift.registry.spec import digest
from xlift.registry.store import Store
from xlift.registry.tuning import Lock, Search, Winner, lock_path, write_lock
from xlift.runners.pool import Crew, Env, Job, Verdict, execute

if TYPE_CHECKING:
    import optuna

Values = dict[str, Scalar]
TAKEN_OVER = 3  # best trials of the next smaller model that a warm start begins with
HOPELESS = 3  # trials that fail, and none that does not, after which a search is given up
STATES: dict[str, TrialState] = {  # of trials, by the verdict on their last job; the values of infeasible ones are to blame
    "complete": "complete",
    "pruned": "pruned",
    "diverged": "infeasible",
    "memory": "infeasible",
}


class NotTuned(UserError):
    """A search that found nothing, with the reason."""


def storage(store: Store, study: str, url: str | None) -> "optuna.storages.BaseStorage":
    """Where Optuna keeps its trials: a journal in the store, or a database by its URL, such as postgresql://…"""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url:
        try:
            return optuna.storages.RDBStorage(url)
        except Exception as error:  # the boundary: whatever the database's driver raises
            driver = "; for postgresql:// pip install 'psycopg[binary]'" if isinstance(error, ImportError) else ""
            raise UserError(f"--storage {url}: {str(error).partition(chr(10))[0]}{driver}") from None
    path = store.root / "tuning" / f"{study}.journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))


@dataclass
class _Running:
    """A trial under way: what it still has to run, and what it ran."""

    trial: "optuna.Trial"
    pairs: list[tuple[Step, tuple[Step, ...]]]
    begun: float
    started: str
    queue: list[Job] = field(default_factory=list)
    job: Job | None = None  # what a worker has of it; two trials may share stages, and never jobs
    looks: int = 0


class Tuning:
    """One search: its Optuna study, its budget, its trials. Several tuners may work on it at once."""

    def __init__(self, builder: Builder, search: Search, store: Store, optunas: "optuna.storages.BaseStorage"):
        import optuna

        self.builder, self.search, self.store = builder, search, store
        self.section = builder.study.manifest.tuning
        self.budget = self.section.trials
        if self.section.sampler == "grid":
            points = math.prod(len(axis) for axis in self.section.space.values() if isinstance(axis, tuple))
            self.budget = min(self.budget or points, points)
        self.before: Tuning | None = None
        self.asking: optuna.samplers.BaseSampler | None = None
        self.folder = builder.folder(search)
        self.space = {name: distribution(name, axis) for name, axis in self.section.space.items()}
        self.entropy = digest([self.section.seed, search.name])
        self.study = optuna.create_study(
            storage=optunas,
            study_name=self.folder,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(),
            pruner=_pruner(self.section.pruner, self.section.reports),
            load_if_exists=True,
        )

    def follow(self, before: "Tuning | None") -> None:
        """Wait for the search of a smaller model, and begin where it ended; with halving on half as many trials."""
        self.before = before
        if before and before.budget and self.section.across == "halving":
            self.budget = max(1, math.ceil(before.budget / 2))

    def begin(self) -> None:
        """Put the first trials in the queue where there is none yet: the study's own recipe, and a smaller model's best."""
        if self.study.get_trials(deepcopy=False) or self.section.sampler == "grid":
            return
        halving = self.before is not None and self.section.across == "halving"
        first: list[tuple[Values, str]] = [] if halving else [(self.builder.own(self.search), "own")]
        if self.before:
            first += taken_over(self.before, self.search, (self.budget or 1) if halving else TAKEN_OVER)
        for values, origin in first[: self.budget]:
            self.study.enqueue_trial(self._within(values), user_attrs={"origin": origin}, skip_if_exists=True)

    def elsewhere(self, tuner: str) -> bool:
        """Whether other tuners still run trials of this search."""
        import optuna

        running = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        return any(trial.user_attrs.get("tuner") != tuner for trial in running)

    def sweep(self, alive: Callable[[str], bool]) -> int:
        """Trials of tuners that died: told what their file says, or tried again; how many are."""
        import optuna

        trials, states = self.study.get_trials(deepcopy=False), optuna.trial.TrialState
        ended = {trial.number: trial for trial in self.store.trials(self.folder)} if trials else {}
        for trial in trials:
            if trial.state == states.RUNNING and not self._owned(trial, alive):
                if trial.number in ended:
                    self._tell(optuna.Trial(self.study, trial._trial_id), ended[trial.number])
                else:
                    self.study.tell(trial.number, state=states.FAIL, skip_if_finished=True)
        again = 0
        retried = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in self.study.get_trials(deepcopy=False):
            kept = trial.number in ended or trial.number in retried or "surplus" in trial.user_attrs
            if trial.state == states.FAIL and trial.params and not kept:
                more = {"retry_of": trial.number, "origin": trial.user_attrs.get("origin", "searched")}
                self.study.enqueue_trial(trial.params, user_attrs=more)
                again += 1
        return again

    def _owned(self, trial: "optuna.trial.FrozenTrial", alive: Callable[[str], bool]) -> bool:
        """Whether a living tuner has a trial; one that has just been asked for does not say yet whose it is."""
        tuner, begun = trial.user_attrs.get("tuner"), trial.datetime_start
        return alive(tuner) if tuner else begun is not None and (datetime.now() - begun).total_seconds() < claims.PATIENCE

    def ask(self, tuner: str) -> "optuna.Trial | None":
        """The next trial, or None: where the budget is spent, or where it is given up.

        Tuners ask without waiting for each other: of trials beyond the budget, those with the higher numbers are given back.
        """
        import optuna

        states, trials = optuna.trial.TrialState, self.study.get_trials(deepcopy=False)
        counted = [trial for trial in trials if trial.state != states.FAIL or "reason" in trial.user_attrs]
        waiting = sum(trial.state == states.WAITING for trial in trials)
        if not waiting and self._spent(counted):
            return None
        ended = [trial for trial in counted if trial.state.is_finished()]
        if self.section.hours and sum(trial.duration.total_seconds() for trial in ended) >= 3600 * self.section.hours:
            return None
        if len(ended) >= HOPELESS and all(trial.state == states.FAIL for trial in ended):
            return None
        sampler = self._sampler(len(trials))
        if known := getattr(self.asking, "_search_space", None):  # what it learned of the space, which is not random
            vars(sampler)["_search_space"] = known
        self.study.sampler = self.asking = sampler
        trial = self.study.ask(self.space)
        trial.set_user_attr("tuner", tuner)
        if self.budget is None or trial.number < self.budget:
            return trial
        earlier = self.study.get_trials(deepcopy=False)[: trial.number]
        if not self._spent([other for other in earlier if other.state != states.FAIL or "reason" in other.user_attrs]):
            return trial
        trial.set_user_attr("surplus", True)
        self.study.tell(trial, state=states.FAIL)
        return self.ask(tuner) if waiting > 1 else None

    def _spent(self, counted: Sized) -> bool:
        return self.budget is not None and len(counted) >= self.budget

    def end(self, trial: "optuna.Trial", record: Trial) -> None:
        """Keep what a trial came to, then tell Optuna."""
        self.store.save_trial(self.folder, record)
        self._tell(trial, record)

    def winner(self) -> Winner | None:
        """The complete trial with the best score, the first of equals; None where there is none."""
        best = next(iter(self.best(1)), None)
        if best is None:
            return None
        return Winner(
            **self.search._asdict(),
            recipe=best.values,
            trial=best.number,
            trials=len(self.store.trials(self.folder)),
            seed=self.section.seed,
            score=best.score,
            basis=self.builder.basis(self.search),
        )

    def best(self, count: int) -> list[Trial]:
        """The best complete trials, the best one first."""
        ended = [trial for trial in self.store.trials(self.folder) if trial.state == "complete"]
        return sorted(ended, key=lambda trial: (-(trial.score or 0), trial.number))[:count]

    def told(self) -> str:
        """How far it is, in a few words."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        best = max((trial.value for trial in ended if trial.value is not None), default=None)
        return f"{len(ended)} of {self.budget or 'any'} trials" + (f", best {100 * best:.1f}" if best is not None else "")

    def why_not(self) -> str:
        """Why there is no winner."""
        reasons = [trial.reason for trial in self.store.trials(self.folder) if trial.reason]
        return f"{self.search.name}: " + (f"no trial is complete; the last says: {reasons[-1]}" if reasons else "no trial ended")

    def _tell(self, trial: "optuna.Trial", record: Trial) -> None:
        """Optuna's account of a trial: infeasible ones are pruned and violate a constraint, so that the sampler keeps away."""
        import optuna

        states = optuna.trial.TrialState
        self.study.sampler = optuna.samplers.RandomSampler()  # a grid's would want to stop a loop that is not there
        if record.state == "failed":
            trial.set_user_attr("reason", record.reason)
            self.study.tell(trial, state=states.FAIL, skip_if_finished=True)
            return
        limit = self.section.constraints.memory_gb
        if limit:
            trial.set_constraint("memory", (record.memory_gb or limit) - limit if record.score is not None else 1.0)
        if record.state == "infeasible":
            trial.set_constraint("diverged", 1.0)
        if record.state == "complete" or (record.state == "infeasible" and record.score is not None):
            self.study.tell(trial, record.score, skip_if_finished=True)
        else:
            self.study.tell(trial, state=states.PRUNED, skip_if_finished=True)

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        """The sampler of trial `number`, with a seed of its own, so that a search goes on as if it had never stopped."""
        import optuna

        seed = int(digest([self.entropy, number])[:8], 16)
        startup = min(10, (self.budget or 30) // 3 + 1)  # random ones before the model of the scores counts
        match self.section.sampler:
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
            case "grid":
                points = {name: list(axis) for name, axis in self.section.space.items() if isinstance(axis, tuple)}
                return optuna.samplers.GridSampler(points, seed=int(self.entropy[:8], 16))
        return optuna.samplers.RandomSampler(seed=seed)

    def _within(self, values: Values) -> Values:
        """Values in the space: cut to its ranges, and the nearest of its choices."""
        found: Values = {}
        for name, value in values.items():
            axis = self.section.space[name]
            if isinstance(axis, Range):
                low, high = axis.log or axis.uniform or (value, value)
                inside = min(max(float(value), low), high)
                found[name] = round(inside) if is_whole(name) else inside
            elif isinstance(value, int | float) and value not in axis:
                found[name] = min(axis, key=lambda choice: _apart(choice, value))
            elif value in axis:
                found[name] = value
        return found


def readable(values: Values) -> Values:
    """Values as they are trained with and written down: with four digits that count."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


def _apart(one: Scalar, other: Scalar) -> float:
    """How far numbers are from each other, by their logarithms where they have some; texts are infinitely far."""
    if not (isinstance(one, int | float) and isinstance(other, int | float)):
        return math.inf
    return abs(math.log(one / other)) if one > 0 and other > 0 else abs(one - other)


def distribution(name: str, axis: Range | tuple[Scalar, ...]) -> "optuna.distributions.BaseDistribution":
    """An axis of the space in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, Range):
        return CategoricalDistribution(axis)
    low, high = axis.log or axis.uniform or (0.0, 0.0)
    if is_whole(name):
        return IntDistribution(int(low), int(high), log=axis.log is not None)
    return FloatDistribution(low, high, log=axis.log is not None)


def _pruner(name: str, reports: int) -> "optuna.pruners.BasePruner":
    """ASHA (Li et al. 2020) is Optuna's asynchronous successive halving; Hyperband (Li et al. 2018) runs brackets of it."""
    import optuna

    match name:
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=reports, reduction_factor=2)
    return optuna.pruners.NopPruner()


class Tuner:
    """One process that tunes: it asks for trials, has a crew run them, and tells what they came to."""

    def __init__(self, store: Store, crew: Crew, study: str, tell: Callable[[list[Tuning], list[Job]], None]):
        self.store, self.crew, self.tell = store, crew, tell
        self.folder = store.root / "tuning" / study
        self.name = f"{int(time.time())}-{secrets.token_hex(4)}"
        self.running: dict[int, tuple[Tuning, _Running]] = {}
        self.begun: list[Tuning] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the claim by which others see that this tuner lives."""
        folder = self.folder / "tuners" / self.name
        claim = claims.claim(folder)
        assert claim is not None  # its name is its own
        with claim:
            yield
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work that one tuner does at a time."""
        while (claim := claims.claim(self.folder / "lock")) is None:
            time.sleep(0.05)
        with claim:
            yield

    def alive(self, tuner: str) -> bool:
        return claims.alive(self.folder / "tuners" / tuner)

    def search(self, tunings: list[Tuning], keep: frozenset[str]) -> None:
        """Bring searches to their end; `keep`: trainings whose checkpoints are needed later."""
        self.keep, open_ = keep, list(tunings)
        while open_ or self.running:
            self._fill(open_)
            self.tell(tunings, self.crew.busy)
            for verdict in self.crew.collect(self._go_on):
                self._take(verdict)

    def _fill(self, open_: list[Tuning]) -> None:
        """Give free workers what running trials have next, then new trials, of searches with the fewest under way first."""
        for _, run in list(self.running.values()):
            if self.crew.free and not run.job and not self.store.busy(run.queue[0].step.stage.id):
                self._give(run)
        held: list[Tuning] = []  # whose last trials others have
        while self.crew.free and open_ and all(run.job for _, run in self.running.values()):
            ready = [each for each in open_ if not each.before or not (each.before in open_ or self._busy(each.before))]
            tuning = min((each for each in ready if each not in held), key=self._busy, default=None)
            if tuning is None:
                return
            run = self._ask(tuning)
            if run is None:
                with self.alone():
                    again = tuning.sweep(self.alive)
                if not again:
                    (held.append if tuning.elsewhere(self.name) else open_.remove)(tuning)
            elif run.queue:
                self._give(run)
            else:  # all of it is in the store
                self._finish(tuning, run)

    def _give(self, run: _Running) -> None:
        run.job = run.queue.pop(0)
        self.crew.give(run.job)

    def _busy(self, tuning: Tuning) -> int:
        return sum(other is tuning for other, _ in self.running.values())

    def _ask(self, tuning: Tuning) -> _Running | None:
        """The next trial with the jobs that it needs; None where the search is over."""
        if tuning not in self.begun:
            with self.alone():
                tuning.begin()
                tuning.sweep(self.alive)
            self.begun.append(tuning)
        trial = tuning.ask(self.name)
        if trial is None:
            return None
        values = tuple(sorted(readable(trial.params).items()))
        pairs = tuning.builder.trials(tuning.search, values)
        run = _Running(trial, pairs, time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds"))
        for training, judges in pairs:
            leak(training, judges, tuning.builder)
        run.queue = self._jobs(tuning, pairs)
        self.running[id(run)] = (tuning, run)
        return run

    def _jobs(self, tuning: Tuning, pairs: list[tuple[Step, tuple[Step, ...]]]) -> list[Job]:
        """What of a trial is not in the store."""
        found = []
        watched = tuning.section.pruner != "none" and len(pairs) == 1
        for training, judges in pairs:
            unscored = [judge for judge in judges if self.store.missing(judge.stage.id, judge.parts)]
            if unscored and not self.store.usable(training.stage.id):
                found.append(Job(training, judges if watched else (), tuning.section.reports if watched else 0))
            found += [Job(judge) for judge in unscored]
        return found

    def _go_on(self, job: Job, look: int, score: float) -> bool:
        """Whether a watched training goes on, by the pruner's word."""
        _, run = self._of(job)
        if look in run.trial.storage.get_trial(run.trial._trial_id).intermediate_values:  # its worker had died
            return True
        run.trial.report(score, look)
        return not run.trial.should_prune()

    def _of(self, job: Job) -> tuple[Tuning, _Running]:
        return next(pair for pair in self.running.values() if pair[1].job is job)

    def _take(self, verdict: Verdict) -> None:
        """One job less, or the end of its trial."""
        tuning, run = self._of(verdict.job)
        run.job = None
        if verdict.kind == "held":
            run.queue = self._jobs(tuning, run.pairs)  # another trial, or another process, may have done it
            if not run.queue:
                self._finish(tuning, run)
        elif verdict.kind != "done":
            self._finish(tuning, run, verdict)
        elif not run.queue:
            self._finish(tuning, run)
        elif len(run.pairs) > 1 and tuning.section.pruner != "none" and run.queue[0].step.stage.kind != "evaluate":
            run.looks += 1  # a trial of several trainings is looked at after each
            run.trial.report(self._score(run.pairs[: run.looks]), run.looks)
            if run.trial.should_prune():
                self._finish(tuning, run, Verdict(verdict.job, "pruned", f"after {run.looks} trainings, and others are further"))

    def _score(self, pairs: Iterable[tuple[Step, tuple[Step, ...]]]) -> float:
        """The mean over trainings of the mean over their tasks, of the tasks' own metrics."""
        means = []
        for _, judges in pairs:
            found = [score.value for judge in judges for score in self.store.scores(judge.stage.id) if score.primary]
            means.append(math.fsum(found) / len(judges))
        return math.fsum(means) / len(means)

    def _finish(self, tuning: Tuning, run: _Running, verdict: Verdict | None = None) -> None:
        """Write down what a trial came to, tell Optuna, and let go of checkpoints that nothing needs."""
        del self.running[id(run)]
        trainings = [training.stage for training, _ in run.pairs]
        lines = [self.store.last(stage.id) or {} for stage in trainings]
        memory = max((line["memory_gb"] for line in lines if "memory_gb" in line), default=None)
        limit = tuning.section.constraints.memory_gb
        over = limit is not None and memory is not None and memory > limit
        kind = verdict.kind if verdict else "complete"
        tuning.end(
            run.trial,
            Trial(
                number=run.trial.number,
                values=readable(run.trial.params),
                origin=run.trial.user_attrs.get("origin", "searched"),
                state="infeasible" if over else STATES.get(kind, "failed"),
                score=None if verdict else self._score(run.pairs),
                reason=verdict.reason if verdict else f"{memory:.2f} GB, above {limit:g}" if over else None,
                stages=tuple(stage.id for stage in trainings),
                judges=tuple(judge.stage.id for _, judges in run.pairs for judge in judges),
                memory_gb=memory,
                started=run.started,
                seconds=time.monotonic() - run.begun,
            ),
        )
        for stage in trainings:
            if stage.id not in self.keep:
                self.store.release(stage)


def leak(training: Step, judges: Iterable[Step], builder: Builder) -> None:
    """UserError where a trial would read anything but development data in the source language: asked again before each trial."""
    facts = builder.study.facts
    tested = {mark for target in builder.study.manifest.matrix.target for mark in builder.parts(target).values()}
    for judge in judges:
        wrong = judge.stage.data.split not in ("dev", "held-out") or set(judge.parts) != {facts.source_language}
        if wrong or tested & set(judge.parts.values()) or judge.stage.parent != training.stage:
            raise UserError(f"the objective of {judge.stage.data.task} leaks: it would read test data, or another language")


def taken_over(before: Tuning, search: Search, count: int) -> Iterator[tuple[Values, str]]:
    """The best values of a smaller model, their learning rate by the ratio of widths (Yang et al. 2021, Adam's hidden layers)."""
    models = before.builder.study.facts.models
    ratio = models[before.search.model].limits.width / models[search.model].limits.width
    for trial in before.best(count):
        values = {name: float(value) * ratio if name == "lr" else value for name, value in trial.values.items()}
        yield values, f"{before.search.model}, trial {trial.number}"


def draw(plan: Plan, store: Store, folder: Path, url: str | None = None) -> list[Path]:
    """Optuna's own figures of each search, as PNG in `folder`/tuning/<search>, without those that its trials are too few for."""
    import matplotlib
    import optuna
    from optuna.visualization import matplotlib as figures

    matplotlib.use("Agg")
    said: dict[str, Any] = {"target_name": "score on development data"}
    kinds: dict[str, Callable[..., Any]] = {
        "history": partial(figures.plot_optimization_history, **said),
        "importances": partial(figures.plot_param_importances, **said),
        "slices": partial(figures.plot_slice, **said),
        "parallel-coordinates": partial(figures.plot_parallel_coordinate, **said),
    }
    if plan.study.manifest.tuning.pruner != "none":
        kinds["looks"] = figures.plot_intermediate_values
    optunas, made = storage(store, plan.study.id, url), list[Path]()
    size = (5 + 3 * len(plan.study.manifest.tuning.space), 4.5)
    for search in plan.builder.searches:
        with suppress(KeyError):  # a search that never began
            study = optuna.load_study(study_name=plan.builder.folder(search), storage=optunas)
            for name, plot in kinds.items():
                path = folder / "tuning" / search.name.replace("/", ",") / f"{name}.png"
                made += [path] if _drawn(plot, study, search.name, size, path) else []
    return made


def _drawn(plot: "Callable[..., Any]", study: "optuna.Study", name: str, size: tuple[float, float], path: Path) -> bool:
    """Draw one figure into a file; False where there are too few trials, or too equal ones, for it."""
    import warnings

    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental in Optuna
        try:
            plot(study)
            figure = pyplot.gcf()
            figure.set_size_inches(*size)
            figure.suptitle(name, y=1.02)
            for axis in (part for axes in figure.axes for part in (axes.xaxis, axes.yaxis)):
                axis.set_minor_formatter(NullFormatter())  # of logarithms, which would overlap
            figure.savefig(path, dpi=100, bbox_inches="tight")
        except (ValueError, RuntimeError, ZeroDivisionError):
            return False
        finally:
            pyplot.close("all")
    return True


def tune(
    plan: Plan,
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    url: str | None = None,
    tell: Callable[[list[Tuning], list[Job]], None] = lambda *_: None,
) -> Plan:
    """Bring every search of a plan to its end and write the lock; the plan with what was found.

    Raises:
        NotTuned: after all searches and with the lock of the others written, where some found nothing, with reasons.
        UserError: where there is nothing to tune, or the storage cannot be opened.
    """
    if plan.study.manifest.tuning is None:
        raise UserError(f"{plan.study.path} has no 'tuning'; add it, and see `xlift schema`")
    from xlift.runners.session import cores, remember

    reasons: list[str] = []
    env = Env(store.root, Sources(plan.study, data.resolve() if data else None), device, max(1, cores() // workers))
    remember(plan, store)
    with Crew(env, workers) as crew, _settled():
        tuner = Tuner(store, crew, plan.study.id, tell)
        with tuner.at_work():
            with tuner.alone():  # tables of a database are made by one
                optunas = storage(store, plan.study.id, url)
            for targets in (False, True):
                searches = [search for search in plan.builder.searches if (search.target is not None) == targets]
                tunings, why = _prepared(plan, searches, store, optunas, tuner)
                tuner.search(list(tunings.values()), frozenset(step.stage.id for step in plan.steps))
                found = {search: tuning.winner() for search, tuning in tunings.items()}
                reasons += why + [tunings[search].why_not() for search, winner in found.items() if winner is None]
                plan = _locked(plan, [winner for winner in found.values() if winner], env.sources)
    remember(plan, store)
    if reasons:
        raise NotTuned("; ".join(reasons))
    return plan


@contextmanager
def _settled() -> Iterator[None]:
    """Meanwhile the garbage collector passes over what the imports made, which a thousand trials need not look at again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _prepared(
    plan: Plan, searches: list[Search], store: Store, optunas: "optuna.storages.BaseStorage", tuner: Tuner
) -> tuple[dict[Search, Tuning], list[str]]:
    """The searches that can be made, with what their trainings start from computed, and why others cannot."""
    builder, crew, reasons = plan.builder, tuner.crew, list[str]()
    below: dict[str, Step] = {}
    ready = []
    for search in searches:
        trainings = builder.trials(search)
        if blocked := next(
            (step.blocked for training, judges in trainings for step in (training, *judges) if step.blocked), None
        ):
            reasons.append(f"{search.name}: {blocked}")
            continue
        ready.append(search)
        for training, _ in trainings:
            for stage in training.stage.lineage[:-1]:
                below[stage.id] = Step(stage, search.model, {})
    todo = [step for step in below.values() if not store.usable(step.stage.id)]
    failed = execute(plan, todo, crew, lambda *_: tuner.tell([], crew.busy)).failed if todo else {}
    tunings = {search: Tuning(builder, search, store, optunas) for search in ready}
    for search in list(tunings):
        lineage = builder.trials(search)[0][0].stage.lineage
        if lost := next((failed[stage.id] for stage in lineage if stage.id in failed), None):
            reasons.append(f"{search.name}: {lost}")
            del tunings[search]
    if plan.study.manifest.tuning.across != "none":
        for search, tuning in tunings.items():
            tuning.follow(_smaller(plan, search, tunings))
    return tunings, reasons


def _smaller(plan: Plan, search: Search, tunings: dict[Search, Tuning]) -> Tuning | None:
    """The same search of the next smaller model of the family."""
    models = plan.study.facts.models
    own, found = models[search.model], []
    for other in tunings:
        model = models[other.model]
        smaller = model.parameters.non_embedding < own.parameters.non_embedding
        if smaller and model.family == own.family and other._replace(model=search.model) == search:
            found.append(other)
    return tunings[max(found, key=lambda other: models[other.model].parameters.non_embedding)] if found else None


def _locked(plan: Plan, winners: list[Winner], sources: Sources) -> Plan:
    """The plan with these winners, and the lock written beside its manifest; those of other searches stay."""
    before = plan.study.lock.winners if plan.study.lock else ()
    new = {winner.search: winner for winner in (*before, *winners) if winner.search in plan.builder.searches}
    if not new:
        return plan
    lock = Lock(schema="xlift-lock/1", study=plan.study.id, winners=tuple(new[s] for s in plan.builder.searches if s in new))
    claims.write_atomically(lock_path(plan.study.path), write_lock(lock))
    return expand(replace(plan.study, lock=lock), sources)
