"""A registration is written once, says whether it came before the scores, and finds what changed since."""

import pytest

from xlift.registry.card import Hypothesis
from xlift.registry.registration import deviations, register
from xlift.registry.store import Store

from ..analysis.planted import plant, rising, sized

MODELS = {"fine-tuned": "gain ~ lp + (1 | model)"}


@pytest.fixture
def card():
    made = plant(rising, models=sized(2))[0]
    return made.model_copy(update={"hypotheses": {"falls": Hypothesis(contrast="slope", direction="negative")}})


def test_a_registration_survives_its_way_through_the_store_and_is_never_overwritten(card, tmp_path):
    store, made = Store(tmp_path), register(card, MODELS, 0)
    assert store.registration("planted") is None
    store.register(made)
    assert store.registration("planted") == made and made.confirmatory and len(made.digest) == 64
    with pytest.raises(FileExistsError):
        store.register(register(card, MODELS, 3))
    assert deviations(store.registration("planted"), card, MODELS) == []


def test_a_field_that_is_newer_than_a_registration_was_not_declared_otherwise(card):
    made = register(card, MODELS, 0)
    content = {
        **made.frozen,
        "analysis": {**made.frozen["analysis"]},
        "hypotheses": {"falls": {**made.frozen["hypotheses"]["falls"]}},
    }
    del content["analysis"]["sampling"], content["hypotheses"]["falls"]["sides"]
    before = made.model_copy(update={"frozen": content})
    assert deviations(before, card, MODELS) == []
    one = {"falls": Hypothesis(contrast="slope", direction="negative", sides="one")}
    (said,) = deviations(before, card.model_copy(update={"hypotheses": one}), MODELS)
    assert said.startswith("hypotheses.falls: ")
    odd = made.model_copy(update={"frozen": {**content, "hypotheses": {"falls": {"asks": "slope"}}}})
    assert deviations(odd, card, MODELS)


def test_scores_before_a_registration_make_it_exploratory(card):
    assert not register(card, MODELS, 3).confirmatory


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hypotheses": {"falls": Hypothesis(contrast="slope", direction="positive")}}, "hypotheses.falls: "),
        ({"hypotheses": {}}, "hypotheses.falls: "),
        ({"control": "none"}, "control: holm was registered, and it is none now"),
        ({"left_out": ("excluded: seed > 1 (budget)",)}, "left_out: []"),
        ({"outcomes": {"xnli": "accuracy"}}, "outcomes.xnli: nothing was registered, and it is accuracy now"),
    ],
)
def test_what_changes_is_a_deviation(card, change, said):
    (found,) = deviations(register(card, MODELS, 0), card.model_copy(update=change), MODELS)
    assert found.startswith(said)


def test_another_formula_and_more_cells_are_deviations(card):
    made = register(card, MODELS, 0)
    assert "primary.fine-tuned" in deviations(made, card, {"fine-tuned": "gain ~ lp"})[0]
    smaller = card.model_copy(update={"cells": tuple(cell for cell in card.cells if cell.seed == 1)})
    assert deviations(made, smaller, MODELS)[0].startswith("matrix.seed: [1, 2] was registered")
