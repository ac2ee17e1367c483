"""What a hypothesis or a claim asks of the primary model, in words.

    slope                                               points for ten times the parameters, combinations weighed equally
    gain | intermediate == 'qqp'                        the gain at lp = 0, of the combinations that a condition holds for
    gain | variant == 'mlm' at params = 1e10
    slope | intermediate == 'qqp' minus slope | intermediate == 'mnli'
    gain | seen == false minus gain | seen == true      the default model then has what is asked of languages as fixed effects
    gain | params_total > 3e9                           the gain at the sizes of those models that were run

Conditions are those of `when`, over what the primary model tells apart by fixed effects; it averages over all else. Whether a
design tells what is asked is in `telling`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any

from xlift.registry.findings import UserError
from xlift.registry.manifest import conditions

if TYPE_CHECKING:
    import pandas as pd

SLOPES, GAINS = ("slope", "slope(lp)", "slope(log10(params))"), ("gain", "mean(gain)")
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
AT_SIZE = re.compile(r"\s+at\s+params\s*=\s*(\S+)$")
SMALLEST, LARGEST = 1e3, 1e15  # parameters that a model may have
OF_TREATMENTS = frozenset({"treatment", "intermediate", "variant"})
OF_LANGUAGES = ("language", "language_family", "seen")
OF_SIZES = ("params", "params_total", "params_non_embedding")  # params: the column that the slope is on
TOLD = ("intermediate", "variant", "treatment", "family", "target", *OF_LANGUAGES)  # columns by which conditions may choose
NESTED = {"treatment": ("intermediate", "variant"), "language": ("language_family",)}  # what a level of a factor tells


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

    @property
    def means(self) -> tuple[Mean, ...]:
        return (self.first, self.second) if self.second else (self.first,)

    @property
    def spoken(self) -> frozenset[str]:
        """What its conditions speak of."""
        return frozenset[str]().union(*map(spoken_of, self.means))


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
    mean = Mean("slope" if quantity in SLOPES else "gain", condition or None, params)
    if params and spoken_of(mean) & {*OF_SIZES}:
        raise UserError(f"'{whole}' tells a size twice; leave out 'at params', or sizes in the condition")
    return mean


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


def known(rows: pd.DataFrame) -> conditions.Names:
    """What a condition may compare each name with, for one group's gains: texts, truths, or numbers (None)."""
    levels = {name: conditions.TRUTHS if name == "seen" else frozenset(rows[name].dropna()) for name in TOLD if name in rows}
    return levels | {name: None for name in OF_SIZES if name == "params" or (name in rows and rows[name].notna().all())}


def beside(estimand: Estimand, rows: pd.DataFrame) -> tuple[str, ...]:
    """The factors of languages that an estimand names; a language tells its family. UserError where some gains have none."""
    asked = tuple(name for name in OF_LANGUAGES if name in estimand.spoken)
    for name in asked:
        if name not in rows or (lost := rows[rows[name].isna()]).size:
            whose = ", ".join(sorted(lost["model"].unique())) if name in rows else "these models"
            raise UserError(f"{name} is not known of all gains: not of those of {whose}")
    return tuple(name for name in asked if not ("language" in asked and name in NESTED["language"]))


def holding(mean: Mean, known: conditions.Names, x: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a mean's condition holds for some levels, `x` the column of `params`; UserError where it is none."""
    if not mean.condition:
        return lambda levels: True
    if lost := sorted(spoken_of(mean) & {*OF_SIZES} - {*known}):
        raise UserError(f"{lost[0]} is not known of all models; write {x}")
    holds = condition(mean.condition, known)

    def answer(levels: Mapping[str, Any]) -> bool:
        truths = {"seen": levels["seen"] in (True, "true")} if "seen" in levels else {}
        return holds({**levels, **truths} | ({"params": levels[x]} if x in levels else {}))

    return answer


def chosen(mean: Mean, rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """The gains for which a mean's condition holds; UserError where it is none for them."""
    holds, names = holding(mean, known(rows), x), [name for name in rows if name in {x, *spoken_of(mean)}]
    levels = rows[names].drop_duplicates()
    return rows.merge(levels[[holds(level) for level in levels.to_dict("records")]], on=names)


def check(estimand: Estimand, rows: pd.DataFrame, x: str) -> None:
    """UserError where a condition is none for these gains, or holds for none of them."""
    beside(estimand, rows)
    for mean in estimand.means:
        if chosen(mean, rows, x).empty:
            raise UserError(f"no gain has {mean.condition}")


def lp(params: float, rows: pd.DataFrame, x: str) -> float:
    """log10 of a number of parameters, from the centre that these gains' lp has."""
    first = rows.iloc[0]
    return log10(params) - (log10(first[x]) - first["lp"])


def of_a_model(estimand: Estimand) -> Mean:
    """The gain that one model could have; UserError where an estimand is something else."""
    if estimand.is_slope or estimand.second or estimand.spoken & {*OF_SIZES}:
        raise UserError(f"'{estimand.text}' is no gain that a model could have; write gain at params = 1e10")
    return estimand.first


def spoken_of(mean: Mean) -> set[str]:
    """What a condition speaks of; nothing where it is none."""
    if not mean.condition:
        return set()
    try:
        tree = ast.parse(mean.condition, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # which is said where it is put to gains
    named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}
    return named - {*conditions.WRITTEN}


def condition(text: str, known: conditions.Names) -> conditions.Condition:
    """A condition over `known`; UserError where it is none."""
    try:
        return conditions.parse(text, known, (), available=False)
    except conditions.BadCondition as error:
        raise UserError(error.words) from None
