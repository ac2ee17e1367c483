"""The engine: exact identities, the boundary, cells beside rows, bad input."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import registries
from scipy import optimize, stats

from xlift.analysis import mixed
from xlift.analysis.facts import Relation
from xlift.analysis.mixed import beside_statsmodels, bootstrap, contrasts, prediction, profile, twostage
from xlift.analysis.mixed.formulas import parse
from xlift.analysis.mixed.inference import Satterthwaite
from xlift.analysis.mixed.likelihood import Likelihood
from xlift.analysis.mixed.state import profiled_hessian

HERE = Path(__file__).parents[1] / "reference"
FULL = "gain ~ lp * inter + (1 + lp | lang) + (1 | target) + (1 | model) + (1 | model:inter)"


@pytest.fixture(scope="module")
def registry() -> pd.DataFrame:
    return registries.simulate(5, 3, 4, 8, 2, seed=11)


@pytest.fixture(scope="module")
def balanced() -> pd.DataFrame:
    return registries.simulate(5, 2, 3, 6, 2, seed=3, lost=0.0)


def test_the_registries_are_the_known_ones():
    for (kind, *arguments), (rows, total) in registries.CHECKSUMS.items():
        frame = getattr(registries, kind)(*arguments)
        assert len(frame) == rows and frame["gain"].sum() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("correlated", [0, 1])
def test_all_forty_awkward_registries_end_at_the_optimum(correlated):
    known = pd.read_csv(HERE / "awkward.csv").query(f"correlated == {correlated}").set_index("seed")["criterion"]
    form = f"gain ~ lp + inter + (1 + lp {'|' if correlated else '||'} lang) + (1 | target) + (1 | model) + (1 | mi)"
    fits = {seed: mixed.fit(form, registries.awkward(seed)) for seed in registries.AWKWARD}
    assert len(fits) == 40 and all(fits[seed].criterion <= known[seed] + 1e-8 for seed in fits)
    singular = [fit for fit in fits.values() if fit.singular]
    assert singular and all(any("singular fit" in text for text in fit.warnings) for fit in singular)
    assert all(np.isfinite(fit.effects.drop(columns="term")).all(axis=None) for fit in fits.values())


@pytest.mark.parametrize("seed", [*registries.AWKWARD][::8])
def test_a_search_from_a_fit_of_most_rows_ends_where_any_other_does(seed):
    """Also from the boundary, and where what is left out is what a variance rested on."""
    rows = registries.awkward(seed)
    formula = "gain ~ lp * inter + (1 + lp | lang) + (1 | target) + (1 | model) + (1 | mi)"
    whole = mixed.fit(formula, rows)
    for column in ("lang", "target", "model", "inter"):
        left = rows[rows[column] != rows[column].iloc[0]]
        near, far = mixed.fit(formula, left, near=whole), mixed.fit(formula, left)
        assert near.state.criterion <= far.state.criterion + 1e-8
        assert near.params.to_numpy() == pytest.approx(far.params.to_numpy(), rel=1e-4, abs=1e-5)


def test_cells_from_parquet_or_a_query_are_the_same_fit_as_rows(registry, tmp_path):
    registry.to_parquet(tmp_path / "rows.parquet")
    rows, cells = mixed.fit(FULL, registry), mixed.fit(FULL, tmp_path / "rows.parquet")
    connection = duckdb.connect()
    connection.register("runs", registry)
    asked = mixed.fit(FULL, Relation.of(connection, "SELECT * FROM runs;"))
    for other in (cells, asked):
        assert other.criterion == pytest.approx(rows.criterion, abs=1e-9) and other.nobs == rows.nobs
        assert other.effects["df"].to_numpy() == pytest.approx(rows.effects["df"].to_numpy(), rel=1e-6)
    weighted = registry.assign(w=np.linspace(0.5, 2, len(registry)))
    weighted.to_parquet(tmp_path / "weighted.parquet")
    for options in ({"weights": "w"}, {"variances": "w"}, {"residual_by": "target"}):
        one, two = (mixed.fit(FULL, data, **options) for data in (weighted, tmp_path / "weighted.parquet"))
        assert one.criterion == pytest.approx(two.criterion, abs=1e-8) and one.bse.to_numpy() == pytest.approx(
            two.bse.to_numpy(), rel=1e-6
        )
    centred = "gain ~ center(lp) + (1 | lang)"
    assert mixed.fit(centred, registry).params.to_numpy() == pytest.approx(
        mixed.fit(centred, tmp_path / "rows.parquet").params.to_numpy()
    )


def test_a_balanced_contrast_is_a_difference_of_means_on_the_right_stratum(balanced):
    fit = mixed.fit("gain ~ inter + (1 | model) + (1 | model:inter)", balanced)
    means = balanced.groupby(["model", "inter"])["gain"].mean().unstack()
    expected = stats.ttest_rel(means["i1"], means["i0"])
    row = fit.effects.set_index("term").loc["inter[T.i1]"]
    assert not fit.singular
    assert (row.estimate, row.df, row.t, row.p) == pytest.approx(
        ((means["i1"] - means["i0"]).mean(), 4, expected.statistic, expected.pvalue), rel=1e-6
    )


def test_without_random_terms_it_is_least_squares(registry):
    from statsmodels.formula.api import ols

    fit, theirs = mixed.fit("gain ~ lp * inter", registry), ols("gain ~ lp * inter", registry).fit()
    assert fit.params[theirs.params.index].to_numpy() == pytest.approx(theirs.params.to_numpy())
    assert fit.bse[theirs.params.index].to_numpy() == pytest.approx(theirs.bse.to_numpy())
    assert fit.df.to_numpy() == pytest.approx([theirs.df_resid] * 6)
    assert mixed.fit("gain ~ lp * inter", registry, reml=False, df="satterthwaite").llf == pytest.approx(theirs.llf)


def test_shifting_and_scaling_the_data_shifts_and_scales_the_fit(registry):
    fit = mixed.fit(FULL, registry)
    other = mixed.fit(FULL, registry.assign(gain=1e6 + 1e-3 * registry["gain"], lp=2000 + 10 * registry["lp"]))
    assert other.params["lp"] == pytest.approx(1e-4 * fit.params["lp"], rel=1e-4)
    assert other.df["lp"] == pytest.approx(fit.df["lp"], rel=1e-3)


def test_gradient_and_hessian_are_exact(registry):
    for reml in (True, False):
        fit = mixed.fit(FULL, registry, residual_by="target", reml=reml, df="satterthwaite")
        model, point = fit.state.model, fit.state.point * 1.1 + 0.05
        gradient = model.at(point).gradient
        assert gradient == pytest.approx(optimize.approx_fprime(point, model.criterion, 1e-6), rel=1e-3, abs=1e-3)
        steps = 1e-5 * np.eye(len(point))
        numeric = np.array([(model.at(point + s).gradient - model.at(point - s).gradient) / 2e-5 for s in steps])
        assert np.abs(profiled_hessian(model.at(point)) - numeric).max() < 1e-6 * np.abs(numeric).max()


def test_one_residual_variance_by_group_is_the_plain_model_in_both_inferences(registry):
    """With the group's variances set equal, Kenward-Roger by residual groups has to be the plain one."""
    from xlift.analysis.mixed.inference import KenwardRoger

    plain = mixed.fit(FULL, registry)
    split = mixed.fit(FULL, registry, residual_by="target").state.model
    state = split.at(np.concatenate([plain.theta, np.zeros(split.G - 1)]))
    assert state.criterion == pytest.approx(plain.criterion, abs=1e-9)
    assert state.sigma2 == pytest.approx(plain.state.sigma2)
    assert np.isfinite(KenwardRoger(state).cov).all() and np.isfinite(Satterthwaite(state).A).all()
    assert state.hessian[: split.r, : split.r] == pytest.approx(plain.state.hessian[: split.r, : split.r], rel=1e-8)


