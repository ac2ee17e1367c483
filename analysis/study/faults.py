"""What is wrong with the data behind a study's gains, in words: a reader should not have to find it out alone."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from xlift.analysis.report.table import count, interval, points, signed
from xlift.analysis.study.groups import SURE
from xlift.registry.card import StudyCard
from xlift.registry.carriers import told_lineages
from xlift.registry.known.languages import is_mean, same_language
from xlift.registry.table.design import TELLING

FLOOR = 0.5  # share of a model's baselines that are not above chance, from which on all of them are a floor
SMALL = 0.02  # standard error of a score over its items, from which on a test set is small: a gain's is 1.4 times that
STILL = 0.003  # range of a cell's scores over baseline and treatments, up to which it does not move
LIVELY = 0.03  # range of half a target's cells, from which on one that does not move is none by chance
ALIKE = 3  # treatments from which on all of them tell something of a cell
LOW = 0.05  # how far below what other models tell of it a baseline may have been broken
LIFTED = 0.02  # least gain of every treatment where it was repaired
FAR = 3.5  # standard deviations of other models' gains, from which on a gain is none of theirs
NAMED = 4  # cells or cases that a sentence names; more are counted

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
    every = [_cells(part) for part in groups]
    found: dict[Changes, list[Iterable[str]]] = {
        "numbers": [
            *map(_floor, groups),
            *(_collapsed(card, part) for part in groups),
            *(_still(part, cells) for part, cells in zip(groups, every, strict=True)),
            *(_repaired(part, cells) for part, cells in zip(groups, every, strict=True)),
            _means(rows),
            _items(rows, scores),
        ],
        "interval": [_lineages(card), _families(rows), _replicates(card, rows), _copied(rows, scores), _shared(card, rows)],
        "meaning": [*map(_unseen, groups), _languages(card, rows), _source(card, rows)],
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


def _still(rows: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    """Cells that score alike whatever is done, where others of the same target move."""
    ranges = cells["high"] - cells["low"]
    usual = ranges.groupby(cells["target"]).transform("median")
    found = cells[(cells["treatments"] >= ALIKE) & (ranges <= STILL) & (usual >= LIVELY)]
    if len(found):
        yield (
            f"Do not move: {_places(found)} score alike with and without every intermediate training, within {points(STILL):.1f} "
            f"points, where half the cells of {', '.join(sorted(set(found['target'])))} move by more than "
            f"{points(usual[found.index].min()):.1f}: nothing is measured there, and a gain of 0 is no finding. "
            f"{_with_and_without(rows, found)}"
        )


def _repaired(rows: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    """Baselines below what the other models tell of them, which every treatment lifts as it lifts none of the others."""
    alike = cells[(cells["treatments"] >= ALIKE) & (cells["least"] >= LIFTED) & (cells["most"] - cells["least"] <= cells["gain"])]
    low = {at: below for at, cell in alike.iterrows() if (below := _below(cells, cell)) >= LOW}
    if low:
        found, worst = alike.loc[list(low)], alike.loc[max(low, key=low.get)]
        yield (
            f"Repaired baselines? {_places(found)}: a baseline up to {points(max(low.values())):.0f} points below what size and "
            f"language tell of it by other models ({worst['model']} on {worst['target']} in {worst['language']}), and every "
            "treatment lifts it, far more than theirs: as a format that was broken, or a score low by chance, and not as a task "
            "that transfers. "
            f"{_with_and_without(rows, found)}"
        )


def _cells(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a model, target and language, over all treatments and seeds: treatments, lp, better, low and high of scores, mean
    baseline and gain, least and most of gains.
    """
    scores = rows[["score", "baseline"]]
    rows = rows.assign(low=scores.min(axis=1), high=scores.max(axis=1), least=rows["gain"], most=rows["gain"])
    kinds = {"low": "min", "high": "max", "least": "min", "most": "max", "gain": "mean", "baseline": "mean", "lp": "first"}
    by = rows.groupby(["model", "target", "language"], as_index=False)
    return by.agg({**kinds, "better": "first", "treatment": "nunique"}).rename(columns={"treatment": "treatments"})


