import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import get_args

import pandas as pd
import pytest

from xlift.analysis import facts, paired
from xlift.analysis.report import plots, table
from xlift.analysis.report.answers import Answers
from xlift.analysis.report.notes import notes
from xlift.analysis.report.page import Report, report
from xlift.analysis.report.sections import Folded, Section, Text
from xlift.analysis.report.table import Table
from xlift.analysis.study import groups
from xlift.analysis.study.faults import Changes
from xlift.analysis.study.sensitivity import sensitivity
from xlift.registry.card import Analysis, StudyCard

from .planted import plant, rising, scattered, sized

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Fails on a closing tag that closes something else."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attributes):
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for key, value in attributes if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@cache
def reported(models: int = 6, source: str = "lab") -> Report:
    """The report of a planted study, made once for all tests."""
    card, shelf = plant(scattered, models=sized(models), source=source)
    return report(card, facts.connect(shelf, [card]))


@cache
def page(models: int = 6, source: str = "lab") -> str:
    return reported(models, source).html()


def test_the_page_needs_no_network_and_no_script():
    text = page()
    assert not re.search(r"https?:|//\w|<script|<link|@import|url\((?!#)|\ssrc=", text)


def test_the_page_is_well_formed_and_its_ids_are_unique():
    balance = Balance()
    balance.feed(page())
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))


def test_references_within_the_drawings_lead_somewhere():
    text = page()
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert targets and targets <= set(re.findall(r'\bid="([^"]+)"', text))


def test_what_a_manifest_says_is_text_and_not_markup(planting):
    card, _, connection = planting(models=sized(1))
    text = report(card.model_copy(update={"question": "<b>Does a & b differ?</b>"}), connection).html()
    assert "&lt;b&gt;Does a &amp; b differ?&lt;/b&gt;" in text and "<b>Does" not in text


def test_a_report_of_the_lab_says_that_its_world_is_made_up():
    assert "a made-up world" in page(1)
    assert "a made-up world" not in page(1, "local")


def test_the_page_says_what_was_planted():
    text = page()
    assert re.search(r"on 6 models, \d\.\d degrees of freedom", text)
    assert "are of same-task cells" in text and "Nothing is missing" in text
    assert "WHERE NOT treated.is_baseline" in text
    assert 'id="tuning"' not in text  # which is of studies that tune


def test_what_goes_to_mlflow_says_whether_slopes_differ_and_has_each_targets():
    found = reported()
    metrics, table = found.metrics(), found.tables["slopes-equal"].data
    differing = table.groupby("target_group")["differ"].any()
    for group in found.groups:
        name = f"slope/{group.group.name}"
        assert metrics[f"{name}/differ"] == differing[group.group.name]
        own = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
        targets = group.slopes.set_index("target")["estimate"] * 100
        assert {key: own[key] for key in targets.index} == pytest.approx(targets.to_dict())


def test_the_page_begins_with_its_answer_and_the_figure_and_then_with_what_one_has_to_know():
    text = page(5)
    places = [text.index(mark) for mark in ('class="answer', "<svg", 'class="notes"', "<h2", "<table")]
    assert places == sorted(places)
    shown = re.findall(r"<li><b>(\w+)</b>", text)
    assert len(set(shown)) > 1 and shown == sorted(shown, key=get_args(Changes).index)


def test_whatever_a_section_holds_is_on_the_page_and_in_the_files(tmp_path):
    made = reported()
    table = Table("mine", "A table of mine", pd.DataFrame({"n": [1]}), pd.DataFrame({"N": ["one"]}), note="A note of mine.")
    plate = replace(made.headline[0], name="drawing", caption="A figure of mine.")
    parts = [plate, table, Text("A paragraph of mine."), Folded("A fold of mine", replace(table, name="folded"), open=True)]
    made = replace(made, sections=(*made.sections, Section("mine", "A section of mine", parts, "Mine")))
    text = made.write(tmp_path / "report").read_text(encoding="utf-8")
    for words in ("table", "figure", "paragraph", "fold", "section", "note"):
        assert f"A {words} of mine" in text
    assert '<a href="#mine">Mine</a>' in text and '<h2 id="mine">' in text
    files = {path.name for path in (tmp_path / "report").rglob("*")}
    assert {"mine.csv", "mine.md", "folded.tex", "drawing.svg", "drawing.png"} <= files


def test_a_refusal_is_said_plainly_and_no_line_is_drawn():
    text = page(3)
    assert "No slope is given: 3 models have gains and 4 are needed" in text
    assert "No line is drawn where no slope is given" in text


@pytest.mark.parametrize("models", [5, 6])
def test_fewer_than_six_models_bear_a_warning(planting, models):
    card, _, connection = planting(scattered, models=sized(models))
    rows = paired.gains(connection, "planted")
    scores, missing = paired.scores(connection, "planted"), paired.missing(connection, "planted")
    fits = groups.fitted(rows, card.analysis)
    found = notes(card, rows, scores, fits, sensitivity(fits, card.analysis), missing, None, ())
    said = " ".join(note.text for note in found)
    assert ("only 5 models: whether they scatter as intervals assume" in said) == (models == 5)


