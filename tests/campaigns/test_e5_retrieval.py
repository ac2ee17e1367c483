"""Real retrieval: an untouched multilingual-e5-small finds Tatoeba translations as it is known to.

    XLIFT_DATA=DIR python -m pytest tests/campaigns/test_e5_retrieval.py

Needs XTREME's development data and the model in models/multilingual-e5-small (see experiments/xtreme-mini.yaml).
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xlift.registry.manifest.load import load
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Cutting, Data, Scoring
from xlift.runners import evaluate, nets
from xlift.runners.data import local
from xlift.runners.kinds import kind_of, retrieve
from xlift.runners.kinds.base import Reading

sys.path[:0] = [str(Path(__file__).parent)]
import real_data

DATA, ROOT = real_data.data(), real_data.ROOT
MODEL = ROOT / "models" / "multilingual-e5-small"


@pytest.fixture(scope="module")
def net():
    return nets.load(MODEL)


@pytest.mark.parametrize(("language", "foreign_to_english"), [("de", 0.99), ("hi", 0.97), ("sw", 0.73)])
def test_the_untouched_encoder_retrieves_as_known(net, language, foreign_to_english):
    """The known figures are of the first 500 pairs, queried from the foreign side; the study queries from English."""
    study = load(ROOT / "experiments" / "xtreme-mini.yaml")
    scoring: Scoring = study.facts.models["e5-small"].section.scoring
    data = Data(source="local", kind="retrieve", task="tatoeba", fields=study.facts.tasks["tatoeba"].fields, metric="accuracy")
    examples = local.read(LocalFiles(DATA, study.manifest.data.files, {}), data, "test", language)[1][:500]
    prefixed = [replace(e, foreign=scoring.prefix + e.foreign, pivot=scoring.prefix + e.pivot) for e in examples]
    features = kind_of("retrieve").encode(prefixed, Reading(net.tokenizer, Cutting(max_length=128, stride=64)), data, language)
    outputs = np.stack(evaluate.predict(net, kind_of("retrieve"), features, scoring, device="cpu", budget=8192))
    foreign, english, right = outputs[0::2], outputs[1::2], np.arange(len(examples))
    assert round(float((retrieve.nearest(foreign, english) == right).mean()), 2) == foreign_to_english
    brute = np.array([max(right, key=lambda other: float(foreign[other] @ row)) for row in english])
    score = evaluate.score(net, examples, data, scoring, language, "", device="cpu", budget=8192)[0]
    assert score.value == pytest.approx(float((brute == right).mean()))
