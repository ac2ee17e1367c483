"""A run of a study from the terminal: the card, the pool, the progress, and MLflow beside them."""

import os
import threading
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xlift.registry.plan import Plan, Step
from xlift.registry.sources import Sources
from xlift.registry.store import Store
from xlift.runners import pool
from xlift.runners.pool import Outcome

EVERY = 5.0  # seconds between updates of MLflow


def run(plan: Plan, store: Store, data: Path | None, *, workers: int, device: str) -> Outcome:
    """Run what is missing of a plan, with progress on standard error."""
    console = Console(stderr=True)
    store.save_card(plan.card())
    todo = plan.todo(store)
    blocked = {step.blocked for step in plan.steps if step.blocked}
    console.print(
        f"{plan.study.id}: {len(plan.steps)} stages, {len(todo)} to run"
        + "".join(f"\n  blocked: {reason}" for reason in sorted(blocked)),
        highlight=False,
    )
    if not todo:
        return Outcome()
    outcome = _execute(plan, store, data, workers, device, console)
    for stage, reason in {**outcome.failed, **outcome.skipped}.items():
        console.print(
            f"failed {stage}: {reason}; its trace is in {store.folder(stage) / 'failure.json'}"
            if stage in outcome.failed
            else f"not run {stage}: {reason}",
            style="red",
            highlight=False,
        )
    return outcome


def _execute(plan: Plan, store: Store, data: Path | None, workers: int, device: str, console: Console) -> Outcome:
    from xlift.runners.run import Env

    env = Env(store.root, Sources(plan.study, data.resolve() if data else None), device, max(1, (os.cpu_count() or 1) // workers))
    with (
        _Live(plan, store, console),
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=not console.is_terminal,
        ) as progress,
    ):
        bar = progress.add_task("stages", total=len(plan.todo(store)))

        def tell(outcome: Outcome, busy: list[Step]) -> None:
            names = ", ".join(f"{s.stage.kind} {s.model} {s.stage.data.task}" for s in busy)
            progress.update(
                bar, completed=len(outcome.done) + len(outcome.failed) + len(outcome.skipped), description=names or "stages"
            )

        return pool.execute(plan, env, workers, tell)


class _Live:
    """MLflow kept up to date from a thread; what goes wrong there is said once and stops no run."""

    def __init__(self, plan: Plan, store: Store, console: Console):
        self.plan, self.store, self.console = plan, store, console
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="mlflow")

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _follow(self) -> None:
        from xlift.runners import tracking

        mirror, trouble = tracking.Mirror(self.plan, self.store), ""
        last = False
        while not last:
            last = self.stop.wait(EVERY)
            try:
                said, trouble = mirror.update(), ""
            except tracking.TrackingError as error:
                said = f"MLflow: {error}; the runs are safe, and `xlift sync` completes it later"
                if said == trouble and not last:
                    continue
                trouble = said
            if trouble or last:
                self.console.print(said, style="yellow" if trouble else None, highlight=False)
