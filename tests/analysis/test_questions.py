"""What hypotheses and claims may ask of languages and sizes, and what they are told."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xlift.analysis.mixed.model import fit
from xlift.analysis.study import estimands
from xlift.analysis.study.groups import fitted_group
from xlift.analysis.study.hypotheses import claimed
from xlift.analysis.study.hypotheses import tested as judged
from xlift.registry.card import Analysis, Claim, Hypothesis
from xlift.registry.findings import UserError

from .test_apart import EQUAL, gains

FAMILIES = {"de": "IE", "fr": "IE", "ur": "IE", "sw": "Bantu", "zu": "Bantu", "fi": "Uralic"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Eight models of two families and six languages; yo is seen by none and ur by half of them, and ner lacks zu."""
    rng, base = np.random.default_rng(5), gains(EQUAL, seed=2, models=8)
    own = [base[base["language"] == "de"].assign(language=name) for name in FAMILIES]
    rows = pd.concat(own, ignore_index=True)
    rows = rows[(rows["target"] != "ner") | (rows["language"] != "zu")].reset_index(drop=True)
    rows["cell"] = rows["model"] + rows["target"] + rows["language"]
    rows["language_family"] = rows["language"].map(FAMILIES)
    rows["seen"] = ~((rows["language"] == "zu") | ((rows["language"] == "ur") & (rows["family"] == "f0")))
    rows["params_total"] = rows["params_non_embedding"] * 1.2
    rows["gain"] += rows["language"].map({"zu": -0.02, "sw": -0.015}).fillna(0.0) + 0.003 * rng.normal(size=len(rows))
    return rows


@pytest.fixture(scope="module")
def group(rows):
    return fitted_group("fine-tuned", rows, Analysis())


def asked(group, text, **more):
    return judged((group,), {"h": Hypothesis(contrast=text, direction="positive", **more)}, "none", Analysis())[0]


def refused(group, text):
    verdict = asked(group, text)
    assert verdict.said == "undecided" and np.isnan(verdict.p) and verdict.models == 0
    return verdict.note


@pytest.mark.parametrize("name", ["seen", "language_family", "language"])
def test_what_is_asked_of_languages_is_a_fixed_effect_beside_the_primary_models(group, rows, name):
    """Equal to a fit of the same formula, written out, with a model's own deviation at each level."""
    text = group.primary.formula.replace(" + family", f" + family + {name} + lp:{name}").replace(" + (1 | intermediate_run)", "")
    random = f"(1 | model:{name}) + (1 | treated_run)"
    plain = fit(
        text.replace("(1 | treated_run)", random).replace(
            "(1 + lp | language) + ", "" if name == "language" else "(1 + lp | language) + "
        ),
        rows.assign(seen=rows["seen"].map({True: "true", False: "false"})),
        aliased="drop",
    )
    levels = {"seen": ("true", "false"), "language_family": ("Uralic", "Bantu"), "language": ("zu", "de")}[name]
    written = [level if name == "seen" else f"'{level}'" for level in levels]
    for quantity, product in (("gain", ""), ("slope", "lp:")):
        own = asked(group, f"{quantity} | {name} == {written[0]} minus {quantity} | {name} == {written[1]}")
        effects = plain.effects.set_index("term")["estimate"].to_dict()
        theirs = [effects.get(f"{product}{name}[T.{level}]", 0.0) for level in levels]
        assert own.estimate == pytest.approx(theirs[0] - theirs[1], abs=2e-5)
        assert f"{name} is a fixed effect beside the primary model's" in own.note and own.models == 8


def test_planted_differences_of_languages_are_found_and_the_others_are_not(group):
    bantu = asked(group, "gain | language_family == 'IE' minus gain | language_family == 'Bantu'")
    assert bantu.said == "supported" and bantu.low < 0.0175 < bantu.high
    assert asked(group, "gain | language == 'de' minus gain | language == 'fr'").said == "undecided"
    slopes = asked(group, "slope | language in ['sw', 'zu'] minus slope | language in ['de', 'fr']")
    assert abs(slopes.estimate) < 4 * slopes.se
    zulu = asked(group, "gain | language == 'de' minus gain | language == 'zu'")
    assert zulu.said == "supported" and zulu.low < 0.02 < zulu.high


