"""What the rows of a table become: runs, cells, a card, and the columns that a store keeps, whole, in one file."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from xlift.registry.card import Cell, StageCard, StudyCard
from xlift.registry.carriers import lineages
from xlift.registry.findings import Finding, Place
from xlift.registry.kinds import RETRIEVAL, SHARE
from xlift.registry.known.metrics import known
from xlift.registry.known.tasks import Task, same_training_data
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import TableManifest
from xlift.registry.pairing import treatment, untreated
from xlift.registry.spec import canonical, digest
from xlift.registry.stage import Origin

FAMILY = "imported"  # of models whose family is not told


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
    gain_se: float | None = None  # of the gain over its baseline, where that is known; of treated rows alone
    dev_score: float | None = None  # of the same run on development data in the source language, by the same metric
    source: str | None = None
    protocol: str | None = None
    intermediate_language: str | None = None
    continues: str | None = None
    origin: Origin = "imported"

    @property
    def treated(self) -> str | None:
        """What was trained between the model and the target."""
        both = self.intermediate, self.variant
        return None if untreated(*both) else treatment(*both)

    @property
    def cell(self) -> tuple[str, str, str, str, int, str]:
        return self.model, self.intermediate, self.variant, self.target, self.seed, self.origin

    @property
    def data(self) -> str:
        """What stands for the sha-256 of the test data, of which nothing else is known."""
        return canonical([self.target, self.language, self.protocol, self.items])

    @property
    def standard_error(self) -> float | None:
        """As told, or binomial, of a share of items; None where neither is."""
        if self.se is None and self.items and (known(self.metric) or SHARE).counted:
            return math.sqrt(self.score * (1 - self.score) / self.items)
        return self.se


COLUMNS = tuple(field.name for field in fields(Row))
NEWER = ("gain_se", "dev_score")  # columns that no table had before


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
    def digest(self) -> str:
        """Of all that is kept of the table, in whatever order its rows stand: 32 hexadecimal digits."""
        tasks = {name: [self._trains_on(name), self.tasks[name].metric] for name in {row.target for row in self.rows}}
        whole = [name for name in COLUMNS if name != "line"]  # without what no table had before, where none has it
        there = {name for name in NEWER if any(getattr(row, name) is not None for row in self.rows)}
        whole = [name for name in whole if name not in NEWER or name in there]
        lines = sorted(canonical([getattr(row, name) for name in whole]) for row in self.rows)
        return digest([tasks, lines])[:32]

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

    @cached_property
    def _runs(self) -> tuple[dict[tuple[Any, ...], str], dict[tuple[Any, ...], StageCard]]:
        """The evaluation of each cell, and every run by what it is, the first of a chain first."""
        made, evaluations = dict[tuple[Any, ...], StageCard](), dict[tuple[Any, ...], str]()
        for row in self.rows:
            if row.cell in evaluations:
                continue
            parent, seed = None, row.seed
            for task in filter(None, (row.treated, self._trains_on(row.target))):
                parent = self._run(made, row, "train", task, seed, parent)
            if parent is None and (row.model, row.target) in self._constant:
                seed = None
            evaluations[row.cell] = self._run(made, row, "evaluate", row.target, seed, parent)
        return evaluations, made

    def _run(
        self, made: dict[tuple[Any, ...], StageCard], row: Row, kind: str, task: str, seed: int | None, parent: str | None
    ) -> str:
        """The id of a run of this table, and of no other: its digest is part of it."""
        what = (kind, row.model, task, seed, row.origin, row.source, parent)
        if what not in made:
            name = digest([self.digest, *what])[:16]
            made[what] = StageCard(
                id=name, kind=kind, model=row.model, task=task, seed=seed, parent=parent, source=row.origin, **_sizes(row)
            )
        return made[what].id

    def columns(self) -> dict[str, list[Any]]:
        """The rows as they are kept, each with its run: one of several with the same score, as of an untrained baseline."""
        evaluations, _ = self._runs
        rows = {(evaluations[row.cell], row.language, row.metric): row for row in reversed(self.rows)}
        found: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows.values()] for name in COLUMNS}
        found["stage"] = [stage for stage, _, _ in rows]
        found["is_primary"] = [self.tasks[row.target].metric == row.metric for row in rows.values()]
        found["se"] = [row.standard_error for row in rows.values()]
        found["data"] = [row.data for row in rows.values()]
        return found

    def card(self) -> StudyCard:
        """What analysis needs to know of the study."""
        return self._card

    @cached_property
    def _card(self) -> StudyCard:
        manifest = self.manifest
        groups: dict[tuple[str, str, str, str, int, str], list[Row]] = {}
        for row in self.rows:
            if row.metric == self.tasks[row.target].metric:
                groups.setdefault(row.cell, []).append(row)
        targets = dict.fromkeys(row.target for row in self.rows)
        return StudyCard(
            **manifest.for_card(),
            source_language=manifest.data.language,
            outcomes={target: self.tasks[target].metric for target in targets},
            lineages=lineages({row.model: row.continues for row in self.rows if row.continues}),
            lower=tuple(
                sorted(
                    name for name in {self.tasks[target].metric for target in targets} if manifest.metric(name).better == "lower"
                )
            ),
            left_out=(f"all but {manifest.data.where}",) if manifest.data.where else (),
            cells=tuple(self._cell(rows) for rows in groups.values()),
            stages=tuple(self._runs[1].values()),
            table=self.digest,
        )

    def _cell(self, rows: list[Row]) -> Cell:
        first, task = rows[0], self.tasks[rows[0].target]
        return Cell(
            model=first.model,
            intermediate=first.intermediate,
            variant=first.variant,
            target=first.target,
            seed=first.seed,
            stage=self._runs[0][first.cell],
            languages=tuple(dict.fromkeys(row.language for row in rows)),
            same_task=first.intermediate != "none" and same_training_data(self.tasks, first.intermediate, task.trains_on),
            retrieval=task.trains_on is None and task.kind in RETRIEVAL,
            prompted=task.trains_on is None and task.kind not in RETRIEVAL,
            origin=first.origin,
            intermediate_language=first.intermediate_language,
            **_sizes(first),
        )


def _sizes(row: Row) -> dict[str, Any]:
    return {"family": row.family, "params_total": row.parameters, "params_non_embedding": row.non_embedding}


def told(study: TableStudy) -> str:
    """What a table came to."""
    cells, models = {row.cell for row in study.rows}, {row.model for row in study.rows}
    origins = " and ".join(sorted({row.origin for row in study.rows}))
    return f"{study.id}: {len(study.rows):,} scores of {len(models)} models in {len(cells):,} cells, {origins}"
