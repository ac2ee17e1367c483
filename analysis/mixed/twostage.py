"""Two stages: each unit (a model) is summarised by its own regression, and the summaries are tested on units.

The unit of replication of a scaling slope is the model. Stage one regresses the response within each unit on what varies
there; stage two regresses each of those coefficients on what varies between units only, with t on units - columns degrees
of freedom. What no unit-level covariate moves is estimated in common (by least squares with unit intercepts) before the
unit means are taken, so that `gain ~ lp + inter` compares whole models and not their reference levels.
"""

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.crossproducts import Cells
from xlift.analysis.mixed.formulas import Formula
from xlift.analysis.mixed.gathering import Columns, Data, gather
from xlift.registry.findings import UserError


def two_stage(
    formula: str | Formula,
    data: Data,
    unit: str,
    *,
    weights: str | None = None,
    variances: str | None = None,
    missing: str = "raise",
) -> pd.DataFrame:
    """term, estimate, se, df, t, p, low, high of each coefficient; UserError where units are too few or lack a level.

    Random terms of the formula play no part: units are compared whole.
    """
    parsed = formulas.parse(formula) if isinstance(formula, str) else formula
    bare = Formula(parsed.text, parsed.response, parsed.fixed, (formulas.Random("1", (unit,)),))
    gathered = gather(bare, data, Columns(weights, variances), missing=missing)
    design = matrices.build(bare, gathered.frame)
    units, cells = design.terms[0], gathered.cells
    within, between = _split(bare, design, gathered.frame, unit)
    own = [name for name, columns in within.items() if len(columns) > 1 or name == ()]
    summaries = _summaries(design, cells, units.codes, within, own)
    first = pd.Series(range(len(units.codes))).groupby(units.codes).first().to_numpy()
    rows = [
        row
        for name, columns in within.items()
        for row in _second(summaries[name], columns, between, first, len(units.levels), unit)
    ]
    return pd.DataFrame(sorted(rows), columns=["place", "term", "estimate", "se", "df", "t", "p", "low", "high"]).drop(
        columns="place"
    )


def _split(formula: Formula, design, frame: pd.DataFrame, unit: str) -> tuple[dict, dict[int, np.ndarray]]:
    """The columns of X by their part that varies within units, and each column's part (m,) that varies between units only.

    A column of an interaction is the product of the two; the intercept's parts are both 1.
    """
    codes = design.terms[0].codes
    constant = {}
    for name in dict.fromkeys(n for e in formula.expressions for n in formulas.variables(e)):
        constant[name] = not (frame[name].groupby(codes).nunique() > 1).any()
    within: dict[tuple, list[tuple[int, str]]] = {}
    between: dict[int, np.ndarray] = {}
    single = {name: design.X[:, j] for j, name in enumerate(design.names) if len(design.pieces[j]) == 1}
    for j, name in enumerate(design.names):
        fixed = [all(constant[v] for v in formulas.variables(factor)) for factor, _ in design.pieces[j]]
        inner = tuple(part for (_, part), still in zip(design.pieces[j], fixed, strict=True) if not still)
        outer = [part for (_, part), still in zip(design.pieces[j], fixed, strict=True) if still]
        if lacking := [part for part in [*outer, *inner] if part not in single]:
            raise UserError(f"two stages need {', '.join(lacking)} in the formula by itself, beside '{name}'")
        within.setdefault(inner, []).append((j, name))
        between[j] = np.prod([single[part] for part in outer], axis=0) if outer else np.ones(len(codes))
    for inner, columns in within.items():
        if not any(np.ptp(between[j]) == 0 for j, _ in columns):
            raise UserError(f"two stages need {':'.join(inner) or 'an intercept'} in the formula by itself")
    return within, between


def _summaries(design, cells: Cells, codes: np.ndarray, within: dict, own: list) -> dict:
    """(units,) coefficient of each within-unit part, by unit; parts that nothing moves are estimated in common for the others."""
    X, y, root = design.X, cells.mean, np.sqrt(cells.weight)
    units, values = range(codes.max() + 1), {}
    base = {name: _inner(design, name, len(y)) for name in within}
    common = [name for name in within if name not in own]
    names = list(within)
    each = _by_unit(np.stack([base[name] for name in names], 1), y, root, codes, names, design)
    if common:  # subtract the common parts, estimated beside every unit's own
        blocks = [np.where(codes == u, base[name], 0.0) for u in units for name in own]
        joint = np.stack([*blocks, *(base[name] for name in common)], 1)
        coefficients = np.linalg.lstsq(root[:, None] * joint, root * y, rcond=None)[0]
        y = y - joint[:, len(blocks) :] @ coefficients[len(blocks) :]
    whole = _by_unit(np.stack([base[name] for name in own], 1), y, root, codes, own, design)
    for name in names:
        values[name] = whole[:, own.index(name)] if name in own else each[:, names.index(name)]
    assert X.shape[0] == len(y)
    return values


def _by_unit(B: np.ndarray, y: np.ndarray, root: np.ndarray, codes: np.ndarray, names: list, design) -> np.ndarray:
    """(units, len(names)) least squares within each unit."""
    found = []
    for u, level in enumerate(design.terms[0].levels):
        here = codes == u
        half = root[here, None] * B[here]
        if np.linalg.matrix_rank(half) < B.shape[1]:
            raise UserError(
                f"'{level}' lacks some level or value of {', '.join(':'.join(n) for n in names if n)}: "
                "its own regression cannot be computed"
            )
        found.append(np.linalg.lstsq(half, root[here] * y[here], rcond=None)[0])
    return np.array(found)


def _inner(design, name: tuple, m: int) -> np.ndarray:
    parts = [design.X[:, design.names.index(part)] for part in name]
    return np.prod(parts, axis=0) if parts else np.ones(m)


def _second(summary: np.ndarray, columns: list, between: dict, first: np.ndarray, units: int, unit: str) -> list[tuple]:
    """Ordinary least squares of a summary on the unit-level columns."""
    H = np.stack([between[j][first] for j, _ in columns], 1)
    df = units - H.shape[1]
    if df < 1 or np.linalg.matrix_rank(H) < H.shape[1]:
        raise UserError(
            f"{units} levels of '{unit}' cannot carry {', '.join(name for _, name in columns)}; "
            "two stages need more levels than coefficients"
        )
    inverse = np.linalg.inv(H.T @ H)
    b = inverse @ H.T @ summary
    variance = np.sum((summary - H @ b) ** 2) / df
    se = np.sqrt(variance * np.diag(inverse))
    half = stats.t.ppf((1 + LEVEL) / 2, df) * se
    return [
        (
            j,
            name,
            b[i],
            se[i],
            float(df),
            b[i] / se[i] if se[i] else np.nan,
            2 * stats.t.sf(abs(b[i]) / se[i], df) if se[i] else np.nan,
            b[i] - half[i],
            b[i] + half[i],
        )
        for i, (j, name) in enumerate(columns)
    ]
