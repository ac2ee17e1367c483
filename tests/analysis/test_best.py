"""The best treatment of each target: chosen on other runs than those that tell what it gave, or not at all."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xlift.analysis.report.tables import best_table
from xlift.analysis.study.best import NOTHING, SCORES, SEEDS, SHARED, best


def gains(effects: dict[str, float], *, models=4, seeds=3, targets=("nli", "qa"), noise=2.0, rng=0) -> pd.DataFrame:
    """Gains in two languages; `noise` is that of a run, in points, as are the treatments' effects."""
    axes = {"model": [f"m{k}" for k in range(models)], "treatment": [*effects], "target": targets, "seed": range(seeds)}
    runs = pd.DataFrame(list(product(*axes.values())), columns=list(axes))
    draws = np.random.default_rng(rng)
    runs["gain"] = (runs["treatment"].map(effects) + noise * draws.normal(size=len(runs))) / 100
    runs["intermediate_run"] = runs["model"] + runs["treatment"] + runs["seed"].astype(str)
    runs["treated_run"] = runs["intermediate_run"] + runs["target"]
    rows = pd.concat([runs.assign(language=name, gain=runs["gain"] + add) for name, add in (("de", 0.01), ("sw", -0.01))])
    return rows.assign(target_group="fine-tuned", better="higher").reset_index(drop=True)


def test_each_seed_is_scored_with_what_the_others_chose():
    rows = gains({"a": 0.0, "b": 0.0, "c": 0.0}, models=2, targets=("nli",))
    table, how = best(rows)
    means = rows.groupby(["model", "treatment", "seed"])["gain"].mean().unstack("treatment")
    own = {}
    for model, part in means.groupby("model"):
        part = part.droplevel("model")
        own[model] = np.mean([part.loc[seed, part.drop(seed).mean().idxmax()] for seed in part.index])
    values = np.array(list(own.values()))
    half = stats.t.ppf(0.975, 1) * values.std(ddof=1) / 2**0.5
    (row,) = table.to_dict("records")
    assert [row["gain"], row["low"], row["high"]] == pytest.approx([values.mean(), values.mean() - half, values.mean() + half])
    assert how == SEEDS and row["over"] == "models" and row["seeds"] == 3
    assert row["same"] == pytest.approx(means.max(axis=1).groupby("model").mean().mean())


def test_where_no_treatment_is_better_the_choice_gains_nothing_and_the_same_runs_seem_to():
    found = [best(gains(dict.fromkeys("abcde", 0.0), rng=seed))[0].iloc[-1] for seed in range(60)]
    chosen, same = (np.array([row[name] for row in found]) * 100 for name in ("gain", "same"))
    error = chosen.std(ddof=1) / 60**0.5
    assert abs(chosen.mean()) < 4 * error and same.mean() > 1.5
    inside = np.mean([row["low"] <= 0 <= row["high"] for row in found])
    assert 0.85 <= inside <= 1.0


def test_a_treatment_that_is_better_is_found():
    table, _ = best(gains({"a": 0.0, "b": 5.0, "c": 0.0}))
    assert [*table["target"]] == ["nli", "qa", "mean"] and (table["gain"] > 0.03).all()
    assert table["chosen"].iloc[0].startswith("b ") and table["chosen"].iloc[-1] == ""


def test_seeds_that_share_a_run_are_no_others():
    rows = gains({"a": 0.0, "b": 3.0})
    shared = rows.assign(intermediate_run=rows["model"] + rows["treatment"])
    table, how = best(shared)
    assert how == "" and set(table["reason"]) == {SHARED} and table["gain"].isna().all()
    half = rows.assign(intermediate_run=rows["intermediate_run"].where(rows["seed"] > 1, rows["model"] + rows["treatment"]))
    assert best(half)[0]["seeds"].max() == 3  # seeds 0 and 1 are chosen for on 2, and 2 on both


def test_one_seed_is_refused_and_with_development_scores_it_is_chosen_on_these():
    rows = gains({"a": 0.0, "b": 3.0, "c": 1.0}, seeds=1)
    table, how = best(rows)
    assert how == "" and set(table["reason"]) == {NOTHING} and not table["models"].any()
    shown = best_table(rows)
    assert shown.shown["Gain"].tolist() == [NOTHING] and "None is chosen" in shown.note
    for better, sign in (("higher", 1), ("lower", -1)):
        dev = rows["treatment"].map({"a": 0.9, "b": 0.8, "c": 0.7}) * sign
        table, how = best(rows.assign(dev_score=dev, better=better))
        assert how == SCORES and table["chosen"].iloc[0] == "a 4"
        expected = rows[(rows["treatment"] == "a") & (rows["target"] == "nli")].groupby("model")["gain"].mean().mean()
        assert table["gain"].iloc[0] == pytest.approx(expected)
    partly = rows.assign(dev_score=dev.where(rows["treatment"] != "a").where(rows["treatment"] != "b"), better="lower")
    assert set(best(partly)[0]["reason"]) == {NOTHING}


def test_one_model_has_an_interval_over_its_seeds_that_is_marked():
    rows = gains({"a": 0.0, "b": 3.0}, models=1, seeds=4)
    table, _ = best(rows)
    assert set(table["over"]) == {"seeds"} and table["low"].notna().all()
    shown = best_table(rows)
    assert all(text.endswith("*") for text in shown.shown["Gain"]) and "says nothing of other models" in shown.note
    two = gains({"a": 0.0, "b": 3.0}, models=1, seeds=2, noise=0.01)
    assert best(two)[0]["gain"].iloc[0] == pytest.approx(0.03, abs=0.001)


def test_what_is_lost_is_compared_with_nothing():
    rows = gains({"a": 0.0, "b": 3.0, "c": 3.0})
    lost = rows[(rows["treatment"] != "c") | (rows["language"] != "sw") | (rows["model"] != "m0")]  # compared in de alone there
    assert best(lost)[0]["gain"].iloc[0] > best(rows)[0]["gain"].iloc[0]
    one = rows[(rows["target"] != "qa") | (rows["treatment"] == "a")]
    table = best(one)[0].set_index("target")
    assert pd.isna(table.loc["qa", "gain"]) and table.loc["qa", "reason"] == SHARED and "mean" not in table.index
    gone = rows[(rows["target"] != "qa") | (rows["model"] != "m0")]
    assert best(gone)[0].set_index("target").loc["qa", "models"] == 3 and "mean" not in set(best(gone)[0]["target"])
    assert best(rows[rows["treatment"] == "a"])[0].empty and best_table(rows[rows["treatment"] == "a"]) is None


def test_half_of_all_runs_lost_leaves_no_traceback():
    for seed in range(30):
        rows = gains(dict.fromkeys("abcd", 0.0), rng=seed)
        kept = rows[np.random.default_rng(seed).random(len(rows)) < 0.4]
        shown = best_table(kept)
        assert shown is None or (
            "nan" not in shown.to_markdown() and (shown.data["gain"].notna() ^ shown.data["reason"].notna()).all()
        )
