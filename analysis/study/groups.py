"""Each target group's primary model, fitted: its slopes on size, and the two-stage slope beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from xlift.analysis.mixed.model import Fit, NotConverged, fit
from xlift.analysis.study import estimands, telling
from xlift.analysis.study.primary import Primary, factored, primary
from xlift.analysis.study.slope import Refused, Slope, scale_slope
from xlift.analysis.study.telling import Setting, Told
from xlift.registry.card import POOLED, Analysis
from xlift.registry.findings import UserError

ROW = "row"  # the residual, where sampling variances are known
SURE = 0.05  # p below which a sign is spoken of


@dataclass(frozen=True)
class GroupFit:
    """One target group: its gains, its model, and the fit, or why there is none."""

    primary: Primary
    rows: pd.DataFrame
    fit: Fit | None
    failed: str | None
    analysis: Analysis
    variances: str | None = None  # the column of known sampling variances
    more: tuple[str, ...] = ()  # factors beside those of the primary model

    @property
    def x(self) -> str:
        return self.analysis.x

    @property
    def min_models(self) -> int:
        return self.analysis.min_models

    @property
    def name(self) -> str:
        return self.primary.group

    @property
    def treatments(self) -> list[str]:
        return sorted(self.rows["treatment"].unique())

    @property
    def models(self) -> int:
        return self.rows["model"].nunique()

    @cached_property
    def setting(self) -> Setting | None:
        """What estimands are put to; None without a fit."""
        return Setting(self.rows, self.fit.grid, self.primary, self.x, self.min_models) if self.fit else None

    @property
    def refused(self) -> str | None:
        """Why no slope is given, or tested."""
        told = self._slope
        return self.failed or self.primary.refused or (told if isinstance(told, str) else None)

    @property
    def tested(self) -> bool:
        """Whether the slope has a test; otherwise, where there is one, it is an estimate only."""
        return self.refused is None

    @cached_property
    def pooled(self) -> Told | None:
        """The slope that weighs equally the combinations that carry one; None if there is none."""
        return None if isinstance(self._slope, str) else self._slope

    @cached_property
    def _slope(self) -> Told | str:
        return self.asked(estimands.SLOPE)

    @cached_property
    def headline(self) -> pd.Series | None:
        """`pooled`: estimate, se, df, t, p, low, high; None if there is none."""
        if self.fit is None or self.pooled is None:
            return None
        return self.fit.contrasts(self.pooled.L, [POOLED]).iloc[0].drop("contrast")

    @cached_property
    def own_slopes(self) -> dict[str, Told | str]:
        """The slope of each treatment, or why it is not told."""
        return {name: self.asked(estimands.of_treatment("slope", name)) for name in self.treatments}

    def beside(self, estimand: estimands.Estimand) -> "GroupFit":
        """The group with what an estimand names of languages as fixed effects; UserError where it is not known of all gains.

        A declared model stays as it is.
        """
        names = estimands.beside(estimand, self.rows)
        if not names or self.analysis.primary:
            return self
        if names not in self._beside:
            self._beside[names] = fitted_group(self.name, self.rows, self.analysis, beside=names)
        return self._beside[names]

    @cached_property
    def _beside(self) -> dict[tuple[str, ...], "GroupFit"]:
        return {}

    def asked(self, estimand: estimands.Estimand) -> Told | str:
        """An estimand that is told, or why it is not."""
        if self.setting is None:
            return str(self.failed)
        try:
            return telling.told(estimand, self.setting)
        except UserError as error:
            return str(error)

    @cached_property
    def slopes(self) -> pd.DataFrame:
        """treatment, estimate, se, df, t, p, low, high of d gain / d lp: POOLED, where there are several, then each treatment.

        The pooled slope weighs treatments equally. Fractions for ten times the parameters, without adjustment; treatments that
        carry no slope have no row, and there is none where it is refused.
        """
        if self.headline is None or self.pooled is None:
            return pd.DataFrame(columns=["treatment", "estimate", "se", "df", "t", "p", "low", "high"])
        own = {name: told.L for name, told in self.own_slopes.items() if isinstance(told, Told)}
        asked = {POOLED: self.pooled.L} | own if len(self.treatments) > 1 else {self.treatments[0]: self.pooled.L}
        return self.fit.contrasts(np.array(list(asked.values())), list(asked)).rename(columns={"contrast": "treatment"})

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The fixed effects (`Fit.effects`), numbers missing for those that need a slope that is not told."""
        if self.fit is None or self.setting is None:
            return pd.DataFrame(columns=["term", "estimate", "se", "df", "t", "p", "low", "high"])
        table = self.fit.effects
        told = telling.told_coefficients(self.setting)[self.fit.grid.design.coding.kept]
        return table.where(np.asarray(told)[:, None] | (table.columns == "term"))

    @cached_property
    def two_stage(self) -> dict[str, Slope | Refused]:
        """The same slopes from one mean a model, of the same treatments and beside the same effects of models."""
        names = [POOLED, *self.treatments] if len(self.treatments) > 1 else self.treatments
        beside = self.setting.of_models if self.setting else ()
        return {name: self._two_stage(name, beside) for name in names}

    def _two_stage(self, name: str, beside: tuple[str, ...]) -> Slope | Refused:
        rows = self.rows
        for key, basis in self.primary.bases.items():  # the mean leaves out what has no slope
            if self.tested and basis.refused and len(key) == 1 and (name == POOLED or key[0][0] != "treatment"):
                rows = rows[rows[key[0][0]] != key[0][1]]
        return scale_slope(rows, self.x, self.min_models, treatment=name, beside=beside)

    def disagreement(self) -> str | None:
        """One sentence where two stages would lead to another statement than the primary model."""
        if self.setting is None or not len(self.slopes) or not self.setting.like_means:
            return None
        own = self.slopes.iloc[0]
        other = self.two_stage[own["treatment"]]
        told = {name for name, slope in self.own_slopes.items() if isinstance(slope, Told)} or {*self.treatments}
        if own["treatment"] == POOLED and {*other.series.treatments} != told:  # then it is another mean
            return None
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


def fitted_group(
    name: str,
    rows: pd.DataFrame,
    analysis: Analysis,
    *,
    beside: Sequence[str] = (),
    estimates_only: bool = False,
    near: GroupFit | None = None,
) -> GroupFit:
    """The primary model of one group's gains, some factors beside its own.

    `estimates_only` keeps a slope on too few models, without a test of it. `near` is the fit of most of the same gains.
    """
    rows = factored(rows)
    model = primary(name, rows, analysis, beside=beside, estimates_only=estimates_only, told_apart=not estimates_only)
    variances = None
    if analysis.sampling == "known":  # what is left beside it is a term of its own, a level each gain
        variances, model = "sampling", replace(model, formula=f"{model.formula} + (1 | {ROW})")
        rows = rows.assign(**{ROW: [str(at) for at in range(len(rows))], variances: rows["gain_se"] ** 2})
    try:
        start = near.fit if near else None
        found, failed = fit(model.formula, rows, aliased="drop", variances=variances, near=start), None
    except (NotConverged, UserError) as error:
        found, failed = None, f"the primary model cannot be fitted: {error}"
    return GroupFit(model, rows, found, failed, analysis, variances, tuple(beside))
