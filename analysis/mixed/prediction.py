"""Predictions with intervals, for levels that the fit knows and for new ones.

A row names its levels. A known level brings its conditional mode and what is uncertain about it; a level that the fit has
not seen is a new draw, and rows that share its label share the draw; a group that the rows have no column for (or no value)
is left at zero, and so the prediction is for an average level of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed import matrices
from xlift.analysis.mixed.inference import Satterthwaite
from xlift.analysis.mixed.model import Fit
from xlift.analysis.mixed.state import State
from xlift.analysis.mixed.threads import one_thread
from xlift.registry.findings import UserError

TOGETHER = 64  # rows whose variances are found at once


@dataclass(frozen=True)
class _Row:
    """A weighted mean of rows: a (s,) on Henderson's [u gamma], and for each term the new levels' columns."""

    a: np.ndarray
    new: dict[int, list[np.ndarray]]
    extra: float  # of the residual, in sigma^2


class Around(NamedTuple):
    """What degrees of freedom are told by, the same for every row."""

    states: list[tuple[State, State, float]]  # for each parameter, the states above and below the fit's and their distance
    inference: Satterthwaite


@one_thread
def predict(
    fit: Fit,
    rows: pd.DataFrame,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    level: float = LEVEL,
    observation: bool = False,
) -> pd.DataFrame:
    """estimate, se, df, low, high: a row each, or, with `weights`, a weighted mean of the rows for each row of weights.

    se is the prediction error's: estimates of the coefficients, conditional modes, new levels, and with `observation` the
    residual of one run. df is Satterthwaite's for that sum of variances. No interval covers a misfit of the line. NaN where the
    data do not tell the fixed part of it.
    """
    if observation and (fit.state.model.known or fit.state.model.G > 1):
        raise UserError("a new observation needs one residual variance; these rows have known or several ones")
    X = fit.grid.design.rows(rows)
    wanted = np.eye(len(rows)) if weights is None else np.atleast_2d(np.asarray(weights, float))
    if wanted.shape[1] != len(rows):
        raise UserError(f"{wanted.shape[1]} weights for {len(rows)} rows")
    places = [_places(fit, t, rows) for t in range(len(fit.state.model.terms))]
    around = _around(fit)
    told = fit.grid.design.told(wanted @ X)
    table = np.full((len(wanted), 5), np.nan)
    for some in np.array_split(np.flatnonzero(told), told.sum() // TOGETHER + 1):
        means = [_row(fit, X, places, w, float(w @ w) if observation else 0.0) for w in wanted[some]]
        if means:
            table[some] = _limits(fit, means, level, around)
    return pd.DataFrame(table, columns=["estimate", "se", "df", "low", "high"], index=rows.index if weights is None else None)


def _places(fit: Fit, t: int, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels (rows,) of a term, None where its group is absent, and its columns (rows, k)."""
    term = fit.grid.design.terms[t]
    if any(name not in rows for name in term.group):
        return np.full(len(rows), None), np.zeros((len(rows), term.k))
    absent = rows[list(term.group)].isna().any(axis=1).to_numpy()
    names = matrices.labels(rows, term.group)
    names[absent] = None
    return names, matrices.columns_of(term, rows)


def _row(fit: Fit, X: np.ndarray, places: list, w: np.ndarray, extra: float) -> _Row:
    a = np.concatenate([np.zeros(fit.state.model.q), fit.cross.contrast(fit.grid.design.reduced(w[None] @ X))[0]])
    new: dict[int, list[np.ndarray]] = {}
    there = np.flatnonzero(w)
    for t, (names, columns) in enumerate(places):
        term, start = fit.grid.design.terms[t], fit.state.model.slices[t].start
        number = {level: i for i, level in enumerate(term.levels)}
        fresh: dict[str, np.ndarray] = {}
        for share, name, z in zip(w[there], names[there], columns[there], strict=True):
            if name in number:
                a[start + number[name] * term.k : start + (number[name] + 1) * term.k] += share * z
            elif name is not None:
                fresh[name] = fresh.get(name, 0.0) + share * z
        new[t] = list(fresh.values())
    return _Row(a, new, extra)


def _limits(fit: Fit, means: Sequence[_Row], level: float, around: Around) -> np.ndarray:
    """(rows, 5): estimate, se, df, low, high."""
    state, q = fit.state, fit.state.model.q
    modes = np.concatenate([state.modes(t).ravel() for t in range(len(state.T))] or [np.zeros(0)])
    A = np.column_stack([mean.a for mean in means])
    estimate = modes @ A[:q] + fit.params.to_numpy() @ (fit.cross.R.T @ A[q:])
    sigma = np.sqrt(state.sigma2)
    variance = _variances(state, means, A, sigma)
    df = _df(fit, means, A, sigma, variance, around)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)
    return np.column_stack([estimate, np.sqrt(variance), df, estimate - half, estimate + half])


def _variances(state: State, means: Sequence[_Row], A: np.ndarray, sigma: float) -> np.ndarray:
    """Variances of prediction errors at a state and a sigma: Henderson's inverse, new draws, residual."""
    D = [T @ T.T for T in state.T]
    more = [mean.extra + sum(float(z @ D[t] @ z) for t, levels in mean.new.items() for z in levels) for mean in means]
    return sigma**2 * (state.spread(A) + np.array(more))


def _around(fit: Fit) -> Around:
    state, found = fit.state, list[tuple[State, State, float]]()
    for i in range(len(state.point)):
        step = np.zeros_like(state.point)
        step[i] = 1e-5 * max(1.0, abs(state.point[i]))
        found.append((state.model.at(state.point + step), state.model.at(state.point - step), 2 * step[i]))
    return Around(found, fit.inference if isinstance(fit.inference, Satterthwaite) else Satterthwaite(state))


def _df(fit: Fit, means: Sequence[_Row], A: np.ndarray, sigma: float, variance: np.ndarray, around: Around) -> np.ndarray:
    """Satterthwaite's, with the variances' gradients by central differences (they are smooth, cheap functions)."""
    sides = [(_variances(up, means, A, sigma), _variances(down, means, A, sigma), gap) for up, down, gap in around.states]
    gradient = [(above - below) / gap for above, below, gap in sides]
    if not fit.state.model.known:
        gradient.append(2 * variance / sigma)
    rows = zip(variance, np.array(gradient).T, strict=True)
    return np.array([around.inference.variance_df(float(own), slopes) for own, slopes in rows])
