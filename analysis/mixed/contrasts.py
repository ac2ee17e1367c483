"""Questions to a fit: means and slopes by level, their differences, several at once, equivalence, nested models.

Marginal means weigh the levels of other predictors equally and hold numbers at their means, as emmeans does; each question
is a row of L on the coefficients, so it has the fit's own degrees of freedom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.model import Fit
from xlift.registry.findings import UserError

Adjustment = Literal["none", "holm", "bh", "by", "bonferroni", "tukey"]
STATSMODELS = {"holm": "holm", "bh": "fdr_bh", "by": "fdr_by", "bonferroni": "bonferroni"}


@dataclass(frozen=True)
class Questions:
    """Named rows of L (r, columns of `Design.rows`) on a fit's coefficients; a row that the data do not tell has no numbers."""

    fit: Fit
    names: tuple[str, ...]
    L: np.ndarray

    def table(self, *, adjust: Adjustment = "none", level: float = LEVEL) -> pd.DataFrame:
        """contrast, estimate, se, df, t, p, low, high; p adjusted for there being several, limits not (tukey: both)."""
        rows = self.fit.contrasts(self.L, list(self.names), level=level)
        return _tukey(rows, self._family(), level) if adjust == "tukey" else rows.assign(p=adjusted(rows["p"], adjust))

    def pairs(self) -> "Questions":
        """All differences, earlier minus later."""
        both = list(combinations(range(len(self.names)), 2))
        if not both:
            raise UserError(f"pairs need two means or slopes, not {', '.join(self.names) or 'none'}")
        return Questions(
            self.fit,
            tuple(f"{self.names[i]} - {self.names[j]}" for i, j in both),
            np.array([self.L[i] - self.L[j] for i, j in both]),
        )

    def differ(self) -> tuple[float, int, float, float]:
        """F, numerator and denominator df and p of all being equal."""
        L = self.L[1:] - self.L[:1]
        F, r, df = self.fit.f_statistic(L)
        return F, r, df, float(stats.f.sf(F, r, df))

    def equivalence(self, margin: float, *, adjust: Adjustment = "none", alpha: float = 0.05) -> pd.DataFrame:
        """Two one-sided tests of |contrast| < margin: contrast, estimate, se, df, t, p, low, high (1 - 2 alpha), equivalent.

        t = (|estimate| - margin) / se, p = P(T < t) (Schuirmann 1987). The margin has to be chosen before the fit.
        """
        if not margin > 0:
            raise UserError(f"an equivalence margin is positive, not {margin}")
        if adjust == "tukey":
            raise UserError("Tukey's adjustment is for differences from zero; use holm or bh")
        rows = self.fit.contrasts(self.L, list(self.names), level=1 - 2 * alpha)
        t = (rows["estimate"].abs() - margin) / rows["se"]
        p = adjusted(pd.Series(stats.t.cdf(t, rows["df"])), adjust)
        return rows.assign(t=t, p=p, equivalent=p < alpha)

    def _family(self) -> int:
        """Number of means behind all pairwise differences."""
        family = (1 + np.sqrt(1 + 8 * len(self.names))) / 2
        if family != int(family):
            raise UserError(f"Tukey's adjustment is for all pairs of means, and {len(self.names)} are not all pairs of anything")
        return int(family)


def means(fit: Fit, by: str | Sequence[str], *, at: Mapping[str, float] | None = None) -> Questions:
    """Estimated marginal means for each combination of the levels of `by`; numbers stand at `at`, or at their means."""
    by = [by] if isinstance(by, str) else list(by)
    cells, grid = _grid(fit, by, at or {})
    X = fit.grid.design.rows(grid)
    owner = grid["\0cell"].to_numpy()
    return Questions(fit, tuple(_name(by, cell) for cell in cells), np.array([X[owner == i].mean(0) for i in range(len(cells))]))


def slopes(fit: Fit, of: str, *, by: str | Sequence[str] = (), at: Mapping[str, float] | None = None) -> Questions:
    """Slopes on a numeric column or expression ("lp", "log10(params)") for each combination of the levels of `by`."""
    names = formulas.variables(of)
    if len(names) != 1 or names[0] not in fit.grid.numbers:
        raise UserError(
            f"'{of}' is no numeric predictor of '{fit.formula.text}'; there are {', '.join(fit.grid.numbers) or 'none'}"
        )
    by = [by] if isinstance(by, str) else list(by)
    center = (at or {}).get(names[0], fit.grid.numbers[names[0]])
    straight = formulas.quoted(names[0])
    curved = of != straight or any(names[0] in formulas.variables(e) and e != straight for e in fit.formula.expressions)
    step = fit.grid.spreads[names[0]]
    if curved:  # a derivative at a point
        step *= 1e-4
    at = {k: v for k, v in (at or {}).items() if k != names[0]}
    cells, low = _grid(fit, by, {**at, names[0]: center - step})
    high = low.assign(**{names[0]: center + step})
    run = matrices.evaluate(of, high.head(1))[0] - matrices.evaluate(of, low.head(1))[0]
    change = (fit.grid.design.rows(high) - fit.grid.design.rows(low)) / run
    owner = low["\0cell"].to_numpy()
    return Questions(
        fit, tuple(_name(by, cell) or of for cell in cells), np.array([change[owner == i].mean(0) for i in range(len(cells))])
    )


