"""What every source of examples says of itself: `Section` before a data folder is known, `Source` once it is.

A source is one module here, whose section stands in the union of `xlift.registry.sources`, and one module of its name in
`xlift.runners.data`, whose `read(source, data, split, language)` gives the examples.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from xlift.registry.kinds import CORPORA
from xlift.registry.known.tasks import Task
from xlift.registry.spec import Spec
from xlift.registry.stage import Positive


class Source(Protocol):
    """Examples that can be looked up: what they are is in the digests, which stage ids rest on."""

    def digest(self, task: str, split: str, language: str) -> str | None:
        """Sha-256 of all that determines the examples of one split and language; None where there are none."""

    def at_most(self, limit: int, task: str, language: str) -> bool:
        """Whether a training set has no more items than `limit`, as far as that is told without making or parsing it."""

    def sized(self, task: str, split: str, language: str) -> tuple[int, float] | None:
        """Items of a split, and about how many tokens one has; None where they are not here."""

    def why_absent(self, task: Task, split: str) -> str:
        """Why a split has no digest, and what would do."""


def absent(task: Task, split: str) -> str:
    """In words: there is none of a task's split."""
    return f"no text of {task.name}" if task.kind in CORPORA else f"no {split} data of {task.name}"


class Subset(Spec):
    """Items that are drawn of each file, alike from each label."""

    train: Positive | None = None
    test: Positive | None = None


class Section(Spec):
    """Where the examples come from, as a manifest declares it: `data: {source: …}`."""

    brought: ClassVar[bool] = False  # files that a user names with --data; without them no stage has its id
    caution: ClassVar[str | None] = None  # what a reader of its scores has to know before the numbers

    source: str  # a Literal of the source's name
    limit: Subset = Subset()

    @property
    @abstractmethod
    def tasks(self) -> Mapping[str, Task]:
        """Those that a manifest may name without declaring them."""

    @property
    def own_tasks(self) -> bool:
        """Whether a manifest may declare tasks of its own, or change what these are made of."""
        return True

    @property
    @abstractmethod
    def languages(self) -> tuple[str, ...]:
        """Those that tests may have."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...] | None:
        """The languages that a corpus has; None where it may have any, and a manifest has to name them."""

    @property
    @abstractmethod
    def pivot(self) -> str:
        """The language of all training."""

    @property
    def pattern(self) -> str | None:
        """Where the files of a task are below the data folder; None where there are none."""
        return None

    @abstractmethod
    def opened(self, data: Path | None, patterns: Mapping[str, str]) -> Source:
        """The source with a data folder, and the patterns of the tasks whose files stand elsewhere."""
