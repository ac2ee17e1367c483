"""What is wrong with a parsed manifest, each with its place."""

from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

from xlift.registry.findings import Finding, Place
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import Declared

Form = TypeVar("Form", bound=Declared)


class Complaints(Generic[Form]):
    """One pass over a parsed manifest."""

    def __init__(self, manifest: Form, root: Node, folder: Path, findings: list[Finding]):
        self.manifest, self.root, self.folder, self.findings = manifest, root, folder, findings

    def complain(
        self,
        code: str,
        path: tuple[str | int, ...],
        message: str,
        hint: str | None = None,
        *,
        column: int = 0,
        about: Iterable[str] = (),
    ) -> None:
        """A finding at a path. It speaks of the text there, of a task or mixture on the way, and of `about`."""
        place, value = self.root.at(path).place, self.root.at(path).value
        if path and not column:
            keys = self.root.at(path[:-1]).keys or {}
            place = keys.get(str(path[-1]), place) if isinstance(self.root.at(path).value, dict) else place
        if column:
            place = Place(place.file, place.line, place.column + column, 1, place.via)
        names = {*about, *([value] if isinstance(value, str) else ())}
        names |= {str(value["id"].value)} if isinstance(value, dict) and "id" in value else set()
        names |= {str(path[1])} if len(path) > 1 and path[0] in ("tasks", "mixtures") else set()
        self.findings.append(Finding(code, place, message, hint, frozenset(names)))