def test_dense_matrices_give_the_same_likelihood(balanced):
    """The definition, with n x n matrices."""
    fit = mixed.fit("gain ~ lp + (1 + lp | lang) + (1 | target)", balanced)
    X, y = np.column_stack([np.ones(len(balanced)), balanced["lp"]]), balanced["gain"].to_numpy()
    D, tau2, s2 = (
        fit.covariances["Intercept + lp | lang"],
        fit.covariances["Intercept | target"][0, 0],
        fit.residual_variances[""],
    )
    same = lambda name: balanced[name].to_numpy()[:, None] == balanced[name].to_numpy()  # noqa: E731
    V = same("lang") * (X @ D @ X.T) + same("target") * tau2 + s2 * np.eye(len(y))
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    beta = C @ X.T @ inverse @ y
    r = y - X @ beta
    expected = np.linalg.slogdet(V)[1] - np.linalg.slogdet(C)[1] + r @ inverse @ r + (len(y) - 2) * np.log(2 * np.pi)
    assert fit.criterion == pytest.approx(expected, abs=1e-7) and fit.params.to_numpy() == pytest.approx(beta)
    assert fit.model_cov.to_numpy() == pytest.approx(C)


@pytest.mark.parametrize(
    ("formula", "change", "says"),
    [
        ("gain ~ lpp + (1 | lang)", {}, "no column 'lpp' \\(did you mean 'lp'\\?\\)"),
        ("gain ~ lp + model + (1 | lang)", {}, "model\\[T.m4\\] is a combination of Intercept, lp"),
        ("gain ~ lp + (1 | lang)", {"gain": 1.0}, "constant: it is 1"),
        ("gain ~ lp + (1 | lang)", {"lang": "de"}, "'lang' has one level only"),
        ("gain ~ lp + inter + (1 | lang)", {"inter": "a"}, "'inter' has one level only"),
        ("gain ~ lp + (1 | lang)", {"gain": np.inf}, "infinite values: 914 in 'gain'"),
        ("gain ~ lp + (1 | lang)", {"lp": np.nan}, "missing values: 914 in 'lp', of 914 rows"),
        ("gain ~ log(lp) + (1 | lang)", {}, "log\\(lp\\): .* missing or infinite"),
        ("gain ~ lp + (1 | row)", {"row": range(914)}, "914 random effects for 914 rows"),
        ("lang ~ lp + (1 | model)", {}, "not numeric"),
        ("gain ~ lp + (1 | lang", {}, "leaves a bracket open"),
        ("gain ~ lp + open(lp) + (1 | lang)", {}, "no function 'open'"),
        ("gain ~ lp.real + (1 | lang)", {}, "no column 'lp.real'"),
        ("gain lp", {}, "a formula is 'response ~ terms'"),
        ("gain ~ lp + (1 | lang) + (1 | lang)", {}, "twice"),
        ("gain ~ lp | lang", {}, "a bar outside brackets"),
        ("gain ~ 0 + (1 | lang)", {}, "no fixed effect"),
    ],
)
def test_bad_input_is_said_in_words(registry, tmp_path, formula, change, says):
    rows = registry.assign(**change)
    with pytest.raises(ValueError, match=says):
        mixed.fit(formula, rows)
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=says):
        mixed.fit(formula, tmp_path / "rows.parquet")


