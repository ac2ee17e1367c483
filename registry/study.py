"""A study that runs here: its checked manifest, and what its names stand for."""

from dataclasses import dataclass
from pathlib import Path

from xlift.registry.findings import Finding, Place
from xlift.registry.known.tasks import Task
from xlift.registry.manifest.conditions import Condition
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.lock import Lock
from xlift.registry.manifest.models import Model
from xlift.registry.manifest.sections import Exclude, Include, Manifest
from xlift.registry.stage import Recipe, Scoring


@dataclass(frozen=True)
class Resolved:
    """What the names of a manifest stand for."""

    models: dict[str, Model]
    tasks: dict[str, Task]
    recipes: dict[str, Recipe]
    scorings: dict[str, Scoring]
    source_language: str
    excludes: tuple[tuple[Condition, Exclude], ...]
    includes: tuple[tuple[Condition | None, Include], ...]


@dataclass(frozen=True)
class Study:
    """A checked manifest, what its names stand for, its warnings, and where everything stands."""

    manifest: Manifest
    facts: Resolved
    path: Path
    warnings: tuple[Finding, ...]
    root: Node
    sources: dict[str, str]  # the text of each file, for findings that come later
    lock: Lock | None = None  # what tuning found

    @property
    def id(self) -> str:
        return self.manifest.id

    def place(self, path: tuple[str | int, ...]) -> Place:
        """Where a path of the manifest stands, or what is nearest to it."""
        return self.root.at(path).place

    def place_of_task(self, name: str) -> Place:
        """Where a task is declared, or else where it stands on an axis, or as a corpus."""
        declared = self.root.at(("tasks",)).keys or {}
        for axis in ("target", "intermediate"):
            if name not in declared and name in (names := getattr(self.manifest.matrix, axis)):
                return self.root.at(("matrix", axis, names.index(name))).place
        return declared.get(name, self.root.place)
