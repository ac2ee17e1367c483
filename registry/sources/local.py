"""Files in a folder that a user names with --data, whoever brought them there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from xlift.registry import files
from xlift.registry.known.languages import LANGUAGES
from xlift.registry.known.tasks import TASKS, Task
from xlift.registry.sources.base import Section, absent


class Local(Section):
    """Files of the natural languages' tasks, or of one's own."""

    brought: ClassVar[bool] = True

    source: Literal["local"]
    files: Annotated[str, Field(min_length=1, max_length=2000)] = Field(
        "{task}/{split}.{language}.jsonl", description="pattern below the data folder; .gz may follow on disk"
    )

    @property
    def tasks(self) -> Mapping[str, Task]:
        return TASKS

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(LANGUAGES)

    @property
    def texts(self) -> None:
        return None

    @property
    def pivot(self) -> str:
        return "en"

    @property
    def pattern(self) -> str:
        return self.files

    def opened(self, data: Path | None, patterns: Mapping[str, str]) -> "LocalFiles":
        return LocalFiles(data, self.files, patterns)


@dataclass(frozen=True)
class LocalFiles:
    """The files below a data folder."""

    folder: Path | None
    usual: str
    patterns: Mapping[str, str]  # of the tasks whose files stand elsewhere

    def pattern(self, task: str) -> str:
        """Where a task's files are below the folder."""
        return self.patterns.get(task, self.usual)

    def path(self, task: str, split: str, language: str) -> Path | None:
        return files.path(self.folder, task, split, language, self.pattern(task)) if self.folder else None

    def digest(self, task: str, split: str, language: str) -> str | None:
        """That of the file's bytes, uncompressed."""
        path = self.path(task, split, language)
        return _digest(path, path.stat().st_mtime_ns) if path else None

    def at_most(self, limit: int, task: str, language: str) -> bool:
        path = self.path(task, "train", language)
        return path is not None and _most_items(path, path.stat().st_mtime_ns) <= limit

    def sized(self, task: str, split: str, language: str) -> tuple[int, float] | None:
        """Lines of a file, and a quarter of its bytes, uncompressed."""
        path = self.path(task, split, language)
        return _sized(path, path.stat().st_mtime_ns) if path else None

    def why_absent(self, task: Task, split: str) -> str:
        return "no data: give --data DIR" if self.folder is None else absent(task, split)


@cache
def _digest(path: Path, _changed: int) -> str:
    return files.digest(path)


@cache
def _sized(path: Path, _changed: int) -> tuple[int, float]:
    lines = size = 0
    for piece in files.chunks(path):
        lines, size = lines + piece.count(b"\n"), size + len(piece)
    return max(lines, 1), size / 4 / max(lines, 1)


@cache
def _most_items(path: Path, _changed: int) -> int:
    """No file holds more items than line ends (of any kind), or in an array of objects than braces that open."""
    array = path.name.removesuffix(".gz").endswith(".json")
    return sum(piece.count(sign) for piece in files.chunks(path) for sign in ((b"{",) if array else (b"\n", b"\r"))) + (not array)
