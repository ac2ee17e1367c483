"""A run of a study from the terminal: the card, the pool, the progress, and MLflow beside them."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.plan import Plan, Step
from xlift.registry.store import Store
from xlift.runners import pool
from xlift.runners.pool import Outcome

EVERY = 5.0  # seconds between updates of MLflow
LINE = 30.0  # seconds between lines where there is no terminal
QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Unwritable(UserError):
    """The store is read-only, or its disk is full."""


class NoDevice(UserError):
    """The device that was asked for is not on this machine."""


def cores() -> int:
    """The processor cores that this process may use: its affinity and its container's quota count, not the machine."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups, or no quota
        return count


def device_and_workers(device: str, workers: int | None) -> tuple[str, int]:
    """What `auto` is here, and how many workers: one a core, or one where they share a GPU.

    Raises:
        NoDevice: there is no such device, in words.
    """
    if device == "auto" and not Path("/dev/nvidiactl").exists():
        device = "cpu"
    if device == "cpu":  # torch, which takes seconds, need not be asked
        return device, workers or cores()
    import torch

    gpu = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if gpu else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise NoDevice(f"no device '{device}'; there are auto, cpu, cuda, cuda:N and mps")
    if kind == "cuda" and (not gpu or int(number or 0) >= torch.cuda.device_count()):
        raise NoDevice(f"no device '{device}' here: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise NoDevice("no device 'mps' here")
    return device, workers or (cores() if kind == "cpu" else 1)


def run(
    plan: Plan,
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    only: frozenset[str] | None = None,
    mlflow: bool = True,
    release: bool = False,
) -> Outcome:
    """Run what is missing of a plan, or of its evaluations `only`, with progress on standard error and, meanwhile, in MLflow.

    With `release` the checkpoint of a training is deleted as soon as no evaluation of the plan needs it that is still to run.
    """
    plan.pinned()
    console = Console(stderr=True, force_jupyter=False)  # a notebook gets plain lines too
    todo = plan.todo(store, only)
    blocked = {step.blocked for step in plan.steps if step.blocked} | set(plan.foreign(store).values())
    console.print(
        f"{plan.study.id}: {len(plan.steps)} stages, {len(todo)} to run"
        + "".join(f"\n  blocked: {reason}" for reason in sorted(blocked)),
        highlight=False,
    )
    remember(plan, store, console)
    needs = Needs(plan, store) if release else None
    if not todo:
        return Outcome()
    with _live(plan, store, console, mlflow):
        outcome = _execute(plan, todo, store, data, workers, device, console, needs)
    for stage, reason in {**outcome.failed, **outcome.skipped}.items():
        trace = store.folder(stage) / "failure.json"
        said = f"; its trace is in {trace}" if stage in outcome.failed and trace.exists() else ""
        console.print(
            f"{'failed' if stage in outcome.failed else 'not run'} {stage}: {reason}{said}",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    return outcome


def tune(
    plan: Plan, store: Store, data: Path | None, *, workers: int, device: str, storage: str | None = None, mlflow: bool = True
) -> Plan:
    """Bring the searches of a plan to their end, with progress on standard error; the plan with what they found."""
    from xlift.runners import tracking, tuning
    from xlift.runners.tuning import figures

    plan.pinned()
    console = Console(stderr=True, force_jupyter=False)
    searches = len(plan.builder.searches) if plan.builder else 0
    console.print(f"{plan.study.id}: {searches} searches", highlight=False)
    said, heard = time.monotonic(), ""

    def tell(tunings: list[tuning.Tuning], busy: list[pool.Job]) -> None:
        nonlocal said, heard
        lines = [f"{each.search.name}: {each.told()}" for each in tunings]
        now = "\n".join(lines) or "; ".join(f"{job.step.stage.kind} {job.step.model} {job.step.stage.data.task}" for job in busy)
        live.update(now)
        if not console.is_terminal and now != heard and time.monotonic() - said >= LINE:
            said, heard = time.monotonic(), now
            console.print("; ".join(lines) or now, highlight=False, soft_wrap=True)

    with _live(plan, store, console, mlflow), Live("", console=console, transient=True, refresh_per_second=2) as live:
        made = tuning.tune(plan, store, data, workers=workers, device=device, url=storage, tell=tell)
    if not mlflow:
        return made
    with TemporaryDirectory() as folder:
        figures.draw(made, store, Path(folder), storage)
        try:
            tracking.Mirror(made, store).attach(Path(folder), what="tuning")
        except tracking.TrackingError as error:
            console.print(f"the figures of the searches are not in MLflow: {error}", style="yellow", highlight=False)
    return made


def remember(plan: Plan, store: Store, console: Console | None = None) -> None:
    """Keep the study's card, unless the store has one on which more can run: data that are not here today hide no result."""
    card, known = plan.card(), store.card(plan.study.id)
    if known == card:
        return
    if known and plan.gaps() and sum(c.blocked is None for c in known.cells) > sum(c.blocked is None for c in card.cells):
        if console:
            console.print("  the store's card of this study stays as it was: more of it could run then", highlight=False)
        return
    try:
        store.save_card(card)
    except OSError as error:
        raise Unwritable(f"the store {store.root} cannot be written: {error.strerror or error}") from None


class Needs:
    """Which evaluations still need a training's checkpoint; where none does any more, it is deleted."""

    def __init__(self, plan: Plan, store: Store):
        self.store = store
        self.above = {
            step.stage.id: [stage for stage in step.stage.lineage if stage.kind == "train"]
            for step in plan.steps
            if step.stage.kind == "evaluate"
        }
        self.open: dict[str, set[str]] = {stage.id: set() for stages in self.above.values() for stage in stages}
        states = {step.stage.id: plan.state(step, store) for step in plan.steps if step.stage.kind == "evaluate"}
        for id, stages in self.above.items():
            for stage in stages if states[id] == "run" else ():
                self.open[stage.id].add(id)
        self.met([id for id, state in states.items() if state != "run"])

    def met(self, evaluations: Iterable[str]) -> None:
        """These evaluations are finished, or cannot run; ids of other stages, or for a second time, say nothing."""
        for id in evaluations:
            for stage in self.above.pop(id, ()):
                self.open[stage.id].discard(id)
                if not self.open[stage.id] and self.store.usable(stage.id):
                    self.store.release(stage)


def _execute(
    plan: Plan,
    todo: tuple[Step, ...],
    store: Store,
    data: Path | None,
    workers: int,
    device: str,
    console: Console,
    needs: Needs | None,
) -> Outcome:
    env = pool.Env(store.root, Inputs(plan.study, data.resolve() if data else None), device, max(1, cores() // workers))
    ahead = Ahead(plan, todo, store)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("stages", total=len(ahead.steps))
        said = time.monotonic()

        def tell(outcome: Outcome, busy: list[Step]) -> None:
            nonlocal said
            if needs:
                needs.met(outcome.done)
            done = len(outcome.done) + len(outcome.failed) + len(outcome.skipped)
            lines = ahead.lines(outcome, busy)
            progress.update(bar, completed=done, description="\n".join(lines) or "stages")
            if not console.is_terminal and time.monotonic() - said >= LINE:
                said = time.monotonic()
                console.print(f"{done}/{len(ahead.steps)}  " + "; ".join(lines), highlight=False, soft_wrap=True)

        with pool.Crew(env, workers) as crew:
            outcome = pool.execute(plan, todo, crew, tell)
    if needs:
        needs.met(outcome.done)
    return outcome


@dataclass
class Ahead:
    """How far a run is, and how long it will still take: work is parameters x examples, its pace is that of this run."""

    plan: Plan
    steps: tuple[Step, ...]
    store: Store

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.since: dict[str, float] = {}
        self.work = {step.stage.id: self._work(step) for step in self.steps}

    def _work(self, step: Step) -> float:
        """Relative; an evaluation reads about as many items as 10 optimizer batches, once and forwards."""
        parameters, recipe = self.plan.study.facts.models[step.model].parameters.total, step.stage.recipe
        if recipe is None:
            return parameters * 32 * 10 / 3 * max(1, len(step.parts))
        return parameters * recipe.batch * (recipe.steps or 200 * (recipe.epochs or 1))

    def lines(self, outcome: Outcome, busy: list[Step]) -> list[str]:
        """One line a stage under way, and one of the whole study: step, loss, tokens per second, time left."""
        now, over = time.monotonic(), {*outcome.done, *outcome.failed, *outcome.skipped}
        finished, lines = sum(self.work[stage] for stage in over if stage in self.work), []
        for step in busy:
            since, last = self.since.setdefault(step.stage.id, now), self.store.last(step.stage.id)
            name = f"{step.stage.kind} {step.model} {step.stage.data.task}"
            if last and {"step", "of", "loss"} <= last.keys() and last["time"] / 1000 > time.time() - (now - since) - 1:
                share = last["step"] / last["of"]
                finished += share * self.work[step.stage.id]
                name += (
                    f": step {last['step']:.0f}/{last['of']:.0f}, loss {last['loss']:.3f}, "
                    f"{last.get('tokens_per_second', 0):,.0f} tokens/s, {_left(now - since, share)}"
                )
            lines.append(name)
        total = sum(self.work.values())
        return [*lines, f"study: {_left(now - self.begun, finished / total if total else 0)}"] if lines else []


def _left(elapsed: float, share: float) -> str:
    """'about 12 min left', from the share that is done."""
    if share <= 0 or elapsed < 2:
        return "time left not known yet"
    seconds = elapsed * (1 - share) / share
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit} left"
    return f"about {seconds:.0f} s left"


def _live(plan: Plan, store: Store, console: Console, mlflow: bool) -> AbstractContextManager[None]:
    """MLflow beside a run, or nothing."""
    return _Live(plan, store, console) if mlflow else nullcontext()


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
            except Exception as error:  # the boundary: whatever goes wrong in MLflow is said, and stops no run
                said = f"MLflow: {error or type(error).__name__}; the runs are safe, and `xlift sync` completes it later"
                if said == trouble and not last:
                    continue
                trouble = said
            if trouble or last:
                self.console.print(said, style="yellow" if trouble else None, highlight=False, soft_wrap=True)
