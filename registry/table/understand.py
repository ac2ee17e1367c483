"""From texts to rows: what is wrong with a table is a finding with its row and column."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from xlift.registry.findings import Finding, Place, UserError, similar
from xlift.registry.known import lab
from xlift.registry.known.languages import base_language, same_language
from xlift.registry.known.metrics import Metric
from xlift.registry.known.metrics import known as known_metric
from xlift.registry.known.models import MODELS
from xlift.registry.known.tasks import TASKS, Task
from xlift.registry.manifest import conditions
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.conditions import BadCondition
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.resolve import check_analysis
from xlift.registry.manifest.sections import NAME, ReportedTask, Role, TableManifest
from xlift.registry.stage import Origin
from xlift.registry.table.file import Table
from xlift.registry.table.runs import FAMILY, Row, TableStudy

NEEDED: tuple[Role, ...] = ("model", "parameters", "target", "language", "score")
WHOLE = ("parameters", "non_embedding", "items", "seed")
SCALED = ("score", "chance", "se")  # in the table's unit
NUMBERS = (*WHOLE, *SCALED)
USUAL = {"intermediate": "none", "variant": "plain", "seed": 1}  # where a column is absent, or a field empty
ALIASES = {"params_total": "parameters", "params_non_embedding": "non_embedding"}  # names of columns that `xlift sql` writes
ENOUGH = 20  # findings of one kind that are shown


@dataclass
class _Reading:
    """One pass over a table."""

    manifest: TableManifest
    root: Node
    findings: list[Finding]
    table: Table
    counts: dict[str, int] = field(default_factory=dict)

    @cached_property
    def lines(self) -> list[str]:
        return self.table.text.splitlines()

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


def understand(
    manifest: TableManifest, root: Node, path: Path, findings: list[Finding], tables: Callable[[Path], Table]
) -> TableStudy | None:
    """The study of a table, or None with findings."""
    file = path.parent / manifest.data.file
    place = root.at(("data", "file")).place
    try:
        table = tables(file)
    except UserError as error:
        findings.append(Finding("E520", place, str(error), "give a .csv file with a head, or a .parquet file"))
        return None
    reading = _Reading(manifest, root, findings, table)
    columns = _columns(reading)
    chosen = _chosen(reading, columns)
    rows = [row for line, texts in chosen if (row := _row(reading, line, texts, columns))]
    if columns and not table.rows:
        findings.append(Finding("E529", place, f"{table.name} has no rows", "a row is a score"))
    if manifest.data.unit == "percent" and rows and max(row.score for row in rows) <= 0.01:
        reading.complain("E524", rows[0].line, "no score is above 1 %", "write unit: fraction")
    tasks = _tasks(reading, rows)
    rows = [row if row.metric else replace(row, metric=tasks[row.target].metric) for row in rows]
    _metrics(reading, rows)
    rows = [*rows, *_at_every_seed(rows, tasks)]
    _design(reading, rows, tasks)
    at = Complaints(manifest, root, path.parent, findings)
    axes = {axis: dict.fromkeys(getattr(row, axis) for row in rows) for axis in ("intermediate", "variant", "target")}
    if rows and not any(finding.stops for finding in findings):
        size = manifest.analysis.x.replace("params_total", "parameters").removeprefix("params_")
        if any(getattr(row, size) is None for row in rows):
            hint = "write analysis: {x: params_total}, or give a column of them"
            at.complain("E530", ("analysis", "x"), "the table does not tell parameters without embeddings", hint)
        else:
            known = {row.language for row in rows} | {manifest.data.language}
            if not any(row.treated for row in rows):  # scores only: there is nothing to pair
                axes["intermediate"][manifest.analysis.gain.baseline.get("intermediate", "none")] = None
            sizes = {row.model: getattr(row, size) for row in rows}
            check_analysis(at, {axis: list(names) for axis, names in axes.items()}, known, len({r.seed for r in rows}), sizes)
    reading.close()
    return TableStudy(manifest, path, tuple(rows), tasks, (), root, {table.name: table.text})


def _columns(reading: _Reading) -> dict[str, str]:
    """Role -> column: as the manifest says, and those of the roles' own names."""
    said, known = reading.manifest.data.columns, reading.table.columns
    found = {role: role for role in get_args(Role) if role in known and role not in said and role not in said.values()}
    found |= {role: name for name, role in ALIASES.items() if name in known and role not in {**found, **said}}
    role: str
    for role, column in said.items():
        place = reading.root.at(("data", "columns", role)).place
        if column not in known:
            reading.findings.append(Finding("E521", place, f"the table has no column '{column}'", similar(column, known)))
        elif twin := next((other for other, name in said.items() if name == column and other != role), None):
            reading.findings.append(
                Finding("E521", place, f"column '{column}' is {twin} and {role}", "a column has one role; remove one of the two")
            )
        found[role] = column
    for role in NEEDED:
        if role not in found:
            place = reading.root.at(("data",)).place
            hint = f"add columns: {{{role}: …}}; the table has {', '.join(known)}"
            reading.findings.append(Finding("E522", place, f"no column tells the {role}", hint))
    return found if all(column in known for column in found.values()) and set(NEEDED) <= set(found) else {}


