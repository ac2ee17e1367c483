"""Numbers that R has: lme4, lmerTest, pbkrtest, nlme. The fixtures: tests/reference."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import mixed
from xlift.analysis.mixed import contrasts
from xlift.analysis.mixed.profile import profile

HERE = Path(__file__).parents[1] / "reference"
STATS = HERE / "stats"
CASES = {
    "sleepstudy": "sleepstudy",
    "sleepstudy_uncorr": "sleepstudy",
    "Penicillin": "Penicillin",
    "sim_registry_a": "sim_registry_a",
}
OURS = json.loads((HERE / "r-results.json").read_text())


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(STATS / f"{name}.csv", skipinitialspace=True)


def r_name(term: str) -> str:
    return term.replace("Intercept", "(Intercept)").replace("[T.", "").replace("]", "")


def r_table(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).set_index("_row")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """R's results, and our fits with Kenward-Roger, with Satterthwaite and by ML."""
    if not STATS.is_dir():
        pytest.skip(f"no {STATS}")
    expected, rows = json.loads((STATS / f"{request.param}.json").read_text()), table(CASES[request.param])
    form = expected["formula"]
    return (
        expected,
        mixed.fit(form, rows),
        mixed.fit(form, rows, df="satterthwaite"),
        mixed.fit(form, rows, df="satterthwaite", reml=False),
    )


def test_the_criterion_is_r_s_and_never_above(case):
    expected, fit, _, ml = case
    assert fit.criterion == pytest.approx(expected["REMLcrit"], abs=1e-8, rel=0)
    assert ml.criterion == pytest.approx(expected["ML"]["deviance"], abs=1e-8, rel=0)
    assert ml.aic == pytest.approx(expected["ML"]["AIC"], abs=1e-7) and ml.bic == pytest.approx(expected["ML"]["BIC"], abs=1e-7)
    assert fit.singular == expected["singular"]


@pytest.mark.parametrize(("method", "which"), [("kenward_roger", 1), ("satterthwaite", 2)])
def test_coefficients_and_their_tests_are_r_s(case, method, which):
    expected, found = r_table(case[0][method]), case[which].effects.assign(term=lambda t: t["term"].map(r_name)).set_index("term")
    for ours, theirs, rel in (
        ("estimate", "Estimate", 1e-6),
        ("se", "Std. Error", 1e-6),
        ("df", "df", 1e-5),
        ("p", "Pr(>|t|)", 2e-5),
    ):
        assert found[ours].to_dict() == pytest.approx(expected[theirs].to_dict(), rel=rel)


def test_the_adjusted_covariance_is_pbkrtest_s(case):
    expected, fit = case[0]["vcov_kr"], case[1]
    order = [list(map(r_name, fit.params.index)).index(name) for name in np.atleast_1d(expected["rows"])]
    values, se = np.atleast_2d(expected["values"]), fit.bse.to_numpy()[order]
    assert np.abs(fit.cov_params().to_numpy()[np.ix_(order, order)] - values).max() < 5e-6 * np.outer(se, se).max()


def test_variance_components_are_r_s(case):
    expected, fit = case[0]["varcorr"], case[1]
    found = {(row.group, row.name1, row.name2): row.value for row in fit.variance_components.itertuples()}
    for row in expected:
        first, second = (name and name.replace("(Intercept)", "Intercept") for name in (row["var1"], row["var2"]))
        assert found[row["grp"].removesuffix(".1"), first, second] == pytest.approx(row["vcov"], rel=1e-5)


def test_conditional_modes_and_their_deviations_are_r_s(case):
    expected, found = pd.DataFrame(case[0]["ranef"]), case[1].random_effects
    found = found.assign(term=found["term"].replace("Intercept", "(Intercept)")).set_index(["group", "level", "term"])
    keys = [
        (group.removesuffix(".1"), str(level), term)
        for group, level, term in zip(expected["grpvar"], expected["grp"], expected["term"], strict=True)
    ]
    for ours, theirs in (("mode", "condval"), ("sd", "condsd")):
        assert np.abs(found.loc[keys, ours].to_numpy() - expected[theirs]).max() < 1e-5 * expected[theirs].abs().max()


def test_f_tests_are_r_s():
    expected, rows = json.loads((STATS / "sim_registry_a.json").read_text()), table("sim_registry_a")
    for method, key in (("kenward-roger", "anova_kr"), ("satterthwaite", "anova_satt")):
        fit, theirs = mixed.fit(expected["formula"], rows, df=method), r_table(expected[key])
        at_zero = contrasts.means(fit, "inter", at={"lp": 0}).differ()
        both = fit.f_test("lp:inter[T.i1] = 0, lp:inter[T.i2] = 0")
        assert (both.fvalue, both.df_denom) == pytest.approx(tuple(theirs.loc["lp:inter", ["F value", "DenDF"]]), rel=1e-5)
        assert (at_zero[0], at_zero[2], at_zero[3]) == pytest.approx(
            tuple(theirs.loc["inter", ["F value", "DenDF", "Pr(>F)"]]), rel=1e-5
        )
        slope = contrasts.slopes(fit, "lp")
        assert (slope.table()["t"][0] ** 2, slope.table()["df"][0]) == pytest.approx(
            tuple(theirs.loc["lp", ["F value", "DenDF"]]), rel=1e-5
        )


