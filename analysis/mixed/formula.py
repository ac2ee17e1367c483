"""R-style mixed formulas: "gain ~ lp * inter + (1 + lp | lang) + (1 | model/inter)" and the matrices they stand for.

This module reads the bars, formulaic the algebra of terms (`*`, `/`, `**`) and their coding; what a factor is worth,
`expressions` computes. Formulas are data, not programs, and what one may cost is bounded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import formulaic
import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import ASTNode, Factor, Token
from formulaic.parser.types import Term as Product

from xlift.analysis.mixed import expressions
from xlift.analysis.mixed.expressions import BASES, MAX_TEXT, STATEFUL, quoted, read, words
from xlift.registry.findings import UserError

MAX_TERMS = 500  # of one part, after `*` and `**` are multiplied out
MAX_DEPTH = 30  # of brackets
MAX_ENTRIES = 200_000_000  # of a matrix of fixed effects: 1.6 GB
DEPENDENT = 1e-9  # of a column's length: what the columns before it leave of a dependent one
UNSEEN = 1e-8  # of a contrast's length: what the rows of a design do not see of one that they tell


@dataclass(frozen=True, slots=True)
class Random:
    """One random term `(columns | group)`: a full covariance matrix over `columns`, one draw a level of `group`."""

    columns: str  # "1 + lp", as formulaic reads it
    group: tuple[str, ...]  # ("model", "inter") is the crossing model:inter

    @property
    def name(self) -> str:
        return ":".join(self.group)


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula taken apart; `response` may be an expression, and is "" where there is none (`~ x`)."""

    text: str
    response: str
    fixed: str
    random: tuple[Random, ...]

    @property
    def expressions(self) -> tuple[str, ...]:
        """Every factor that the matrices are made of."""
        parts = [self.fixed, *(term.columns for term in self.random)]
        return tuple(dict.fromkeys(factor for part in parts for term in terms_of(part) for factor in factors_of(term)))

    @property
    def keys(self) -> tuple[str, ...]:
        """The data's columns on the right-hand side: rows that agree in them are one cell."""
        named = [name for expression in self.expressions for name in variables(expression)]
        return tuple(dict.fromkeys([*named, *(name for term in self.random for name in term.group)]))

    @property
    def stateful(self) -> bool:
        return any(read(expression).calls & STATEFUL for expression in self.expressions)


Piece = tuple[str, str]  # a factor, such as C(inter), and its column there, such as C(inter)[T.i1]


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
            self.pieces = tuple(pieces for row in made.model_spec.structure for pieces in _pieces(row))
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


def parse(text: str, *, response: bool = True) -> Formula:
    """Take a formula apart; UserError says what is wrong with it."""
    if len(text) > MAX_TEXT:
        raise UserError(f"a formula has at most {MAX_TEXT:,} characters; this one starts with '{text[:40]}'")
    masked, whole = _mask(text)
    left, tilde, right = masked.partition("~")
    left = _unmask(left.strip(), whole)
    if not tilde or "~" in right:
        raise UserError(f"a formula is 'response ~ terms', not '{text}'")
    if response != bool(left):
        raise UserError(
            f"'{text}' {'lacks its response' if response else 'needs no response'}: write "
            f"'{'y ~ x + (1 | g)' if response else '~ x'}'"
        )
    fixed, bars = _split(right, text)
    random = tuple(term for bar in bars for term in _random(bar, text, whole))
    found = Formula(text.strip(), left, _unmask(fixed, whole), random)
    if left:
        read(left)
    for expression in found.expressions:
        read(expression)
    named = [(term.name, factor) for term in random for factor in map(str, terms_of(term.columns))]
    if twice := sorted({f"{factor} | {name}" for name, factor in named if named.count((name, factor)) > 1}):
        raise UserError(f"'{text}' has {', '.join(f'({term})' for term in twice)} twice")
    return found


