"""Scores against size, of studies that have no gains: the curve on which a gain would have to be measured."""

import pandas as pd

from xlift.analysis.study.groups import GroupFit, fitted
from xlift.registry.card import Analysis

CURVE = (
    "score ~ lp + family + (1 + lp | language) + (1 | target) + (1 | target:language) + (1 | model) + (1 | model:target) + "
    "(1 | run)"
)


def curves(scores: pd.DataFrame, analysis: Analysis) -> tuple[GroupFit, ...]:
    """The model of the scores of each target group: all languages, the source language too; fractions. Slopes are refused as a
    gain's are; scores of which less is better count negative.

    `scores` are the primary metric's (`gains.scores`).
    """
    less = scores["better"] == "lower"
    scores = scores.assign(score=scores["score"].where(~less, -scores["score"]))  # up is better in every one of them
    return fitted(scores, analysis.model_copy(update={"primary": CURVE, "sampling": "estimated"}))
