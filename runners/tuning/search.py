"""One search: an Optuna study with its budget, its sampler and its trials."""

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime
from typing import TYPE_CHECKING

from xlift.registry import leases
from xlift.registry.builder import Builder
from xlift.registry.card import Scalar, Trial
from xlift.registry.findings import UserError
from xlift.registry.manifest.lock import Winner
from xlift.registry.manifest.sections import Range
from xlift.registry.manifest.tuned import is_whole
from xlift.registry.spec import digest
from xlift.registry.store import Store
from xlift.registry.tuning import Search

if TYPE_CHECKING:
    import optuna
    from optuna import Trial as Asked
    from optuna.storages import BaseStorage as Storage

Values = dict[str, Scalar]
TAKEN_OVER = 3  # best trials of the next smaller model that a warm start begins with
HOPELESS = 3  # trials that fail, and none that does not, after which a search is given up


def storage(store: Store, study: str, url: str | None) -> "Storage":
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


class Searching:
    """One search: its Optuna study, its budget, its trials. Several tuners may work on it at once."""

    def __init__(self, builder: Builder, search: Search, store: Store, optunas: "Storage"):
        import optuna

        self.builder, self.search, self.store = builder, search, store
        self.section = builder.study.manifest.tuning
        self.budget = self.section.trials
        if self.section.sampler == "grid":
            points = math.prod(len(axis) for axis in self.section.space.values() if isinstance(axis, tuple))
            self.budget = min(self.budget or points, points)
        self.before: Searching | None = None
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

    def follow(self, before: "Searching | None") -> None:
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
        return alive(tuner) if tuner else begun is not None and (datetime.now() - begun).total_seconds() < leases.PATIENCE

    def ask(self, tuner: str) -> "Asked | None":
        """The next trial, or None: where the budget is spent, or where it is given up.

        Tuners ask without waiting for each other: of trials beyond the budget, those with the higher numbers are given back.
        """
        import optuna

        states, trials = optuna.trial.TrialState, self.study.get_trials(deepcopy=False)
        counted = _counted(trials)
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
        if not self._spent(_counted(earlier)):
            return trial
        trial.set_user_attr("surplus", True)
        self.study.tell(trial, state=states.FAIL)
        return self.ask(tuner) if waiting > 1 else None

    def _spent(self, counted: Sized) -> bool:
        return self.budget is not None and len(counted) >= self.budget

    def end(self, trial: "Asked", record: Trial) -> None:
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

    @property
    def ended(self) -> int:
        """How many of its trials have ended."""
        return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))

    def told(self) -> str:
        """How far it is, in a few words."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        best = max((trial.value for trial in ended if trial.value is not None), default=None)
        return f"{len(ended)} of {self.budget or 'any'} trials" + (f", best {100 * best:.1f}" if best is not None else "")

    def why_not(self) -> str:
        """Why there is no winner."""
        reasons = [trial.reason for trial in self.store.trials(self.folder) if trial.reason]
        return f"{self.search.name}: " + (f"no trial is complete; the last says: {reasons[-1]}" if reasons else "no trial ended")

    def _tell(self, trial: "Asked", record: Trial) -> None:
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


def _counted(trials: "Iterable[optuna.trial.FrozenTrial]") -> "list[optuna.trial.FrozenTrial]":
    """The trials that a budget counts: not those that were given back, or lost with their tuner."""
    import optuna

    return [trial for trial in trials if trial.state != optuna.trial.TrialState.FAIL or "reason" in trial.user_attrs]


def taken_over(before: Searching, search: Search, count: int) -> Iterator[tuple[Values, str]]:
    """The best values of a smaller model, their learning rate by the ratio of widths (Yang et al. 2021, Adam's hidden layers)."""
    models = before.builder.study.facts.models
    ratio = models[before.search.model].limits.width / models[search.model].limits.width
    for trial in before.best(count):
        values = {name: float(value) * ratio if name == "lr" else value for name, value in trial.values.items()}
        yield values, f"{before.search.model}, trial {trial.number}"


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
