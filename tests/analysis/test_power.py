"""Power: samples of a design's own model, without a gain of it."""

import numpy as np
import pandas as pd
import pytest

from xlift.analysis.study.check import planned_groups
from xlift.analysis.study.power import MORE, RUNS, Design, Power, simulated
from xlift.registry.card import Analysis
from xlift.registry.findings import UserError

from .planted import plant, sized

KNOWN = {
    "language": 0.01,
    "target": 0.01,
    "model": 0.004,
    "treated_run": 0.006,
    "baseline_run": 0.006,
    "cell": 0.006,
    "residual": 0.008,
}


def rows_of(models: int = 5, seeds=(1, 2)) -> pd.DataFrame:
    card, _ = plant(lambda cell, language: 0.5, models=sized(models), seeds=seeds, languages=("en", "de", "sw", "th"))
    return planned_groups(card)["fine-tuned"]


def test_a_slope_moves_estimates_by_itself_and_power_rises_with_it():
    power, unknown = simulated(Design("d", rows_of()), KNOWN, Analysis(), 60, np.random.default_rng(0))
    assert abs(power.error.mean()) < 4 * power.error.std() / np.sqrt(60)
    assert power.at(0)[0] <= 0.1 and power.at(1)[0] == 1 and power.at(0.02)[0] <= power.at(0.03)[0]
    least, error = power.detectable
    assert power.at(least + 1e-9)[0] >= 0.8 > power.at(least - 1e-9)[0] - 1e-12 and 0 < error < least
    assert "target:treatment" in unknown and "cell" not in unknown


def test_what_a_design_cannot_tell_apart_adds_up():
    """With one seed a treated training serves one target: its variance is not lost."""
    rows = rows_of(seeds=(1,))
    small, _ = simulated(Design("d", rows), KNOWN | {"treated_run": 0.0}, Analysis(), 40, np.random.default_rng(0))
    large, _ = simulated(Design("d", rows), KNOWN | {"treated_run": 0.1}, Analysis(), 40, np.random.default_rng(0))
    assert large.detectable[0] > 2 * small.detectable[0]


@pytest.mark.parametrize("axis", MORE)
def test_twice_an_axis_is_twice_its_levels_and_shares_what_it_shares(axis):
    one = Design("d", rows_of())
    two = one.with_more(axis)
    for name in ("model", "seed", "language", "target"):
        count = one.rows[name].nunique() * (2 if name == axis[:-1] else 1)
        assert two.rows[name].nunique() == count, name
    assert len(two.rows) == 2 * len(one.rows)
    runs = {run: two.rows[run].nunique() / one.rows[run].nunique() for run in (*RUNS, "cell")}
    wanted = {
        "models": dict.fromkeys(runs, 2),
        "seeds": dict.fromkeys(runs, 2),
        "languages": dict.fromkeys(runs, 1) | {"cell": 2},
        "targets": dict.fromkeys(runs, 2) | {"intermediate_run": 1},
    }[axis]
    assert runs == wanted
    assert two.rows.groupby("model")["lp"].nunique().max() == 1
    assert two.rows["lp"].min() == one.rows["lp"].min() and two.rows["lp"].max() == one.rows["lp"].max()


def test_a_sample_that_cannot_be_fitted_found_nothing():
    power = Power(Design("d", rows_of()), np.zeros(8), np.full(8, 0.01), np.full(8, 5.0), failed=2)
    assert power.at(1.0)[0] == 0.8 and np.isfinite(power.detectable[0])
    assert Power(power.design, power.error[:7], power.se[:7], power.df[:7], failed=3).detectable[0] == float("inf")


def test_too_few_models_have_no_power():
    with pytest.raises(UserError, match="no slope, so no power"):
        simulated(Design("d", rows_of(models=3)), KNOWN, Analysis(), 20, np.random.default_rng(0))