def _below(cells: pd.DataFrame, cell: pd.Series) -> float:
    """How far a baseline lies below a line on size and languages through the other models' on its target.

    0 where they do not tell it, or their gains are like its own.
    """
    known = cells[(cells["target"] == cell["target"]) & (cells["model"] != cell["model"])]
    languages = sorted({*known["language"]})
    if cell["language"] not in languages or known["model"].nunique() <= ALIKE:
        return 0.0
    if cell["gain"] < known["gain"].mean() + FAR * known["gain"].std():
        return 0.0
    X = np.column_stack([known["lp"], *(known["language"] == language for language in languages)]).astype(float)
    line = np.linalg.lstsq(X, known["baseline"].to_numpy(), rcond=None)[0]
    told = line[0] * cell["lp"] + line[1 + languages.index(cell["language"])]
    return float(cell["baseline"] - told if cell["better"] == "lower" else told - cell["baseline"])


def _places(cells: pd.DataFrame) -> str:
    """Cells in words, by model and target."""
    said = [
        f"{model} on {target} in {', '.join(part['language'])}" for (model, target), part in cells.groupby(["model", "target"])
    ]
    return "; ".join(said[:NAMED]) + (f"; and {len(said) - NAMED} more" if len(said) > NAMED else "")


def _with_and_without(rows: pd.DataFrame, cells: pd.DataFrame) -> str:
    axes = ["model", "target", "language"]
    among = pd.MultiIndex.from_frame(rows[axes]).isin(pd.MultiIndex.from_frame(cells[axes]))
    without = f", and {signed(rows['gain'][~among].mean())} without" if not among.all() else ""
    return f"The mean gain is {signed(rows['gain'].mean())} points with the {count(int(among.sum()), 'gain')} there{without}."


def _shared(card: StudyCard, rows: pd.DataFrame) -> Iterator[str]:
    """Known sampling variances of gains that have their baselines in common."""
    if card.analysis.sampling != "known":
        return
    shared = rows.groupby(["baseline_run", "language"])["treatment"].nunique()
    if (shared > 1).any():
        yield (
            f"Shared baselines: a baseline stands behind up to {shared.max()} treatments. The known variance of each gain holds "
            "its baseline's noise, and so does the estimated variance of cells, which their gains have in common: it is counted "
            "twice, and intervals are rather too wide for it."
        )


def _source(card: StudyCard, rows: pd.DataFrame) -> Iterator[str]:
    """Gains in the language of training, which a study keeps."""
    own = rows["language"].map(lambda language: same_language(language, card.source_language))
    if own.any():
        others = f", {signed(rows['gain'][~own].mean())} in the others" if not own.all() else ""
        yield (
            f"Source language: {int(own.sum()):,} of the {count(len(rows), 'gain')} are in {card.source_language}, the language "
            f"of training, and no transfer. Their mean is {signed(rows['gain'][own].mean())} points{others}."
        )


def resting(choices: pd.DataFrame) -> Iterator[str]:
    """Slopes (rows of `sensitivity`) that change size or sign without one model or one target; a sentence a target group."""
    for group, cases in choices.groupby("target_group", sort=False):
        whole, *_ = cases[cases["kind"] == "primary"].itertuples()
        if pd.isna(whole.se):
            continue
        left = cases[cases["kind"].isin(["model", "target"]) & cases["estimate"].notna()]
        left = left.assign(moved=(left["estimate"] - whole.estimate).abs()).sort_values("moved", ascending=False)
        large = left["moved"] >= max(whole.se, abs(whole.estimate)) / 2
        other = left["p"].notna() & ((left["p"] < SURE) != (whole.p < SURE))
        found = left[large | other]
        if len(found):
            named = "; ".join(f"{case.case} {_slope(case)}" for case in found.head(NAMED).itertuples())
            more = f"; and so without {len(found) - NAMED} more" if len(found) > NAMED else ""
            yield f"{group} targets: the slope, {_slope(whole)} points, rests on single models or targets: {named}{more}."


def _slope(case) -> str:
    return f"{signed(case.estimate)} {interval(case.low, case.high)}".rstrip()


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


def _replicates(card: StudyCard, rows: pd.DataFrame) -> Iterator[str]:
    if card.analysis.sampling == "known":  # which was told from several
        return
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
