"""Verdicts on what a study declared beforehand: hypotheses, tested as one family, and sentences of papers.

supported   the adjusted p is below SURE and the sign is the declared one (equivalence: both one-sided tests)
refuted     the adjusted p is below SURE and the sign is the opposite one (equivalence: the interval lies wholly outside);
            never where one side alone is tested
undecided   otherwise, and wherever the design carries no test
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed.contrasts import adjusted
from xlift.analysis.paired import nested_mean
from xlift.analysis.study import estimands, telling
from xlift.analysis.study.estimands import Estimand
from xlift.analysis.study.groups import SURE, GroupFit, fitted_group
from xlift.analysis.study.sizes import new_model
from xlift.registry.card import Analysis, Claim, Control, Hypothesis
from xlift.registry.findings import UserError

POINT = 0.01  # a point, in the fractions of scores and gains


@dataclass(frozen=True)
class Verdict:
    """One hypothesis or claim: fractions (for a slope, for ten times the parameters), and what they lead to."""

    name: str
    text: str  # what was asked
    group: str
    said: str  # supported, refuted, undecided; for claims agrees, disagrees, cannot tell; for predictions, predicted
    models: int  # that it rests on, all its parts together; 0 where there is no answer
    least: int = 0  # fewest behind one of its parts
    on: tuple[str, ...] = ()  # their names, smallest first
    estimate: float = np.nan
    se: float = np.nan
    df: float = np.nan
    low: float = np.nan
    high: float = np.nan
    level: float = LEVEL
    p: float = np.nan
    p_adjusted: float = np.nan
    note: str = ""
    per_decade: bool = False
    other: Mapping[str, object] = field(default_factory=dict)


def tested(
    groups: Sequence[GroupFit], hypotheses: Mapping[str, Hypothesis], control: Control, analysis: Analysis
) -> tuple[Verdict, ...]:
    """A verdict for each hypothesis, p adjusted over all of them that have one."""
    by_name = {group.name: group for group in groups}
    found = []
    for name, hypothesis in hypotheses.items():
        group = by_name.get(hypothesis.group or next(iter(by_name), ""))
        if group is None:
            found.append(Verdict(name, hypothesis.asked, hypothesis.group or "", "undecided", 0, note="there is no gain yet"))
            continue
        try:
            found.append(_one(name, hypothesis, group, analysis))
        except UserError as error:
            found.append(Verdict(name, hypothesis.asked, group.name, "undecided", 0, note=str(error)))
    p = pd.Series([verdict.p for verdict in found], dtype=float)
    family = p.notna()
    p[family] = adjusted(p[family], control)
    return tuple(_judged(verdict, hypotheses[verdict.name], float(value)) for verdict, value in zip(found, p, strict=True))


def _one(name: str, hypothesis: Hypothesis, group: GroupFit, analysis: Analysis) -> Verdict:
    estimand = estimands.parse(hypothesis.asked)
    common: dict[str, Any] = {"name": name, "text": hypothesis.asked, "group": group.name}
    group = group.beside(estimand)
    if group.fit is None or group.setting is None:
        return Verdict(**common, models=0, said="undecided", note=group.failed or "")
    told = telling.told(estimand, group.setting)
    common |= _behind(told, group)
    if hypothesis.predict:
        return _predicted(common, hypothesis, estimand, group, analysis)
    row = group.fit.contrasts(told.L, [name]).iloc[0]
    numbers = _numbers(row)
    p = float(row["p"]) if hypothesis.contrast else _equivalence(row, hypothesis.bounds)
    if hypothesis.sides == "one":
        p = float(stats.t.sf(_sign(hypothesis) * row["estimate"] / row["se"], row["df"]))
        common["note"] = "; ".join(filter(None, [common["note"], "one-sided: the other side is not tested"]))
    return Verdict(**common, **numbers, p=p, said="", per_decade=estimand.is_slope)


def _sign(hypothesis: Hypothesis) -> int:
    return {"positive": 1, "negative": -1}.get(hypothesis.direction or "", 0)


def _behind(told: telling.Told, group: GroupFit) -> dict[str, Any]:
    what = "is a fixed effect" if len(group.more) == 1 else "are fixed effects"
    notes = [f"{' and '.join(group.more)} {what} beside the primary model's"] if group.more else []
    return {"models": len(told.models), "least": told.least, "on": told.models, "note": "; ".join([*told.notes, *notes])}


def _numbers(row: pd.Series) -> dict[str, Any]:
    return {key: float(row[key]) for key in ("estimate", "se", "df", "low", "high")}


def _equivalence(row: pd.Series, bounds: tuple[float, float]) -> float:
    """The larger p of two one-sided tests: above the lower bound, below the upper one (Schuirmann 1987)."""
    above, below = ((row["estimate"] - bounds[0] * POINT) / row["se"], (bounds[1] * POINT - row["estimate"]) / row["se"])
    return float(stats.t.sf(min(above, below), row["df"]))


def _answer(p: float, sign: float, low: float, high: float, bounds: tuple[float, float] | None) -> int:
    """1, -1 or 0: what was asserted holds, its opposite does, or it is open; `sign` is 1 where the estimate is on its side."""
    if bounds:
        outside = low > bounds[1] * POINT or high < bounds[0] * POINT
        return 1 if p < SURE else -1 if outside else 0
    return 0 if p >= SURE else 1 if sign > 0 else -1


def _judged(verdict: Verdict, hypothesis: Hypothesis, p: float) -> Verdict:
    if verdict.said or np.isnan(p):
        return replace(verdict, p_adjusted=p, said=verdict.said or "undecided")
    answer = _answer(p, _sign(hypothesis) * verdict.estimate, verdict.low, verdict.high, hypothesis.bounds)
    return replace(verdict, p_adjusted=p, said={1: "supported", -1: "refuted", 0: "undecided"}[answer])


def _predicted(common: dict, hypothesis: Hypothesis, estimand: Estimand, group: GroupFit, analysis: Analysis) -> Verdict:
    row = predicted(group, estimand, hypothesis.interval)
    other = leave_largest_out(group, estimand, hypothesis.interval, analysis) if hypothesis.check else {}
    p = float(2 * stats.t.sf(abs(row["estimate"]) / row["se"], row["df"])) if hypothesis.direction else np.nan
    numbers = _numbers(row)
    said = "" if hypothesis.direction else "predicted"
    return Verdict(**common, **numbers, level=hypothesis.interval, p=p, said=said, other=other)


def predicted(group: GroupFit, estimand: Estimand, level: float, family: str | None = None) -> pd.Series:
    """What a new model of the estimand's size would gain, with its interval (`sizes.new_model`); of a family, if it is known."""
    rows = telling.frame(estimands.of_a_model(estimand), group.setting)
    if "family" in rows and family in set(rows["family"]):
        rows = rows[rows["family"] == family].reset_index(drop=True)
    named = rows if "treatment" in rows else rows.assign(treatment=group.treatments[0])
    return new_model(group, named, level=level).iloc[0]


