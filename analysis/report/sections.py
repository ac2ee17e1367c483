"""What a page is made of: sections of tables, figures and paragraphs, in the order in which they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from matplotlib.figure import Figure

from xlift.analysis.report.table import Table


@dataclass(frozen=True, slots=True)
class Plate:
    """A figure with its caption, which is also what a screen reader says; `stacked` has its panels below each other."""

    name: str
    caption: str
    figure: Figure
    stacked: Figure | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Folded:
    """A table that is shown when its title is opened, which says what it holds; without rows it is a file alone."""

    title: str
    table: Table
    open: bool = False


Part = Table | Plate | Text | Folded


@dataclass(frozen=True, slots=True)
class Section:
    """Some parts below a title; `id` is its anchor in the page, `short` its title among the links at the head."""

    id: str
    title: str
    parts: Sequence[Part]
    short: str = ""

    def of(self, study: str) -> "Section":
        """The same, each table with the query of its rows."""
        return replace(self, parts=[_of(part, study) for part in self.parts])

    @property
    def tables(self) -> Iterator[Table]:
        for part in self.parts:
            if isinstance(part, Table | Folded):
                yield part if isinstance(part, Table) else part.table

    @property
    def plates(self) -> Iterator[Plate]:
        return (part for part in self.parts if isinstance(part, Plate))


def _of(part: Part, study: str) -> Part:
    if isinstance(part, Folded):
        return replace(part, table=part.table.of(study))
    return part.of(study) if isinstance(part, Table) else part


def kind(part: Part) -> Literal["table", "plate", "text", "folded", "file"]:
    """How a part is shown."""
    match part:
        case Table():
            return "table"
        case Plate():
            return "plate"
        case Text():
            return "text"
        case Folded():
            return "folded" if len(part.table.shown) else "file"
