"""What a design tells: decided for contrasts, by rank and by the models behind them, on random designs beside an oracle."""

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import facts, mixed, paired
from xlift.analysis.mixed import contrasts
from xlift.analysis.study import check, estimands, groups, hypotheses, sizes, telling
from xlift.registry import carriers
from xlift.registry.card import Analysis, Claim
from xlift.registry.findings import Place, UserError

from .designs import FAMILIES as FAMILY
from .designs import GAINS as GAIN
from .designs import STRATA, Oracle, design, questions
from .planted import plant, rising, scattered, sized


def setting(rows, **analysis):
    rows = rows.assign(gain=np.random.default_rng(0).normal(size=len(rows)), score=0.5, baseline=0.5)
    return check.planned_setting("fine-tuned", rows, Analysis(**analysis))[1]


def group(rows, seed=0, **analysis):
    noise = np.random.default_rng(seed).normal(size=len(rows)) / 100
    return groups.fitted_group("fine-tuned", rows.assign(gain=noise, score=0.5 + noise, baseline=0.5), Analysis(**analysis))


@pytest.mark.parametrize("stratum", STRATA)
@pytest.mark.parametrize("number", range(100, 112))
def test_what_is_told_is_what_an_oracle_tells(stratum, number):
    rows = design(stratum, number)
    asked, oracle = setting(rows), Oracle(rows)
    for text in questions(rows):
        known, at_zero, by_slope = oracle.ask(text)
        try:
            found = telling.told(estimands.parse(text), asked)
        except UserError:
            found = None
        assert (found is not None) == known, text
        if found is not None:  # its value, where every coefficient is planted
            frame = asked.seen.assign(gain=0.0)
            truth = frame["treatment"].map(lambda name: GAIN[name]) + frame["family"].map(FAMILY) + 3.0 * frame["lp"]
            if asked.sized:
                beta = np.linalg.lstsq(asked.grid.design.rows(frame), truth, rcond=None)[0]
                assert found.L @ beta == pytest.approx(at_zero + 3.0 * by_slope, abs=1e-8)


def of_target(level: str) -> estimands.Estimand:
    return estimands.parse(f"slope | target == {level!r}" if level else "slope")


@pytest.mark.parametrize("stratum", STRATA)
def test_what_is_not_told_has_no_number_anywhere(stratum):
    rows = design(stratum, 100)
    found = group(rows)
    for name, told in found.own_slopes.items():
        if isinstance(told, str):
            assert name not in set(found.slopes["treatment"]) and name not in set(sizes.curve(found)["treatment"].dropna())
    effects = found.effects.set_index("term")["estimate"]
    for name in effects.index[effects.index.str.startswith("lp")]:
        level = name.partition("[T.")[2].rstrip("]")
        told = found.asked(estimands.of_treatment("slope", level)) if level in found.treatments else found.asked(of_target(level))
        if level and isinstance(told, str):
            assert np.isnan(effects[name])


def test_which_columns_are_left_out_changes_nothing_that_is_told():
    """lp * treatment, a treatment on one model: the same contrasts whatever the order of the terms."""
    rows = group(design("treatments", 0)).rows
    rows = rows[(rows["treatment"] != "tags") | (rows["model"] == "m2")].reset_index(drop=True)
    texts = ("gain ~ lp * treatment + family + (1 | model)", "gain ~ family + treatment * lp + (1 | model)")
    fits = [mixed.fit(text, rows, aliased="drop") for text in texts]
    assert all(fit.grid.design.aliased for fit in fits) and fits[0].criterion == pytest.approx(fits[1].criterion, abs=1e-7)
    for asked in (contrasts.slopes, contrasts.means):
        one, other = (asked(fit, *(("lp",) if asked is contrasts.slopes else ()), by="treatment").table() for fit in fits)
        told = one["estimate"].notna()
        assert told.any() and not told.all()
        pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_a_rank_is_decided_whatever_the_units():
    rows = design("wholly", 3)
    for scale in (1.0, 1e6, 1e-6):
        made = group(rows).rows.assign(lp=rows["lp"] * scale + 2000 * (scale != 1.0))
        fit = mixed.fit("gain ~ lp + family + (1 | model)", made, aliased="drop")
        assert len(fit.grid.design.aliased) == 1 and np.isnan(contrasts.slopes(fit, "lp").table()["estimate"][0])


def test_fit_refuses_dependent_effects_unless_told_otherwise():
    rows = group(design("wholly", 3)).rows
    with pytest.raises(UserError, match=r"cannot be told apart.*--aliased drop"):
        mixed.fit("gain ~ lp + family + (1 | model)", rows)
    fit = mixed.fit("gain ~ lp + family + (1 | model)", rows, aliased="drop")
    assert any("cannot tell" in text and "family" in text for text in fit.warnings)
    assert fit.effects["estimate"].isna().any() and fit.predict(rows).notna().all()
    with pytest.raises(UserError, match="do not tell what this F test asks"):
        fit.f_test("lp = 0")


