"""-2 log (restricted) likelihood of a linear mixed model from cross-products, with exact derivatives.

    y = X beta + Z u + e,    u ~ N(0, s2 L L'),    e ~ N(0, s2 D),    V = s2 H,    H = D + Z L L' Z'

L(theta) is block diagonal with one lower triangular T_t (k, k) for every level of term t (Bates et al. 2015, sec. 2.2);
D is delta_g / w_i for a row with weight w_i in residual group g, delta of the first group being 1. A point is
(theta, log delta_2, …). s2 = sigma^2 is profiled out, or 1 where the sampling variances 1 / w_i are known.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.crossproducts import Cross
from xlift.registry.findings import UserError

LOG_2PI = float(np.log(2 * np.pi))
EXACT = 1e-13  # of the residual sum of squares of least squares: below this the model fits without error


@dataclass(frozen=True, slots=True)
class Direction:
    """How H moves with one parameter: Z (I x D) Z' in a term's columns of Z, or W^-1 in a residual group."""

    term: int | None = None
    D: np.ndarray | None = None
    stratum: int | None = None


class Likelihood:
    """The criterion as a function of a point; holds no state but the cross-products."""

    def __init__(self, cross: Cross, *, reml: bool = True, known: bool = False) -> None:
        self.cross, self.reml, self.known = cross, reml, known
        self.terms, self.slices, self.q, self.p = cross.terms, cross.slices, cross.q, cross.p
        self.entries = [(t, i, j) for t, term in enumerate(self.terms) for j in range(term.k) for i in range(j, term.k)]
        self.diagonal = np.array([i == j for _, i, j in self.entries], bool)  # these are >= 0
        self.r, self.G = len(self.entries), len(cross.strata)
        self.nu = cross.n - self.p if reml else cross.n
        if not known and cross.n <= self.p:
            raise UserError(f"{cross.n} rows cannot give {self.p} coefficients and a residual variance")

    def factors(self, point: np.ndarray) -> list[np.ndarray]:
        """T_t (k, k) of each term."""
        T = [np.zeros((term.k, term.k)) for term in self.terms]
        for value, (t, i, j) in zip(point, self.entries, strict=False):
            T[t][i, j] = value
        return T

    def point(self, T: list[np.ndarray], delta: np.ndarray) -> np.ndarray:
        return np.array([*(T[t][i, j] for t, i, j in self.entries), *np.log(delta[1:])])

    def delta(self, point: np.ndarray) -> np.ndarray:
        """(G,) residual variances, relative to the first."""
        return np.exp(np.concatenate([[0.0], point[self.r :]]))

    def at(self, point: np.ndarray) -> "State":
        return State(self, np.asarray(point, float))

    def criterion(self, point: np.ndarray) -> float:
        return self.at(point).criterion

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        state = self.at(point)
        return state.criterion, state.gradient


class State:
    """Everything at one point, each piece computed once and when asked for. Units of sigma = 1, columns of [Z Q r]."""

    def __init__(self, model: Likelihood, point: np.ndarray, T: list[np.ndarray] | None = None) -> None:
        """`T` stands for the point's factors where they are not lower triangular: only L L' counts."""
        self.model, self.point = model, point
        self.T, self.delta = model.factors(point) if T is None else T, model.delta(point)
        self.N = np.tensordot(1 / self.delta, model.cross.N, 1) if model.G > 1 else model.cross.N[0]
        q, s = model.q, model.q + model.p
        M = self.times_factor(np.ascontiguousarray(self.times_factor(self.N).T))
        M[np.arange(q), np.arange(q)] += 1.0
        self.L = linalg.cholesky(M[:s, :s], lower=True, check_finite=False)  # of [L'Z'D^-1ZL + I, …; …, Q'D^-1Q]
        self.c = linalg.solve_triangular(self.L, M[:s, -1], lower=True, check_finite=False)
        self.rss = float(self.N[-1, -1] - self.c @ self.c)  # r'P r
        if not model.known and self.rss <= EXACT * self.N[-1, -1]:
            raise UserError("the model fits the response without error: no residual variance can be estimated")

    def times_factor(self, M: np.ndarray) -> np.ndarray:
        """blockdiag(L', I) M: rows of Z's columns times the factors, the others as they are."""
        out = M.copy()
        for term, rows, T in zip(self.model.terms, self.model.slices, self.T, strict=True):
            blocks = M[rows].reshape(len(term.levels), term.k, -1)
            out[rows] = (T[0, 0] * blocks if term.k == 1 else np.matmul(T.T, blocks)).reshape(M[rows].shape)
        return out

    @cached_property
    def sigma2(self) -> float:
        return 1.0 if self.model.known else self.rss / self.model.nu

    @cached_property
    def criterion(self) -> float:
        """-2 log likelihood, restricted for REML, in lme4's convention (no log|X'X|)."""
        model, diagonal = self.model, np.log(np.diag(self.L))
        logs = 2 * diagonal[: model.q].sum() - model.cross.log_weight + model.cross.counts @ np.log(self.delta)
        if model.reml:
            logs += 2 * diagonal[model.q :].sum() + 2 * np.log(np.abs(np.diag(model.cross.R))).sum()
        return float(logs + model.nu * (LOG_2PI + np.log(self.sigma2)) + self.rss / self.sigma2)

    @cached_property
    def J(self) -> np.ndarray:
        """(s, s) L^-1 blockdiag(L', I): J'J is Henderson's inverse, the basis of every projection."""
        return linalg.solve_triangular(self.L, self.times_factor(np.eye(len(self.L))), lower=True, check_finite=False)

    @cached_property
    def B(self) -> np.ndarray:
        """(s, s) J [Z Q]'D^-1[Z Q]; its last p rows carry what estimating beta takes away."""
        s = len(self.L)
        return linalg.solve_triangular(self.L, self.times_factor(self.N[:s, :s]), lower=True, check_finite=False)

    @cached_property
    def C(self) -> np.ndarray:
        """(p, p) (Q'H^-1Q)^-1, the covariance of gamma over sigma^2."""
        half = linalg.solve_triangular(self.L[self.model.q :, self.model.q :], np.eye(self.model.p), lower=True)
        return half.T @ half

    @cached_property
    def gamma(self) -> np.ndarray:
        """(p,) coefficients of Q."""
        q = self.model.q
        return linalg.solve_triangular(self.L[q:, q:], self.c[q:], lower=True, trans="T")

    @cached_property
    def ZHQ(self) -> np.ndarray:
        """(q, p) Z'H^-1Q."""
        q = self.model.q
        return self.N[:q, q:-1] - self.B[:q, :q].T @ self.B[:q, q:]

    @cached_property
    def ZHZ(self) -> np.ndarray:
        """(q, q) Z'H^-1Z."""
        q = self.model.q
        return self.N[:q, :q] - self.B[:q, :q].T @ self.B[:q, :q]

    @cached_property
    def ZPZ(self) -> np.ndarray:
        """(q, q) Z'PZ, P = H^-1 - H^-1 X (X'H^-1X)^-1 X'H^-1."""
        q = self.model.q
        return self.N[:q, :q] - self.B[:, :q].T @ self.B[:, :q]

    @cached_property
    def ZPy(self) -> np.ndarray:
        """(q,) Z'Py."""
        q = self.model.q
        return self.N[:q, -1] - self.B[:, :q].T @ self.c

    @cached_property
    def rho(self) -> np.ndarray:
        """(d,) Py = D^-1 [Z Q r] rho: the conditional residual's coefficients."""
        return np.append(-self.J.T @ self.c, 1.0)

    def by_level(self, t: int, M: np.ndarray) -> np.ndarray:
        """Rows of term t of M (q, …), as (levels, k, …)."""
        term = self.model.terms[t]
        return M[self.model.slices[t]].reshape(len(term.levels), term.k, *M.shape[1:])

    def level_sum(self, t: int, M: np.ndarray) -> np.ndarray:
        """(k, k) sum over the levels of term t of the diagonal blocks of M (q, q)."""
        term, rows = self.model.terms[t], self.model.slices[t]
        return np.einsum("iaib->ab", M[rows, rows].reshape(len(term.levels), term.k, len(term.levels), term.k))

    @cached_property
    def cone(self) -> list[np.ndarray]:
        """Derivative (k, k) of the criterion in T_t T_t'. At a minimum each is positive semidefinite."""
        S = self.ZPZ if self.model.reml else self.ZHZ
        v = [self.by_level(t, self.ZPy) for t in range(len(self.T))]
        return [self.level_sum(t, S) - v[t].T @ v[t] / self.sigma2 for t in range(len(self.T))]

    @cached_property
    def directions(self) -> list[Direction]:
        """dH / d parameter for each of theta, then W^-1 for the residual groups from the second on."""
        found = []
        for t, i, j in self.model.entries:
            E = np.zeros_like(self.T[t])
            E[i, j] = 1.0
            found.append(Direction(t, E @ self.T[t].T + self.T[t] @ E.T))
        return found + [Direction(stratum=g) for g in range(1, self.model.G)]

    @cached_property
    def gradient(self) -> np.ndarray:
        """Of the profiled criterion, at (theta, log delta)."""
        theta = [np.sum(self.cone[d.term] * d.D) for d in self.directions[: self.model.r]]
        return np.array([*theta, *(self.delta[g] * self._residual_slope(g) for g in range(1, self.model.G))])

    def _residual_slope(self, g: int) -> float:
        """d criterion / d delta_g."""
        N, J = self.model.cross.N[g], self.J if self.model.reml else self.J[: self.model.q]
        s = len(self.L)
        trace = self.model.cross.counts[g] / self.delta[g] - np.sum(J @ N[:s, :s] * J) / self.delta[g] ** 2
        return float(trace - self.rho @ N @ self.rho / self.delta[g] ** 2 / self.sigma2)
