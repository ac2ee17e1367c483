"""Meta-analysis beside metafor's numbers and beside identities."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import meta, mixed
from xlift.analysis.meta.forest import forest

HERE = Path(__file__).parents[1] / "reference"
STATS = HERE / "stats"
OURS = json.loads((HERE / "r-results.json").read_text())
BCG = pd.read_csv(HERE / "bcg.csv")


@pytest.mark.parametrize("case", OURS["bcg"], ids=str)
def test_every_estimator_is_metafor_s(case):
    expected, (method, moderators) = OURS["bcg"][case], case.split(" ", 1)
    found = meta.meta(BCG, "yi", "vi", moderators=moderators, method=method)
    loose = 1e-3 if method == "PM" else 1e-8  # metafor's PM stops early: it is off where EB, the same estimator, is not
    assert sum(found.tau2.values()) == pytest.approx(expected["tau2"], rel=loose)
    assert found.estimates["estimate"].to_numpy() == pytest.approx(np.atleast_1d(expected["beta"]), rel=loose)
    assert found.estimates["se"].to_numpy() == pytest.approx(np.atleast_1d(expected["se"]), rel=loose)
    assert found.i2 == pytest.approx(expected["I2"], rel=loose) and found.q == pytest.approx(expected["QE"], rel=1e-9)
    assert found.loglik == pytest.approx(expected["ml" if method == "ML" else "reml"], rel=loose)
    if found.prediction and expected.get("pi"):
        assert found.prediction == pytest.approx(tuple(expected["pi"]), rel=loose)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_levels_are_rma_mv_s(method):
    expected, rows = OURS[f"konstantopoulos_{method}"], pd.read_csv(HERE / "konstantopoulos.csv")
    found = meta.meta(rows, "yi", "vi", random="(1 | district/school)", method=method, df="residual")
    assert list(found.tau2.values()) == pytest.approx(expected["sigma2"], rel=1e-4)
    assert found.loglik == pytest.approx(expected["loglik"], abs=1e-8) and found.loglik >= expected["loglik"] - 1e-9
    mean = found.estimates.iloc[0]
    assert (mean.estimate, mean.se, mean.low, mean.high) == pytest.approx(
        (expected["beta"], expected["se"], expected["low"], expected["high"]), rel=1e-5
    )
    assert found.q == pytest.approx(expected["QE"], rel=1e-9)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("bcg_FE", {"method": "FE"}),
        ("bcg_DL", {"method": "DL"}),
        ("bcg_REML", {}),
        ("bcg_REML_knha", {"knapp_hartung": True}),
        ("bcg_metareg_knha", {"moderators": "~ ablat + year", "knapp_hartung": True}),
    ],
    ids=str,
)
def test_the_fixtures_of_one_level(case, options):
    expected = json.loads((STATS / f"{case}.json").read_text())
    found = meta.meta(pd.read_csv(STATS / "bcg.csv", skipinitialspace=True), "yi", "vi", **options)
    for ours, theirs in (("se", "se"), ("p", "pval"), ("low", "ci.lb"), ("high", "ci.ub")):
        assert found.estimates[ours].to_numpy() == pytest.approx(np.atleast_1d(expected[theirs]), rel=1e-9)
    assert sum(found.tau2.values()) == pytest.approx(expected["tau2"], rel=1e-9) and found.i2 == pytest.approx(
        expected["I2"], rel=1e-9
    )
    assert found.loglik == pytest.approx(expected["logLik"], abs=1e-8) and found.q_p == pytest.approx(expected["QEp"], rel=1e-8)
    if "predict" in expected and found.prediction:
        assert found.prediction == pytest.approx((expected["predict"]["pi.lb"], expected["predict"]["pi.ub"]), rel=1e-9)
    if "confint_Qprofile" in expected:
        limits = expected["confint_Qprofile"][0]
        assert meta.q_profile(found) == pytest.approx((limits["ci.lb"], limits["ci.ub"]), rel=1e-3)


def test_the_fixtures_of_several_levels():
    expected = json.loads((STATS / "assink2016_mv.json").read_text())
    rows = pd.read_csv(STATS / "assink2016.csv", skipinitialspace=True)
    found = meta.meta(rows, "yi", "vi", random="(1 | study/esid)", df="residual")
    assert list(found.tau2.values()) == pytest.approx(expected["sigma2"], rel=1e-5)
    robust = meta.robust(found, rows["study"]).iloc[0]
    assert (robust.se, robust.df) == pytest.approx((expected["robust_CR2"]["se"], expected["robust_CR2"]["df"]), rel=1e-6)
    assert found.prediction == pytest.approx((expected["predict"]["pi.lb"], expected["predict"]["pi.ub"]), rel=1e-6)
    crossed = json.loads((STATS / "sim_effects_c_mv.json").read_text())
    found = meta.meta(
        pd.read_csv(STATS / "sim_effects_c.csv"),
        "yi",
        "vi",
        moderators="~ lp * inter",
        random="(1 | lang) + (1 | target) + (1 | model) + (1 | cell)",
    )
    assert list(found.tau2.values()) == pytest.approx(crossed["sigma2"], rel=1e-5)
    assert found.loglik == pytest.approx(crossed["logLik"], abs=1e-8)
    names = [
        name.replace("intrcpt", "Intercept").replace("interi", "inter[T.i") + ("]" if "interi" in name else "")
        for name in crossed["beta"]
    ]
    assert found.estimates.set_index("term").loc[names, "se"].to_numpy() == pytest.approx(crossed["se"], rel=1e-6)


def test_the_mixed_engine_with_one_effect_a_level_is_the_one_level_model():
    rows = BCG.assign(trial=range(len(BCG)))
    levels = meta.meta(rows, "yi", "vi", random="(1 | trial)")
    single = meta.meta(rows, "yi", "vi")
    assert levels.tau2["trial"] == pytest.approx(single.tau2[""], rel=1e-6)
    assert levels.loglik == pytest.approx(single.loglik, abs=1e-9)


def test_effects_without_heterogeneity_say_that_tau2_is_zero():
    found = meta.meta(pd.DataFrame({"y": [1.0, 1.1, 0.9, 1.05], "v": [1.0] * 4}), "y", "v")
    assert found.tau2 == {"": 0.0} and "estimated zero" in found.warnings[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"effect": "y"}, "no column 'y' \\(did you mean 'yi'"),
        ({"method": "RMEL"}, "did you mean 'REML'"),
        ({"moderators": "~ ablat + I(2 * ablat)"}, "is a combination of"),
        ({"random": "(1 | author)"}, "no column 'author'"),
        ({"random": "(1 | x)", "method": "DL"}, "need REML or ML"),
        ({"variance": "negative"}, "have to be positive"),
    ],
)
def test_bad_input_is_said(options, says):
    rows = BCG.assign(negative=-BCG["vi"], x=np.arange(13) % 3)
    with pytest.raises(ValueError, match=says):
        meta.meta(rows, **({"effect": "yi", "variance": "vi"} | options))


def test_a_forest_plot_shows_every_effect():
    found = meta.meta(BCG, "yi", "vi")
    labels = [text.get_text() for text in forest(found).axes[0].get_yticklabels()]
    assert len(labels) == len(BCG) + 2 and labels[-1] == "a new effect"


def test_known_variances_in_fit_and_in_meta_agree():
    rows = BCG.assign(trial=[f"t{i}" for i in range(len(BCG))])
    fit = mixed.fit("yi ~ ablat + (1 | trial)", rows, variances="vi")
    found = meta.meta(rows, "yi", "vi", moderators="~ ablat")
    assert fit.params.to_numpy() == pytest.approx(found.estimates["estimate"].to_numpy(), rel=1e-6)