def _chosen(reading: _Reading, columns: dict[str, str]) -> list[tuple[int, dict[str, str]]]:
    """The rows for which `where` holds."""
    rows, where = list(reading.table.rows), reading.manifest.data.where
    if not (where and columns):
        return rows if columns else []
    numbers = [name for name in reading.table.columns if rows and all(number(texts[name]) is not None for _, texts in rows)]
    axes = {name: frozenset(texts[name] for _, texts in rows) for name in reading.table.columns if name not in numbers}
    path = ("data", "where")
    try:
        condition = conditions.parse(where, axes, numbers)
    except BadCondition as error:
        reading.findings.append(Finding("E303", reading.root.at(path).place, str(error), error.hint))
        return []
    found = [
        (line, texts)
        for line, texts in rows
        if condition({name: number(text) if name in numbers else text for name, text in texts.items()}, lambda name: False)
    ]
    if rows and not found:
        reading.findings.append(Finding("E529", reading.root.at(path).place, "no row of the table is like that", "change where"))
    return found


def _row(reading: _Reading, line: int, texts: Mapping[str, str], columns: Mapping[str, str]) -> Row | None:
    """A row's values by role; None, with findings, where one cannot be read."""
    values: dict[str, Any] = {}
    percent, wrong = reading.manifest.data.unit == "percent", False
    task = reading.manifest.tasks.get(texts[columns["target"]].strip())
    metric = reading.manifest.metric(texts.get(columns.get("metric", ""), "").strip() or (task and task.metric) or "")
    for role, column in columns.items():
        text = texts[column].strip()
        if said := _wrong(role, text, percent, metric):
            code, words, hint = said
            reading.complain(code, line, f"column '{column}'{words}", hint, text)
            wrong = True
        elif text:
            values[role] = float(text) if role in NUMBERS else text
    if wrong:
        return None
    values |= {role: int(values[role]) for role in WHOLE if role in values}
    values |= {role: values[role] / 100 for role in SCALED if percent and role in values}
    filled = {"metric": "", "origin": reading.manifest.data.origin, **USUAL, **values}
    if "family" not in filled:
        filled["family"] = MODELS[filled["model"]].family if filled["model"] in MODELS else FAMILY
    return Row(line, **filled)


def _wrong(role: str, text: str, percent: bool, metric: Metric) -> tuple[str, str, str] | None:
    """Why a column cannot hold a text: code, words, hint."""
    value, shown = number(text), text[:40]
    if not text:
        return ("E523", " is empty", f"every row has its {role}") if role in NEEDED else None
    if role == "origin" and text not in get_args(Origin):
        return "E523", f": '{shown}' is no origin", f"write {', '.join(get_args(Origin))}"
    if role == "language" and not re.fullmatch(NAME, text):  # files are named by it
        return "E523", f": '{shown}' is no language's name", "write letters, digits, '.', '_' or '-', such as zh-Hans"
    if role not in NUMBERS:
        return None
    if value is None or (role in WHOLE and (value != int(value) or value < (role != "seed"))):
        wanted = "a whole number above 0" if role in WHOLE else "a number"
        return "E523", f": '{shown}' where {wanted} is wanted", f"it is the {role}"
    low, high = (metric.low, metric.high) if role == "score" else (0.0, 1.0)
    if role in SCALED and not low <= value / (100 if percent else 1) <= high:
        usual = f"a {role} lies within {low:g} and {high:g}, or {100 * low:g} and {100 * high:g} %"
        usual += "; of another metric write metrics: {name: {range: [low, high]}}" if role == "score" else ""
        hint = "write unit: percent" if not percent and low <= value / 100 <= high else usual
        return "E524", f": a {role} of {shown} is no {'percentage' if percent else 'fraction'}", hint
    return None


