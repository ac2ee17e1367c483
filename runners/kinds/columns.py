"""Columns of a file's row, as the roles of a kind; what is wrong with one is said, and the caller adds the place."""

import json
from typing import Any

from xlift.registry.findings import UserError, similar
from xlift.registry.kinds import KINDS
from xlift.registry.stage import Data
from xlift.runners.kinds.example import Row


class Fault(UserError):
    """What is wrong with a row, and what would do."""


def column(row: Row, data: Data, role: str) -> Any:
    """The value of the column that `data.fields` gives a role; the role's own name where it gives none."""
    column = data.fields.get(role, role)
    if column not in row:
        if role in KINDS[data.kind].optional and role not in data.fields:
            return ""
        raise Fault(f"no column '{column}' (the {role})", similar(column, map(str, row)))
    return row[column]


def string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Fault(f"the {what} is {shown(value)}, not text", "write it in quotes")
    return value


def strings(value: Any, what: str) -> tuple[str, ...]:
    """A list of texts; a text, as in .tsv, is cut at blanks."""
    if isinstance(value, str):
        return tuple(value.split())
    if not isinstance(value, list):
        raise Fault(f"the {what} are {shown(value)}, not a list", "write a list of texts")
    return tuple(string(part, f"item {number} of the {what}") for number, part in enumerate(value, 1))


def label(value: Any, data: Data) -> str:
    """A label as text: 1 and "1" are the same label."""
    if value is None or value == "":
        raise Fault("no label", "use a file with labels (the test files of some benchmarks hide them)")
    if not isinstance(value, str | int):
        raise Fault(f"the label is {shown(value)}", "write a text or an integer")
    label = json.dumps(value) if isinstance(value, bool) else str(value)
    if label not in data.labels:
        raise Fault(f"label {label!r} is none of the labels of task '{data.task}'", similar(label, data.labels))
    return label


def shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:40] + "…"