def test_what_is_missing_is_shown_with_its_reason():
    card, shelf = plant(scattered, models=sized(2))
    shelf.lose(next(cell.stage for cell in card.cells if cell.intermediate == "none"), "failed")
    text = report(card, facts.connect(shelf, [card])).html()
    assert "no baseline: failed" in text and "7 results are missing" in text


@pytest.mark.parametrize("lost", ["all", "baselines", "treated"])
def test_a_study_without_gains_still_has_a_report(tmp_path, lost):
    card, shelf = plant(rising, models=sized(2))
    for cell in card.cells:
        if lost == "all" or (lost == "baselines") == (cell.intermediate == "none"):
            shelf.lose(cell.stage, "pending")
    path = report(card, facts.connect(shelf, [card])).write(tmp_path)
    assert "There is no gain yet" in path.read_text()


def test_the_folder_has_every_table_and_figure_and_no_drafts(tmp_path):
    made = reported()
    made.write(tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {f"tables/{name}.{ending}" for name in made.tables for ending in ("md", "tex", "csv")}
    programs = {f"tables/{name}.{ending}" for name in ("gains", "runs") for ending in ("md", "tex")}
    wanted -= {*programs, "tables/missing.tex"}  # and nothing is missing here
    wanted |= {f"figures/{name}.{ending}" for name in made.figures for ending in ("svg", "png")}
    assert {"scaling", "heatmap", "slopes", "languages", "choices", "diagnostics"} == set(made.figures)
    assert files == wanted | {"report.html"}
    assert {
        "slope",
        "effects",
        "components",
        "slope-by-target",
        "gain-at-size",
        "languages",
        "sensitivity",
        "gain-by-target",
        "gain-by-language",
        "missing",
        "gains",
        "scores-xnli",
    } <= set(made.tables)


def test_a_card_survives_its_way_through_json(planting):
    card, shelf = plant(rising, models=sized(1))
    again = StudyCard.model_validate_json(card.model_dump_json())
    assert report(again, facts.connect(shelf, [again])).html() == report(card, facts.connect(shelf, [card])).html()


def drawn(planting, models: int):
    rows = paired.gains(planting(scattered, models=sized(models))[2], "planted")
    return Answers(planting(models=sized(models))[0], groups.fitted(rows, Analysis())), rows


def plates_of(answers, rows):
    return [answers.scaling(), *(plate for section in answers.sections(rows) for plate in section.plates)]


def test_equal_figures_give_equal_text(planting):
    answers, rows = drawn(planting, 5)
    first, second = ([plots.svg(plate.figure) for plate in plates_of(answers, rows)[:2]] for _ in range(2))
    assert first == second


def test_dense_marks_are_a_picture_within_the_figure_and_long_tables_are_folded(planting, monkeypatch):
    table = pd.DataFrame({"fitted": [0.001 * k for k in range(4000)], "residual": [0.001 * (k % 97) for k in range(4000)]})
    few, many = (plots.svg(plots.diagnostics([("fine-tuned", table[:count])])) for count in (1000, 4000))
    assert "<image" not in few and many.count('href="data:image/png;base64,') == 2 and len(many) < len(few)
    monkeypatch.setattr(plots, "DENSE", 10)
    monkeypatch.setattr("xlift.analysis.report.page.LONG", 5)
    card, _, connection = planting(scattered)
    text = report(card, connection).html()
    assert not re.search(r"https?:|//\w|<script|<link|\ssrc=", re.sub(r"base64,[A-Za-z0-9+/=\s]*", "", text))
    assert re.search(r"<summary>[^<]* \(\d+ rows\)</summary>", text) and not re.search(r"\([1-5] rows\)</summary>", text)
    balance = Balance()
    balance.feed(text)
    assert balance.open == [] and len(balance.ids) == len(set(balance.ids))


@pytest.mark.parametrize("models", [1, 2, 7])
def test_figures_are_drawn_for_any_number_of_models(planting, models):
    answers, rows = drawn(planting, models)
    plates = plates_of(answers, rows)
    names = [plate.name for plate in plates]
    assert {"scaling", "heatmap", "languages"} <= set(names) and ("slopes" in names) == (models == 7)
    assert all(plots.png(plate.figure)[1:4] == b"PNG" for plate in plates)


@pytest.mark.parametrize(
    ("number", "text"), [(850e3, "850k"), (1e6, "1M"), (1.27e9, "1.3B"), (10.7e9, "11B"), (999_900, "1.0M"), (12, "12")]
)
def test_sizes_read_as_one_says_them(number, text):
    assert table.size(number) == text


def test_a_target_of_encoders_and_of_text_to_text_models_is_told_apart_by_its_group():
    card, shelf = plant(rising, models=sized(8))
    cells = tuple(cell.model_copy(update={"written": cell.model in ("m0", "m2", "m4", "m6")}) for cell in card.cells)
    card = card.model_copy(update={"cells": cells})
    made = report(card, facts.connect(shelf, [card]))
    summary = made.summary()
    assert "xnli, fine-tuned  " in summary and "xnli, fine-tuned, text to text" in summary
    assert "fine-tuned, text to text targets" in made.html().lower()
