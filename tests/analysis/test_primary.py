"""The primary model: what is left out of it and why, what it finds, and what a manifest may declare."""

import pytest

from xlift.analysis import mixed, paired
from xlift.analysis.mixed import contrasts
from xlift.analysis.report import effects
from xlift.analysis.study import check, groups, sensitivity
from xlift.analysis.study.primary import DEFAULT, primary
from xlift.registry.card import Analysis
from xlift.registry.findings import Place, UserError

from .planted import scattered, sized

NAMED = {f"m{i}": ("mt5", round(10 ** (6 + i / 2))) for i in range(4)}


def part(planting, group="fine-tuned", value=scattered, **options):
    return paired.gains(planting(value, **options)[2], "planted", group)


def model(rows, group="fine-tuned", **analysis):
    return primary(group, rows, Analysis(**analysis))


def test_all_of_the_default_stands_where_the_design_identifies_it(planting):
    found = model(part(planting, languages=("en", "de", "sw", "th"), models=sized(6)))
    assert found.formula == DEFAULT["these"] and found.left_out == () and found.refused is None


@pytest.mark.parametrize(
    ("options", "gone", "said"),
    [
        ({"models": NAMED}, "family", "family: there is one family"),
        ({"bridges": ("none", "mnli")}, "treatment", "treatment: there is one treatment"),
        ({"bridges": ("none", "mnli")}, "(1 | cell)", "(1 | cell): every gain has its own, which is the residual"),
        ({"targets": ("xnli",)}, "target", "target: there is one target"),
        ({"targets": ("xnli",)}, "(1 | model:target)", "(1 | model:target): its levels are those of model"),
        ({"targets": ("xnli",)}, "(1 | target:treatment)", "the fixed effects say all about target:treatment"),
        ({"seeds": (1,)}, "(1 | intermediate_run)", "its levels are those of model:treatment"),
        ({}, "(1 + lp | language)", "without lp, since 2 levels do not tell it"),
    ],
)
def test_what_the_design_cannot_identify_is_left_out_and_said(planting, options, gone, said):
    found = model(part(planting, **{"models": sized(6)} | options))
    assert f" {gone} " not in f"{found.formula} " and any(said in text for text in found.left_out)


def test_runs_that_are_one_by_another_name_are_one_term(planting):
    found = model(part(planting, "retrieval"), "retrieval")
    assert "intermediate_run" in found.formula and "treated_run" not in found.formula


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (sized(3), "3 models have gains and 4 are needed"),
        (sized(4), "4 models of 2 families have gains: a slope needs 3 models more than families"),
        ({f"m{i}": ("mt5", 10**6 * (1 + i % 2)) for i in range(4)}, "the 4 models have fewer than three different sizes"),
    ],
)
def test_a_slope_without_models_to_carry_it_is_refused_and_gains_are_still_modelled(planting, models, reason):
    (group, *_) = groups.fitted(part(planting, models=models), Analysis())
    assert reason in group.refused and "lp" not in group.primary.formula and group.fit is not None
    assert effects.verdict(group).startswith("No slope is given: ") and not len(group.slopes)


def test_the_slope_weighs_treatments_equally_and_is_the_fit_of_the_formula(planting):
    rows = part(planting)
    (group,) = groups.fitted(rows, Analysis())
    fit = mixed.fit(group.primary.formula, rows)
    assert group.slopes["treatment"].tolist() == ["all", "mnli", "squad1"]
    assert group.slopes["estimate"][0] == pytest.approx(group.slopes["estimate"][1:].mean(), abs=1e-12)
    assert group.slopes["p"][0] == contrasts.slopes(fit, "lp").table()["p"][0]
    assert group.slopes["low"][1] < 0.01 < group.slopes["high"][1]  # what was planted


def test_runs_that_differ_are_not_taken_for_evidence(planting):
    """Languages of one run are not independent: with runs in the model the interval is wider, and without them a warning says why."""
    rows = part(planting)
    (group,) = groups.fitted(rows, Analysis())
    naive = mixed.fit("gain ~ lp * treatment", rows)
    assert contrasts.slopes(naive, "lp").table()["se"][0] < 0.8 * group.slopes["se"][0]
    assert "rows share model, intermediate_run, treated_run, baseline_run, cell" in naive.warnings[0]
    assert not any("rows share" in text for text in group.fit.warnings)


def test_a_disagreement_with_two_stages_is_said_in_the_verdict(planting, monkeypatch):
    (group,) = groups.fitted(part(planting), Analysis())
    assert group.disagreement() is None
    sure = group.slopes.assign(p=0.001)
    monkeypatch.setitem(group.__dict__, "slopes", sure)
    assert "Two stages" in effects.verdict(group) and "the data do not settle it" in effects.verdict(group)


