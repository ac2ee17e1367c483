"""Scores become paired gains: rows of the views `gains` and `missing`, as data frames; fractions throughout."""

from collections.abc import Sequence

import pandas as pd

from xlift.analysis import facts
from xlift.analysis.facts import Facts
from xlift.registry.findings import UserError
from xlift.registry.pairing import treatment

LEVELS = ["treatment", "target", "language", "seed"]  # averaged from the last to the first, each level equally

GAINS = """
SELECT * FROM gains WHERE study = ? {} ORDER BY params_total, model, intermediate, variant, target, language, seed
"""
PRIMARY = """
SELECT
    cell.stage, cell.model, cell.intermediate, cell.variant, cell.target, cell.language, cell.seed,
    row.metric, row.score, row.items, row.chance, row.se, cell.study,
    cell.treatment, cell.family, cell.params_total, cell.params_non_embedding, cell.lp, cell.target_group, cell.run,
    cell.origin, cell.better
FROM cell_rows AS cell
JOIN score_rows AS row
    ON row.stage = cell.stage AND row.language = cell.language AND row.data = coalesce(cell.wanted, row.data) AND row.is_primary
WHERE cell.study = ?
ORDER BY params_total, model, intermediate, variant, target, language, seed
"""
MISSING = "SELECT * FROM missing WHERE study = ? ORDER BY reason, model, intermediate, variant, target, language, seed"


def gains(connection: Facts, study: str, group: str | None = None) -> pd.DataFrame:
    """The view's rows of one study, or of one of its target groups."""
    known = [_known(connection, study)]
    if group is None:
        return facts.query(connection, GAINS.format(""), known)
    groups = facts.query(connection, "SELECT DISTINCT target_group FROM planned WHERE study = ? ORDER BY ALL", known)[
        "target_group"
    ]
    if group not in set(groups):
        raise UserError(f"no target group '{group}'; there are {', '.join(groups) or 'none'}")
    return facts.query(connection, GAINS.format("AND target_group = ?"), [*known, group])


def planned(connection: Facts, study: str) -> pd.DataFrame:
    """The gains that a study plans, without scores."""
    return facts.query(connection, "SELECT * FROM planned WHERE study = ?", [_known(connection, study)])


def scores(connection: Facts, study: str) -> pd.DataFrame:
    """The rows of the primary metric, all languages, with `treatment`."""
    return facts.query(connection, PRIMARY, [_known(connection, study)])


def missing(connection: Facts, study: str) -> pd.DataFrame:
    """Every cell and language that lacks its score or its gain, with the reason, and `treatment`."""
    rows = facts.query(connection, MISSING, [_known(connection, study)])
    return rows.assign(treatment=[treatment(*both) for both in zip(rows["intermediate"], rows["variant"], strict=True)])


def nested_mean(rows: pd.DataFrame, by: Sequence[str], value: str = "gain") -> pd.DataFrame:
    """Mean for each combination of `by`: seeds first, then languages, targets, treatments, each level equally.

    A target with forty languages so weighs as much as one with two, and a lost seed moves only its own cell.
    """
    keys = list(by) + [level for level in LEVELS if level not in by]
    means = rows.groupby(keys, observed=True, as_index=False)[value].mean()
    while keys != list(by):
        keys.pop()
        means = means.groupby(keys, observed=True, as_index=False)[value].mean() if keys else means
    return means


def _known(connection: Facts, study: str) -> str:
    known = facts.query(connection, "SELECT DISTINCT study FROM cell_rows ORDER BY study")["study"].tolist()
    if study not in known:
        raise UserError(f"unknown study '{study}'; known: {', '.join(known) or 'none'}")
    return study
