"""What a study's analysis declares, checked against the gains that it plans, before anything runs: findings with places."""

from collections.abc import Callable, Iterator

import pandas as pd

from xlift.analysis import facts, gains
from xlift.analysis.study import estimands
from xlift.analysis.study.hypotheses import needs_size, read_test
from xlift.analysis.study.primary import primary, slope_refused
from xlift.registry.card import StudyCard
from xlift.registry.findings import Finding, Place, UserError, similar

FORM = "write slope, or gain | intermediate == 'qqp' at params = 1e10, or one minus another"
Placed = Callable[[tuple[str | int, ...]], Place]  # where a path of the manifest stands


def findings(card: StudyCard, place: Placed) -> list[Finding]:
    """What cannot be analysed as declared; empty where all is well."""
    groups = planned_groups(card)
    return [*_primary(card, groups, place), *_hypotheses(card, groups, place), *_claims(card, groups, place)]


def planned_groups(card: StudyCard) -> dict[str, pd.DataFrame]:
    """The gains that a study plans, by target group."""
    rows = gains.planned(facts.connect(None, [card]), card.study)
    rows = rows.assign(**dict.fromkeys(("gain", "score", "baseline"), 0.0), metric="", at_chance=False)
    return {str(group): part.reset_index(drop=True) for group, part in rows.groupby("target_group")}


def _primary(card: StudyCard, groups: dict[str, pd.DataFrame], place: Placed) -> Iterator[Finding]:
    for group, rows in groups.items():
        try:
            primary(group, rows, card.analysis)
        except UserError as error:
            do = "write a formula over the columns of the view gains; `xlift show` prints the default"
            yield Finding("E405", place(("analysis", "primary")), f"the primary model of {group} targets: {error}", do)
            return


def _hypotheses(card: StudyCard, groups: dict[str, pd.DataFrame], place: Placed) -> Iterator[Finding]:
    for name, hypothesis in card.hypotheses.items():
        path = ("hypotheses", name)
        kind = next(kind for kind in ("contrast", "equivalence", "predict") if getattr(hypothesis, kind))
        yield from _group(hypothesis.group, groups, place, path)
        try:
            estimand = estimands.parse(hypothesis.asked)
            if kind == "predict":
                estimands.of_a_model(estimand)
            yield from _possible(estimand, hypothesis.group, groups, card, place, (*path, kind))
        except UserError as error:
            yield Finding("E407", place((*path, kind)), f"{name}: {error}", FORM)


def _claims(card: StudyCard, groups: dict[str, pd.DataFrame], place: Placed) -> Iterator[Finding]:
    for index, claim in enumerate(card.claims):
        path = ("claims", index)
        yield from _group(claim.group, groups, place, path)
        try:
            yield from _possible(read_test(claim.test).estimand, claim.group, groups, card, place, (*path, "test"))
        except UserError as error:
            yield Finding("E408", place((*path, "test")), str(error), FORM)


def _group(name: str | None, groups: dict[str, pd.DataFrame], place: Placed, path: tuple[str | int, ...]) -> Iterator[Finding]:
    if name is None and len(groups) > 1:
        do = f"add group: {next(iter(groups))}, or another of {', '.join(groups)}"
        yield Finding("E409", place(path), "the study has several groups of targets, which are never averaged", do)
    elif name is not None and name not in groups:
        yield Finding("E409", place((*path, "group")), f"no target group '{name}'", similar(name, groups))


def _possible(
    estimand: estimands.Estimand,
    group: str | None,
    groups: dict[str, pd.DataFrame],
    card: StudyCard,
    place: Placed,
    path: tuple[str | int, ...],
) -> Iterator[Finding]:
    """A warning where a test needs more models than are declared; UserError where its condition holds for no gain."""
    rows = groups.get(group or next(iter(groups), ""))
    if rows is None:
        return
    estimands.check(estimand, rows)
    if needs_size(estimand) and (why := slope_refused(rows, card.analysis.min_models)):
        yield Finding("W410", place(path), f"it stays undecided: {why}", "add models; more seeds or languages do not help")