def _tasks(reading: _Reading, rows: Iterable[Row]) -> dict[str, Task]:
    """The facts of every task that the rows name: known ones, what the manifest adds, and each trained on itself otherwise."""
    known, said = {**lab.TASKS, **TASKS}, reading.manifest.tasks
    metrics: dict[str, dict[str, None]] = {}
    for row in rows:
        metrics.setdefault(row.target, {})[row.metric] = None
    names = dict.fromkeys([*metrics, *(row.intermediate for row in rows if row.intermediate != "none")])
    for name in said:
        if rows and name not in names:
            place = (reading.root.at(("tasks",)).keys or {}).get(name, reading.root.place)
            reading.findings.append(Finding("E201", place, f"the table has no task '{name}'", similar(name, names)))
    found = dict(known)
    for name in names:
        section, base = said.get(name, ReportedTask()), known.get(name)
        task = base or Task(name, "mixture", "", reading.table.name, name)
        trained = section.trained if section.trained is not None else task.trains_on is not None
        own = section.trains_on or task.trains_on or name
        metric = _metric(reading, name, section.metric or task.metric, metrics.get(name, {}), declared=section.metric is not None)
        includes = section.includes if section.includes is not None else task.includes
        found[name] = replace(task, trains_on=own if trained else None, metric=metric, includes=includes)
    return found


def _metric(reading: _Reading, name: str, wanted: str, there: Mapping[str, None], *, declared: bool) -> str:
    """The metric of which a target's gains are."""
    named = [metric for metric in there if metric]
    if not there or (not named and wanted):
        return wanted
    if not named:
        hint = f"give a column of metrics, or write tasks: {{{name}: {{metric: accuracy}}}}"
        reading.findings.append(Finding("E525", reading.root.at(("data",)).place, f"no metric is told of {name}", hint))
    elif wanted in named or (len(named) == 1 and not declared):
        return wanted if wanted in named else named[0]
    else:
        path = ("tasks", name, "metric") if declared else ("data",)
        message = f"{name} has {' and '.join(named)}" + (
            f", and no {wanted}" if declared else ": on which of them are its gains?"
        )
        hint = f"write tasks: {{{name}: {{metric: {named[0]}}}}}"
        reading.findings.append(Finding("E525", reading.root.at(path).place, message, hint))
    return wanted


def _metrics(reading: _Reading, rows: Iterable[Row]) -> None:
    """Metrics whose direction nobody told, and those that no row has."""
    named = {row.metric: row for row in rows if row.metric}
    for name, row in named.items():
        if name not in reading.manifest.metrics and known_metric(name) is None:
            hint = f"write metrics: {{{name}: {{better: higher, range: [0, 1]}}}}, or what it is"
            reading.complain(
                "W537", row.line, f"metric '{name}' is not known: more is taken for better, within 0 and 1", hint, name
            )
    for name, section in reading.manifest.metrics.items():
        place = (reading.root.at(("metrics",)).keys or {}).get(name, reading.root.place)
        if named and name not in named:
            reading.findings.append(Finding("E538", place, f"the table has no metric '{name}'", similar(name, named)))
        usual = known_metric(name)
        if usual and not usual.low <= section.facts.low < section.facts.high <= usual.high:
            message = f"{name} is known to lie within {usual.low:g} and {usual.high:g}"
            reading.findings.append(Finding("E538", place, message, "give the metric another name, or its scores a unit"))
        elif not section.facts.low < section.facts.high:
            reading.findings.append(
                Finding("E538", place, "the first end of a range is not below the second", "write [low, high]")
            )


def _at_every_seed(rows: list[Row], tasks: Mapping[str, Task]) -> Iterator[Row]:
    """Untreated rows of what is not trained, again at the seeds of the treated ones, where a table has them once."""
    treated: dict[tuple[str, str, str], set[int]] = {}
    own: dict[tuple[str, str, str], set[int]] = {}
    for row in rows:
        (treated if row.treated else own).setdefault((row.model, row.target, row.origin), set()).add(row.seed)
    for row in rows:
        key = (row.model, row.target, row.origin)
        if row.treated is None and tasks[row.target].trains_on is None and len(own[key]) == 1:
            yield from (replace(row, seed=seed) for seed in sorted(treated.get(key, set()) - own[key]))


