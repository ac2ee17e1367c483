"""From texts to rows: what is wrong with a table is a finding with its row and column."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from xlift.registry.findings import Finding, UserError, similar, unfit
from xlift.registry.kinds import Metric
from xlift.registry.known import lab
from xlift.registry.known.metrics import known as known_metric
from xlift.registry.known.metrics import spread
from xlift.registry.known.models import MODELS
from xlift.registry.known.tasks import TASKS, Task
from xlift.registry.manifest import conditions
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.conditions import BadCondition
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.resolve import check_analysis
from xlift.registry.manifest.sections import ReportedTask, Role, Scaled, TableManifest
from xlift.registry.stage import Origin
from xlift.registry.table import design, units
from xlift.registry.table.file import Table
from xlift.registry.table.reading import Reading
from xlift.registry.table.runs import FAMILY, Row, TableStudy

NEEDED: tuple[Role, ...] = ("model", "parameters", "target", "language", "score")
WHOLE = ("parameters", "non_embedding", "items", "seed")
LARGEST = 2**63  # of whole numbers, which files and queries keep in 64 bits
SCALED = get_args(Scaled)
NUMBERS = (*WHOLE, *SCALED)
USUAL = {"intermediate": "none", "variant": "plain", "seed": 1}  # where a column is absent, or a field empty
ALIASES = {"params_total": "parameters", "params_non_embedding": "non_embedding"}  # names of columns that `xlift sql` writes


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
    reading = Reading(manifest, root, findings, table)
    columns = reading.columns = _columns(reading)
    chosen = _chosen(reading, columns)
    rows = [row for line, texts in chosen if (row := _row(reading, line, texts, columns))]
    if columns and not table.rows:
        findings.append(Finding("E529", place, f"{table.name} has no rows", "a row is a score"))
    tasks = _tasks(reading, rows)
    rows = [row if row.metric else replace(row, metric=tasks[row.target].metric) for row in rows]
    _metrics(reading, rows)
    rows = units.check(reading, rows)
    rows = [*rows, *_at_every_seed(rows, tasks)]
    design.check(reading, rows, tasks)
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


def _columns(reading: Reading) -> dict[str, str]:
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


def _chosen(reading: Reading, columns: dict[str, str]) -> list[tuple[int, dict[str, str]]]:
    """The rows for which `where` holds."""
    rows, where = list(reading.table.rows), reading.manifest.data.where
    if not (where and columns):
        return rows if columns else []
    numbers = [name for name in reading.table.columns if rows and all(number(texts[name]) is not None for _, texts in rows)]
    axes = {name: frozenset(texts[name] for _, texts in rows) for name in reading.table.columns if name not in numbers}
    path = ("data", "where")
    try:
        condition = conditions.parse(where, axes, numbers, available=False)
    except BadCondition as error:
        reading.findings.append(Finding("E303", reading.root.at(path).place, str(error), error.hint))
        return []
    found = [
        (line, texts)
        for line, texts in rows
        if condition({name: number(text) if name in numbers else text for name, text in texts.items()})
    ]
    if rows and not found:
        reading.findings.append(Finding("E529", reading.root.at(path).place, "no row of the table is like that", "change where"))
    return found


def _row(reading: Reading, line: int, texts: Mapping[str, str], columns: Mapping[str, str]) -> Row | None:
    """A row's values by role; None, with findings, where one cannot be read."""
    values: dict[str, Any] = {}
    wrong, target = False, texts[columns["target"]].strip()
    name = texts.get(columns.get("metric", ""), "").strip() or _usual_metric(reading.manifest, target)
    metric = reading.manifest.metric(name)
    percent = {role for role in SCALED if units.unit(reading.manifest, role, name) == "percent"}
    for role, column in columns.items():
        text = texts[column].strip()
        if said := _wrong(role, text, role in percent, metric):
            code, words, hint = said
            reading.complain(code, line, f"column '{column}'{words}", hint, text)
            wrong = True
        elif text:
            values[role] = float(text) if role in NUMBERS else text
    if wrong:
        return None
    values |= {role: int(values[role]) for role in WHOLE if role in values}
    values |= {role: values[role] / 100 for role in percent if role in values}
    filled = {"metric": "", "origin": reading.manifest.data.origin, **USUAL, **values}
    if "family" not in filled:
        filled["family"] = MODELS[filled["model"]].family if filled["model"] in MODELS else FAMILY
    return Row(line, **filled)


