"""R-style mixed formulas, taken apart: "gain ~ lp * inter + (1 + lp | lang) + (1 | model/inter)". Their matrices: `matrices`.

This module reads the bars, formulaic the algebra of terms (`*`, `/`, `**`) and their coding; what a factor is worth,
`expressions` computes. Formulas are data, not programs, and what one may cost is bounded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import formulaic
import numpy as np
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import ASTNode, Factor, Token
from formulaic.parser.types import Term as Product

from xlift.analysis.mixed import expressions
from xlift.analysis.mixed.expressions import MAX_TEXT, STATEFUL, quoted, read, words
from xlift.registry.findings import UserError

MAX_TERMS = 500  # of one part, after `*` and `**` are multiplied out
MAX_DEPTH = 30  # of brackets


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


def pieces_of(row: Any) -> Iterator[tuple[Piece, ...]]:
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
