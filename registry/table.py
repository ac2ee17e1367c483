"""A table of scores that were computed elsewhere becomes runs: models as it names them, trainings as it tells of them.

A row is a score. Its runs have the shape of our own, so that gains pair, and models of gains see which scores share a
training: model > intermediate > target > evaluation. What is wrong with a table is a finding with its row and column.
"""

import csv
import io
import math
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from xlift.registry.card import Cell, StageCard, StudyCard
from xlift.registry.claims import write_atomically
from xlift.registry.findings import Finding, Place, UserError, relative, similar
from xlift.registry.known import lab
from xlift.registry.known.models import MODELS
from xlift.registry.known.tasks import TASKS, Task, same_training_data
from xlift.registry.manifest import conditions
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.conditions import BadCondition
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.resolve import check_analysis
from xlift.registry.manifest.sections import NAME, ReportedTask, Role, TableManifest
from xlift.registry.score import Score
from xlift.registry.spec import digest
from xlift.registry.stage import RETRIEVAL, Data, Origin, Reported, Stage, Weights
from xlift.registry.store import Store, part

NEEDED: tuple[Role, ...] = ("model", "parameters", "target", "language", "score")
WHOLE = ("parameters", "non_embedding", "items", "seed")
SCALED = ("score", "chance", "se")  # in the table's unit
NUMBERS = (*WHOLE, *SCALED)
USUAL = {"intermediate": "none", "variant": "plain", "seed": 1}  # where a column is absent, or a field empty
ALIASES = {"params_total": "parameters", "params_non_embedding": "non_embedding"}  # names of columns that `xlift sql` writes
FAMILY = "imported"  # of models whose family is not told
ENOUGH = 20  # findings of one kind that are shown
COUNTED = ("acc", "exact_match")  # metrics, by the start of their names, that are shares of items: binomial


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
        raise UserError("no run of that experiment has a metric")
    if path.exists() and "run" not in read_csv(path).columns:
        raise UserError(f"{path} is another table; give another path")
    if path.suffix != ".csv" or not path.parent.is_dir():
        raise UserError(f"{path}: an experiment is written into a .csv file, in a folder that is there")
    made = io.StringIO()
    writer = csv.DictWriter(made, list(dict.fromkeys(name for row in rows for name in row)), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, made.getvalue().encode())


@dataclass(frozen=True)
class Row:
    """A row of the table as it is understood; scores are fractions."""

    line: int
    model: str
    parameters: int
    target: str
    language: str
    score: float
    intermediate: str
    variant: str
    seed: int
    metric: str
    family: str = FAMILY
    non_embedding: int | None = None
    items: int | None = None
    chance: float | None = None
    se: float | None = None
    source: str | None = None
    protocol: str | None = None
    intermediate_language: str | None = None
    origin: Origin = "imported"

    @property
    def treated(self) -> str | None:
        """What was trained between the model and the target."""
        if (self.intermediate, self.variant) == ("none", "plain"):
            return None
        return self.intermediate if self.variant == "plain" else f"{self.intermediate} + {self.variant}"

    @property
    def cell(self) -> tuple[str, str, str, str, int, str]:
        return self.model, self.intermediate, self.variant, self.target, self.seed, self.origin

    @property
    def data(self) -> str:
        """What stands for the sha-256 of the test data, of which nothing else is known."""
        return digest([self.target, self.language, self.protocol, self.items])

    def scored(self, primary: bool) -> Score:
        se = self.se
        if se is None and self.items and self.metric.lower().startswith(COUNTED):
            se = math.sqrt(self.score * (1 - self.score) / self.items)
        fields = {name: getattr(self, name) for name in ("language", "metric", "items", "chance")}
        return Score(**fields, value=self.score, primary=primary, se=se, data=self.data)


