"""Examples from a folder of files: .jsonl, .json (an array), .csv or .tsv, plain or with .gz.

`data.fields` maps the roles of the task's kind to columns; a role that it leaves out is a column of that name. Where all
its columns are numbers such as "1", a .csv or .tsv has no header and they count from 0. `rows` turns the
rows into examples. Every item is looked at: `data.limit` is drawn of examples, by `xlift.runners.data.read`.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xlift.registry.files import DataError, content, named
from xlift.registry.findings import UserError, first_line
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data
from xlift.runners.data import rows
from xlift.runners.kinds.example import Example


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a file that has not been looked at: `parse` gives its columns, `place` names it in complaints."""

    place: str
    parse: Callable[[], Any]


def read(source: LocalFiles, data: Data, split: str, language: str) -> tuple[str, list[Example]]:
    """The digest of the bytes that were read, and all their examples in the file's order.

    `DataError` says where, what and what would do.
    """
    file = source.path(data.task, split, language)
    if file is None:
        raise _missing(source, data, split, language)
    raw = content(file)
    examples = [_example(item, data) for item in _items(file, _text(file, raw), data)]
    if not examples:
        raise DataError(f"{file}: no items", "write one a line, or take the language out")
    return hashlib.sha256(raw).hexdigest(), examples


def _example(item: Item, data: Data) -> Example:
    try:
        row = item.parse()
    except UserError as error:
        raise DataError(f"{item.place}: {error.message}", error.hint) from error
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError(f"{item.place}: half of a surrogate pair, which is no character", "write the whole one") from None
    if not isinstance(row, dict):
        raise DataError(f"{item.place}: a {type(row).__name__}, not an object with columns", 'write {"column": value, …}')
    return rows.example(row, data, item.place)


def _missing(source: LocalFiles, data: Data, split: str, language: str) -> DataError:
    """Which file is missing, and which are there."""
    pattern = source.pattern(data.task)
    wanted = named(source.folder or Path(), data.task, split, language, pattern)
    if not wanted.parent.is_dir():
        do = f"check the task's name, the pattern '{pattern}' and the data folder"
        return DataError(f"{wanted}: no such file, nor its folder", do)
    there = sorted(f.name for f in wanted.parent.iterdir())
    shown = ", ".join(there[:12]) + (", …" if len(there) > 12 else "")
    return DataError(f"{wanted}: no such file, plain or with .gz", f"in its folder: {shown}" if there else "its folder is empty")


def _text(file: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{file}:{line}: not UTF-8 ({error.reason})", "save the file as UTF-8") from error


def _items(file: Path, text: str, data: Data) -> Iterator[Item]:
    name = file.name.removesuffix(".gz")
    form = name.rpartition(".")[2]
    readers = {"jsonl": _jsonl, "json": _json, "csv": _csv, "tsv": _tsv}
    if form not in readers:
        raise DataError(f"{file}: unknown format '.{form}'", f"known: {', '.join('.' + known for known in readers)}")
    return readers[form](file, text, data)


def _jsonl(file: Path, text: str, data: Data) -> Iterator[Item]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which also cuts at U+2028
        if line.strip():
            yield Item(f"{file}:{number}", partial(_object, line, "one JSON object a line"))


def _json(file: Path, text: str, data: Data) -> Iterator[Item]:
    if not text.strip():
        return
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: not JSON ({error.msg})", "write one array of objects") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON that can be read ({first_line(error)})", "write one array of objects") from None
    if not isinstance(found, list):
        raise DataError(f"{file}:1: a JSON {type(found).__name__}, not an array", "write one array of objects, or .jsonl")
    for number, row in enumerate(found, 1):
        yield Item(f"{file}: item {number}", partial(_same, row))


def _same(row: Any) -> Any:
    return row


def _object(line: str, wanted: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg}, column {error.colno})", f"write {wanted}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets thousands deep
        raise UserError(f"not JSON that can be read ({first_line(error)})", f"write {wanted}") from None


def _csv(file: Path, text: str, data: Data) -> Iterator[Item]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from _table(file, ((reader.line_num, cells) for cells in reader if cells), data)
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: not CSV ({error})", "double the quotes inside quoted cells") from error


def _tsv(file: Path, text: str, data: Data) -> Iterator[Item]:
    """Quotes mean nothing in .tsv; a cell holds neither tab nor line break."""
    lines = ((number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1))
    return _table(file, ((number, line.split("\t")) for number, line in lines if line), data)


def _table(file: Path, lines: Iterator[tuple[int, list[str]]], data: Data) -> Iterator[Item]:
    """Rows of cells as items; the first is the header unless all fields are numbers."""
    headless = bool(data.fields) and all(part.isdecimal() for columns in data.fields.values() for part in columns.split())
    header = None if headless else next(lines, (0, []))[1]
    if header and len(set(header)) < len(header):
        raise DataError(f"{file}:1: a column's name stands twice in the header", "rename one")
    for number, cells in lines:
        names = header if header is not None else [str(column) for column in range(len(cells))]
        yield Item(f"{file}:{number}", partial(_row, names, cells))


def _row(names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(names):
        raise UserError(
            f"{len(cells)} cells, where the header has {len(names)}", "quote cells that hold the separator, or fill up the row"
        )
    return dict(zip(names, cells, strict=True))
