"""What was sent to a cluster: which engine has which jobs, and which class of resources each stage is of."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from xlift.registry import kept
from xlift.registry.builder import Step
from xlift.registry.kept import Kept
from xlift.registry.store import Store

CANCELLED = "cancelled"


class Submission(Kept):
    """One order: jobs by the engine's own names; a stage's classes, by their place, smallest first."""

    study: str
    number: int
    engine: str
    at: str
    host: str
    jobs: tuple[str, ...]
    classes: tuple[str, ...] = ()
    only: bool = Field(False, description="no other evaluations are run than those that have a class")
    of: dict[str, tuple[int, ...]] = {}
    alike: dict[str, tuple[int, ...]] = {}  # by model and kind, for stages that are not known when it is sent: those of trials

    def class_of(self, step: Step, short: int = 0) -> int | None:
        """The class of a stage whose memory did not do so often; None where nothing like it was sent."""
        classes = self.of.get(step.stage.id) or self.alike.get(f"{step.model} {step.stage.kind}")
        return classes[min(short, len(classes) - 1)] if classes else None

    def chosen(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """Those of a plan's steps that were sent, and trainings, of which some may have to be made again."""
        return tuple(step for step in steps if not self.only or step.stage.kind != "evaluate" or step.stage.id in self.of)

    def names(self) -> dict[str, str]:
        """The name of each stage's class."""
        return {stage: self.classes[classes[0]] for stage, classes in self.of.items()}


def folder(store: Store, study: str) -> Path:
    return store.root / "submissions" / study


def begin(store: Store, study: str) -> tuple[int, Path]:
    """A number for a new order and a folder for its scripts and logs; nobody else gets it."""
    number = max(_numbers(store, study), default=0)
    while True:
        number += 1
        path = folder(store, study) / str(number)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return number, path


def save(store: Store, submission: Submission) -> None:
    kept.write(folder(store, submission.study) / str(submission.number) / "submission.json", submission)


def read(store: Store, study: str, number: int) -> Submission | None:
    """An order by its number. Raises `NotUnderstood`."""
    return kept.read(Submission, folder(store, study) / str(number) / "submission.json")


def newest(store: Store, study: str) -> Submission | None:
    """The last order of a study; None where there was none. Raises `NotUnderstood`."""
    for number in sorted(_numbers(store, study), reverse=True):
        if found := read(store, study, number):
            return found
    return None


def cancel(store: Store, study: str) -> None:
    """Ask all who work on a study now to leave, wherever they are."""
    path = folder(store, study) / CANCELLED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch()


class Cancelled:
    """Whether a study was cancelled since this was made."""

    def __init__(self, store: Store, study: str):
        self._path = folder(store, study) / CANCELLED
        self._before = self._mark()

    def __call__(self) -> bool:
        return self._mark() != self._before

    def _mark(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def _numbers(store: Store, study: str) -> list[int]:
    try:
        return [int(path.name) for path in folder(store, study).iterdir() if path.name.isdigit()]
    except FileNotFoundError:
        return []
