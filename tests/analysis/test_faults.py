"""What a report says is wrong with data: of copies and means among the rows of a table (review A3.21), and by planted faults."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import tabled

from xlift import studies
from xlift.analysis import facts, paired
from xlift.analysis.study.faults import faults, resting
from xlift.registry.card import Analysis
from xlift.registry.manifest.load import read_manifest
from xlift.registry.store import Store

from . import planted


def notes(folder, rows: tabled.Rows) -> list[str]:
    folder.mkdir()
    (folder / "scores.csv").write_text(tabled.text_of(rows))
    (folder / "study.yaml").write_text(tabled.MANIFEST)
    study, store = read_manifest(folder / "study.yaml"), Store(folder / "store")
    studies.imported(study, store)
    connection = facts.connect(store, [study.card()])
    found = faults(study.card(), paired.gains(connection, "told"), paired.scores(connection, "told"))
    return [note.text for note in found if note.text.startswith(("Copied seeds", "A mean among"))]


def test_copies_of_seeds_and_means_among_languages_are_on_the_page(tmp_path):
    rows = tabled.table()
    rows += [{**row, "language": "fr", "score": f"{float(row['score']) / 2:.4f}"} for row in rows if row["language"] == "de"]
    assert not notes(tmp_path / "faultless", rows)
    key = ("model", "intermediate", "target", "language")
    first = {tuple(row[name] for name in key): row["score"] for row in reversed(rows)}
    copied = [{**row, "score": first[tuple(row[name] for name in key)]} if row["model"] == "a" else row for row in rows]
    (said,) = notes(tmp_path / "copies", copied)
    assert "4 of the 32 runs have every score of another seed" in said
    (said,) = notes(
        tmp_path / "means", [{**row, "language": {"fr": "AVG"}.get(row["language"], row["language"])} for row in rows]
    )
    assert "'AVG' looks like one over languages" in said


MODELS, TREATMENTS, TARGETS, LANGUAGES = range(6), ("mnli", "squad1", "qqp"), ("t0", "t1", "t2"), ("de", "fr", "ru", "sw")


def gains(seed: int, spread: float = 0.03) -> pd.DataFrame:
    """Gains as a study has them: baselines by size and language, and a gain of a model at a target beside noise of single runs."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        list(product(MODELS, TARGETS, LANGUAGES, TREATMENTS)), columns=["model", "target", "language", "treatment"]
    )
    lp = rows["model"] / 5 - 0.5
    tongue = dict(zip(LANGUAGES, rng.normal(0, 0.05, len(LANGUAGES)), strict=True))
    cells = rows[["model", "target", "language"]].drop_duplicates()
    cells["baseline"] = 0.55 + 0.1 * (cells["model"] / 5 - 0.5) + cells["language"].map(tongue) + rng.normal(0, 0.03, len(cells))
    rows = rows.merge(cells)
    own = {pair: rng.normal(0, 0.01) for pair in product(MODELS, TARGETS)}
    gain = [own[pair] for pair in zip(rows["model"], rows["target"], strict=True)] + rng.normal(0.01, spread, len(rows))
    name = rows["model"].map("m{}".format)
    return rows.assign(
        lp=lp,
        model=name,
        family="f",
        score=rows["baseline"] + gain,
        gain=gain,
        better="higher",
        seed=1,
        target_group="fine-tuned",
        at_chance=False,
        collapsed=False,
        seen=None,
        intermediate=rows["treatment"],
        treated_run=[str(at) for at in range(len(rows))],
        baseline_run=name + rows["target"],
        treated_stage="",
        baseline_stage="",
    )


def told(rows: pd.DataFrame, **analysis) -> list[str]:
    card = planted.plant(lambda cell, language: 0.5, models=planted.sized(1))[0]
    card = card.model_copy(update={"analysis": Analysis(**analysis)})
    none = pd.DataFrame(columns=["stage", "language", "target", "items", "se", "model", "intermediate", "variant", "score"])
    return [note.text for note in faults(card, rows, none) if not note.text.startswith(("One ", "Copied"))]


@pytest.mark.parametrize("seed", range(40))
def test_data_as_they_are_have_none_of_these_faults(seed):
    assert told(gains(seed)) == []


def place(rows: pd.DataFrame, *languages: str) -> pd.Series:
    return (rows["model"] == "m3") & (rows["target"] == "t1") & rows["language"].isin(languages)


@pytest.mark.parametrize("seed", range(5))
def test_a_cell_that_does_not_move_is_named(seed):
    rows = gains(seed)
    here = place(rows, "ru")
    rows.loc[here, ["score", "baseline"]] = 0.25
    rows.loc[here, "gain"] = 0.0
    (said,) = told(rows)
    assert "Do not move: m3 on t1 in ru score alike" in said and "with the 3 gains there" in said
    rows = rows[~(here & (rows["treatment"] == "qqp"))]  # two treatments may agree by chance
    assert told(rows) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_baseline_that_every_treatment_repairs_is_named(seed):
    rows = gains(seed, spread=0.01)
    here = place(rows, "ru", "sw")
    rows.loc[here, "baseline"] -= 0.2
    rows["gain"] = rows["score"] - rows["baseline"]
    (said,) = told(rows)
    assert "Repaired baselines? m3 on t1 in ru, sw: a baseline up to" in said and f"{100 * rows['gain'].mean():+.1f}" in said
    rows.loc[here & (rows["treatment"] == "qqp"), "gain"] = 0.0  # one that lifts nothing: then it is no format
    assert told(rows) == []


def test_gains_in_the_source_language_are_named_where_they_are_kept():
    rows = gains(0)
    (said,) = told(rows.assign(language=rows["language"].replace("de", "en")), gain={"drop_languages": ()})
    assert f"Source language: {len(rows) // 4} of the {len(rows)} gains are in en" in said


def test_shared_baselines_are_named_where_sampling_variances_are_known():
    rows = gains(0)
    (said,) = told(rows, sampling="known")
    assert "Shared baselines: a baseline stands behind up to 3 treatments" in said
    assert told(rows[rows["treatment"] == "qqp"], sampling="known") == []


CASES = pd.DataFrame(
    [
        ("primary", "all gains", 0.02, 0.01, 0.06),
        ("choice", "on the logit scale", -0.5, 0.2, 0.01),
        ("model", "without a", 0.018, 0.01, 0.08),  # as before
        ("model", "without b", -0.001, 0.01, 0.9),  # another size
        ("model", "without c", 0.008, np.nan, np.nan),  # too few models for a test
        ("target", "without t", 0.021, 0.009, 0.03),  # another verdict
    ],
    columns=["kind", "case", "estimate", "se", "p"],
).assign(
    target_group="fine-tuned",
    low=lambda rows: rows["estimate"] - 2 * rows["se"],
    high=lambda rows: rows["estimate"] + 2 * rows["se"],
)


def test_a_slope_that_rests_on_one_model_or_target_is_said_to():
    (said,) = resting(CASES)
    assert said.endswith("without b −0.1 [−2.1, +1.9]; without c +0.8; without t +2.1 [+0.3, +3.9].")
    assert not list(resting(CASES[CASES["case"].isin(["all gains", "without a", "on the logit scale"])]))
