"""Tables and sentences of the primary model: what it says of size, of treatments, of languages, and how sure it is. In points."""

from collections.abc import Sequence

import pandas as pd

from xlift.analysis.report.tables import DASH, LEVEL, Table, count, interval, points, probability, signed
from xlift.analysis.study.groups import SURE, GroupFit
from xlift.analysis.study.sensitivity import CLIPPED, LOGIT
from xlift.analysis.study.slope import POOLED, Refused

PER = "points for ten times the parameters"


def named(treatment: str) -> str:
    return "all, equally" if treatment == POOLED else treatment


def number(value: float, digits: int = 1) -> str:
    """A statistic, with a true minus."""
    return DASH if pd.isna(value) else "∞" if value == float("inf") else f"{value:.{digits}f}".replace("-", "−")


def verdict(group: GroupFit) -> str:
    """What the primary model says about size, in plain words and points."""
    if group.refused or not len(group.slopes):
        return f"No slope is given: {group.refused}."
    row = group.slopes.iloc[0]
    size = f"{signed(row.estimate, 2)} {PER} {interval(row.low, row.high, 2)}"
    basis = f"on {count(group.models, 'model')}, {number(row.df)} degrees of freedom"
    said = (
        f"The gain {'grows' if row.estimate > 0 else 'shrinks'} with size: {size}, {basis}."
        if row.p < SURE
        else f"Growth and decline are both compatible with these runs: {size}, {basis}."
    )
    return " ".join(filter(None, [said, group.disagreement()]))


def slope_table(groups: Sequence[GroupFit]) -> Table:
    """One row a target group and treatment: the primary model's slope and, beside it, that of two stages."""
    data, shown = [], []
    for group in groups:
        own = group.slopes.set_index("treatment")
        for treatment, other in group.two_stage.items():
            row = own.loc[treatment] if treatment in own.index else None
            two = None if isinstance(other, Refused) else other
            data.append(
                {
                    "target_group": group.name,
                    "treatment": treatment,
                    "models": len(other.series.means),
                    **{f"{k}_points": points(row[k]) if row is not None else None for k in ("estimate", "se", "low", "high")},
                    **{k: row[k] if row is not None else None for k in ("df", "t", "p")},
                    "refused": group.refused,
                    "two_stage_points": points(two.estimate) if two else None,
                    "two_stage_low_points": points(two.low) if two else None,
                    "two_stage_high_points": points(two.high) if two else None,
                    "two_stage_df": two.df if two else None,
                    "two_stage_p": two.p if two else None,
                    "two_stage_refused": other.reason if isinstance(other, Refused) else None,
                    "combinations_used": other.series.used,
                    "combinations_seen": other.series.seen,
                    "gains": other.series.gains,
                }
            )
            shown.append(
                {
                    "Targets": group.name,
                    "Intermediate": named(treatment),
                    "Models": str(len(other.series.means)),
                    "Slope": f"{signed(row.estimate, 2)} {interval(row.low, row.high, 2)}" if row is not None else "refused",
                    "SE": f"{points(row.se):.2f}" if row is not None else DASH,
                    "df": number(row.df) if row is not None else DASH,
                    "t": number(row.t, 2) if row is not None else DASH,
                    "p": probability(row.p) if row is not None else DASH,
                    "Two stages": f"{signed(two.estimate, 2)} {interval(two.low, two.high, 2)}" if two else "refused",
                    "their p": probability(two.p) if two else DASH,
                }
            )
    note = (
        f"Slope: {PER} ({groups[0].x if groups else 'parameters'}), [{LEVEL:.0%} interval], from the primary model, "
        "with Kenward–Roger degrees of freedom; the first row weighs intermediates equally; p unadjusted. Two stages: ordinary "
        "least squares on one mean a model, over combinations of intermediate, target and language that all models have; t on "
        "models − 2."
    )
    columns = ["Targets", "Intermediate", "Models", "Slope", "SE", "df", "t", "p", "Two stages", "their p"]
    return Table("slope", "Change of the gain with size", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note)


def sensitivity_table(rows: pd.DataFrame) -> Table:
    """The pooled slope under other choices; logits are not points, so only their sign and p can be compared."""
    text = {False: lambda value, digits: signed(value, digits), True: lambda value, digits: number(value, digits)}
    shown = []
    for row in rows.itertuples():
        logit = row.case == LOGIT
        limits = "" if pd.isna(row.low) else f"[{text[logit](row.low, 2)}, {text[logit](row.high, 2)}]"
        shown.append(
            {
                "Targets": row.target_group,
                "Case": row.case,
                "Gains": f"{row.gains:,}",
                "Models": str(row.models),
                "Slope": row.reason if pd.isna(row.estimate) else f"{text[logit](row.estimate, 2)} {limits}".strip(),
                "df": DASH if pd.isna(row.df) else number(row.df),
                "p": DASH if pd.isna(row.p) else probability(row.p),
            }
        )
    scale = rows["case"].map(lambda case: 1.0 if case == LOGIT else points(1.0))
    data = rows.assign(**{column: rows[column].astype(float) * scale for column in ("estimate", "se", "low", "high")})
    data = data.assign(unit=["logits" if case == LOGIT else "points" for case in rows["case"]])
    note = (
        "The slope of all intermediates, weighed equally, under other choices that a careful reader might have made; the primary "
        "model's terms as far as the remaining gains identify them. On too few models there is an estimate and no test. "
        f"Logits: scores clipped to {CLIPPED:g} and {1 - CLIPPED:g}."
    )
    columns = ["Targets", "Case", "Gains", "Models", "Slope", "df", "p"]
    return Table("sensitivity", "Does the slope depend on choices?", data, pd.DataFrame(shown, columns=columns), 2, note)