def planted(**options):
    card, shelf = plant(scattered, **options)
    return card, paired.gains(facts.connect(shelf, [card]), "planted", "fine-tuned")


ONE = {f"m{i}": ("mt5", round(10 ** (6 + i / 3))) for i in range(8)}


def test_two_gains_are_compared_on_the_models_that_both_have():
    """squad1 on the two largest models, mnli on all: their difference is one at those two sizes, not at lp = 0."""
    _, rows = planted(models=ONE)
    rows = rows[(rows["treatment"] != "squad1") | rows["model"].isin(["m6", "m7"])].reset_index(drop=True)
    (found,) = groups.fitted(rows, Analysis())
    told = found.asked(estimands.parse("gain | intermediate == 'squad1' minus gain | intermediate == 'mnli'"))
    assert told.models == ("m6", "m7") and told.notes == ("of these 2 models alone (m6, m7)",)
    row = found.fit.contrasts(told.L, ["x"]).iloc[0]
    both = rows[rows["model"].isin(["m6", "m7"])].groupby("treatment")["gain"].mean()
    assert row["estimate"] == pytest.approx(both["squad1"] - both["mnli"], abs=0.004)
    own = found.asked(estimands.parse("gain | intermediate == 'squad1'"))
    assert own.models == ("m6", "m7")
    assert found.fit.contrasts(own.L, ["x"])["estimate"][0] == pytest.approx(both["squad1"], abs=0.004)
    pooled = found.asked(estimands.parse("gain"))
    assert pooled.notes == ("without squad1 (2 models have gains and 4 are needed; more seeds or languages do not help)",)


def test_gains_without_a_model_in_common_are_not_compared():
    _, rows = planted(models=ONE)
    few = {"squad1": ["m6", "m7"], "mnli": ["m0", "m1"]}
    rows = rows[[model in few[name] for name, model in zip(rows["treatment"], rows["model"], strict=True)]].reset_index(drop=True)
    more = pd.concat([rows, planted(models=ONE)[1].query("treatment == 'mnli'").assign(treatment="qqp", intermediate="qqp")])
    (found,) = groups.fitted(more.reset_index(drop=True), Analysis())
    why = found.asked(estimands.parse("gain | intermediate == 'squad1' minus gain | intermediate == 'mnli'"))
    assert why == "the two gains have no model in common, and their models do not tell what size does"
    claims = [Claim(text="abc", source="s", test=f"gain | intermediate == '{name}' is largest") for name in ("squad1", "qqp")]
    said = hypotheses.claimed((found,), claims)
    assert said[0].said == "cannot tell" and "mnli cannot be compared with it" in said[0].note
    high = more.assign(gain=more["gain"] + 0.4 * (more["treatment"] == "squad1")).reset_index(drop=True)
    for rows, answer in ((high, "cannot tell"), (high[high["treatment"] != "mnli"].reset_index(drop=True), "agrees")):
        assert hypotheses.claimed(groups.fitted(rows, Analysis()), claims[:1])[0].said == answer


def test_a_gain_at_a_size_that_was_run_is_told_of_the_models_that_were():
    _, rows = planted(models=ONE)
    rows = rows[(rows["treatment"] != "squad1") | rows["model"].isin(["m5", "m6"])].reset_index(drop=True)
    (found,) = groups.fitted(rows, Analysis())
    size = float(rows.loc[rows["model"] == "m6", "params_non_embedding"].iloc[0])
    told = found.asked(estimands.of_treatment("gain", "squad1", size))
    assert told.models == ("m6",) and told.notes == ("of 1 model alone (m6)",)
    assert "2 models have gains" in found.asked(estimands.of_treatment("gain", "squad1", 1e7))


def test_a_size_outside_those_that_were_run_is_marked():
    _, rows = planted(models=ONE)
    rows = rows[(rows["treatment"] != "squad1") | (rows["lp"] > -0.2)].reset_index(drop=True)
    (found,) = groups.fitted(rows, Analysis())
    assert found.asked(estimands.of_treatment("gain", "squad1", 1e6)).notes[0].startswith("extrapolation: the models have")
    assert found.asked(estimands.of_treatment("gain", "mnli", 1e6)).notes == ()
    table = sizes.gains_at(found, [1e6, 1e8]).set_index(["treatment", "params"])["note"]
    assert table["squad1", 1e6].startswith("extrapolation") and table["squad1", 1e8] == table["mnli", 1e6] == ""


