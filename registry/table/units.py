"""Numbers that have another unit than the table's, or cannot be what they are called: found, not believed."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf

from xlift.registry.kinds import RETRIEVAL
from xlift.registry.known.metrics import edits, spread
from xlift.registry.known.models import MODELS
from xlift.registry.known.tasks import TASKS
from xlift.registry.manifest.sections import Scaled, TableManifest, Unit
from xlift.registry.table.reading import Reading
from xlift.registry.table.runs import Row

PARTS = ("metric", "target", "source", "protocol", "model", "treated", "language", "seed", "origin")
LEAST = 3  # rows of a part that speak for its having a unit of its own
SMALL = 0.01  # of a percentage: what would be a fraction too
MOST_EDITS = 3.0  # to a word of the reference, beyond which a fraction is a percentage
ITEMS = (10, 1_000_000)  # of a test set whose size is not told
OFF = 100  # times more items, or fewer, than there are: a standard error ten times too small or too large
FEWEST = 1_000  # parameters of a model
SPAN = 1e5  # between the largest and the smallest model, beyond which one was mistyped
NEAR = 3  # times a size that a name tells, or the published one
NAMED = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s?([mb])(?![a-z0-9])", re.IGNORECASE)  # 560m, 3.7B


def unit(manifest: TableManifest, role: Scaled, metric: str) -> Unit:
    """Of a column's numbers in rows of a metric: as declared of the column, of the metric, or of the table."""
    own = manifest.metrics.get(metric)
    return manifest.data.units.get(role) or (own and own.unit) or manifest.data.unit


def check(reading: Reading, rows: Sequence[Row]) -> list[Row]:
    """The rows, without standard errors of exactly 0 that are none; findings for numbers that cannot be meant."""
    _mixed(reading, rows)
    _parameters(reading, rows)
    rows = _none_of_zero(reading, rows)
    _errors(reading, rows)
    return list(rows)


def _mixed(reading: Reading, rows: Sequence[Row]) -> None:
    """E524 for parts of a table that have another unit, W524 for single rows that may."""
    manifest = reading.manifest
    declared = {name for name, metric in manifest.metrics.items() if metric.unit}

    def asked(role: Scaled, wanted: Unit) -> list[Row]:
        """Rows whose unit nobody declared of the column or, of scores, of their metric."""
        if role in manifest.data.units:
            return []
        mine = [row for row in rows if unit(manifest, role, row.metric) == wanted and not spread(row.metric)]
        return [row for row in mine if role != "score" or row.metric not in declared]

    shares = [row for row in asked("score", "percent") if manifest.metric(row.metric).high < inf or edits(row.metric)]
    _parts(reading, shares, "score", lambda score: abs(score) <= SMALL, "is within 0 and 1 %", "fraction")
    rates = [row for row in asked("score", "fraction") if edits(row.metric) and manifest.metric(row.metric).high == inf]
    _parts(reading, rates, "score", lambda score: score > MOST_EDITS, f"is above {MOST_EDITS:g}", "percent")
    guessed = [row for row in asked("chance", "percent") if not _one_of_all(row)]
    if any(row.score > SMALL for row in rows):
        _parts(reading, guessed, "chance", lambda chance: chance <= SMALL, "is within 0 and 1 %", "fraction")


def _one_of_all(row: Row) -> bool:
    """Whether a guess picks one item of all, and is right that seldom."""
    known = TASKS.get(row.target)
    return bool((known and known.kind in RETRIEVAL) or (row.items and row.chance and 0.8 < row.chance * row.items < 1.25))


def _parts(reading: Reading, rows: Iterable[Row], role: Scaled, odd: Callable[[float], bool], what: str, other: Unit) -> None:
    """Parts of at least three rows, all of them odd, the larger first; then odd rows that are no such part."""
    told = [row for row in rows if getattr(row, role)]  # 0 is 0 in either unit
    strange = [row for row in told if odd(getattr(row, role))]
    left = {id(row): row for row in strange}
    sets = [each for size in ((1, 2) if len(strange) < len(told) else (0,)) for each in combinations(PARTS, size)]
    for parts in sets:
        if len(left) < (LEAST if parts else 1):
            break
        count = Counter(tuple(getattr(row, part) for part in parts) for row in told)
        groups: dict[tuple, list[Row]] = {}
        for row in strange:
            groups.setdefault(tuple(getattr(row, part) for part in parts), []).append(row)
        for key, mine in groups.items():
            if len(mine) == count[key] and (len(mine) >= LEAST or not parts) and any(id(row) in left for row in mine):
                _tell(reading, mine, role, dict(zip(parts, key, strict=True)), what, other)
                for row in mine:
                    left.pop(id(row), None)
    if left and role == "score":
        first = next(iter(left.values()))
        message = f"a {role} of {_shown(reading, first, role)} {what}" + _more(len(left))
        reading.complain(
            "W524", first.line, f"{message}: is it a {other}?", _declare(first, role, other), _text(reading, first, role)
        )


