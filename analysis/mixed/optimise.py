"""The minimum of a mixed model's criterion, on the boundary too.

At T = 0 the gradient in theta is 0 whether or not 0 is a minimum, so a small gradient proves nothing there. What does, to
first order, is the cone: each term's derivative in T T' has to be positive semidefinite. So: descend from several starts,
polish with the exact Hessian, and leave every point where the cone says that a variance wants to grow.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize

from xlift.analysis.mixed.likelihood import Likelihood
from xlift.analysis.mixed.state import Points, State, profiled_hessian

STARTS = (1.0, 0.15)  # standard deviations of random effects, relative to sigma
STEPS = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 1.0, 3.0)  # variances to try where one wants to grow
NEGATIVE = 1e-6  # of the largest eigenvalue: what counts as wanting to
SETTLED = 1e-9  # what another Newton step would gain, in units of the criterion
ENOUGH = 1e-15  # what a Newton step would gain where the point is as good as arithmetic makes it
ESCAPES = 25
FLOOR = 1e-3  # a variance, relative to sigma^2, from which a Newton step finds out whether it is zero
SINGULAR = 1e-4  # standard deviation relative to sigma that counts as 0, as lme4 has it


class NotConverged(RuntimeError):
    """No minimum was found; nothing is reported then."""


def minimise(model: Likelihood, near: np.ndarray | None = None) -> State:
    """The state at the minimum; NotConverged where none is found.

    A step of Fisher scoring leads close to it, or a point that is `near` it, such as the minimum on most of the same rows; Newton
    to its end. Where that ends in no minimum, descents from far apart.
    """
    if model.r + model.G == 1:
        return model.at(np.zeros(0))
    scale = scales(model)
    if near is not None and len(near) == len(scale):
        try:
            return _settled(model.at(near), scale, _polish)
        except (NotConverged, np.linalg.LinAlgError):
            pass
    if model.G == 1:
        try:
            return _settled(_scored(model.at(scale * _ones(model)), scale), scale, _polish)
        except (NotConverged, np.linalg.LinAlgError):
            pass
    starts = (_descend(model, start * scale * _ones(model), scale) for start in STARTS)
    return _settled(
        min(starts, key=lambda state: state.criterion), scale, lambda state: _polish(_descend(model, state.point, scale))
    )


def _settled(best: State, scale: np.ndarray, improve: Callable[[State], State]) -> State:
    """The minimum below a state, variances that want to grow being let grow; NotConverged where there is none."""
    for _ in range(ESCAPES):
        best = min(_through_the_valley(improve(best)), best, key=lambda state: state.criterion)
        better = _escape(best, scale)
        if better is None:
            return _accepted(best, scale)
        best = better
    raise NotConverged(f"after {ESCAPES} attempts some variance still wants to grow: {_where(best, scale)}")


def _scored(state: State, scale: np.ndarray) -> State:
    """One step of Fisher scoring in the variances: tr(P H_a P H_b) v = y'P H_a P y (Searle, Casella & McCulloch 1992, ch. 8).

    A covariance matrix that leaves the cone is moved to where its variances are FLOOR.
    """
    model, components = state.model, state.components
    random = [a for a in components if a.stratum is None]
    right = state.quadratics(random)[0]
    if not model.known:  # y'P W^-1 P y, from y'P H P y = y'P y
        right = np.append(right, state.rss - right @ state.amounts)
    traces = state.traces(components, projected=model.reml)
    unit = 1 / np.sqrt(np.maximum(np.diag(traces), 1e-300))
    found = unit * np.linalg.lstsq(unit[:, None] * traces * unit, unit * right, rcond=1e-10)[0]
    sigma2 = 1.0 if model.known else max(found[-1], FLOOR * state.sigma2)
    T = []
    for t in range(len(state.T)):
        own = [number for number, (u, _, _) in enumerate(model.entries) if u == t]
        size = np.array([scale[n] for n in own if model.diagonal[n]])
        D = np.zeros_like(state.T[t])
        for n in own:
            _, i, j = model.entries[n]
            D[i, j] = D[j, i] = found[n] / sigma2 / (size[i] * size[j])
        w, V = np.linalg.eigh(D)
        T.append(np.linalg.cholesky(size[:, None] * ((V * np.maximum(w, FLOOR)) @ V.T) * size))
    return model.at(model.point(T, state.delta))


def scales(model: Points) -> np.ndarray:
    """(r + G - 1,) size of each parameter: 1 / root mean square of the column that it multiplies."""
    diagonal, total = model.cross.squares, model.cross.counts.sum()
    rms = []
    for term, rows in zip(model.terms, model.slices, strict=True):
        squares = diagonal[rows].reshape(len(term.levels), term.k).sum(0)
        rms.append(np.sqrt(np.maximum(squares / total, 1e-300)))
    if model.known:  # N is in units of 1 / variance: relative to sigma = 1, then, the effects' own scale counts
        spread = np.sqrt(max(model.cross.total / total, 1.0))
        return np.array([*(spread / rms[t][i] for t, i, _ in model.entries), *np.ones(model.G - 1)])
    return np.array([*(1 / rms[t][i] for t, i, _ in model.entries), *np.ones(model.G - 1)])


def singular_terms(state: State, scale: np.ndarray) -> list[int]:
    """Terms whose covariance matrix is estimated without full rank."""
    found = []
    for t, T in enumerate(state.T):
        rows = np.array([s for s, (u, i, j) in zip(scale, state.model.entries, strict=False) if u == t and i == j])
        if np.linalg.svd(T / rows[:, None], compute_uv=False)[-1] < SINGULAR:
            found.append(t)
    return found


def _ones(model: Likelihood) -> np.ndarray:
    return np.concatenate([model.diagonal.astype(float), np.zeros(model.G - 1)])


def _descend(model: Likelihood, start: np.ndarray, scale: np.ndarray) -> State:
    """L-BFGS-B with non-negative diagonals."""

    def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = model.value_and_gradient(x * scale)
        return value, gradient * scale

    bounds = [(0.0, None) if d else (None, None) for d in model.diagonal] + [(-30.0, 30.0)] * (model.G - 1)
    found = optimize.minimize(
        scaled, start / scale, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-6}
    )
    return model.at(found.x * scale)


def _polish(state: State) -> State:
    """Newton steps on the exact Hessian while they help."""
    for _ in range(30):
        step, gain = _newton(state)
        if gain < ENOUGH:
            break
        nearer = next((trial for trial in (_try(state, step * 0.5**k) for k in range(12)) if trial is not None), None)
        if nearer is None or (
            np.abs(nearer.gradient).max() >= 0.5 * np.abs(state.gradient).max() and state.criterion - nearer.criterion < 1e-10
        ):
            break
        state = nearer
    return state


def _try(state: State, step: np.ndarray) -> State | None:
    try:
        trial = state.model.at(state.point + step)
    except (np.linalg.LinAlgError, ValueError):
        return None
    slack = 1e-13 * max(1.0, abs(state.criterion))
    smaller = np.abs(trial.gradient).max() < np.abs(state.gradient).max()
    return trial if trial.criterion < state.criterion or (smaller and trial.criterion <= state.criterion + slack) else None


def _through_the_valley(state: State) -> State:
    """The end of a flat valley towards a correlation of -1 or 1, where that is lower.

    While an intercept's variance is all but 0, only the product of its entry with the covariance's counts: then descent
    creeps, and what it creeps to has T_22 = 0. The other variance and the covariance stay as they are.
    """
    for t, T in enumerate(state.T):
        if T.shape != (2, 2) or not T[1].any():
            continue
        whole = np.copysign(np.hypot(T[1, 0], T[1, 1]), T[1, 0])
        factors = list(state.T)
        factors[t] = np.array([[T[0, 0] * T[1, 0] / whole, 0.0], [whole, 0.0]])
        trial = state.model.at(state.model.point(factors, state.delta))
        if trial.criterion < state.criterion:
            state = _polish(trial)
    return state


def _newton(state: State) -> tuple[np.ndarray, float]:
    """A descent step, and what it would gain; directions without curvature are left alone."""
    unit = scales(state.model)  # what is flat does not depend on the units of the data
    w, Q = np.linalg.eigh(unit[:, None] * profiled_hessian(state) * unit)
    along = Q.T @ (unit * state.gradient)
    flat = np.abs(w) <= 1e-10 * max(1.0, np.abs(w).max())
    size = np.where(flat, 0.0, along / np.where(flat, 1.0, np.abs(w)))
    return -unit * (Q @ size), float(along @ size) / 2


def _wants_to_grow(state: State, scale: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Terms outside the cone, with the column combination (k,) whose variance wants to grow."""
    found = []
    for t, M in enumerate(state.cone):
        size = np.array([s for s, (u, i, j) in zip(scale, state.model.entries, strict=False) if u == t and i == j])
        w, vectors = np.linalg.eigh(size[:, None] * M * size)
        if w[0] < -NEGATIVE * max(1.0, np.abs(w).max()):
            found.append((t, size * vectors[:, 0]))
    return found