def test_one_slope_for_all_families_is_not_that_of_one():
    _, rows = planted(models=sized(8))
    (found,) = groups.fitted(rows, Analysis())
    assert "one slope for all" in found.asked(estimands.parse("slope | family == 'mt5'"))
    (own,) = groups.fitted(rows, Analysis(primary="gain ~ lp * family + (1 | model) + (1 | treated_run)"))
    told = own.asked(estimands.parse("slope | family == 'mt5'"))
    assert told.models == ("m0", "m2", "m4", "m6")
    (few,) = groups.fitted(planted(models=sized(6))[1], Analysis(primary="gain ~ lp * family + (1 | model) + (1 | treated_run)"))
    assert few.refused and "3 models have gains and 4 are needed" in few.asked(estimands.parse("slope | family == 'mt5'"))


def test_two_stages_have_the_same_effects_of_models_or_are_not_spoken_of(monkeypatch):
    def apart(cell, language):  # two families that differ, the larger models all in one of them
        return scattered(cell, language) + (0.3 if cell.family == "xlmr" and cell.intermediate != "none" else 0.0)

    models = {f"m{i}": ("mt5" if i < 4 else "xlmr", round(10 ** (6 + i / 3))) for i in range(8)}
    card, shelf = plant(apart, models=models)
    rows = paired.gains(facts.connect(shelf, [card]), "planted", "fine-tuned")
    (found,) = groups.fitted(rows, Analysis())
    two = found.two_stage["all"]
    assert two.df == 8 - 3 and two.estimate == pytest.approx(found.headline["estimate"], abs=0.01)
    assert found.disagreement() is None
    (own,) = groups.fitted(rows, Analysis(primary="gain ~ lp * treatment + same_task + (1 | model) + (1 | treated_run)"))
    for group, spoken in ((found, True), (own, False)):
        p = 1.0 if group.two_stage["all"].p < 0.05 else 0.001
        monkeypatch.setitem(group.__dict__, "slopes", group.slopes.assign(p=p))
        assert bool(group.disagreement()) == spoken


def test_a_line_is_drawn_through_the_models_of_its_family():
    """Two families that differ: the mean of both, at the sizes of either, is of models that nobody made."""

    def apart(cell, language):
        return rising(cell, language) + (0.2 if cell.family == "xlmr" and cell.intermediate != "none" else 0.0)

    models = {f"m{i}": ("mt5" if i < 4 else "xlmr", round(10 ** (6 + i / 3))) for i in range(8)}
    card, shelf = plant(
        lambda cell, language: apart(cell, language) + 0.05 * (scattered(cell, language) - rising(cell, language)), models=models
    )
    (found,) = groups.fitted(paired.gains(facts.connect(shelf, [card]), "planted", "fine-tuned"), Analysis())
    lines = sizes.curve(found)
    assert lines["treatment"].isna().all() and set(lines["family"]) == {"mt5", "xlmr"}
    means = sizes.dots(found.rows, "params_non_embedding").groupby("model")[["params", "gain"]].mean()
    for model, (family, size) in models.items():
        line = lines[lines["family"] == family]
        assert line["params"].min() * 0.999 <= size <= line["params"].max() * 1.001
        assert np.interp(np.log(size), np.log(line["params"]), line["mean"]) == pytest.approx(means["gain"][model], abs=0.01)


def test_means_on_a_line_have_no_p():
    card, shelf = plant(rising, models=ONE, bridges=("none", "mnli"))
    rows = paired.gains(facts.connect(shelf, [card]), "planted", "fine-tuned")
    from xlift.analysis.study.slope import scale_slope

    assert np.isnan(scale_slope(rows, "params_non_embedding").p)
    assert np.isnan(scale_slope(rows.assign(gain=0.02), "params_non_embedding").p)


@pytest.mark.parametrize("number", range(6))
def test_counts_before_a_run_are_those_after_it(number):
    """`check` without pandas, and with a primary model declared, says what the gains will be refused for."""
    rng = np.random.default_rng(number)
    families = ["a", "b", "c"][: 1 + number % 3]
    models = {f"m{i}": (families[i % len(families)], int(10 ** (6 + rng.integers(0, 5)))) for i in range(int(rng.integers(3, 9)))}
    card, shelf = plant(scattered, models=models)
    kept = {model for model in models if rng.random() < 0.6}
    cells = tuple(cell for cell in card.cells if cell.intermediate != "squad1" or cell.model in kept)
    card = card.model_copy(update={"cells": cells})
    light = sorted((finding.code, finding.message) for finding in carriers.findings(card, lambda path: Place("s.yaml")))
    heavy = sorted((finding.code, finding.message) for finding in check.findings(card, lambda path: Place("s.yaml")))
    assert light == heavy
    after = {found.name: found for found in groups.fitted(paired.gains(facts.connect(shelf, [card]), "planted"), card.analysis)}
    for name, found in after.items():
        refused = [message for code, message in light if code == "W403" and message.startswith(f"{name} ")]
        assert bool(refused) == (found.primary.refused is not None)
        left = {treatment for treatment, told in found.own_slopes.items() if isinstance(told, str)}
        assert refused or len(left) == sum(code == "W411" and message.startswith(f"{name} ") for code, message in light)