def random_terms(text: str) -> tuple[Random, ...]:
    """The terms of "(1 | a/b) + (1 | c)", without a response or a fixed part."""
    found = parse(f"~ {text}", response=False)
    if found.fixed != "1" or not found.random:
        raise UserError(f"'{text}' has to be random terms only, as in '(1 | a/b)'")
    return found.random


def variables(expression: str) -> tuple[str, ...]:
    """Columns that a factor names; UserError where it is more than columns, numbers, arithmetic and known functions."""
    return read(expression).columns


def known(names: Iterable[str], columns: Sequence[str]) -> None:
    """UserError, with the nearest names, for columns that the data lack."""
    lacking = [name for name in dict.fromkeys(names) if name not in columns]
    if lacking:
        hints = "; ".join(f"no column '{name}'{did_you_mean(name, columns)}" for name in lacking)
        raise UserError(f"{hints}; the data have {', '.join(map(str, columns))}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    near = get_close_matches(str(name), [str(choice) for choice in choices], n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


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


def _mask(text: str) -> tuple[str, list[str]]:
    """The text with a mark for each `column` and "string", which may hold any sign, and what the marks stand for."""
    whole: list[str] = []

    def mark(found: re.Match) -> str:
        whole.append(found.group())
        return f"\ue000{len(whole) - 1}\ue001"

    masked = " ".join(re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", mark, text).split())
    if stray := [sign for sign in masked if not sign.isprintable() and sign not in "\ue000\ue001"] + re.findall("[`#]", masked):
        raise UserError(f"{stray[0]!r} has no meaning in a formula")
    return masked, whole


def _unmask(masked: str, whole: list[str]) -> str:
    return re.sub("\ue000(\\d+)\ue001", lambda found: whole[int(found.group(1))], masked)


def _split(right: str, text: str) -> tuple[str, list[str]]:
    """The fixed part, and what stands between the brackets of each random term."""
    bars, kept, depth, start = [], [], 0, 0
    for place, sign in enumerate(right):
        depth += (sign == "(") - (sign == ")")
        if depth > MAX_DEPTH:
            raise UserError(f"'{text[:40]}…' has brackets more than {MAX_DEPTH} deep")
        if depth < 0:
            raise UserError(f"'{text}' closes a bracket that it did not open")
        if sign == "(" and depth == 1:
            start = place
            kept.append("")
        elif sign == ")" and depth == 0:
            inside = right[start + 1 : place]
            if "|" in inside:
                bars.append(inside)
                kept[-1] = "\0"
            else:
                kept[-1] = f"({inside})"
        elif depth == 0:
            kept.append(sign)
    if depth:
        raise UserError(f"'{text}' leaves a bracket open")
    fixed = "".join(kept)
    if "|" in fixed:
        raise UserError(f"'{text}' has a bar outside brackets; a random term is written (1 | group)")
    pieces = re.split(r"\s*\+\s*", re.sub(r"\s*\0\s*", "\0", fixed).strip())
    if any("\0" in piece and piece != "\0" for piece in pieces):
        raise UserError(f"random terms are added, as in '… + (1 | group)'; '{text}' does something else with one")
    fixed = " + ".join(piece for piece in pieces if piece not in ("\0", ""))
    return fixed or "1", bars


def _random(bar: str, text: str, whole: list[str]) -> list[Random]:
    """The terms that one bracket stands for: `||` and `a/b` stand for several."""
    columns, double, group = bar.partition("||")
    if not double:
        columns, _, group = bar.partition("|")
    if "|" in group or not columns.strip() or not group.strip():
        raise UserError(f"({_unmask(bar, whole)}) is no random term; write (1 | group), (1 + x | group) or (1 + x || group)")
    columns = _unmask(columns.strip(), whole)
    groups = _groups(group, text, whole)
    terms = terms_of(columns)
    if not terms:
        raise UserError(f"({_unmask(bar, whole)}) has no columns; write (1 | group)")
    parts = [columns]
    if double:
        parts = ["1" if str(term) == "1" else f"0 + {term}" for term in terms]
    return [Random(part, found) for found in groups for part in parts]


def _groups(group: str, text: str, whole: list[str]) -> list[tuple[str, ...]]:
    """`a/b` is a and a:b; `a:b` is one crossing."""
    nested = [tuple(name.strip() for name in part.split(":")) for part in group.split("/")]
    for name in (name for part in nested for name in part):
        if not re.fullmatch("\ue000\\d+\ue001", name) and not expressions.SIMPLE.fullmatch(name):
            raise UserError(f"'{_unmask(name, whole)}' is no grouping column; a group in '{text}' is a column, a:b, or a/b")
    found: list[tuple[str, ...]] = []
    for part in nested:
        found.append((*(found[-1] if found else ()), *(_unmask(name, whole).strip("`") for name in part)))
    return found


@lru_cache(maxsize=1024)
def terms_of(part: str) -> tuple[Product, ...]:
    """The products of factors that a part stands for. formulaic only ever sees names: what a factor is, it looks up."""
    try:
        tokens = list(tokenize(part))
        factors = dict.fromkeys(_factor_text(token) for token in tokens if token.kind in FACTORS)
        names = {factor: f"f{i}" for i, factor in enumerate(factors)}
        plain = " ".join(names[_factor_text(t)] if t.kind in FACTORS else "%in%" if t.token == "in" else t.token for t in tokens)
        parser = DefaultFormulaParser(feature_flags=set())
        if _most_terms(parser.get_ast(plain)) > MAX_TERMS:
            raise UserError(f"'{part}' stands for more than {MAX_TERMS} terms")
        found = parser.get_terms(plain)
    except (FormulaicError, SyntaxError, KeyError, RecursionError, NotImplementedError) as error:
        raise UserError(f"'{part}' is no formula: {words(error)}") from None
    text = {name: factor for factor, name in names.items()}
    return tuple(
        Product([Factor(text[f.expr], eval_method="lookup") if f.eval_method.value == "lookup" else f for f in term.factors])
        for term in formulaic.Formula(list(found))
    )


def _pieces(row: Any) -> Iterator[tuple[Piece, ...]]:
    """The pieces of each column of one term, which formulaic joins by colons in the order of the term's factors."""
    factors = factors_of(row.term)
    for column in map(str, row.columns):
        found, rest = [], column
        for factor, after in zip(factors, (*factors[1:], None), strict=False):  # the intercept has no factor
            end = len(rest) if after is None else rest.index(f":{after}", len(factor))
            found.append((factor, rest[:end]))
            rest = rest[end + 1 :]
        yield tuple(found)


FACTORS = (Token.Kind.NAME, Token.Kind.PYTHON)


def _factor_text(token: Token) -> str:
    return quoted(token.token) if token.kind is Token.Kind.NAME else token.token


def factors_of(term: Product) -> tuple[str, ...]:
    """The factors of a product, without numbers that scale it."""
    return tuple(factor.expr for factor in term.factors if factor.eval_method.value == "lookup")


def columns_of_product(term: Product) -> tuple[str, ...]:
    """The data's columns that a product names."""
    return tuple(dict.fromkeys(name for factor in factors_of(term) for name in variables(factor)))


def columns_named(part: str) -> tuple[str, ...]:
    """The data's columns that a part names."""
    return tuple(dict.fromkeys(name for term in terms_of(part) for name in columns_of_product(term)))


def _most_terms(node: Any) -> float:
    """An upper bound of the terms that a tree multiplies out to, found without doing it."""
    if not isinstance(node, ASTNode):
        return 1
    sizes = [_most_terms(inner) for inner in node.args]
    if node.operator.symbol in ("**", "^"):
        try:
            return float(sizes[0] ** int(node.args[1].token))
        except (ValueError, OverflowError, AttributeError):
            return np.inf
    product, total = float(np.prod(sizes)), float(sum(sizes))
    return {"*": product + total, ":": product, "%in%": product, "in": product}.get(node.operator.symbol, total)


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
