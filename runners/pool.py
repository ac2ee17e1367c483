"""Worker processes on this machine that live across stages: importing torch costs more than a small stage."""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from xlift.registry.claims import Lost
from xlift.registry.plan import Plan, Step
from xlift.registry.store import Store

if TYPE_CHECKING:
    from xlift.runners.run import Env

TRIES = 2  # of a stage whose worker dies
PAUSE = 0.5  # seconds between looks at stages that another process has


@dataclass
class Outcome:
    """What became of the steps: ids of those that ran, and reasons of those that failed or could not start."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    step: Step | None = None


def execute(plan: Plan, todo: Sequence[Step], env: "Env", workers: int, tell: Callable[[Outcome, list[Step]], None]) -> Outcome:
    """Run the steps of a plan that are to do, parents before children, the largest models first.

    `tell` is called at least every second with the outcome so far and the steps under way. A worker that dies is
    replaced and its step tried again; a step that fails takes only its descendants with it.
    """
    store, outcome = Store(env.store), Outcome()
    waiting, tries = list(todo), dict.fromkeys((step.stage.id for step in plan.steps), 0)
    sizes = {name: model.parameters.non_embedding for name, model in plan.study.facts.models.items()}
    waiting.sort(key=lambda step: -sizes[step.model])  # stable: parents stay before children
    crew: list[_Worker] = []
    with _terminated_softly(crew):
        while waiting or any(worker.step for worker in crew):
            _drop_descendants(waiting, outcome)
            _hand_out(waiting, crew, env, store, workers)
            tell(outcome, [worker.step for worker in crew if worker.step])
            _collect(waiting, crew, outcome, tries)
    return outcome


def _hand_out(waiting: list[Step], crew: list[_Worker], env: "Env", store: Store, workers: int) -> None:
    """Give each idle worker a step whose parents are finished, starting workers as there is work."""
    pending = {step.stage.id for step in waiting} | {worker.step.stage.id for worker in crew if worker.step}
    for step in [s for s in waiting if not any(a.id in pending for a in s.stage.lineage[:-1])]:
        idle = next((worker for worker in crew if worker.step is None), None)
        if idle is None and len(crew) < workers:
            idle = _start(env)
            crew.append(idle)
        if idle is None:
            return
        if store.busy(step.stage.id):  # another process has it
            continue
        idle.step = step
        waiting.remove(step)
        with contextlib.suppress(BrokenPipeError):  # the worker died while idle: `_collect` finds out
            idle.pipe.send(step)


def _collect(waiting: list[Step], crew: list[_Worker], outcome: Outcome, tries: dict[str, int]) -> None:
    """Take in what workers report, for at most a second."""
    busy = [worker for worker in crew if worker.step]
    if not busy:
        time.sleep(PAUSE)
    for pipe in wait([worker.pipe for worker in busy], timeout=1.0) if busy else ():
        worker = next(worker for worker in busy if worker.pipe is pipe)
        step = worker.step
        try:
            verdict, reason = worker.pipe.recv()
            worker.step = None
        except (EOFError, ConnectionResetError):
            crew.remove(worker)
            worker.process.join()
            verdict, reason = "died", f"the worker died ({_signal(worker.process.exitcode)})"
        tries[step.stage.id] += verdict == "died"
        if verdict == "done":
            outcome.done.append(step.stage.id)
        elif verdict == "held" or (verdict == "died" and tries[step.stage.id] < TRIES):
            waiting.insert(0, step)
        else:
            outcome.failed[step.stage.id] = reason


def _drop_descendants(waiting: list[Step], outcome: Outcome) -> None:
    for step in list(waiting):
        lost = next((a for a in step.stage.lineage[:-1] if a.id in outcome.failed), None)
        if lost:
            waiting.remove(step)
            outcome.skipped[step.stage.id] = f"its {lost.kind} stage {lost.id} ({lost.data.task}) failed"


def _start(env: "Env") -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, env), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def work(pipe: Connection, env: "Env") -> None:
    """A worker: steps in, verdicts out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the scheduler decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves by the claim's own door
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers.utils import logging

    from xlift.runners.run import run

    torch.set_num_threads(env.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    store = Store(env.store)
    while True:
        try:
            step = pipe.recv()
        except EOFError:
            return
        try:
            verdict = ("done" if run(step, env) else "held"), ""
        except Lost:
            verdict = "held", ""
        except Exception as error:  # the boundary: a failing stage is recorded, whatever it was, and the worker lives on
            verdict = "failed", f"{type(error).__name__}: {error}"
            detail = traceback.format_exc()
            with contextlib.suppress(OSError), store.claim(step.stage) or contextlib.nullcontext() as claim:
                if claim:
                    store.fail(claim, verdict[1], detail)  # unless the disk is full
        pipe.send(verdict)


@contextlib.contextmanager
def _terminated_softly(crew: list[_Worker]) -> Iterator[None]:
    """On the way out, whatever the reason, workers release their claims and end."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in crew:
            worker.pipe.close() if worker.step is None else worker.process.terminate()
        for worker in crew:
            worker.process.join(timeout=20)
            if worker.process.is_alive():
                worker.process.kill()


def _signal(code: int | None) -> str:
    return signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
