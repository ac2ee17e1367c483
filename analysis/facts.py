"""Facts as SQL: an in-memory DuckDB filled from the store and the cards of its studies; the only `import duckdb`.

Base tables: `stage_rows` (study x stage), `cell_rows` (study x cell x language), `score_rows` (stage x language x
metric), `language_rows` (language). Views, one a file of `analysis/sql`: `stages`, `scores`, `planned` (gains), `gains`,
`missing`. Scores and gains are fractions; `lp` is log10 of the parameters, 0 at the study's centre.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from math import log10
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import duckdb
import pandas as pd
import pyarrow as pa

from xlift.analysis import tabled
from xlift.analysis.tabled import NEWER, SCORES
from xlift.registry.card import Cell, StageCard, StudyCard, target_group
from xlift.registry.findings import UserError
from xlift.registry.kept import NotRead, NotUnderstood
from xlift.registry.known import lab
from xlift.registry.known.languages import LANGUAGES, same_language
from xlift.registry.pairing import is_baseline, left_out, pair, treatment, untreated
from xlift.registry.score import Score
from xlift.registry.spec import canonical

Facts: TypeAlias = duckdb.DuckDBPyConnection
VIEWS = ("stages", "scores", "planned", "gains", "missing")

STAGES = pa.schema(
    [
        ("study", pa.string()),
        ("id", pa.string()),
        ("kind", pa.string()),
        ("model", pa.string()),
        ("family", pa.string()),
        ("params_total", pa.int64()),
        ("params_non_embedding", pa.int64()),
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("parent", pa.string()),
        ("source", pa.string()),
        ("state", pa.string()),
        ("started", pa.timestamp("us")),
        ("seconds", pa.float64()),
        ("failure", pa.string()),
    ]
)
CELLS = pa.schema(
    [
        ("study", pa.string()),
        ("model", pa.string()),
        ("family", pa.string()),
        ("params_total", pa.int64()),
        ("params_non_embedding", pa.int64()),
        ("lp", pa.float64()),
        ("intermediate", pa.string()),
        ("variant", pa.string()),
        ("treatment", pa.string()),
        ("target", pa.string()),
        ("seed", pa.int64()),
        ("stage", pa.string()),
        ("run", pa.string()),
        ("intermediate_run", pa.string()),
        ("language", pa.string()),
        ("seen", pa.bool_()),
        ("same_task", pa.bool_()),
        ("blocked", pa.string()),
        ("declared", pa.bool_()),
        ("target_group", pa.string()),
        ("is_baseline", pa.bool_()),
        ("dropped", pa.bool_()),
        ("is_source", pa.bool_()),
        ("pair", pa.string()),
        ("wanted", pa.string()),
        ("origin", pa.string()),
        ("better", pa.string()),
    ]
)
LANGUAGE_ROWS = pa.schema(
    [("language", pa.string()), ("language_family", pa.string()), ("script", pa.string()), ("distance", pa.float64())]
)


class Reading(Protocol):
    """What is asked of `registry.store.Store`."""

    def state(self, stage_id: str) -> str: ...
    def record(self, stage_id: str) -> Any: ...
    def scores(self, stage_id: str) -> Sequence[Score]: ...
    def failure(self, stage_id: str) -> str | None: ...
    def foreign(self, stage_id: str) -> str | None: ...
    def table(self, digest: str) -> Path | None: ...


class Unread:
    """A store in which nothing has run."""

    def state(self, stage_id: str) -> str:
        return "pending"

    def record(self, stage_id: str) -> None:
        return None

    def scores(self, stage_id: str) -> tuple[Score, ...]:
        return ()

    def failure(self, stage_id: str) -> None:
        return None

    def foreign(self, stage_id: str) -> None:
        return None

    def table(self, digest: str) -> None:
        return None


def connect(store: Reading | None, cards: Sequence[StudyCard]) -> duckdb.DuckDBPyConnection:
    """The facts of some studies, in memory, without access to files; UserError where gains cannot be paired.

    Without a store only what is planned is known.
    """
    store = store or Unread()
    names = [card.study for card in cards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two cards for one study: {', '.join(twice)}")
    tables = {card.table: table(store, card.table) for card in cards if card.table}
    wanted = dict.fromkeys(cell.stage for card in cards if not card.table for cell in card.cells if cell.stage)
    connection = memory()
    fill(connection, "stage_rows", STAGES, (row for card in cards for row in stage_rows(store, card, tables)))
    fill(connection, "cell_rows", CELLS, (row for card in cards for row in cell_rows(card)))
    kept = [table for table in tables.values() if isinstance(table, pa.Table)]
    fill(connection, "score_rows", SCORES, (row for stage in wanted for row in score_rows(store, stage)), kept)
    fill(connection, "language_rows", LANGUAGE_ROWS, language_rows())
    return locked(viewed(connection, VIEWS))


def viewed(connection: Facts, views: Iterable[str]) -> Facts:
    """With views over the base tables."""
    for view in views:
        connection.execute(f"CREATE VIEW {view} AS {sql(view)}")
    return connection


def locked(connection: Facts) -> Facts:
    """Without access to files and Python's variables, which nothing can give back."""
    for lock in ("enable_external_access = false", "python_enable_replacements = false", "lock_configuration = true"):
        connection.execute(f"SET {lock}")
    return connection


