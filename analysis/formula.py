"""R-style mixed formulas: "gain ~ lp * inter + (1 + lp | lang) + (1 | model/inter)" and the matrices they stand for.

formulaic reads the fixed part and the columns of random terms; this module reads the bars. Formulas are data, not
programs: only the functions in FUNCTIONS may be called.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import formulaic
import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError

FUNCTIONS = {
    "log",
    "log10",
    "log2",
    "exp",
    "exp10",
    "exp2",
    "sqrt",
    "abs",
    "C",
    "I",
    "center",
    "scale",
    "standardize",
    "poly",
    "bs",
    "cs",
    "cr",
    "Treatment",
    "Sum",
    "Helmert",
    "Diff",
    "Poly",
}
STATEFUL = {"center", "scale", "standardize", "poly", "bs", "cs", "cr"}  # these see the rows, so rows cannot become cells first
CONTEXT = {"sqrt": np.sqrt, "abs": np.abs}
CONTRASTS = {"Treatment", "Sum", "Helmert", "Diff", "Poly"}


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
        return tuple(dict.fromkeys(factor.expr for part in parts for term in terms_of(part) for factor in term.factors))

    @property
    def keys(self) -> tuple[str, ...]:
        """The data's columns on the right-hand side: rows that agree in them are one cell."""
        named = [name for expression in self.expressions for name in variables(expression)]
        return tuple(dict.fromkeys([*named, *(name for term in self.random for name in term.group)]))

    @property
    def stateful(self) -> bool:
        return any(name in STATEFUL for expression in self.expressions for name in _calls(expression))


@dataclass(frozen=True, slots=True)
class Term:
    """A random term on m rows: row i belongs to level `codes[i]` and has `columns[i]` there."""

    name: str
    group: tuple[str, ...]
    names: tuple[str, ...]  # k labels of the columns
    levels: tuple[str, ...]
    codes: np.ndarray  # (m,)
    columns: np.ndarray  # (m, k)
    spec: Any  # formulaic's, for new rows

    @property
    def k(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int:
        """Columns of Z that the term takes."""
        return len(self.levels) * self.k


@dataclass(frozen=True, slots=True)
class Design:
    """The matrices of a formula on m rows: X (m, p), and Z as one `Term` for each random term."""

    formula: Formula
    X: np.ndarray
    names: tuple[str, ...]
    terms: tuple[Term, ...]
    spec: Any

    def rows(self, frame: pd.DataFrame) -> np.ndarray:
        """X (rows, p) of other rows, coded as these; ValueError for a level that the data did not have."""
        return _matrix(self.spec, frame)[0]


def parse(text: str, *, response: bool = True) -> Formula:
    """Take a formula apart; ValueError says what is wrong with it."""
    left, tilde, right = text.partition("~")
    left = left.strip()
    if not tilde or "~" in right:
        raise ValueError(f"a formula is 'response ~ terms', not '{text}'")
    if response != bool(left):
        raise ValueError(
            f"'{text}' {'lacks its response' if response else 'needs no response'}: write "
            f"'{'y ~ x + (1 | g)' if response else '~ x'}'"
        )
    fixed, bars = _split(right, text)
    random = tuple(term for bar in bars for term in _random(bar, text))
    found = Formula(text.strip(), left, fixed, random)
    if left:
        variables(left)
    for expression in found.expressions:
        variables(expression)
    named = [(term.name, factor) for term in random for factor in map(str, terms_of(term.columns))]
    if twice := sorted({f"{factor} | {name}" for name, factor in named if named.count((name, factor)) > 1}):
        raise ValueError(f"'{text}' has {', '.join(f'({term})' for term in twice)} twice")
    return found


def random_terms(text: str) -> tuple[Random, ...]:
    """The terms of "(1 | a/b) + (1 | c)", without a response or a fixed part."""
    found = parse(f"~ {text}", response=False)
    if found.fixed != "1" or not found.random:
        raise ValueError(f"'{text}' has to be random terms only, as in '(1 | a/b)'")
    return found.random


def variables(expression: str) -> tuple[str, ...]:
    """Columns that a factor names; ValueError where it calls what is no function of formulas."""
    if expression.isidentifier() or _unreadable(expression):
        return (expression,)
    tree = ast.parse(expression.replace("`", ""), mode="eval")
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Lambda | ast.comprehension | ast.NamedExpr):
            raise ValueError(
                f"'{expression}' is no formula: only names, numbers and {', '.join(sorted(FUNCTIONS))} may stand there"
            )
        if id(node) in called and not (isinstance(node, ast.Name) and node.id in FUNCTIONS):
            what = ast.unparse(node)
            raise ValueError(
                f"no function '{what}' in formulas{did_you_mean(what, FUNCTIONS)}; there are {', '.join(sorted(FUNCTIONS))}"
            )
    return tuple(
        dict.fromkeys(
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and id(node) not in called and node.id not in CONTRASTS
        )
    )


