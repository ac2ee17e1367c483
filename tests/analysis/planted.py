"""Planted studies: cards and scores whose gains are known exactly, in a stand-in for the store."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from math import log10
from statistics import NormalDist

from xlift.registry.card import Analysis, Cell, StageCard, StudyCard
from xlift.registry.score import Score

LANGUAGES = ("en", "de", "sw")
TARGETS = {"xnli": 1 / 3, "panx": 0.0, "tatoeba": 0.001}  # chance
BRIDGES = ("none", "mnli", "squad1")


@dataclass
class Record:
    started: str = "2026-11-20T08:00:00+00:00"
    seconds: float = 60.0


@dataclass
class Shelf:
    """The reading interface of the store, over dictionaries."""

    rows: dict[str, list[Score]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def state(self, stage_id: str) -> str:
        return self.states.get(stage_id, "finished" if stage_id in self.rows else "pending")

    def record(self, stage_id: str) -> Record | None:
        return Record() if self.state(stage_id) == "finished" else None

    def scores(self, stage_id: str) -> list[Score]:
        return self.rows.get(stage_id, [])

    def failure(self, stage_id: str) -> str | None:
        return self.failures.get(stage_id)

    def lose(self, stage_id: str, state: str, failure: str | None = None) -> None:
        self.rows.pop(stage_id, None)
        self.states[stage_id] = state
        if failure:
            self.failures[stage_id] = failure


Value = Callable[[Cell, str], float]


def name(*parts: object) -> str:
    """A made-up stage id: 16 hexadecimal digits."""
    return sha256(repr(parts).encode()).hexdigest()[:16]


def score(language: str, value: float, *, target: str = "xnli", items: int = 1000, data: str = "d") -> Score:
    se = (value * (1 - value) / items) ** 0.5
    return Score(
        language=language, metric="accuracy", value=value, primary=True, items=items, chance=TARGETS[target], se=se, data=data
    )


def sized(count: int) -> dict[str, tuple[str, int]]:
    """Models in two families, from 10^6 parameters up, three to each factor of ten."""
    return {f"m{index}": (("mt5", "xlmr")[index % 2], round(10 ** (6 + index / 3))) for index in range(count)}


def plant(
    value: Value,
    *,
    models: dict[str, tuple[str, int]],
    bridges: Iterable[str] = BRIDGES,
    targets: Iterable[str] = TARGETS,
    seeds: Iterable[int] = (1, 2),
    languages: tuple[str, ...] = LANGUAGES,
    study: str = "planted",
    source: str = "lab",
    analysis: Analysis | None = None,
) -> tuple[StudyCard, Shelf]:
    """A full grid whose scores are `value(cell, language)`: train and evaluate stages, all finished."""
    cells, stages, shelf = [], {}, Shelf()

    def stage(kind: str, own: str, parent: str | None, **row: object) -> None:
        stages[own] = StageCard(id=own, kind=kind, parent=parent, source=source, **row)
        shelf.states[own] = "finished"

    for model, (family, params) in models.items():
        common = {"model": model, "family": family, "params_total": 2 * params, "params_non_embedding": params}
        for bridge in bridges:
            for target in targets:
                for seed in seeds:
                    train, own = name(model, bridge, target, seed), name(model, bridge, target, seed, "evaluate")
                    cell = Cell(
                        **common,
                        intermediate=bridge,
                        variant="plain",
                        target=target,
                        seed=seed,
                        stage=own,
                        languages=languages,
                        same_task=(bridge, target) == ("mnli", "xnli"),
                        retrieval=target in ("bucc", "tatoeba"),
                    )
                    cells.append(cell)
                    before = None if bridge == "none" else name(model, bridge, seed)
                    if before:
                        stage("train", before, None, seed=seed, task=bridge, **common)
                    stage("train", train, before, seed=seed, task=target, **common)
                    stage("evaluate", own, train, seed=None, task=target, **common)
                    shelf.rows[own] = [score(language, value(cell, language), target=target) for language in languages]
    card = StudyCard(
        study=study,
        question="Does the gain change with size?",
        source_language="en",
        analysis=analysis or Analysis(),
        cells=tuple(cells),
        stages=tuple(stages.values()),
    )
    return card, shelf


def scattered(cell: Cell, language: str) -> float:
    """`rising` with runs that differ (sd .02) and languages within them (sd .01), the same at every call."""

    def draw(*parts: object) -> float:
        return NormalDist().inv_cdf((int(name(*parts), 16) + 0.5) / 16**16)

    run = (cell.model, cell.intermediate, cell.target, cell.seed)
    return rising(cell, language) + 0.02 * draw(*run) + 0.01 * draw(*run, language)


def rising(cell: Cell, language: str) -> float:
    """Baseline 0.5; MNLI gains 0.02 and 0.01 more a factor of ten above 10^6; SQuAD 0.01 less a factor of ten."""
    decades = log10(cell.params_non_embedding) - 6
    gain = {"none": 0.0, "mnli": 0.02 + 0.01 * decades, "squad1": 0.03 - 0.01 * decades}[cell.intermediate]
    return 0.5 + gain + (0.1 if language == "en" else 0.0) * (cell.intermediate != "none")
