"""The matrices that a formula stands for, on the rows of a frame: fixed effects X, and Z as a term each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import formulaic
import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError

from xlift.analysis.mixed import expressions
from xlift.analysis.mixed.expressions import BASES, read, words
from xlift.analysis.mixed.formulas import Formula, Piece, Random, factors_of, known, pieces_of, terms_of, variables
from xlift.registry.findings import UserError

MAX_ENTRIES = 200_000_000  # of a matrix of fixed effects: 1.6 GB
DEPENDENT = 1e-9  # of a column's length: what the columns before it leave of a dependent one
UNSEEN = 1e-8  # of a contrast's length: what the rows of a design do not see of one that they tell


@dataclass(frozen=True, slots=True)
class Term:
    """A random term on m rows: row i belongs to level `codes[i]` and has `columns[i]` there."""

    name: str
    group: tuple[str, ...]
    names: tuple[str, ...]  # k labels of the columns
    levels: tuple[str, ...]
    codes: np.ndarray  # (m,)
    columns: np.ndarray  # (m, k)
    coding: "Coding"  # of its columns, for new rows

    @property
    def k(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int:
        """Columns of Z that the term takes."""
        return len(self.levels) * self.k


@dataclass(frozen=True, slots=True)
class Design:
    """The matrices of a formula on m rows: X (m, p), and Z as one `Term` for each random term.

    Columns of the fixed part that depend on those before them may have been left out of X (`independent`). That chooses a
    basis and loses nothing: contrasts are rows over all columns of the coding, and `told` are those that no choice moves.
    """

    formula: Formula
    X: np.ndarray
    names: tuple[str, ...]
    terms: tuple[Term, ...]
    coding: "Coding"

    @property
    def pieces(self) -> tuple[tuple[Piece, ...], ...]:
        """What each column of X is the product of; empty for the intercept."""
        return tuple(self.coding.pieces[j] for j in self.coding.kept)

    @property
    def aliased(self) -> tuple[str, ...]:
        """The columns that were left out."""
        return tuple(name for name in self.coding.names if name not in self.names)

    def rows(self, frame: pd.DataFrame) -> np.ndarray:
        """(rows, columns) of other rows, coded as these, whole; UserError for a level that the data did not have."""
        return self.coding.matrix(frame)

    def told(self, L: np.ndarray) -> np.ndarray:
        """(r,) whether these data tell L beta (r, columns): L lies in the row space of all columns (Searle 1971, section 5.4)."""
        scaled = L / self.coding.lengths
        unseen = np.linalg.norm(scaled @ self.coding.null, axis=1)
        return unseen <= UNSEEN * np.linalg.norm(scaled, axis=1)

    def reduced(self, L: np.ndarray) -> np.ndarray:
        """(r, p) the same contrasts on the columns of X; the same value where they are told."""
        return L[:, self.coding.kept]

    def independent(self) -> "Design":
        """The same without columns that depend on those before them."""
        self.coding.reduce()
        kept = self.coding.kept
        return replace(self, X=self.X[:, kept], names=tuple(self.coding.names[j] for j in kept))


class Coding:
    """How the columns of a part, such as "lp * inter", are made of rows: learned from some, then the same for others."""

    def __init__(self, part: str, frame: pd.DataFrame) -> None:
        self.part = part
        self._state: dict[str, dict[str, Any]] = {factor: {} for term in terms_of(part) for factor in factors_of(term)}
        self._levels: dict[str, set] = {}
        known([name for factor in self._state for name in variables(factor)], list(frame.columns))
        self.names: tuple[str, ...] = ("Intercept",)
        self.pieces: tuple[tuple[Piece, ...], ...] = ((),)
        self.learned = np.ones((len(frame), 1))
        if part != "1":  # as most random terms are
            self._small_enough(frame)
            made = self._made(formulaic.Formula(list(terms_of(part))), frame)
            self._spec, self.names = made.model_spec, tuple(map(str, made.columns))
            self.pieces = tuple(pieces for row in made.model_spec.structure for pieces in pieces_of(row))
            self.learned = self._finite(made, frame)
        self.kept = list(range(len(self.names)))  # a basis of the columns
        self.lengths = np.ones(len(self.names))
        self.null = np.zeros((len(self.names), 0))  # orthonormal: what the rows do not see, of coefficients in units of `lengths`

    def reduce(self) -> None:
        """Keep the columns that are no combination of those before them."""
        different = pd.DataFrame(self.learned).drop_duplicates().to_numpy()
        lengths = np.linalg.norm(different, axis=0)
        self.lengths = np.where(lengths > 0, lengths, 1.0)
        self.kept, null = independent(different / self.lengths)
        self.null = np.linalg.qr(null)[0] if null.shape[1] else null

    def matrix(self, frame: pd.DataFrame) -> np.ndarray:
        """(rows, columns) of other rows; UserError for levels that the first ones did not have."""
        if self.part == "1":
            return np.ones((len(frame), 1))
        known([name for factor in self._state for name in variables(factor)], list(frame.columns))
        return self._finite(self._made(self._spec, frame), frame)

    def _made(self, spec: Any, frame: pd.DataFrame) -> Any:
        computed = {factor: self._factor(factor, frame) for factor in self._state}
        try:
            return spec.get_model_matrix(pd.DataFrame(index=range(len(frame))), context=computed, na_action="ignore")
        except FormulaicError as error:
            raise UserError(f"'{self.part}' cannot be computed: {words(error)}") from None

    def _factor(self, factor: str, frame: pd.DataFrame) -> Any:
        """A factor's values; text has to be of levels that are known."""
        found = read(factor).values(frame.reset_index(drop=True), self._state[factor])
        values = pd.Series(getattr(found, "__wrapped__", found)) if read(factor).levels_of or _is_text(found) else None
        if values is not None:
            levels = set(values.dropna().unique())
            if new := sorted(map(str, levels - self._levels.setdefault(factor, levels))):
                raise UserError(f"'{factor}' has levels that the fit has not seen: {', '.join(new)}")
        return found

    def _small_enough(self, frame: pd.DataFrame) -> None:
        """UserError where the matrix would be larger than memory allows."""
        width = {factor: _width(read(factor), frame) for factor in self._state}
        columns = sum(int(np.prod([width[f] for f in factors_of(term)], dtype=float)) for term in terms_of(self.part))
        if columns * len(frame) > MAX_ENTRIES:
            raise UserError(
                f"'{self.part}' has some {columns:,} columns on {len(frame):,} different rows, which is too much to fit"
            )

    def _finite(self, made: Any, frame: pd.DataFrame) -> np.ndarray:
        values = made.to_numpy(float)
        if values.shape[0] != len(frame):  # an intercept alone has no column to take its length from
            values = np.repeat(values[:1], len(frame), axis=0)
        if bad := [name for name, column in zip(self.names, values.T, strict=True) if not np.isfinite(column).all()]:
            raise UserError(f"{', '.join(bad)}: {int((~np.isfinite(values)).any(axis=1).sum())} rows are missing or infinite")
        return values


