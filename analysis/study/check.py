"""What a study's analysis declares, checked against the gains that it plans, before anything runs: findings with places."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from xlift.analysis import facts, paired
from xlift.analysis.mixed import formulas, gathering, matrices
from xlift.analysis.mixed.model import Grid
from xlift.analysis.study import estimands, telling
from xlift.analysis.study.bases import Key
from xlift.analysis.study.hypotheses import read_test
from xlift.analysis.study.primary import Primary, factored, primary
from xlift.analysis.study.telling import Setting
from xlift.registry import carriers
from xlift.registry.card import Analysis, StudyCard
from xlift.registry.carriers import Placed
from xlift.registry.findings import Finding, UserError, similar

FORM = "write slope, or gain | intermediate == 'qqp' at params = 1e10, or one minus another"
Settings = Mapping[str, tuple[Primary, Setting]]  # by target group


def findings(card: StudyCard, place: Placed) -> list[Finding]:
    """What cannot be analysed as declared; empty where all is well."""
    groups = planned_groups(card)
    try:
        settings = {group: planned_setting(group, rows, card.analysis) for group, rows in groups.items()}
    except UserError as error:
        do = "write a formula over the columns of the view gains; `xlift show` prints the default"
        return [Finding("E405", place(("analysis", "primary")), f"the primary model: {error}", do)]
    lineages = carriers.lineage_findings(card, place)
    return [
        *carriers.untold(_left_out(settings), place),
        *lineages,
        *_hypotheses(card, settings, place),
        *_claims(card, settings, place),
    ]


def planned_groups(card: StudyCard) -> dict[str, pd.DataFrame]:
    """The gains that a study plans, by target group."""
    rows = paired.planned(facts.connect(None, [card]), card.study)
    rows = rows.assign(**dict.fromkeys(("gain", "score", "baseline"), 0.0), metric="", at_chance=False)
    return {str(group): part.reset_index(drop=True) for group, part in rows.groupby("target_group")}


def planned_setting(group: str, rows: pd.DataFrame, analysis: Analysis, beside: Sequence[str] = ()) -> tuple[Primary, Setting]:
    """The primary model of planned gains, and what estimands are put to, without a fit; UserError where there is none."""
    rows = factored(rows)
    model = primary(group, rows, analysis, beside=beside, told_apart=False)
    fixed = replace(formulas.parse(model.formula), random=())
    known = [*formulas.read(fixed.response).columns, *fixed.keys]
    drawn = rows[list(dict.fromkeys(known))].drop_duplicates(ignore_index=True)
    drawn = pd.concat([drawn, drawn.head(1)], ignore_index=True)  # two rows at least, and two values of the response
    noise = np.random.default_rng(0).normal(size=(len(drawn), 3))
    drawn = drawn.assign(**{name: noise[:, i] for i, name in enumerate(("gain", "score", "baseline")) if name in drawn})
    gathered = gathering.gather(fixed, drawn, gathering.Columns())
    grid = Grid.of(matrices.build(fixed, gathered.frame, aliased="drop"), gathered)
    return model, Setting(rows, grid, model, analysis.x, analysis.min_models)


def _left_out(settings: Settings) -> Iterator[tuple[str, Key | None, str]]:
    """Target group, the levels that move a slope (None: all of them) and why this design has no slope of it."""
    for group, (model, setting) in settings.items():
        if setting.rows["model"].nunique() == 1:
            continue
        try:
            telling.told(estimands.SLOPE, setting)
        except UserError as error:
            if setting.sized or model.refused:  # a model without a size was declared so
                yield group, None, model.refused or str(error)
        else:
            yield from ((group, key, basis.refused) for key, basis in model.bases.items() if basis.refused)


def _hypotheses(card: StudyCard, settings: Settings, place: Placed) -> Iterator[Finding]:
    for name, hypothesis in card.hypotheses.items():
        path = ("hypotheses", name)
        kind = next(kind for kind in ("contrast", "equivalence", "predict") if getattr(hypothesis, kind))
        yield from _group(hypothesis.group, settings, place, path)
        try:
            estimand = estimands.parse(hypothesis.asked)
            if kind == "predict":
                estimands.of_a_model(estimand)
            yield from _possible(estimand, hypothesis.group, settings, card.analysis, place, (*path, kind))
        except UserError as error:
            yield Finding("E407", place((*path, kind)), f"{name}: {error}", FORM)


def _claims(card: StudyCard, settings: Settings, place: Placed) -> Iterator[Finding]:
    for index, claim in enumerate(card.claims):
        path = ("claims", index)
        yield from _group(claim.group, settings, place, path)
        try:
            estimand = read_test(claim.test).estimand
            yield from _possible(estimand, claim.group, settings, card.analysis, place, (*path, "test"))
        except UserError as error:
            yield Finding("E408", place((*path, "test")), str(error), FORM)


def _group(name: str | None, groups: Settings, place: Placed, path: tuple[str | int, ...]) -> Iterator[Finding]:
    if name is None and len(groups) > 1:
        do = f"add group: {next(iter(groups))}, or another of {', '.join(groups)}"
        yield Finding("E409", place(path), "the study has several groups of targets, which are never averaged", do)
    elif name is not None and name not in groups:
        yield Finding("E409", place((*path, "group")), f"no target group '{name}'", similar(name, groups))


def _possible(
    estimand: estimands.Estimand,
    group: str | None,
    settings: Settings,
    analysis: Analysis,
    place: Placed,
    path: tuple[str | int, ...],
) -> Iterator[Finding]:
    """A warning where a design does not tell what is asked; UserError where its condition holds for no gain."""
    if (group or next(iter(settings), "")) not in settings:
        return
    model, setting = settings[group or next(iter(settings))]
    estimands.check(estimand, setting.rows, setting.x)
    try:
        if (names := estimands.beside(estimand, setting.rows)) and not analysis.primary:
            _, setting = planned_setting(model.group, setting.rows, analysis, names)
        telling.told(estimand, setting)
    except UserError as error:
        yield Finding("W410", place(path), f"it stays undecided: {error}", carriers.MODELS)
