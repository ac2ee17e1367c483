"""What every engine does."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xlift.registry.profile import Class, Placed, Ray, Slurm


@dataclass(frozen=True)
class Order:
    """What is to be run, by paths that all machines see alike."""

    study: Path
    name: str
    store: Path
    folder: Path  # of this order: scripts and logs
    section: Slurm | Ray | None
    classes: tuple[Class, ...]
    placed: Placed
    data: Path | None = None
    models: Path | None = None
    minutes: float = 10.0
    device: str = "auto"
    hours: tuple[float, ...] = ()  # GPU hours of each class, as planned

    @property
    def logs(self) -> Path:
        named = getattr(self.section, "logs", None)
        return Path(named) if named else self.folder

    def worker(
        self,
        index: int,
        *,
        seconds: float | None = None,
        grace: int | None = None,
        workers: int | None = None,
        python: str | None = None,
    ) -> list[str]:
        """The command of a worker of a class."""
        return [
            python or sys.executable,
            "-P",
            "-m",
            "xlift",
            "worker",
            str(self.study),
            "--store",
            str(self.store),
            *(("--data", str(self.data)) if self.data else ()),
            *(("--models", str(self.models)) if self.models else ()),
            "--class",
            f"{self.classes[index].name}@{self.folder.name}",
            *(("--for", f"{seconds:.0f}s") if seconds else ()),
            *(("--grace", str(grace)) if grace else ()),
            *(("--workers", str(workers)) if workers else ()),
            "--keep",
            f"{self.minutes:g}",
            "--device",
            self.device,
        ]

    def count(self, index: int) -> int:
        """How many workers a class gets: no more than it has stages."""
        return min(self.classes[index].workers, len(self.placed.first(index)))

    def head(self, index: int) -> str:
        """What a class is to do, in words."""
        hours = f", {self.hours[index]:,.1f} GPU hours as planned" if self.hours else ""
        count = len(self.placed.first(index))
        return f"study {self.name}, class {self.classes[index].name}: {count} stages{hours}"


@dataclass(frozen=True)
class Script:
    """What is handed to an engine for one class, or a part of one."""

    name: str
    text: str


class Engine(Protocol):
    """One way of starting workers."""

    def missing(self) -> str | None:
        """Why it cannot be used here."""

    def scripts(self, order: Order) -> list[Script]:
        """What would be submitted; nothing is done."""

    def submit(self, order: Order, scripts: list[Script]) -> list[str]:
        """Hand it over; the engine's names of the jobs. Raises `UserError` in the engine's own words."""

    def states(self, jobs: tuple[str, ...]) -> dict[str, str]:
        """What the engine says of its jobs, in words; nothing of those that it forgot."""

    def cancel(self, jobs: tuple[str, ...]) -> None:
        """End them."""


def shell(words: list[str]) -> str:
    """A command as a shell reads it."""
    return shlex.join(words)
