"""One pass over the data: rows, a Parquet file or a query become cells, and bad values are said before anything is fitted.

A cell is a set of rows that agree in every column of the formula's right-hand side; DuckDB's GROUP BY makes them, and
what is fitted from cells equals what is fitted from rows. Formulas that look at all rows at once (`center(x)`, or a
response that is an expression) read rows.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from xlift.analysis.facts import Relation
from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.crossproducts import Cells
from xlift.analysis.mixed.formulas import Formula
from xlift.registry.findings import UserError

Data: TypeAlias = pd.DataFrame | Path | str | Relation
NUMBERS = ("DOUBLE", "FLOAT", "REAL")
WHOLE = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")} | {"INTEGER", "UINTEGER"}
TEXTS = ("VARCHAR", "UUID")
FEW = 5  # different values of a text column, up to which it may well be meant as levels
SHARED = ("model", "intermediate_run", "treated_run", "baseline_run", "cell")  # columns of `gains` that several rows share
LARGEST = 1e100  # of a response, and of a weight or its inverse: squares of larger numbers overflow


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of the data beside the formula's: what a row weighs, and which residual variance it has."""

    weights: str | None = None  # Var(e) = sigma^2 / weight
    variances: str | None = None  # Var(e) = variance, known
    residual_by: str | None = None  # one residual variance for each of its values

    def __post_init__(self) -> None:
        if self.weights and self.variances:
            raise UserError("give weights or known variances, not both: a known variance is 1 / weight with sigma = 1")
        if self.residual_by and self.variances:
            raise UserError("known variances leave no residual variances to estimate by group")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.weights, self.variances, self.residual_by) if name)

    @property
    def scale(self) -> str | None:
        """The column that has to be positive."""
        return self.weights or self.variances


@dataclass(frozen=True, slots=True)
class Gathered:
    """Cells, the frame (m rows) of the formula's columns in the same order, and what was left out."""

    frame: pd.DataFrame
    cells: Cells
    dropped: int


def gather(formula: Formula, data: Data, columns: Columns, *, missing: str = "raise") -> Gathered:
    """Read, check and group; UserError for unknown columns and for missing, infinite or constant values."""
    if missing not in ("raise", "drop"):
        raise UserError(f"missing is 'raise' or 'drop', not '{missing}'")
    data = opened(data)
    response = formulas.read(formula.response)
    names = tuple(dict.fromkeys([*response.columns, *formula.keys, *columns.names]))
    grouped = isinstance(data, Relation) and not formula.stateful and response.column is not None
    if isinstance(data, Relation):
        types = data.columns()
        formulas.known(names, list(types))
        for name in names:
            if not _is_number(types[name]) and types[name] not in TEXTS and not types[name].startswith("ENUM"):
                raise UserError(f"'{name}' is {types[name]}, neither numbers nor text; cast it to one of them")
        if grouped:
            return _by_groups(data, types, formula, columns, names, missing)
        data = data.select(", ".join(map(_quoted, names)))
    formulas.known(names, list(map(str, data.columns)))
    return _by_rows(data[list(names)], formula, columns, missing)


def shared(formula: Formula, data: pd.DataFrame | Relation) -> tuple[str, ...]:
    """Columns of SHARED that the data have, whose levels several rows have, and that no random term or fixed factor stands for.

    A term stands for a column also where it makes the same groups of rows by another name.
    """
    there = data.columns() if isinstance(data, Relation) else data.columns
    asked = [name for name in SHARED if name in there and name not in formula.keys]
    if not asked:
        return ()
    names = list(dict.fromkeys([*asked, *formula.keys]))
    frame = data.select(", ".join(map(_quoted, names))) if isinstance(data, Relation) else data[names]
    codes = {name: pd.factorize(frame[name])[0] for name in names}
    factors = [name for name in formula.keys if not pd.api.types.is_numeric_dtype(frame[name])]
    groups = dict.fromkeys([*(term.group for term in formula.random), *((name,) for name in factors)])

    def levels(columns: Sequence[str]) -> int:
        both = np.zeros(len(frame), int)
        for name in columns:
            both = pd.factorize(both * (codes[name].max() + 2) + codes[name])[0]
        return int(both.max()) + 1

    sizes = {group: levels(group) for group in groups}
    return tuple(
        name
        for name in asked
        if (size := levels([name])) < len(frame) and not any(size == sizes[g] == levels([name, *g]) for g in sizes)
    )


