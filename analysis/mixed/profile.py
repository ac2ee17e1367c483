"""Profile intervals: where the deviance, minimised over everything else, rises by chi-square's quantile.

The ML deviance is profiled even of a REML fit, as lme4's confint does. Standard deviations, correlations, sigma and
coefficients; limits at 0 (or -1, 1) are the boundary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import linalg, optimize, stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed.likelihood import Likelihood
from xlift.analysis.mixed.model import Fit
from xlift.analysis.mixed.optimise import NotConverged, minimise, scales
from xlift.analysis.mixed.threads import one_thread
from xlift.registry.findings import UserError

EXACTLY = 1e-10
REACH = 60  # doublings of a step before a limit is said not to exist


@one_thread
def profile(fit: Fit, names: list[str] | None = None, *, level: float = LEVEL, tolerance: float = EXACTLY) -> pd.DataFrame:
    """name, low, high: of "sd (Intercept | g)", "cor (x, Intercept | g)", "sigma" and coefficients; all where none is named.

    NotConverged where a profile is not found. `tolerance` is that of the limits, relative to them: for tables that show three
    digits, 1e-3 takes a fraction of the time.
    """
    if fit.state.model.G > 1:
        raise UserError("profiles are for one residual variance; bootstrap the others")
    best = minimise(Likelihood(fit.cross, reml=False, known=fit.state.model.known))
    beyond = Limit(best.criterion, float(np.sqrt(stats.chi2.ppf(level, 1))))
    found = {**_components(best), **{name: ("beta", j) for j, name in enumerate(fit.cross.names)}}
    if names is not None and (unknown := [name for name in names if name not in found]):
        raise UserError(f"no parameter {', '.join(unknown)}; there are {', '.join(found)}")
    rows = []
    for name in names or found:
        kind, *place = found[name]
        ask = partial(_coefficient, best, place[0]) if kind == "beta" else partial(_component, best, kind, place)
        try:
            interval = ask(beyond, tolerance)
        except NotConverged:  # a coarse minimum is not always one
            interval = ask(beyond, EXACTLY)
        rows.append((name, *interval))
    return pd.DataFrame(rows, columns=["name", "low", "high"])


@dataclass(frozen=True, slots=True)
class Limit:
    """Less than 0 within the limits; the root of a deviance is all but linear in what it is a deviance of."""

    best: float
    reach: float  # root of chi-square's quantile

    def __call__(self, deviance: float) -> float:
        rise = deviance - self.best
        return float(np.sign(rise) * np.sqrt(abs(rise))) - self.reach


def _components(state) -> dict[str, tuple]:
    found: dict[str, tuple] = {}
    for t, term in enumerate(state.model.terms):
        for i, name in enumerate(term.names):
            found[f"sd ({name} | {term.name})"] = ("sd", t, i)
        for i in range(term.k):
            for j in range(i):
                found[f"cor ({term.names[i]}, {term.names[j]} | {term.name})"] = ("cor", t, i, j)
    return found if state.model.known else {**found, "sigma": ("sigma",)}


def _coefficient(state, j: int, limit: "Limit", tolerance: float) -> tuple[float, float]:
    """Limits of beta_j: the response less beta_j x_j, regressed on the other columns."""
    cross = state.model.cross
    row = linalg.solve_triangular(cross.R, np.eye(cross.p)[j], trans="T")  # beta_j = ols_j + row'gamma
    u = row / (row @ row)
    rest = linalg.null_space(row[None, :])  # the other directions of gamma
    at = {"point": state.point}

    def beyond(value: float) -> float:
        move = linalg.block_diag(rest, np.eye(1))  # [Q r] -> [Q rest, r less what is held]
        move[:-1, -1] = -(value - cross.ols[j]) * u
        others = cross.names[:j] + cross.names[j + 1 :]
        held = cross.regressed(move, R=np.eye(cross.p - 1), ols=np.zeros(cross.p - 1), names=others)
        found = minimise_from(Likelihood(held, reml=False, known=state.model.known), at["point"])
        at["point"] = found.point
        return limit(found.criterion)

    center = float(cross.coefficients(state.gamma)[j])
    se = float(np.sqrt(state.sigma2 * row @ state.C @ row))
    low, high = (_limit(beyond, center, step, at, state.point, tolerance, limit.reach) for step in (-2.2 * se, 2.2 * se))
    return low, high


def minimise_from(model: Likelihood, point: np.ndarray):
    """The minimum near a point, with the search from everywhere where that fails to be a minimum."""
    from xlift.analysis.mixed import optimise

    scale = optimise.scales(model)
    if model.r == 0:
        return model.at(point)
    start = np.where(model.diagonal, np.maximum(point, 1e-3 * scale), point)
    try:
        found = optimise._polish(optimise._descend(model, start, scale))
        return optimise._accepted(found, scale)
    except NotConverged:
        return minimise(model)


def _component(state, kind: str, place: list[int], limit: "Limit", tolerance: float) -> tuple[float, float]:
    """Limits of a standard deviation, a correlation or sigma, the parameter being held in absolute units."""
    held = _Held(state, kind, place, tolerance)
    center, memory = held.center, {"point": held.start}

    def beyond(value: float) -> float:
        found = held.minimum(value, memory["point"])
        memory["point"] = found.x
        return limit(float(found.fun))

    if kind == "cor":
        low, high = (end if beyond(end) <= 0 else float(optimize.brentq(beyond, center, end, xtol=1e-8)) for end in (-1.0, 1.0))
        return low, high
    step = max(0.5 * center, 0.5 * held.sigma)
    floor = 0.0 if kind == "sd" else 1e-6 * center
    memory["point"] = held.start
    at_floor = beyond(floor)
    low = floor if at_floor <= 0 else _crossing(beyond, (center, -limit.reach), (floor, at_floor), tolerance)
    memory["point"] = held.start
    return low, _limit(beyond, center, step, memory, held.start, tolerance, limit.reach)


def _limit(
    beyond: Callable[[float], float],
    center: float,
    step: float,
    memory: dict,
    start: np.ndarray,
    tolerance: float,
    reach: float,
) -> float:
    """The nearest value beyond the centre, in the step's direction, where `beyond` is 0; inf where there is none."""
    memory["point"], inside = start, (center, -reach)
    for _ in range(REACH):
        outside = inside[0] + step
        value = beyond(outside)
        if value >= 0:
            return _crossing(beyond, inside, (outside, value), tolerance)
        inside, step = (outside, value), 1.5 * step
    return float(np.sign(step)) * np.inf


