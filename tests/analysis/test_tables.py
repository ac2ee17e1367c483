import io

import pandas as pd
import pytest

from xlift.analysis import paired
from xlift.analysis.report import table, tables
from xlift.registry.card import Published

from .planted import rising, sized


def study_tables(connection):
    rows = paired.gains(connection, "planted")
    return [
        tables.gain_by_target(rows),
        tables.gain_by_language(rows),
        *tables.score_tables(paired.scores(connection, "planted")),
        tables.missing_table(paired.missing(connection, "planted")),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+1.2"), (-0.0123, "−1.2"), (0.0001, "0.0"), (-0.0004, "0.0"), (float("nan"), "–")]
)
def test_a_gain_is_shown_in_points_with_its_sign(value, text):
    assert table.signed(value) == text


def test_an_interval_that_does_not_exist_is_not_shown():
    assert table.interval(float("nan"), float("nan")) == ""
    assert table.interval(-0.003, 0.027) == "[−0.3, +2.7]"


def test_what_latex_would_take_for_a_command_is_written_out():
    assert table.latex(r"a_b & 5 % \x {−1.2} †") == r"a\_b \& 5 \% \textbackslash{}x \{$-$1.2\} $^\dagger$"


def test_every_latex_table_is_balanced_ruled_and_plain_ascii(planting):
    made = study_tables(planting(models=sized(4))[2])
    assert [each.name for each in made if not each.to_latex()] == ["missing"]  # no shell of a table without rows
    for each in made[:-1]:
        text = each.to_latex()
        assert r"needs \usepackage{booktabs}" in text.splitlines()[0]
        body = text[text.index(r"\midrule") + 8 : text.index(r"\bottomrule")].strip()
        width = len(each.shown.columns)
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert text.count("$") % 2 == 0 and text.isascii()
        assert text.count(r"\begin{") == text.count(r"\end{") == 2
        assert all(line.replace(r"\&", "").count("&") == width - 1 for line in body.splitlines() if line.endswith(r"\\"))


def test_markdown_has_a_row_for_every_row_and_escapes_bars():
    frame = pd.DataFrame({"a": ["x|y", "z"], "b": ["+1.0", "2.0"]})
    text = table.Table("t", "Title", frame, frame).to_markdown()
    assert [line.count(" |") for line in text.splitlines() if line.startswith("|")] == [2, 0, 2, 2]
    assert r"x\|y" in text and "+1.0" in text


def test_the_csv_of_gains_is_in_points_with_full_digits(planting):
    table = tables.gain_by_target(paired.gains(planting(models=sized(1))[2], "planted"))
    read = pd.read_csv(io.StringIO(table.to_csv())).set_index(["treatment", "target"])
    assert read.loc[("mnli", "panx"), "mean"] == pytest.approx(2.0)
    assert (read["unit"] == "points").all()


def test_same_task_cells_and_chance_are_marked_in_the_table(planting):
    low = planting(lambda cell, language: 0.3 if cell.target == "xnli" else rising(cell, language), models=sized(1))[2]
    shown = tables.gain_by_target(paired.gains(low, "planted")).shown.set_index("Intermediate")
    assert shown.loc["mnli", "xnli"] == "0.0†°‡"
    assert shown.loc["squad1", "xnli"] == "0.0°‡"
    assert shown.loc["mnli", "panx"] == "+2.0‡"
    assert shown.loc["squad1", "mean, fine-tuned"].endswith("°")  # a mean keeps what half of its gains have


def test_a_gain_that_never_varies_has_no_interval_and_says_so(planting):
    flat = planting(lambda cell, language: 0.5, models=sized(5))[2]
    shown = tables.gain_by_target(paired.gains(flat, "planted")).shown.set_index("Intermediate")
    assert shown.loc["squad1", "panx"] == "0.0‡"


def test_wide_tables_take_both_columns_and_the_widest_lose_their_intervals():
    def made(columns: int) -> str:
        frame = pd.DataFrame([["a"] + ["+1.0 [−0.1, +2.1]"] * columns], columns=["x", *(f"c{i}" for i in range(columns))])
        return table.Table("t", "T", frame, frame).to_latex()

    assert r"\begin{table}[t]" in made(2) and r"\begin{table*}[t]" in made(4)
    assert "[$-$0.1" in made(5) and "[$-$0.1" not in made(9) and "Intervals are in the CSV file." in made(9)


def test_the_table_of_targets_has_one_mean_a_group_and_none_over_both(planting):
    shown = tables.gain_by_target(paired.gains(planting(models=sized(1))[2], "planted")).shown
    assert shown.columns.tolist() == ["Intermediate", "panx", "xnli", "mean, fine-tuned", "tatoeba", "mean, retrieval"]


def test_scores_stand_by_target_with_the_untreated_model_first(planting):
    table = tables.score_tables(paired.scores(planting(models=sized(2))[2], "planted"))[0]
    assert table.name == "scores-panx"
    assert table.shown["Intermediate"].tolist()[:3] == ["none", "mnli", "squad1"]
    assert table.shown.loc[0, "en"] == "50.0"


def test_published_scores_stand_beside_means_over_as_many_languages_and_no_others(planting):
    card, _, connection = planting(models=sized(2))
    rows = paired.scores(connection, "planted")
    own = rows[(rows["target"] == "xnli") & (rows["treatment"] == "none")]
    model, languages = own["model"].iloc[0], own["language"].nunique()
    told = {"model": model, "score": 40.0, "source": "a paper"}
    beside = [{**told, "target": "xnli", "languages": languages}, {**told, "target": "xnli", "languages": languages + 1}]
    published = tuple(Published(**each) for each in [*beside, {**told, "target": "nothing", "languages": 2}])
    table = tables.published_table(card.model_copy(update={"published": published}), rows)
    mean = own[own["model"] == model].groupby("seed")["score"].mean().mean() * 100
    assert table.data["own"][0] == pytest.approx(mean) and table.data["difference"][0] == pytest.approx(mean - 40)
    assert table.data["own"][1:].isna().all() and table.data["difference"][1:].isna().all()
    assert table.shown["Languages"].tolist() == [f"{languages} of {languages}", f"{languages} of {languages + 1}", "0 of 2"]
    assert table.shown["This study"].tolist() == [f"{mean:.1f}", "–", "–"] and "a paper" in table.to_latex()
    assert tables.published_table(card, rows) is None


def test_a_wide_table_loses_its_intervals_and_no_bracket_of_a_name():
    shown = pd.DataFrame({"Model": ["a [large]"], **{f"column {n}": ["+1.0 [−2.0, 4.0]"] for n in range(12)}})
    made = table.Table("wide", "Wide", shown, shown).to_latex()
    assert "a [large]" in made and "+1.0" in made and "4.0]" not in made and "Intervals are in the CSV file" in made