def opened(data: Data) -> pd.DataFrame | Relation:
    """A frame, or something to select from; by the file's ending where it is a path."""
    if not isinstance(data, str | Path):
        return data
    path = Path(data)
    if not path.is_file():
        raise UserError(f"no file {path}")
    if path.suffix == ".parquet":
        return Relation.parquet(path)
    kinds = {".csv": ",", ".tsv": "\t"}
    kind = next((suffix for suffix in path.suffixes if suffix in kinds), None)
    if kind is None:
        raise UserError(f"{path} ends in neither .csv, .tsv nor .parquet")
    try:
        header = pd.read_csv(path, sep=kinds[kind], header=None, nrows=1, dtype=str).iloc[0].astype(str).str.strip()
        frame = pd.read_csv(path, sep=kinds[kind], skipinitialspace=True)
        texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
        if texts:  # where NA is Namibia and nan Min Nan, and only an empty field is missing
            kept = {"dtype": str, "keep_default_na": False, "na_values": [""]}
            frame[texts] = pd.read_csv(path, sep=kinds[kind], skipinitialspace=True, usecols=texts, **kept)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if header.duplicated().any():
        raise UserError(f"{path} has two columns called '{header[header.duplicated()].iloc[0]}'; rename one")
    return frame.rename(columns=str.strip)


def _by_rows(frame: pd.DataFrame, formula: Formula, columns: Columns, missing: str) -> Gathered:
    numeric = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    infinite = {name: int(np.isinf(frame[name].to_numpy(float, na_value=np.nan)).sum()) for name in numeric}
    _complain(len(frame), {name: int(frame[name].isna().sum()) for name in frame}, infinite, missing)
    whole = frame.dropna().reset_index(drop=True)
    dropped, frame = len(frame) - len(whole), whole
    _empty(len(frame), dropped)
    _almost_numbers(frame, formula)
    y = matrices.evaluate(formula.response, frame)
    _not_too_large(np.abs(y).max(), f"the response '{formula.response}'")
    if not np.isfinite(y).all():
        raise UserError(f"'{formula.response}' is missing or infinite in {int((~np.isfinite(y)).sum())} rows")
    weight = _weights(frame[columns.scale], columns) if columns.scale else None
    stratum, strata = _strata(frame, columns)
    if not columns.variances:
        _constant(formula, y.min(), y.max())
    return Gathered(frame[list(formula.keys)], Cells.of_rows(y, weight, stratum, strata), dropped)


def _by_groups(
    data: Relation, types: dict[str, str], formula: Formula, columns: Columns, names: Sequence[str], missing: str
) -> Gathered:
    y, keys = formulas.read(formula.response).column, [*formula.keys, *([columns.residual_by] if columns.residual_by else [])]
    keys = list(dict.fromkeys(keys))
    for name in (y, columns.scale):
        if name and not _is_number(types[name]):
            raise UserError(f"'{name}' is not numeric: it is {types[name]}")
    center, total, dropped = _faults(data, types, names, y, columns, formula, missing)
    w = f"{_quoted(columns.scale)}::DOUBLE" if columns.scale else "1.0"
    w = f"(1.0 / {w})" if columns.variances else w
    shifted = f"({_quoted(y)}::DOUBLE - {center!r})"
    sums = (
        f"count(*)::DOUBLE AS count, sum({w})::DOUBLE AS weight, sum({w} * {shifted}) AS total, "
        f"sum({w} * {shifted} * {shifted}) AS squares" + (f", sum(ln({w})) AS logs" if columns.scale else "")
    )
    where = "WHERE " + " AND ".join(f"({_absent(name, types)}) IS FALSE" for name in names) if dropped else ""
    chosen = [f"{_quoted(key)} AS k{i}" for i, key in enumerate(keys)]
    groups = ", ".join(f"k{i}" for i in range(len(keys)))
    tail = f"GROUP BY {groups} ORDER BY {groups}" if keys else ""
    table = data.select(", ".join([*chosen, sums]), f"{where} {tail}")
    frame = table[[f"k{i}" for i in range(len(keys))]].set_axis(keys, axis=1)
    weight = table["weight"].to_numpy(float)
    shift = table["total"].to_numpy(float) / weight
    within = np.maximum(table["squares"].to_numpy(float) - weight * shift**2, 0.0)
    within[table["count"].to_numpy() == 1] = 0.0
    stratum, strata = _strata(frame, columns)
    logs = float(table["logs"].sum()) if columns.scale else 0.0
    assert table["count"].sum() == total - dropped
    cells = Cells(
        weight,
        center + shift,
        within,
        table["count"].to_numpy(float),
        logs,
        np.zeros(len(table), int) if stratum is None else stratum,
        strata,
    )
    return Gathered(frame[list(formula.keys)], cells, dropped)


