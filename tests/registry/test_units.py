"""Numbers of another unit, sizes that cannot be, copies and means among the rows: found, not believed (review A3)."""

import re

import pytest
from tabled import MANIFEST, Rows, table

from xlift.registry.findings import BadInput

PERCENT = MANIFEST.replace("  columns", "  unit: percent\n  columns")


def percent(**odd: str) -> Rows:
    """A faultless table in percent, but for the rows that are like `odd`, which are in fractions."""
    rows = [{**row, "metric": {"xnli": "accuracy", "mine": "f1"}[row["target"]]} for row in table()]
    for row in rows:
        row["score"] = f"{float(row['score']) * (1 if odd and odd.items() <= row.items() else 100):.4f}"
    return rows


def found(made, rows: Rows, manifest: str = PERCENT):
    """Every finding, whether it stops or not."""
    try:
        return made(rows, manifest).warnings
    except BadInput as error:
        return error.findings


PARTS = {
    "target": "xnli",
    "metric": "f1",
    "model": "b",
    "intermediate": "mnli",
    "language": "sw",
    "seed": "2",
}


@pytest.mark.parametrize(
    "part", [{name: level} for name, level in PARTS.items()] + [{"model": "b", "intermediate": "none"}], ids=str
)
def test_a_part_in_another_unit_is_found_and_may_be_declared(made, part):
    rows = percent(**part)
    first = next(i for i, row in enumerate(rows) if part.items() <= row.items())
    mine = [finding for finding in found(made, rows) if finding.code == "E524"]
    assert [finding.place.line for finding in mine] == [first + 2]
    assert {"xnli": "accuracy"}.get(part.get("target"), next(iter(part.values()))) in mine[0].message
    declared = PERCENT + "metrics: {accuracy: {unit: percent}, f1: {unit: percent}}\n"
    assert not found(made, rows, declared)  # who says so is believed
    assert not found(made, percent())


def test_a_metric_may_have_a_unit_of_its_own(made):
    study = made(percent(metric="f1"), PERCENT + "metrics: {f1: {unit: fraction}}\n")
    assert [row.score for row in study.rows] == pytest.approx([float(row["score"]) for row in table()])
    rows = [{**row, "metric": "test_perplexity", "score": str(10 * float(row["score"]))} for row in table()]
    lower = made(rows, PERCENT + "metrics: {test_perplexity: {unit: fraction}}\n")  # and what else is known of it stays
    assert lower.card().lower == ("test_perplexity",) and lower.rows[0].score == float(rows[0]["score"])


def test_a_single_score_of_another_unit_is_asked_for(made):
    rows = percent()
    rows[7]["score"] = "0.634"
    (asked,) = found(made, rows)
    assert (asked.code, asked.place.line) == ("W524", 9) and "is it a fraction?" in asked.message
    rows[7]["score"] = "0"  # which is 0 in either
    assert not found(made, rows)


def test_a_rate_of_edits_far_above_one_is_a_percentage(made):
    rows = [{**row, "metric": "wer"} for row in table()]
    for row in rows:
        row["score"] = str(float(row["score"]) * (100 if row["model"] == "b" else 1))
    assert [finding.code for finding in found(made, rows, MANIFEST)] == ["E524"]
    assert not found(made, rows, MANIFEST + "metrics: {wer: {unit: fraction}}\n")


@pytest.mark.parametrize("column", ["chance", "se"])
@pytest.mark.parametrize("items", [True, False])
def test_a_column_in_another_unit_is_found_and_may_be_declared(made, column, items):
    def rows(unit: str) -> Rows:
        each = {"chance": 1 / 3, "se": 0.02}[column] * (100 if unit == "percent" else 1)
        return [{**row, column: str(each), "items": "500" if items else ""} for row in percent()]

    mine = found(made, rows("fraction"))
    assert {finding.code for finding in mine} == {"E524"} and f"units: {{{column}: fraction}}" in mine[0].hint
    assert not found(made, rows("percent"))
    assert not found(made, rows("fraction"), PERCENT.replace("  columns", f"  units: {{{column}: fraction}}\n  columns"))