def memory() -> Facts:
    """An empty database."""
    return duckdb.connect(":memory:")


def named(statement: str) -> set[str]:
    """The tables and views that a statement names, in lower case; all views where that cannot be told."""
    try:
        names = {name.lower() for name in memory().get_table_names(statement)}
    except duckdb.Error:  # which `query` tells in words
        return {*VIEWS}
    return {*VIEWS} if not names or "query" in statement.lower() else names  # query('SELECT …') names them within a text


def text(value: str) -> str:
    """A text as it is written in SQL."""
    return "'" + value.replace("'", "''") + "'"


def sql(name: str) -> str:
    """The text of a named query in `analysis/sql`."""
    return resources.files("xlift.analysis").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def query(connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
    """The rows that one SELECT returns; UserError, in DuckDB's words, for anything else."""
    try:
        parsed = connection.extract_statements(statement)
        if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
            raise UserError("one SELECT statement is wanted: facts are read here, not changed")
        return connection.execute(parsed[0], list(parameters)).df()
    except duckdb.Error as error:
        raise UserError(f"the query does not work: {error}") from error


@dataclass(frozen=True, slots=True)
class Relation:
    """Something to select from: a file, or a query over a connection. One thread: fits share machines."""

    connection: duckdb.DuckDBPyConnection
    source: str  # what stands after FROM

    @classmethod
    def parquet(cls, path: Path) -> "Relation":
        connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "1GB"})
        return cls(connection, f"read_parquet({text(str(path))})")

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, statement: str) -> "Relation":
        """The rows of one SELECT, such as "SELECT * FROM gains WHERE target = 'xnli'"."""
        return cls(connection, f"({statement.rstrip().rstrip(';')})")

    def select(self, what: str, tail: str = "") -> pd.DataFrame:
        """SELECT `what` FROM the source; UserError, in DuckDB's words, where that does not work."""
        try:
            return self.connection.execute(f"SELECT {what} FROM {self.source} AS data {tail}").df()
        except duckdb.Error as error:
            raise UserError(f"the data cannot be read: {error}") from error

    def columns(self) -> dict[str, str]:
        """Names and DuckDB types."""
        try:
            described = self.connection.execute(f"DESCRIBE SELECT * FROM {self.source} AS data").fetchall()
        except duckdb.Error as error:
            raise UserError(f"the data cannot be read: {error}") from error
        return {row[0]: row[1] for row in described}


class _Runs:
    """The trained checkpoints that a cell rests on: the one that is evaluated, and that of its intermediate training.

    A run is the id of a training stage, so one training on SQuAD is one run of XQuAD and of MLQA; the model's name where nothing
    was trained, and the cell's axes where its stages are not known because it is blocked.
    """

    def __init__(self, card: StudyCard) -> None:
        self.stages = {stage.id: stage for stage in card.stages}

    def of(self, cell: Cell) -> tuple[str, str]:
        axes = [cell.model, treatment(cell.intermediate, cell.variant), str(cell.seed)]
        if cell.stage not in self.stages:
            return "/".join([*axes, *([] if cell.retrieval or cell.prompted else [cell.target])]), "/".join(axes)
        chain = self._above(self.stages[cell.stage].parent)
        trained = [stage.id for stage in chain if stage.kind == "train"]
        treated = trained and not untreated(cell.intermediate, cell.variant)
        return chain[0].id if chain else cell.model, trained[-1] if treated else cell.model

    def _above(self, stage: str | None) -> list[StageCard]:
        """A stage and its ancestors, the earliest last."""
        found = []
        while stage in self.stages:
            found.append(self.stages[stage])
            stage = found[-1].parent
        return found


def _centre(card: StudyCard) -> float:
    """log10 of the parameters at which lp is 0."""
    if card.analysis.centre:
        return log10(card.analysis.centre)
    sizes = {cell.model: log10(getattr(cell, card.analysis.x)) for cell in card.cells}
    return sum(sizes.values()) / len(sizes) if sizes else 0.0