def test_empty_data_and_missing_rows_are_said(registry):
    with pytest.raises(ValueError, match="have no rows"):
        mixed.fit(FULL, registry.head(0))
    holed = registry.assign(gain=registry["gain"].where(registry.index > 9))
    fit = mixed.fit(FULL, holed, missing="drop")
    assert fit.nobs == len(registry) - 10 and "10 rows with missing values were left out" in fit.warnings
    with pytest.raises(ValueError, match="Kenward-Roger needs REML"):
        mixed.fit(FULL, registry, reml=False)


def test_formulas_are_taken_apart():
    found = parse("log10(y) ~ a * b + (1 + x || g) + (1 | a/b) + (0 + x | c:d)")
    assert [(term.columns, term.name) for term in found.random] == [
        ("1", "g"),
        ("0 + x", "g"),
        ("1", "a"),
        ("1", "a:b"),
        ("0 + x", "c:d"),
    ]
    assert (found.response, found.fixed, found.keys) == ("log10(y)", "a * b", ("a", "b", "x", "g", "c", "d"))


def test_a_zero_variance_profiles_to_zero_and_a_profile_covers_the_estimate(balanced):
    fit = mixed.fit("gain ~ lp + (1 | lang) + (1 | model)", balanced, reml=False, df="satterthwaite")
    found = profile.profile(fit, ["sd (Intercept | lang)", "lp"]).set_index("name")
    sd = np.sqrt(fit.covariances["Intercept | lang"][0, 0])
    assert found.loc["sd (Intercept | lang)", "low"] < sd < found.loc["sd (Intercept | lang)", "high"]
    assert found.loc["lp", "low"] < fit.params["lp"] < found.loc["lp", "high"]


def test_a_bootstrap_sample_has_the_model_s_moments(balanced):
    fit = mixed.fit("gain ~ lp + (1 | lang) + (1 | target)", balanced)
    samples = bootstrap.bootstrap(fit, lambda sample: sample.params, 150, np.random.default_rng(5))
    assert (samples.mean() - fit.params).abs().to_numpy() == pytest.approx([0, 0], abs=4 * float(fit.bse.max()) / np.sqrt(150))
    assert samples.std().to_numpy() == pytest.approx(np.sqrt(np.diag(fit.model_cov)), rel=0.25)
    smaller = mixed.fit("gain ~ lp + (1 | target)", balanced)
    assert bootstrap.bootstrapped_likelihood_ratio(smaller, fit, 20, np.random.default_rng(1))["p"] < 0.1
    assert contrasts.likelihood_ratio(smaller, fit)["boundary"]