def test_a_formula_of_one_s_own_is_fitted_and_loses_what_cannot_be_told(planting):
    own = "gain ~ lp + (1 | model) + (1 | target)"
    found = model(part(planting, targets=("xnli",)), primary=own)
    assert found.formula == "gain ~ lp + (1 | model)" and found.left_out == ("(1 | target): there is one target",)


def test_a_formula_without_a_size_gives_gains_and_no_slope(planting):
    (group,) = groups.fitted(part(planting), Analysis(primary="gain ~ treatment + (1 | model) + (1 | treated_run)"))
    assert group.fit is not None and not group.tested
    assert effects.verdict(group) == "No slope is given: the primary model has no slope on lp."


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("gain ~ lpp + (1 | model)", "no column 'lpp' (did you mean 'lp'?)"),
        ("gain ~ lp + (1 | modle)", "no column 'modle'"),
        ("gain lp", "a formula is 'response ~ terms'"),
        ("gain ~ lp + (1 + | model)", "is no formula"),
        ("gian ~ lp + (1 | model)", "no column 'gian'"),
    ],
)
def test_a_bad_formula_is_a_finding_with_a_place(planting, formula, message):
    card, _, _ = planting(analysis=Analysis(primary=formula))
    (finding,) = check.findings(card, lambda path: Place("study.yaml", len(path)))
    assert message in finding.message and finding.code == "E405" and finding.place.line == 2


def test_other_choices_are_rows_and_too_few_models_give_estimates_only(planting):
    card, _, connection = planting(scattered, models=NAMED)
    rows = sensitivity.sensitivity(groups.fitted(paired.gains(connection, "planted"), card.analysis), card.analysis)
    first = rows[rows["target_group"] == "fine-tuned"].set_index("case")
    assert first.index[0] == "all gains" and {"without m0", "without de", "without xnli", sensitivity.LOGIT} <= set(first.index)
    assert "without same-task cells" in first.index and "without baselines at chance" not in first.index
    assert first.loc["without m0", ["p", "low", "se"]].isna().all() and first.loc["without m0", "estimate"] != 0
    assert "3 models have gains and 4 are needed" in first.loc["without m0", "reason"]
    assert first.loc["without de", ["estimate", "se", "df", "p"]].notna().all()


def test_an_unknown_group_is_refused_with_the_known_ones(planting):
    with pytest.raises(UserError, match="no target group 'tuned'; there are fine-tuned, retrieval"):
        part(planting, "tuned")


def test_lp_is_zero_at_the_geometric_mean_or_at_the_declared_centre(planting):
    rows = part(planting)
    assert rows.groupby("model")["lp"].first().mean() == pytest.approx(0, abs=1e-12)
    rows = part(planting, analysis=Analysis(centre=1e6))
    assert rows[rows["model"] == "m3"]["lp"].iloc[0] == pytest.approx(1.0, abs=1e-6)


def test_plain_and_mlm_are_never_pooled(planting):
    card, shelf, _ = planting(scattered)
    cells = tuple(
        cell.model_copy(update={"variant": "mlm", "intermediate": "mnli"}) if cell.intermediate == "squad1" else cell
        for cell in card.cells
    )
    from xlift.analysis import facts

    rows = paired.gains(facts.connect(shelf, [card.model_copy(update={"cells": cells})]), "planted")
    assert set(rows["treatment"]) == {"mnli", "mnli + mlm"}


def test_a_run_serves_every_target_that_is_evaluated_from_it(planting):
    card, shelf, _ = planting(scattered, models=sized(4), targets=("xnli", "panx"))
    first = {(c.model, c.intermediate, c.seed): c.stage for c in card.cells if c.target == "xnli"}
    parent = {stage.id: stage.parent for stage in card.stages}
    moved = {
        c.stage: parent[first[c.model, c.intermediate, c.seed]]  # panx is evaluated from the training on xnli
        for c in card.cells
        if c.target == "panx"
    }
    stages = tuple(s.model_copy(update={"parent": moved.get(s.id, s.parent)}) for s in card.stages)
    from xlift.analysis import facts

    rows = paired.gains(facts.connect(shelf, [card.model_copy(update={"stages": stages})]), "planted")
    assert (rows.groupby("treated_run")["target"].nunique() == 2).all() and rows["treated_run"].nunique() == 4 * 2 * 2
    assert rows["treated_stage"].nunique() == 2 * rows["treated_run"].nunique()
    assert (rows["cell"] == rows["baseline_stage"] + ":" + rows["language"]).all()
