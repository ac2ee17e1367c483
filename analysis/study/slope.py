"""Two stages, beside the primary model: does the gain change with size? Tested on models, never on rows.

Each model's gains become one mean: over seeds, then languages, then targets, then treatments, each level
equally. The M means are regressed on log10(parameters), and on the factors of models that the primary model has (F - 1 effects of
F families), by ordinary least squares, with t on the M - F - 1 degrees of freedom that are left (M - 2 with one family).
Models are compared on like only: a combination of treatment, target and language counts where every model has a gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed.matrices import Coding
from xlift.analysis.paired import nested_mean
from xlift.analysis.study.bases import slope_refused
from xlift.registry.card import POOLED
from xlift.registry.findings import UserError

CAUTION = 6  # models below which a slope carries a warning
EXACT = 1e-20  # of the means' squares: what rounding leaves of means on a line
COMBINATION = ["treatment", "target", "language"]


@dataclass(frozen=True, slots=True)
class Series:
    """One mean gain a model: what a slope is fitted on, and what a figure shows."""

    target_group: str
    treatment: str  # POOLED for the mean over treatments
    x: str  # the column of the parameter count
    means: pd.DataFrame  # model, family, params, gain; one row a model, smallest first
    used: int  # combinations of treatment, target and language that every model has
    seen: int  # combinations that some model has
    gains: int  # rows behind the means
    treatments: tuple[str, ...]  # that are in the means


@dataclass(frozen=True, slots=True)
class Refused:
    """A slope that is not given, and why."""

    series: Series
    reason: str


@dataclass(frozen=True, slots=True)
class Slope:
    """Change of the gain (a fraction) for ten times the parameters, with its t interval on the degrees of freedom left."""

    series: Series
    estimate: float
    se: float
    low: float
    high: float
    p: float  # two-sided; NaN where the means lie on a line exactly
    df: int


def scale_slope(
    gains: pd.DataFrame, x: str, min_models: int = 4, *, treatment: str = POOLED, beside: Sequence[str] = ()
) -> Slope | Refused:
    """The slope of the gains of one target group, of one treatment or pooled, beside factors of models; or why not."""
    groups = sorted(gains["target_group"].unique())
    if len(groups) > 1:
        raise UserError(f"one group of targets at a time, not {' and '.join(groups)}: they are never averaged")
    rows = gains if treatment == POOLED else gains[gains["treatment"] == treatment]
    if rows.empty:
        raise UserError(f"no gains of '{treatment}'; there are: {', '.join(sorted(gains['treatment'].unique())) or 'none'}")
    series = _series(rows, x, treatment)
    factors = [name for name in beside if rows[name].nunique() > 1]
    if reason := slope_refused(rows, min_models, fixed=" + ".join(["1", *factors])):
        return Refused(series, reason)
    if not series.used:
        return Refused(series, f"no combination of treatment, target and language has gains in all {len(series.means)} models")
    return _least_squares(series, rows.drop_duplicates("model").set_index("model").loc[series.means["model"]], factors)


def mean_gain(gains: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean gain by target group and `by`, with a 95 % interval clustered by model.

    The mean of the M model means, with t on M - 1 degrees of freedom: columns mean, low, high (fractions), models,
    gains. The limits are NaN for one model: other models could do anything.
    """
    keys = ["target_group", *[key for key in by if key != "target_group"]]
    if gains.empty:
        return pd.DataFrame(columns=[*keys, "mean", "low", "high", "models", "gains"])
    by_model = nested_mean(gains, [*keys, "model"]).groupby(keys, as_index=False)["gain"]
    table = by_model.agg(mean="mean", sd="std", models="size")
    half = table["sd"] / np.sqrt(table["models"]) * [_quantile(m - 1) if m > 1 else np.nan for m in table["models"]]
    counts = gains.groupby(keys, as_index=False).agg(gains=("gain", "size"))
    return table.assign(low=table["mean"] - half, high=table["mean"] + half).drop(columns="sd").merge(counts, on=keys)


def _series(rows: pd.DataFrame, x: str, treatment: str) -> Series:
    """Model means over the combinations that all models share; over all combinations where they share none."""
    seen = rows.groupby(COMBINATION)["model"].nunique()
    shared = seen[seen == rows["model"].nunique()]
    used = rows.merge(shared.reset_index()[COMBINATION], on=COMBINATION) if len(shared) else rows
    sizes = rows.groupby("model", as_index=False).agg(family=("family", "first"), params=(x, "first"))
    means = nested_mean(used, ["model"]).merge(sizes, on="model").sort_values(["params", "model"], ignore_index=True)
    if (means["params"] <= 0).any():
        raise UserError(f"{x} has to be positive: {', '.join(means['model'][means['params'] <= 0])}")
    names = tuple(sorted(used["treatment"].unique()))
    return Series(rows["target_group"].iloc[0], treatment, x, means, len(shared), len(seen), len(used), names)


def _least_squares(series: Series, models: pd.DataFrame, factors: Sequence[str]) -> Slope | Refused:
    """Of the models' means on size and factors; `models` are their rows, in the order of the means."""
    from statsmodels.regression.linear_model import OLS  # seconds to import, and most verbs fit nothing

    beside = Coding(" + ".join(["1", *factors]), models)
    beside.reduce()
    design = np.column_stack([np.log10(series.means["params"].astype(float)), beside.learned[:, beside.kept]])
    fit = OLS(series.means["gain"].to_numpy(), design).fit()
    df = int(fit.df_resid)
    if df < 1:
        return Refused(series, f"{len(series.means)} models leave no degree of freedom beside size and {' and '.join(factors)}")
    estimate, se = float(fit.params[0]), float(np.sqrt(fit.cov_params()[0, 0]))
    half = _quantile(df) * se
    exact = np.sum(fit.resid**2) <= EXACT * np.sum(series.means["gain"] ** 2)
    p = np.nan if exact else float(2 * stats.t.sf(abs(estimate) / se, df))
    return Slope(series, estimate, se, estimate - half, estimate + half, p, df)


def _quantile(df: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, df))