def likelihood_ratio(smaller: Fit, larger: Fit) -> pd.Series:
    """Chi-square, df and p of the larger of two nested models.

    Models that differ in fixed effects have to be fitted by ML. A variance tested at zero is on the boundary: p is then
    conservative, and `boundary` says so (Self & Liang 1987).
    """
    if smaller.nobs != larger.nobs or smaller.formula.response != larger.formula.response or smaller.reml != larger.reml:
        raise UserError("a likelihood-ratio test compares fits of the same rows and response, both by ML or both by REML")
    df = larger.parameters - smaller.parameters
    if df < 1:
        raise UserError(
            f"the larger model has {larger.parameters} parameters and the smaller {smaller.parameters}: give the smaller one first"  # noqa: E501
        )
    if larger.reml and set(smaller.cross.names) != set(larger.cross.names):
        raise UserError("restricted likelihoods with different fixed effects cannot be compared; fit both with reml=False (--ml)")
    chi2 = smaller.criterion - larger.criterion
    if chi2 < -1e-6 * max(1.0, abs(larger.criterion)):
        raise UserError("the smaller model fits better, so the models are not nested")
    boundary = larger.state.model.r > smaller.state.model.r
    return pd.Series({"chi2": max(chi2, 0.0), "df": df, "p": float(stats.chi2.sf(max(chi2, 0.0), df)), "boundary": boundary})


def adjusted(p: pd.Series, method: Adjustment) -> np.ndarray:
    """p values adjusted for there being several, by statsmodels; what has none counts as none."""
    if method == "none":
        return p.to_numpy()
    if method not in STATSMODELS:
        raise UserError(
            f"no adjustment '{method}'{formulas.did_you_mean(method, [*STATSMODELS, 'tukey', 'none'])}; there are none, tukey, "
            f"{', '.join(STATSMODELS)}"
        )
    from statsmodels.stats.multitest import multipletests

    found, there = p.to_numpy(float).copy(), p.notna().to_numpy()
    if there.any():
        found[there] = multipletests(found[there], method=STATSMODELS[method])[1]
    return found


def _tukey(rows: pd.DataFrame, family: int, level: float) -> pd.DataFrame:
    """p and limits by the studentized range, each row with its own df; exact in balanced designs only (Tukey-Kramer)."""
    p = [float(stats.studentized_range.sf(np.sqrt(2) * abs(t), family, df)) for t, df in zip(rows["t"], rows["df"], strict=True)]
    half = np.array([stats.studentized_range.ppf(level, family, df) for df in rows["df"]]) / np.sqrt(2) * rows["se"]
    return rows.assign(p=p, low=rows["estimate"] - half, high=rows["estimate"] + half)


def _grid(fit: Fit, by: Sequence[str], at: Mapping[str, Any]) -> tuple[list[tuple], pd.DataFrame]:
    """Every combination of levels, and beside them the number of the `by` combination that each row belongs to."""
    levels, numbers = fit.grid.levels, fit.grid.numbers
    formulas.known([*by, *at], [*levels, *numbers])
    if numeric := [name for name in by if name in numbers]:
        raise UserError(f"{', '.join(numeric)}: means are by levels; give numbers with at={{'{numeric[0]}': …}}")
    free = [name for name in levels if name not in by]
    chosen = {name: ([at[name]] if name in at else list(levels[name])) for name in [*by, *free]}
    cells = list(product(*(chosen[name] for name in by)))
    rows = [(*cell, *rest, i) for i, cell in enumerate(cells) for rest in product(*(chosen[name] for name in free))]
    grid = pd.DataFrame(rows, columns=[*by, *free, "\0cell"])
    return cells, grid.assign(**{name: float(at.get(name, mean)) for name, mean in numbers.items()})


def _name(by: Sequence[str], cell: tuple) -> str:
    return ", ".join(map(str, cell))
