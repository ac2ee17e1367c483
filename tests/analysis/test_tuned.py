"""What a report says of a tuned study: planted gains and trials, with what tuning changed known beforehand."""

from math import log10

import pytest
from planted import name, plant, scattered, sized

from xlift.analysis import facts, paired
from xlift.analysis.report import tuning
from xlift.analysis.report.page import report
from xlift.analysis.study.tuned import Tuned
from xlift.registry.card import SearchCard, Trial

MODELS = sized(5)
SMALL = {"models": MODELS, "bridges": ("none", "mnli"), "targets": ("xnli", "panx", "tatoeba")}
CHANGED = 0.01  # a factor of ten above 10^6, by which tuning raises every treated score


def tuned_score(cell, language):
    decades = log10(cell.params_non_embedding) - 6
    noise = 1e-4 * (hash_of(cell.model, cell.intermediate, cell.target, cell.seed, language) % 21 - 10)
    return scattered(cell, language) + (cell.intermediate != "none") * (0.005 + CHANGED * decades + noise)


def hash_of(*parts) -> int:
    return int(name(*parts), 16)


def trial(number: int, lr: float, score: float | None, **more) -> Trial:
    common = {"origin": "searched", "state": "complete" if score is not None else "pruned", "stages": ("t",), "judges": ("j",)}
    return Trial(
        number=number, values={"lr": lr}, score=score, started="2026-01-02T03:04:05+00:00", seconds=1800.0, **common | more
    )


@pytest.fixture(scope="module")
def made():
    """A study whose lr optimum halves with each model, beside itself with the study's own recipe."""
    own_card, own_shelf = plant(scattered, **SMALL)
    card, shelf = plant(tuned_score, **SMALL)
    trials, searches = {}, []
    for index, model in enumerate(MODELS):
        best = 1e-3 / 2**index
        ended = [trial(0, 1e-3, 0.6, origin="own"), trial(1, best, 0.8), trial(2, best * 3, 0.795), trial(3, best * 9, None)]
        trials[f"planted/{model}"] = ended
        searches.append(
            SearchCard(
                model=model,
                intermediate="mnli",
                variant="plain",
                target=None,
                tasks=("mnli",),
                trials=4,
                hours=None,
                folder=f"planted/{model}",
                own={"lr": 1e-3},
                found={"lr": best},
                score=0.8,
            )
        )
    card = card.model_copy(update={"searches": tuple(searches), "untuned": own_card.cells})
    connection = facts.connect(shelf, [card])
    own = paired.gains(facts.connect(own_shelf, [own_card]), "planted")
    return card, connection, Tuned(card, trials, own)


def test_the_change_is_that_of_each_scale_and_its_slope_is_found(made):
    _, connection, tuned = made
    gains = paired.gains(connection, "planted")
    changes = tuned.by_model(gains)
    for row in changes.itertuples():
        assert row.gain == pytest.approx(0.005 + CHANGED * (log10(MODELS[row.model][1]) - 6), abs=5e-4)
        assert row.tuned - row.own == pytest.approx(row.gain, abs=1e-12)
    table = tuning.slope_table(tuned, gains).data.set_index(["target_group", "gains"])
    for group in ("fine-tuned", "retrieval"):
        slopes = table.loc[group]["estimate_points"]
        assert slopes["change"] == pytest.approx(100 * CHANGED, abs=0.1)
        assert slopes["tuned"] - slopes["own"] == pytest.approx(100 * CHANGED, abs=0.3)


def test_the_optimum_is_told_with_what_does_as_well(made):
    optima = made[2].optima().sort_values("params")
    assert optima["best"].tolist() == pytest.approx([1e-3 / 2**index for index in range(5)])
    assert (optima["high"] / optima["best"]).tolist() == pytest.approx([3.0] * 5) and (optima["low"] == optima["best"]).all()
    assert set(optima["own"]) == {1e-3}


def test_budgets_and_what_was_spent_stand_in_the_report(made):
    card, connection, tuned = made
    page = report(card, connection, None, tuned)
    assert {"searches", "tuning", "tuning-slope"} <= set(page.tables) and "tuning" in page.figures
    shown = page.tables["searches"].shown
    assert shown["Budget"].unique().tolist() == ["4 trials"] and set(shown["Complete"]) == {"3, 1 pruned"}
    assert set(shown["Hours"]) == {"2.00"} and set(shown["Own recipe's"]) == {"60.0"} and set(shown["Score"]) == {"80.0"}
    html = page.html()
    assert "tuned by searches (5), 4 trials each, judged on development data in en alone" in html
    assert 'id="tuning"' in html and 'href="#tuning"' in html and "Is the slope one of tuning?" in html


def test_a_study_that_is_not_run_yet_tells_its_searches(made):
    card, _, tuned = made
    nothing = facts.connect(None, [card])
    page = report(card, nothing, None, Tuned(card, tuned.trials))
    assert "searches" in page.tables and "tuning" not in page.tables and 'id="tuning"' in page.html()


def test_gains_with_the_study_s_own_recipe_are_not_among_the_gains(made):
    """The card has both; the views have what the study is about."""
    card, connection, _ = made
    assert len(paired.gains(connection, "planted")) == len(paired.planned(connection, "planted"))
    seen = {cell.stage for cell in card.cells}
    assert set(facts.query(connection, "SELECT DISTINCT stage FROM scores")["stage"]) == seen
