"""A worker of a study: it joins and leaves at will, on any machine that sees the store, and needs no network.

It reads the plan and the records that are in the store, and imports torch when there is work.
"""

import math
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.orders import Orders
from xlift.registry.plan import Step
from xlift.registry.standing import left
from xlift.registry.store import Store
from xlift.registry.study import Study
from xlift.registry.submission import Cancelled
from xlift.runners import pool
from xlift.runners.jobs import GRACE, MINUTES, Env, Outcome
from xlift.runners.machine import cores, device_and_workers, devices
from xlift.runners.progress import work as amount
from xlift.runners.queue import Queue
from xlift.runners.session import Told, tell_failures

LEFT = 75  # exit status: work is left, and another worker may go on with it (EX_TEMPFAIL of sysexits.h)
VAIN = 3  # stages that fail in a worker's life before one is done, after which it leaves


class WorkLeft(Exception):
    """It leaves while there is work, for a reason."""


class CancelledBy(Exception):
    """It leaves, and nobody is to go on."""


def work(
    study: Study,
    steps: tuple[Step, ...],
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    models: Path | None = None,
    minutes: float = MINUTES,
    grace: int = GRACE,
    threads: int | None = None,
    seconds: float | None = None,
    mine: Callable[[Step, int], bool] = lambda *_: True,
) -> Outcome:
    """Run what is left of a study's `steps`, until nothing is that runs here, or for so many `seconds`.

    Raises:
        WorkLeft: its time is over, or it was asked to leave (SIGTERM, SIGUSR1): trainings under way are kept within `grace`
            seconds more, and go on wherever they are taken up.
        CancelledBy: the study was cancelled, or Ctrl-C was pressed.
        UserError: so many stages fail here that the machine is at fault, rather than they.
    """
    until, cancelled = time.monotonic() + (seconds or math.inf), Cancelled(store, study.id)
    for number in pool.LEAVE:
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(stderr=True, force_jupyter=False)
    todo = left(steps, store)
    console.print(f"{study.id}: {len(steps)} stages, {len(todo)} are left", highlight=False)
    queue = Queue(todo, store, partial(amount, study), mine=mine, orders=Orders(store, study.id))

    def vain() -> bool:
        return not queue.outcome.done and len(queue.vain) >= VAIN

    try:
        if queue:
            device, _ = device_and_workers(device, workers)
            inputs, own = Inputs(study, data.resolve() if data else None), threads or max(1, cores() // workers)
            env = Env(store.root, inputs, device, own, minutes=minutes, grace=grace, models=models)
            with Told(study, todo, store, console) as told, pool.Crew(env, devices(device, workers)) as crew:
                pool.execute(queue, crew, told, lambda: time.monotonic() >= until or cancelled() or vain())
    except SystemExit:
        raise WorkLeft("it was asked to leave") from None
    except KeyboardInterrupt:
        raise CancelledBy("interrupted; what is finished is kept, and a training goes on wherever it is taken up") from None
    tell_failures(queue.outcome, store, console)
    if cancelled():
        raise CancelledBy(f"study '{study.id}' was cancelled")
    if vain():
        raise UserError(f"the first {VAIN} stages all failed here", "look at this machine, and at xlift status")
    if queue:
        raise WorkLeft("its time is over")
    return queue.outcome
