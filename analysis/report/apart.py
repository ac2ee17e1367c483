"""For which tasks a slope speaks: a sentence where slopes differ, tests that say so, and slopes that stand beside. In points."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from xlift.analysis.report import effects
from xlift.analysis.report.effects import PER, number
from xlift.analysis.report.table import DASH, Table, count, interval, points, probability, signed
from xlift.analysis.study.apart import PLURAL, Apart
from xlift.analysis.study.groups import SURE

SPREAD = "sd over targets"
SPEAKS = {"these": "the mean of these {} at equal weights", "like these": "that of targets like these {}"}


def verdict(found: Apart) -> str:
    """What a group's model says about size: that its slopes differ, where they do, before their mean."""
    group, row = found.group, found.group.headline
    if row is None or group.pooled is None or group.refused:
        return effects.verdict(group)
    speaks, told = _speaks(found), _slope(row)
    if found.differ:
        said = f"{differing(found)} {(speaks or 'that of all of them, equally,').capitalize()} is {told}, {effects.basis(group)}."
        return " ".join([said, *(f"It is {note}." for note in group.pooled.notes)]) + _otherwise(found)
    test = found.tests.set_index("axis").loc["target"]
    equal = f"; their slopes are not seen to differ ({_test(test)})" if pd.notna(test["p"]) else ""
    return effects.verdict(group) + (f" It is {speaks}{equal}." if speaks else "") + _otherwise(found)


def differing(found: Apart, unless: Collection[str] = ()) -> str:
    """That slopes differ, over what, and between which; "" where they do not, or only over axes that are no matter."""
    said = []
    for axis in found.differ:
        if axis in unless:
            continue
        own, test = found.own(axis).sort_values("estimate"), found.tests.set_index("axis").loc[axis]
        low, high = own.iloc[0], own.iloc[-1]
        how = f"({_test(test)})" if test["p_adjusted"] < SURE else "(two of opposite signs, each surely so)"
        said.append(f"between {PLURAL[axis]} {how}, from {_slope(low)} for {low['level']} to {_slope(high)} for {high['level']}")
    return f"Slopes differ {'; '.join(said)}: {PER}, and no one slope speaks for all." if said else ""


def _speaks(found: Apart) -> str:
    """Which targets the slope of all is of, under the default model of several."""
    targets = found.group.analysis.targets
    if found.group.analysis.primary or found.group.rows["target"].nunique() < 2 or (targets == "like these" and not found.drawn):
        return ""
    return SPEAKS[targets].format(count(found.targets, "target") if targets == "these" else found.targets)


def _otherwise(found: Apart) -> str:
    """Where the other default would lead to another statement."""
    own, other = found.group.headline, found.other.headline if found.other and found.other.tested else None
    if (
        own is None
        or other is None
        or ((own.p < SURE) == (other.p < SURE) and (own.p >= SURE or own.estimate * other.estimate > 0))
    ):
        return ""
    what = "For targets like these" if found.group.analysis.targets == "these" else "For these targets alone"
    return f" {what} it is {_slope(other)} (p = {probability(other.p)}): the two say otherwise."


def _slope(row: Any) -> str:
    return f"{signed(row['estimate'], 2)} {interval(row['low'], row['high'], 2)}"


def _test(row: pd.Series) -> str:
    p = probability(row["p_adjusted"])
    return f"F({row['df1']:.0f}, {number(row['df2'])}) = {number(row['F'], 2)}, Holm's p {p if p.startswith('<') else f'= {p}'}"


