from datetime import UTC, datetime

import pandas as pd
import pytest

from xlift.analysis import facts, mixed
from xlift.analysis.report.methods import methods
from xlift.analysis.report.table import signed
from xlift.analysis.study.faults import faults
from xlift.registry.card import Analysis, Pairing
from xlift.registry.known.languages import LANGUAGES
from xlift.registry.stage import Data, Scoring, Stage, Weights
from xlift.registry.store import Store

from .planted import TARGETS, plant, rising, score, sized


def rows(connection, text):
    return facts.query(connection, text)


def test_every_view_has_the_columns_of_the_design_and_the_study_last(planting):
    _, _, connection = planting(models=sized(1))
    columns = {view: " ".join(rows(connection, f"SELECT * FROM {view}").columns) for view in facts.VIEWS}
    assert columns["stages"] == (
        "id kind model family params_total params_non_embedding task seed parent state source started seconds study"
    )
    assert columns["scores"] == ("stage model intermediate variant target language seed metric score items chance se study")
    assert columns["gains"] == (
        "model family params_total params_non_embedding lp intermediate variant treatment target target_group language seed metric "
        "better gain gain_se dev_score score baseline treated_stage baseline_stage intermediate_run treated_run baseline_run cell same_task at_chance collapsed seen language_family script distance origin study"
    )
    assert columns["missing"].endswith(" study")


def test_a_gain_is_treated_minus_baseline_and_the_source_language_stays_in_the_scores_only(planting):
    card, _, connection = planting(models=sized(2))
    gains = rows(connection, "SELECT * FROM gains WHERE intermediate = 'mnli' AND model = 'm0'")
    assert gains["gain"].to_numpy() == pytest.approx(0.02)
    assert len(gains) == 3 * 2 * 2  # targets, seeds, languages without English
    assert set(gains["language"]) == {"de", "sw"}
    assert len(rows(connection, "SELECT * FROM scores")) == len(card.cells) * 3
    assert rows(connection, "SELECT * FROM missing").empty


def test_same_task_cells_and_baselines_at_chance_are_marked(planting):
    def at_chance(cell, language):
        return 0.34 if cell.target == "xnli" else 0.6

    _, _, connection = planting(at_chance, models=sized(1))
    gains = rows(connection, "SELECT DISTINCT intermediate, target, same_task, at_chance FROM gains")
    assert set(gains[gains["same_task"]][["intermediate", "target"]].itertuples(index=False, name=None)) == {("mnli", "xnli")}
    assert set(gains["target"][gains["at_chance"]]) == {"xnli"}


def test_unpaired_halves_are_listed_with_their_reason():
    card, shelf = plant(rising, models=sized(1), seeds=(1,))
    cell = {(cell.intermediate, cell.target): cell for cell in card.cells}
    parent = {stage.id: stage.parent for stage in card.stages}
    shelf.lose(cell["none", "xnli"].stage, "failed")
    shelf.lose(cell["mnli", "panx"].stage, "pending")
    shelf.lose(parent[cell["mnli", "panx"].stage], "failed", "Diverged: step 3")
    shelf.lose(cell["squad1", "panx"].stage, "pending")
    missing = rows(facts.connect(shelf, [card]), "SELECT * FROM missing")
    reasons = {(row.intermediate, row.target, row.lacks): row.reason for row in missing.itertuples()}
    assert reasons == {
        ("none", "xnli", "score"): "failed",
        ("mnli", "xnli", "gain"): "no baseline: failed",
        ("squad1", "xnli", "gain"): "no baseline: failed",
        ("mnli", "panx", "score"): f"failed: train panx ({parent[cell['mnli', 'panx'].stage]}), Diverged: step 3",
        ("squad1", "panx", "score"): "not run yet",
    }
    assert len(missing) == 3 * 3 + 2 * 2  # three halves in three languages, two gains in two


def test_a_blocked_cell_is_missing_for_the_reason_that_the_card_gives():
    card, shelf = plant(rising, models=sized(1), seeds=(1,))
    blocked = [
        cell.model_copy(update={"stage": None, "blocked": "licence"}) if cell.intermediate == "squad1" else cell
        for cell in card.cells
    ]
    missing = rows(facts.connect(shelf, [card.model_copy(update={"cells": tuple(blocked)})]), "SELECT * FROM missing")
    assert set(missing["intermediate"]) == {"squad1"} and set(missing["reason"]) == {"licence"}


def test_halves_scored_on_different_test_data_are_not_a_gain():
    card, shelf = plant(rising, models=sized(1), seeds=(1,), targets=("xnli",))
    other = next(cell.stage for cell in card.cells if cell.intermediate == "none")
    shelf.rows[other] = [score(language, 0.5, data="other") for language in ("en", "de", "sw")]
    connection = facts.connect(shelf, [card])
    assert rows(connection, "SELECT * FROM gains").empty
    assert set(rows(connection, "SELECT * FROM missing")["reason"]) == {"no baseline: its metric or its test data differ"}


