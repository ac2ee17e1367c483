"""One pass over a table, and what it finds."""

from dataclasses import dataclass, field
from functools import cached_property

from xlift.registry.findings import Finding, Place
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import TableManifest
from xlift.registry.table.file import Table

ENOUGH = 20  # findings of one kind that are shown


@dataclass
class Reading:
    """A table, the manifest that says what its columns are, and the findings so far."""

    manifest: TableManifest
    root: Node
    findings: list[Finding]
    table: Table
    columns: dict[str, str] = field(default_factory=dict)  # role -> column
    counts: dict[str, int] = field(default_factory=dict)

    @cached_property
    def lines(self) -> list[str]:
        return self.table.text.splitlines()

    @cached_property
    def texts(self) -> dict[int, dict[str, str]]:
        """Line -> texts by column."""
        return dict(self.table.rows)

    def complain(self, code: str, line: int, message: str, hint: str | None = None, value: str = "") -> None:
        """A finding at a row; of each kind some, then how many more there are."""
        self.counts[code] = self.counts.get(code, 0) + 1
        if self.counts[code] <= ENOUGH:
            shown = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
            column = max(0, shown.find(value)) if value else 0
            self.findings.append(Finding(code, Place(self.table.name, line, column + 1, max(1, len(value))), message, hint))

    def close(self) -> None:
        for code, count in self.counts.items():
            if count > ENOUGH:
                more = f"… and {count - ENOUGH} rows more like those of {code}"
                self.findings.append(Finding(code, Place(self.table.name, len(self.table.rows) + 1), more))
