"""Tables of scores as files: texts by column."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError, relative


@dataclass(frozen=True)
class Table:
    """Texts by column, with each row's line or number; `text` is the file, where it is one that people read."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    text: str = ""


def read_csv(path: Path) -> Table:
    """A .csv file, with a head. UserError where it cannot be read."""
    if path.suffix != ".csv":
        raise UserError(f"{path.name} is no .csv or .parquet file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = tuple((reader.line_num, row) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    columns = tuple(reader.fieldnames or ())
    for line, row in rows:
        if None in row or None in row.values():
            raise UserError(f"{path.name}, line {line}: {'more' if None in row else 'fewer'} fields than the head has columns")
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise UserError(f"{path.name}: two columns are called {', '.join(doubled)}")
    return Table(relative(path), columns, rows, text)


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """Rows that MLflow logged, as a table; UserError where there are none, or where another table stands there."""
    if not rows:
        raise UserError("no finished run of that experiment has a metric")
    if path.exists() and "run" not in read_csv(path).columns:
        raise UserError(f"{path} is another table; give another path")
    if path.suffix != ".csv" or not path.parent.is_dir():
        raise UserError(f"{path}: an experiment is written into a .csv file, in a folder that is there")
    made = io.StringIO()
    writer = csv.DictWriter(made, list(dict.fromkeys(name for row in rows for name in row)), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, made.getvalue().encode())