def _usual_metric(manifest: TableManifest, target: str) -> str:
    """Of a target's scores where no column tells it: as declared, or as known."""
    said, known = manifest.tasks.get(target), TASKS.get(target) or lab.TASKS.get(target)
    return (said and said.metric) or (known.metric if known else "")


def _wrong(role: str, text: str, percent: bool, metric: Metric) -> tuple[str, str, str] | None:
    """Why a column cannot hold a text: code, words, hint."""
    value, shown = number(text), text[:40]
    if not text:
        return ("E523", " is empty", f"every row has its {role}") if role in NEEDED else None
    if role == "origin" and text not in get_args(Origin):
        return "E523", f": '{shown}' is no origin", f"write {', '.join(get_args(Origin))}"
    if role not in NUMBERS:
        why = unfit(text)
        return ("E523", f": a name that {why}", "write it so that a reader sees what it is") if why else None
    if value is None or (role in WHOLE and not (value == int(value) and (role != "seed") <= value < LARGEST)):
        wanted = "a whole number above 0" if role in WHOLE else "a number"
        return "E523", f": '{shown}' where {wanted} is wanted", f"it is the {role}"
    low, high = (metric.low, metric.high) if role in ("score", "dev_score") else (0.0, 1.0)
    if role in SCALED and not low <= value / (100 if percent else 1) <= high:
        usual = f"a {role} lies within {low:g} and {high:g}, or {100 * low:g} and {100 * high:g} %"
        usual += "; of another metric write metrics: {name: {range: [low, high]}}" if role == "score" else ""
        hint = "write unit: percent" if not percent and low <= value / 100 <= high else usual
        return "E524", f": a {role} of {shown} is no {'percentage' if percent else 'fraction'}", hint
    return None


def _tasks(reading: Reading, rows: Iterable[Row]) -> dict[str, Task]:
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


def _metric(reading: Reading, name: str, wanted: str, there: Mapping[str, None], *, declared: bool) -> str:
    """The metric of which a target's gains are."""
    named = [metric for metric in there if metric and (metric == wanted or not spread(metric))]
    if there and not named and any(there):
        message = f"{name} has {' and '.join(there)}, which is no score"
        hint = "name the column of scores, and that of standard errors as se"
        reading.findings.append(Finding("E525", reading.root.at(("data",)).place, message, hint))
        return wanted
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


def _metrics(reading: Reading, rows: Iterable[Row]) -> None:
    """Metrics whose direction nobody told, and those that no row has."""
    named = {row.metric: row for row in rows if row.metric}
    for name, row in named.items():
        if name not in reading.manifest.metrics and known_metric(name) is None and not spread(name):
            hint = f"write metrics: {{{name}: {{better: higher, range: [0, 1]}}}}, or what it is"
            reading.complain(
                "W537", row.line, f"metric '{name}' is not known: more is taken for better, within 0 and 1", hint, name
            )
    for name in reading.manifest.metrics:
        place = (reading.root.at(("metrics",)).keys or {}).get(name, reading.root.place)
        if named and name not in named:
            reading.findings.append(Finding("E538", place, f"the table has no metric '{name}'", similar(name, named)))
        usual, facts = known_metric(name), reading.manifest.metric(name)
        if usual and not usual.low <= facts.low < facts.high <= usual.high:
            message = f"{name} is known to lie within {usual.low:g} and {usual.high:g}"
            reading.findings.append(Finding("E538", place, message, "give the metric another name, or its scores a unit"))
        elif not facts.low < facts.high:
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


def number(text: str) -> float | None:
    """What a field says, where that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
