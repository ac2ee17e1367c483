"""-2 log (restricted) likelihood of a linear mixed model from cross-products, with exact derivatives.

    y = X beta + Z u + e,    u ~ N(0, s2 L L'),    e ~ N(0, s2 D),    V = s2 H,    H = D + Z L L' Z'

L(theta) is block diagonal with one lower triangular T_t (k, k) for every level of term t (Bates et al. 2015, sec. 2.2);
D is delta_g / w_i for a row with weight w_i in residual group g, delta of the first group being 1. A point is
(theta, log delta_2, …). s2 = sigma^2 is profiled out, or 1 where the sampling variances 1 / w_i are known.
"""

import numpy as np

from xlift.analysis.mixed.blocks import Blocked
from xlift.analysis.mixed.blockstate import BlockState
from xlift.analysis.mixed.crossproducts import Cross
from xlift.analysis.mixed.dense import DenseState
from xlift.analysis.mixed.state import State
from xlift.registry.findings import UserError


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

    def at(self, point: np.ndarray, T: list[np.ndarray] | None = None) -> State:
        kind = BlockState if isinstance(self.cross, Blocked) else DenseState
        return kind(self, np.asarray(point, float), T)

    def criterion(self, point: np.ndarray) -> float:
        return self.at(point).criterion

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        state = self.at(point)
        return state.criterion, state.gradient
