"""Hypotheses that counts alone can tell of: never another answer than the model's, and no heavy package for the usual study."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from xlift.analysis.study import check, counted
from xlift.registry.card import Hypothesis
from xlift.registry.findings import Place

from .planted import plant, rising, sized

ROOT = Path(__file__).parents[2]
ASKED = [
    "slope",
    "gain",
    "gain at params = 1e10",
    "gain at params = 31623",
    "slope | intermediate == 'mnli'",
    "slope | treatment == 'squad1' minus slope | treatment == 'mnli'",
    "slope | intermediate == 'mnli' minus slope | intermediate == 'mnli'",
    "gain | variant == 'plain'",
    "gain | variant == 'mlm'",
    "gain | intermediate == 'qqp'",
    "gain | family == 'mt5'",
    "slope | family == 'mt5'",
    "gain | intermediate in ['mnli', 'squad1'] minus gain | intermediate == 'mnli'",
    "gain | intermediate == 'mnli' at params = 1e9 minus gain | intermediate == 'mnli' at params = 1e7",
    "gain | target == 'xnli'",
    "gain |",
    "growth",
]


def place(path: tuple[str | int, ...]) -> Place:
    return Place("study.yaml", 1, 1 + len(path))


def drawn(rng: random.Random):
    """A card of some design, with some hypotheses."""
    models = {
        f"m{n}": (rng.choice(["a", "a", "b", "c"]), round(10 ** (6 + rng.choice([n, 0]) / 3))) for n in range(rng.randint(1, 9))
    }
    models = sized(rng.choice([1, *range(4, 13)])) if rng.random() < 0.6 else models
    bridges = ("none", *rng.sample(["mnli", "squad1"], rng.randint(1, 2)))
    targets = rng.sample(["xnli", "panx", "tatoeba"], rng.randint(1, 3))
    card, _ = plant(rising, models=models, bridges=bridges, targets=targets, seeds=(1,))
    if rng.random() < 0.2:  # a treatment on one family alone, and perhaps the other on the other
        apart = {name: rng.choice(["mt5", "xlmr", None]) for name in bridges[1:]}
        cells = [
            cell.model_copy(update={"declared": (family := apart.get(cell.intermediate)) is not None and family != cell.family})
            for cell in card.cells
        ]
        card = card.model_copy(update={"cells": tuple(cells)})
    elif rng.random() < 0.25:  # cells that are declared as missing, of one model or here and there
        lost = rng.choice(list(models))
        kind = rng.choice(bridges)
        cells = [
            cell.model_copy(update={"declared": (cell.model == lost and cell.intermediate == kind) or rng.random() < 0.02})
            for cell in card.cells
        ]
        card = card.model_copy(update={"cells": tuple(cells)})
    asked = {}
    for number in range(rng.randint(1, 2)):
        text, kind = rng.choice([*ASKED, *ASKED[:8] * 4]), rng.choice(["contrast", "contrast", "equivalence", "predict"])
        more = {"contrast": {"direction": "positive"}, "equivalence": {"bounds": (-1.0, 1.0)}, "predict": {}}[kind]
        group = rng.choice(["fine-tuned"] * 6 + [None, "retrieval", "other"])
        asked[f"h{number}"] = Hypothesis.model_validate({kind: text, "group": group} | more)
    return card.model_copy(update={"hypotheses": asked})


def test_counts_say_nothing_else_than_the_model():
    rng, answered = random.Random(20261129), 0
    for _ in range(300):
        card = drawn(rng)
        told = counted.findings(card, place)
        if told is not None:
            answered += 1
            assert told == check.findings(card, place), card.hypotheses
    assert answered > 15


@pytest.mark.parametrize("asked", ASKED)
def test_each_question_alone_is_answered_as_the_model_would(asked):
    card, _ = plant(rising, models=sized(6), targets=("xnli",), seeds=(1,))
    hypothesis = Hypothesis.model_validate({"contrast": asked, "direction": "positive"})
    card = card.model_copy(update={"hypotheses": {"h": hypothesis}})
    told, whole = counted.findings(card, place), check.findings(card, place)
    assert told is None or told == whole
    if not whole and " minus " not in asked and "family" not in asked:
        assert told == []


def test_the_quickstart_is_checked_without_a_heavy_package():
    code = (
        "import sys, xlift.cli\nsys.argv = ['xlift', 'check', 'experiments/quickstart.yaml']\ntry: xlift.cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'duckdb', 'scipy', 'torch', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["experiments/quickstart.yaml: ok", "[]"], done.stdout + done.stderr


@pytest.mark.parametrize("asked", ["gain | intermediate == 'mnli'", "gain", "slope"])
def test_treatments_on_models_of_different_families_are_put_to_the_model(asked):
    """Each has models enough, and which of treatment and family made a gain cannot be told."""
    card, _ = plant(rising, models=sized(12), targets=("xnli",), seeds=(1,))
    own = {"mnli": "mt5", "squad1": "xlmr"}
    cells = [cell.model_copy(update={"declared": own.get(cell.intermediate, cell.family) != cell.family}) for cell in card.cells]
    hypothesis = Hypothesis.model_validate({"contrast": asked, "direction": "positive"})
    card = card.model_copy(update={"cells": tuple(cells), "hypotheses": {"h": hypothesis}})
    assert counted.findings(card, place) in (None, check.findings(card, place))
    assert bool(check.findings(card, place)) == ("|" in asked)  # the mean of both is told