def _escape(state: State, scale: np.ndarray) -> State | None:
    """A lower point with a variance that wants to grow grown; None where there is none."""
    best = None
    for t, u in _wants_to_grow(state, scale):
        for step in STEPS:
            T = list(state.T)
            D = T[t] @ T[t].T + step * np.outer(u, u)
            T[t] = np.linalg.cholesky(D + 1e-12 * np.diag(np.diag(D) + u * u))
            trial = state.model.at(state.model.point(T, state.delta))
            if trial.criterion < min(state.criterion - 1e-10, best.criterion if best else np.inf):
                best = trial
    return best


def _accepted(state: State, scale: np.ndarray) -> State:
    """The state with signs as lme4 has them; NotConverged where it is no minimum."""
    if any((np.diag(T) < 0).any() for T in state.T):
        T = [T * np.where(np.diag(T) < 0, -1.0, 1.0) for T in state.T]
        state = state.model.at(state.model.point(T, state.delta))
    gain = _newton(state)[1]
    if not gain <= SETTLED * max(1.0, abs(state.criterion) * 1e-3):
        raise NotConverged(f"the criterion still falls ({gain:.1g} in one Newton step); the model is too rich for these data")
    if _wants_to_grow(state, 0.999 * scale) and _escape(state, scale) is not None:
        raise NotConverged(f"some variance still wants to grow: {_where(state, scale)}")
    if (np.abs(state.point[state.model.r :]) > 25).any():
        raise NotConverged("a residual variance goes to zero: its group is fitted without error")
    return state


def _where(state: State, scale: np.ndarray) -> str:
    return ", ".join(state.model.terms[t].name for t, _ in _wants_to_grow(state, scale))