def test_predictions_know_old_levels_from_new_ones(registry):
    fit = mixed.fit(FULL, registry)
    rows = pd.DataFrame({"lp": 1.0, "inter": ["i0", "i1", "i2"]})
    plain = prediction.predict(fit, rows)
    assert plain["estimate"].to_numpy() == pytest.approx(fit.predict(rows).to_numpy())
    assert plain["se"].to_numpy() == pytest.approx(
        [np.sqrt(x @ fit.model_cov.to_numpy() @ x) for x in fit.grid.design.rows(rows)]
    )
    assert plain["df"].to_numpy() == pytest.approx(
        fit.contrasts(fit.grid.design.rows(rows), list("abc"))["df"].to_numpy(), rel=0.02
    )
    new = prediction.predict(fit, rows.assign(model="new"), weights=[1 / 3] * 3).iloc[0]
    x = fit.grid.design.rows(rows).mean(0)
    both = fit.covariances["Intercept | model"][0, 0] + fit.covariances["Intercept | model:inter"][0, 0] / 3
    assert new.se == pytest.approx(np.sqrt(x @ fit.model_cov.to_numpy() @ x + both))
    known = prediction.predict(fit, registry.head(2))
    modes = fit.random_effects.set_index(["group", "level", "term"])["mode"]
    first = registry.iloc[0]
    total = (
        fit.predict(registry.head(1)).iloc[0]
        + modes["lang", first.lang, "Intercept"]
        + first.lp * modes["lang", first.lang, "lp"]
    )
    total += (
        modes["target", first.target, "Intercept"]
        + modes["model", first.model, "Intercept"]
        + modes["model:inter", first.mi, "Intercept"]
    )
    assert known["estimate"].iloc[0] == pytest.approx(total)


def test_two_stages_are_ordinary_regressions_of_model_means(balanced):
    found = twostage.two_stage("gain ~ lp + inter", balanced, "model").set_index("term")
    means = balanced.groupby("model").agg(lp=("lp", "first"), gain=("gain", "mean"))
    expected = stats.linregress(means["lp"], means["gain"])
    assert tuple(found.loc["lp", ["estimate", "se", "p"]]) == pytest.approx((expected.slope, expected.stderr, expected.pvalue))
    assert found.loc["lp", "df"] == 3 and found.loc["inter[T.i1]", "df"] == 4
    with pytest.raises(ValueError, match="cannot carry"):
        twostage.two_stage("gain ~ lp + inter", balanced[balanced["model"].isin(["m0", "m1"])], "model")


def test_statsmodels_nearest_model_is_said_to_agree_or_to_differ(registry):
    one = "gain ~ lp + (1 + lp | lang)"
    assert "agree with ours" in beside_statsmodels.compare(mixed.fit(one, registry), registry).text()
    crossed = beside_statsmodels.compare(mixed.fit(FULL, registry), registry)
    assert "leaves them out" in crossed.text() and "z tests" in crossed.text()


def test_results_are_named_as_in_statsmodels(registry):
    fit = mixed.fit(FULL, registry)
    tested = fit.t_test("lp = 0")
    assert float(tested.pvalue.item()) == pytest.approx(fit.pvalues["lp"]) and "lp:inter[T.i1]" in str(fit.summary())
    assert fit.conf_int().to_numpy() == pytest.approx(fit.effects[["low", "high"]].to_numpy())
    assert fit.wald_test(np.eye(6)[1:2]).fvalue == pytest.approx(fit.tvalues["lp"] ** 2)


def test_few_units_leave_no_doubt_in_the_warnings(registry):
    fit = mixed.fit("gain ~ lp + (1 | model) + (1 | target)", registry[registry["model"].isin(["m0", "m1", "m2"])])
    assert any("only 3 levels" in text for text in fit.warnings) and any("fewer than 3 degrees" in text for text in fit.warnings)


def test_a_likelihood_without_enough_rows_is_refused(registry):
    with pytest.raises(ValueError, match="different rows cannot tell"):
        mixed.fit("gain ~ lp * inter", registry.drop_duplicates("inter"))
    assert isinstance(mixed.fit("gain ~ lp", registry).state.model, Likelihood)
