"""What a reader has to know before using a report's numbers, in one list: what changes most comes first."""

from collections.abc import Iterator, Sequence

import pandas as pd

from xlift.analysis.report.table import count
from xlift.analysis.study.check import planned_groups
from xlift.analysis.study.faults import Note, faults, ordered, resting
from xlift.analysis.study.groups import GroupFit
from xlift.analysis.study.primary import primary
from xlift.analysis.study.slope import CAUTION
from xlift.registry.card import StudyCard
from xlift.registry.known.languages import same_language
from xlift.registry.pairing import is_baseline
from xlift.registry.registration import Registration, deviations
from xlift.registry.sources import SOURCES


def notes(
    card: StudyCard,
    rows: pd.DataFrame,
    scores: pd.DataFrame,
    groups: Sequence[GroupFit],
    choices: pd.DataFrame,
    missing: pd.DataFrame,
    registration: Registration | None,
    changed: Sequence[str],
) -> tuple[Note, ...]:
    """Of the gains `rows`, the `scores`, slopes under other `choices`, what is `missing`, and what the manifest says otherwise
    now (`changed`).
    """
    used = {stage.source for stage in card.stages}
    found = [Note("meaning", section.caution) for name, section in SOURCES.items() if name in used and section.caution]
    if not len(rows):
        found.append(Note("numbers", f"There is no gain yet: {_no_gain(card, missing)}."))
    elif len(missing):
        found.append(Note("numbers", f"Missing: {count(len(missing), 'result')}, listed under Coverage. None was imputed."))
    found += [
        Note(
            "interval",
            f"{group.name} targets: only {group.pooled.least} models: whether they scatter as intervals assume cannot be seen "
            "from so few.",
        )
        for group in groups
        if group.tested and group.pooled and group.pooled.least < CAUTION
    ]
    if len(rows) and (same := int(rows["same_task"].sum())):
        text = (
            f"{same:,} of {count(len(rows), 'gain')} are of same-task cells (†): the intermediate and the target train "
            "on overlapping data. The sensitivity table leaves them out."
        )
        found.append(Note("meaning", text))
    found += faults(card, rows, scores)
    found += [Note("meaning", text) for text in resting(choices)]
    found += [Note("standing", text) for text in registered(card, registration)]
    found += [Note("standing", f"The manifest has changed since the study was run: {text}.") for text in changed]
    return ordered(found)


def registered(card: StudyCard, registration: Registration | None) -> Iterator[str]:
    """Whether the hypotheses are confirmatory, and what has changed since they were registered."""
    if registration is None:
        if card.hypotheses:
            yield "Exploratory: the hypotheses were not registered before the first score (xlift register)."
        return
    mark = f"registered on {registration.at}, sha-256 {registration.digest[:16]}…"
    if registration.confirmatory:
        yield f"Confirmatory: {mark}, before any target had a score."
    else:
        yield f"Exploratory: {mark}, when {count(registration.scored, 'evaluation')} had scores."
    if registration.twins:
        others = count(registration.twins, "evaluation")
        yield f"{others} of the same models on the same targets, by another recipe or in tables, had scores at registration."
    models = {group: primary(group, rows, card.analysis).formula for group, rows in planned_groups(card).items()}
    yield from (f"Deviation from the registration: {text}." for text in deviations(registration, card, models))


def _no_gain(card: StudyCard, missing: pd.DataFrame) -> str:
    """The reason why a study has none, as far as its card and what is `missing` know it."""
    rule = card.analysis.gain
    treated = [cell for cell in card.cells if not is_baseline(cell, rule)]
    if not treated:
        return "nothing here had intermediate training"
    tested = sorted({language for cell in treated for language in cell.languages})
    if rule.drop_languages is None and tested and all(same_language(language, card.source_language) for language in tested):
        return (
            f"every test is in {', '.join(tested)}, the language of training, and a gain is one in transfer to others; "
            "analysis: {gain: {drop_languages: []}} keeps it"
        )
    reasons = missing["reason"].value_counts()
    said = "; ".join(f"{reason} ({number:,})" for reason, number in reasons.head(3).items())
    return f"of no pair are both halves scored: {said}" if said else "no treated run has a baseline"