def test_a_standard_error_in_percent_beside_fractions_is_found(made):
    rows = [{**row, "se": "0.6"} for row in table()]  # of 6,700 items
    assert "units: {se: percent}" in str([finding.hint for finding in found(made, rows, MANIFEST)])


@pytest.mark.parametrize("se", ["1e-300", "5e-324", "0.9"])
def test_a_standard_error_beyond_all_test_sets_is_found_however_small_or_large(made, se):
    assert {finding.code for finding in found(made, [{**row, "se": se} for row in table()], MANIFEST)} == {"E524"}


def test_a_chance_of_one_item_in_a_thousand_is_no_fraction(made):
    rows = [{**row, "chance": "0.1" if row["target"] == "mine" else "33.3", "items": "1000"} for row in percent()]
    assert not found(made, rows)


def test_a_standard_error_of_exactly_zero_is_none(made):
    rows = [{**row, "se": "0.0", "items": ""} for row in table()]
    rows[3]["score"] = "1"  # where it may be 0
    study = made(rows)
    assert [finding.code for finding in study.warnings] == ["W539"] and "62 rows more" in study.warnings[0].message
    assert [row.standard_error for row in study.rows[:5]] == [None, None, None, 0, None]


@pytest.mark.parametrize("name", ["acc_stderr", "acc_stderr,none", "f1_std", "stderr"])
def test_what_scores_scatter_by_is_no_score(made, name):
    rows = [{**row, "metric": name, "score": "0.4"} for row in percent()]
    (said,) = [finding for finding in found(made, rows) if finding.code == "E525" and "xnli" in finding.message]
    assert f"has {name}, which is no score" in said.message
    assert not found(made, [*percent(), *rows])  # beside scores it is neither one nor in another unit
    assert {row.metric for row in made([*percent(), *rows], PERCENT).rows if row.score > 0.1} == {"accuracy", "f1"}


SIZES = {
    "in millions": ({"a": 278, "b": 560, "c": 3500, "d": 10700}, "E523", "278000000"),
    "one in millions": ({"a": 278}, "E523", "278000000"),
    "a zero lost": ({"d": 1000}, "W523", "in full"),
    "fewer with embeddings than without": ({"a": 10**7}, "E523", "column"),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_cannot_be_are_found(made, name):
    sizes, code, word = SIZES[name]
    rows = [{**row, "size": str(sizes.get(row["model"], row["size"]))} for row in table()]
    if "embeddings" in name:
        rows = [{**row, "non_embedding": str(10**8)} for row in rows]
        rows = [row if row["model"] == "a" else {**row, "size": str(10**10)} for row in rows]
    mine = found(made, rows, MANIFEST)
    assert {finding.code for finding in mine} == {code} and word in f"{mine[0].message} {mine[0].hint}"


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("xlm-roberta-base", 27_804_3648, False),
        ("xlm-roberta-base", 278_043, True),
        ("facebook/xlm-roberta-xl", 35 * 10**8, False),
    ]
    + [
        ("bloom-7.1B", 71 * 10**8, False),
        ("bloom-7.1B", 71 * 10**7, True),
        ("pythia 410m", 41 * 10**9, True),
        ("v3-b", 10**9, False),
    ],
)
def test_a_size_far_from_what_the_name_says_is_told(made, name, size, told):
    rows = [{**row, "model": name, "size": str(size)} if row["model"] == "a" else row for row in table()]
    assert ("W523" in {finding.code for finding in found(made, rows, MANIFEST)}) == told


def test_copies_of_a_seed_are_said_and_a_single_evaluation_is_none(made):
    rows = table()
    rows += [{**row, "language": "fr", "score": "0.5"} for row in rows if row["language"] == "de"]
    first = {tuple(row[name] for name in ("model", "intermediate", "target", "language")): row["score"] for row in reversed(rows)}
    copied = [{**row, "score": first[row["model"], row["intermediate"], row["target"], row["language"]]} for row in rows]
    (said,) = found(made, copied, MANIFEST)
    assert said.code == "W540" and "seed 2 of a, untreated, xnli has all 3 scores of seed 1, and so 15 runs more" in said.message
    assert not found(made, rows, MANIFEST)
    prompted = [{**row, "score": "0.5"} if row["intermediate"] == "none" else row for row in rows]
    assert not found(made, prompted, MANIFEST + "tasks: {xnli: {trained: false}, mine: {trained: false}}\n")


