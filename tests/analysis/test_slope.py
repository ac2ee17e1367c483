import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xlift.analysis import facts, paired
from xlift.analysis.study import slope
from xlift.registry.card import Analysis

from .planted import plant, rising, sized


def fitted(connection, **options):
    rows = paired.gains(connection, "planted")
    return {
        (group, name): slope.scale_slope(part, "params_non_embedding", treatment=name, **options)
        for group, part in rows.groupby("target_group")
        for name in ("all", *sorted(part["treatment"].unique()))
    }


def test_planted_slopes_are_recovered_exactly(planting):
    found = fitted(planting()[2])
    assert set(found) == {(group, name) for group in ("fine-tuned", "retrieval") for name in ("all", "mnli", "squad1")}
    assert found["fine-tuned", "mnli"].estimate == pytest.approx(0.01, abs=1e-12)
    assert found["retrieval", "squad1"].estimate == pytest.approx(-0.01, abs=1e-12)
    assert found["fine-tuned", "all"].estimate == pytest.approx(0, abs=1e-12)
    assert found["fine-tuned", "mnli"].df == 4


def noisy(cell, language):
    wave = np.sin(7 * cell.params_non_embedding**0.3 + len(cell.intermediate)) / 50
    return rising(cell, language) + (wave if cell.intermediate != "none" else 0)


def test_the_slope_is_that_of_ordinary_least_squares_on_the_model_means(planting):
    found = fitted(planting(noisy)[2])["fine-tuned", "mnli"]
    means = found.series.means
    line = stats.linregress(np.log10(means["params"]), means["gain"])
    half = stats.t.ppf(0.975, 4) * line.stderr
    expected = (line.slope, line.stderr, line.pvalue, line.slope - half, line.slope + half)
    assert (found.estimate, found.se, found.p, found.low, found.high) == pytest.approx(expected)


def test_more_seeds_and_languages_add_no_degrees_of_freedom(planting):
    few = fitted(planting(noisy, seeds=(1,))[2])["fine-tuned", "all"]
    many = fitted(planting(noisy, seeds=range(5), languages=("en", "de", "sw", "th", "fi"))[2])["fine-tuned", "all"]
    assert (few.df, few.se) == pytest.approx((many.df, many.se))


def test_a_slope_on_fewer_than_four_models_is_refused_in_words(planting):
    found = fitted(planting(models=sized(3))[2])
    assert all(isinstance(item, slope.Refused) for item in found.values())
    assert found["fine-tuned", "all"].reason == "3 models have gains and 4 are needed; more seeds or languages do not help"
    assert len(found["fine-tuned", "all"].series.means) == 3


def test_a_slope_on_models_of_one_size_is_refused(planting):
    found = fitted(planting(models={f"m{i}": ("xlmr", 10**6 * (1 + i % 2)) for i in range(4)})[2])
    assert "fewer than three different sizes" in found["fine-tuned", "mnli"].reason


def test_two_stages_are_refused_where_the_primary_model_is(planting):
    found = fitted(planting(models=sized(4))[2])["fine-tuned", "all"]
    assert found.reason == "4 models of 2 families have gains: a slope needs 3 models more than families"


def test_retrieval_is_never_averaged_with_fine_tuned_targets(planting):
    rows = paired.gains(planting()[2], "planted")
    with pytest.raises(ValueError, match="never averaged"):
        slope.scale_slope(rows, "params_non_embedding")
    assert set(slope.mean_gain(rows, ["treatment"])["target_group"]) == {"fine-tuned", "retrieval"}


def test_targets_set_apart_form_a_group_of_their_own(planting):
    connection = planting(analysis=Analysis(apart=("panx",)))[2]
    rows = paired.gains(connection, "planted")
    assert dict(zip(rows["target"], rows["target_group"], strict=True)) == {
        "xnli": "fine-tuned",
        "panx": "set apart",
        "tatoeba": "retrieval",
    }


def test_models_are_compared_on_the_combinations_that_all_of_them_have():
    def uneven(cell, language):
        easy = 0.2 if cell.target == "panx" and cell.intermediate != "none" else 0.0
        return rising(cell, language) + easy

    card, shelf = plant(uneven, models=sized(6))
    for cell in card.cells:
        if cell.target == "panx" and cell.model in ("m0", "m1"):  # the small models lose the target with large gains
            shelf.lose(cell.stage, "failed")
    found = fitted(facts.connect(shelf, [card]))["fine-tuned", "mnli"]
    assert found.estimate == pytest.approx(0.01, abs=1e-12)
    assert (found.series.used, found.series.seen) == (2, 4)


def test_targets_weigh_equally_however_many_languages_they_have():
    rows = pd.DataFrame(
        {
            "target_group": "fine-tuned",
            "treatment": "mnli",
            "seed": 1,
            "model": "m0",
            "target": ["xnli"] * 3 + ["panx"],
            "language": ["de", "sw", "th", "de"],
            "gain": [0.0, 0.0, 0.0, 0.1],
        }
    )
    assert paired.nested_mean(rows, ["model"])["gain"].tolist() == pytest.approx([0.05])


def test_the_interval_of_a_mean_gain_is_t_on_models(planting):
    table = slope.mean_gain(paired.gains(planting(noisy)[2], "planted"), ["treatment"]).set_index(["target_group", "treatment"])
    row = table.loc[("fine-tuned", "mnli")]
    models = paired.gains(planting(noisy)[2], "planted").query("treatment == 'mnli' and target_group == 'fine-tuned'")
    means = models.groupby("model")["gain"].mean()
    low, high = stats.t.interval(0.95, 5, means.mean(), means.std() / np.sqrt(6))
    assert (row["mean"], row["low"], row["high"], row["models"]) == pytest.approx((means.mean(), low, high, 6))


def test_one_model_gives_a_mean_and_no_interval(planting):
    table = slope.mean_gain(paired.gains(planting(models=sized(1))[2], "planted"), ["treatment", "target"])
    assert table["mean"].notna().all() and table[["low", "high"]].isna().all(axis=None)


def test_an_unknown_study_is_refused_with_the_known_ones(planting):
    with pytest.raises(ValueError, match="unknown study 'plantd'; known: planted"):
        paired.gains(planting(models=sized(1))[2], "plantd")
