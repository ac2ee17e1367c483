"""What a design tells of an estimand, and on which models it rests.

What is asked is told where its own models carry it (`bases`) and its row lies in the row space of the fixed effects. A slope, and
a gain at lp = 0 or at a size, is over the combinations whose slope is told. A gain of others is one of the models that were run,
at their sizes and in their families; two gains are then compared on the models that both have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import log10
from typing import Any

import numpy as np
import pandas as pd

from xlift.analysis.mixed.model import Grid
from xlift.analysis.study import estimands
from xlift.analysis.study.bases import SIZE, Basis, Key, models_of, named
from xlift.analysis.study.estimands import GAIN, NESTED, OF_LANGUAGES, OF_SIZES, SLOPE, TOLD, Estimand, Mean, lp, spoken_of
from xlift.analysis.study.primary import Primary
from xlift.registry.findings import UserError
from xlift.registry.manifest import conditions

TOLD_BY = 1e-8  # of a coefficient's length: what others leave of it where they tell it
BOTH = (0.0, 1.0)  # lp at which a slope is read: how coded columns change between them
APART = "the two gains have no model in common, and their models do not tell what size does"
NAMED = 4  # models that a sentence names; more are counted


@dataclass(frozen=True)
class Setting:
    """What an estimand is put to: a target group's gains, how their fixed effects are coded, and what their slopes rest on."""

    rows: pd.DataFrame
    grid: Grid
    primary: Primary
    x: str  # the column of sizes
    min_models: int

    @property
    def movers(self) -> tuple[str, ...]:
        return self.primary.movers

    @property
    def bases(self) -> Mapping[Key, Basis]:
        return self.primary.bases

    @property
    def refused(self) -> str | None:
        """Why there is no slope at all."""
        return self.primary.refused

    @property
    def sized(self) -> bool:
        return SIZE in self.grid.numbers

    @property
    def of_models(self) -> tuple[str, ...]:
        """The factors of the fixed part that say something of a model, such as its family."""
        return tuple(name for name in self.grid.levels if name not in self.movers and _of_the_model(name, self.seen))

    @property
    def like_means(self) -> bool:
        """Whether a mean of each model has the same fixed effects, and so a slope that may be compared with this one.

        Numbers beside lp, and factors that vary within models and move no slope, are not in a mean.
        """
        return {*self.grid.levels} <= {*self.of_models, "treatment", "target"} and {*self.grid.numbers} == {SIZE}

    @cached_property
    def seen(self) -> pd.DataFrame:
        """The gains without what repeats: models, their sizes, and the levels that the fixed effects and conditions tell."""
        told = [name for name in TOLD if name not in OF_LANGUAGES]  # of languages only what the fixed effects have
        sizes = [name for name in OF_SIZES if name in self.rows]
        names = dict.fromkeys(["model", SIZE, self.x, *sizes, *self.movers, *self.grid.levels, *told])
        return self.rows[list(names)].drop_duplicates(ignore_index=True)

    @cached_property
    def sizes(self) -> list[dict[str, float]]:
        """The sizes of models, by their columns."""
        names = [name for name in dict.fromkeys([self.x, *OF_SIZES]) if name in self.seen]
        return self.seen[names].drop_duplicates().to_dict("records")

    @cached_property
    def known(self) -> conditions.Names:
        """What conditions may compare names with."""
        return estimands.known(self.rows)

    @cached_property
    def single(self) -> dict[str, str]:
        """What all gains have in common."""
        names = [name for name in TOLD if name in self.rows]
        return {name: self.rows[name].iloc[0] for name in names if self.rows[name].nunique(dropna=False) == 1}

    @cached_property
    def nested(self) -> dict[str, tuple[str, dict[str, str]]]:
        """What a level of a fixed factor tells: name -> the factor, and what each of its levels has."""
        there = [(factor, name) for factor, names in NESTED.items() if factor in self.grid.levels for name in names]
        pairs = {(factor, name): self.rows[[factor, name]].drop_duplicates() for factor, name in there if name in self.rows}
        return {name: (factor, dict(zip(both[factor], both[name], strict=True))) for (factor, name), both in pairs.items()}

    def levels(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        """What each row of some combinations says to a condition."""
        told = frame.assign(**{name: frame[factor].map(of) for name, (factor, of) in self.nested.items() if name not in frame})
        return [{**self.single, **row} for row in told.to_dict("records")]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All models, smallest first."""
        return models_of(self.seen)

    @cached_property
    def run(self) -> tuple[Key, ...]:
        """The combinations of `movers` that have gains."""
        return tuple(dict.fromkeys(_keys(self.seen, self.movers)))

    def at(self, key: Key) -> pd.DataFrame:
        """What is `seen` at some levels."""
        if key not in self._at:
            self._at[key] = _at_key(self.seen, key)
        return self._at[key]

    @cached_property
    def _at(self) -> dict[Key, pd.DataFrame]:
        return {}

    @cached_property
    def behind(self) -> dict[str | None, dict[Key, pd.DataFrame]]:
        """By a condition: what is `seen` behind the slopes of what it holds for, whatever is asked of these."""
        return {}

    @cached_property
    def together(self) -> tuple[tuple[str, ...], ...]:
        """The factors that move a slope together, a tuple each."""
        return tuple(dict.fromkeys(tuple(name for name, _ in key) for key in self.bases))

    def slopes(self, key: Key) -> list[Key]:
        """What the slope at levels of all `movers` is the sum of: a key each of `bases`, if it is there."""
        levels = dict(key)
        return [tuple((name, levels[name]) for name in by) for by in self.together]

    def carried(self, key: Key) -> bool:
        """Whether the slope at levels of all `movers` is told."""
        return all(own in self.bases and self.bases[own].refused is None for own in self.slopes(key))

    @cached_property
    def every(self) -> pd.DataFrame:
        """All combinations of the fixed part's levels; one row without a column where it has none."""
        levels = self.grid.levels
        return pd.DataFrame(list(product(*levels.values())), columns=list(levels)) if levels else pd.DataFrame(index=[0])

    def coded(self, size: float) -> np.ndarray:
        """(combinations, columns) of `every` at an lp, other numbers at their means."""
        if size not in self._coded:
            sizes = [size] if size not in BOTH or not self.sized else BOTH  # at once, as a slope asks for them
            at = [self.grid.numbers | ({SIZE: each} if self.sized else {}) for each in sizes]
            rows = self.grid.design.rows(pd.concat([self.every.assign(**numbers) for numbers in at], ignore_index=True))
            self._coded.update(zip(sizes, np.split(rows, len(sizes)), strict=True))
        return self._coded[size]

    @cached_property
    def _coded(self) -> dict[float, np.ndarray]:
        return {}


@dataclass(frozen=True, slots=True)
class Told:
    """An estimand that the design tells: its contrast, the models that it rests on, and what a reader has to know of it."""

    L: np.ndarray  # (columns of `Design.rows`,)
    models: tuple[str, ...]  # of all its parts, smallest first
    least: int  # fewest behind one of its parts
    notes: tuple[str, ...]


def told(estimand: Estimand, setting: Setting) -> Told:
    """UserError, with the reason, where the design does not tell it."""
    parts = [_Part(mean, setting) for mean in estimand.means]
    shared = _shared_models(parts) if len(parts) > 1 else None
    rows = [part.row(shared) for part in parts]
    L = rows[0] - rows[1] if len(rows) > 1 else rows[0]
    if np.abs(L).max() < TOLD_BY:
        raise UserError(f"'{estimand.text}' is 0 whatever the gains are: its two sides are one")
    if not setting.grid.design.told(L[None])[0]:
        raise UserError(f"these runs do not tell '{estimand.text}' from other effects: no model has both, or all of them differ")
    behind = [models for part in parts for models in part.behind(shared)]
    union = tuple(model for model in setting.order if any(model in models for models in behind))
    notes = dict.fromkeys(note for part in parts for note in part.notes(shared))
    return Told(L, union, min(map(len, behind)), tuple(notes))


def slope_at(key: Key, setting: Setting) -> np.ndarray:
    """(columns,) the slope at some levels of the factors that move it."""
    part = _Part(SLOPE.first, setting)
    part.combinations = _at_key(part.combinations, key)
    return part.row(None)


def told_coefficients(setting: Setting) -> np.ndarray:
    """(columns,) whether each coefficient is a combination of what is told: slopes, gains at lp = 0, gains of models."""
    design, every = setting.grid.design, _combinations(GAIN, setting)
    rows, grids = [], list[pd.DataFrame]()
    for key in setting.run:
        part = _Part(GAIN, setting)
        part.left, part.combinations = {}, _at_key(every, key)
        if not setting.sized or setting.carried(key):
            grid = part.grid()
            grids += [grid, grid.assign(lp=1.0)] if setting.sized else [grid]
        else:
            part.carried = False
            rows.append(design.rows(part._at(key, None)).mean(0, keepdims=True))
    if grids:
        rows.append(design.rows(pd.concat(grids, ignore_index=True)))
    span = np.vstack(rows) / design.coding.lengths
    each = np.eye(len(design.coding.names))
    left = each - np.linalg.lstsq(span.T, each, rcond=None)[0].T @ span
    return design.told(each) & (np.linalg.norm(left, axis=1) <= TOLD_BY)


def frame(mean: Mean, setting: Setting) -> pd.DataFrame:
    """The combinations of levels that a gain is over, each weighed equally, lp at its size: what a prediction is made for."""
    return _Part(mean, setting).grid()


def treatments(mean: Mean, setting: Setting) -> list[str]:
    """Those that a mean's condition holds for."""
    return sorted(set(_combinations(mean, setting)["treatment"]))


class _Part:
    """One mean of an estimand: the combinations that it is over, and the models behind them."""

    def __init__(self, mean: Mean, setting: Setting) -> None:
        self.mean, self.setting, self._own = mean, setting, dict[Key, pd.DataFrame]()
        self.of_sizes = bool(spoken_of(mean) & {*OF_SIZES})
        asked = _combinations(mean, setting)
        keys = _keys(asked, setting.movers)
        kept = {key: setting.carried(key) for key in keys}
        self.carried = setting.sized and any(kept.values())
        if not self.carried:
            kept = {key: key in setting.run for key in kept}
        if self.of_sizes and mean.quantity == "slope":
            raise UserError(f"a slope is the same at every size, and so cannot be told where {mean.condition}")
        if (mean.quantity == "slope" or mean.params or self.of_sizes) and not self.carried:
            if not setting.sized:
                raise UserError(_no_size(mean, setting))
            kept = {key: ran and mean.quantity == "gain" and len(self._chosen(setting.at(key))) > 0 for key, ran in kept.items()}
            if not any(kept.values()):
                raise UserError(self._refusal(keys))
        inside = {own for key, ok in kept.items() if ok for own in setting.slopes(key)}
        lost = dict.fromkeys(own for key, ok in kept.items() if not ok for own in setting.slopes(key) if own not in inside)
        self.left = {own: why for own in lost if own in setting.bases and (why := setting.bases[own].refused)}
        self.combinations = asked[[kept[key] for key in keys]]
        if mean.quantity == "slope" and mean.condition:
            self._moved_by_its_condition()

    def row(self, shared: tuple[str, ...] | None) -> np.ndarray:
        """(columns,) of the mean; on `shared` models where two gains are compared that not all models have."""
        setting, design = self.setting, self.setting.grid.design
        if self.mean.quantity == "slope":
            return (setting.coded(1.0) - setting.coded(0.0))[self.combinations.index].mean(0)
        if shared is None and not self.of_sizes and (self.carried or not setting.sized):
            return setting.coded(self.size)[self.combinations.index].mean(0)
        frames = [frame for key in self.run if len(frame := self._at(key, shared))]
        if not frames:
            raise UserError(APART)
        return np.mean([design.rows(frame).mean(0) for frame in frames], axis=0)

    def grid(self) -> pd.DataFrame:
        """The combinations, lp at the asked size, other numbers at their means."""
        at = {SIZE: self.size} if self.setting.sized else {}
        return self.combinations.assign(**self.setting.grid.numbers | at).reset_index(drop=True)

    @property
    def size(self) -> float:
        """lp at which a gain is asked."""
        return lp(self.mean.params, self.setting.rows, self.setting.x) if self.mean.params else 0.0

    @property
    def run(self) -> list[Key]:
        """The levels of all movers in its combinations."""
        return list(dict.fromkeys(_keys(self.combinations, self.setting.movers)))

    @property
    def keys(self) -> list[Key]:
        """What its models are counted by: each slope that it is the sum of, or all levels where it is of models that were run."""
        return list(dict.fromkeys(own for key in self.run for own in self.setting.slopes(key))) if self.carried else self.run

    def own(self, key: Key | None = None) -> pd.DataFrame:
        """What is `seen` behind one slope's combinations, or all of them."""
        if key is None:
            return pd.concat([self.own(each) for each in self.keys])
        known = self.setting.behind.setdefault(self.mean.condition, {}) if self.carried else self._own
        if key not in known:
            known[key] = self._behind(key)
        return known[key]

    def _behind(self, key: Key) -> pd.DataFrame:
        rows = self.setting.at(key)
        spoken = spoken_of(self.mean)
        also = [name for name in self.combinations if name not in dict(key) and spoken & {name, *NESTED.get(name, ())}]
        if also:
            combinations = _at_key(self.combinations, key)[also].drop_duplicates()
            rows = rows.merge(combinations, on=also) if len(also) > 1 else rows[rows[also[0]].isin(combinations[also[0]])]
        return rows if self.carried else self._chosen(rows)

    def behind(self, shared: tuple[str, ...] | None) -> list[tuple[str, ...]]:
        """The models of each slope's combinations."""
        if shared:
            return [shared] * len(self.keys)
        sets = [{*self.own(key)["model"]} for key in self.keys]
        if not any(sets):
            raise UserError(f"no gain has {self.mean.condition}")
        return [tuple(model for model in self.setting.order if model in own) for own in sets if own]

    def notes(self, shared: tuple[str, ...] | None) -> Iterator[str]:
        setting = self.setting
        if self.left:
            reasons: dict[str, list[str]] = {}
            for key, why in self.left.items():
                reasons.setdefault(why, []).append(named(key))
            lost = [f"{', '.join(names)} ({why})" for why, names in reasons.items()]
            yield f"without {'; '.join(lost)}"
        if without := [named(key) for key in self.keys if self.own(key).empty]:
            yield f"over all equally, though no such gain is of {', '.join(without)}"
        if self.mean.quantity == "slope":
            return
        own = self.own()
        models = shared or models_of(own)
        unsized = not setting.sized and setting.refused
        if unsized or (setting.sized and not self.carried) or len(models) < setting.min_models:
            yield f"of {_listed(models)}"
        elif self.of_sizes:
            at = [name for name in setting.order if name in {*self._chosen(setting.seen)["model"]}]
            yield f"at the sizes of {_listed(at, '')}"
        elif outside := self._outside(own):
            yield outside

    def _outside(self, own: pd.DataFrame) -> str | None:
        """That a gain is asked where no model of some combination was run."""
        setting = self.setting
        ends = [(part[setting.x].min(), part[setting.x].max()) for part in map(self.own, self.keys) if len(part)]
        sizes = [(log10(low / own[setting.x].iloc[0]), log10(high / own[setting.x].iloc[0])) for low, high in ends]
        here = self.size - own[SIZE].iloc[0]
        beyond = [end for end, (low, high) in zip(ends, sizes, strict=True) if not low - 1e-6 <= here <= high + 1e-6]
        if not beyond:
            return None
        low, high = min(end[0] for end in beyond), max(end[1] for end in beyond)
        return f"extrapolation: the models have {low:,.0f} to {high:,.0f} parameters"

    def _at(self, key: Key, shared: tuple[str, ...] | None) -> pd.DataFrame:
        """A slope's combinations on models, at their sizes and in their families: those that were run, or all where told."""
        setting, own = self.setting, self.own(key)
        combinations = _at_key(self.combinations, key)
        fixed = [name for name in combinations if name not in setting.movers and _of_the_model(name, setting.seen)]
        free = combinations.drop(columns=fixed).drop_duplicates()
        models = (setting.seen if shared or self.carried else own).drop_duplicates("model")
        models = models[models["model"].isin(shared)] if shared else models
        numbers = {name: value for name, value in setting.grid.numbers.items() if name != SIZE}
        sizes = [name for name in setting.sizes[0] if name not in free]
        crossed = free.merge(models[[SIZE, *sizes, *fixed]], how="cross").assign(**numbers)
        return self._chosen(crossed) if self.of_sizes else crossed

    def _chosen(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those at the size that is asked for, or for which a condition on sizes holds."""
        if self.of_sizes:
            holds = estimands.holding(self.mean, self.setting.known, self.setting.x)
            return rows[[holds(levels) for levels in self.setting.levels(rows)]]
        if self.mean.quantity == "gain" and self.mean.params:
            return rows[np.isclose(rows[self.setting.x].astype(float), self.mean.params, rtol=1e-6)]
        return rows

    def _refusal(self, keys: Sequence[Key]) -> str:
        asked = dict.fromkeys(own for key in keys for own in self.setting.slopes(key))
        reasons = {own: basis.refused for own in asked if (basis := self.setting.bases.get(own)) and basis.refused}
        if len(set(reasons.values())) == 1:
            return str(next(iter(reasons.values())))
        return "; ".join(f"{named(key)}: {why}" for key, why in reasons.items()) or "no gain is there"

    def _moved_by_its_condition(self) -> None:
        """UserError where combinations that the condition leaves out have the very slope of those that it holds for."""
        others = self.setting.every.drop(self.combinations.index)
        if {*_keys(others, self.setting.movers)} & {*self.run}:
            raise UserError(f"the primary model has one slope for all, and so cannot tell a slope where {self.mean.condition}")


def _shared_models(parts: Sequence[_Part]) -> tuple[str, ...] | None:
    """The models on which two gains are compared, where one of them is of models that were run; None where both have slopes."""
    lonely = [part for part in parts if not part.carried and part.mean.quantity == "gain"]
    if not lonely:
        return None
    if not lonely[0].setting.sized:
        sets = [models_of(part.own()) for part in parts]
    else:
        sets = [models_of(part.own(key)) for part in lonely for key in part.run]
    shared = tuple(model for model in sets[0] if all(model in models for models in sets))
    if not shared:
        raise UserError(APART)
    return shared if lonely[0].setting.sized else None


def _combinations(mean: Mean, setting: Setting) -> pd.DataFrame:
    """The combinations of the fixed part's levels that a mean's condition holds for, of some model where it is on sizes."""
    grid = setting.every
    if not mean.condition:
        return grid
    holds = estimands.holding(mean, setting.known, setting.x)
    if lost := sorted(spoken_of(mean) - {*grid, *setting.nested, *setting.single, *OF_SIZES}):
        raise UserError(f"the primary model averages over {', '.join(lost)}, and so cannot tell '{mean.condition}'")
    sizes = setting.sizes if spoken_of(mean) & {*OF_SIZES} else [{}]
    grid = grid[[any(holds(levels | size) for size in sizes) for levels in setting.levels(grid)]]
    if not len(grid):
        raise UserError(f"no gain has {mean.condition}")
    return grid


def _keys(combinations: pd.DataFrame, names: tuple[str, ...]) -> list[Key]:
    """The levels of some factors in each combination."""
    if not names:
        return [()] * len(combinations)
    return [tuple(zip(names, levels, strict=True)) for levels in zip(*(combinations[name] for name in names), strict=True)]


def _at_key(combinations: pd.DataFrame, key: Key) -> pd.DataFrame:
    for name, level in key:
        combinations = combinations[combinations[name] == level]
    return combinations


def _of_the_model(name: str, rows: pd.DataFrame) -> bool:
    """Whether a factor says something of the model, and not of what is done with it."""
    return name not in ("treatment", "intermediate", "variant", "target") and rows.groupby("model")[name].nunique().max() == 1


def _no_size(mean: Mean, setting: Setting) -> str:
    said = setting.refused or "the primary model has no slope on lp"
    return said if mean.quantity == "slope" else f"{said}; so there is no gain at a size"


def _listed(models: Sequence[str], alone: str = " alone") -> str:
    names = f" ({', '.join(models)})" if len(models) <= NAMED else ""
    return f"1 model{alone}{names}" if len(models) == 1 else f"these {len(models)} models{alone}{names}"
