"""What had been seen when a study was registered: its own scores, and those of near twins in the same store."""

from collections.abc import Iterable

from xlift.registry.card import StudyCard
from xlift.registry.stage import Stage
from xlift.registry.store import Store


def scored(card: StudyCard, store: Store) -> int:
    """How many of a study's evaluations have scores; those of a table all have, in a store or not."""
    own = {cell.stage for cell in card.cells if cell.stage}
    return len(own) if card.table else sum(bool(store.scores(stage)) for stage in own)


def twins(card: StudyCard, store: Store, stages: Iterable[Stage] = ()) -> int:
    """How many evaluations of the same models on the same targets, under another recipe, seed or data, are in the store.

    Models are the same by their weights (of the study's `stages`), or in tables of scores by their names.
    """
    own = {cell.stage for cell in card.cells if cell.stage}
    tested = [stage for stage in stages if stage.kind == "evaluate"]
    return len((_runs(tested, store) | _of_tables(card, store)) - own - {stage.id for stage in tested})


def _runs(tested: list[Stage], store: Store) -> set[str]:
    """Finished evaluations of the same weights on the same tasks, development data apart."""
    wanted = {(stage.weights, stage.data.task) for stage in tested}
    return {
        name
        for name, stage in (store.finished() if wanted else ())
        if stage.kind == "evaluate" and not stage.data.split and (stage.weights, stage.data.task) in wanted
    }


def _of_tables(card: StudyCard, store: Store) -> set[str]:
    wanted = {(cell.model, cell.target) for cell in card.cells}
    others = [other for other in store.cards() if other.table and other.study != card.study]
    return {cell.stage for other in others for cell in other.cells if cell.stage and (cell.model, cell.target) in wanted}
