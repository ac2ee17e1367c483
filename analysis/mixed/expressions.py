"""One factor of a formula, such as `log10(params)`: read into a tree, checked, and computed from that same tree.

Nothing here is handed to an interpreter: the tree's nodes are walked, and a node that is not in the list below has no meaning.
So a formula from a stranger's manifest can name columns, do arithmetic and call FUNCTIONS, within bounds, and nothing else.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import add, eq, ge, gt, le, lt, mul, ne, neg, pos, pow, sub, truediv
from typing import Any

import numpy as np
import pandas as pd
from formulaic.transforms import TRANSFORMS

from xlift.registry.findings import UserError

CONTRASTS = {"Treatment", "Sum", "Helmert", "Diff", "Poly"}  # of levels; the second argument of C
BASES = {"poly", "bs", "cs", "cr"}  # each makes several columns
STATEFUL = {"center", "scale", "standardize", *BASES}  # these see the rows, so rows cannot become cells first
NUMERIC: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "exp": np.exp,
    "exp2": np.exp2,
    "exp10": lambda x: np.power(10.0, x),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "I": lambda x: x,
}
FUNCTIONS = {*NUMERIC, *STATEFUL, *CONTRASTS, "C"}
OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv, ast.Pow: pow, ast.UAdd: pos, ast.USub: neg,
    ast.Lt: lt, ast.LtE: le, ast.Gt: gt, ast.GtE: ge, ast.Eq: eq, ast.NotEq: ne,
}  # fmt: skip
MAX_TEXT = 4_000  # characters of a formula
MAX_NODES = 200  # of one factor's tree
MAX_ARGUMENT = 50  # of a spline's or polynomial's whole numbers, each of which makes columns

SIMPLE = re.compile(r"[^\W\d][\w.]*")
PIECES = re.compile(r"`([^`]*)`|(\"[^\"]*\"|'[^']*')|([^`\"']+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Expression:
    """A factor that has been read: its text, its tree, and the columns that the tree's names stand for."""

    text: str
    tree: ast.expr
    names: Mapping[str, str]  # names of the tree -> columns of the data

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.names.values()))

    @property
    def column(self) -> str | None:
        """The column that the whole expression is, where it is no more than one."""
        return self.names[self.tree.id] if isinstance(self.tree, ast.Name) else None

    @property
    def calls(self) -> set[str]:
        return {called for node in ast.walk(self.tree) if (called := _called(node))}

    @property
    def levels_of(self) -> str | None:
        """The column whose values C(column, …) makes levels of."""
        tree = self.tree
        return self.names.get(getattr(tree.args[0], "id", "")) if _called(tree) == "C" else None  # type: ignore[attr-defined]

    def values(self, frame: pd.DataFrame, state: dict[str, Any]) -> Any:
        """A series, or formulaic's FactorValues; `state` keeps what stateful functions learned, for rows to come."""
        with np.errstate(all="ignore"):  # logarithms of negative numbers are found, and named, by the caller
            try:
                found = _computed(self.tree, frame, self.names, state)
            except (TypeError, ZeroDivisionError, OverflowError, ValueError) as error:
                raise UserError(f"'{self.text}' cannot be computed: {words(error)}") from None
        if not self.columns:
            raise UserError(f"'{self.text}' names no column")
        return found


def quoted(column: str) -> str:
    """A column's name as formulas write it: in backticks where it would read as something else."""
    return column if SIMPLE.fullmatch(column) else f"`{column}`"


@lru_cache(maxsize=4096)
def read(text: str) -> Expression:
    """Read and check one factor; UserError says what may not stand in it."""
    if len(text) > MAX_TEXT:
        raise UserError(f"a formula has at most {MAX_TEXT:,} characters; this one starts with '{text[:40]}'")
    if SIMPLE.fullmatch(text):
        return Expression(text, ast.Name("x"), {"x": text})
    plain, names = _without_backticks(text)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise UserError(f"'{_shown(text)}' is no formula; a column whose name is no word stands in `backticks`") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise UserError(f"'{text[:40]}…' is too long for one term: at most {MAX_NODES} names, numbers and operators")
    tree = _Dotted().visit(tree)
    used: dict[str, str] = {}
    for name in _checked(tree, text):
        used[name] = names.get(name, name)
    return Expression(text, tree, used)


def _without_backticks(text: str) -> tuple[str, dict[str, str]]:
    """The text with a fresh name for each `column`, and the columns that they stand for."""
    stem, kept = "q", list[str]()
    names: dict[str, str] = {}
    while stem in text:
        stem += "q"
    for column, string, other, stray in PIECES.findall(text):
        if column:
            names[f"{stem}{len(names)}"] = column
            kept.append(f"{stem}{len(names) - 1}")
        elif stray or "#" in other or "\\" in other + string:
            raise UserError(f"'{_shown(text)}' is no formula: {_shown(stray or '# or a backslash')} may not stand there")
        else:
            kept.append(string or re.sub(r"\s+", " ", other))
    return "".join(kept), names


