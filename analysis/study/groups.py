"""Each target group's primary model, fitted: its slopes on size, and the two-stage slope beside them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xlift.analysis.mixed import contrasts
from xlift.analysis.mixed.model import Fit, NotConverged, fit
from xlift.analysis.study.primary import Primary, primary
from xlift.analysis.study.slope import POOLED, Refused, Slope, scale_slope
from xlift.registry.card import Analysis
from xlift.registry.findings import UserError

SURE = 0.05  # p below which a sign is spoken of


@dataclass(frozen=True)
class GroupFit:
    """One target group: its gains, its model, and the fit, or why there is none."""

    primary: Primary
    rows: pd.DataFrame
    fit: Fit | None
    failed: str | None
    x: str
    min_models: int

    @property
    def name(self) -> str:
        return self.primary.group

    @property
    def treatments(self) -> list[str]:
        return sorted(self.rows["treatment"].unique())

    @property
    def models(self) -> int:
        return self.rows["model"].nunique()

    @property
    def refused(self) -> str | None:
        """Why no slope is given, or tested."""
        sized = self.fit is None or "lp" in self.fit.grid.numbers
        return self.failed or self.primary.refused or (None if sized else "the primary model has no slope on lp")

    @property
    def tested(self) -> bool:
        """Whether the slope has a test; otherwise, where there is one, it is an estimate only."""
        return self.refused is None

    @cached_property
    def headline(self) -> pd.Series | None:
        """The slope that weighs treatments equally: estimate, se, df, t, p, low, high; None if there is none."""
        if self.fit is None or "lp" not in self.fit.grid.numbers:
            return None
        return contrasts.slopes(self.fit, "lp").table().iloc[0].drop("contrast")

    @cached_property
    def slopes(self) -> pd.DataFrame:
        """treatment, estimate, se, df, t, p, low, high of d gain / d lp: POOLED, where there are several, then each treatment.

        The pooled slope weighs treatments equally. Fractions for ten times the parameters, without adjustment; empty if refused.
        """
        if self.headline is None:
            return pd.DataFrame(columns=["treatment", "estimate", "se", "df", "t", "p", "low", "high"])
        several = "treatment" in self.fit.grid.levels
        tables = [pd.DataFrame([self.headline]).astype(float).assign(contrast=POOLED if several else self.treatments[0])]
        if several:
            tables.append(contrasts.slopes(self.fit, "lp", by="treatment").table())
        return pd.concat(tables, ignore_index=True).rename(columns={"contrast": "treatment"})

    @cached_property
    def two_stage(self) -> dict[str, Slope | Refused]:
        """The same slopes from one mean a model."""
        names = [POOLED, *self.treatments] if len(self.treatments) > 1 else self.treatments
        return {name: scale_slope(self.rows, self.x, self.min_models, treatment=name) for name in names}

    def disagreement(self) -> str | None:
        """One sentence where two stages would lead to another statement than the primary model."""
        if not len(self.slopes):
            return None
        own = self.slopes.iloc[0]
        other = self.two_stage[own["treatment"]]
        if isinstance(other, Refused) or (
            (own["p"] < SURE) == (other.p < SURE) and (own["p"] >= SURE or np.sign(own["estimate"]) == np.sign(other.estimate))
        ):
            return None
        return (
            "Two stages, which see one mean a model and no runs, say otherwise "
            f"(p = {other.p:.3f} against {own['p']:.3f}): the data do not settle it."
        )


def fitted(rows: pd.DataFrame, analysis: Analysis, *, estimates_only: bool = False) -> tuple[GroupFit, ...]:
    """The primary model of each target group of a study's gains; one that has no fit says why."""
    return tuple(
        fitted_group(str(name), part.reset_index(drop=True), analysis, estimates_only=estimates_only)
        for name, part in rows.groupby("target_group")
    )


def fitted_group(name: str, rows: pd.DataFrame, analysis: Analysis, *, estimates_only: bool = False) -> GroupFit:
    """The primary model of one group's gains; `estimates_only` keeps a slope on too few models, without a test of it."""
    model = primary(name, rows, analysis, estimates_only=estimates_only)
    try:
        found, failed = fit(model.formula, rows), None
    except (NotConverged, UserError) as error:
        found, failed = None, f"the primary model cannot be fitted: {error}"
    return GroupFit(model, rows, found, failed, analysis.x, analysis.min_models)
