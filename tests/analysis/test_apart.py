"""For which tasks a slope speaks: that slopes differ is said where they do, and the mean of targets is told for what it is."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xlift.analysis.mixed import profile
from xlift.analysis.report import apart as words
from xlift.analysis.report.answers import Answers
from xlift.analysis.study import sizes
from xlift.analysis.study.apart import apart
from xlift.analysis.study.groups import fitted_group
from xlift.registry.card import Analysis, Claim, Hypothesis

from .designs import STRATA, design
from .planted import plant, sized

STATS = Path(__file__).parents[1] / "reference" / "stats"

EQUAL = dict.fromkeys(("nli", "qa", "ner", "pos", "rank"), 0.0)
APART = {"nli": -6.0, "qa": 6.0, "ner": 1.0, "pos": 0.0, "rank": -1.0}


def gains(slopes: dict[str, float], seed: int = 0, models: int = 7, noise: float = 0.5, families: int = 2) -> pd.DataFrame:
    """Gains of two intermediates in three languages, slopes of targets in points, noise of a run and of a model at a target."""
    rng = np.random.default_rng(seed)
    axes = {"model": range(models), "treatment": ("mnli", "squad1"), "target": [*slopes], "language": ("de", "fr", "sw")}
    rows = pd.DataFrame(list(product(*axes.values())), columns=list(axes))
    lp = rows["model"] / (models - 1) * 1.4 - 0.7

    def noisy(*columns: str) -> np.ndarray:
        return noise * rng.normal(size=len(rows))[rows.groupby(list(columns)).ngroup()]

    gain = 2 + rows["target"].map(slopes) * lp + noisy("model", "treatment", "target") + noisy("model", "target") + noisy("model")
    gain = (gain + noisy("model", "target", "language") + noise * rng.normal(size=len(rows))) / 100
    run = rows["model"].astype(str)
    return rows.assign(
        gain=gain,
        score=0.5 + gain,
        baseline=0.5,
        better="higher",
        lp=lp,
        params_non_embedding=np.round(10 ** (9.5 + lp)),
        params_total=np.nan,
        family=(rows["model"] % families).map("f{}".format),
        model=rows["model"].map("m{}".format),
        intermediate=rows["treatment"],
        variant="plain",
        seed=1,
        same_task=False,
        at_chance=False,
        target_group="fine-tuned",
        intermediate_run=run + rows["treatment"],
        treated_run=run + rows["treatment"] + rows["target"],
        baseline_run=run + rows["target"],
        cell=run + rows["target"] + rows["language"],
    )


def found(rows: pd.DataFrame, **analysis):
    return apart(fitted_group("fine-tuned", rows, Analysis(**analysis)))


def test_slopes_that_differ_are_said_to_before_their_mean():
    told = found(gains(APART))
    assert told.differ == ("target",)
    said = words.verdict(told)
    first, mean = said.split("no one slope speaks for all.")
    assert (
        first.startswith("Slopes differ between targets (F(4, ")
        and "for nli to +" in first
        and first.index("−") < first.index("+")
    )
    assert "for qa: points for ten times" in first and "The mean of these 5 targets at equal weights is" in mean
    assert told.slopes["estimate"].to_numpy() == pytest.approx([APART[name] / 100 for name in sorted(APART)], abs=0.015)


def test_slopes_that_do_not_differ_have_their_mean_which_says_for_whom():
    told = found(gains(EQUAL))
    assert told.differ == ()
    said = words.verdict(told)
    assert (
        said.startswith("Growth and decline are both compatible") and "It is the mean of these 5 targets at equal weights" in said
    )
    assert "not seen to differ (F(4, " in said


def test_opposite_signs_that_are_sure_are_enough():
    told = found(gains(APART))
    rows = told.tests
    object.__setattr__(told, "tests", rows.assign(p_adjusted=0.5))
    assert told.differ == ("target",) and "(two of opposite signs, each surely so)" in words.verdict(told)
    object.__setattr__(told, "slopes", told.slopes.assign(p_adjusted=lambda table: np.where(table["estimate"] < 0, 0.2, 0.01)))
    del told.__dict__["differ"]
    assert told.differ == ()


def test_the_tests_are_those_of_the_products_with_size():
    told = found(gains(APART, seed=3))
    table = told.tests.set_index("axis")
    names = [f"lp:target[T.{name}]" for name in sorted(APART)[1:]]
    own = told.group.fit.f_test(", ".join(f"{name} = 0" for name in names))
    assert table.loc["target", ["F", "df1", "df2", "p"]].tolist() == pytest.approx(
        [own.fvalue, 4, own.df_denom, own.pvalue], rel=1e-6
    )
    one = told.group.fit.effects.set_index("term").loc["lp:treatment[T.squad1]"]
    assert table.loc["treatment", "p"] == pytest.approx(one["p"], rel=1e-6)
    p = table["p"].to_numpy(float)
    assert table["p_adjusted"].min() == pytest.approx(min(1, 3 * p.min())) and p.min() == table.loc["target", "p"]


def test_the_mean_is_that_of_the_targets_slopes_wherever_sizes_are_centred():
    rows = gains(APART, seed=1)
    told = found(rows)
    assert told.group.headline["estimate"] == pytest.approx(told.slopes["estimate"].mean(), abs=1e-9)
    moved = found(rows.assign(lp=rows["lp"] + 3.0))
    for name in ("estimate", "se", "df"):
        assert moved.group.headline[name] == pytest.approx(told.group.headline[name], rel=1e-4)


def test_a_new_targets_slope_lies_within_what_targets_spread():
    told = found(gains(APART))
    spread, like = told.spread, told.other
    assert "(1 + lp | target)" in like.primary.formula and "lp:target" not in like.primary.formula
    sd = float(like.fit.variance_components.query("group == 'target' and name1 == 'lp' and name2.isna()")["value"].iloc[0]) ** 0.5
    half = stats.t.ppf(0.975, 3) * (like.headline["se"] ** 2 + sd**2) ** 0.5
    assert spread["sd"] == pytest.approx(sd) and 0.02 < sd < 0.09
    assert [spread["low"], spread["high"]] == pytest.approx([like.headline["estimate"] - half, like.headline["estimate"] + half])
    limits = profile.profile(like.fit, ["sd (lp | target)"], tolerance=1e-3).iloc[0]
    assert told.limits == pytest.approx((limits["low"], limits["high"])) and told.limits[0] < sd < told.limits[1]


def test_so_few_targets_do_not_tell_of_targets_like_these():
    rows = gains({name: EQUAL[name] for name in ("nli", "qa", "ner", "pos")})
    told = found(rows)
    assert told.other is None and "4 targets do not tell of targets like these: it takes 5" in told.spread
    like = fitted_group("fine-tuned", rows, Analysis(targets="like these"))
    assert "4 targets do not tell of targets like these" in like.refused and not len(like.slopes)
    both = found(gains(EQUAL), targets="like these")
    assert both.group.tested and "lp:target" in both.these.primary.formula and both.these is both.other
    assert "It is that of targets like these 5; their slopes" in words.verdict(both)


def test_a_target_on_too_few_models_leaves_the_mean_and_is_named():
    rows = gains(EQUAL)
    few = rows[(rows["target"] != "qa") | rows["model"].isin(["m0", "m1", "m2"])].reset_index(drop=True)
    told = found(few)
    (note,) = told.group.pooled.notes
    assert note == "without qa (3 models have gains and 4 are needed; more seeds or languages do not help)"
    assert [*told.slopes["target"]] == ["ner", "nli", "pos", "rank"] and "mean of these 4 targets" in words.verdict(told)
    assert told.group.headline["estimate"] == pytest.approx(told.slopes["estimate"].mean(), abs=1e-9)
    two = told.group.two_stage["all"]
    assert two.series.gains == len(few[few["target"] != "qa"])


def test_a_target_for_each_intermediate_is_that_intermediate():
    rows = gains(EQUAL)
    own = rows[
        ((rows["treatment"] == "mnli") & (rows["target"] == "nli")) | ((rows["treatment"] == "squad1") & (rows["target"] == "qa"))
    ]
    told = found(own.reset_index(drop=True))
    assert "target: its levels are those of treatment" in told.group.primary.left_out
    assert [*told.group.slopes["treatment"]] == ["all", "mnli", "squad1"]
    assert told.tests.set_index("axis").loc["target", "reason"] == "the model has one slope for all targets"
    names = ("nli", "qa", "ner", "pos", "rank")
    rows = pd.concat([rows.assign(treatment=name)[rows["target"] == name] for name in names]).assign(
        intermediate=lambda x: x["treatment"]
    )
    rows = rows.drop_duplicates(["model", "target", "language"])
    like = found(rows.reset_index(drop=True), targets="like these")
    assert like.group.tested and not like.drawn and "targets like these" not in words.verdict(like)
    by_target = sizes.by_target(told.group, Analysis())[0]
    assert [*zip(by_target["treatment"], by_target["target"], strict=True)] == [("mnli", "nli"), ("squad1", "qa")]


def test_families_have_their_own_slopes_and_one_between_them():
    rows = gains(EQUAL, models=12, families=4)
    told = found(rows)
    means = rows.groupby(["family", "model"])[["gain", "lp"]].mean().groupby("family").mean()
    line = stats.linregress(means["lp"], means["gain"])
    assert told.between["estimate"] == pytest.approx(line.slope) and told.between["p"] == pytest.approx(line.pvalue)
    assert told.tests.set_index("axis").loc["family", "df1"] == 3
    few = found(gains(EQUAL, models=9, families=3)).between
    assert {*few} == {"families", "estimate"}
    moved = rows.assign(gain=rows["gain"] + 0.08 * rows["lp"] * rows["family"].isin(["f0", "f1"]))
    assert found(moved).differ == ("family",) and "between families (F(3, " in words.differing(found(moved))


def test_one_target_has_one_slope_and_the_model_of_it():
    told = found(gains({"nli": 0.0}))
    assert told.differ == () and "target" not in told.group.primary.formula and "mean of" not in words.verdict(told)
    assert told.tests.set_index("axis").loc["target", "reason"] == "there is one target"


def test_families_and_intermediates_that_differ_lead_the_headline_of_one_target_and_of_a_declared_model():
    rows = gains({"nli": 0.0}, models=12)
    told = found(rows.assign(gain=rows["gain"] + 0.1 * rows["lp"] * (rows["family"] == "f0")))
    assert told.differ == ("family",)
    said = words.verdict(told)
    assert said.startswith("Slopes differ between families (F(1, ") and "That of all of them, equally, is +" in said
    rows = gains(EQUAL, models=12)
    rows["gain"] += 0.05 * rows["lp"] * (rows["treatment"] == "mnli")
    primary = "gain ~ lp * treatment + target + (1 | model) + (1 | model:target) + (1 | treated_run) + (1 | cell)"
    declared = words.verdict(found(rows, primary=primary))
    assert declared.startswith("Slopes differ between intermediates (F(1, ") and "That of all of them, equally, is +" in declared


def test_what_the_slope_of_all_leaves_out_is_said_where_slopes_differ():
    rows = gains(APART)
    few = rows[(rows["target"] != "ner") | rows["model"].isin(["m0", "m1", "m2"])].reset_index(drop=True)
    said = words.verdict(found(few))
    assert said.startswith("Slopes differ between targets") and "It is without ner (3 models have gains" in said


def test_a_declared_slope_keeps_its_estimand_and_says_that_slopes_differ():
    rows = gains(APART).replace("mnli", "off target")
    card = plant(lambda cell, language: 0.5, models=sized(1))[0]
    declared = {
        "all": Hypothesis(contrast="slope", direction="positive"),
        "one": Hypothesis(contrast="slope | target == 'qa'", direction="positive"),
        "word": Hypothesis(contrast="slope | intermediate == 'off target'", direction="positive"),
    }
    claims = (Claim(text="it grows", source="a paper", test="slope > 0"),)
    card = card.model_copy(update={"hypotheses": declared, "claims": claims})
    group = fitted_group("fine-tuned", rows, Analysis())
    answers = Answers(card, (group,))
    whole, one, word = answers.verdicts
    assert "Slopes differ between targets" in word.note  # a name that holds the word asks for no target
    assert whole.estimate == pytest.approx(group.headline["estimate"]) and "Slopes differ between targets" in whole.note
    assert one.said == "supported" and one.estimate == pytest.approx(0.06, abs=0.02) and "Slopes differ" not in one.note
    assert "Slopes differ between targets" in answers.claims[0].note


def test_known_sampling_variances_are_rma_mvs():
    """metafor 3.8-1: rma.mv(yi, vi, mods = ~ lp * inter, random = list(~1|lang, ~1|target, ~1|model, ~1|cell)), a cell an effect."""
    theirs = json.loads((STATS / "sim_effects_c_mv.json").read_text())
    rows = pd.read_csv(STATS / "sim_effects_c.csv")
    rows = rows.rename(columns={"yi": "gain", "lang": "language", "inter": "treatment"})
    rows = rows.assign(
        gain_se=np.sqrt(rows["vi"]), family="f", language_family="g", intermediate=rows["treatment"], variant="plain"
    )
    rows = rows.assign(params_non_embedding=10 ** (9 + rows["lp"]))
    primary = "gain ~ lp * treatment + (1 | language) + (1 | target) + (1 | model) + (1 | cell)"
    group = fitted_group("fine-tuned", rows, Analysis(primary=primary, sampling="known"))
    assert group.primary.formula.endswith("(1 | model) + (1 | row)")
    assert group.fit.variance_components["value"].tolist() == pytest.approx(theirs["sigma2"], rel=1e-5)
    order = [group.fit.cross.names.index(name) for name in NAMES]
    assert group.fit.params.to_numpy()[order] == pytest.approx(list(theirs["beta"].values()), rel=1e-6)
    assert np.sqrt(np.diag(group.fit.model_cov))[order] == pytest.approx(theirs["se"], rel=1e-6)


NAMES = ["Intercept", "lp", "treatment[T.i1]", "treatment[T.i2]", "lp:treatment[T.i1]", "lp:treatment[T.i2]"]


@pytest.mark.parametrize("targets", ["these", "like these"])
@pytest.mark.parametrize("stratum", STRATA)
def test_whatever_the_design_each_test_has_its_p_or_its_reason(stratum, targets):
    rows = design(stratum, 200)
    noise = np.random.default_rng(1).normal(size=len(rows)) / 100
    told = found(rows.assign(gain=noise, score=0.5 + noise, baseline=0.5, better="higher"), targets=targets)
    assert "nan" not in words.verdict(told) and len(words.test_table([told]).shown) == 3 * told.group.tested
    if told.group.tested:
        assert (told.tests["p"].notna() ^ told.tests["reason"].notna()).all()
        assert all(isinstance(row["Points"], str) for row in words.beside_table([told]).shown.to_dict("records"))