def _tell(reading: Reading, rows: list[Row], role: Scaled, part: dict[str, object], what: str, other: Unit) -> None:
    first = rows[0]
    where = " and ".join(f"{'treatment' if axis == 'treated' else axis} {level or 'none'}" for axis, level in part.items())
    message = f"every {role}{f' of {where}' if where else ''} {what}, in {len(rows)} rows"
    message += ", and others are not" if where else ""
    reading.complain("E524", first.line, message, _declare(first, role, other), _text(reading, first, role))


def _declare(row: Row, role: str, other: Unit) -> str:
    usual = "percent" if other == "fraction" else "fraction"
    if role == "score":
        name = f"metrics: {{{row.metric}: {{unit: …}}}}"
        return f"write unit: {other} if all are; give one unit to the table; or write {name}, {other} or {usual}, if it is right"
    return f"write data: {{units: {{{role}: {other}}}}}, or {role}: {usual} if it is right"


def _none_of_zero(reading: Reading, rows: Sequence[Row]) -> Sequence[Row]:
    """A standard error of exactly 0 beside a score that is not at an end of its range is what a harness writes for none."""
    zero = [row for row in rows if row.se == 0 and reading.manifest.metric(row.metric).inside(row.score)]
    if not zero:
        return rows
    message = f"a standard error of 0 beside a score of {_shown(reading, zero[0], 'score')} is none" + _more(len(zero))
    reading.complain("W539", zero[0].line, message, "leave the field empty where none was computed")
    gone = {id(row) for row in zero}
    return [replace(row, se=None) if id(row) in gone else row for row in rows]


def _errors(reading: Reading, rows: Iterable[Row]) -> None:
    """Standard errors that no test set gives. Values in an interval have at most the variance (mean - low) (high - mean)."""
    if "se" in reading.manifest.data.units:
        return
    for row in rows:
        metric = reading.manifest.metric(row.metric)
        if not row.se or metric.high == inf or metric.low == -inf or not metric.inside(row.score):
            continue
        low, high = (row.items / OFF, row.items * OFF) if row.items else ITEMS
        largest = (row.score - metric.low) * (metric.high - row.score)
        if not low <= (would := _items(largest, row.se)) <= high:
            there = f", and there are {row.items:,}" if row.items else ""
            message = f"a standard error of {_shown(reading, row, 'se')} would take {would:,.1f} items{there}"
            percent = unit(reading.manifest, "se", row.metric) == "percent"
            other = "fraction" if percent else "percent"
            right = low <= _items(largest, row.se * 100 if percent else row.se / 100) <= high
            hint = f"write data: {{units: {{se: {other}}}}}" if right else "give that over items, or no column of them"
            reading.complain("E524", row.line, message, hint, _text(reading, row, "se"))


def _items(variance: float, se: float) -> float:
    """Of how many items a mean has this standard error; infinite where it is too small for squares."""
    ratio = variance**0.5 / se if se else inf
    return ratio * ratio


def _parameters(reading: Reading, rows: Iterable[Row]) -> None:
    """Sizes that cannot be, or are far from what a model's name says."""
    models: dict[str, Row] = {}
    for row in rows:
        models.setdefault(row.model, row)
    for name, row in models.items():
        shown = _text(reading, row, "parameters")
        if row.parameters < FEWEST:
            hint = f"all of them, such as {row.parameters}000000 if these are millions"
            reading.complain("E523", row.line, f"{name} has {row.parameters} parameters", hint, shown)
        elif row.non_embedding and row.non_embedding > row.parameters:
            message = f"{name} has {row.non_embedding:,} parameters without embeddings, and {row.parameters:,} with them"
            reading.complain("E523", row.line, message, "see which column is which")
        elif (size := _size(name)) and not 1 / NEAR < row.parameters / size < NEAR:
            message = f"{name} has {row.parameters:,} parameters here, and about {size:,.0f} by its name"
            reading.complain("W523", row.line, message, "see that none of its digits is lost", shown)
    by_size = sorted(models.values(), key=lambda row: row.parameters)
    if by_size and by_size[0].parameters >= FEWEST and by_size[-1].parameters > SPAN * by_size[0].parameters:
        first, last = by_size[0], by_size[-1]
        message = f"{first.model} has {first.parameters:,} parameters, and {last.model} {last.parameters:,}"
        reading.complain("W523", first.line, message, "see that both are written in full", _text(reading, first, "parameters"))


def _size(name: str) -> float | None:
    """Parameters by a model's name: the published number of a known model, or what it says of itself."""
    plain = name.casefold()
    for known in MODELS.values():
        if plain in (known.hub.casefold(), known.hub.casefold().split("/")[-1]):
            return known.parameters().total
    said = NAMED.findall(name)
    return float(said[-1][0]) * (1e6 if said[-1][1] in "mM" else 1e9) if said else None


def _text(reading: Reading, row: Row, role: str) -> str:
    """What the table has there."""
    return reading.texts[row.line][reading.columns[role]].strip() if role in reading.columns else ""


def _shown(reading: Reading, row: Row, role: Scaled) -> str:
    return _text(reading, row, role) + (" %" if unit(reading.manifest, role, row.metric) == "percent" else "")


def _more(count: int) -> str:
    return f", as in {count - 1} rows more" if count > 1 else ""
