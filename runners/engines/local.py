"""Workers in the background of this machine, which outlive the terminal."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

from xlift.registry import leases
from xlift.runners.engines.base import Order, Script, shell


class Local:
    def missing(self) -> str | None:
        return None

    def scripts(self, order: Order) -> list[Script]:
        count = order.count(0)  # one process for all of them, which hands out this machine's devices
        return [Script("workers", f"# {order.head(0)}\n{shell(order.worker(0, workers=count))}\n")] if count else []

    def submit(self, order: Order, scripts: list[Script]) -> list[str]:
        jobs = []
        for script in scripts:
            jobs.append(background(shlex.split(script.text, comments=True), order.logs / f"{script.name}.log"))
        return jobs

    def states(self, jobs: tuple[str, ...]) -> dict[str, str]:
        return {f"process {pid}": "running" for pid in map(_alive, jobs) if pid}

    def cancel(self, jobs: tuple[str, ...]) -> None:
        for pid in map(_alive, jobs):
            if pid:
                os.kill(pid, signal.SIGTERM)


def background(command: list[str], log: Path) -> str:
    """Start a process that outlives this one; its name as a job."""
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    return f"{process.pid}:{leases.started(process.pid)}"


def _alive(job: str) -> int | None:
    """The process id, if it is still that process."""
    pid, _, started = job.partition(":")
    return int(pid) if Path(f"/proc/{pid}").exists() and leases.started(int(pid)) == started else None


ENGINE = Local()