def test_a_stage_that_two_cells_share_is_read_once_and_serves_both():
    card, shelf = plant(rising, models=sized(1), targets=("tatoeba",))
    shared = next(cell.stage for cell in card.cells if cell.intermediate == "none")
    cells = [cell.model_copy(update={"stage": shared}) if cell.intermediate == "none" else cell for cell in card.cells]
    gains = rows(facts.connect(shelf, [card.model_copy(update={"cells": tuple(cells)})]), "SELECT * FROM gains")
    assert set(gains["baseline_stage"]) == {shared} and len(gains) == 2 * 2 * 2


def test_a_match_that_leaves_two_baselines_is_refused():
    card, shelf = plant(rising, models=sized(1), analysis=Analysis(gain=Pairing(match=("model", "target", "language"))))
    with pytest.raises(ValueError, match=r"two baselines for .* analysis.gain.match has to name more"):
        facts.connect(shelf, [card])


def test_an_axis_that_cells_do_not_have_is_refused():
    card, shelf = plant(rising, models=sized(1), analysis=Analysis(gain=Pairing(baseline={"bridge": "none"})))
    with pytest.raises(ValueError, match=r"analysis.gain.baseline names bridge; cells have"):
        facts.connect(shelf, [card])


def test_bad_sql_is_answered_in_words_with_what_was_meant(planting):
    _, _, connection = planting(models=sized(1))
    with pytest.raises(ValueError, match=r"(?s)does not work.*gain"):
        facts.query(connection, "SELECT gian FROM gains")


@pytest.mark.parametrize(
    "text",
    [
        "DROP VIEW gains",
        "SELECT 1; SELECT 2",
        "CREATE TABLE x AS SELECT 1",
        "SET threads = 1",
        "",
        "COPY gains TO 'gains.csv'",
        "EXPLAIN ANALYZE DELETE FROM score_rows",
        "PRAGMA database_list",
    ],
)
def test_only_one_reading_statement_is_run(planting, text):
    _, _, connection = planting(models=sized(1))
    with pytest.raises(ValueError, match=r"one SELECT statement is wanted|does not work"):
        facts.query(connection, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('README.md')",
        "SELECT * FROM 'README.md'",
        "SELECT * FROM card",
        "SELECT * FROM read_text('README.md')",
        "SELECT * FROM glob('*')",
    ],
)
def test_a_query_reads_neither_files_nor_the_variables_of_the_program(planting, text):
    card, _, connection = planting(models=sized(1))
    assert card.study
    with pytest.raises(ValueError, match=r"disabled by configuration|does not exist"):
        facts.query(connection, text)


def test_a_study_without_a_cell_has_empty_views(planting):
    card, shelf, _ = planting(models=sized(1))
    connection = facts.connect(shelf, [card.model_copy(update={"cells": (), "stages": ()})])
    assert all(rows(connection, f"SELECT * FROM {view}").empty for view in facts.VIEWS)


def test_facts_are_read_from_the_store_on_disk(tmp_path):
    card, shelf = plant(rising, models=sized(1), seeds=(1,), targets=("xnli",))
    store, stages = Store(tmp_path), {stage.id: stage for stage in card.stages}
    renamed = {}
    for cell in card.cells:
        data = Data(source="lab", kind="pair", task=stages[cell.stage].task, digest=cell.stage)
        stage = Stage(kind="evaluate", weights=Weights(folder="0" * 64), data=data, scoring=Scoring())
        renamed[cell.stage] = stage.id
        with store.lease(stage) as lease:
            if cell.intermediate == "squad1":
                store.fail(lease, "nan", "the loss is not a number")
                continue
            names = [f"scores/{score.language}.jsonl" for score in shelf.rows[cell.stage]]
            (lease.folder / "scores").mkdir()
            for name, row in zip(names, shelf.rows[cell.stage], strict=True):
                (lease.folder / name).write_text(row.model_dump_json() + "\n")
            store.commit(lease, names, started=datetime.now(UTC), host="here", versions={})
    store.save_card(
        card.model_copy(
            update={
                "cells": tuple(cell.model_copy(update={"stage": renamed[cell.stage]}) for cell in card.cells),
                "stages": tuple(stages[old].model_copy(update={"id": new}) for old, new in renamed.items()),
            }
        )
    )
    connection = facts.connect(store, store.cards())
    assert rows(connection, "SELECT gain FROM gains")["gain"].to_numpy() == pytest.approx([0.02, 0.02])
    assert sorted(rows(connection, "SELECT state FROM stages")["state"]) == ["failed", "finished", "finished"]
    assert set(rows(connection, "SELECT * FROM missing")["reason"]) == {"failed: nan"}
    assert rows(connection, "SELECT started FROM stages WHERE state = 'finished'")["started"].notna().all()


