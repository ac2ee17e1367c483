"""Small-sample inference on fixed effects: Satterthwaite and Kenward-Roger, from matrices without a side of length n.

Both work on gamma, the coefficients of the orthonormal Q (X = QR); `model` brings contrasts on beta there.
"""

from functools import cached_property

import numpy as np

from xlift.analysis.mixed.likelihood import Direction, State
from xlift.analysis.mixed.operators import Operator, hessian, times
from xlift.analysis.mixed.optimise import scales

ROUNDING = 1e-8  # what is left of a difference that is 0 (pbkrtest: 1e-10 and 1e-14, which rounding exceeds)
NEAR_TWO = 0.01  # from a denominator df of 2, where the scale is 0 / 0: it is taken as 1, as in pbkrtest
FLAT = 1e-8  # eigenvalues of the Hessian at most this are dropped, as lmerTest does: what makes singular fits usable


class Satterthwaite:
    """df = 2 v^2 / (g'A g), v the variance of a contrast and g its gradient (Giesbrecht & Burns 1985; Kuznetsova et al. 2017)."""

    name = "satterthwaite"

    def __init__(self, state: State) -> None:
        self.state = state
        self.cov = state.sigma2 * state.C  # (p, p) of gamma

    @cached_property
    def A(self) -> np.ndarray:
        """Covariance of (theta, log delta, sigma): twice the inverse Hessian of the criterion."""
        H, unit = hessian(self.state), np.append(scales(self.state.model), np.sqrt(self.state.sigma2))
        if self.state.model.known:
            H, unit = H[:-1, :-1], unit[:-1]
        w, Q = np.linalg.eigh(unit[:, None] * H * unit)  # without units: what is flat does not depend on those of the data
        keep = w > FLAT
        Q = unit[:, None] * Q[:, keep]
        return 2 * (Q / w[keep]) @ Q.T

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(parameters, p, p) d Cov(gamma) / d (theta, log delta, sigma)."""
        state, C = self.state, self.state.C
        inner = [_QHHQ(state, a) * (1.0 if a.stratum is None else state.delta[a.stratum]) for a in state.directions]
        moved = [state.sigma2 * C @ M @ C for M in inner]
        return np.array(moved if state.model.known else [*moved, 2 * np.sqrt(state.sigma2) * C])

    def variance_df(self, variance: float, gradient: np.ndarray) -> float:
        """df of an estimated variance; infinite where nothing about it is estimated."""
        spread = gradient @ self.A @ gradient
        return float(2 * variance**2 / spread) if spread > 0 else np.inf

    def df(self, contrast: np.ndarray) -> float:
        gradient = np.einsum("i,aij,j->a", contrast, self.jacobian, contrast) if len(self.jacobian) else np.zeros(0)
        return self.variance_df(contrast @ self.cov @ contrast, gradient)

    def f_test(self, L: np.ndarray, gamma: np.ndarray) -> tuple[float, int, float]:
        """F, numerator and denominator df of L gamma = 0, L (r, p) of full row rank (Fai & Cornelius 1996)."""
        d, P = np.linalg.eigh(L @ self.cov @ L.T)
        rotated = P.T @ L
        F, r = float(np.mean((rotated @ gamma) ** 2 / d)), len(L)
        dfs = np.array([self.df(row) for row in rotated])
        if np.isinf(dfs).all() or np.ptp(dfs) < 1e-8:
            return F, r, float(dfs.mean())
        if (dfs <= 2).any():
            return F, r, 2.0
        E = np.sum(np.where(np.isinf(dfs), 1.0, dfs / (dfs - 2)))
        return F, r, float(2 * E / (E - r))


class KenwardRoger:
    """Kenward & Roger (1997), as in pbkrtest (Halekoh & Højsgaard 2014); all in units of sigma = 1 but `cov`.

    V is linear in its components s_r, the entries of the terms' covariance matrices and the residual variances:
    Phi = (X'V^-1X)^-1, P_r = -X'V^-1 G_r V^-1X, Q_rs = X'V^-1 G_r V^-1 G_s V^-1X, K_rs = tr(V^-1 G_r V^-1 G_s).
    """

    name = "kenward-roger"

    def __init__(self, state: State) -> None:
        self.state, self.Phi = state, state.C
        self.components = _components(state)
        self.operator = Operator(state, projected=False)
        if not self.components:
            self.cov = state.sigma2 * self.Phi
            return
        self.P = -np.array([_QHHQ(state, a) for a in self.components])  # (m, p, p)
        self.Q = self._second()  # (m, m, p, p)
        self.W = self._variance()  # (m, m)
        bias = np.einsum("ab,abij->ij", self.W, self.Q - np.einsum("aij,jk,bkl->abil", self.P, self.Phi, self.P))
        self.cov = state.sigma2 * (self.Phi + 2 * self.Phi @ bias @ self.Phi)  # adjusted, of gamma

    def _second(self) -> np.ndarray:
        state, K, a = self.state, self.operator.K, self.components
        m, p, q = len(a), state.model.p, state.model.q
        Q = np.empty((m, m, p, p))
        DU = [times(state, d, state.ZHQ) if d.stratum is None else None for d in a]
        WU = {d.stratum: _WHQ(state, d.stratum) for d in a if d.stratum is not None}  # (s, p) [Z Q]'D^-1 W^-1 H^-1Q
        for i in range(m):
            for j in range(m):
                if a[i].stratum is None and a[j].stratum is None:
                    rows = state.model.slices
                    Q[i, j] = DU[i].T @ state.ZHZ[rows[a[i].term], rows[a[j].term]] @ DU[j]
                elif a[i].stratum is not None and a[j].stratum is not None:
                    Q[i, j] = -WU[a[i].stratum][:q].T @ K @ WU[a[j].stratum][:q]
                    if a[i].stratum == a[j].stratum:
                        Q[i, j] += _QHHQ(state, a[i]) / state.delta[a[i].stratum]
                else:
                    random, stratum = (i, a[j].stratum) if a[i].stratum is None else (j, a[i].stratum)
                    columns = state.model.slices[a[random].term]
                    ZHW = WU[stratum][columns] - state.N[:q, columns].T @ (K @ WU[stratum][:q])  # Z'H^-1 W^-1 H^-1 Q
                    Q[i, j] = DU[random].T @ ZHW if random == i else ZHW.T @ DU[random]
        return Q

    def _variance(self) -> np.ndarray:
        """W = 2 I^-1, I the expected REML information of the components."""
        Phi, P = self.Phi, self.P
        information = self.operator.traces(self.components) - 2 * np.einsum("ij,abij->ab", Phi, self.Q)
        PPhi = P @ Phi
        information += np.einsum("aij,bji->ab", PPhi, PPhi)
        information = (information + information.T) / 2
        unit = 1 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
        w = np.abs(np.linalg.eigvalsh(unit[:, None] * information * unit))
        invert = np.linalg.inv if w.min() > 1e-12 * w.max() else np.linalg.pinv
        return 2 * unit[:, None] * invert(unit[:, None] * information * unit) * unit

    def df(self, contrast: np.ndarray) -> float:
        return self._match(contrast[None, :])[0]

    def f_test(self, L: np.ndarray, gamma: np.ndarray) -> tuple[float, int, float]:
        """Scaled F, numerator and denominator df of L gamma = 0, L (r, p) of full row rank."""
        df, scale = self._match(L)
        estimate = L @ gamma
        return float(scale * estimate @ np.linalg.solve(L @ self.cov @ L.T, estimate) / len(L)), len(L), df

    def _match(self, L: np.ndarray) -> tuple[float, float]:
        """Denominator df and scale of F: two moments are matched."""
        if not self.components:
            return np.inf, 1.0
        Phi, r = self.Phi, len(L)
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        B = Theta @ Phi @ self.P @ Phi  # (m, p, p)
        u = np.trace(B, axis1=1, axis2=2)
        A1, A2 = u @ self.W @ u, np.sum(self.W * np.einsum("aij,bji->ab", B, B))
        if A2 <= 0:
            return np.inf, 1.0
        if r == 1:
            return float(2 / A2), 1.0
        b = (A1 + 6 * A2) / (2 * r)
        g = ((r + 1) * A1 - (r + 4) * A2) / ((r + 2) * A2)
        c1, c2, c3 = np.array([g, r - g, r + 2 - g]) / (3 * r + 2 * (1 - g))
        a, v0, v1, v2 = 1 - A2 / r, 1 + c1 * b, 1 - c2 * b, 1 - c3 * b
        v0 = 0.0 if abs(v0) < ROUNDING else v0
        ratio = 1.0 if max(abs(a), abs(v1)) < ROUNDING else a / v1  # both are 0 where the df are 2
        rho = ratio**2 * v0 / v2 / r
        df = 4 + (r + 2) / (r * rho - 1)
        return float(df), 1.0 if abs(df - 2) < NEAR_TWO else float(df * a / (df - 2))


METHODS = {method.name: method for method in (Satterthwaite, KenwardRoger)}


def _components(state: State) -> list[Direction]:
    """One 0/1 pattern for each entry of the terms' covariance matrices, then the residual variances."""
    found = []
    for t, term in enumerate(state.model.terms):
        for i in range(term.k):
            for j in range(i + 1):
                E = np.zeros((term.k, term.k))
                E[i, j] = E[j, i] = 1.0
                found.append(Direction(t, E))
    return found if state.model.known else found + [Direction(stratum=g) for g in range(state.model.G)]


def _WHQ(state: State, g: int) -> np.ndarray:
    """(s, p) [Z Q]'D^-1 W^-1 H^-1 Q over residual group g: H^-1Q = D^-1 [Z Q] (-K Z'D^-1Q; I)."""
    return state.model.cross.N[g, : len(state.L), : len(state.L)] @ _HQ(state) / state.delta[g] ** 2


def _HQ(state: State) -> np.ndarray:
    """(s, p): H^-1 Q = D^-1 [Z Q] HQ."""
    q = state.model.q
    K = state.J[:q, :q].T @ state.J[:q, :q]
    return np.concatenate([-K @ state.N[:q, q:-1], np.eye(state.model.p)])


def _QHHQ(state: State, a: Direction) -> np.ndarray:
    """(p, p) Q'H^-1 H_a H^-1 Q."""
    if a.stratum is None:
        return state.ZHQ[state.model.slices[a.term]].T @ times(state, a, state.ZHQ)
    return _HQ(state).T @ _WHQ(state, a.stratum)