@dataclass(frozen=True)
class TableStudy:
    """A checked manifest over a table, and the rows that it takes from it."""

    manifest: TableManifest
    path: Path
    rows: tuple[Row, ...]
    tasks: dict[str, Task]
    warnings: tuple[Finding, ...]
    root: Node
    sources: dict[str, str]

    @property
    def id(self) -> str:
        return self.manifest.id

    def place(self, path: tuple[str | int, ...]) -> Place:
        """Where a path of the manifest stands, or what is nearest to it."""
        return self.root.at(path).place

    @cached_property
    def runs(self) -> dict[Stage, list[Score]]:
        """Every stage, the first of a chain first, and the scores of the evaluations."""
        found: dict[Stage, list[Score]] = {}
        for row in self.rows:
            stage = self._stage(row)
            for ancestor in stage.lineage[:-1]:
                found.setdefault(ancestor, [])
            score = row.scored(self.tasks[row.target].metric == row.metric)
            if score not in found.setdefault(stage, []):  # untreated and untrained, it stands at every seed
                found[stage].append(score)
        return found

    @cached_property
    def _constant(self) -> set[tuple[str, str]]:
        """Models and targets whose baseline is not trained and has the same scores at every seed: one evaluation."""
        values: dict[tuple[str, str], dict[tuple[str, str], set[float]]] = {}
        for row in self.rows:
            if row.treated is None and self._trains_on(row.target) is None:
                values.setdefault((row.model, row.target), {}).setdefault((row.language, row.metric), set()).add(row.score)
        return {key for key, scores in values.items() if all(len(each) == 1 for each in scores.values())}

    def _trains_on(self, target: str) -> str | None:
        return self.tasks[target].trains_on

    def _stage(self, row: Row) -> Stage:
        weights = Weights(named=row.model, parameters=row.parameters)
        made, stage = Reported(origin=row.origin, source=row.source), None
        for task in (row.treated, self._trains_on(row.target)):
            if task:
                data = Data(source="table", kind="reported", task=task, reported=made)
                stage = Stage(kind="train", weights=weights, data=data, seed=row.seed, parent=stage)
        scored = made.model_copy(update={"protocol": row.protocol})
        metric = self.tasks[row.target].metric
        seed = row.seed if stage is None and (row.model, row.target) not in self._constant else None
        data = Data(source="table", kind="reported", task=row.target, metric=metric, reported=scored)
        return Stage(kind="evaluate", weights=weights, data=data, seed=seed, parent=stage)

    def card(self) -> StudyCard:
        """What analysis needs to know of the study."""
        return self._card

    @cached_property
    def _card(self) -> StudyCard:
        manifest, models = self.manifest, {row.model: row for row in self.rows}
        groups: dict[tuple[str, str, str, str, int, str], list[Row]] = {}
        for row in self.rows:
            if row.metric == self.tasks[row.target].metric:
                groups.setdefault(row.cell, []).append(row)
        stages = tuple(
            StageCard(
                id=stage.id,
                kind=stage.kind,
                model=str(stage.weights.named),
                task=stage.data.task,
                seed=stage.effective_seed,
                parent=stage.parent.id if stage.parent else None,
                source=stage.data.reported.origin if stage.data.reported else "",
                **_sizes(models[str(stage.weights.named)]),
            )
            for stage in self.runs
        )
        targets = dict.fromkeys(row.target for row in self.rows)
        return StudyCard(
            study=manifest.id,
            question=manifest.question,
            source_language=manifest.data.language,
            analysis=manifest.analysis,
            hypotheses=manifest.hypotheses,
            control=manifest.control,
            claims=manifest.claims,
            outcomes={target: self.tasks[target].metric for target in targets},
            left_out=(f"all but {manifest.data.where}",) if manifest.data.where else (),
            cells=tuple(self._cell(rows) for rows in groups.values()),
            stages=stages,
        )

    def _cell(self, rows: list[Row]) -> Cell:
        first, task = rows[0], self.tasks[rows[0].target]
        return Cell(
            model=first.model,
            intermediate=first.intermediate,
            variant=first.variant,
            target=first.target,
            seed=first.seed,
            stage=self._stage(first).id,
            languages=tuple(dict.fromkeys(row.language for row in rows)),
            data={row.language: row.data for row in rows},
            same_task=first.intermediate != "none" and same_training_data(self.tasks, first.intermediate, task.trains_on),
            retrieval=task.trains_on is None and task.kind in RETRIEVAL,
            prompted=task.trains_on is None and task.kind not in RETRIEVAL,
            origin=first.origin,
            intermediate_language=first.intermediate_language,
            **_sizes(first),
        )


def _sizes(row: Row) -> dict[str, Any]:
    return {"family": row.family, "params_total": row.parameters, "params_non_embedding": row.non_embedding}


def keep(study: TableStudy, store: Store) -> int:
    """Commit what the store does not have of a table's runs; how many were. Rows that changed are committed again."""
    count = 0
    for stage, scores in study.runs.items():
        there = store.scores(stage.id)
        if all(score in there for score in scores) if scores else store.record(stage.id):
            continue
        claimed = store.claim(stage)
        if claimed is None:
            raise UserError(f"another process imports {study.id}; wait for it, and give the command again")
        with claimed as claim:
            names: dict[str, list[Score]] = {}
            for score in scores:
                names.setdefault(claim.own(part(score.language, score.data)), []).append(score)
            for name, rows in names.items():
                (claim.folder / name).parent.mkdir(exist_ok=True)
                (claim.folder / name).write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
            store.commit(claim, names, started=datetime.now(UTC), host=socket.gethostname(), versions={})
        count += 1
    if store.card(study.id) != study.card():
        store.save_card(study.card())
    return count


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


def number(text: str) -> float | None:
    """What a field says, where that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _row(reading: _Reading, line: int, texts: Mapping[str, str], columns: Mapping[str, str]) -> Row | None:
    """A row's values by role; None, with findings, where one cannot be read."""
    values: dict[str, Any] = {}
    percent, wrong = reading.manifest.data.unit == "percent", False
    for role, column in columns.items():
        text = texts[column].strip()
        if said := _wrong(role, text, percent):
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


def _wrong(role: str, text: str, percent: bool) -> tuple[str, str, str] | None:
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
    if role in SCALED and not 0 <= value <= (100 if percent else 1):
        hint = "write unit: percent" if not percent and 0 <= value <= 100 else f"a {role} lies within 0 and 1, or 0 and 100 %"
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
    _pairs(reading, rows, tasks)


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
        elif row.language != reading.manifest.data.language or rule.drop_languages is not None:
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


def told(study: TableStudy) -> str:
    """What a table came to."""
    cells, models = {row.cell for row in study.rows}, {row.model for row in study.rows}
    origins = " and ".join(sorted({row.origin for row in study.rows}))
    return f"{study.id}: {len(study.rows):,} scores of {len(models)} models in {len(cells):,} cells, {origins}"