def leave_largest_out(group: GroupFit, estimand: Estimand, level: float, analysis: Analysis) -> dict[str, object]:
    """What the smaller models predict for the largest one, beside its mean gain: model, predicted, low, high, observed.

    Both are over what is asked; of treatments, over those that the largest model had and whose slope the smaller ones tell.
    """
    largest = group.rows.loc[group.rows["lp"].idxmax()]
    held = group.rows["model"] == largest["model"]
    own = analysis.model_copy(update={"primary": group.primary.formula})
    smaller = fitted_group(group.name, group.rows[~held].reset_index(drop=True), own, estimates_only=True)
    found: dict[str, object] = {"model": largest["model"]}
    if not smaller.tested:
        return found | {"reason": smaller.refused}
    at = replace(estimands.of_a_model(estimand), params=float(largest[group.x]))
    try:
        gains = estimands.chosen(at, group.rows[held], group.x)
        asked = telling.frame(at, smaller.setting)
        if "treatment" in asked:
            both = sorted({*asked["treatment"]} & {*gains["treatment"]})
            gains = gains[gains["treatment"].isin(both)]
            at = replace(at, condition=" and ".join([*([f"({at.condition})"] if at.condition else []), f"treatment in {both!r}"]))
        if not len(gains):
            return found | {"reason": "it has none of these gains"}
        row = predicted(smaller, replace(estimand, first=at), level, family=largest["family"])
    except UserError as error:
        return found | {"reason": str(error)}
    observed = float(nested_mean(gains, ["model"])["gain"].iloc[0])
    return found | {**{key: float(row[key]) for key in ("estimate", "low", "high")}, "observed": observed}


def claimed(groups: Sequence[GroupFit], claims: Sequence[Claim]) -> tuple[Verdict, ...]:
    """Whether this study's gains agree with sentences of papers: agrees, disagrees, cannot tell; each by itself."""
    by_name = {group.name: group for group in groups}
    return tuple(_claim(claim, by_name.get(claim.group or next(iter(by_name), ""))) for claim in claims)


