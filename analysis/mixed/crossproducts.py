"""Cross-products: all that a likelihood needs of the data, whatever their number.

Cells are the distinct rows of [Z X]. A cell carries its summed weight, its mean response and the squares within it;
rows are cells of one. The pass that makes cells may be DuckDB's GROUP BY (`gather`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.formula import Design, Term
from xlift.registry.findings import UserError

EXACT = 1e-24  # of the response's squares: what rounding leaves where the fixed effects give the response
DEPENDENT = 1e-9  # of a column's length: what the columns before it leave of a dependent one


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


@dataclass(frozen=True, slots=True)
class Cross:
    """N_g = [Z Q r]'W[Z Q r] of each residual group g, with X = QR orthonormal in W and r = y - X ols.

    Working with Q and r instead of X and y costs nothing and keeps digits where a covariate is a year, or a mean large.
    """

    terms: tuple[Term, ...]
    slices: tuple[slice, ...]  # columns of Z of each term; the k columns of a level are neighbours
    N: np.ndarray  # (G, q + p + 1, q + p + 1)
    counts: np.ndarray  # (G,) rows
    log_weight: float
    R: np.ndarray  # (p, p) upper triangular, X = QR
    ols: np.ndarray  # (p,)
    strata: tuple[str, ...]
    names: tuple[str, ...]  # of X's columns

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


def cross_products(design: Design, cells: Cells) -> Cross:
    """One pass over the cells; UserError for designs without full rank and for constant responses."""
    root = np.sqrt(cells.weight)
    R, ols, Q, residual = _least_squares(design, cells, root)
    spread = np.sum(cells.weight * (cells.mean - np.average(cells.mean, weights=cells.weight)) ** 2) + cells.within.sum()
    if np.sum(cells.weight * residual**2) + cells.within.sum() <= EXACT * spread:
        raise UserError("the fixed effects give the response without error: there is nothing left to tell their uncertainty by")
    slices, stop = [], 0
    for term in design.terms:
        slices.append(slice(stop, stop + term.size))
        stop += term.size
    groups = range(len(cells.strata))
    N = np.stack([_products(design, slices, stop, Q, residual, cells, cells.stratum == g) for g in groups])
    counts = np.array([cells.count[cells.stratum == g].sum() for g in groups])
    bare = tuple(Term(t.name, t.group, t.names, t.levels, np.empty(0, int), np.empty((0, t.k)), t.coding) for t in design.terms)
    return Cross(bare, tuple(slices), N, counts, cells.log_weight, R, ols, cells.strata, design.names)


def _least_squares(design: Design, cells: Cells, root: np.ndarray) -> tuple[np.ndarray, ...]:
    """R, the weighted least-squares coefficients, Q = X R^-1 (m, p) and the residuals (m,) of the cells' means."""
    X, p = design.X, design.X.shape[1]
    scale = np.sqrt(np.einsum("m,mp,mp->p", cells.weight, X, X))
    scale[scale == 0] = 1.0
    half, R = np.linalg.qr(root[:, None] * (X / scale))
    if len(X) < p:
        raise UserError(f"{len(X)} different rows cannot tell {p} coefficients apart: {', '.join(design.names)}")
    if (left := np.abs(np.diag(R)) < DEPENDENT).any():
        raise UserError(_dependence(design.names, R, left))
    ols = linalg.solve_triangular(R, half.T @ (root * cells.mean))
    Q, residual = half / root[:, None], cells.mean - X @ (ols / scale)
    return R * scale, ols / scale, Q, residual - Q @ (Q.T @ (cells.weight * residual))


def _dependence(names: tuple[str, ...], R: np.ndarray, left: np.ndarray) -> str:
    """Which columns are combinations of columns before them, and of which."""
    free, said = ~left, []
    for j in np.flatnonzero(left):
        before = [i for i in range(j) if free[i]]
        share = np.linalg.lstsq(R[:, before], R[:, j], rcond=None)[0] if before else np.zeros(0)
        of = [names[i] for i, s in zip(before, share, strict=True) if abs(s) > 1e-6]
        said.append(f"{names[j]} is a combination of {', '.join(of)}" if of else f"{names[j]} is zero in every row")
    return f"the fixed effects cannot be told apart: {'; '.join(said)}; drop {', '.join(np.array(names)[left])} from the formula"


def _products(
    design: Design, slices: list[slice], q: int, Q: np.ndarray, residual: np.ndarray, cells: Cells, here: np.ndarray
) -> np.ndarray:
    """[Z Q r]'W[Z Q r] (d, d) over the cells of one residual group."""
    terms, w = design.terms, cells.weight[here]
    right = np.column_stack([Q, residual])[here]
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
