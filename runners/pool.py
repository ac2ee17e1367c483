"""Worker processes on this machine that live across stages: importing torch costs more than a small stage."""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

from xlift.registry.kept import NotUnderstood
from xlift.registry.leases import Lost
from xlift.registry.plan import Plan, Step
from xlift.registry.store import Store
from xlift.runners.jobs import GRACE, Ending, Env, Job, Outcome, Pruned, Watched

TRIES = 2  # of a stage whose worker dies
PAUSE = 0.5  # seconds between looks at stages that another process has


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None


class Crew:
    """Up to `size` workers, started as there is work; a context that ends them softly, whatever the reason."""

    def __init__(self, env: Env, size: int):
        self.env, self.size = env, size
        self.workers: list[_Worker] = []
        self._tries: dict[str, int] = {}

    def __enter__(self) -> "Crew":
        self._before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)
        for worker in self.workers:
            worker.pipe.close() if worker.job is None else worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=GRACE + 10)
            if worker.process.is_alive():
                worker.process.kill()

    @property
    def busy(self) -> list[Job]:
        return [worker.job for worker in self.workers if worker.job]

    @property
    def free(self) -> int:
        """How many jobs may be given."""
        return self.size - len(self.busy)

    def give(self, job: Job) -> None:
        """Hand a job to an idle worker; there has to be a free one."""
        worker = next((worker for worker in self.workers if worker.job is None), None)
        if worker is None:
            worker = _start(self.env)
            self.workers.append(worker)
        worker.job = job
        with contextlib.suppress(BrokenPipeError):  # the worker died while idle: `collect` finds out
            worker.pipe.send(job)

    def collect(self, go_on: Callable[[Job, int, float], bool] = lambda *_: True) -> list[Ending]:
        """What workers report, for at most a second. `go_on` answers for watched trainings: job, look, score.

        A worker that dies is replaced as jobs come; its job is `died` after `TRIES`, and before that `held`, to be given again.
        """
        busy, found = [worker for worker in self.workers if worker.job], []
        if not busy:
            time.sleep(PAUSE)
        for pipe in wait([worker.pipe for worker in busy], timeout=1.0) if busy else ():
            worker = next(worker for worker in busy if worker.pipe is pipe)
            job = worker.job
            assert job is not None
            try:
                kind, told = worker.pipe.recv()
                if kind == "look":
                    worker.pipe.send(go_on(job, *told))
                    continue
                worker.job = None
                found.append(Ending(job, kind, told))
            except (EOFError, ConnectionResetError, BrokenPipeError):
                self.workers.remove(worker)
                worker.process.join()
                tries = self._tries[job.step.stage.id] = self._tries.get(job.step.stage.id, 0) + 1
                kind = "died" if tries >= TRIES else "held"
                found.append(Ending(job, kind, f"the worker died ({_signal(worker.process.exitcode)})"))
        return found


def execute(
    plan: Plan,
    todo: Sequence[Step],
    crew: Crew,
    outcome: Outcome,
    tell: Callable[[Outcome, list[Step]], None],
) -> None:
    """Run the steps of a plan that are to do, parents before children, the largest models first, and add them to `outcome`.

    `tell` is called at least every second with the outcome so far and the steps under way. A worker that dies is
    replaced and its step tried again; a step that fails takes only its descendants with it.
    """
    store, waiting = Store(crew.env.store), list(todo)
    sizes = {name: model.parameters.non_embedding for name, model in plan.study.facts.models.items()}
    waiting.sort(key=lambda step: -sizes[step.model])  # stable: parents stay before children
    while waiting or crew.busy:
        _drop_descendants(waiting, outcome)
        _hand_out(waiting, crew, store)
        tell(outcome, [job.step for job in crew.busy])
        for ending in crew.collect():
            stage = ending.job.step.stage.id
            if ending.state == "done":
                outcome.done.append(stage)
            elif ending.state == "held":
                waiting.insert(0, ending.job.step)
            else:
                outcome.failed[stage] = ending.reason


def _hand_out(waiting: list[Step], crew: Crew, store: Store) -> None:
    """Give each free worker a step whose parents are finished and which no other process has."""
    pending = {step.stage.id for step in waiting} | {job.step.stage.id for job in crew.busy}
    for step in [s for s in waiting if not any(a.id in pending for a in s.stage.lineage[:-1])]:
        if not crew.free:
            return
        if not store.busy(step.stage.id):
            waiting.remove(step)
            crew.give(Job(step))


def _drop_descendants(waiting: list[Step], outcome: Outcome) -> None:
    for step in list(waiting):
        lost = next((a for a in step.stage.lineage[:-1] if a.id in outcome.failed), None)
        if lost:
            waiting.remove(step)
            outcome.skipped[step.stage.id] = f"its {lost.kind} stage {lost.id} ({lost.data.task}) failed"


def _start(env: Env) -> _Worker:
    context = _context()
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, env), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _context() -> "ForkServerContext | SpawnContext":
    """How processes are made: forked off one that has imported torch and transformers, and done nothing with them."""
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["xlift.runners.run", "transformers.modeling_utils"])
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"  # else a folder named xlift, where the command is given, would be taken for the package
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONSAFEPATH")
        os.environ.update({"PYTHONSAFEPATH": before} if before is not None else {})
    return context


def work(pipe: Connection, env: Env) -> None:
    """A worker: jobs in, looks and verdicts out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the scheduler decides
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves by the lease's own door
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers.utils import logging

    from xlift.runners import resume

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, resume.leave)
    torch.set_num_threads(env.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def look(number: int, score: float) -> bool:
        pipe.send(("look", (number, score)))
        try:
            return pipe.recv()
        except EOFError:  # nobody is there to decide
            sys.exit(1)

    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(job, env, look))


def attempt(job: Job, env: Env, look: Callable[[int, float], bool]) -> tuple[str, str]:
    """Run a job here: the kind of its ending, and the reason. `look` answers for a watched training."""
    import torch

    from xlift.runners.run import run
    from xlift.runners.train import Diverged

    try:
        watched = Watched(job.judges, job.reports, look) if job.reports else None
        return ("done" if run(job.step, env, watched) else "held"), ""
    except Lost:
        return "held", ""
    except Pruned as end:
        return "pruned", str(end)
    except Exception as error:  # the boundary: a failing stage is recorded, whatever it was, and the worker lives on
        store, reason, detail = Store(env.store), f"{type(error).__name__}: {error}", traceback.format_exc()
        with contextlib.suppress(OSError, NotUnderstood), store.lease(job.step.stage) or contextlib.nullcontext() as lease:
            if lease:
                store.fail(lease, reason, detail)  # unless the disk is full
        out = isinstance(error, torch.OutOfMemoryError | MemoryError)
        return "memory" if out else "diverged" if isinstance(error, Diverged) else "failed", reason


def _signal(code: int | None) -> str:
    return signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
