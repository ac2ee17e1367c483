"""Cross-products: all that a likelihood needs of the data, whatever their number.

Cells are the distinct rows of [Z X]. A cell carries its summed weight, its mean response and the squares within it;
rows are cells of one. The pass that makes cells may be DuckDB's GROUP BY (`gather`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.matrices import Term
from xlift.registry.findings import UserError

NO_RANK = 1e-10  # of the largest eigenvalue: what counts as zero
MAX_SIDE = 10_000  # of a dense matrix, some of which stand in memory at once


@dataclass(frozen=True, slots=True)
class Cells:
    """Responses by cell. Weighted: `weight` is the sum of w, `mean` the weighted mean, `within` sum of w (y - mean)^2."""

    weight: np.ndarray  # (m,)
    mean: np.ndarray  # (m,)
    within: np.ndarray  # (m,)
    count: np.ndarray  # (m,) rows in the cell
    log_weight: float  # sum of log w over all rows
    stratum: np.ndarray  # (m,) number of the residual variance that the cell's rows have
    strata: tuple[str, ...]  # its names; ("",) where there is one residual variance

    @classmethod
    def of_rows(
        cls, y: np.ndarray, weight: np.ndarray | None = None, stratum: np.ndarray | None = None, strata: tuple[str, ...] = ("",)
    ) -> "Cells":
        m = len(y)
        weight = np.ones(m) if weight is None else weight
        stratum = np.zeros(m, int) if stratum is None else stratum
        return cls(weight, y, np.zeros(m), np.ones(m), float(np.log(weight).sum()), stratum, strata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cross(ABC):
    """Cross-products of [Z Q r], with X = QR orthonormal in W and r = y - X ols.

    Working with Q and r instead of X and y costs nothing and keeps digits where a covariate is a year, or a mean large.
    """

    terms: tuple[Term, ...]
    slices: tuple[slice, ...]  # columns of Z of each term; the k columns of a level are neighbours
    counts: np.ndarray  # (G,) rows
    log_weight: float
    R: np.ndarray  # (p, p) upper triangular, X = QR
    ols: np.ndarray  # (p,)
    strata: tuple[str, ...]
    names: tuple[str, ...]  # of X's columns
    squares: np.ndarray  # (q,) diagonal of Z'WZ
    ZQ: np.ndarray  # (q, p) Z'WQ

    @property
    @abstractmethod
    def total(self) -> float:
        """r'Wr, with what is within the cells."""

    @abstractmethod
    def regressed(self, M: np.ndarray, **names: Any) -> Self:
        """The same with [Q r] M (p' + 1 columns) in the place of [Q r]; `names` replace fields that speak of Q."""

    @abstractmethod
    def simulator(self) -> "Simulator":
        """What draws the cross-products of new responses with given means."""

    @abstractmethod
    def as_dense(self) -> "Dense":
        """The same in one matrix."""

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def q(self) -> int:
        return self.slices[-1].stop if self.slices else 0

    @property
    def p(self) -> int:
        return len(self.ols)

    def coefficients(self, gamma: np.ndarray) -> np.ndarray:
        """beta (p,) of X from the coefficients of Q in a regression of r."""
        return self.ols + linalg.solve_triangular(self.R, gamma)

    def covariance(self, C: np.ndarray) -> np.ndarray:
        """Cov(beta) (p, p) from Cov(gamma)."""
        half = linalg.solve_triangular(self.R, np.eye(self.p))
        return half @ C @ half.T

    def contrast(self, L: np.ndarray) -> np.ndarray:
        """L (r, p) on beta as a contrast on gamma."""
        return linalg.solve_triangular(self.R, np.atleast_2d(L).T, trans="T").T


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Cross):
    """N_g = [Z Q r]'W[Z Q r] of each residual group g."""

    N: np.ndarray  # (G, q + p + 1, q + p + 1)

    @property
    def total(self) -> float:
        return float(self.N[:, -1, -1].sum())

    def regressed(self, M: np.ndarray, **names: Any) -> "Dense":
        keep = linalg.block_diag(np.eye(self.q), M)
        return replace(self, N=keep.T @ self.N @ keep, ZQ=self.ZQ @ M[:-1, :-1], **names)

    def as_dense(self) -> "Dense":
        return self

    def simulator(self) -> "Simulator":
        s = self.q + self.p
        roots = []
        for N in self.N:
            w, vectors = np.linalg.eigh(N[:s, :s])
            keep = w > NO_RANK * w.max()
            roots.append(vectors[:, keep] * np.sqrt(w[keep]))  # (s, rank): root root' = [Z Q]'W[Z Q]

        def draw(effect: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> Dense:
            made = self.N.copy()
            for g, root in enumerate(roots):
                rank = root.shape[1]
                along = root.T @ effect + sigma[g] * rng.normal(size=rank)  # the part of y that [Z Q] sees, in its own basis
                made[g, :s, -1] = made[g, -1, :s] = root @ along
                made[g, -1, -1] = along @ along + unseen(self.counts[g] - rank, sigma[g], rng)
            return replace(self, N=made)

        return draw


Simulator = Callable[[np.ndarray, np.ndarray, np.random.Generator], Cross]  # effects of [Z Q], sigma of each residual group


def unseen(df: float, sigma: float, rng: np.random.Generator) -> float:
    """The squares of the part of e that [Z Q] does not see: sigma^2 chi-square."""
    return float(sigma**2 * rng.chisquare(max(df, 1e-300)))


def not_too_large(side: int, terms: Sequence[Term]) -> None:
    """UserError where a dense matrix of this side would be needed."""
    if side > MAX_SIDE:
        sizes = ", ".join(f"{term.size:,} of {term.name}" for term in terms)
        raise UserError(
            f"the random effects ({sizes}) leave {side:,} that hang together, more than the {MAX_SIDE:,} that can be fitted here"
        )


def products(
    terms: Sequence[Term], slices: Sequence[slice], right: np.ndarray, cells: Cells, here: np.ndarray | None = None
) -> np.ndarray:
    """[Z right]'W[Z right] (d, d) over some cells, the last column of `right` being the response's; with what is within them."""
    here = np.ones(len(right), bool) if here is None else here
    q, w, right = slices[-1].stop if slices else 0, cells.weight[here], right[here]
    N = np.zeros((q + right.shape[1],) * 2)
    N[q:, q:] = right.T @ (w[:, None] * right)
    N[-1, -1] += cells.within[here].sum()
    codes, columns = [term.codes[here] for term in terms], [term.columns[here] for term in terms]
    for s, (term, rows) in enumerate(zip(terms, slices, strict=True)):
        for a in range(term.k):
            weighted = w * columns[s][:, a]
            N[rows, q:][a :: term.k] = np.stack(
                [np.bincount(codes[s], weighted * column, len(term.levels)) for column in right.T], 1
            )
            for t in range(s + 1):
                for b in range(terms[t].k):
                    block = _tabulated(codes[s], codes[t], weighted * columns[t][:, b], len(term.levels), len(terms[t].levels))
                    N[rows, slices[t]][a :: term.k, b :: terms[t].k] = block
    upper = np.triu_indices(q, 1)
    N[:q, :q][upper] = N[:q, :q].T[upper]
    N[q:, :q] = N[:q, q:].T
    return N


def _tabulated(row: np.ndarray, column: np.ndarray, values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.bincount(row * columns + column, values, rows * columns).reshape(rows, columns)