def test_means_slopes_pairs_and_equivalence_are_emmeans():
    expected, form = (
        json.loads((STATS / "sim_registry_a_emmeans.json").read_text()),
        json.loads((STATS / "sim_registry_a.json").read_text())["formula"],
    )
    rows = table("sim_registry_a")
    plain, kr = mixed.fit(form, rows, df="satterthwaite"), mixed.fit(form, rows)
    at = {"lp": 1}
    pairs = contrasts.means(plain, "inter", at=at).pairs()
    checks = [
        (contrasts.means(plain, "inter", at=at).table(), "emm_s", "emmean"),
        (contrasts.means(kr, "inter", at=at).table(), "emm_kr", "emmean"),
        (contrasts.slopes(plain, "lp", by="inter").table(), "trends", "lp.trend"),
        (pairs.table(adjust="holm"), "pairs_holm", "estimate"),
        (pairs.table(adjust="tukey"), "pairs_tukey", "estimate"),
        (pairs.equivalence(1.0), "tost", "estimate"),
    ]
    for found, key, estimate in checks:
        theirs = pd.DataFrame(expected[key])
        names = {
            "estimate": estimate,
            "se": "SE",
            "df": "df",
            "t": "t.ratio",
            "p": "p.value",
            "low": "lower.CL",
            "high": "upper.CL",
        }
        for ours, name in names.items():
            if name in theirs:
                assert found[ours].to_numpy() == pytest.approx(theirs[name].to_numpy(), rel=1e-5), (key, ours)


def test_profile_limits_are_where_the_deviance_is_chi_square_s():
    """lme4 interpolates; where it does so well, its limits are ours."""
    expected = r_table(json.loads((STATS / "sleepstudy.json").read_text())["confint_profile"])
    found = profile(mixed.fit("Reaction ~ Days + (Days | Subject)", table("sleepstudy"))).set_index("name")
    names = {
        "sd (Intercept | Subject)": "sd_(Intercept)|Subject",
        "sd (Days | Subject)": "sd_Days|Subject",
        "sigma": "sigma",
        "Days": "Days",
        "cor (Days, Intercept | Subject)": "cor_Days.(Intercept)|Subject",
        "Intercept": "(Intercept)",
    }
    for ours, theirs in names.items():
        assert found.loc[ours].to_numpy() == pytest.approx(expected.loc[theirs, ["2.5 %", "97.5 %"]].to_numpy(float), rel=1e-4)


def test_residual_variances_by_group_are_nlme_s():
    expected, rows = OURS["orthodont_by_sex"], pd.read_csv(HERE / "orthodont.csv")
    fit = mixed.fit("distance ~ age * Sex + (1 | Subject)", rows, residual_by="Sex")
    ml = mixed.fit("distance ~ age * Sex + (1 | Subject)", rows, residual_by="Sex", reml=False, df="satterthwaite")
    assert -2 * fit.llf <= -2 * expected["loglik_reml"] + 1e-8 and fit.llf == pytest.approx(expected["loglik_reml"], abs=1e-6)
    assert ml.llf == pytest.approx(expected["loglik_ml"], abs=1e-6)
    assert fit.residual_variances == pytest.approx(expected["residual"], rel=1e-4)
    assert fit.covariances["Intercept | Subject"][0, 0] == pytest.approx(expected["subject"], rel=1e-4)
    assert {r_name(k): v for k, v in fit.params.items()} == pytest.approx(expected["fixef"], rel=1e-6)
    assert np.sqrt(np.diag(fit.model_cov)) == pytest.approx(list(expected["se"].values()), rel=1e-4)


def test_weights_are_lme4_s():
    expected, rows = OURS["orthodont_weights"], pd.read_csv(HERE / "orthodont.csv")
    fit = mixed.fit("distance ~ age * Sex + (1 + age | Subject)", rows, weights="w", df="satterthwaite")
    theirs = r_table(expected["table"])
    assert fit.criterion <= expected["criterion"] + 1e-8 and fit.criterion == pytest.approx(expected["criterion"], abs=1e-6)
    assert fit.residual_variances[""] == pytest.approx(expected["sigma2"], rel=1e-4)
    assert fit.bse.to_numpy() == pytest.approx(theirs["Std. Error"].to_numpy(), rel=1e-4)
    assert fit.df.to_numpy() == pytest.approx(theirs["df"].to_numpy(), rel=1e-3)


def test_nested_terms_are_lme4_s():
    expected, rows = OURS["pastes_nested"], pd.read_csv(HERE / "pastes.csv")
    fit = mixed.fit("strength ~ 1 + (1 | batch/cask)", rows)
    assert fit.criterion == pytest.approx(expected["criterion"], abs=1e-8, rel=0)
    assert fit.df["Intercept"] == pytest.approx(expected["kr"][0]["df"], rel=1e-5)
    found = dict(zip(fit.variance_components["group"], fit.variance_components["value"], strict=True))
    assert found["batch:cask"] == pytest.approx(
        next(row["vcov"] for row in expected["varcorr"] if row["grp"] == "cask:batch"), rel=1e-4
    )
    assert found["batch"] == pytest.approx(next(row["vcov"] for row in expected["varcorr"] if row["grp"] == "batch"), rel=1e-4)
