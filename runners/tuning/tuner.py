"""One process that tunes: it asks searches for trials, has a crew run them, and says what they came to."""

import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xlift.registry import leases
from xlift.registry.builder import Builder, Step
from xlift.registry.card import Trial, TrialState
from xlift.registry.findings import UserError
from xlift.registry.store import Store
from xlift.runners.jobs import Ending, Job
from xlift.runners.pool import Crewed
from xlift.runners.tuning.search import Searching, readable

if TYPE_CHECKING:
    from xlift.runners.tuning.search import Asked

STATES: dict[str, TrialState] = {  # of trials, by the ending on their last job; the values of infeasible ones are to blame
    "complete": "complete",
    "pruned": "pruned",
    "diverged": "infeasible",
    "memory": "infeasible",
}


@dataclass
class _Running:
    """A trial under way: what it still has to run, and what it ran."""

    trial: "Asked"
    pairs: list[tuple[Step, tuple[Step, ...]]]
    begun: float
    started: str
    queue: list[Job] = field(default_factory=list)
    job: Job | None = None  # what a worker has of it; two trials may share stages, and never jobs
    looks: int = 0


class Tuner:
    """One process that tunes: it asks for trials, has a crew run them, and tells what they came to."""

    def __init__(self, store: Store, crew: Crewed, study: str, tell: Callable[[list[Searching], list[Job]], None]):
        self.store, self.crew, self.tell = store, crew, tell
        self.folder = store.root / "tuning" / study
        self.name = f"{int(time.time())}-{secrets.token_hex(4)}"
        self.running: dict[int, tuple[Searching, _Running]] = {}
        self.begun: list[Searching] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the lease by which others see that this tuner lives."""
        folder = self.folder / "tuners" / self.name
        lease = leases.lease(folder)
        assert lease is not None  # its name is its own
        with lease:
            yield
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work that one tuner does at a time."""
        while (lease := leases.lease(self.folder / "lock")) is None:
            time.sleep(0.05)
        with lease:
            yield

    def alive(self, tuner: str) -> bool:
        return leases.alive(self.folder / "tuners" / tuner)

    def search(self, tunings: list[Searching], keep: frozenset[str]) -> None:
        """Bring searches to their end; `keep`: trainings whose checkpoints are needed later."""
        self.keep, open_ = keep, list(tunings)
        while open_ or self.running:
            self._fill(open_)
            self.tell(tunings, self.crew.busy)
            for ending in self.crew.collect(self._go_on):
                self._take(ending)

    def _fill(self, open_: list[Searching]) -> None:
        """Give free workers what running trials have next, then new trials, of searches with the fewest under way first."""
        for _, run in list(self.running.values()):
            if self.crew.free and not run.job and not self.store.busy(run.queue[0].step.stage.id):
                self._give(run)
        held: list[Searching] = []  # whose last trials others have
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

    def _busy(self, tuning: Searching) -> int:
        return sum(other is tuning for other, _ in self.running.values())

    def _ask(self, tuning: Searching) -> _Running | None:
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

    def _jobs(self, tuning: Searching, pairs: list[tuple[Step, tuple[Step, ...]]]) -> list[Job]:
        """What of a trial is not in the store."""
        found = []
        watched = tuning.section.pruner != "none" and len(pairs) == 1
        for training, judges in pairs:
            unscored = [judge for judge in judges if self.store.missing(judge.stage.id, judge.tests)]
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

    def _of(self, job: Job) -> tuple[Searching, _Running]:
        return next(pair for pair in self.running.values() if pair[1].job is job)

    def _take(self, ending: Ending) -> None:
        """One job less, or the end of its trial."""
        tuning, run = self._of(ending.job)
        run.job = None
        if ending.state in ("held", "left", "died"):  # what dies too often is refused the next time
            run.queue = self._jobs(tuning, run.pairs)  # another trial, or another process, may have done it
            if not run.queue:
                self._finish(tuning, run)
        elif ending.state != "done":
            self._finish(tuning, run, ending)
        elif not run.queue:
            self._finish(tuning, run)
        elif len(run.pairs) > 1 and tuning.section.pruner != "none" and run.queue[0].step.stage.kind != "evaluate":
            run.looks += 1  # a trial of several trainings is looked at after each
            run.trial.report(self._score(run.pairs[: run.looks]), run.looks)
            if run.trial.should_prune():
                self._finish(tuning, run, Ending(ending.job, "pruned", f"after {run.looks} trainings, and others are further"))

    def _score(self, pairs: Iterable[tuple[Step, tuple[Step, ...]]]) -> float:
        """The mean over trainings of the mean over their tasks, of the tasks' own metrics."""
        means = []
        for _, judges in pairs:
            found = [score.value for judge in judges for score in self.store.scores(judge.stage.id) if score.primary]
            means.append(math.fsum(found) / len(judges))
        return math.fsum(means) / len(means)

    def _finish(self, tuning: Searching, run: _Running, ending: Ending | None = None) -> None:
        """Write down what a trial came to, tell Optuna, and let go of checkpoints that nothing needs."""
        del self.running[id(run)]
        trainings = [training.stage for training, _ in run.pairs]
        lines = [self.store.last(stage.id) or {} for stage in trainings]
        memory = max((line["memory_gb"] for line in lines if "memory_gb" in line), default=None)
        limit = tuning.section.constraints.memory_gb
        over = limit is not None and memory is not None and memory > limit
        kind = ending.state if ending else "complete"
        tuning.end(
            run.trial,
            Trial(
                number=run.trial.number,
                values=readable(run.trial.params),
                origin=run.trial.user_attrs.get("origin", "searched"),
                state="infeasible" if over else STATES.get(kind, "failed"),
                score=None if ending else self._score(run.pairs),
                reason=ending.reason if ending else f"{memory:.2f} GB, above {limit:g}" if over else None,
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
        wrong = judge.stage.data.split not in ("dev", "held-out") or set(judge.tests) != {facts.source_language}
        if wrong or tested & set(judge.tests.values()) or judge.stage.parent != training.stage:
            raise UserError(f"the objective of {judge.stage.data.task} leaks: it would read test data, or another language")
