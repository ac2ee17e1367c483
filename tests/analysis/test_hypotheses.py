"""Verdicts: what is asked, in words; what follows from p, sign and bounds; and what cannot be asked, with its place."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import paired
from xlift.analysis.mixed import contrasts
from xlift.analysis.study import check, estimands, groups, hypotheses, sizes, telling
from xlift.registry.card import Analysis, Claim, Hypothesis
from xlift.registry.findings import Place, UserError

from .planted import scattered, sized

ONE_FAMILY = {f"m{i}": ("mt5", round(10 ** (6 + i / 2))) for i in range(6)}


def steep(cell, language):
    """A treated gain that rises by 10 points for ten times the parameters, on the noise of `scattered`."""
    return scattered(cell, language) + (np.log10(cell.params_non_embedding) - 6) * 0.1 * (cell.intermediate != "none")


@pytest.fixture
def fitted(planting):
    rows = paired.gains(planting(steep, models=ONE_FAMILY)[2], "planted")
    return groups.fitted(rows, Analysis())


def row(text, group):
    return group.fit.contrasts(telling.told(estimands.parse(text), group.setting).L, ["x"]).iloc[0]


def test_an_estimand_is_the_contrast_that_it_says(fitted):
    group = fitted[0]
    assert row("slope", group)["estimate"] == pytest.approx(group.slopes["estimate"][0], abs=1e-12)
    means = contrasts.means(group.fit, "treatment", at={"lp": 0.0}).table().set_index("contrast")
    assert row("gain | intermediate == 'mnli'", group)["df"] == pytest.approx(means.loc["mnli", "df"])
    both = row("gain", group)
    assert both["estimate"] == pytest.approx(means["estimate"].mean(), abs=1e-12)
    apart = row("slope | intermediate == 'mnli' minus slope | intermediate == 'squad1'", group)
    by = group.slopes.set_index("treatment")["estimate"]
    assert apart["estimate"] == pytest.approx(by["mnli"] - by["squad1"], abs=1e-12)
    larger = row("gain at params = 1e9", group)["estimate"] - row("gain at params = 1e8", group)["estimate"]
    assert larger == pytest.approx(by["all"], abs=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slop", "asks for 'slop'; write slope or gain"),
        ("gain |", "lacks its condition"),
        ("gain at params = lots", "'lots' is no number of parameters"),
        ("gain at params = 7", "a model of 7 parameters"),
        ("slope at params = 1e9", "a slope is the same at every size"),
        ("gain minus slope", "subtracts a slope from a gain"),
        ("gain minus gain minus gain", "more than one 'minus'"),
    ],
)
def test_what_is_no_estimand_is_said(text, message):
    with pytest.raises(UserError, match=message):
        estimands.parse(text)


def tested(fitted, **declared):
    return {v.name: v for v in hypotheses.tested(fitted, {k: Hypothesis(**v) for k, v in declared.items()}, "holm", Analysis())}


def test_a_verdict_follows_from_p_sign_and_bounds(fitted):
    found = tested(
        fitted,
        grows={"contrast": "slope", "direction": "positive", "group": "fine-tuned"},
        falls={"contrast": "slope", "direction": "negative", "group": "fine-tuned"},
        differs={
            "contrast": "slope | intermediate == 'mnli' minus slope | intermediate == 'squad1'",
            "direction": "positive",
            "group": "fine-tuned",
        },
        small={"equivalence": "gain | intermediate == 'mnli' at params = 1e6", "bounds": (-20, 20), "group": "fine-tuned"},
        none={"equivalence": "gain at params = 1e9", "bounds": (-1, 1), "group": "fine-tuned"},
    )
    assert {name: verdict.said for name, verdict in found.items()} == {
        "grows": "supported", "falls": "refuted", "differs": "undecided", "small": "supported", "none": "refuted",
    }  # fmt: skip
    assert found["grows"].models == 6 and found["grows"].low > 0 and found["grows"].per_decade
    raw = np.array([verdict.p for verdict in found.values()])
    assert [v.p_adjusted for v in found.values()] == pytest.approx(contrasts.adjusted(pd.Series(raw), "holm"))


def test_equivalence_is_two_one_sided_tests(fitted):
    group = fitted[0]
    found = tested(fitted, near={"equivalence": "gain", "bounds": (-30, 30), "group": "fine-tuned"})["near"]
    other = contrasts.means(group.fit, [], at={"lp": 0.0}).equivalence(0.30).iloc[0]
    assert found.p == pytest.approx(other["p"], rel=1e-9)


def test_no_slope_no_verdict_on_size(planting):
    rows = paired.gains(planting(scattered, models=sized(3))[2], "planted")
    found = tested(
        groups.fitted(rows, Analysis()),
        grows={"contrast": "slope", "direction": "positive", "group": "fine-tuned"},
        helps={"contrast": "gain | intermediate == 'mnli'", "direction": "positive", "group": "fine-tuned"},
    )
    assert found["grows"].said == "undecided" and "3 models have gains and 4 are needed" in found["grows"].note
    assert not np.isnan(found["helps"].estimate)


def test_a_prediction_is_wider_than_the_mean_says_what_it_extrapolates_and_is_checked_on_the_largest(fitted):
    group = fitted[0]
    found = tested(
        fitted, far={"predict": "gain at params = 1e10", "group": "fine-tuned", "interval": 0.9, "check": "leave-largest-out"}
    )["far"]
    told = telling.told(estimands.parse("gain at params = 1e10"), group.setting)
    mean = group.fit.contrasts(told.L, ["x"], level=0.9).iloc[0]
    assert (
        found.said == "predicted" and np.isnan(found.p_adjusted) and "extrapolation: the models have 1,000,000 to" in found.note
    )
    assert found.low <= mean["low"] and found.high >= mean["high"] and found.level == 0.9
    assert found.other["model"] == "m5" and found.other["low"] < found.other["estimate"] < found.other["high"]
    assert found.other["observed"] == pytest.approx(found.other["estimate"], abs=0.1)  # 10 points for ten times the parameters


def test_a_prediction_with_a_direction_is_tested_with_the_others(fitted):
    found = tested(fitted, far={"predict": "gain at params = 1e9", "group": "fine-tuned", "direction": "positive"})["far"]
    assert found.said == "supported" and found.p_adjusted < 0.05


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("slope > 0", "agrees"),
        ("slope < 0", "disagrees"),
        ("gain | intermediate == 'mnli' minus gain | intermediate == 'squad1' > 0", "cannot tell"),
        ("gain at params = 1e9 within [-2, 2]", "disagrees"),
        ("slope within [0, 30]", "agrees"),
        ("gain | intermediate == 'mnli' is largest", "cannot tell"),
    ],
)
def test_a_claim_agrees_disagrees_or_cannot_be_told(fitted, test, said):
    (found,) = hypotheses.claimed(fitted, [Claim(text="a sentence", source="a paper", test=test, group="fine-tuned")])
    assert found.said == said, found


def test_the_largest_of_all_has_to_beat_each_other_one(planting):
    def apart(cell, language):
        return scattered(cell, language) + {"mnli": 0.2, "squad1": 0.0}.get(cell.intermediate, 0.0)

    fitted = groups.fitted(paired.gains(planting(apart, models=ONE_FAMILY)[2], "planted"), Analysis())
    claims = [
        Claim(text="a sentence", source="s", test=f"gain | intermediate == '{name}' is largest", group="fine-tuned")
        for name in ("mnli", "squad1")
    ]
    assert [verdict.said for verdict in hypotheses.claimed(fitted, claims)] == ["agrees", "disagrees"]


def test_a_new_model_is_never_better_known_than_the_mean_of_all(fitted):
    for group in fitted:
        curve = sizes.curve(group)
        every = curve[curve["treatment"].isna()]
        assert (every["new_low"] <= every["low"] + 1e-12).all() and (every["new_high"] >= every["high"] - 1e-12).all()


def test_slopes_by_target_have_the_target_as_a_factor_and_holm_within_the_group(fitted):
    table, formula = sizes.by_target(fitted[0], Analysis())
    assert len(table) == 4 and "lp * treatment * target" in formula and "(1 | target)" not in formula
    assert table["p_adjusted"].tolist() == pytest.approx(contrasts.adjusted(table["p"], "holm"))


def test_residuals_are_what_the_fit_leaves(fitted):
    table = sizes.residuals(fitted[0])
    assert (table["fitted"] + table["residual"]).to_numpy() == pytest.approx(fitted[0].rows["gain"].to_numpy())
    assert table["residual"].std() < np.sqrt(fitted[0].fit.residual_variances[""])


CASES = [
    ({"contrast": "slope", "direction": "positive"}, "E409", "several groups of targets"),
    ({"contrast": "slope", "direction": "positive", "group": "tuned"}, "E409", "no target group 'tuned'"),
    ({"contrast": "slop", "direction": "positive", "group": "retrieval"}, "E407", "write slope or gain"),
    (
        {"contrast": "gain | intermediate == 'mnly'", "direction": "positive", "group": "retrieval"},
        "E407",
        "intermediate is never 'mnly'",
    ),
    ({"contrast": "gain | seed == 1", "direction": "positive", "group": "fine-tuned"}, "E407", "unknown name 'seed'"),
    ({"predict": "slope", "group": "retrieval"}, "E407", "is no gain that a model could have"),
]


@pytest.mark.parametrize(("declared", "code", "message"), CASES)
def test_a_bad_hypothesis_is_a_finding_at_its_place(planting, declared, code, message):
    card = planting()[0].model_copy(update={"hypotheses": {"h": Hypothesis(**declared)}})
    found = check.findings(card, lambda path: Place("/".join(map(str, path))))
    assert [finding.code for finding in found] == [code] and message in found[0].message and "hypotheses/h" in found[0].place.file


@pytest.mark.parametrize(
    ("test", "message"),
    [("slope", "says nothing of a number"), ("gain within [1, 0]", "not below"), ("gain is largest", "name one treatment")],
)
def test_a_bad_claim_is_a_finding_at_its_place(planting, test, message):
    card = planting()[0].model_copy(update={"claims": (Claim(text="abc", source="s", test=test, group="fine-tuned"),)})
    (finding,) = check.findings(card, lambda path: Place("/".join(map(str, path))))
    assert finding.code == "E408" and message in finding.message and finding.place.file == "claims/0/test"


def test_what_can_never_be_decided_is_a_warning_beforehand(planting):
    card = planting(models=sized(3))[0]
    card = card.model_copy(update={"hypotheses": {"h": Hypothesis(contrast="slope", direction="positive", group="fine-tuned")}})
    found = {finding.code: finding.message for finding in check.findings(card, lambda path: Place("study.yaml"))}
    assert "it stays undecided: 3 models" in found.pop("W410")
    assert list(found) == ["W403"] and "no slope on size: 3 models have gains and 4 are needed" in found["W403"]


def test_a_verdict_is_never_given_by_a_missing_p(fitted):
    verdict = hypotheses.Verdict("h", "slope", "g", "", 4)
    assert hypotheses._judged(verdict, Hypothesis(contrast="slope", direction="positive"), float("nan")).said == "undecided"
    assert replace(verdict, said="predicted").said == "predicted"