def test_truths_are_written_as_they_are_in_yaml_and_in_words(group):
    same = ["gain | seen == false", "gain | not seen", "gain | seen != true", "gain | not (seen == true)", "gain | seen == False"]
    found = [asked(group, text) for text in same]
    assert len({round(verdict.estimate, 12) for verdict in found}) == 1 and found[0].models == 8
    assert "seen" in refused(group, "gain | seen == 'false'") or "a truth does not compare" in refused(
        group, "gain | seen == 'false'"
    )
    assert "unknown name 'no'" in refused(group, "gain | seen == no")


def test_a_language_tells_its_family_and_targets_without_it_are_named(group):
    one = asked(group, "gain | language_family == 'Bantu' and language != 'sw'")
    assert one.estimate == pytest.approx(asked(group, "gain | language == 'zu'").estimate)
    assert "though no such gain is of ner" in one.note
    assert refused(group, "gain | language == 'zu' and target == 'ner'") == "no gain has language == 'zu' and target == 'ner'"
    assert "language is never 'xx'" in refused(group, "gain | language == 'xx'")


def test_sizes_choose_the_models_at_whose_sizes_a_gain_is_told(group, rows):
    models = rows.drop_duplicates("model").sort_values("lp")
    half = models[models["params_total"] > 4e9]
    above = asked(group, "gain | params_total > 4e9")
    design, fixed = group.fit.grid.design, group.setting.every
    at = [design.rows(fixed[fixed["family"] == m.family].assign(lp=m.lp)).mean(0) for m in half.itertuples()]
    assert above.estimate == pytest.approx(float(group.fit.contrasts(np.mean(at, axis=0)[None], ["x"])["estimate"].iloc[0]))
    assert f"at the sizes of these {len(half)} models ({', '.join(half['model'])})" in above.note and above.models == 8
    both = asked(group, "gain | params >= 4e9 minus gain | params < 4e9")
    sides = [asked(group, f"gain | params {sign} 4e9").estimate for sign in (">=", "<")]
    assert both.estimate == pytest.approx(sides[0] - sides[1]) and both.models == 8
    assert asked(group, "gain | params > 1e9 and params < 1e11 and target == 'qa'").models == 8
    assert "a slope is the same at every size" in refused(group, "slope | params > 1e9")
    assert refused(group, "gain | params > 1e13") == "no gain has params > 1e13"
    assert "tells a size twice" in refused(group, "gain | params > 1e9 at params = 1e10")
    lost = fitted_group("fine-tuned", rows.assign(params_total=np.nan), Analysis())
    assert refused(lost, "gain | params_total > 1e9") == "params_total is not known of all models; write params_non_embedding"


def test_sizes_are_told_of_those_models_alone_where_there_is_no_slope(rows):
    few = fitted_group("fine-tuned", rows[rows["model"].isin(["m0", "m1", "m2"])].reset_index(drop=True), Analysis())
    assert few.refused and "no slope" not in few.primary.formula
    note = refused(few, "gain | params < 4e9")
    assert "models" in note and "size" in note


def test_gains_at_sizes_are_compared_on_models_that_both_have(rows):
    few = fitted_group("fine-tuned", rows[(rows["treatment"] != "mnli") | rows["model"].isin(["m0", "m1"])], Analysis())
    assert "no model in common" in refused(few, "gain | treatment == 'mnli' minus gain | params > 1e10")
    both = asked(few, "gain | treatment == 'mnli' minus gain | treatment == 'squad1' and params < 1e10")
    assert both.models == 2 and "of these 2 models alone (m0, m1)" in both.note


def test_what_is_not_known_of_all_gains_is_refused_by_name(rows):
    unknown = rows.assign(seen=rows["seen"].astype(object).where(rows["model"] != "m3", None))
    group = fitted_group("fine-tuned", unknown, Analysis())
    assert refused(group, "gain | seen == false") == "seen is not known of all gains: not of those of m3"
    assert asked(group, "gain | language == 'sw'").models == 8


def test_a_declared_model_tells_of_languages_what_it_has(rows):
    primary = "gain ~ lp * seen + target + (1 | model) + (1 | model:seen) + (1 | language) + (1 | cell)"
    declared = fitted_group("fine-tuned", rows, Analysis(primary=primary))
    slope = asked(declared, "slope | seen == true minus slope | seen == false")
    assert slope.estimate == pytest.approx(declared.fit.effects.set_index("term").loc["lp:seen[T.true]", "estimate"])
    assert "fixed effect beside" not in slope.note
    assert "averages over language_family" in refused(declared, "gain | language_family == 'IE'")


