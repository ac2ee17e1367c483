"""Scores against size, of studies that have no gains: the curve on which a gain would have to be measured."""

from math import log10

import pandas as pd

from xlift.analysis.facts import target_group
from xlift.analysis.study.groups import GroupFit, fitted_group
from xlift.registry.card import StudyCard

CURVE = (
    "score ~ lp + family + (1 + lp | language) + (1 | target) + (1 | target:language) + (1 | model) + (1 | model:target) + "
    "(1 | run)"
)


def curves(card: StudyCard, scores: pd.DataFrame) -> tuple[GroupFit, ...]:
    """The model of the scores of each target group: all languages, the source language too; fractions.

    `scores` are the primary metric's (`gains.scores`). A study that declares a model of its gains has no curve of its own.
    """
    cells = {cell.model: cell for cell in card.cells}
    groups = {cell.target: target_group(cell, card.analysis.apart) for cell in card.cells}
    lp = {name: log10(getattr(cell, card.analysis.x)) for name, cell in cells.items()}
    centre = log10(card.analysis.centre) if card.analysis.centre else sum(lp.values()) / max(len(lp), 1)
    rows = scores.assign(
        lp=scores["model"].map(lp) - centre,
        target_group=scores["target"].map(groups),
        run=scores["model"] + "/" + scores["target"] + "/" + scores["seed"].astype(str),
        params_non_embedding=scores["model"].map({name: cell.params_non_embedding for name, cell in cells.items()}),
    )
    analysis = card.analysis.model_copy(update={"primary": CURVE})
    return tuple(
        fitted_group(str(name), part.reset_index(drop=True), analysis, estimates_only=True)
        for name, part in rows.groupby("target_group")
    )
