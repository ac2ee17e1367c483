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


@dataclass(frozen=True)
class _Row:
    """A weighted mean of rows: a (s,) on Henderson's [u gamma], and for each term the new levels' columns."""

    a: np.ndarray
    new: dict[int, list[np.ndarray]]


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
    table = [
        _one(fit, _row(fit, X, places, w), w, observation, level, around) if known else (np.nan,) * 5
        for w, known in zip(wanted, told, strict=True)
    ]
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


def _row(fit: Fit, X: np.ndarray, places: list, w: np.ndarray) -> _Row:
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
    return _Row(a, new)


def _one(fit: Fit, row: _Row, w: np.ndarray, observation: bool, level: float, around: Around) -> tuple[float, ...]:
    state, q = fit.state, fit.state.model.q
    extra = float(w @ w) if observation else 0.0
    modes = np.concatenate([state.modes(t).ravel() for t in range(len(state.T))] or [np.zeros(0)])
    estimate = float(row.a[:q] @ modes + (fit.cross.R.T @ row.a[q:]) @ fit.params.to_numpy())
    sigma = np.sqrt(state.sigma2)
    variance = _variance(state, row, sigma, extra)
    df = _df(fit, row, sigma, extra, variance, around)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)
    return estimate, float(np.sqrt(variance)), df, estimate - half, estimate + half


def _variance(state: State, row: _Row, sigma: float, extra: float) -> float:
    """Variance of the prediction error at a state and a sigma: Henderson's inverse, new draws, residual."""
    drawn = sum(float(z @ (state.T[t] @ state.T[t].T) @ z) for t, levels in row.new.items() for z in levels)
    return float(sigma**2 * (state.spread(row.a) + drawn + extra))


def _around(fit: Fit) -> Around:
    state, found = fit.state, list[tuple[State, State, float]]()
    for i in range(len(state.point)):
        step = np.zeros_like(state.point)
        step[i] = 1e-5 * max(1.0, abs(state.point[i]))
        found.append((state.model.at(state.point + step), state.model.at(state.point - step), 2 * step[i]))
    return Around(found, fit.inference if isinstance(fit.inference, Satterthwaite) else Satterthwaite(state))


def _df(fit: Fit, row: _Row, sigma: float, extra: float, variance: float, around: Around) -> float:
    """Satterthwaite's, with the variance's gradient by central differences (it is a smooth, cheap function)."""
    state = fit.state
    gradient = [(_variance(up, row, sigma, extra) - _variance(down, row, sigma, extra)) / gap for up, down, gap in around.states]
    if not state.model.known:
        gradient.append(2 * variance / sigma)
    return around.inference.variance_df(variance, np.array(gradient))
