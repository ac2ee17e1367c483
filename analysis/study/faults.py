"""What is wrong with the data behind a study's gains, in words: a reader should not have to find it out alone."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from xlift.analysis.report.table import count, points, signed
from xlift.registry.card import StudyCard
from xlift.registry.carriers import told_lineages
from xlift.registry.known.languages import is_mean, same_language
from xlift.registry.table.design import TELLING

FLOOR = 0.5  # share of a model's baselines that are not above chance, from which on all of them are a floor
SMALL = 0.02  # standard error of a score over its items, from which on a test set is small: a gain's is 1.4 times that


Changes = Literal["numbers", "interval", "meaning", "standing"]  # in the order in which a reader needs to know


class Note(NamedTuple):
    """What a reader has to know of a study, and what of its answer it changes."""

    changes: Changes
    text: str


def ordered(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Those that change most come first."""
    return tuple(sorted(notes, key=lambda note: get_args(Changes).index(note.changes)))


def faults(card: StudyCard, rows: pd.DataFrame, scores: pd.DataFrame) -> tuple[Note, ...]:
    """A sentence or two for each; empty where nothing was found. Means are of one target group.

    `rows` are the study's gains, `scores` its scores with `items` and `se`; fractions.
    """
    if not len(rows):
        return ()
    groups = [part for _, part in rows.groupby("target_group")]
    found: dict[Changes, list[Iterable[str]]] = {
        "numbers": [*map(_floor, groups), *(_collapsed(card, part) for part in groups), _means(rows), _items(rows, scores)],
        "interval": [_lineages(card), _families(rows), _replicates(rows), _copied(rows, scores)],
        "meaning": [*map(_unseen, groups), _languages(card, rows)],
    }
    return tuple(Note(changes, text) for changes, texts in found.items() for sentences in texts for text in sentences)


def _lineages(card: StudyCard) -> Iterator[str]:
    for text in told_lineages(card):
        yield f"One lineage: {text}. Where they gain alike for that reason, the interval is too narrow."


def _floor(rows: pd.DataFrame) -> Iterator[str]:
    """Baselines that are not above chance: where they are so at every size, the slope is that of the treated scores."""
    lost, shares = int(rows["at_chance"].sum()), rows.groupby("model")["at_chance"].mean()
    if not lost:
        return
    said = f"At chance: {lost:,} of the {_counted(rows, 'baseline')} are not above chance"
    if (shares < FLOOR).any():
        yield f"{said}: there a gain says that a task became possible, not how much better it became."
        return
    said += f", and at every size at least {100 * shares.min():.0f} % of them. They are a floor, which cannot fall"
    if rows["model"].nunique() > 2:
        means = rows.groupby("model")[["lp", "score", "baseline"]].mean()
        treated, baseline = (signed(np.polyfit(means["lp"], means[name], 1)[0]) for name in ("score", "baseline"))
        said += f": for ten times the parameters treated scores change by {treated} points and baselines by {baseline} "
        said += "(means of models, unweighted), so that the slope of the gain is mostly the treated models' own curve"
    yield f"{said}."


def _collapsed(card: StudyCard, rows: pd.DataFrame) -> Iterator[str]:
    """Trainings that learnt nothing, not even in the language of their data; to leave them out would favour what fails often."""
    lost, others = rows[rows["collapsed"]], rows[~rows["collapsed"]]
    if not len(lost):
        return
    where = ", ".join(f"{target} {number}" for target, number in lost["target"].value_counts().items())
    without = f", and {signed(others['gain'].mean())} without" if len(others) else ""
    yield (
        f"Collapsed: {len(lost):,} of the {_counted(rows)} rest on a run that is less than five points above chance in "
        f"{card.source_language} itself ({where}). They are kept: the mean gain is {signed(rows['gain'].mean())} points with "
        f"them{without}."
    )