def _claim(claim: Claim, group: GroupFit | None) -> Verdict:
    common: dict[str, Any] = {"name": claim.text, "text": claim.test, "group": claim.group or (group.name if group else "")}
    if group is None or group.fit is None:
        return Verdict(**common, models=0, said="cannot tell", note="there is no fit")
    try:
        test = read_test(claim.test)
        if test.extreme:
            return _extreme(common, test, group)
        group = group.beside(test.estimand)
        if group.fit is None or group.setting is None:
            raise UserError(str(group.failed))
        told = telling.told(test.estimand, group.setting)
    except UserError as error:
        return Verdict(**common, models=0, said="cannot tell", note=str(error))
    common |= _behind(told, group)
    row = group.fit.contrasts(told.L, ["claim"]).iloc[0]
    numbers = _numbers(row)
    t = (row["estimate"] - test.than * POINT) / row["se"]
    p = _equivalence(row, test.bounds) if test.bounds else float(2 * stats.t.sf(abs(t), row["df"]))
    answer = _answer(p, test.sign * t, row["low"], row["high"], test.bounds)
    said = {1: "agrees", -1: "disagrees", 0: "cannot tell"}[answer]
    return Verdict(**common, **numbers, p=p, p_adjusted=p, said=said, per_decade=test.estimand.is_slope)


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a claim says of an estimand: above or below a number, within bounds (points), or the largest or smallest of all."""

    estimand: Estimand
    sign: int = 0
    than: float = 0.0
    bounds: tuple[float, float] | None = None
    extreme: bool = False


def read_test(text: str) -> Assertion:
    """ "slope > 0", "gain | intermediate == 'qqp' within [-0.5, 0.5]", "gain | intermediate == 'multi' is largest"."""
    number = r"([-+]?\d+(?:\.\d+)?)"
    text = text.strip()
    plain = estimands.unquoted(text)
    if found := re.fullmatch(r"(.+?)\s+is\s+(largest|smallest)", plain):
        estimand = estimands.parse(text[: found.end(1)])
        if estimand.second or not estimand.first.condition:
            raise UserError(f"'{text}': name one treatment, as in \"gain | intermediate == 'multi' is largest\"")
        return Assertion(estimand, sign=1 if found.group(2) == "largest" else -1, extreme=True)
    if found := re.fullmatch(rf"(.+?)\s+within\s+\[\s*{number}\s*,\s*{number}\s*\]", plain):
        low, high = float(found.group(2)), float(found.group(3))
        if low >= high:
            raise UserError(f"'{text}': the first bound is not below the second")
        return Assertion(estimands.parse(text[: found.end(1)]), bounds=(low, high))
    if found := re.fullmatch(rf"(.+?)\s*([<>])\s*{number}", plain):
        sign, than = 1 if found.group(2) == ">" else -1, float(found.group(3))
        return Assertion(estimands.parse(text[: found.end(1)]), sign, than)
    raise UserError(f"'{text}' says nothing of a number; write … > 0, … < 0, … within [-0.5, 0.5], … is largest or … is smallest")


def _extreme(common: dict, test: Assertion, group: GroupFit) -> Verdict:
    """The largest of all treatments: each difference has the sign and its test (Berger 1982); not, where one is surely larger."""
    fit, mean = group.fit, test.estimand.first
    if fit is None or group.setting is None or "treatment" not in fit.grid.levels:
        raise UserError("there is one treatment, and nothing to be larger than")
    if other := test.estimand.spoken - estimands.OF_TREATMENTS:
        raise UserError(f"'{mean.condition}' names {', '.join(sorted(other))}: the largest is told of treatments, over all else")
    every = fit.grid.levels["treatment"]
    own = telling.treatments(mean, group.setting)
    others = [name for name in every if name not in own]
    if len(own) != 1 or not others:
        raise UserError(f"'{mean.condition}' is not one treatment among several")
    kind, (name,) = mean.quantity, own
    first = estimands.of_treatment(kind, name, mean.params)
    second = {other: estimands.of_treatment(kind, other, mean.params).first for other in others}
    asked = {other: group.asked(replace(first, second=against)) for other, against in second.items()}
    against = {other: told for other, told in asked.items() if not isinstance(told, str)}
    if not against:
        raise UserError(f"nothing can be compared with it: {next(iter(asked.values()))}")
    told = list(against.values())
    on = tuple(dict.fromkeys(model for each in told for model in each.models))
    common |= {"models": len(on), "least": min(each.least for each in told), "on": on}
    table = fit.contrasts(np.array([each.L for each in told]), list(against))
    one_sided = stats.t.sf(test.sign * table["t"], table["df"])
    p, beaten = float(one_sided.max()), adjusted(pd.Series(1 - one_sided), "holm")
    nearest = table.iloc[int(np.argmax(one_sided))]
    whole = len(against) == len(others)  # the largest of all is larger than each of them
    verdict = "agrees" if p < SURE / 2 and whole else "disagrees" if (beaten < SURE / 2).any() else "cannot tell"
    untold = [f"{other} cannot be compared with it ({why})" for other, why in asked.items() if isinstance(why, str)]
    notes = dict.fromkeys([f"difference from {nearest['contrast']}", *(note for each in told for note in each.notes), *untold])
    numbers = _numbers(nearest)
    return Verdict(
        **common,
        **numbers,
        p=p,
        p_adjusted=p,
        said=verdict,
        note="; ".join(notes),
        per_decade=kind == "slope",
    )
