"""Small-sample inference on fixed effects: Satterthwaite and Kenward-Roger, from matrices without a side of length n.

Both work on gamma, the coefficients of the orthonormal Q (X = QR); `model` brings contrasts on beta there.
"""

from functools import cached_property

import numpy as np

from xlift.analysis.mixed.optimise import scales
from xlift.analysis.mixed.state import State

ROUNDING = 1e-8  # what is left of a difference that is 0 (pbkrtest: 1e-10 and 1e-14, which rounding exceeds)
SAME = 1e-12  # eigenvalues of the information, relative to the largest, that are zero: components that are one
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
        H, unit = self.state.hessian, np.append(scales(self.state.model), np.sqrt(self.state.sigma2))
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
        inner = [state.first_form(a) * (1.0 if a.stratum is None else state.delta[a.stratum]) for a in state.directions]
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
    confounded: list[int] = []  # components that the rows cannot tell apart from each other

    def __init__(self, state: State) -> None:
        self.state, self.Phi = state, state.C
        self.components = state.components
        if not self.components:
            self.cov = state.sigma2 * self.Phi
            return
        first, self.Q = state.forms(self.components)  # (m, m, p, p)
        self.P = -first  # (m, p, p)
        self.W = self._variance()  # (m, m)
        weighted = np.tensordot(self.W, self.P, 1)  # (m, p, p), so that no product has both m^2 and p^3
        bias = np.tensordot(self.W, self.Q, 2) - (self.P @ self.Phi @ weighted).sum(axis=0)
        self.cov = state.sigma2 * (self.Phi + 2 * self.Phi @ bias @ self.Phi)  # adjusted, of gamma

    def _variance(self) -> np.ndarray:
        """W = 2 I^-1, I the expected REML information of the components."""
        Phi, P = self.Phi, self.P
        information = self.state.traces(self.components, projected=False) - 2 * np.einsum("ij,abij->ab", Phi, self.Q)
        PPhi = P @ Phi
        information += np.einsum("aij,bji->ab", PPhi, PPhi)
        information = (information + information.T) / 2
        unit = 1 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
        w, V = np.linalg.eigh(unit[:, None] * information * unit)
        told = np.abs(w) > SAME * np.abs(w).max()
        self.confounded = [number for number, share in enumerate(np.abs(V[:, ~told]).max(1, initial=0)) if share > 0.1]
        V = unit[:, None] * V[:, told]
        return 2 * (V / w[told]) @ V.T

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