def independent(X: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The columns that those before them do not span, and (columns, others) what combination of columns is zero for each other.

    Columns have length 1, or are zero.
    """
    kept: list[int] = []
    null = np.zeros((X.shape[1], 0))
    Q = np.zeros((len(X), 0))
    for j, column in enumerate(X.T):
        left = column - Q @ (Q.T @ column)
        left = left - Q @ (Q.T @ left)  # again: once is not enough where columns are nearly dependent
        size = np.linalg.norm(left)
        if size > DEPENDENT:
            kept.append(j)
            Q = np.column_stack([Q, left / size])
            continue
        share = np.zeros(X.shape[1])
        share[j] = 1.0
        if kept:
            share[kept] = -np.linalg.lstsq(X[:, kept], column, rcond=None)[0]
        null = np.column_stack([null, share])
    return kept, null


def build(formula: Formula, frame: pd.DataFrame, *, aliased: str = "raise") -> Design:
    """The matrices on the rows of a frame; UserError for factors and groups with one level.

    `aliased` is "drop" where columns of the fixed part that depend on others are left out; otherwise all of them are there.
    """
    _more_than_one_level(formula, frame)
    coding = Coding(formula.fixed, frame)
    if not coding.names:
        raise UserError(f"'{formula.text}' has no fixed effect; leave at least the intercept")
    design = Design(formula, coding.learned, coding.names, tuple(_term(term, frame) for term in formula.random), coding)
    return design.independent() if aliased == "drop" else design


def evaluate(expression: str, frame: pd.DataFrame) -> np.ndarray:
    """A response (m,), which may be any arithmetic, such as score - baseline or log10(seconds)."""
    found = read(expression)
    known(found.columns, list(frame.columns))
    if found.calls & {"C", *BASES}:
        raise UserError(f"the response '{expression}' is not one column of numbers")
    values = found.values(frame, {})
    if _is_text(values):
        raise UserError(f"the response '{expression}' is not numeric: it holds {values.iloc[0]!r}")
    return np.asarray(values, float)


def labels(frame: pd.DataFrame, group: Sequence[str]) -> np.ndarray:
    """(m,) labels of a crossing, 'm0:i1'."""
    parts = [np.array([_label(value) for value in frame[name]], object) for name in group]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + ":" + part
    return joined


def partition(frame: pd.DataFrame, group: Sequence[str]) -> np.ndarray:
    """(m,) level numbers of a crossing as they come: the same for groups that part the rows in the same way."""
    return pd.factorize(_coded(frame, group)[0])[0]


def columns_of(term: Term, frame: pd.DataFrame) -> np.ndarray:
    """(rows, k) columns of a random term on other rows."""
    return term.coding.matrix(frame)


def _width(factor: expressions.Expression, frame: pd.DataFrame) -> int:
    """Columns that a factor takes, at most."""
    if factor.calls & BASES:
        return 2 * expressions.MAX_ARGUMENT
    texts = [name for name in factor.columns if not pd.api.types.is_numeric_dtype(frame[name]) or "C" in factor.calls]
    return max([1, *(frame[name].nunique() for name in texts)])


def _is_text(values: Any) -> bool:
    return isinstance(values, pd.Series) and not pd.api.types.is_numeric_dtype(values)


def _term(term: Random, frame: pd.DataFrame) -> Term:
    coding = Coding(term.columns, frame)
    codes, levels = _coded(frame, term.group)
    return Term(term.name, term.group, coding.names, levels, codes, coding.learned, coding)


def _coded(frame: pd.DataFrame, group: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Level number (m,) of each row, and the levels' labels in order; crossings are coded from their parts' codes."""
    codes, levels = _factorized(frame[group[0]])
    for name in group[1:]:
        inner, names = _factorized(frame[name])
        pairs, codes = np.unique(codes * len(names) + inner, return_inverse=True)
        levels = tuple(f"{levels[pair // len(names)]}:{names[pair % len(names)]}" for pair in pairs)
    return codes, levels


def _factorized(column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    codes, values = pd.factorize(column, sort=True)
    return codes, tuple(map(_label, values))


def _label(value: Any) -> str:
    """A level's name. Whole numbers become floats where a value beside them is missing, and are the same levels then."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _more_than_one_level(formula: Formula, frame: pd.DataFrame) -> None:
    groups = dict.fromkeys(name for term in formula.random for name in term.group)
    texts = [
        name
        for expression in formula.expressions
        for name in variables(expression)
        if not pd.api.types.is_numeric_dtype(frame[name])
    ]
    for name in dict.fromkeys([*groups, *texts]):
        values = frame[name].unique()
        if len(values) == 1:
            raise UserError(f"'{name}' has one level only, {values[0]!r}: there is nothing to compare; drop it from the formula")
