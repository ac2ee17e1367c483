"""Which models a slope on size rests on, and whether they carry it.

A slope is a statement on models: each one counts its own, those that have gains at the levels of the factors that move it.
Under the default model a treatment moves it by one term and a target by another, and each level of either counts its own. More
seeds or languages do not help, a family costs one model, and a size that the other fixed effects tell, such as one size a
family, has no slope.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from xlift.analysis.mixed import formulas
from xlift.analysis.mixed.matrices import Coding
from xlift.registry import carriers

SIZE = "lp"
SIZES = (SIZE, "params_total", "params_non_embedding")  # columns that are constant within a model
FEWEST = 3  # models on which a slope can still be computed, without a test
SPANNED = 1e-8  # of lp's own spread: what the other fixed effects leave of it where they tell it

Key = tuple[tuple[str, object], ...]  # levels of the factors that move a slope together, each with its factor


@dataclass(frozen=True, slots=True)
class Basis:
    """The models behind one slope, smallest first, and why it is not told, where it is not."""

    models: tuple[str, ...]
    refused: str | None


def movers(fixed: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """The factors whose levels have slopes of their own: those that stand in a product with lp."""
    terms = [formulas.columns_of_product(term) for term in formulas.terms_of(fixed)]
    named = dict.fromkeys(name for columns in terms if SIZE in columns for name in columns if name not in SIZES)
    return tuple(name for name in named if not pd.api.types.is_numeric_dtype(rows[name]))


def together(fixed: str, rows: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """The sets of `movers` that stand in one product with lp, the largest ones; one of none where nothing moves a slope."""
    named = movers(fixed, rows)
    terms = [formulas.columns_of_product(term) for term in formulas.terms_of(fixed)]
    sets = dict.fromkeys(tuple(name for name in named if name in columns) for columns in terms if SIZE in columns)
    return tuple(own for own in sets if not any({*own} < {*other} for other in sets)) or ((),)


def bases(fixed: str, rows: pd.DataFrame, min_models: int, spare: int = carriers.SPARE_MODELS) -> dict[Key, Basis]:
    """Each slope of a fixed part, by the levels of factors that move it `together`: () where there is one for all."""
    found: dict[Key, Basis] = {}
    gains = ["gain"] if "gain" in rows else []
    named = [name for name in formulas.columns_named(fixed) if name in rows]
    rows = rows.assign(gain=0.0) if gains else rows  # what repeats counts once
    rows = rows[list(dict.fromkeys(["model", "family", SIZE, *gains, *named]))].drop_duplicates(ignore_index=True)
    texts = [name for name in rows if not pd.api.types.is_numeric_dtype(rows[name])]
    rows = rows.astype(dict.fromkeys(texts, object))
    for by in together(fixed, rows):
        parts: Iterable[tuple[tuple, pd.DataFrame]] = rows.groupby(list(by), sort=True) if by else [((), rows)]
        for levels, part in parts:
            key = tuple(zip(by, levels, strict=True))
            found[key] = Basis(models_of(part), slope_refused(part, min_models, spare, fixed))
    return found


def named(key: Key) -> str:
    """The levels of a slope, in words."""
    return ", ".join(str(level) for _, level in key) or "all"


def projected(found: Mapping[Key, Basis], left: tuple[str, ...]) -> dict[Key, Basis]:
    """Bases by fewer factors, where the others leave the model with the slopes that they move."""
    parts: dict[Key, list[Basis]] = {}
    for key, basis in found.items():
        parts.setdefault(tuple(pair for pair in key if pair[0] in left), []).append(basis)
    return {
        key: Basis(tuple(dict.fromkeys(model for basis in own for model in basis.models)), own[0].refused)
        for key, own in parts.items()
    }


def models_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """Smallest first."""
    sizes = dict(_different(rows, ["model", SIZE]))
    return tuple(sorted(sizes, key=lambda model: (sizes[model], model)))


def slope_refused(rows: pd.DataFrame, min_models: int, spare: int = carriers.SPARE_MODELS, fixed: str = "1") -> str | None:
    """Why these models carry no slope on size, beside the other fixed effects; None where they do."""
    models = {model: (family, size) for model, family, size in _different(rows, ["model", "family", SIZE])}
    why = carriers.refused(models, min_models, spare, "gains" if "gain" in rows else "scores")
    return why or _told_by_others(rows, fixed)


def _different(rows: pd.DataFrame, names: Sequence[str]) -> set[tuple]:
    """The combinations of some columns' values; in Python, since pandas takes a millisecond for a few rows."""
    return set(zip(*(rows[name].to_numpy() for name in names), strict=True))


def _told_by_others(rows: pd.DataFrame, fixed: str) -> str | None:
    """Why lp cannot be told from the other fixed effects on these rows; what does not vary here tells nothing."""
    terms = [(str(term), formulas.columns_of_product(term)) for term in formulas.terms_of(fixed)]
    others = {text: columns for text, columns in terms if columns and not {*SIZES} & {*columns}}
    names = [name for name in dict.fromkeys(chain(*others.values())) if len(_different(rows, [name])) > 1]
    plain = [text for text, columns in others.items() if {*columns} <= {*names}]
    if not plain:
        return None
    if len(_different(rows, [*names, SIZE])) > len(_different(rows, names)):  # two sizes of what is alike in all else
        return None
    seen = rows[[*names, SIZE]].drop_duplicates()
    X, lp = Coding(" + ".join(["1", *plain]), seen).learned, seen[SIZE].to_numpy()
    left = lp - X @ np.linalg.lstsq(X, lp, rcond=None)[0]
    if np.linalg.norm(left) > SPANNED * np.linalg.norm(lp - lp.mean()):
        return None
    alone = [name for name in names if seen.groupby(name)[SIZE].nunique().max() == 1]
    which = alone[0] if alone else " and ".join(names)
    return carriers.confounded(which)


def refused(found: Mapping[Key, Basis], rows: pd.DataFrame, min_models: int, fixed: str) -> str | None:
    """Why none of some slopes is told; None where one is: of every set of factors that move it, a level that is told."""
    parts: dict[tuple[str, ...], list[Key]] = {}
    for key in found:
        parts.setdefault(tuple(name for name, _ in key), []).append(key)
    lost = next((keys for keys in parts.values() if all(found[key].refused for key in keys)), None)
    if lost is None:
        return None
    if why := slope_refused(rows, min_models, fixed=fixed):
        return why
    return "no slope has models enough: " + "; ".join(f"{named(key)}: {found[key].refused}" for key in lost)
