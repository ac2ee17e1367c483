"""Effects with known sampling variances, and estimators of how far they scatter beyond these."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from xlift.analysis.mixed.state import LOG_2PI


@dataclass(frozen=True)
class Effects:
    """k effects y with sampling variances v and moderators X (k, p)."""

    y: np.ndarray
    v: np.ndarray
    X: np.ndarray
    names: tuple[str, ...]

    def least_squares(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """beta (p,) and (X'WX)^-1 (p, p), through an orthonormal basis: moderators may be years."""
        Q, R = np.linalg.qr(np.sqrt(w)[:, None] * self.X)
        half = np.linalg.inv(R)
        return half @ (Q.T @ (np.sqrt(w) * self.y)), half @ half.T

    def rss(self, w: np.ndarray) -> float:
        """Weighted residual sum of squares; Cochran's Q at w = 1 / v."""
        residual = self.y - self.X @ self.least_squares(w)[0]
        return float(w @ residual**2)

    def projection(self, w: np.ndarray) -> np.ndarray:
        """(k, k) W - WX (X'WX)^-1 X'W."""
        half = np.linalg.qr(np.sqrt(w)[:, None] * self.X)[0]
        root = np.sqrt(w)
        return np.diag(w) - (root[:, None] * half) @ (half.T * root)

    @property
    def typical(self) -> float:
        """Typical sampling variance (Higgins & Thompson 2002), in its form with moderators."""
        return float((len(self.y) - self.X.shape[1]) / np.trace(self.projection(1 / self.v)))

    def loglik(self, w: np.ndarray, *, restricted: bool) -> float:
        k, p = self.X.shape
        value = np.log(w).sum() - self.rss(w)
        if not restricted:
            return float(value - k * LOG_2PI) / 2
        half = np.linalg.qr(np.sqrt(w)[:, None] * self.X, mode="r")
        unweighted = np.linalg.qr(self.X, mode="r")
        logs = 2 * np.log(np.abs(np.diag(unweighted))).sum() - 2 * np.log(np.abs(np.diag(half))).sum()
        return float(value - (k - p) * LOG_2PI + logs) / 2


def _dl(e: Effects) -> float:
    """DerSimonian & Laird (1986)."""
    w = 1 / e.v
    return max((e.rss(w) - (len(e.y) - e.X.shape[1])) / np.trace(e.projection(w)), 0.0)


def _he(e: Effects) -> float:
    """Hedges & Olkin (1985): unweighted."""
    P = e.projection(np.ones_like(e.y))
    return max(float(e.y @ P @ e.y - np.diag(P) @ e.v) / (len(e.y) - e.X.shape[1]), 0.0)


def _sj(e: Effects) -> float:
    """Sidik & Jonkman (2005), started as in metafor from the effects' unconditional variance."""
    start = float(np.sum((e.y - e.y.mean()) ** 2) / len(e.y))
    if start == 0:
        return 0.0
    P = e.projection(start / (e.v + start))
    return max(float(e.y @ P @ e.y) / (len(e.y) - e.X.shape[1]), 0.0)


def _pm(e: Effects) -> float:
    """Paule & Mandel (1982): tau^2 at which Q equals its expectation; `_eb` is the same (Morris 1983)."""
    return generalized_q(e, len(e.y) - e.X.shape[1])


def generalized_q(e: Effects, target: float) -> float:
    """tau^2 >= 0 at which the generalised Q falls to `target`."""

    def excess(tau2: float) -> float:
        return e.rss(1 / (e.v + tau2)) - target

    if excess(0.0) <= 0:
        return 0.0
    top = max(float(np.var(e.y)), float(e.v.max()))
    while excess(top) > 0:
        top *= 4
    return _root(excess, 0.0, top)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f changes its sign, to the last digits of `high`, whatever its unit (brentq's own tolerance is absolute)."""
    return high * float(optimize.brentq(lambda x: f(x * high), low / high, 1.0, xtol=1e-15, rtol=8.9e-16))


def _likelihood(restricted: bool) -> Callable[[Effects], float]:
    def estimate(e: Effects) -> float:
        """The highest likelihood over tau^2 >= 0: every root of the score between grid points is looked at."""

        def score(tau2: float) -> float:
            w = 1 / (e.v + tau2)
            P = e.projection(w)
            Py = P @ e.y
            return float(Py @ Py - (np.trace(P) if restricted else w.sum()))

        top = 10 * max(float(np.var(e.y)), float(e.v.max()))
        grid = np.concatenate([[0.0], np.geomspace(1e-8, 1, 60) * top])
        values = [score(x) for x in grid]
        roots = [
            _root(score, a, b) for a, b, left, right in zip(grid, grid[1:], values, values[1:], strict=False) if left > 0 >= right
        ]
        return max([0.0, *roots], key=lambda x: e.loglik(1 / (e.v + x), restricted=restricted))

    return estimate


ESTIMATORS: dict[str, Callable[[Effects], float]] = {
    "REML": _likelihood(True),
    "ML": _likelihood(False),
    "DL": _dl,
    "PM": _pm,
    "EB": _pm,
    "HE": _he,
    "SJ": _sj,
}
