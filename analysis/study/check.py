"""What a study's analysis declares, checked against the gains that it plans, before anything runs: findings with places."""

from collections.abc import Callable, Iterator

import pandas as pd

from xlift.analysis import facts, gains
from xlift.analysis.study.primary import primary
from xlift.registry.card import StudyCard
from xlift.registry.findings import Finding, Place, UserError

Placed = Callable[[tuple[str | int, ...]], Place]  # where a path of the manifest stands


def findings(card: StudyCard, place: Placed) -> list[Finding]:
    """What cannot be analysed as declared; empty where all is well."""
    return list(_primary(card, planned_groups(card), place))


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
