"""Whatever a table's names are, its report is written, and says of them what it says of plain ones (review B1)."""

import csv
import random
import re
import warnings
from pathlib import Path

import matplotlib as mpl
import pytest

from xlift import studies
from xlift.analysis import facts
from xlift.analysis.report import plots
from xlift.analysis.report.page import Report
from xlift.analysis.report.table import slugs
from xlift.analysis.study import estimands, hypotheses
from xlift.registry.findings import BadInput
from xlift.registry.manifest.load import read_manifest
from xlift.registry.store import Store

PLAIN = {"model": ["m1", "m2", "m3", "m4"], "intermediate": ["i1", "i2"], "target": ["t1", "t2"], "language": ["l1", "l2"]}
NAMES = {
    "marks and words": {
        "model": ["a, b", "c'd", "$\\frac{", "mean"],
        "intermediate": ["_mnli, then $squad$", """l'été "2" minus x | y at params = 1e9"""],
        "target": ["XNLI (F1: a, b)", "a/b"],
        "language": ["model", "../x # %"],
    },
    "long, in many scripts": {
        "model": ["模型", "نموذج" * 30, "\\input{é}", 'e"f|g'],
        "intermediate": [f"i{'x' * 190}1", f"Language{'x' * 190}2"],
        "target": ["XNLI", "xnli"],
        "language": ["中文", "ქართული" * 20],
    },
    "one for Python, two here": {
        "model": ["ﬁ", "fi", "m³", "m3"],
        "intermediate": ["é", "e\u0301"],
        "target": ["Café", "Cafe\u0301"],
        "language": ["l1", "l₁"],
    },
}


def study(folder: Path, names: dict[str, list[str]], *, treated: bool = True) -> Path:
    """A table with these names, whose scores are the same whatever they are, with a hypothesis and two claims."""
    draw, rows = random.Random(5), []
    for place, model in enumerate(names["model"]):
        for task in ["none", *names["intermediate"]] if treated else ["none"]:
            for target in names["target"]:
                for language in names["language"]:
                    for seed in (1, 2):
                        score = 0.5 + 0.01 * place + 0.05 * (task == names["intermediate"][0]) + draw.gauss(0, 0.002)
                        rows.append((model, 10 ** (8 + place), "f", task, target, language, seed, "accuracy", score))
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("model parameters family intermediate target language seed metric score".split())
        writer.writerows(rows)
    gain, other = (f"gain | intermediate == {name!r}" for name in names["intermediate"])
    text = [
        "schema: xlift/1\nid: names\nquestion: Does it grow?\ndata: {source: table, file: t.csv, origin: own}",
        "analysis: {x: params_total}",
    ]
    if treated:
        text += [
            f"hypotheses:\n  first:\n    contrast: >-\n      {gain}\n    direction: positive",
            f"claims:\n- text: larger\n  source: ours\n  test: >-\n    {gain} is largest\n- text: apart\n  source: ours\n  test: >-\n    {gain} minus {other} > 0",
        ]
    (folder / "s.yaml").write_text("\n".join(text), encoding="utf-8")
    return folder / "s.yaml"


def reported(path: Path) -> Report:
    loaded = read_manifest(path)
    studies.imported(loaded, Store(path.parent / "store"))
    found = studies.read(loaded, path.parent / "store", None)
    made = studies.report_of(found.card, found.store, found.changed)
    with warnings.catch_warnings(action="ignore"):  # of letters that the font of figures lacks
        made.write(path.parent / "report")
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Report:
    return reported(study(tmp_path_factory.mktemp("plain"), PLAIN))


