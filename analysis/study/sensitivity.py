"""The headline slope again, under other choices that a careful reader might have made: a specification curve as rows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from xlift.analysis.study.groups import GroupFit, fitted_group
from xlift.registry.card import Analysis

OTHER = {"params_total": "params_non_embedding", "params_non_embedding": "params_total"}
CLIPPED = 0.005  # scores nearer to 0 or 1 than this have no logit that means anything
LOGIT = "on the logit scale"
COLUMNS = ["target_group", "kind", "case", "estimate", "se", "df", "t", "p", "low", "high", "gains", "models", "reason"]


def sensitivity(groups: tuple[GroupFit, ...], analysis: Analysis) -> pd.DataFrame:
    """COLUMNS, a row a target group and case, the primary model first; fractions for ten times the parameters (logits: LOGIT).

    kind        primary, choice, or model, family, language, target for what was left out
    reason      why a case gives no slope, or which slopes its mean leaves out; limits and p are missing where fewer than the
                needed models are left
    Cases that would change nothing (no same-task cells, one family) are not listed.
    """
    rows = [_row(group, kind, case) for group in groups for kind, case, group in _cases(group, analysis)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _cases(group: GroupFit, analysis: Analysis) -> Iterator[tuple[str, str, GroupFit]]:
    yield "primary", "all gains", group
    if group.refused:
        return
    rows, other = group.rows, OTHER[analysis.x]
    analysis = analysis.model_copy(update={"primary": group.primary.formula})  # the terms that all gains tell apart
    if rows[other].notna().all():  # tables of scores seldom tell both
        yield "choice", f"x is {other}", _again(group, rows.assign(lp=_centred(rows[other])), analysis)
    for column, case in (("same_task", "without same-task cells"), ("at_chance", "without baselines at chance")):
        marked = rows[column].astype(bool)
        if marked.any() and not marked.all():
            yield "choice", case, _again(group, rows[~marked], analysis)
    if analysis.sampling != "known" and rows[["score", "baseline"]].apply(lambda column: column.between(0, 1)).all(axis=None):
        up = np.where(rows["better"] == "lower", -1.0, 1.0)
        yield "choice", LOGIT, _again(group, rows.assign(gain=up * (_logit(rows["score"]) - _logit(rows["baseline"]))), analysis)
    for kind in ("model", "family", "language", "target"):
        levels = sorted(rows[kind].unique())
        for level in levels if len(levels) > 1 else ():
            yield kind, f"without {level}", _again(group, rows[rows[kind] != level], analysis)


def _again(group: GroupFit, rows: pd.DataFrame, analysis: Analysis) -> GroupFit:
    return fitted_group(group.name, rows.reset_index(drop=True), analysis, estimates_only=True, near=group)


def _row(group: GroupFit, kind: str, case: str) -> dict:
    found = {"target_group": group.name, "kind": kind, "case": case, "gains": len(group.rows), "models": group.models}
    if group.headline is None:
        return {**found, "reason": group.refused}
    found["models"] = len(group.pooled.models)
    if not group.tested:
        return {**found, "estimate": group.headline["estimate"], "reason": group.primary.refused}
    return {**found, **group.headline.to_dict(), "reason": "; ".join(group.pooled.notes) or None}


def _logit(score: pd.Series) -> pd.Series:
    clipped = score.clip(CLIPPED, 1 - CLIPPED)
    return np.log(clipped / (1 - clipped))


def _centred(size: pd.Series) -> pd.Series:
    logs = np.log10(size.astype(float))
    return logs - logs.mean()
