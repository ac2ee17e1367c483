"""A mixed model at one point: the criterion, its derivatives, and what inference needs, each piece computed when asked for.

    V = s2 H,    H = D + Z L L' Z',    P = H^-1 - H^-1 X (X'H^-1X)^-1 X'H^-1

Units of sigma = 1 and columns Q instead of X throughout. How H^-1 is had is a subclass's matter: `dense` factors one matrix of
all random effects, `blocks` eliminates local ones component by component. Both give the same numbers.
"""

from abc import ABC, abstractmethod
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


class Points(ABC):
    """What a point stands for in a model: theta, which is the entries of each T_t, and log delta of groups but the first."""

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

    @abstractmethod
    def at(self, point: np.ndarray, T: list[np.ndarray] | None = None) -> "State":
        """The model at a point; `T` stands for its factors where they are not lower triangular."""


class State(ABC):
    """Everything at one point. A subclass sets the four attributes below in `_factor`."""

    logdet: float  # log|L'Z'D^-1ZL + I|
    rss: float  # r'P r
    R: np.ndarray  # (p, p) lower Cholesky factor of Q'H^-1Q
    c: np.ndarray  # (p,) R^-1 Q'H^-1r

    def __init__(self, model: Points, point: np.ndarray, T: list[np.ndarray] | None = None) -> None:
        """`T` stands for the point's factors where they are not lower triangular: only L L' counts."""
        self.model, self.point = model, point
        self.T, self.delta = model.factors(point) if T is None else T, model.delta(point)
        self._factor()
        if not model.known and self.rss <= EXACT * model.cross.total / self.delta[0]:
            raise UserError("the model fits the response without error: no residual variance can be estimated")

    @abstractmethod
    def _factor(self) -> None: ...

    @property
    @abstractmethod
    def ZPy(self) -> np.ndarray:
        """(q,) Z'Py."""

    @property
    @abstractmethod
    def ZHQ(self) -> np.ndarray:
        """(q, p) Z'H^-1Q."""

    @abstractmethod
    def level_sums(self, *, projected: bool) -> list[np.ndarray]:
        """(k, k) sum over each term's levels of the diagonal blocks of Z'PZ, or of Z'H^-1Z."""

    @abstractmethod
    def traces(self, directions: list[Direction], *, projected: bool) -> np.ndarray:
        """(m, m) tr(O H_a O H_b), O = P or H^-1."""

    @abstractmethod
    def forms(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        """Q'H^-1 H_a H^-1 Q (m, p, p) and Q'H^-1 H_a H^-1 H_b H^-1 Q (m, m, p, p)."""

    @abstractmethod
    def quadratics(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        """y'P H_a P y (m,) and y'P H_a P H_b P y (m, m)."""

    @abstractmethod
    def spread(self, A: np.ndarray) -> np.ndarray:
        """(n,) a'E a for each column of A (q + p, n) on [u, gamma], E the inverse of Henderson's matrix: errors over sigma^2."""

    @abstractmethod
    def mode_variances(self) -> np.ndarray:
        """(q,) diagonal of the inverse of [L'Z'D^-1ZL + I] between the factors: given beta, over sigma^2."""

    def first_form(self, a: Direction) -> np.ndarray:
        """(p, p) Q'H^-1 H_a H^-1 Q."""
        return self.forms([a])[0][0]

    @cached_property
    def sigma2(self) -> float:
        return 1.0 if self.model.known else self.rss / self.model.nu

    @cached_property
    def criterion(self) -> float:
        """-2 log likelihood, restricted for REML, in lme4's convention (no log|X'X|)."""
        model = self.model
        logs = self.logdet - model.cross.log_weight + model.cross.counts @ np.log(self.delta)
        if model.reml:
            logs += 2 * np.log(np.diag(self.R)).sum() + 2 * np.log(np.abs(np.diag(model.cross.R))).sum()
        return float(logs + model.nu * (LOG_2PI + np.log(self.sigma2)) + self.rss / self.sigma2)

    @cached_property
    def C(self) -> np.ndarray:
        """(p, p) (Q'H^-1Q)^-1, the covariance of gamma over sigma^2."""
        half = linalg.solve_triangular(self.R, np.eye(self.model.p), lower=True)
        return half.T @ half

    @cached_property
    def gamma(self) -> np.ndarray:
        """(p,) coefficients of Q."""
        return linalg.solve_triangular(self.R, self.c, lower=True, trans="T")

    @cached_property
    def cone(self) -> list[np.ndarray]:
        """Derivative (k, k) of the criterion in T_t T_t'. At a minimum each is positive semidefinite."""
        sums = self.level_sums(projected=self.model.reml)
        v = [self.by_level(t, self.ZPy) for t in range(len(self.T))]
        return [S - v[t].T @ v[t] / self.sigma2 for t, S in enumerate(sums)]

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
    def components(self) -> list[Direction]:
        """One 0/1 pattern for each entry of the terms' covariance matrices, then the residual variances; V is linear in these."""
        found = []
        for t, i, j in self.model.entries:
            E = np.zeros_like(self.T[t])
            E[i, j] = E[j, i] = 1.0
            found.append(Direction(t, E))
        return found if self.model.known else found + [Direction(stratum=g) for g in range(self.model.G)]

    @cached_property
    def amounts(self) -> np.ndarray:
        """(r,) how much of each random component is in H."""
        return np.array([(self.T[t] @ self.T[t].T)[i, j] for t, i, j in self.model.entries])

    @cached_property
    def gradient(self) -> np.ndarray:
        """Of the profiled criterion, at (theta, log delta)."""
        theta = [np.sum(self.cone[d.term] * d.D) for d in self.directions[: self.model.r]]
        return np.array([*theta, *(self.delta[g] * self._residual_slope(g) for g in range(1, self.model.G))])

    def _residual_slope(self, g: int) -> float:
        """d criterion / d delta_g."""
        raise NotImplementedError("one residual variance")

    def by_level(self, t: int, M: np.ndarray) -> np.ndarray:
        """Rows of term t of M (q, …), as (levels, k, …)."""
        term = self.model.terms[t]
        return M[self.model.slices[t]].reshape(len(term.levels), term.k, *M.shape[1:])

    def modes(self, t: int) -> np.ndarray:
        """(levels, k) conditional modes of term t, D Z'Py."""
        return self.by_level(t, self.ZPy) @ (self.T[t] @ self.T[t].T)

    def times(self, a: Direction, M: np.ndarray) -> np.ndarray:
        """Rows of a's term of (I x D) M, M (q, c) -> (levels * k, c)."""
        return np.matmul(a.D, self.by_level(a.term, M)).reshape(-1, M.shape[1])

    @cached_property
    def hessian(self) -> np.ndarray:
        """Exact Hessian (r + G, r + G) of the unprofiled criterion at (theta, log delta, sigma); sigma's row is last.

        f_ab = tr(O H_ab) - tr(O H_a O H_b) - y'P H_ab P y / s2 + 2 y'P H_a P H_b P y / s2, O = P for REML and H^-1 for ML.
        """
        model, sigma, a = self.model, np.sqrt(self.sigma2), self.directions
        first, second = self.quadratics(a)
        m = len(a)
        H = np.zeros((m + 1, m + 1))
        H[:m, :m] = 2 * second / self.sigma2 - self.traces(a, projected=model.reml)
        for i, (t, r, c) in enumerate(model.entries):
            for j, (u, s, d) in enumerate(model.entries):
                if t == u and c == d:  # d2 TT' / dT_rc dT_sd = E_rs + E_sr
                    H[i, j] += 2 * self.cone[t][r, s]
        H[:m, m] = H[m, :m] = 2 * first / sigma**3
        H[m, m] = -2 * model.nu / self.sigma2 + 6 * self.rss / self.sigma2**2
        chain = np.ones(m + 1)
        chain[model.r : m] = self.delta[1:]
        H = chain[:, None] * H * chain
        H[range(model.r, m), range(model.r, m)] += self.gradient[model.r :]
        return H


def profiled_hessian(state: State) -> np.ndarray:
    """(r + G - 1,) squared: of the criterion with sigma profiled out; all of it where sigma is known."""
    H = state.hessian
    return H[:-1, :-1] if state.model.known else H[:-1, :-1] - np.outer(H[:-1, -1], H[-1, :-1]) / H[-1, -1]