@pytest.mark.parametrize("kind", NAMES)
def test_a_report_says_of_any_names_what_it_says_of_plain_ones(tmp_path, plain, kind):
    made = reported(study(tmp_path, NAMES[kind]))
    assert [verdict.said for verdict in _verdicts(plain)] == ["supported", "agrees", "agrees"]
    for one, other in zip(_verdicts(made), _verdicts(plain), strict=True):
        assert (one.said, one.models) == (other.said, other.models)
        assert (one.estimate, one.p) == pytest.approx((other.estimate, other.p), rel=1e-6)
    assert len(made.tables) == len(plain.tables) and made.figures.keys() == plain.figures.keys()
    assert {path.stem for path in (tmp_path / "report" / "tables").iterdir()} == made.tables.keys()
    store = Store(tmp_path / "store")
    connection = facts.connect(store, store.cards())
    scores = [table for table in made.tables.values() if table.target]
    assert sorted(table.target for table in scores) == sorted(NAMES[kind]["target"])
    for table in scores:  # and the query of each is answered
        assert set(facts.query(connection, table.query)["target"]) == {table.target}
        assert set(table.shown.columns[2:]) == set(NAMES[kind]["language"])
        assert set(table.shown.iloc[:, 0]) == set(NAMES[kind]["model"])


def _verdicts(report: Report):
    groups, card = tuple(found.group for found in report.groups), report.card
    tested = hypotheses.tested(groups, card.hypotheses, card.control, card.analysis)
    return (*tested, *hypotheses.claimed(groups, card.claims))


def test_scores_of_more_families_than_there_are_colours_are_drawn(tmp_path):
    names = {**PLAIN, "model": [f"m{i}" for i in range(12)]}
    path = study(tmp_path, names, treated=False)
    table = tmp_path / "t.csv"
    table.write_text(re.sub(r"(?m)^m(\d+),\d+,f", r"m\1,\g<1>000000000,f\1", table.read_text().replace("m0,", "m12,")))
    assert "curve" in reported(path).figures


def test_dollar_signs_are_no_mathematics_and_every_name_is_in_the_legend():
    assert plots.STYLE["text.parse_math"] is False
    from matplotlib.figure import Figure

    with mpl.rc_context(plots.STYLE), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure()
        axis = figure.subplots()
        axis.plot([1, 2], label=plots._label("_$\\frac{"))
        axis.plot([2, 1], label=plots._label("other"))
        plots._legend(figure, [axis], across=1)
        plots.svg(figure)
        assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_$\\frac{", "other"]


HIDDEN = ["a\nb", "a\u202eb", "a\u2028b", "a\u200bb", "a\xa0b", "a\x1b[31mb", "a\tb", "x" * 201]


@pytest.mark.parametrize("name", HIDDEN, ids=ascii)
@pytest.mark.parametrize("axis", PLAIN)
def test_names_that_nobody_can_read_are_found(tmp_path, axis, name):
    with pytest.raises(BadInput) as error:
        read_manifest(study(tmp_path, {**PLAIN, axis: [name, *PLAIN[axis][1:]]}))
    found = [finding for finding in error.value.findings if finding.code == "E523"]
    assert found and f"column '{axis}': a name that" in found[0].message


@pytest.mark.parametrize("name", ["all", "mean"])
def test_the_tables_own_words_are_no_names_of_treatments(tmp_path, name):
    with pytest.raises(BadInput, match=f"E230 '{name}' is what the tables call"):
        read_manifest(study(tmp_path, {**PLAIN, "intermediate": [name, "i2"]}))


def test_files_are_called_by_names_that_every_system_takes():
    names = ["xnli", "XNLI", "a/b", "a:b", "../x", "x" * 300, "模型", "", ".", "con", "paws-x"]
    found = slugs(names)
    assert found["paws-x"] == "paws-x" and len({text.casefold() for text in found.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) for text in found.values())


@pytest.mark.parametrize("name", ["a | b", "a minus b", "x at params = 1e9", "x is largest", "it's", 'a "b"', "a > 0", "\\"])
def test_names_in_quotes_are_no_words_of_an_estimand(name):
    one = estimands.parse(f"gain | intermediate == {name!r} minus gain | intermediate == 'other' at params = 1e9")
    assert one.first.condition == f"intermediate == {name!r}" and one.second.params == 1e9
    said = hypotheses.read_test(f"gain | intermediate == {name!r} within [-1, 2]")
    assert said.bounds == (-1, 2) and said.estimand.first.condition == f"intermediate == {name!r}"
    assert hypotheses.read_test(f"gain | intermediate == {name!r} is smallest").sign == -1
    assert hypotheses.read_test(f"slope | intermediate == {name!r} < -0.5").than == -0.5
