"""What a hypothesis or a claim asks of the primary model, in words.

    slope                                               points for ten times the parameters, combinations weighed equally
    gain | intermediate == 'qqp'                        the gain at lp = 0, of the combinations that a condition holds for
    gain | variant == 'mlm' at params = 1e10
    slope | intermediate == 'qqp' minus slope | intermediate == 'mnli'

Conditions are those of `when`, over what the primary model tells apart by fixed effects; it averages over all else. Whether a
design tells what is asked is in `telling`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

from xlift.registry.findings import UserError
from xlift.registry.manifest import conditions

if TYPE_CHECKING:
    import pandas as pd

SLOPES, GAINS = ("slope", "slope(lp)", "slope(log10(params))"), ("gain", "mean(gain)")
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
AT_SIZE = re.compile(r"\s+at\s+params\s*=\s*(\S+)$")
SMALLEST, LARGEST = 1e3, 1e15  # parameters that a model may have
TOLD = ("intermediate", "variant", "treatment", "family", "target")  # columns by which conditions may choose


@dataclass(frozen=True, slots=True)
class Mean:
    """A slope, or a gain at a size, of the combinations of levels that a condition holds for, each weighed equally."""

    quantity: str  # slope or gain
    condition: str | None
    params: float | None  # of a gain; None is lp = 0


@dataclass(frozen=True, slots=True)
class Estimand:
    """One mean, or the difference of two."""

    text: str
    first: Mean
    second: Mean | None

    @property
    def is_slope(self) -> bool:
        return self.first.quantity == "slope"


def parse(text: str) -> Estimand:
    """UserError says what is wrong with it."""
    parts = _split(r"\s+minus\s+", text.strip())
    if len(parts) > 2:
        raise UserError(f"'{text}' has more than one 'minus'")
    first, *rest = (_mean(part, text) for part in parts)
    if rest and rest[0].quantity != first.quantity:
        raise UserError(f"'{text}' subtracts a {rest[0].quantity} from a {first.quantity}")
    return Estimand(text.strip(), first, rest[0] if rest else None)


def _mean(part: str, whole: str) -> Mean:
    part, params = part.strip(), None
    if size := AT_SIZE.search(unquoted(part)):
        try:
            params = float(size.group(1))
        except ValueError:
            raise UserError(f"'{size.group(1)}' is no number of parameters; write at params = 1e10") from None
        if not SMALLEST <= params <= LARGEST:
            raise UserError(f"a model of {params:g} parameters; write one between {SMALLEST:g} and {LARGEST:g}, such as 1e10")
        part = part[: size.start()].strip()
    quantity, *bar = _split(r"\|", part, 1)
    quantity, condition = "".join(quantity.split()), bar[0].strip() if bar else ""
    if quantity not in (*SLOPES, *GAINS):
        raise UserError(f"'{whole}' asks for '{quantity}'; write slope or gain, as in \"gain | intermediate == 'qqp'\"")
    if bar and not condition:
        raise UserError(f"'{whole}' lacks its condition after the bar")
    if quantity in SLOPES and params:
        raise UserError(f"'{whole}': a slope is the same at every size; leave out 'at params'")
    return Mean("slope" if quantity in SLOPES else "gain", condition or None, params)


def unquoted(text: str) -> str:
    """The text, with what stands in quotes blanked out letter by letter: a name may hold any word of this language."""
    return QUOTED.sub(lambda found: "'" + "_" * (len(found[0]) - 2) + "'", text)


def _split(pattern: str, text: str, most: int = -1) -> list[str]:
    """`re.split`, outside of quotes."""
    cuts = [found.span() for found in re.finditer(pattern, unquoted(text))][: most if most > 0 else None]
    starts, stops = [0, *(stop for _, stop in cuts)], [*(start for start, _ in cuts), len(text)]
    return [text[start:stop] for start, stop in zip(starts, stops, strict=True)]


SLOPE = Estimand("slope", Mean("slope", None, None), None)  # of all that carry one, equally


GAIN = Mean("gain", None, None)


def of_treatment(quantity: str, treatment: str, params: float | None = None) -> Estimand:
    """The slope or the gain of one treatment."""
    return Estimand(quantity, Mean(quantity, f"treatment == {treatment!r}", params), None)


def axes(rows: pd.DataFrame) -> dict[str, frozenset[str]]:
    """What a condition may compare each name with, for one group's gains."""
    return {name: frozenset(rows[name]) for name in TOLD}


def check(estimand: Estimand, rows: pd.DataFrame) -> None:
    """UserError where a condition is none for these gains, or holds for none of them."""
    for mean in (estimand.first, estimand.second):
        if mean and mean.condition:
            holds = condition(mean.condition, axes(rows))
            levels = rows[list(TOLD)].drop_duplicates().to_dict("records")
            if not any(holds(level) for level in levels):
                raise UserError(f"no gain has {mean.condition}")


def lp(params: float, rows: pd.DataFrame, x: str) -> float:
    """log10 of a number of parameters, from the centre that these gains' lp has."""
    first = rows.iloc[0]
    return log10(params) - (log10(first[x]) - first["lp"])


def of_a_model(estimand: Estimand) -> Mean:
    """The gain that one model could have; UserError where an estimand is something else."""
    if estimand.is_slope or estimand.second:
        raise UserError(f"'{estimand.text}' is no gain that a model could have; write gain at params = 1e10")
    return estimand.first


def spoken_of(mean: Mean) -> set[str]:
    """What a condition speaks of."""
    if not mean.condition:
        return set()
    tree = ast.parse(mean.condition, mode="eval")
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}


def condition(text: str, known: Mapping[str, frozenset[str]]) -> conditions.Condition:
    """A condition over `known`; UserError where it is none."""
    try:
        return conditions.parse(text, known, (), available=False)
    except conditions.BadCondition as error:
        raise UserError(error.words) from None
