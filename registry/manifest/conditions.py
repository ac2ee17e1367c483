"""The tiny condition language of `when`: names, numbers, quoted text, true and false, lists, comparisons, `in`, and / or / not,
available('x').

    variant == 'mlm' and family != 'xlmr'
    params_total > 1e10 and seed.index >= 2
    intermediate in ['ccg', 'qqp'] and not available('ccgbank')
    seen == false

Its grammar is a part of Python's expression grammar, so Python's own parser reads it; nothing is ever evaluated as code.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xlift.registry.findings import UserError, similar

LONGEST = 100_000  # characters: of conditions that are made; what is written is checked by its form
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
Values = frozenset[str] | frozenset[bool]
Names = Mapping[str, Values | None]  # the texts that a name can be, or TRUTHS; None: a number
TRUTHS = frozenset({True, False})
WRITTEN = {"true": True, "false": False}
NUMBERS = ("params_total", "params_non_embedding", "seed", "seed.index")


class BadCondition(UserError):
    """`column` counts characters from 0 in the condition's text."""

    def __init__(self, message: str, hint: str | None = None, column: int = 0, names: frozenset[str] = frozenset()):
        super().__init__(message)
        self.hint, self.column, self.names = hint, column, names  # names: of the manifest, that it speaks of

    @property
    def words(self) -> str:
        """The message and what would do, where no place is shown beside them."""
        return f"{self}; {self.hint}" if self.hint else str(self)


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition; call it with the values of the names."""

    text: str
    tree: ast.expr

    def __call__(self, values: Mapping[str, Any], available: Callable[[str], bool] = lambda name: False) -> bool:
        return bool(_value(self.tree, values, available))


def parse(text: str, axes: Names, numbers: Iterable[str] = NUMBERS, *, available: bool = True) -> Condition:
    """A condition over `axes` (name -> the texts it can be, TRUTHS, or None for a number) and `numbers`, more names of numbers.

    Raises:
        BadCondition: it is not in the language, compares a name with what it can never be, or asks what is available where
            nobody can tell (`available` is False).
    """
    if len(text) > LONGEST:
        raise BadCondition(f"a condition of {len(text)} characters", f"at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        hint = "write '==' to compare" if "=" in text and "==" not in text else "e.g. variant == 'mlm' and family != 'xlmr'"
        raise BadCondition("not a condition", hint, max(0, (error.offset or 1) - 1)) from None
    except (ValueError, RecursionError, MemoryError):
        raise BadCondition("not a condition", "e.g. variant == 'mlm' and family != 'xlmr'") from None
    try:
        kind = _check(tree, {**dict.fromkeys(numbers), **axes})
    except RecursionError:
        raise BadCondition("a condition nested too deeply", "split it into several rules") from None
    if not available and any(isinstance(node, ast.Call) for node in ast.walk(tree)):
        raise BadCondition("available(…) cannot be answered here", "ask it where cells are chosen: in a matrix, or with --only")
    if kind != "truth":
        raise BadCondition(f"a condition is true or false; this is a {kind}", "compare it with ==, <, in, …")
    return Condition(text, tree)


def _check(node: ast.expr, axes: Names) -> str:
    """The kind of a node: truth, text, number or list."""
    match node:
        case ast.BoolOp(values=values):
            _each(values, "truth", axes)
            return "truth"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _each([operand], "truth", axes)
            return "truth"
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return "number"
        case ast.Compare():
            _compare(node, axes)
            return "truth"
        case ast.Constant(value=bool()):
            return "truth"
        case ast.Name(id=name) if name in WRITTEN and name not in axes:
            return "truth"
        case ast.Constant(value=str()):
            return "text"
        case ast.Constant(value=int() | float()):
            return "number"
        case ast.List(elts=items) | ast.Tuple(elts=items):
            kinds = {_check(item, axes) for item in items}
            if len(kinds) != 1 or not kinds <= {"text", "number"}:
                raise BadCondition("a list holds only texts or only numbers", None, node.col_offset)
            return "list"
        case ast.Call(func=ast.Name(id="available"), args=[ast.Constant(value=str())], keywords=[]):
            return "truth"
        case ast.Call(func=ast.Name(id=name)):
            raise BadCondition(f"no function {name}(…) of this form", "only available('name')", node.col_offset)
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name not in axes:
                raise BadCondition(f"unknown name '{name}'", similar(name, axes), node.col_offset)
            return "number" if axes[name] is None else "truth" if axes[name] is TRUTHS else "text"
    raise BadCondition(
        f"'{ast.unparse(node)[:40]}' is not part of the condition language",
        "names, numbers, quoted text, lists, comparisons, in, and, or, not, available('x')",
        node.col_offset,
    )


def _each(nodes: list[ast.expr], wanted: str, axes: Names) -> None:
    for node in nodes:
        if (kind := _check(node, axes)) != wanted:
            raise BadCondition(
                f"'{ast.unparse(node)[:40]}' is a {kind}, not a {wanted}", "compare it with ==, <, in, …", node.col_offset
            )


def _compare(node: ast.Compare, axes: Names) -> None:
    left = node.left
    for sign, right in zip(node.ops, node.comparators, strict=True):
        if type(sign) not in COMPARISONS:
            raise BadCondition("'is' compares nothing here", "write '=='", node.col_offset)
        kinds = _check(left, axes), _check(right, axes)
        if isinstance(sign, ast.In | ast.NotIn):
            fits = kinds[0] in ("text", "number") and kinds[1] == "list"
        elif isinstance(sign, ast.Eq | ast.NotEq):
            fits = kinds[0] == kinds[1] != "list"
        else:
            fits = kinds == ("number", "number")
        if not fits:
            raise BadCondition(
                f"a {kinds[0]} does not compare with a {kinds[1]} here", "quote texts, not numbers or truths", right.col_offset
            )
        for name, other in ((left, right), (right, left)):
            _possible(name, other, axes)
        left = right


def _possible(name: ast.expr, other: ast.expr, axes: Names) -> None:
    """A name compared with a text that it can never be is a slip of the pen."""
    known = axes.get(name.id) if isinstance(name, ast.Name) else None
    if known is None or known is TRUTHS:
        return
    for constant in other.elts if isinstance(other, ast.List | ast.Tuple) else [other]:
        if isinstance(constant, ast.Constant) and constant.value not in known:
            raise BadCondition(
                f"{ast.unparse(name)} is never '{constant.value!s}'",
                similar(str(constant.value), map(str, known)),
                constant.col_offset,
                frozenset({str(constant.value)}),
            )


def _value(node: ast.expr, values: Mapping[str, Any], available: Callable[[str], bool]) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values, available) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, values, available) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values, available)
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values, available)
        case ast.Compare(left=left, ops=signs, comparators=rights):
            chain = [_value(part, values, available) for part in [left, *rights]]
            return all(COMPARISONS[type(sign)](a, b) for sign, a, b in zip(signs, chain, chain[1:], strict=False))
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, values, available) for item in items]
        case ast.Call(args=[ast.Constant(value=str(name))]):
            return available(name)
    name = ast.unparse(node)
    return values[name] if name in values else WRITTEN[name]
