"""Worker processes on this machine that live across stages: importing torch costs more than a small stage."""

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Protocol

from xlift.registry.kept import NotUnderstood
from xlift.registry.leases import Lost
from xlift.registry.plan import Step
from xlift.registry.store import TRIES, Damaged, Store
from xlift.runners.jobs import Ending, Env, Job, Outcome, Pruned, Watched
from xlift.runners.machine import NoDevice, versions
from xlift.runners.queue import Queue

PAUSE = 0.5  # seconds between looks where nothing is under way
LEAVE = (signal.SIGTERM, signal.SIGUSR1)  # by which a process is asked to leave


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    device: str
    job: Job | None = None


class Crewed(Protocol):
    """Whoever runs jobs: processes of this machine, or workers anywhere."""

    devices: list[str]

    @property
    def busy(self) -> list[Job]:
        """Jobs under way."""

    @property
    def free(self) -> int:
        """How many jobs may be given."""

    def give(self, job: Job) -> None:
        """Hand over a job; there has to be room for it."""

    def collect(self, go_on: Callable[[Job, int, float], bool] = ..., idle: float = ...) -> list[Ending]:
        """What became of jobs, waited for shortly."""


class Crew:
    """Workers, at most one on each of `devices`, started as there is work; a context that ends them softly, whatever the reason.

    Of devices one may be named several times, and a number stands for so many times that of `env`.
    """

    def __init__(self, env: Env, devices: int | Sequence[str]):
        self.env = env
        self.devices = [env.device] * devices if isinstance(devices, int) else list(devices)
        self.workers: list[_Worker] = []
        self._dead: Counter[str] = Counter()  # device -> workers that it took with it, one after the other

    def __enter__(self) -> "Crew":
        def leave(*_: object) -> None:
            sys.exit(128 + signal.SIGTERM)

        self._before = {number: signal.signal(number, leave) for number in LEAVE}
        return self

    def __exit__(self, *_: object) -> None:
        for number in LEAVE:
            signal.signal(number, signal.SIG_IGN)  # it leaves already, and waits for those that keep their trainings
        for worker in self.workers:
            worker.pipe.close() if worker.job is None else worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=self.env.grace + 10)
            if worker.process.is_alive():
                worker.process.kill()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def busy(self) -> list[Job]:
        return [worker.job for worker in self.workers if worker.job]

    @property
    def free(self) -> int:
        """How many jobs may be given."""
        return len(self.devices) - len(self.busy)

    def give(self, job: Job) -> None:
        """Hand a job to an idle worker; there has to be a free one."""
        worker = next((worker for worker in self.workers if worker.job is None), None)
        if worker is None:
            taken = Counter(worker.device for worker in self.workers)
            worker = _start(self.env, next(iter((Counter(self.devices) - taken).elements())))
            self.workers.append(worker)
        worker.job = job
        with contextlib.suppress(BrokenPipeError):  # the worker died while idle: `collect` finds out
            worker.pipe.send(job)

    def collect(self, go_on: Callable[[Job, int, float], bool] = lambda *_: True, idle: float = PAUSE) -> list[Ending]:
        """What workers report, for at most a second, or `idle` seconds where none has a job.

        `go_on` answers for watched trainings: job, look, score. A worker that ends is replaced as jobs come.
        """
        busy, found = [worker for worker in self.workers if worker.job], []
        if not busy:
            time.sleep(idle)
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
                self._heed(worker, kind)
            except (EOFError, ConnectionResetError, BrokenPipeError):
                self.workers.remove(worker)
                worker.process.join()
                found.append(self._died(job, worker.process.exitcode))
        return found

    def _died(self, job: Job, code: int | None) -> Ending:
        """The ending of a job whose worker ended: it was asked to leave, or it died, which is an attempt."""
        reason = f"the worker died ({_signal(code)})"
        if code == 128 + signal.SIGTERM:
            return Ending(job, "left", reason)
        store = Store(self.env.store)
        with contextlib.suppress(OSError, NotUnderstood), store.lease(job.step.stage) or contextlib.nullcontext() as lease:
            if lease:
                store.fail(lease, reason, "", "died", job.step.mark, versions())
        return Ending(job, "died", reason)

    def _heed(self, worker: _Worker, kind: str) -> None:
        """A worker whose device failed is replaced; a device that fails twice running gets no more work."""
        if kind != "device":
            self._dead[worker.device] = 0
            return
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join(timeout=self.env.grace)
        self._dead[worker.device] += 1
        if self._dead[worker.device] >= TRIES:
            self.devices.remove(worker.device)


def execute(queue: Queue, crew: Crewed, tell: Callable[[Outcome, list[Step]], None], over: Callable[[], bool]) -> None:
    """Run what a queue holds, until that is nothing, or it is `over`. `tell` is called with the outcome so far and the steps
    under way, at least every second while there are some.

    A step that fails takes only its descendants with it.

    Raises:
        NoDevice: no device is left that works.
    """
    while queue and not over():
        while crew.free > 0 and (step := queue.take()):
            crew.give(queue.job(step))
        if not crew.devices and not crew.busy:
            raise NoDevice("no device is left that works; see the trace of the stage that failed last")
        tell(queue.outcome, [job.step for job in crew.busy])
        for ending in crew.collect(queue.go_on, idle=min(queue.idle, PAUSE) if queue else 0.0):
            queue.ended(ending)


def _start(env: Env, device: str) -> _Worker:
    context = _context()
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, replace(env, device=device)), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here, device)


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
    for number in (*LEAVE, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves by the lease's own door
    from xlift.runners import resume

    for number in LEAVE:
        signal.signal(number, resume.leave)
    quiet(env.threads)

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
        kind, reason = attempt(job, env, look)
        pipe.send((kind, reason))
        if kind == "device":  # of what it did to this process nothing is known
            return


def quiet(threads: int) -> None:
    """Have the libraries of this process use so many threads, and say nothing."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def attempt(job: Job, env: Env, look: Callable[[int, float], bool]) -> tuple[str, str]:
    """Run a job here: the kind of its ending, and the reason. `look` answers for a watched training."""
    from xlift.runners.run import kind_of_failure, run

    try:
        watched = Watched(job.judges, job.reports, look) if job.reports else None
        return ("done" if run(job.step, env, watched) else "held"), ""
    except Lost:
        return "held", ""
    except Pruned as end:
        return "pruned", str(end)
    except Damaged as error:
        return "damaged", str(error)
    except Exception as error:  # the boundary: a stage that fails is no end of its worker
        return kind_of_failure(error), f"{type(error).__name__}: {error}"


def _signal(code: int | None) -> str:
    return signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