def _faults(
    data: Relation, types: dict[str, str], names: Sequence[str], y: str, columns: Columns, formula: Formula, missing: str
) -> tuple[float, int, int]:
    """The response's mean, the rows, and the rows to drop; UserError for what cannot be fitted."""
    absent = {name: _absent(name, types) for name in names}
    counts = [f"count(*) FILTER ({test}) AS m{i}" for i, test in enumerate(absent.values())]
    infinite = {
        name: f"count(*) FILTER (isinf({_quoted(name)})) AS i{i}" for i, name in enumerate(names) if types[name] in NUMBERS
    }
    kept = " AND ".join(f"({test}) IS FALSE" for test in absent.values())
    checks = [
        f"avg({_quoted(y)}::DOUBLE) FILTER ({kept}) AS center",
        f"min({_quoted(y)}::DOUBLE) FILTER ({kept}) AS low",
        f"max({_quoted(y)}::DOUBLE) FILTER ({kept}) AS high",
        "count(*) AS n",
        f"count(*) FILTER ({kept}) AS whole",
    ]
    if columns.scale:
        w = _quoted(columns.scale)
        checks += [f"count(*) FILTER ({w} <= 0) AS negative", f"max({w})::DOUBLE AS most", f"min({w})::DOUBLE AS least"]
    row = data.select(", ".join([*counts, *infinite.values(), *checks])).iloc[0]
    found = {name: int(row[f"m{i}"]) for i, name in enumerate(names)}
    _complain(int(row["n"]), found, {name: int(row[f"i{i}"]) for i, name in enumerate(names) if name in infinite}, missing)
    _empty(int(row["whole"]), int(row["n"] - row["whole"]))
    if columns.scale and row["negative"]:
        raise UserError(_positive(columns, int(row["negative"])))
    _not_too_large(max(abs(row["low"]), abs(row["high"])), f"the response '{formula.response}'")
    if columns.scale:
        _not_too_large(max(row["most"], 1 / row["least"]), f"'{columns.scale}'")
    if not columns.variances:
        _constant(formula, float(row["low"]), float(row["high"]))
    return float(row["center"]), int(row["n"]), int(row["n"] - row["whole"])


def _complain(rows: int, absent: dict[str, int], infinite: dict[str, int], missing: str) -> None:
    """UserError where values are missing and that is not allowed, or infinite."""
    _empty(rows, 0)
    if bad := {name: count for name, count in infinite.items() if count}:
        raise UserError(f"infinite values: {_counted(bad)}; correct them, or leave these rows out")
    if missing == "raise" and (lost := {name: count for name, count in absent.items() if count}):
        raise UserError(
            f"missing values: {_counted(lost)}, of {rows:,} rows; fill them in, or leave these rows out (--missing drop)"
        )


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} in '{name}'" for name, count in found.items())


def _empty(rows: int, dropped: int) -> None:
    if not rows:
        raise UserError("the data have no rows" + (f" without a missing value ({dropped:,} were left out)" if dropped else ""))


def _constant(formula: Formula, low: float, high: float) -> None:
    if low == high:
        raise UserError(
            f"the response '{formula.response}' is constant: it is {low:g} in every row, so there is nothing to explain"
        )


def _weights(column: pd.Series, columns: Columns) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column):
        raise UserError(f"'{column.name}' is not numeric: it holds {column.iloc[0]!r}")
    values = column.to_numpy(float)
    if (values <= 0).any():
        raise UserError(_positive(columns, int((values <= 0).sum())))
    _not_too_large(max(values.max(), 1 / values.min()), f"'{column.name}'")
    return 1 / values if columns.variances else values


def _not_too_large(size: float, what: str) -> None:
    if size > LARGEST:
        raise UserError(f"{what} has values of {size:.3g}, or as small as its inverse: squares overflow; rescale it")


def _almost_numbers(frame: pd.DataFrame, formula: Formula) -> None:
    """UserError where a column of numbers was read as text because of a few cells."""
    read = [formulas.read(expression) for expression in (*formula.expressions, formula.response)]
    for name in sorted({name for expression in read if not expression.levels_of for name in expression.columns}):
        if not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].nunique() > FEW:
            wrong = pd.to_numeric(frame[name], errors="coerce").isna()
            if 0 < wrong.sum() < len(frame) / 4:
                shown = ", ".join(f"{frame[name][i]!r} in row {i + 1}" for i in wrong[wrong].index[:3])
                raise UserError(f"'{name}' is text because of {int(wrong.sum())} of its cells, such as {shown}; correct them")


def _positive(columns: Columns, count: int) -> str:
    return f"{'variances' if columns.variances else 'weights'} have to be positive; '{columns.scale}' is not in {count:,} rows"


def _strata(frame: pd.DataFrame, columns: Columns) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if not columns.residual_by:
        return None, ("",)
    codes, values = pd.factorize(frame[columns.residual_by], sort=True)
    if len(values) == 1:
        raise UserError(f"'{columns.residual_by}' has one level only: it cannot have residual variances by group")
    return codes, tuple(map(str, values))


def _absent(name: str, types: dict[str, str]) -> str:
    nan = f" OR isnan({_quoted(name)})" if types[name] in NUMBERS else ""
    return f"{_quoted(name)} IS NULL{nan}"


def _is_number(kind: str) -> bool:
    return kind in NUMBERS or kind in WHOLE or kind.startswith("DECIMAL") or kind == "BOOLEAN"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