@pytest.mark.parametrize("name", ["avg", "Average", "all", "MEAN"])
def test_means_beside_languages_are_said(made, name):
    rows = [*table(), *({**row, "language": name} for row in table() if row["language"] == "de")]
    (said,) = found(made, rows, MANIFEST)
    assert said.code == "W541" and name in said.message
    clause = re.search(r"where: .*(?=})", said.hint)[0]
    assert not found(made, rows, MANIFEST.replace("  columns", f"  {clause}\n  columns"))


def renamed(axis: str, names: dict[str, str]) -> Rows:
    """The treated rows under other names."""
    return [row if row["intermediate"] == "none" else {**row, axis: names.get(row[axis], row[axis])} for row in table()]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (renamed("seed", {"1": "42", "2": "43"}), "seed '1', not '42'"),
        (renamed("model", {"a": "A", "b": "B", "c": "C", "d": "D"}), "model 'a', not 'A' (upper and lower case)"),
        (renamed("target", {"xnli": "Xnli", "mine": "Mine"}), "target 'xnli', not 'Xnli' (upper and lower case)"),
        (
            [{**row, "intermediate": row["intermediate"].replace("none", "None")} for row in table()],
            "intermediate 'None', not 'none'",
        ),
        (
            [{**row, "intermediate": row["intermediate"].replace("none", "nan")} for row in table()],
            "intermediate 'nan', not 'none'",
        ),
    ],
    ids=["seed", "case", "another case", "None", "nan"],
)
def test_what_keeps_a_baseline_from_its_rows_is_named(made, rows, words):
    (said,) = [finding for finding in found(made, rows, MANIFEST) if finding.code == "E531"]
    assert words in said.hint and ("intermediate '" in said.hint) == ("intermediate" in words)


def test_another_unicode_form_of_a_name_is_named(made):
    rows = [
        {**row, "model": "e\u0301" if row["intermediate"] == "mnli" else "\u00e9", "size": "1000000"}
        for row in table()
        if row["model"] == "a"
    ]
    (said,) = [finding for finding in found(made, rows, MANIFEST) if finding.code == "E531"]
    assert "another Unicode form" in said.hint


def test_what_two_scores_of_one_thing_differ_in_is_named_whatever_column_it_is(made):
    rows = [{**row, "filter": name} for row in table() for name in ("strict", "flexible")]
    assert "differs in 'filter'" in found(made, rows, MANIFEST)[0].message


@pytest.mark.parametrize("pair", [("XLM-R", "xlm-r"), ("e\u0301", "\u00e9"), ("a b", "ab"), ("ﬁne", "fine")], ids=ascii)
@pytest.mark.parametrize("axis", ["model", "intermediate", "target"])
def test_names_that_look_alike_and_are_two_are_said(made, pair, axis):
    old = {"model": ("a", "b"), "intermediate": ("mnli", "qqp"), "target": ("xnli", "mine")}[axis]
    rows = table() + [{**row, "intermediate": "qqp"} for row in table() if row["intermediate"] == "mnli"]
    new = dict(zip(old, pair, strict=True))
    said = found(made, [{**row, axis: new.get(row[axis], row[axis])} for row in rows], MANIFEST)
    assert [finding.code for finding in said] == ["W542"] and pair[0] in said[0].message and pair[1] in said[0].message
    assert not found(made, rows, MANIFEST)


def test_a_loss_beside_percentages_is_no_fraction(made):
    rows = percent()
    losses = [{**row, "metric": "eval_loss", "score": "0.7"} for row in rows]
    assert not found(made, [*rows, *losses], PERCENT + "tasks: {xnli: {metric: accuracy}, mine: {metric: f1}}\n")