def test_table(groups: Sequence[Apart]) -> Table:
    """Tests that slopes are equal over targets, families and treatments, with the extremes of each."""
    data, shown = [], []
    for found in groups:
        if not found.group.tested:
            continue
        for row in found.tests.to_dict("records"):
            told = pd.notna(row["p"])
            own = found.own(row["axis"]).sort_values("estimate") if told else pd.DataFrame()
            ends = {end: own.iloc[at] for end, at in (("lowest", 0), ("highest", -1))} if len(own) else {}
            data.append(
                {"target_group": found.group.name, **row, "differ": row["axis"] in found.differ}
                | {end: level["level"] for end, level in ends.items()}
                | {f"{end}_{k}_points": points(level[k]) for end, level in ends.items() for k in ("estimate", "low", "high")}
            )
            shown.append(
                {
                    "Targets": found.group.name,
                    "Between": PLURAL[row["axis"]],
                    "Lowest": f"{ends['lowest']['level']} {_slope(ends['lowest'])}" if ends else str(row["reason"]),
                    "Highest": f"{ends['highest']['level']} {_slope(ends['highest'])}" if ends else DASH,
                    "F": number(row["F"], 2) if told else DASH,
                    "df": f"{row['df1']:.0f}, {number(row['df2'])}" if told else DASH,
                    "p": probability(row["p"]) if told else DASH,
                    "Holm": probability(row["p_adjusted"]) if told else DASH,
                }
            )
    note = (
        f"Kenward and Roger's F tests that slopes are equal, p by Holm over those of a group; {PER} [95 % interval, unadjusted]. "
        "Families' slopes are those of the primary model with one for each. A test that is not there is no sign of equality."
    )
    columns = ["Targets", "Between", "Lowest", "Highest", "F", "df", "p", "Holm"]
    return Table(
        "slopes-equal",
        "Is it one slope?",
        pd.DataFrame(data),
        pd.DataFrame(shown, columns=columns),
        2,
        note,
        words=("Lowest", "Highest"),
    )


def beside_table(groups: Sequence[Apart]) -> Table:
    """Other slopes that a reader may have in mind: of the other default, of a new target, between families."""
    data, shown = [], []
    for found in groups:
        for what, row in _beside(found) if found.group.tested else ():
            told = not isinstance(row, str)
            names = ("estimate", "se", "low", "high")
            numbers = {f"{k}_points": points(row[k]) if told and k in row else None for k in names}
            rest = {k: row.get(k) if told else None for k in ("df", "p")}
            data.append({"target_group": found.group.name, "what": what, **numbers, **rest, "reason": None if told else row})
            shown.append(
                {
                    "Targets": found.group.name,
                    "What": what,
                    "Points": _numbers(what, row) if told else row,
                    "df": number(row["df"]) if told and "df" in row else DASH,
                    "p": probability(row["p"]) if told and "p" in row else DASH,
                }
            )
    note = (
        f"{PER.capitalize()} [95 % limits]. Within families: of models of one family that differ in size, which is what the "
        "headline tells; between them: of their mean gains on their mean size, without a test below four. The sd of targets' "
        "slopes by REML with profile limits; a new target's slope lies within t (targets − 2) times the root of the slope's "
        "variance and that over targets from the mean (Higgins et al. 2009)."
    )
    columns = ["Targets", "What", "Points", "df", "p"]
    return Table(
        "slopes-beside", "Other slopes", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note, words=("Points",)
    )


def _beside(found: Apart) -> list[tuple[str, Any]]:
    """What other slopes are, and their numbers or why there are none."""
    group, spread = found.group, found.spread
    rows: list[tuple[str, Any]] = []
    if found.other:
        what = {"these": "these targets, at equal weights", "like these": "targets like these"}[found.other.analysis.targets]
        rows.append((what, found.other.headline if found.other.headline is not None else str(found.other.refused)))
    if isinstance(spread, str):
        rows += [("a new target", spread)] if group.rows["target"].nunique() > 1 else []
    else:
        low, high = found.limits
        rows += [("a new target", spread), (SPREAD, {"estimate": spread["sd"], "low": low, "high": high})]
    if group.rows["family"].nunique() > 1:
        rows.append(("between families", found.between))
    return rows


def _numbers(what: str, row: Any) -> str:
    """An estimate with its limits, where it has some."""
    if what == SPREAD:
        return f"{points(row['estimate']):.2f}, {points(row['low']):.2f} to {points(row['high']):.2f}"
    limits = f" {interval(row['low'], row['high'], 2)}" if pd.notna(row.get("low")) else ""
    return f"{signed(row['estimate'], 2)}{limits}"
