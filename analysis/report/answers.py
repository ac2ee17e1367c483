"""What the primary models say of a study, as tables and figures: each question is put once, and shown wherever it belongs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from xlift.analysis.mixed import beside_statsmodels, profile, twostage
from xlift.analysis.mixed.model import NotConverged
from xlift.analysis.report import apart, effects, plots, tables
from xlift.analysis.report.sections import Part, Plate, Section, Text
from xlift.analysis.report.table import Table
from xlift.analysis.study import estimands, hypotheses, sizes
from xlift.analysis.study.apart import Apart
from xlift.analysis.study.apart import apart as beside_other
from xlift.analysis.study.estimands import Estimand
from xlift.analysis.study.groups import SURE, GroupFit
from xlift.analysis.study.sensitivity import LOGIT, sensitivity
from xlift.analysis.study.slope import mean_gain
from xlift.registry.card import StudyCard
from xlift.registry.findings import UserError

DIGITS = 1e-3  # of the limits of variance components, which are shown with three digits
MIXEDLM = 60_000  # rows times effects, above which statsmodels' crossed model takes minutes
REPLICATION = (
    "The unit of replication is the model. However many seeds, languages and targets there are, a slope has about as many "
    "degrees of freedom as there are models beyond one a family and one for itself; a narrower interval takes more models. An "
    "interval that holds zero does not show that size makes no difference."
)
PROFILED = 200_000  # rows times effects, above which the limits of variance components take minutes


@dataclass(frozen=True)
class Answers:
    """A study's card and the fitted model of each target group."""

    card: StudyCard
    groups: tuple[GroupFit, ...]

    @cached_property
    def verdicts(self) -> tuple[hypotheses.Verdict, ...]:
        found = hypotheses.tested(self.groups, self.card.hypotheses, self.card.control, self.card.analysis)
        return tuple(self._heterogeneous(verdict, estimands.parse) for verdict in found)

    @cached_property
    def claims(self) -> tuple[hypotheses.Verdict, ...]:
        found = hypotheses.claimed(self.groups, self.card.claims)
        return tuple(self._heterogeneous(verdict, lambda text: hypotheses.read_test(text).estimand) for verdict in found)

    def _heterogeneous(self, verdict: hypotheses.Verdict, read: Callable[[str], Estimand]) -> hypotheses.Verdict:
        """A slope over targets, families or treatments keeps its estimand, and says that they differ."""
        if not verdict.per_decade:
            return verdict
        spoken = read(verdict.text).spoken
        unless = {*spoken, *(("treatment",) if spoken & estimands.OF_TREATMENTS else ())}
        said = next((apart.differing(found, unless) for found in self.apart if found.group.name == verdict.group), "")
        return replace(verdict, note="; ".join(filter(None, [verdict.note, said])))

    @cached_property
    def apart(self) -> tuple[Apart, ...]:
        """Whether the slopes of each group are one."""
        return tuple(map(beside_other, self.groups))

    @cached_property
    def by_target(self) -> tuple[tuple[GroupFit, pd.DataFrame, str], ...]:
        return tuple((group, *sizes.by_target(group, self.card.analysis)) for group in self.groups)

    @cached_property
    def languages(self) -> tuple[tuple[GroupFit, pd.DataFrame], ...]:
        return tuple((group, sizes.languages(group)) for group in self.groups)

    @cached_property
    def choices(self) -> pd.DataFrame:
        return sensitivity(self.groups, self.card.analysis)

    def sections(self, rows: pd.DataFrame, tuning: Sequence[Section] = ()) -> list[Section]:
        """All that is said of gains; `tuning` stands before the model."""
        return [
            Section("hypotheses", "Hypotheses and claims", self._declared(), "Hypotheses"),
            Section("slope", "Gain and size", self._size()),
            *tuning,
            Section("model", "The model", self._model()),
            Section("gains", "Gains", self._gains(rows)),
        ]

    def _declared(self) -> list[Part]:
        made = [
            effects.verdict_table(self.verdicts, self.card.control),
            effects.claim_table(self.claims, [claim.source for claim in self.card.claims]),
        ]
        return [table for table in made if len(table.shown)]

    def _size(self) -> list[Part]:
        tables = [
            effects.size_table([(group, sizes.gains_at(group, self.card.analysis.sizes)) for group in self.groups]),
            effects.target_slope_table(self.by_target),
        ]
        at_sizes, by_target = ([table] if len(table.shown) else [] for table in tables)
        slopes, cases = self._slopes(), self._cases()
        several = [table for table in (apart.test_table(self.apart), apart.beside_table(self.apart)) if len(table.shown)]
        parts: list[Part] = [effects.slope_table(self.groups), Text(REPLICATION), *several, *at_sizes]
        if len(slopes):
            parts.append(
                _both(
                    "slopes",
                    "Slope of the gain on size by intermediate and target, largest on top: dots with 95 % intervals, unadjusted; "
                    "a dot is filled where Holm's p is below 0.05. Model of the table below.",
                    plots.caterpillar,
                    slopes,
                )
            )
        parts += by_target
        if len(cases):
            parts.append(
                _both(
                    "choices",
                    "The slope of all intermediates under other choices, in the order of the table: dots with 95 % intervals; a "
                    "hollow dot without a bar is an estimate on too few models for a test.",
                    plots.choices,
                    cases,
                )
            )
        return [*parts, effects.sensitivity_table(self.choices)]

    def _model(self) -> list[Part]:
        made = [effects.effect_table(self.groups, _two_stages), effects.component_table(self.groups, _limits)]
        parts: list[Part] = [table for table in made if len(table.shown)]
        fits = [(group.name, sizes.residuals(group)) for group in self.groups if group.fit]
        if fits:
            parts.append(
                _both(
                    "diagnostics",
                    "Residuals of the primary model against its fitted gains, all effects in, and against normal quantiles with "
                    "the line that normal residuals would follow. A fan or a curve says that an assumption does not hold.",
                    plots.diagnostics,
                    fits,
                )
            )
        return [*parts, effects.beside_table([(group, _beside(group)) for group in self.groups if group.fit])]

    def _gains(self, rows: pd.DataFrame) -> list[Part]:
        marked = list(rows[rows["same_task"]][["treatment", "target"]].drop_duplicates().itertuples(index=False, name=None))
        means, overall = self._languages(rows)
        by_language = effects.language_table(self.languages)
        return [
            Plate(
                "heatmap",
                "Mean gain by intermediate and target task, in points, raw means. Full colour only where the 95 % interval over "
                "models leaves out zero; pale where it holds zero, or is not there. † the training sets overlap.",
                plots.heatmap(mean_gain(rows, ["treatment", "target"]), marked),
            ),
            tables.gain_by_target(rows),
            *([chosen] if (chosen := tables.best_table(rows)) else []),
            Plate(
                "languages",
                "Gain by language, all intermediates equally, at the models' mean size: dots with 95 % intervals of the primary "
                "model, largest gain on top; the dashed line is the mean of all languages. Raw means over models stand where the "
                "model has no language.",
                plots.languages(means, overall),
                plots.languages(means, overall, stacked=True),
            ),
            *([by_language] if len(by_language.shown) else []),
            tables.gain_by_language(rows),
        ]

    def scaling(self) -> Plate:
        """The figure of the answer."""
        parts = [(group.name, group.x, sizes.curve(group), sizes.dots(group.rows, group.x)) for group in self.groups]
        lines = (
            "Lines are the primary model's, thin for an intermediate and thick for all of them equally, one a family where there "
            "are several; the grey band is the 95 % interval of that mean, dashed lines the 95 % band of a new model's mean gain."
            if any(group.tested for group in self.groups)
            else "No line is drawn where no slope is given."
        )
        caption = (
            "Gain against model size. One dot a model and intermediate: its raw mean, with a 95 % t interval over its runs, cut "
            f"where it leaves the panel. {lines}"
        )
        return _both("scaling", caption, plots.scaling, parts)

    def _slopes(self) -> pd.DataFrame:
        found = [
            table.assign(
                target_group=group.name,
                label=table["treatment"] + " → " + table["target"],
                sure=table["p_adjusted"] < SURE,
            )
            for group, table, _ in self.by_target
            if len(table)
        ]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def _cases(self) -> pd.DataFrame:
        cases = self.choices[self.choices["estimate"].notna() & (self.choices["case"] != LOGIT)]
        return cases.assign(label=cases["case"], sure=cases["low"].notna())

    def _languages(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
        raw, found, overall = mean_gain(rows, ["language"]), [], {}
        for group, table in self.languages:
            own = table[table["term"] == "Intercept"].rename(columns={"gain": "mean"}).assign(target_group=group.name)
            part = own if len(own) else raw[raw["target_group"] == group.name]
            found.append(part[["target_group", "language", "mean", "low", "high"]])
            overall[group.name] = float(part["mean"].mean())
        return pd.concat(found, ignore_index=True), overall


def _both(name: str, caption: str, draw, *parts) -> Plate:
    """A figure beside each other, and below each other."""
    return Plate(name, caption, draw(*parts), draw(*parts, stacked=True))


def _work(group: GroupFit) -> int:
    """Rows times random effects."""
    return group.fit.nobs * group.fit.state.model.q


def _two_stages(group: GroupFit) -> pd.DataFrame | None:
    """The same fixed effects from two stages, where models are whole and many enough."""
    try:
        return twostage.two_stage(group.primary.formula, group.rows, "model")
    except UserError:
        return None


def curve_tables(groups: Sequence[GroupFit]) -> list[Table]:
    """The models of scores, where there are no gains: fixed effects and variance components."""
    effect = effects.effect_table(groups, lambda group: None)
    component = effects.component_table(groups, _limits)
    said = "; ".join(f"{group.name} targets: {group.primary.formula}" for group in groups if group.fit)
    lost = [f"{group.name} targets: {text}" for group in groups for text in (*group.primary.left_out, group.failed) if text]
    note = f"Scores in points, all languages, as {said}; lp: for ten times the parameters; df and SE after Kenward and Roger."
    note += f" Left out: {'; '.join(lost)}." if lost else ""
    shown = effect.shown.drop(columns=["Two stages", "their p"])
    made = [
        replace(effect, name="curve", title="Scores and size", shown=shown, note=note, view="scores"),
        replace(component, name="curve-components", title="What scores vary by", view="scores"),
    ]
    return [table for table in made if len(table.shown)]


def curve_plate(scores: pd.DataFrame, x: str) -> Plate:
    """Scores against size, a panel a target: the figure of the answer where there are no gains."""
    caption = (
        "Score against model size, a panel a target: a dot is a model's mean over languages and seeds, faint marks are its "
        "languages; a line joins the models of a family."
    )
    return _both("curve", caption, plots.score_curves, scores, x)


def _limits(group: GroupFit) -> pd.DataFrame:
    """Profile limits of the standard deviations; none where they would take minutes."""
    if _work(group) > PROFILED:
        return pd.DataFrame(columns=["name", "low", "high"])
    terms = group.fit.state.model.terms
    names = [f"sd ({name} | {term.name})" for term in terms for name in term.names]
    names += ["sigma"] if group.fit.residual_variances else []  # none where those of sampling are known
    try:
        return profile.profile(group.fit, names, tolerance=DIGITS)
    except NotConverged:  # of one of them
        return pd.concat([_limit(group, name) for name in names], ignore_index=True)


def _limit(group: GroupFit, name: str) -> pd.DataFrame:
    try:
        return profile.profile(group.fit, [name], tolerance=DIGITS)
    except NotConverged:
        return pd.DataFrame(columns=["name", "low", "high"])


def _beside(group: GroupFit) -> beside_statsmodels.Nearest | str:
    """What MixedLM makes of it, or why it was not asked."""
    if _work(group) > MIXEDLM:
        return (
            f"MixedLM was not tried, since {group.fit.nobs:,} rows and {group.fit.state.model.q:,} effects would take it minutes"
        )
    try:
        return beside_statsmodels.compare(group.fit, group.rows)
    except UserError as error:
        return str(error)