def _unseen(rows: pd.DataFrame) -> Iterator[str]:
    """Languages that a model met here for the first time, in the test."""
    known = rows[rows["seen"].notna()]
    apart = known[~known["seen"].astype(bool)]
    if not len(apart) or len(apart) == len(known):
        return
    met = known[known["seen"].astype(bool)]
    yield (
        f"Unseen languages: {len(apart):,} of the {_counted(known)} are in languages that the model's pretraining did not "
        f"see. Their mean is {signed(apart['gain'].mean())} points, and {signed(met['gain'].mean())} where it saw them "
        "(unweighted). Models that differ in what they saw differ in more than size."
    )


def _counted(rows: pd.DataFrame, what: str = "gain") -> str:
    """How many they are, and of which target group, which is one."""
    return f"{count(len(rows), what)} of {rows['target_group'].iloc[0]} targets"


def _families(rows: pd.DataFrame) -> Iterator[str]:
    models = rows.drop_duplicates("model")
    if models["family"].nunique() == 1 and len(models) > 1:
        yield (
            f"One family: all {len(models)} models are of {models['family'].iloc[0]}. What its tokenizer, data and recipe do to "
            "the gain cannot be told from what size does, and no interval here covers another family."
        )


def _languages(card: StudyCard, rows: pd.DataFrame) -> Iterator[str]:
    """Intermediate training in other languages than the source: what is measured is then not zero-shot transfer."""
    used = {(cell.intermediate, cell.intermediate_language) for cell in card.cells if cell.intermediate_language}
    known = set(rows["intermediate"])
    for name, language in sorted(used):
        if name in known and language != "none" and not same_language(language, card.source_language):
            yield (
                f"Not {card.source_language} only: {name} is trained on {language} data, which may hold the tested languages. "
                f"These gains are not those of intermediate training in {card.source_language}, and not zero-shot over languages."
            )


def _replicates(rows: pd.DataFrame) -> Iterator[str]:
    runs = rows.groupby(["model", "treatment", "target"])["seed"].nunique()
    if (runs == 1).all():
        yield (
            f"One run each: every one of the {rows['treated_run'].nunique():,} treated trainings was made once. How much another "
            "seed would change a gain is not known, and the spread between models holds it unseen."
        )


def _means(rows: pd.DataFrame) -> Iterator[str]:
    for label in sorted(filter(is_mean, rows["language"].unique())):
        yield f"A mean among the languages: '{label}' looks like one over languages, and counts here as one more of them."


def _copied(rows: pd.DataFrame, scores: pd.DataFrame) -> Iterator[str]:
    """Runs with the very scores of another seed, but for those that learnt nothing and so answer alike."""
    lost = rows[rows["collapsed"]]
    runs = scores[~scores["stage"].isin({*lost["treated_stage"], *lost["baseline_stage"]})].drop_duplicates(["stage", "language"])
    cell = ["model", "intermediate", "variant", "target"]
    told = runs.sort_values("language").groupby([*cell, "stage"])["score"].agg([tuple, "size"])
    told = told[told["size"] >= TELLING].reset_index()
    copies = int(told.duplicated([*cell, "tuple"]).sum())
    if copies:
        yield (
            f"Copied seeds: {copies:,} of the {count(len(told), 'run')} have every score of another seed. Copies are no "
            "replicates: with them runs seem to vary less than they do, and intervals are too narrow."
        )


def _items(rows: pd.DataFrame, scores: pd.DataFrame) -> Iterator[str]:
    known = scores[scores["target"].isin(rows["target"]) & scores["items"].notna() & scores["se"].notna()]
    small = known[known["se"] > SMALL]
    if not len(small):
        return
    parts = []
    for target, part in small.groupby("target"):
        few, many = int(part["items"].min()), int(part["items"].max())
        parts.append(f"{target} ({few:,}{'' if few == many else f' to {many:,}'} items a language)")
    yield (
        f"Small test sets: {', '.join(parts)}. There a score has a standard error over items of up to "
        f"{points(small['se'].max()):.1f} points, so single gains say little: {count(len(small), 'score')} of {len(known):,} "
        f"have one above {points(SMALL):.0f}."
    )
