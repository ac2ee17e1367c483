"""A crew whose workers are anywhere: jobs are orders in the store, and so is what becomes of them."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable

from xlift.registry import leases
from xlift.registry.leases import Clock
from xlift.registry.orders import Order, Orders, ordered
from xlift.registry.standing import look
from xlift.registry.store import Store
from xlift.runners.jobs import Ending, Env, Job

PAUSE = 1.0  # seconds between looks at what was ordered


class Elsewhere:
    """As `pool.Crew`, for so many jobs at once; `started` is called when workers may come."""

    def __init__(self, env: Env, size: int, started: Callable[[], None] = lambda: None):
        self.store, self.started = Store(env.store), started
        self.devices = ["elsewhere"] * size
        self.orders = Orders(self.store, env.inputs.study.id)
        self._jobs: dict[str, tuple[Job, int, int]] = {}  # job, how far its log was read, and looks that were told
        self._twice: list[Job] = []  # of stages that are ordered already
        self._leases = contextlib.ExitStack()
        self._name = secrets.token_hex(4)

    def __enter__(self) -> "Elsewhere":
        lease = leases.lease(self.orders.asker(self._name))
        assert lease is not None  # its name is its own
        self._leases.enter_context(lease)
        self.started()
        return self

    def __exit__(self, *_: object) -> None:
        for stage in self._jobs:
            self.orders.drop(stage)
        self._leases.close()
        shutil.rmtree(self.orders.asker(self._name), ignore_errors=True)

    @property
    def busy(self) -> list[Job]:
        return [*(job for job, _, _ in self._jobs.values()), *self._twice]

    @property
    def free(self) -> int:
        return len(self.devices) - len(self.busy)

    def give(self, job: Job) -> None:
        """Order a job. Two trials may share a stage: the second is held, as by another process."""
        stage = job.step.stage.id
        if stage in self._jobs:
            self._twice.append(job)
            return
        self.orders.give(Order(what=ordered(job.step), judges=tuple(map(ordered, job.judges)), reports=job.reports))
        self._jobs[stage] = (job, 0, 0)

    def collect(self, go_on: Callable[[Job, int, float], bool] = lambda *_: True, idle: float = PAUSE) -> list[Ending]:
        """What became of orders, looked at once; `go_on` answers for watched trainings."""
        time.sleep(PAUSE)
        clock, found = Clock(self.store.root), [Ending(job, "held") for job in self._twice]
        self._twice.clear()
        for stage, (job, _, _) in list(self._jobs.items()):
            if job.reports:
                self._watch(stage, go_on)
            state, reason, _ = look(job.step, self.store, clock)
            if ended := self.orders.ended(stage):
                found.append(Ending(job, ended.state, ended.reason))
            elif state == "finished":
                found.append(Ending(job, "done"))
            elif state == "failed":
                failure = self.store.failed(stage)
                found.append(Ending(job, failure.attempts[-1].kind if failure else "failed", reason))
            elif state == "foreign":
                found.append(Ending(job, "failed", reason))
        for ending in found:
            stage = ending.job.step.stage.id
            if ending.state == "held":
                continue
            del self._jobs[stage]
            self.orders.drop(stage)
        return found

    def _watch(self, stage: str, go_on: Callable[[Job, int, float], bool]) -> None:
        """Tell the looks that a training's log has since the last one."""
        job, offset, told = self._jobs[stage]
        try:
            rows, offset = self.store.log(stage, offset)
        except ValueError:  # a new try writes over the log
            rows, offset = [], 0
        for row in rows:
            if row.get("look", 0) > told:
                told = int(row["look"])
                if not go_on(job, told, row["dev"]):
                    self.orders.prune(stage)
        self._jobs[stage] = (job, offset, told)
