"""A run of a study from the terminal: the card, the pool, the progress, and MLflow beside them."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xlift.registry import sheet
from xlift.registry.inputs import Inputs
from xlift.registry.plan import Plan, Step, remember
from xlift.registry.standing import standing
from xlift.registry.store import Store
from xlift.registry.study import Study
from xlift.registry.submission import Cancelled
from xlift.runners import pool
from xlift.runners.jobs import MINUTES, Env, Job, Outcome
from xlift.runners.machine import cores, devices
from xlift.runners.progress import Ahead, work
from xlift.runners.queue import Queue
from xlift.runners.release import Needs

LINE = 30.0  # seconds between lines where there is no terminal
SHOWN = 8  # searches under way that are named


def run(
    plan: Plan,
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    models: Path | None = None,
    only: frozenset[str] | None = None,
    minutes: float = MINUTES,
    mlflow: bool = True,
    release: bool = False,
    retry: bool = False,
) -> Outcome:
    """Run what is missing of a plan, or of its evaluations `only`, with progress on standard error and, meanwhile, in MLflow.

    With `retry` stages that failed too often are tried again. With `release` the checkpoint of a training is deleted as soon
    as no evaluation of the plan needs it that is still to run.
    """
    plan.pinned()
    console = Console(stderr=True, force_jupyter=False)  # a notebook gets plain lines too
    stands = standing(plan, store, read=True)
    todo = stands.todo(only)
    blocked = {reason for step in plan.steps if (reason := stands.blocked(step))}
    console.print(
        f"{plan.study.id}: {len(plan.steps)} stages, {len(todo)} to run"
        + "".join(f"\n  blocked: {reason}" for reason in sorted(blocked)),
        highlight=False,
    )
    if not remember(plan, store):
        console.print("  the store's card of this study stays as it was: more of it could run then", highlight=False)
    sheet.save(plan, store)
    stands.mend(store)
    if retry:
        for step in todo:
            store.forgive(step.stage)
    needs = Needs(stands, store) if release else None
    outcome = Outcome(foreign=stands.foreign)
    if not todo:
        return outcome
    inputs, threads = Inputs(plan.study, data.resolve() if data else None), max(1, cores() // workers)
    env = Env(store.root, inputs, device, threads, minutes=minutes, models=models)
    cancelled = Cancelled(store, plan.study.id)
    told, crew = Told(plan.study, todo, store, console, needs), pool.Crew(env, devices(device, workers))
    with _mlflow(plan, store, console, mlflow), told, crew:
        pool.execute(Queue(todo, store, partial(work, plan.study), outcome), crew, told, cancelled)
    if cancelled():
        console.print(
            "cancelled; what is finished is kept, and the same command goes on from there", style="yellow", highlight=False
        )
    if needs:
        needs.met([*outcome.done, *outcome.elsewhere])
    tell_failures(outcome, store, console)
    return outcome


def tell_failures(outcome: Outcome, store: Store, console: Console) -> None:
    """A line for each stage that failed or could not start, and what would do."""
    for stage, reason in {**outcome.failed, **outcome.skipped}.items():
        trace = store.folder(stage) / "failure.json"
        said = f"; its trace is in {trace}" if stage in outcome.failed and trace.exists() else ""
        console.print(
            f"{'failed' if stage in outcome.failed else 'not run'} {stage}: {reason}{said}",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.failed:
        console.print("these stages are not tried again, unless by xlift run STUDY --retry-failed", highlight=False)


def tune(
    plan: Plan,
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    models: Path | None = None,
    storage: str | None = None,
    mlflow: bool = True,
    elsewhere: Callable[[], None] | None = None,
) -> Plan:
    """Bring the searches of a plan to their end, with progress on standard error; the plan with what they found."""
    from xlift.runners import tracking, tuning
    from xlift.runners.tuning import figures

    plan.pinned()
    console = Console(stderr=True, force_jupyter=False)
    searches = len(plan.builder.searches) if plan.builder else 0
    console.print(f"{plan.study.id}: {searches} searches", highlight=False)
    said, heard = time.monotonic(), ""

    def tell(tunings: list[tuning.Searching], busy: list[Job]) -> None:
        nonlocal said, heard
        ended = [each.ended for each in tunings]
        under_way = [each for each, count in zip(tunings, ended, strict=True) if 0 < count < (each.budget or math.inf)]
        lines = [f"{sum(ended):,} trials of {len(tunings)} searches have ended"] if tunings else []
        lines += [f"{each.search.name}: {each.told()}" for each in under_way[:SHOWN]]
        now = "\n".join(lines) or "; ".join(f"{job.step.stage.kind} {job.step.model} {job.step.stage.data.task}" for job in busy)
        live.update(now)
        if not console.is_terminal and now != heard and time.monotonic() - said >= LINE:
            said, heard = time.monotonic(), now
            console.print("; ".join(lines) or now, highlight=False, soft_wrap=True)

    with _mlflow(plan, store, console, mlflow), Live("", console=console, transient=True, refresh_per_second=2) as live:
        made = tuning.tune(
            plan, store, data, workers=workers, device=device, models=models, url=storage, elsewhere=elsewhere, tell=tell
        )
    if not mlflow:
        return made
    with TemporaryDirectory() as folder:
        figures.draw(made, store, Path(folder), storage)
        try:
            tracking.Mirror(made, store).attach(Path(folder), what="tuning")
        except tracking.TrackingError as error:
            console.print(f"the figures of the searches are not in MLflow: {error}", style="yellow", highlight=False)
    return made


class Told:
    """Progress on a terminal, or a plain line at intervals where there is none; called with what became of the steps so far."""

    def __init__(self, study: Study, todo: tuple[Step, ...], store: Store, console: Console, needs: Needs | None = None):
        self.ahead, self.console, self.needs = Ahead(study, todo, store), console, needs
        self.at = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, transient=not console.is_terminal)
        self.bar = self.progress.add_task("stages", total=len(self.ahead.steps))

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, outcome: Outcome, busy: list[Step]) -> None:
        if self.needs:
            self.needs.met([*outcome.done, *outcome.elsewhere])
        done = len(outcome.done) + len(outcome.elsewhere) + len(outcome.failed) + len(outcome.skipped)
        lines = self.ahead.lines(outcome, busy)
        self.progress.update(
            self.bar, completed=done, total=max(done, len(self.ahead.work)), description="\n".join(lines) or "stages"
        )
        if not self.console.is_terminal and time.monotonic() - self.at >= LINE:
            self.at = time.monotonic()
            self.console.print(f"{done}/{len(self.ahead.work)}  " + "; ".join(lines), highlight=False, soft_wrap=True)


def _mlflow(plan: Plan, store: Store, console: Console, wanted: bool) -> AbstractContextManager[None]:
    """MLflow kept up to date meanwhile, or nothing."""
    if not wanted:
        return nullcontext()
    from xlift.runners.tracking.live import Mirrored

    return Mirrored(plan, store, console)