def test_one_sided_is_half_the_p_and_never_refutes(group):
    text = "gain | language_family == 'IE' minus gain | language_family == 'Bantu'"
    two, one = asked(group, text), asked(group, text, sides="one")
    assert one.p == pytest.approx(two.p / 2) and one.p == pytest.approx(stats.t.sf(one.estimate / one.se, one.df))
    assert one.said == "supported" and "one-sided: the other side is not tested" in one.note
    other = {"h": Hypothesis(contrast=text, direction="negative", sides="one")}
    against = judged((group,), other, "none", Analysis())[0]
    assert against.said == "undecided" and against.p == pytest.approx(1 - one.p)
    assert judged((group,), {"h": other["h"].model_copy(update={"sides": "two"})}, "none", Analysis())[0].said == "refuted"


def test_equivalence_and_claims_may_name_them_too(group):
    near = {"h": Hypothesis(equivalence="gain | language == 'de' minus gain | language == 'fr'", bounds=(-1, 1))}
    assert judged((group,), near, "none", Analysis())[0].said == "supported"
    claim = Claim(text="less", source="s", test="gain | language_family == 'Bantu' minus gain | language_family == 'IE' < 0")
    assert claimed((group,), [claim])[0].said == "agrees"
    most = Claim(text="most", source="s", test="gain | intermediate == 'mnli' and target == 'qa' is largest")
    verdict = claimed((group,), [most])[0]
    assert verdict.said == "cannot tell" and "names target: the largest is told of treatments" in verdict.note


def test_a_prediction_is_of_what_it_names(group, rows):
    hypothesis = Hypothesis(predict="gain | language_family == 'Bantu' at params = 2e10", check="leave-largest-out")
    verdict = judged((group,), {"h": hypothesis}, "none", Analysis())[0]
    assert verdict.said == "predicted" and verdict.high - verdict.low > 0
    largest = rows[(rows["model"] == "m7") & (rows["language_family"] == "Bantu")]
    by_target = largest.groupby(["treatment", "target", "language"])["gain"].mean().groupby(["treatment", "target"]).mean()
    assert verdict.other["observed"] == pytest.approx(by_target.groupby("treatment").mean().mean())
    sizes = Hypothesis(predict="gain | params > 1e9")
    assert "is no gain that a model could have" in judged((group,), {"h": sizes}, "none", Analysis())[0].note


@pytest.mark.parametrize(
    "text", ["gain | treatment == 'mnli' and target == 'qa'", "slope | target == 'qa' and intermediate == 'mnli'"]
)
def test_what_nobody_ran_is_said_and_is_no_traceback(rows, text):
    kept = rows[(rows["treatment"] != "mnli") | (rows["target"] != "qa")].reset_index(drop=True)
    assert refused(fitted_group("fine-tuned", kept, Analysis()), text) == f"no gain has {text.partition(' | ')[2]}"


def test_conditions_are_checked_before_anything_runs(rows):
    for text, why in {
        "gain | language == 'xx'": "language is never 'xx'",
        "gain | seen == 1": "a truth does not compare with a number",
        "gain | script == 'Latn'": "unknown name 'script'",
        "gain | language ==": "not a condition",
    }.items():
        with pytest.raises(UserError, match=why):
            estimands.check(estimands.parse(text), rows, "params_non_embedding")


def test_notes_of_random_questions_are_those_of_their_models(group):
    """Each of many questions has an estimate, or says why not; none is a traceback."""
    rng = np.random.default_rng(0)
    pool = ["seen", "not seen", "language == 'sw'", "language_family != 'IE'", "target in ['qa', 'ner']", "params > 3e9",
            "treatment == 'mnli'", "family == 'f1'", "language in ['de', 'zu']", "params_total <= 9e9", "seen == true"]  # fmt: skip
    for _ in range(40):
        parts = [
            f" {rng.choice(['and', 'or'])} ".join(rng.choice(pool, size=rng.integers(1, 4), replace=False)) for _ in range(2)
        ]
        quantity = rng.choice(["gain", "slope"])
        text = f"{quantity} | {parts[0]}" + (f" minus {quantity} | {parts[1]}" if rng.random() < 0.5 else "")
        verdict = asked(group, text)
        assert np.isfinite(verdict.estimate) != (verdict.models == 0) and (verdict.models or verdict.note), text