def test_a_gain_has_what_is_known_of_its_language_and_a_formula_may_ask_for_it():
    card, shelf = plant(rising, models=sized(6))
    cells = tuple(cell.model_copy(update={"seen": ("en", "de") if cell.model != "m5" else None}) for cell in card.cells)
    connection = facts.connect(shelf, [card.model_copy(update={"cells": cells})])
    gains = rows(connection, "SELECT DISTINCT model = 'm5' AS odd, language, seen, language_family, script, distance FROM gains")
    found = {(row.odd, row.language): row for row in gains.itertuples()}
    assert found[False, "de"].seen and not found[False, "sw"].seen and found[True, "de"].seen is pd.NA
    assert (found[False, "sw"].language_family, found[False, "sw"].script) == ("Niger-Congo", "Latn")
    assert found[False, "sw"].distance == LANGUAGES["sw"].distance
    of = mixed.fit("gain ~ lp * distance + (1 | model)", rows(connection, "SELECT * FROM gains"))
    assert "lp:distance" in of.params.index
    known = rows(connection, "SELECT * FROM gains WHERE seen IS NOT NULL")
    assert any("seen" in name for name in mixed.fit("gain ~ seen + (1 | model)", known).params.index)


def test_a_run_that_learnt_nothing_in_its_own_language_is_kept_and_flagged():
    def value(cell, language):
        lost = (cell.model, cell.intermediate, cell.target) == ("m0", "mnli", "panx")
        return TARGETS[cell.target] + (0.049 if lost else 0.051) if language == "en" else 0.3

    card, shelf = plant(value, models=sized(2))
    connection = facts.connect(shelf, [card])
    gains = rows(connection, "SELECT * FROM gains")
    flagged = gains[gains["collapsed"]]
    assert set(flagged[["model", "intermediate", "target"]].itertuples(index=False, name=None)) == {("m0", "mnli", "panx")}
    assert set(flagged["language"]) == {"de", "sw"} and len(gains) > len(flagged) > 0
    said = [s.text for s in faults(card, gains, rows(connection, "SELECT * FROM scores")) if s.text.startswith("Collapsed")]
    fine = gains[gains["target_group"] == "fine-tuned"]  # the group that the run is of, and never a mean with retrieval
    assert len(said) == 1 and f"{len(flagged)} of the {len(fine)} gains of fine-tuned targets" in said[0] and "panx" in said[0]
    assert 0 < len(fine) < len(gains) and f"kept: the mean gain is {signed(fine['gain'].mean())} points with them" in said[0]


def test_gains_in_languages_that_pretraining_did_not_see_are_told_apart_with_the_source(planting):
    card, shelf = plant(rising, models=sized(6))
    cells = tuple(cell.model_copy(update={"seen": ("en", "de") if cell.model != "m5" else None}) for cell in card.cells)
    card = card.model_copy(update={"cells": cells, "seen": {f"m{i}": "a paper, table 1 (recalled)" for i in range(5)}})
    connection = facts.connect(shelf, [card])
    gains, scores = rows(connection, "SELECT * FROM gains"), rows(connection, "SELECT * FROM scores")
    said = [note.text for note in faults(card, gains, scores) if note.text.startswith("Unseen")]
    known = gains[gains["model"] != "m5"]
    groups = known.groupby("target_group")
    assert len(said) == len(groups) == 2
    for sentence, (group, part) in zip(said, groups, strict=True):
        apart = part[part["language"] == "sw"]
        assert f"{len(apart)} of the {len(part)} gains of {group} targets are" in sentence
        assert f"mean is {signed(apart['gain'].mean())} points" in sentence
    assert not [s for s in faults(card, gains[gains["language"] == "de"], scores) if s.text.startswith("Unseen")]
    (told,) = (paragraph for paragraph in methods(card, ()) if "pretraining saw" in paragraph)
    assert "m0, m1, m2, m3, m4 from a paper, table 1 (recalled). It is not known for m5." in told


def test_models_that_write_their_answers_are_never_on_one_slope_with_the_others():
    card, shelf = plant(rising, models=sized(6))
    cells = tuple(cell.model_copy(update={"written": cell.family == "mt5"}) for cell in card.cells)
    connection = facts.connect(shelf, [card.model_copy(update={"cells": cells})])
    groups = rows(connection, "SELECT DISTINCT family, target_group FROM gains ORDER BY ALL")
    assert list(groups.itertuples(index=False, name=None)) == [
        ("mt5", "fine-tuned, text to text"),
        ("mt5", "retrieval, text to text"),
        ("xlmr", "fine-tuned"),
        ("xlmr", "retrieval"),
    ]


def test_a_score_exactly_five_points_above_chance_is_not_collapsed(planting):
    _, _, connection = planting(lambda cell, language: TARGETS[cell.target] + 0.05, models=sized(1))
    assert not rows(connection, "SELECT * FROM gains")["collapsed"].any()