def test_models_of_one_lineage_are_told():
    assert carriers.lineages({"b": "a", "c": "b", "e": "d"}) == (("b", "c", "a"), ("e", "d"))
    assert carriers.lineages({"a": "b", "b": "a"}) == (("a", "b"),)
    card, shelf = plant(scattered, models=ONE)
    card = card.model_copy(update={"lineages": (("m0", "m1", "elsewhere"),)})
    (finding,) = carriers.findings(card, lambda path: Place("s.yaml"))
    assert finding.code == "W412" and finding.message.startswith("m0, m1 began with the same weights")
    from xlift.analysis.report.page import report

    assert "One lineage: m0, m1 began" in report(card, facts.connect(shelf, [card])).html()


def test_a_slope_that_only_the_rank_refuses_is_refused_everywhere():
    """The formula has size twice: models are enough, and no row tells one from the other."""
    from xlift.analysis.report.page import report

    twice = "gain ~ lp * treatment + log10(params_non_embedding) + (1 | model) + (1 | treated_run)"
    card, shelf = plant(scattered, models=ONE, analysis=Analysis(primary=twice))
    assert {finding.code for finding in check.findings(card, lambda path: Place("s.yaml"))} == {"W403"}
    page = report(card, facts.connect(shelf, [card]))
    assert all(refused and "do not tell 'slope' from other effects" in sentence for _, sentence, refused in page.verdicts)
    table = page.tables["slope"].data
    assert table.loc[table["treatment"] == "all", ["estimate_points", "p"]].isna().all(axis=None)
    assert page.html().count("No slope is given") and page.metrics() == {}


def test_one_size_a_family_is_said_before_a_run():
    models = {f"m{i}": ("abc"[i % 3], 10 ** (6 + i % 3)) for i in range(9)}
    card, shelf = plant(scattered, models=models)
    light = carriers.findings(card, lambda path: Place("s.yaml"))
    heavy = check.findings(card, lambda path: Place("s.yaml"))
    assert {finding.code for finding in light} == {"W403"} and light == heavy
    assert all("size cannot be told from family: a slope needs models of different sizes" in finding.message for finding in light)
    (found, _) = groups.fitted(paired.gains(facts.connect(shelf, [card]), "planted"), card.analysis)
    assert found.refused in light[0].message


def test_a_coefficient_that_needs_a_slope_on_two_models_is_not_shown():
    from xlift.analysis.report.effects import effect_table

    _, rows = planted(models=ONE)
    rows = rows[(rows["treatment"] != "squad1") | rows["model"].isin(["m6", "m7"])].reset_index(drop=True)
    (found,) = groups.fitted(rows, Analysis())
    untold = ["treatment[T.squad1]", "lp:treatment[T.squad1]"]
    assert found.fit.effects["estimate"].notna().all()  # two models do fit a line
    effects = found.effects.set_index("term")["estimate"]
    assert effects[untold].isna().all() and effects.drop(untold).notna().all()
    shown = effect_table([found], lambda group: None).shown.set_index("Effect")["Estimate"]
    assert (shown[untold] == "not told").all() and (shown.drop(untold) != "not told").all()


@pytest.mark.parametrize("asked", ["gain at params = 1e10", "gain | intermediate == 'mnli' at params = 1e10"])
def test_the_largest_model_is_predicted_for_what_it_was_run_on(asked):
    """mnli gains more than squad1, which the largest model was not run on, or is not asked of; its family gains more than the other."""

    def apart(cell, language):
        own = {"mnli": 0.2, "squad1": 0.0, "none": 0.0}[cell.intermediate]
        return (
            0.4
            + own
            + (0.2 if cell.family == "xlmr" and own else 0.0)
            + 0.1 * (scattered(cell, language) - rising(cell, language))
        )

    models = {f"m{i}": (("mt5", "xlmr")[i % 2], round(10 ** (6 + i / 4))) for i in range(10)}
    card, shelf = plant(apart, models=models)
    rows = paired.gains(facts.connect(shelf, [card]), "planted", "fine-tuned")
    if "mnli" not in asked:
        rows = rows[(rows["treatment"] == "mnli") | (rows["model"] != "m9")].reset_index(drop=True)
    (found,) = groups.fitted(
        rows, Analysis(primary="gain ~ lp * treatment + family * treatment + (1 | model) + (1 | treated_run)")
    )
    other = hypotheses.leave_largest_out(found, estimands.parse(asked), 0.95, Analysis(primary=found.primary.formula))
    assert other["model"] == "m9" and other["observed"] == pytest.approx(0.4, abs=0.03)
    assert other["estimate"] == pytest.approx(other["observed"], abs=0.03)