def _crossing(
    beyond: Callable[[float], float], inside: tuple[float, float], outside: tuple[float, float], tolerance: float
) -> float:
    """Where `beyond`, known at both ends (place, value), is 0: regula falsi after Illinois, since it is all but a line."""
    same = ""
    for _ in range(100):
        (a, fa), (b, fb) = inside, outside
        if not fa <= 0 <= fb:
            break
        if abs(b - a) <= tolerance * max(abs(a), abs(b)) or fb == fa:
            return float(b)
        place = float(np.clip(b - fb * (b - a) / (fb - fa), min(a, b), max(a, b)))
        value = beyond(place)
        if abs(value) <= tolerance:
            return place
        if value < 0:
            inside, outside = (place, value), (b, fb / 2 if same == "inside" else fb)
            same = "inside"
        else:
            inside, outside = (a, fa / 2 if same == "outside" else fa), (place, value)
            same = "outside"
    raise NotConverged(f"the profile between {inside[0]:.4g} and {outside[0]:.4g} does not cross the limit")


class _Held:
    """The ML deviance in (absolute factors, log sigma) with one standard deviation, correlation or sigma held.

    A term's columns may stand in any order, so the held one is put first: its sd is then T_11 alone, and the correlation
    of the first two is T_21 / (T_21^2 + T_22^2)^(1/2).
    """

    def __init__(self, state, kind: str, place: list[int], tolerance: float) -> None:
        self.tolerance = tolerance
        self.kind, self.model, self.sigma = kind, state.model, float(np.sqrt(state.sigma2))
        self.t = place[0] if place else None
        self.order = list(place[1:]) + [i for i in range(self.model.terms[self.t].k) if i not in place[1:]] if place else []
        T = [self.sigma * T for T in state.T]
        if place:
            D = (T[self.t] @ T[self.t].T)[np.ix_(self.order, self.order)]
            T[self.t] = np.linalg.cholesky(D + 1e-12 * np.diag(np.maximum(np.diag(D), 1e-12 * state.sigma2)))
        first = T[self.t] if place else None
        self.center = {
            "sigma": lambda: self.sigma,
            "sd": lambda: float(np.sqrt(D[0, 0])),
            "cor": lambda: float(first[1, 0] / np.hypot(first[1, 0], first[1, 1])),
        }[kind]()
        free = [T[t][i, j] for t, i, j in self.model.entries]
        self.free = [
            not (t == self.t and ((kind == "sd" and (i, j) == (0, 0)) or (kind == "cor" and (i, j) == (1, 0))))
            for t, i, j in self.model.entries
        ]
        floor = [1e-2 * self.sigma if i == j else 0.0 for _, i, j in self.model.entries]
        values = [max(x, low) if low else x for x, low in zip(free, floor, strict=True)]
        if kind == "cor":  # the free entry (1, 1) stands for the second standard deviation
            values[self.model.entries.index((self.t, 1, 1))] = float(np.hypot(first[1, 0], first[1, 1]))
        has_sigma = kind != "sigma" and not self.model.known
        self.start = np.array(
            [x for x, is_free in zip(values, self.free, strict=True) if is_free] + [np.log(self.sigma)] * has_sigma
        )
        size = self.sigma * scales(self.model)
        if self.t is not None:  # the held term's columns stand in another order
            size[[t == self.t for t, _, _ in self.model.entries]] = np.sqrt(np.maximum(np.diag(D), 1e-4 * self.sigma**2)).max()
        kept = [(unit, i == j) for unit, (_, i, j), is_free in zip(size, self.model.entries, self.free, strict=True) if is_free]
        self.units = np.array([unit for unit, _ in kept] + [1.0] * has_sigma)
        self.bounds = [(0.0 if diagonal else -1e3 * unit, 1e3 * unit) for unit, diagonal in kept]
        self.bounds += [(np.log(self.sigma) - 4, np.log(self.sigma) + 4)] * has_sigma

    def minimum(self, value: float, start: np.ndarray) -> optimize.OptimizeResult:
        """Over everything that is free, from the last minimum and from the fit's."""
        if not len(start):
            return optimize.OptimizeResult(x=start, fun=self.deviance(start, value)[0])
        starts = (start, self.start) if self.tolerance <= EXACTLY else (self.start,)
        tried = [self._descend(value, x) for x in starts]
        return min(tried, key=lambda found: found.fun)

    def _descend(self, value: float, start: np.ndarray) -> optimize.OptimizeResult:
        """L-BFGS-B in units of each parameter; a step too long for the arithmetic counts as a very bad one."""

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            try:
                fun, gradient = self.deviance(x * self.units, value)
            except (np.linalg.LinAlgError, UserError):
                return 1e12, np.zeros_like(x)
            return fun, gradient * self.units

        bounds = [(low / unit, high / unit) for (low, high), unit in zip(self.bounds, self.units, strict=True)]
        found = optimize.minimize(
            scaled,
            start / self.units,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-4 * self.tolerance, "gtol": min(1e2 * self.tolerance, 1e-4), "maxiter": 300},
        )
        return optimize.OptimizeResult(x=found.x * self.units, fun=found.fun)

    def deviance(self, x: np.ndarray, value: float) -> tuple[float, np.ndarray]:
        """Deviance and gradient at free parameters x."""
        known = self.model.known
        sigma = value if self.kind == "sigma" else 1.0 if known else float(np.exp(x[-1]))
        A, correlation = self._factors(x, value)
        T = [factor / sigma for factor in A]
        ordered = list(T)
        if self.t is not None:
            back = np.argsort(self.order)
            ordered[self.t] = T[self.t][back]  # not lower triangular; D is what counts
        state = self.model.at(np.zeros(self.model.r), ordered)
        s2 = sigma**2
        logs = state.logdet - self.model.cross.log_weight
        fun = logs + self.model.cross.n * np.log(2 * np.pi * s2) + state.rss / s2
        M = []
        for t, sums in enumerate(state.level_sums(projected=False)):
            v = state.by_level(t, state.ZPy)
            M.append(sums - v.T @ v / s2)
        if self.t is not None:
            M[self.t] = M[self.t][np.ix_(self.order, self.order)]
        G = [2 * M[t] @ A[t] / s2 for t in range(len(T))]  # d fun / d absolute factors, at fixed sigma
        if correlation is not None:
            G[self.t][1, 1] = correlation * G[self.t][1, 0] + np.sqrt(1 - correlation**2) * G[self.t][1, 1]
        gradient = [G[t][i, j] for (t, i, j), free in zip(self.model.entries, self.free, strict=True) if free]
        if self.kind != "sigma" and not known:
            shrink = sum(np.sum(M[t] * (A[t] @ A[t].T)) for t in range(len(T))) / s2
            gradient.append(2 * self.model.cross.n - 2 * state.rss / s2 - 2 * shrink)
        return float(fun), np.array(gradient)

    def _factors(self, x: np.ndarray, value: float) -> tuple[list[np.ndarray], float | None]:
        A = [np.zeros((term.k, term.k)) for term in self.model.terms]
        values = iter(x)
        for (t, i, j), free in zip(self.model.entries, self.free, strict=True):
            A[t][i, j] = next(values) if free else value
        if self.kind != "cor":
            return A, None
        spread = A[self.t][1, 1]
        A[self.t][1, :2] = value * spread, np.sqrt(1 - value**2) * spread
        return A, value
