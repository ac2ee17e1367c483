"""From a design and its cells to cross-products: local effects in blocks where that is cheaper, or one matrix of all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.blocks import blocked
from xlift.analysis.mixed.crossproducts import Cells, Cross, Dense, not_too_large, products
from xlift.analysis.mixed.matrices import DEPENDENT, Design, Term
from xlift.registry.findings import UserError

EXACT = 1e-24  # of the response's squares: what rounding leaves where the fixed effects give the response


def cross_products(design: Design, cells: Cells, *, dense: bool = False, known: bool = False) -> Cross:
    """One pass over the cells; UserError for designs without full rank and, but with `known` variances, for constant responses.

    Local effects are kept in blocks where that is cheaper (`blocks`), unless `dense`.
    """
    root = np.sqrt(cells.weight)
    R, ols, Q, residual = _least_squares(design, cells, root)
    spread = np.sum(cells.weight * (cells.mean - np.average(cells.mean, weights=cells.weight)) ** 2) + cells.within.sum()
    if not known and np.sum(cells.weight * residual**2) + cells.within.sum() <= EXACT * spread:
        raise UserError("the fixed effects give the response without error: there is nothing left to tell their uncertainty by")
    slices, stop = [], 0
    for term in design.terms:
        slices.append(slice(stop, stop + term.size))
        stop += term.size
    groups, w = range(len(cells.strata)), cells.weight[:, None]
    bare = tuple(Term(t.name, t.group, t.names, t.levels, np.empty(0, int), np.empty((0, t.k)), t.coding) for t in design.terms)
    common: dict[str, Any] = {
        "terms": bare,
        "slices": tuple(slices),
        "counts": np.array([cells.count[cells.stratum == g].sum() for g in groups]),
        "log_weight": cells.log_weight,
        "R": R,
        "ols": ols,
        "strata": cells.strata,
        "names": design.names,
        "squares": _onto_levels(design.terms, [w * term.columns**2 for term in design.terms]),
        "ZQ": np.column_stack(
            [_onto_levels(design.terms, [w * column[:, None] * term.columns for term in design.terms]) for column in Q.T]
        ),
    }
    right = np.column_stack([Q, residual])
    if len(groups) == 1 and not dense and (found := blocked(design.terms, right, cells, common)):
        return found
    not_too_large(stop, design.terms)
    N = [products(design.terms, slices, right, cells, cells.stratum == g) for g in groups]
    return Dense(N=np.stack(N), **common)


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
    return (
        f"the fixed effects cannot be told apart: {'; '.join(said)}; "
        f"drop {', '.join(np.array(names)[left])} from the formula, or leave them out for what does not depend on them "
        "(--aliased drop)"
    )


def _onto_levels(terms: Sequence[Term], values: Sequence[np.ndarray]) -> np.ndarray:
    """(q,) sums over the rows of each level of each term, of values (rows, k)."""
    sums = [
        np.stack([np.bincount(term.codes, column, len(term.levels)) for column in own.T], 1).ravel()
        for term, own in zip(terms, values, strict=True)
    ]
    return np.concatenate([*sums, np.zeros(0)])
