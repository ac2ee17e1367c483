"""Traces and quadratic forms of H^-1 and P with the directions in which H moves: for Hessians and Kenward-Roger.

Both are O = D^-1 - D^-1 B K B'D^-1, with B = Z and K = L (L'Z'D^-1ZL + I)^-1 L' for H^-1, and with B = [Z Q] and
Henderson's inverse for P. Nothing here has a side of length n.
"""

from functools import cached_property

import numpy as np

from xlift.analysis.mixed.likelihood import Direction, State


class Operator:
    """H^-1 (`projected=False`) or P, in units of sigma = 1."""

    def __init__(self, state: State, *, projected: bool) -> None:
        self.state, self.model = state, state.model
        self.size = len(state.L) if projected else self.model.q
        self.ZOZ = state.ZPZ if projected else state.ZHZ
        self.J = state.J[: self.size, : self.size]

    @cached_property
    def K(self) -> np.ndarray:
        return self.J.T @ self.J

    @cached_property
    def OZ(self) -> np.ndarray:
        """(size, q): O Z = D^-1 B OZ."""
        q, s = self.model.q, self.size
        return np.eye(s, q) - self.K @ self.state.N[:s, :q]

    def products(self, g: int) -> np.ndarray:
        """(size, size) B'WB of residual group g."""
        return self.model.cross.N[g, : self.size, : self.size]

    def residual(self, g: int) -> np.ndarray:
        """(q, q) Z'O W^-1 O Z over the rows of residual group g."""
        return self.OZ.T @ self.products(g) @ self.OZ / self.state.delta[g] ** 2

    def trace(self, a: Direction) -> float:
        """tr(O H_a)."""
        if a.stratum is None:
            return float(np.sum(self.state.level_sum(a.term, self.ZOZ) * a.D))
        delta = self.state.delta[a.stratum]
        return float(self.model.cross.counts[a.stratum] / delta - np.sum(self.K * self.products(a.stratum)) / delta**2)

    def traces(self, directions: list[Direction]) -> np.ndarray:
        """(m, m) tr(O H_a O H_b)."""
        m, state = len(directions), self.state
        rows = [self.model.slices[d.term] if d.stratum is None else None for d in directions]
        DS = [times(state, d, self.ZOZ) if d.stratum is None else None for d in directions]
        inner = {d.stratum: self.residual(d.stratum) for d in directions if d.stratum is not None}
        KN = {s: self.K @ self.products(s) / state.delta[s] ** 2 for s in inner}
        out = np.empty((m, m))
        for i, a in enumerate(directions):
            for j, b in enumerate(directions[: i + 1]):
                if a.stratum is None and b.stratum is None:
                    value = np.sum(DS[i][:, rows[j]] * DS[j][:, rows[i]].T)
                elif a.stratum is None or b.stratum is None:
                    random, other = (a, b) if a.stratum is None else (b, a)
                    value = np.sum(state.level_sum(random.term, inner[other.stratum]) * random.D)
                else:
                    value = np.sum(KN[a.stratum] * KN[b.stratum].T)
                    if a.stratum == b.stratum:
                        delta = state.delta[a.stratum]
                        value += self.model.cross.counts[a.stratum] / delta**2 - 2 * np.trace(KN[a.stratum]) / delta
                out[i, j] = out[j, i] = value
        return out


def times(state: State, a: Direction, M: np.ndarray) -> np.ndarray:
    """Rows of a's term of (I x D) M, M (q, c) -> (levels * k, c)."""
    blocks = state.by_level(a.term, M)
    return np.matmul(a.D, blocks).reshape(-1, M.shape[1])


def quadratics(state: State, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
    """y'P H_a P y (m,) and y'P H_a P H_b P y (m, m)."""
    model, s, v = state.model, len(state.L), state.ZPy[:, None]
    first, along = [], []  # `along` is [Z Q]'-coordinates: H_a P y = Z (…) for random terms, W^-1 D^-1 e for residuals
    for a in directions:
        if a.stratum is None:
            Dv = times(state, a, v)[:, 0]
            first.append(v[model.slices[a.term], 0] @ Dv)
            along.append(Dv)
        else:
            Ne = model.cross.N[a.stratum] @ state.rho / state.delta[a.stratum] ** 2
            first.append(state.rho @ Ne)
            along.append(Ne[:s])
    second, m = np.empty((len(directions),) * 2), len(directions)
    BP = state.J.T @ state.J  # Henderson's inverse
    for i in range(m):
        for j in range(i + 1):
            a, b = directions[i], directions[j]
            if a.stratum is None and b.stratum is None:
                value = along[i] @ state.ZPZ[model.slices[a.term], model.slices[b.term]] @ along[j]
            elif a.stratum is not None and b.stratum is not None:
                value = -along[i] @ BP @ along[j]
                if a.stratum == b.stratum:
                    value += first[i] / state.delta[a.stratum]
            else:
                (random, left), (_, right) = (
                    ((a, along[i]), (b, along[j])) if a.stratum is None else ((b, along[j]), (a, along[i]))
                )
                rows = model.slices[random.term]
                value = left @ (right[rows] - state.N[:s, rows].T @ (BP @ right))
            second[i, j] = second[j, i] = value
    return np.array(first), second


def hessian(state: State) -> np.ndarray:
    """Exact Hessian (r + G, r + G) of the unprofiled criterion at (theta, log delta, sigma); sigma's row is last.

    f_ab = tr(O H_ab) - tr(O H_a O H_b) - y'P H_ab P y / s2 + 2 y'P H_a P H_b P y / s2, O = P for REML and H^-1 for ML.
    """
    model, sigma, a = state.model, np.sqrt(state.sigma2), state.directions
    first, second = quadratics(state, a)
    operator = Operator(state, projected=model.reml)
    m = len(a)
    H = np.zeros((m + 1, m + 1))
    H[:m, :m] = 2 * second / state.sigma2 - operator.traces(a)
    for i, (t, r, c) in enumerate(model.entries):
        for j, (u, s, d) in enumerate(model.entries):
            if t == u and c == d:  # d2 TT' / dT_rc dT_sd = E_rs + E_sr
                H[i, j] += 2 * state.cone[t][r, s]
    H[:m, m] = H[m, :m] = 2 * first / sigma**3
    H[m, m] = -2 * model.nu / state.sigma2 + 6 * state.rss / state.sigma2**2
    chain = np.ones(m + 1)
    chain[model.r : m] = state.delta[1:]
    H = chain[:, None] * H * chain
    H[range(model.r, m), range(model.r, m)] += state.gradient[model.r :]
    return H


def profiled_hessian(state: State) -> np.ndarray:
    """(r + G - 1,) squared: of the criterion with sigma profiled out; all of it where sigma is known."""
    H = hessian(state)
    return H[:-1, :-1] if state.model.known else H[:-1, :-1] - np.outer(H[:-1, -1], H[-1, :-1]) / H[-1, -1]
