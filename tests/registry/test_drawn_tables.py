"""Whatever table comes: faultless ones give the gains of ten lines of pandas, faulty ones a finding with its row (review A3, B1)."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlift import studies
from xlift.analysis import paired
from xlift.registry.findings import BadInput
from xlift.registry.manifest.load import read_manifest
from xlift.registry.store import Store

DRAWN = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
MARKS = "aZ09 .,;:|'\"`$%&#{}[]()<>\\/^~_=+*?!@-–é\u0301ßЖ中हिع😀"  # and what is not shown, below
HIDDEN = "\n\r\t\x00\x1b\u200b\u202e\u2028\xa0\ufeff"
KEYS = ["model", "target", "language", "seed"]
SEVEN = ("metric", "target", "model", "intermediate", "language", "chance", "se")


@st.composite
def names(draw, count: int) -> list[str]:
    """Different names that a reader sees, of which no two are alike but for case, form or spaces."""
    letters = st.text(st.sampled_from(MARKS), min_size=1, max_size=12).map(str.strip)
    usable = letters.filter(
        lambda text: text and text.casefold() not in ("none", "all", "mean", "avg", "nan") and text[0] != "\u0301"
    )
    return draw(st.lists(usable, min_size=count, max_size=count, unique_by=str.casefold))


@st.composite
def tables(draw) -> pd.DataFrame:
    """A faultless table in percent: every model with and without each intermediate, everywhere; scores of 20 to 95 %."""
    drawn = random.Random(draw(st.integers(0, 2**32)))
    shape = {name: draw(st.integers(*range_)) for name, range_ in (("m", (2, 4)), ("t", (2, 3)), ("l", (2, 3)), ("i", (1, 2)))}
    models, targets, languages, tasks = (draw(names(shape[name])) for name in "mtli")
    seeds, items = range(draw(st.integers(1, 2))), draw(st.sampled_from([None, 500, 2000]))
    rows = []
    for place, model in enumerate(models):
        for task in ["none", *tasks]:
            for number, target in enumerate(targets):
                for language in languages:
                    for seed in seeds:
                        score = drawn.uniform(20, 95)
                        se = (score * (100 - score) / (items or 1000)) ** 0.5
                        metric = ("accuracy", "f1", "exact_match")[number]
                        row = (model, 10**8 * (place + 1), task, target, language, seed, metric, score, 25.0, se, items)
                        rows.append(row)
    columns = [*"model parameters intermediate target language seed metric score chance se items".split()]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=drawn.randrange(2**32), ignore_index=True)


def loaded(frame: pd.DataFrame, folder: Path, more: str = ""):
    frame.to_csv(folder / "t.csv", index=False)
    text = f"schema: xlift/1\nid: drawn\nquestion: q\ndata: {{source: table, file: t.csv, unit: percent{more}}}\n"
    (folder / "s.yaml").write_text(text + "analysis: {x: params_total}\n")
    return read_manifest(folder / "s.yaml")


def by_hand(frame: pd.DataFrame) -> pd.DataFrame:
    """Gains in ten lines, by another way: joined on the axes that have to agree, languages but English."""
    base = frame[frame["intermediate"] == "none"].set_index(KEYS)["score"]
    treated = frame[frame["intermediate"] != "none"].set_index([*KEYS, "intermediate"])["score"]
    both = treated.reset_index().join(base.rename("baseline"), on=KEYS).dropna()
    both["gain"] = (both["score"] - both["baseline"]) / 100
    return both.sort_values([*KEYS, "intermediate"], ignore_index=True)


def told(study, folder: Path) -> pd.DataFrame:
    from xlift.analysis import facts

    store = Store(folder / "store")
    studies.imported(study, store)
    found = paired.gains(facts.connect(store, [study.card()]), "drawn")
    return found.sort_values([*KEYS, "intermediate"], ignore_index=True)


def agree(study, frame: pd.DataFrame, folder: Path) -> None:
    found, wanted = told(study, folder), by_hand(frame)
    assert len(found) == len(wanted)
    for name in (*KEYS, "intermediate"):
        assert found[name].tolist() == wanted[name].tolist()
    np.testing.assert_allclose(found["gain"], wanted["gain"], atol=1e-12)


@DRAWN
@given(tables())
def test_a_faultless_table_is_accepted_and_its_gains_are_right(frame):
    with tempfile.TemporaryDirectory() as folder:
        study = loaded(frame, Path(folder))
        assert {finding.code for finding in study.warnings} <= {
            "W523",
            "W535",
            "W536",
            "W542",
        }  # a name may look like a size or a code
        agree(study, frame, Path(folder))


@pytest.mark.parametrize("part", SEVEN)
@settings(DRAWN, max_examples=10)
@given(tables(), st.data())
def test_a_part_in_another_unit_is_always_found(part, frame, data):
    if part in ("chance", "se"):
        frame[part] /= 100
        rows = frame.index
    else:
        rows = frame.index[frame[part] == data.draw(st.sampled_from(sorted(frame[part].unique())))]
        frame.loc[rows, "score"] /= 100
    with tempfile.TemporaryDirectory() as folder, pytest.raises(BadInput) as error:
        loaded(frame, Path(folder))
    found = [finding for finding in error.value.findings if finding.code == "E524"]
    assert found[0].hint and all(finding.place.file.endswith("t.csv") for finding in found)
    assert {finding.place.line - 2 for finding in found} <= {*rows, len(frame) - 1}


@settings(DRAWN, max_examples=40)
@given(tables(), st.data())
def test_rows_that_stand_twice_are_lost_or_renamed_are_found_or_counted_right(frame, data):
    """What is accepted is right by hand; what is not has its place."""
    row = data.draw(st.sampled_from(range(len(frame))))
    harm = data.draw(st.sampled_from(["twice", "again", "lost", "renamed", "hidden", "empty", "text", "no baselines"]))
    axis = data.draw(st.sampled_from(["model", "target", "language", "intermediate"]))
    changed = frame.astype({"score": object})
    if harm == "twice":
        changed = pd.concat([changed, changed.loc[[row]]], ignore_index=True)
    elif harm == "again":
        changed = pd.concat([changed, changed.loc[[row]].assign(score=50.5)], ignore_index=True)
    elif harm == "lost":
        changed = changed.drop(index=data.draw(st.sets(st.sampled_from(range(len(frame))), min_size=1))).reset_index(drop=True)
    elif harm == "renamed":
        changed.loc[row, axis] = data.draw(names(1))[0]
    elif harm == "hidden":
        changed.loc[row, axis] = f"a{data.draw(st.sampled_from(HIDDEN))}b"
    elif harm in ("empty", "text"):
        changed.loc[row, "score"] = (
            "" if harm == "empty" else data.draw(st.sampled_from(["n/a", "55,5", "70±1", "inf", "nan", "101"]))
        )
    else:
        changed = changed[changed["intermediate"] != "none"].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            study = loaded(changed, Path(folder))
        except BadInput as error:
            assert all(finding.place.line >= 1 and finding.message for finding in error.findings)
            return
        assert harm in ("lost", "renamed"), harm
        agree(study, changed.astype({"score": float}), Path(folder))