def fill(
    connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, rows: Iterable[tuple], more: Sequence[pa.Table] = ()
) -> None:
    """A table of `rows` and of the schema's columns of `more`."""
    connection.register("incoming", pa.concat_tables([arrow(schema, rows), *(other.select(schema.names) for other in more)]))
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def arrow(schema: pa.Schema, rows: Iterable[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def table(store: Reading, digest: str) -> pa.Table | str:
    """The rows of a table, or why they cannot be read."""
    try:
        path = store.table(digest)
        return (path and tabled.read(path)) or "its table is not in the store: import it again"
    except NotUnderstood as error:
        _say(error)
        return str(error)


def _say(reason: object) -> None:
    """What is not read, once."""
    warnings.warn(str(reason), NotRead, stacklevel=1)


def stage_rows(store: Reading, card: StudyCard, tables: Mapping[str, pa.Table | str]) -> Iterator[tuple]:
    for stage in card.stages:
        if card.table:
            failed = tables[card.table] if isinstance(tables[card.table], str) else None
            state, record, failure = "failed" if failed else "finished", None, failed
        else:
            state, failure = store.state(stage.id), store.failure(stage.id)
            if state == "foreign":
                failure = store.foreign(stage.id)
                _say(failure)
            record = store.record(stage.id) if state == "finished" else None
        started = datetime.fromisoformat(record.started).astimezone(UTC).replace(tzinfo=None) if record else None
        yield (
            card.study,
            stage.id,
            stage.kind,
            stage.model,
            stage.family,
            stage.params_total,
            stage.params_non_embedding,
            stage.task,
            stage.seed,
            stage.parent,
            stage.source,
            state,
            started,
            record.seconds if record else None,
            failure,
        )


def score_rows(store: Reading, stage: str) -> Iterator[tuple]:
    try:
        yield from rows_of(stage, store.scores(stage))
    except NotUnderstood as error:
        _say(error)


def rows_of(stage: str, scores: Iterable[Score]) -> Iterator[tuple]:
    """A row a score."""
    seen: set[tuple[str, str]] = set()
    for score in scores:
        assert not (score.primary and (score.language, score.data) in seen), f"{stage}: two primary metrics in {score.language}"
        seen |= {(score.language, score.data)} if score.primary else set()
        yield (
            stage,
            score.language,
            score.metric,
            score.value,
            score.primary,
            score.items,
            score.chance,
            score.se,
            score.data,
            *(None for _ in NEWER),
        )


def language_rows() -> Iterator[tuple]:
    """What is known of languages, real ones and the lab's, whose distance to English nobody measured."""
    for language in LANGUAGES.values():
        yield language.code, language.family, language.script, language.distance
    for made in lab.LANGUAGES.values():
        yield made.code, made.family, made.script, None


def cell_rows(card: StudyCard) -> Iterator[tuple]:
    """Each cell once a language, with the text that its two halves share and the part it plays in the pair."""
    rule = card.analysis.gain
    known = {*Cell.model_fields, "language"}
    for what, names in (("gain.baseline", rule.baseline), ("gain.match", rule.match)):
        if unknown := sorted(set(names) - known):
            raise UserError(f"{card.study}: analysis.{what} names {', '.join(unknown)}; cells have {', '.join(sorted(known))}")
    baselines: set[str] = set()
    trained, centre = _Runs(card), _centre(card)
    for cell in card.cells:
        run, intermediate_run = trained.of(cell)
        lp = log10(getattr(cell, card.analysis.x)) - centre
        base = is_baseline(cell, rule)
        for language in cell.languages:
            is_source = same_language(language, card.source_language)
            common = canonical(pair(cell, language, rule))
            if base and common in baselines:
                raise UserError(
                    f"{card.study}: two baselines for {common}; analysis.gain.match has to name more of a cell's axes"
                )
            baselines |= {common} if base else set()
            yield (
                card.study,
                cell.model,
                cell.family,
                cell.params_total,
                cell.params_non_embedding,
                lp,
                cell.intermediate,
                cell.variant,
                treatment(cell.intermediate, cell.variant),
                cell.target,
                cell.seed,
                cell.stage,
                run,
                intermediate_run,
                language,
                None if cell.seen is None else language in cell.seen,
                cell.same_task,
                cell.blocked,
                cell.declared,
                target_group(cell, card.analysis.apart),
                base,
                left_out(language, rule, card.source_language),
                is_source,
                common,
                cell.data.get(language),
                cell.origin,
                "lower" if card.outcomes.get(cell.target) in card.lower else "higher",
            )
