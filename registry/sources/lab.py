"""The lab: examples in made languages, which the dials of a world determine. Nothing is fetched, and the truth is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from xlift.registry.known import lab
from xlift.registry.known.lab import World
from xlift.registry.known.tasks import Task
from xlift.registry.sources.base import Section, absent


class Lab(Section):
    """The lab's world."""

    caution: ClassVar[str | None] = (
        "Every number here is from the lab, a made-up world with generated languages. It shows that the method works and "
        "says nothing about natural languages or published models."
    )

    source: Literal["lab"]
    world: World = Field(World(), description="the dials of the lab")

    @property
    def tasks(self) -> Mapping[str, Task]:
        return lab.TASKS

    @property
    def own_tasks(self) -> bool:
        return False

    @property
    def languages(self) -> tuple[str, ...]:
        return self.world.languages

    @property
    def texts(self) -> tuple[str, ...]:
        return self.world.languages

    @property
    def pivot(self) -> str:
        return lab.PIVOT

    def opened(self, data: Path | None, patterns: Mapping[str, str]) -> "Lab":
        return self

    def digest(self, task: str, split: str, language: str) -> str | None:
        """That of the dials that make these examples."""
        return lab.fingerprint(self.world, task, split, language) if language in self.world.languages else None

    def at_most(self, limit: int, task: str, language: str) -> bool:
        return lab.items(self.world, task, "train", language) <= limit

    def sized(self, task: str, split: str, language: str) -> tuple[int, float] | None:
        """A text of the lab has some dozen words."""
        return lab.items(self.world, task, split, language), 12.0

    def why_absent(self, task: Task, split: str) -> str:
        return absent(task, split)