def known(names: Iterable[str], columns: Sequence[str]) -> None:
    """ValueError, with the nearest names, for columns that the data lack."""
    lacking = [name for name in dict.fromkeys(names) if name not in columns]
    if lacking:
        hints = "; ".join(f"no column '{name}'{did_you_mean(name, columns)}" for name in lacking)
        raise ValueError(f"{hints}; the data have {', '.join(map(str, columns))}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    near = get_close_matches(str(name), [str(choice) for choice in choices], n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def build(formula: Formula, frame: pd.DataFrame) -> Design:
    """The matrices on the rows of a frame; ValueError for factors and groups with one level."""
    _more_than_one_level(formula, frame)
    X, names, spec = _first(formula.fixed, frame)
    if not names:
        raise ValueError(f"'{formula.text}' has no fixed effect; leave at least the intercept")
    return Design(formula, X, names, tuple(_term(term, frame) for term in formula.random), spec)


def evaluate(expression: str, frame: pd.DataFrame) -> np.ndarray:
    """A response (m,) that may be an expression, such as log10(seconds)."""
    variables(expression)
    if expression in frame:
        values = frame[expression]
        if not pd.api.types.is_numeric_dtype(values):
            raise ValueError(f"the response '{expression}' is not numeric: it holds {values.iloc[0]!r}")
        return values.to_numpy(float)
    return _first(f"0 + {expression}", frame)[0][:, 0]


def labels(frame: pd.DataFrame, group: Sequence[str]) -> np.ndarray:
    """(m,) labels of a crossing, 'm0:i1'."""
    parts = [frame[name].astype(str).to_numpy(object) for name in group]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + ":" + part
    return joined


def columns_of(term: Term, frame: pd.DataFrame) -> np.ndarray:
    """(rows, k) columns of a random term on other rows."""
    return _matrix(term.spec, frame)[0]


def _split(right: str, text: str) -> tuple[str, list[str]]:
    """The fixed part, and what stands between the brackets of each random term."""
    bars, kept, depth, start = [], [], 0, 0
    for place, sign in enumerate(right):
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            raise ValueError(f"'{text}' closes a bracket that it did not open")
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
        raise ValueError(f"'{text}' leaves a bracket open")
    fixed = "".join(kept)
    if "|" in fixed:
        raise ValueError(f"'{text}' has a bar outside brackets; a random term is written (1 | group)")
    pieces = re.split(r"\s*\+\s*", re.sub(r"\s*\0\s*", "\0", fixed).strip())
    if any("\0" in piece and piece != "\0" for piece in pieces):
        raise ValueError(f"random terms are added, as in '… + (1 | group)'; '{text}' does something else with one")
    fixed = " + ".join(piece for piece in pieces if piece not in ("\0", ""))
    return fixed or "1", bars


def _random(bar: str, text: str) -> list[Random]:
    """The terms that one bracket stands for: `||` and `a/b` stand for several."""
    columns, double, group = bar.partition("||")
    if not double:
        columns, _, group = bar.partition("|")
    if "|" in group or not columns.strip() or not group.strip():
        raise ValueError(f"({bar}) is no random term; write (1 | group), (1 + x | group) or (1 + x || group)")
    groups = _groups(group, text)
    terms = terms_of(columns)
    if not terms:
        raise ValueError(f"({bar}) has no columns; write (1 | group)")
    parts = [columns.strip()]
    if double:
        parts = ["1" if str(term) == "1" else f"0 + {term}" for term in terms]
    return [Random(part, found) for found in groups for part in parts]


def _groups(group: str, text: str) -> list[tuple[str, ...]]:
    """`a/b` is a and a:b; `a:b` is one crossing."""
    nested = [tuple(name.strip(" `") for name in part.split(":")) for part in group.split("/")]
    for name in (name for part in nested for name in part):
        if not name or re.search(r"[()+*^|~]", name):
            raise ValueError(f"'{name}' is no grouping column; a group in '{text}' is a column, a:b, or a/b")
    found: list[tuple[str, ...]] = []
    for part in nested:
        found.append((*(found[-1] if found else ()), *part))
    return found


def terms_of(part: str) -> list[Any]:
    try:
        return list(formulaic.Formula(part))
    except (FormulaicError, SyntaxError) as error:
        raise ValueError(f"'{part}' is no formula: {' '.join(str(error).split())}") from None


def _calls(expression: str) -> set[str]:
    if _unreadable(expression):
        return set()
    return {
        node.func.id
        for node in ast.walk(ast.parse(expression.replace("`", ""), mode="eval"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _unreadable(expression: str) -> bool:
    """Names in backticks, such as `my column`, are no Python."""
    try:
        ast.parse(expression.replace("`", ""), mode="eval")
    except SyntaxError:
        return True
    return False


def _first(part: str, frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...], Any]:
    return _matrix(formulaic.Formula(part), frame)


def _matrix(spec: Any, frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...], Any]:
    try:
        with np.errstate(all="ignore"):  # logarithms of negative numbers are found, and named, below
            made = spec.get_model_matrix(frame, context=CONTEXT, na_action="ignore")
    except FormulaicError as error:
        raise ValueError(f"'{spec}' cannot be computed: {' '.join(str(error).split())}") from None
    values, names = made.to_numpy(float), tuple(map(str, made.columns))
    if values.shape[0] != len(frame):  # an intercept alone has no column to take its length from
        values = np.repeat(values[:1], len(frame), axis=0)
    if bad := [name for name, column in zip(names, values.T, strict=True) if not np.isfinite(column).all()]:
        raise ValueError(
            f"{', '.join(bad)}: {int((~np.isfinite(values)).any(axis=1).sum())} rows are missing or infinite, "
            "or have a level that the fit has not seen"
        )
    return values, names, made.model_spec


def _term(term: Random, frame: pd.DataFrame) -> Term:
    columns, names, spec = _first(term.columns, frame)
    codes, levels = _coded(frame, term.group)
    return Term(term.name, term.group, names, levels, codes, columns, spec)


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
    return codes, tuple(map(str, values))


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
            raise ValueError(f"'{name}' has one level only, {values[0]!r}: there is nothing to compare; drop it from the formula")