def _design(reading: _Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    """What rows say of each other: models with two sizes, two scores for one thing, protocols mixed, baselines that lack."""
    models: dict[str, Row] = {}
    protocols: dict[str, Row] = {}
    cells: dict[tuple[str, str, str, str, int, str], Row] = {}
    seen: dict[tuple, Row] = {}
    for row in rows:
        first = models.setdefault(row.model, row)
        for what in ("parameters", "non_embedding", "family"):
            one, other = getattr(first, what), getattr(row, what)
            if one != other:
                message = f"{row.model} has {what.replace('_', ' ')} {other} here and {one} in line {first.line}"
                reading.complain("E526", row.line, message, "a model has one size and one family; give two models two names")
        twin = seen.setdefault((*row.cell, row.language, row.metric), row)
        if twin is not row:
            differs = [name for name in ("source", "protocol") if getattr(twin, name) != getattr(row, name)]
            told = f"another {' and '.join(differs)}" if differs else "the same"
            what = f"{row.model}, {row.treated or 'untreated'}, {row.target} in {row.language}"
            message = f"a second score of {what}: line {twin.line} has {told}"
            reading.complain("E527", row.line, message, "keep one, by 'where'; or give replicates a column of seeds")
        if row.origin != rows[0].origin and not reading.manifest.data.mixed:
            message = f"this row is {row.origin}, and line {rows[0].line} is {rows[0].origin}"
            reading.complain(
                "E534", row.line, message, "choose one by 'where'; or write data: {mixed: true}, and origin is a factor"
            )
        first = cells.setdefault(row.cell, row)
        if first.source != row.source:
            message = f"{row.target} of this run was scored by '{row.source}' here and by '{first.source}' in line {first.line}"
            reading.complain(
                "E532", row.line, message, "a run has one source; choose one by 'where', or give it another model's name"
            )
        first = protocols.setdefault(row.target, row)
        if first.protocol != row.protocol:
            message = f"{row.target} was scored as '{row.protocol}' here and as '{first.protocol}' in line {first.line}"
            reading.complain("E528", row.line, message, "scores of different protocols make no gain; choose one by 'where'")
    _languages(reading, rows)
    _pairs(reading, rows, tasks)


def _languages(reading: _Reading, rows: list[Row]) -> None:
    """Labels that look like one language, and labels of the source language that are not its code."""
    source, alike, first = reading.manifest.data.language, dict[str, str](), dict[str, Row]()
    for row in rows:
        first.setdefault(row.language, row)
    for label, row in first.items():
        base = base_language(label)
        twin = alike.setdefault(base, label)
        if label != source and same_language(label, source):
            message = f"'{label}' is taken for {source}, the language of training: it is no target of transfer"
            hint = f"write data: {{language: {label}}}, or another name if it is none"
            reading.complain("W535", row.line, message, hint, label)
        elif twin != label and base != "zh" and not same_language(label, source):
            message = f"'{label}' looks like the language '{twin}' of line {first[twin].line}, and is another one here"
            reading.complain("W536", row.line, message, "give one language one name", label)


def _pairs(reading: _Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    rule = reading.manifest.analysis.gain
    if set(rule.baseline) - {"intermediate", "variant"}:
        return  # which check_analysis says
    match = [name for name in rule.match if name in Row.__dataclass_fields__]

    def key(row: Row) -> tuple:
        return (row.origin, *(getattr(row, name) for name in match))

    baselines: dict[tuple, Row] = {}
    mine = [row for row in rows if row.metric == tasks[row.target].metric]
    treated = []
    for row in mine:
        if all(getattr(row, axis) == value for axis, value in rule.baseline.items()):
            baselines.setdefault(key(row), row)
        elif rule.drop_languages is not None or not same_language(row.language, reading.manifest.data.language):
            treated.append(row)
    alone = [row for row in treated if key(row) not in baselines]
    if treated and len(alone) == len(treated):
        message = f"no row has the baseline of {alone[0].model} in {alone[0].target}, {alone[0].language}, nor of any other"
        hint = (
            f"a baseline has {', '.join(f'{axis} {value}' for axis, value in rule.baseline.items())}; see analysis.gain.baseline"
        )
        reading.complain("E531", alone[0].line, message, hint)
        return
    for row in alone:
        reading.complain("W531", row.line, f"no baseline for {row.model}, {row.target} in {row.language}: it makes no gain")
    for row in treated:
        other = baselines.get(key(row))
        if other and other.source != row.source:
            message = f"its baseline is of another source: '{other.source}', in line {other.line}"
            reading.complain("W532", row.line, message, "a gain within one paper is safer; choose by 'where'")
        if other and other.items != row.items:
            reading.complain(
                "W533", row.line, f"{row.items} items, and its baseline in line {other.line} has {other.items}: no gain"
            )


def number(text: str) -> float | None:
    """What a field says, where that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
