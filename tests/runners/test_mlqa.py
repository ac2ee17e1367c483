"""MLQA's F1 beside the benchmark's own script."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from xlift.registry.known.tasks import MLQA_LANGUAGES
from xlift.runners import metrics

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))
import mlqa  # noqa: E402

EXPECTED = json.loads(gzip.decompress(mlqa.FILE.read_bytes()))


@pytest.mark.parametrize("language", mlqa.LANGUAGES)
def test_f1_equals_the_benchmark_s_script_on_three_thousand_cases(language):
    assert mlqa.digest(language) == EXPECTED[language]["cases"]
    found = [
        metrics.token_overlap_f1(metrics.mlqa_tokens(gold, language), metrics.mlqa_tokens(guess, language))
        for gold, guess in mlqa.cases(language)
    ]
    assert found == pytest.approx(EXPECTED[language]["f1"], abs=1e-6)
    assert len(found) == 3000 and sum(0 < value < 1 for value in found) > 500


@pytest.mark.parametrize(
    ("language", "gold", "guess", "mlqa_f1", "squad_f1"),
    [
        ("zh", "1999年的北京", "北京", 4 / 7, 0.0),
        ("de", "der Eiffelturm", "Eiffelturm", 1.0, 2 / 3),
        ("es", "«Quijote»", "Quijote", 1.0, 0.0),
    ],
)
def test_the_two_normalisers_differ_where_the_benchmarks_do(language, gold, guess, mlqa_f1, squad_f1):
    for name, expected in (("mlqa", mlqa_f1), ("squad", squad_f1)):
        measure = metrics.answer_measures([(gold,), (gold,)], [guess, guess], language, name)[0]
        assert measure.value == pytest.approx(expected)


def test_a_language_that_mlqa_does_not_compare_is_refused():
    with pytest.raises(ValueError, match="not in fi; write normaliser: squad"):
        metrics.mlqa_tokens("talo", "fi")


def test_the_languages_that_a_manifest_may_name_are_those_that_are_compared():
    assert set(MLQA_LANGUAGES) == set(metrics.MLQA_ARTICLES) == set(mlqa.LANGUAGES)
