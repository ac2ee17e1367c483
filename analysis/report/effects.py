"""Tables and sentences of the primary model: what it says of size, of treatments, of languages, and how sure it is. In points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed.beside_statsmodels import Nearest
from xlift.analysis.report.table import DASH, Table, count, interval, points, probability, signed, size
from xlift.analysis.study.groups import SURE, GroupFit
from xlift.analysis.study.hypotheses import Verdict
from xlift.analysis.study.power import component
from xlift.analysis.study.sensitivity import CLIPPED, LOGIT
from xlift.analysis.study.slope import Refused
from xlift.analysis.study.telling import Told
from xlift.registry.card import POOLED

PER = "points for ten times the parameters"


def named(treatment: str) -> str:
    return "all, equally" if treatment == POOLED else treatment


def number(value: float, digits: int = 1) -> str:
    """A statistic, with a true minus."""
    return DASH if pd.isna(value) else "∞" if value == float("inf") else f"{value:.{digits}f}".replace("-", "−")


def verdict(group: GroupFit, what: str = "gain") -> str:
    """What the primary model says about size, in plain words and points."""
    row, other = group.headline, group.disagreement() if what == "gain" else None
    if group.refused or row is None or group.pooled is None:
        return f"No slope is given: {group.refused}."
    size = f"{signed(row.estimate, 2)} {PER} {interval(row.low, row.high, 2)}"
    said = (
        f"The {what} {'grows' if row.estimate > 0 else 'shrinks'} with size: {size}, {basis(group)}."
        if row.p < SURE
        else f"Growth and decline are both compatible with these runs: {size}, {basis(group)}."
    )
    return " ".join(filter(None, [said, *(f"It is {note}." for note in group.pooled.notes), other]))


def basis(group: GroupFit) -> str:
    """On what the slope of all rests."""
    return f"on {behind(len(group.pooled.models), group.pooled.least)}, {number(group.headline.df)} degrees of freedom"


def behind(models: int, least: int) -> str:
    """On how many models something rests, and the fewest behind one of its parts."""
    return count(models, "model") + (f" ({least} behind the least known part)" if least < models else "")


def slope_table(groups: Sequence[GroupFit]) -> Table:
    """One row a target group and treatment: the primary model's slope and, beside it, that of two stages."""
    data, shown, left = [], [], list[str]()
    for group in groups:
        own = group.slopes.set_index("treatment")
        models = {name: part["model"].nunique() for name, part in group.rows.groupby("treatment")}
        models[POOLED] = len(group.pooled.models) if group.pooled else group.models
        rests = {name: told.models for name, told in {**group.own_slopes, POOLED: group.pooled}.items() if isinstance(told, Told)}
        left += [f"of {group.name} targets is {note}" for note in (group.pooled.notes if group.pooled else ())]
        for treatment, other in group.two_stage.items():
            row = own.loc[treatment] if treatment in own.index else None
            why = group.own_slopes.get(treatment) if treatment != POOLED else None
            why = None if row is not None else why if isinstance(why, str) else group.refused
            two = None if isinstance(other, Refused) else other
            data.append(
                {
                    "target_group": group.name,
                    "treatment": treatment,
                    "models": models[treatment],
                    **{f"{k}_points": points(row[k]) if row is not None else None for k in ("estimate", "se", "low", "high")},
                    **{k: row[k] if row is not None else None for k in ("df", "t", "p")},
                    "rests_on": ", ".join(rests.get(treatment, ())) if row is not None else None,
                    "refused": why,
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
                    "Models": str(models[treatment]),
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
        "least squares on one mean a model, beside the same factors of models, over combinations of intermediate, target and "
        "language that all models have."
    )
    note += f" The slope of all {'; that '.join(left)}." if left else ""
    columns = ["Targets", "Intermediate", "Models", "Slope", "SE", "df", "t", "p", "Two stages", "their p"]
    return Table("slope", "Change of the gain with size", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note)


def effect_table(groups: Sequence[GroupFit], two_stages: Callable[[GroupFit], pd.DataFrame | None]) -> Table:
    """The fixed effects of each primary model; two stages beside those that they have too."""
    data, shown = [], []
    for group in groups:
        if group.fit is None:
            continue
        other = two_stages(group)
        beside = {} if other is None else other.set_index("term").to_dict("index")
        for row in group.effects.itertuples():
            told = pd.notna(row.estimate)
            two = beside.get(row.term, {}) if told else {}
            data.append(
                {
                    "target_group": group.name,
                    "term": row.term,
                    **_in_points(row._asdict(), ("estimate", "se", "low", "high")),
                    **{name: getattr(row, name) for name in ("df", "t", "p")},
                    **{f"two_stage_{name}": two.get(name) for name in ("df", "p")},
                    **{f"two_stage_{k}_points": points(two[k]) if two else None for k in ("estimate", "low", "high")},
                }
            )
            shown.append(
                {
                    "Targets": group.name,
                    "Effect": row.term,
                    "Estimate": f"{signed(row.estimate, 2)} {interval(row.low, row.high, 2)}" if told else "not told",
                    "SE": f"{points(row.se):.2f}" if told else DASH,
                    "df": number(row.df),
                    "t": number(row.t, 2),
                    "p": probability(row.p),
                    "Two stages": f"{signed(two['estimate'], 2)} {interval(two['low'], two['high'], 2)}" if two else DASH,
                    "their p": probability(two["p"]) if two else DASH,
                }
            )
    columns = ["Targets", "Effect", "Estimate", "SE", "df", "t", "p", "Two stages", "their p"]
    note = (
        "Fixed effects of the primary model, points; lp: for ten times the parameters; df and SE after Kenward and Roger. "
        "Treatments are coded against the first one, so the slope of lp here is that of the first treatment."
    )
    if any(group.effects["estimate"].isna().any() for group in groups):
        note += (
            " Not told: it rests on a slope that too few models carry, or on which of several equal ways the model is written."
        )
    return Table("effects", "Fixed effects", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note)


def component_table(groups: Sequence[GroupFit], intervals: Callable[[GroupFit], pd.DataFrame]) -> Table:
    """Standard deviations of each random term, with profile limits (`mixed.profile`)."""
    data, shown, lost = [], [], list[str]()
    for group in groups:
        if group.fit is None:
            continue
        limits = intervals(group).set_index("name")
        lost += [] if len(limits) else [f"{group.name} targets, whose {group.fit.nobs:,} gains and many effects would take long"]
        levels = {term.name: len(term.levels) for term in group.fit.state.model.terms}
        for row in group.fit.variance_components.itertuples():
            if row.name2 is not None and not pd.isna(row.name2):
                continue
            residual = row.group == "Residual"
            name = "sigma" if residual else f"sd ({row.name1} | {row.group})"
            sd, (low, high) = row.value**0.5, limits.loc[name, ["low", "high"]] if name in limits.index else (float("nan"),) * 2
            what = component(row.name1, row.group)
            data.append(
                {
                    "target_group": group.name,
                    "component": what,
                    "levels": levels.get(row.group, group.fit.nobs),
                    **_in_points({"sd": sd, "low": low, "high": high}, ("sd", "low", "high")),
                }
            )
            shown.append(
                {
                    "Targets": group.name,
                    "Component": what,
                    "Levels": f"{levels[row.group]:,}" if not residual else DASH,
                    "SD": f"{points(sd):.2f}",
                    "95 % limits": DASH if pd.isna(low) else f"{points(low):.2f} to {points(high):.2f}",
                }
            )
    note = (
        "Standard deviations in points; limits where the deviance, minimised over all else, rises by 3.84. A standard deviation "
        "of 0 is an estimate on the boundary, and its upper limit says how large it may yet be."
    )
    note += f" There are no limits for {'; '.join(lost)}." if lost else ""
    columns = ["Targets", "Component", "Levels", "SD", "95 % limits"]
    return Table("components", "Variance components", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note)


def target_slope_table(tables: Sequence[tuple[GroupFit, pd.DataFrame, str]]) -> Table:
    """Slopes of each treatment at each target, adjusted within the target group."""
    data, shown = [], []
    for group, table, formula in tables:
        for row in table.itertuples():
            limits = _in_points(row._asdict(), ("estimate", "se", "low", "high"))
            same = ["treatment", "target", "df", "t", "p", "p_adjusted"]
            data.append({"target_group": group.name, **{n: getattr(row, n) for n in same}, **limits, "formula": formula})
            shown.append(
                {
                    "Targets": group.name,
                    "Intermediate": row.treatment,
                    "Target": row.target,
                    "Slope": f"{signed(row.estimate, 2)} {interval(row.low, row.high, 2)}",
                    "df": number(row.df),
                    "p": probability(row.p),
                    "Holm": probability(row.p_adjusted),
                }
            )
    note = (
        f"{PER.capitalize()}, from the primary model with targets as a factor and random deviations of models at a target; "
        "limits unadjusted, Holm's p within the target group. The CSV has the formula."
    )
    columns = ["Targets", "Intermediate", "Target", "Slope", "df", "p", "Holm"]
    return Table(
        "slope-by-target", "Slope by intermediate and target", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 3, note
    )


def _gain(row: Any) -> str:
    return f"{signed(row.estimate)} {interval(row.low, row.high)}{'*' * row.note.startswith('extrapolation')}"


def size_table(tables: Sequence[tuple[GroupFit, pd.DataFrame]]) -> Table:
    """Marginal mean gains of each treatment at some sizes, sizes across."""
    data, shown = [], []
    for group, table in tables:
        data += [
            {
                "target_group": group.name,
                "treatment": row.treatment,
                "params": row.params,
                "df": row.df,
                "p": row.p,
                "note": row.note,
            }
            | _in_points(row._asdict(), ("estimate", "se", "low", "high"))
            for row in table.itertuples()
        ]
        for treatment, part in table.groupby("treatment", sort=False):
            cells = {"of the models run" if pd.isna(row.params) else size(row.params): _gain(row) for row in part.itertuples()}
            shown.append({"Targets": group.name, "Intermediate": treatment, **cells})
    note = (
        "Marginal means of the primary model, over families and targets equally, where it tells them apart, for an average "
        "language, points [95 % limits with Kenward–Roger df]."
    )
    told = [row for _, table in tables for row in table.itertuples()]
    if any(pd.isna(row.params) for row in told):
        note += " Of the models run: where models are too few for a slope, at their own sizes and in their own families."
    if any(row.note.startswith("extrapolation") for row in told):
        note += " * No model of that size was run with this intermediate."
    return Table("gain-at-size", "Gain at some sizes", pd.DataFrame(data), pd.DataFrame(shown).fillna(DASH), 2, note)


def language_table(tables: Sequence[tuple[GroupFit, pd.DataFrame]]) -> Table:
    """Conditional deviations of languages from the mean, in gain and in slope, with their standard deviations."""
    data, shown = [], []
    for group, table in tables:
        data += [
            {"target_group": group.name, "language": row.language, "term": row.term}
            | _in_points(row._asdict(), ("deviation", "sd", "gain", "low", "high"))
            for row in table.itertuples()
        ]
        for language, part in table.groupby("language", sort=True):
            cells = {row.term: f"{signed(row.deviation, 2)} ({points(row.sd):.2f})" for row in part.itertuples()}
            first = part.iloc[0]
            shown.append(
                {
                    "Targets": group.name,
                    "Language": language,
                    "Gain": f"{signed(first.gain)} {interval(first.low, first.high)}",
                    "Deviation (sd)": cells.get("Intercept", DASH),
                    "of the slope (sd)": cells.get("lp", DASH),
                }
            )
    note = (
        "Gain: of a language at the models' mean size, all intermediates equally. Deviations are conditional modes, which lean "
        "towards the mean where a language is little known; sd: theirs, given the variances."
    )
    columns = ["Targets", "Language", "Gain", "Deviation (sd)", "of the slope (sd)"]
    return Table("languages", "What languages differ in", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, note)


def beside_table(compared: Sequence[tuple[GroupFit, Nearest | str]]) -> Table:
    """statsmodels' MixedLM beside the primary model: a row an effect, and in words where it differs or fails."""
    data, shown, notes = [], [], []
    for group, other in compared:
        if isinstance(other, str):
            notes.append(f"{group.name.capitalize()} targets: {other}.")
            continue
        said = [text.rstrip(".") for text in other.said if not text.startswith("it warned")]
        notes.append(f"{group.name.capitalize()} targets: {'; '.join(said)}.")
        own = group.fit.effects.set_index("term")
        for row in other.effects.itertuples():
            mine = own.loc[row.term]
            data.append(
                {"target_group": group.name, "term": row.term, "p": row.p, "own_p": mine["p"], "converged": other.converged}
                | _in_points({"estimate": row.estimate, "se": row.se}, ("estimate", "se"))
                | {
                    f"own_{k}": v
                    for k, v in _in_points({"estimate": mine["estimate"], "se": mine["se"]}, ("estimate", "se")).items()
                }
            )
            shown.append(
                {
                    "Targets": group.name,
                    "Effect": row.term,
                    "MixedLM": signed(row.estimate, 2),
                    "its SE": f"{points(row.se):.2f}" if pd.notna(row.se) else DASH,
                    "its p (z)": probability(row.p),
                    "Here": signed(mine["estimate"], 2),
                    "SE": f"{points(mine['se']):.2f}",
                    "p (t)": probability(mine["p"]),
                }
            )
    columns = ["Targets", "Effect", "MixedLM", "its SE", "its p (z)", "Here", "SE", "p (t)"]
    return Table(
        "statsmodels", "Beside statsmodels' MixedLM", pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 2, " ".join(notes)
    )


def verdict_table(verdicts: Sequence[Verdict], control: str) -> Table:
    """Each hypothesis with its verdict."""
    note = (
        "Tested with the primary model; p is adjusted over all hypotheses as one family "
        f"({control}); for an equivalence it is the larger of two one-sided tests, other tests are two-sided unless remarked "
        "on. Points; slopes for ten times the parameters."
    )
    return _verdicts("hypotheses", "Hypotheses, declared beforehand", verdicts, note, first="Hypothesis")


def claim_table(verdicts: Sequence[Verdict], sources: Sequence[str]) -> Table:
    """Each sentence of a paper, and whether these gains agree."""
    table = _verdicts("claims", "Sentences of papers", verdicts, "Each by itself, at 5 %; points.", first="Claim")
    return replace(
        table,
        data=table.data.assign(source=list(sources)),
        shown=table.shown.assign(Source=list(sources)),
        words=(*table.words, "Source", "Claim"),
    )


def _verdicts(name: str, title: str, verdicts: Sequence[Verdict], note: str, first: str) -> Table:
    data, shown = [], []
    for row in verdicts:
        exists = not pd.isna(row.estimate)
        digits = 2 if row.per_decade else 1
        data.append(
            {
                "name": row.name,
                "asked": row.text,
                "target_group": row.group,
                "verdict": row.said,
                "models": row.models,
                "least_models": row.least,
                "rests_on": ", ".join(row.on),
            }
            | _in_points({k: getattr(row, k) for k in ("estimate", "se", "low", "high")}, ("estimate", "se", "low", "high"))
            | {"df": row.df, "level": row.level, "p": row.p, "p_adjusted": row.p_adjusted, "note": row.note}
            | {f"check_{key}": points(value) if isinstance(value, float) else value for key, value in row.other.items()}
        )
        said = [row.note, _checked(row.other)]
        shown.append(
            {
                first: row.name,
                "Asked": f"{row.text} ({row.group})" if row.group else row.text,
                "Verdict": row.said,
                "Estimate": f"{signed(row.estimate, digits)} {interval(row.low, row.high, digits)}" if exists else DASH,
                "df": number(row.df),
                "p adjusted": probability(row.p_adjusted),
                "Models": f"{row.models}, {row.least} at least" if row.least < row.models else str(row.models or DASH),
                "Remark": "; ".join(filter(None, said)) or DASH,
            }
        )
    columns = [first, "Asked", "Verdict", "Estimate", "df", "p adjusted", "Models", "Remark"]
    return Table(name, title, pd.DataFrame(data), pd.DataFrame(shown, columns=columns), 3, note, words=("Asked", "Remark"))


def _checked(other: Mapping[str, Any]) -> str:
    """What leaving the largest model out says of a prediction."""
    if not other:
        return ""
    if "observed" not in other:
        return f"without {other['model']} nothing can be predicted: {other['reason']}"
    inside = other["low"] <= other["observed"] <= other["high"]
    return (
        f"without {other['model']} the others predict {signed(other['estimate'])} {interval(other['low'], other['high'])} for "
        f"it, and its gain is {signed(other['observed'])}: {'inside' if inside else 'outside'}"
    )


def _in_points(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {f"{name}_points": None if pd.isna(values[name]) else points(float(values[name])) for name in names}


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
                "Case": f"{row.case}; {row.reason}" if pd.notna(row.p) and pd.notna(row.reason) else row.case,
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
