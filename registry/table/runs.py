"""What the rows of a table become: stages with their scores, cells, a card, and runs of the store."""

import math
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from xlift.registry.card import Cell, StageCard, StudyCard
from xlift.registry.carriers import lineages
from xlift.registry.findings import Finding, Place, UserError
from xlift.registry.known.tasks import Task, same_training_data
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import TableManifest
from xlift.registry.score import Score
from xlift.registry.spec import digest
from xlift.registry.stage import RETRIEVAL, Data, Origin, Reported, Stage, Weights
from xlift.registry.store import Store, part

FAMILY = "imported"  # of models whose family is not told
COUNTED = ("acc", "exact_match")  # metrics, by the start of their names, that are shares of items: binomial


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
    continues: str | None = None
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
            lineages=lineages({row.model: row.continues for row in self.rows if row.continues}),
            lower=tuple(
                sorted(
                    name for name in {self.tasks[target].metric for target in targets} if manifest.metric(name).better == "lower"
                )
            ),
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


def told(study: TableStudy) -> str:
    """What a table came to."""
    cells, models = {row.cell for row in study.rows}, {row.model for row in study.rows}
    origins = " and ".join(sorted({row.origin for row in study.rows}))
    return f"{study.id}: {len(study.rows):,} scores of {len(models)} models in {len(cells):,} cells, {origins}"