class _Dotted(ast.NodeTransformer):
    """Sepal.Width is a name."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        inner = self.visit(node.value)
        return ast.Name(f"{inner.id}.{node.attr}") if isinstance(inner, ast.Name) else node


def _checked(node: ast.AST, text: str) -> Iterator[str]:
    """The names of columns in a tree; UserError for a node without a meaning."""
    match node:
        case ast.Name():
            yield node.id
        case ast.Constant(value=int() | float()):
            pass
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            yield from _checked(left, text)
            yield from _checked(right, text)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            yield from _checked(operand, text)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            yield from _checked(left, text)
            yield from _side(right, text)
        case ast.Call():
            yield from _call(node, text)
        case _:
            raise UserError(
                f"'{_shown(text)}' is no formula: only columns, numbers, arithmetic and these functions may stand there: "
                + ", ".join(sorted(FUNCTIONS))
            )


def _side(node: ast.AST, text: str) -> Iterator[str]:
    """What something may be compared with: text too."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield from _checked(node, text)


def _call(node: ast.Call, text: str) -> Iterator[str]:
    name = _called(node)
    if name not in FUNCTIONS - CONTRASTS:
        shown = _shown(name or ast.unparse(node.func))
        raise UserError(f"no function '{shown}' in formulas; there are {', '.join(sorted(FUNCTIONS))}")
    if not node.args:
        raise UserError(f"'{_shown(text)}': {name}() needs a column")
    yield from _checked(node.args[0], text)
    for given in [*node.args[1:], *(keyword.value for keyword in node.keywords)]:
        contrasts = given.func if isinstance(given, ast.Call) and len(given.args) <= 1 and not given.keywords else given
        inner = [*given.args] if isinstance(given, ast.Call) else []
        if name == "C" and isinstance(contrasts, ast.Name) and contrasts.id in CONTRASTS and all(map(_is_plain, inner)):
            continue
        if name in NUMERIC or any(keyword.arg is None for keyword in node.keywords) or not _is_plain(given):
            raise UserError(
                f"'{_shown(text)}': beside its column, {name}() takes "
                + {"C": f"levels=[…] or one of {', '.join(sorted(CONTRASTS))}"}.get(
                    name, "nothing" if name in NUMERIC else f"numbers up to {MAX_ARGUMENT}"
                )
            )


def _is_plain(node: ast.expr) -> bool:
    """A literal; whole numbers are bounded, because they make columns."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(v, str | bool | float) or (isinstance(v, int) and abs(v) <= MAX_ARGUMENT) for v in values) or (
        isinstance(value, list) and all(isinstance(v, int | str) for v in values)
    )


def _called(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def _computed(node: ast.AST, frame: pd.DataFrame, names: Mapping[str, str], state: dict[str, Any]) -> Any:
    match node:
        case ast.Name():
            return frame[names[node.id]]
        case ast.Constant():
            return node.value if isinstance(node.value, str) else float(node.value)  # type: ignore[arg-type]
        case ast.BinOp():
            return OPERATORS[type(node.op)](
                _arithmetic(_computed(node.left, frame, names, state)), _arithmetic(_computed(node.right, frame, names, state))
            )
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_arithmetic(_computed(node.operand, frame, names, state)))
        case ast.Compare():
            return OPERATORS[type(node.ops[0])](
                _computed(node.left, frame, names, state), _computed(node.comparators[0], frame, names, state)
            )
        case ast.Call():
            name, data = _called(node), _computed(node.args[0], frame, names, state)
            if name in NUMERIC:
                return NUMERIC[name](data if name == "I" else _arithmetic(data))
            rest = [_argument(given) for given in node.args[1:]]
            named = {keyword.arg: _argument(keyword.value) for keyword in node.keywords if keyword.arg}
            if name == "C":
                if extra := sorted(set(map(str, pd.unique(data))) - set(map(str, named.get("levels", pd.unique(data))))):
                    raise UserError(f"its levels=[…] lacks {', '.join(extra)}")
                return TRANSFORMS["C"](data, *rest, **named)
            kept = state.setdefault(ast.unparse(node), {})
            return TRANSFORMS[name](_arithmetic(data), *rest, _state=kept, **named)
    raise AssertionError(ast.dump(node))  # `_checked` lets nothing else pass


def _argument(node: ast.expr) -> Any:
    """A literal, or contrasts: Sum, Sum(), Treatment('base')."""
    if isinstance(node, ast.Name):
        return TRANSFORMS[node.id]()
    if isinstance(node, ast.Call):
        return TRANSFORMS[_called(node)](*map(ast.literal_eval, node.args))
    return ast.literal_eval(node)


def _arithmetic(value: Any) -> Any:
    """Numbers to compute with: a text column is a TypeError, truth values are 0 and 1."""
    if isinstance(value, pd.Series):
        if not pd.api.types.is_numeric_dtype(value):
            raise TypeError(f"'{value.name}' holds text such as {value.iloc[0]!r}" if len(value) else f"'{value.name}' is text")
        return value.astype(float)
    return value


def words(error: Exception) -> str:
    """A library's message on one line, without the codes that colour a terminal and other signs that do not print."""
    return _shown(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()))


def _shown(text: str) -> str:
    """Without control codes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
