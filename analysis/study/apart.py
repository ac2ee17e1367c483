"""Whether the slopes of one target group are one: over its targets, its families and its treatments, and how far they spread.

The default model has a slope of each target and of each treatment, and their mean at equal weights. That mean speaks for all of
them where they do not differ. They do where Kenward and Roger's F test of their products with lp says so, Holm's p over the
factors that are tested, or where two targets have slopes of opposite signs, each surely so (Holm over targets).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL, quantile
from xlift.analysis.mixed import contrasts, formulas, profile
from xlift.analysis.mixed.contrasts import adjusted
from xlift.analysis.mixed.model import Fit, NotConverged, fit
from xlift.analysis.paired import nested_mean
from xlift.analysis.study import estimands
from xlift.analysis.study.groups import SURE, GroupFit, fitted_group
from xlift.analysis.study.telling import Told
from xlift.registry.carriers import FEWEST_TARGETS, too_few_targets
from xlift.registry.findings import UserError

AXES = ("target", "family", "treatment")
TESTS = ["axis", "levels", "F", "df1", "df2", "p", "p_adjusted", "reason"]
FEWEST_FAMILIES = 4  # for a test of the slope between them
ONE_SIZE = 0.05  # of log10 parameters: families whose mean sizes differ by less tell no slope
DIGITS = 1e-3  # of the limits of a standard deviation


@dataclass(frozen=True)
class Apart:
    """One target group: its model, and the same with a slope for targets like these, or for these."""

    group: GroupFit
    other: GroupFit | None  # None where a model is declared

    @property
    def these(self) -> GroupFit:
        """The model in which each target has a slope of its own, if there is one."""
        return self.group if "target" in self.group.primary.movers or self.other is None else self.other

    @property
    def like(self) -> GroupFit | None:
        """The model in which slopes of targets are drawn, if there is one."""
        return next((each for each in (self.group, self.other) if each and _random_slope(each)), None)

    @property
    def drawn(self) -> bool:
        """Whether the group's own model draws slopes of targets."""
        return _random_slope(self.group)

    @property
    def targets(self) -> int:
        """How many the group's slope is of."""
        if "target" not in self.group.primary.movers:
            return self.group.rows["target"].nunique()
        return len(self._told("target", self.group))

    @cached_property
    def slopes(self) -> pd.DataFrame:
        """target, estimate, se, df, t, p, p_adjusted (Holm over them), low, high: each target's slope, treatments equally."""
        told = self._told("target", self.these)
        if len(told) < 2 or not self.group.tested:
            return pd.DataFrame(columns=["target", "estimate", "se", "df", "t", "p", "p_adjusted", "low", "high"])
        table = self.these.fit.contrasts(np.array(list(told.values())), list(told)).rename(columns={"contrast": "target"})
        return table.assign(p_adjusted=adjusted(table["p"], "holm"))

    @cached_property
    def tests(self) -> pd.DataFrame:
        """TESTS, a row an axis of AXES: that its slopes are equal; a reason instead where the design gives no test."""
        rows = [{"axis": axis, **self._test(axis)} for axis in AXES]
        table = pd.DataFrame(rows, columns=TESTS)
        return table.assign(p_adjusted=adjusted(table["p"].astype(float), "holm"))

    @cached_property
    def differ(self) -> tuple[str, ...]:
        """The axes over which slopes differ."""
        found = [*self.tests["axis"][self.tests["p_adjusted"] < SURE]]
        sure = self.slopes[self.slopes["p_adjusted"] < SURE]["estimate"]
        return tuple(dict.fromkeys([*(["target"] if sure.min() < 0 < sure.max() else []), *found]))

    def own(self, axis: str) -> pd.DataFrame:
        """level, estimate, low, high of the slopes over an axis, those that are told."""
        if axis == "target":
            return self.slopes.rename(columns={"target": "level"})
        if axis == "treatment":
            return self.group.slopes.iloc[1:].rename(columns={"treatment": "level"})
        return self._families[0].contrasts(self._families[1], self._families[2]).rename(columns={"contrast": "level"})

    @cached_property
    def spread(self) -> dict[str, float] | str:
        """sd of targets' slopes by REML, estimate, low and high of a new target's slope; or why they are not told.

        A new target's slope lies within mean +- t(T - 2) sqrt(se^2 + sd^2), T targets (Higgins et al. 2009, section 4.2);
        fractions for ten times the parameters.
        """
        count = self.group.rows["target"].nunique()
        if count < FEWEST_TARGETS:
            return too_few_targets(count).partition(";")[0]
        like = self.like
        if like is None or like.headline is None or not like.tested:
            return "there is no model of targets like these" if like is None else str(like.refused)
        sd, mean = float(np.sqrt(like.fit.covariances[_term(like)][-1, -1])), float(like.headline["estimate"])
        half = float(quantile(count - 2, LEVEL) * np.hypot(like.headline["se"], sd))
        return {"sd": sd, "estimate": mean, "low": mean - half, "high": mean + half}

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Profile limits of the standard deviation of targets' slopes; missing where there are none."""
        if isinstance(self.spread, str) or self.like is None:
            return np.nan, np.nan
        try:
            found = profile.profile(self.like.fit, ["sd (lp | target)"], tolerance=DIGITS).iloc[0]
        except NotConverged:
            return np.nan, np.nan
        return float(found["low"]), float(found["high"])

    @cached_property
    def between(self) -> dict[str, float] | str:
        """families, estimate of the slope of their mean gains on their mean lp; from FEWEST_FAMILIES on se, df, p, low, high."""
        rows = self.group.rows
        models = nested_mean(rows, ["family", "model"]).merge(rows[["model", "lp"]].drop_duplicates(), on="model")
        means = models.groupby("family")[["gain", "lp"]].mean()
        count = len(means)
        if count < 2 or np.ptp(means["lp"]) < ONE_SIZE:
            return "there is one family" if count < 2 else "the families have one mean size"
        if count < FEWEST_FAMILIES:
            return {"families": count, "estimate": float(np.polyfit(means["lp"], means["gain"], 1)[0])}
        found = stats.linregress(means["lp"], means["gain"])
        half = quantile(count - 2, LEVEL) * found.stderr
        return {
            "families": count,
            "estimate": float(found.slope),
            "se": float(found.stderr),
            "df": float(count - 2),
            "p": float(found.pvalue),
            "low": float(found.slope - half),
            "high": float(found.slope + half),
        }

    def _test(self, axis: str) -> dict[str, object]:
        try:
            found, L, names = self._asked(axis)
            if len(names) < 2:
                return {"levels": len(names), "p": np.nan, "reason": f"fewer than two {PLURAL[axis]} have a slope"}
            F, df1, df2 = found.f_statistic(L[:-1] - L[-1])
        except UserError as error:
            return {"p": np.nan, "reason": str(error)}
        p = float(stats.f.sf(F, df1, df2))
        if not np.isfinite(p):
            return {"levels": len(names), "p": np.nan, "reason": "the models leave no degrees of freedom for it"}
        return {"levels": len(names), "F": F, "df1": df1, "df2": df2, "p": p}

    def _asked(self, axis: str) -> tuple[Fit, np.ndarray, list[str]]:
        """The slopes over an axis, as contrasts of a fit."""
        if not self.group.tested:
            raise UserError(str(self.group.refused))
        if self.group.rows[axis].nunique() < 2:
            raise UserError(f"there is one {axis}")
        if axis == "family":
            return self._families
        group = self.these if axis == "target" else self.group
        if axis not in group.primary.movers:
            raise UserError(f"the model has one slope for all {PLURAL[axis]}")
        own = self._told(axis, group)
        return group.fit, np.array(list(own.values())), list(own)

    def _told(self, axis: str, group: GroupFit) -> dict[str, np.ndarray]:
        """The slope of each level of an axis that is told, as a contrast."""
        if axis not in self._asked_before:
            found = {name: group.asked(_of(axis, name)) for name in sorted(group.rows[axis].unique())}
            self._asked_before[axis] = {name: told.L for name, told in found.items() if isinstance(told, Told)}
        return self._asked_before[axis]

    @cached_property
    def _asked_before(self) -> dict[str, dict[str, np.ndarray]]:
        return {}

    @cached_property
    def _families(self) -> tuple[Fit, np.ndarray, list[str]]:
        """Those whose models have several sizes, in the primary model with a slope of each family."""
        group = self.group
        if "family" not in group.fit.grid.levels:
            raise UserError("the model has no families")
        parsed = formulas.parse(group.primary.formula)
        random = [f"({term.columns} | {term.name})" for term in parsed.random]
        text = " + ".join([f"{parsed.response} ~ {parsed.fixed} + lp:family", *random])
        try:
            found = fit(text, group.rows, aliased="drop", variances=group.variances)
        except NotConverged as error:
            raise UserError(f"the model with a slope of each family cannot be fitted: {error}") from None
        asked = contrasts.slopes(found, "lp", by="family")
        told = found.grid.design.told(asked.L)
        return found, asked.L[told], [name for name, ok in zip(asked.names, told, strict=True) if ok]


PLURAL = {"target": "targets", "family": "families", "treatment": "intermediates"}


def apart(group: GroupFit) -> Apart:
    """The group's model beside the other default: these targets, or targets like these."""
    analysis = group.analysis
    if analysis.primary or group.rows["target"].nunique() < 2 or not group.tested:
        return Apart(group, None)
    other = analysis.model_copy(update={"targets": "like these" if analysis.targets == "these" else "these"})
    if other.targets == "like these" and group.rows["target"].nunique() < FEWEST_TARGETS:
        return Apart(group, None)
    return Apart(group, fitted_group(group.name, group.rows, other))


def _of(axis: str, level: str) -> estimands.Estimand:
    return replace(estimands.SLOPE, first=estimands.Mean("slope", f"{axis} == {level!r}", None))


def _term(group: GroupFit) -> str:
    return next(name for name in group.fit.covariances if name.endswith("lp | target"))


def _random_slope(group: GroupFit) -> bool:
    return group.fit is not None and any(name.endswith("lp | target") for name in group.fit.covariances)
