"""-2 log (restricted) likelihood of a linear mixed model from cross-products, with exact derivatives.

    y = X beta + Z u + e,    u ~ N(0, s2 L L'),    e ~ N(0, s2 D),    V = s2 H,    H = D + Z L L' Z'

L(theta) is block diagonal with one lower triangular T_t (k, k) for every level of term t (Bates et al. 2015, sec. 2.2);
D is delta_g / w_i for a row with weight w_i in residual group g, delta of the first group being 1. A point is
(theta, log delta_2, …). s2 = sigma^2 is profiled out, or 1 where the sampling variances 1 / w_i are known.
"""

import numpy as np

from xlift.analysis.mixed.blocks import Blocked
from xlift.analysis.mixed.blockstate import BlockState
from xlift.analysis.mixed.dense import DenseState
from xlift.analysis.mixed.state import Points, State


class Likelihood(Points):
    """The criterion as a function of a point; holds no state but the cross-products."""

    def at(self, point: np.ndarray, T: list[np.ndarray] | None = None) -> State:
        kind = BlockState if isinstance(self.cross, Blocked) else DenseState
        return kind(self, np.asarray(point, float), T)

    def criterion(self, point: np.ndarray) -> float:
        return self.at(point).criterion

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        state = self.at(point)
        return state.criterion, state.gradient
