"""Tables of scores: what is wrong with one is a finding with its row and column, before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tabled import HEAD, MANIFEST, Rows, table, text_of

from xlift import studies
from xlift.analysis import facts
from xlift.analysis.study.primary import default
from xlift.registry.findings import BadInput, UserError
from xlift.registry.kept import NotRead
from xlift.registry.manifest.load import load, read_manifest
from xlift.registry.manifest.templates import of_table
from xlift.registry.store import Store
from xlift.registry.table import TableStudy, read_csv


def chains(card) -> set[tuple[tuple[str, str], ...]]:
    """Of every evaluation: kinds and tasks, the first of a chain first."""
    stages, found = {stage.id: stage for stage in card.stages}, set()
    for stage in card.stages:
        chain = [stage]
        while chain[0].parent:
            chain.insert(0, stages[chain[0].parent])
        found |= {tuple((each.kind, each.task) for each in chain)} if stage.kind == "evaluate" else set()
    return found


def test_rows_become_runs_of_the_shape_of_our_own(made):
    study = made()
    card = study.card()
    assert (("train", "mnli"), ("train", "mnli"), ("evaluate", "xnli")) in chains(card)  # XNLI trains on MNLI, as is known
    assert (("train", "mnli"), ("train", "mine"), ("evaluate", "mine")) in chains(card)  # and a task of one's own on itself
    assert {cell.same_task for cell in card.cells if cell.target == "xnli" and cell.intermediate == "mnli"} == {True}
    assert {stage.source for stage in card.stages} == {"published"}
    columns = study.columns()
    assert columns["se"] == pytest.approx([(score * (1 - score) / 500) ** 0.5 for score in columns["score"]])


def imported(study: TableStudy, store: Store) -> list[float]:
    """What a store tells of a study after its import, sorted."""
    studies.imported(study, store)
    return sorted(facts.query(facts.connect(store, [study.card()]), "SELECT score FROM scores")["score"])


def test_importing_twice_changes_nothing_and_another_value_is_another_table(made, tmp_path):
    store, rows = Store(tmp_path / "store"), table()
    assert studies.imported(made(rows), store)
    files = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert len(files) == 2 and not studies.imported(made(rows), store)
    assert files == {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert made(list(reversed(rows))).digest == made(rows).digest
    old = made(rows)
    rows[0]["score"] = "0.1234"
    new = made(rows)
    assert not {stage.id for stage in new.card().stages} & {stage.id for stage in old.card().stages}
    assert 0.1234 in imported(new, store) and 0.1234 not in imported(old, store)


def test_two_tables_with_the_same_names_share_no_run(made, tmp_path):  # review A2.8
    store, rows = Store(tmp_path / "store"), table()
    march = made(rows)
    june = made([{**row, "score": f"{1 - float(row['score']):.4f}"} for row in rows], MANIFEST.replace("told", "june"))
    then = imported(march, store)
    assert imported(june, store) == pytest.approx([1 - score for score in reversed(then)])
    both = facts.query(facts.connect(store, store.cards()), "SELECT study, score FROM scores")
    assert sorted(both[both["study"] == "told"]["score"]) == then


def test_a_table_that_is_damaged_or_gone_is_said_and_imported_again(made, tmp_path):
    store, study = Store(tmp_path / "store"), made()
    whole = imported(study, store)
    path = store.table(study.digest)
    for harm in (lambda data: data[:-20], lambda data: b"", lambda data: data[:300] + b"\xff" * 40 + data[340:]):
        path.write_bytes(harm(path.read_bytes()))
        with pytest.warns(NotRead, match="import the table again"):
            lost = facts.connect(store, [study.card()])
        assert facts.query(lost, "SELECT * FROM scores").empty
        assert "import it again" in facts.query(lost, "SELECT reason FROM missing")["reason"][0]
        with pytest.warns(NotRead):
            assert imported(study, store) == whole
    for told in (b"no json", b"[]"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"xlift": told}), path)
        with pytest.warns(NotRead, match="import the table again"):
            assert facts.query(facts.connect(store, [study.card()]), "SELECT * FROM scores").empty
        with pytest.warns(NotRead):
            assert imported(study, store) == whole
    path.unlink()
    assert imported(study, store) == whole


def test_what_is_not_trained_has_no_run_of_its_target(made):
    study = made(manifest=MANIFEST + "tasks: {xnli: {trained: false}, mine: {trained: false}}\n")
    assert all(cell.prompted for cell in study.card().cells)
    assert {len(chain) for chain in chains(study.card())} == {1, 2}


def test_a_baseline_that_is_not_trained_stands_at_every_seed(made):
    rows = [row for row in table() if row["intermediate"] == "mnli" or row["seed"] == "1"]
    study = made(rows, MANIFEST + "tasks: {xnli: {trained: false}, mine: {trained: false}}\n")
    assert not study.warnings
    gains = facts.query(facts.connect(None, [study.card()]), "SELECT * FROM planned")
    assert len(gains) == 32 and gains.groupby(["model", "target", "language"])["baseline_stage"].nunique().max() == 1
    trained = made(rows)  # a trained baseline is a run of its seed
    assert len(facts.query(facts.connect(None, [trained.card()]), "SELECT * FROM planned")) == 16
    assert {finding.code for finding in trained.warnings} == {"W531"}


def test_percent_where_and_another_metric(made):
    rows = [{**row, "score": str(100 * float(row["score"]))} for row in table()]
    rows += [{**row, "metric": "f1"} for row in rows]
    manifest = MANIFEST.replace("  columns", "  unit: percent\n  where: \"seed < 2 and language != 'sw'\"\n  columns")
    study = made(rows, manifest + "tasks: {mine: {metric: f1}}\n")
    assert {row.seed for row in study.rows} == {1} and {row.language for row in study.rows} == {"de"}
    assert study.card().outcomes == {"xnli": "accuracy", "mine": "f1"}
    assert max(row.score for row in study.rows) < 1


def test_origins_are_mixed_only_where_the_manifest_says_so_and_then_are_a_factor(made, tmp_path):
    rows = [{**row, "origin": "published" if row["model"] in "ab" else "own"} for row in table()]
    with pytest.raises(BadInput, match="E534 this row is own, and line 2 is published"):
        made(rows)
    study = made(rows, MANIFEST.replace("origin: published", "mixed: true"))
    gains = facts.query(facts.connect(None, [study.card()]), "SELECT * FROM planned")
    assert len(gains) == 32 and set(gains["origin"]) == {"own", "published"}
    assert "+ family + origin" in default(gains) and "origin" not in default(gains[gains["origin"] == "own"])
    rows = [{**row, "origin": "published" if row["intermediate"] == "none" else "own"} for row in table()]
    with pytest.raises(BadInput, match="E531"):  # a gain has one origin
        made(rows, MANIFEST.replace("origin: published", "mixed: true"))


def test_a_table_is_not_run(made, tmp_path):
    made()
    with pytest.raises(UserError, match="nothing to run"):
        load(tmp_path / "study.yaml")


def test_a_manifest_to_start_from_is_complete_where_names_are_plain(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text_of(table()), encoding="utf-8")
    (tmp_path / "study.yaml").write_text(of_table(read_csv(path), path, tmp_path / "study.yaml"), encoding="utf-8")
    assert isinstance(read_manifest(tmp_path / "study.yaml"), TableStudy)


WRONG = {  # column -> texts that it cannot hold
    "model": [""],
    "size": ["", "big", "0", "-3", "1.5", "nan", "inf", "1e", "7B"],
    "target": ["", " "],
    "language": ["", "  ", "zh\u200bcn", "zh\x1b[31m", "x" * 201],
    "seed": ["x", "-1", "0.5", "nan", "one", "1/2"],
    "score": ["", "x", "83", "-0.1", "1.01", "nan", "inf", "0,8", "83.1%", "--", "n/a", "1e9"],
    "items": ["0", "-5", "many", "10.5", "nan", "1,000", "1e19"],
}
CELLS = [(column, text, row) for column, texts in WRONG.items() for text in texts for row in (0, 33)]


@pytest.mark.parametrize(("column", "text", "row"), CELLS)
def test_a_wrong_value_is_found_with_its_row_and_column(made, tmp_path, column, text, row):
    rows = table()
    rows[row][column] = text
    with pytest.raises(BadInput) as error:
        made(rows)
    wanted = f"column '{column}'"
    (found,) = [finding for finding in error.value.findings if wanted in finding.message]
    assert found.place.line == row + 2 and found.place.file.endswith("scores.csv") and found.hint
    assert not (tmp_path / "store").exists()


def changed(change: Callable[[Rows], object]) -> str:
    rows = table()
    other = change(rows)
    return text_of(other if isinstance(other, list) else rows)


def without(column: str) -> str:
    return changed(lambda rows: [{name: text for name, text in row.items() if name != column} for row in rows])


TABLES = {  # table -> code and line of a finding; None: of the manifest
    "a model with two sizes": (changed(lambda rows: rows[5].update(size="7")), "E526", 7),
    "a model with two families": (changed(lambda rows: rows[9].update(family="g")), "E526", 11),
    "a row twice": (changed(lambda rows: rows.append(dict(rows[3]))), "E527", 66),
    "a row twice with another score": (changed(lambda rows: rows.append({**rows[3], "score": "0.5"})), "E527", 66),
    "two sources for a score": (changed(lambda rows: rows.append({**rows[3], "source": "B"})), "E527", 66),
    "two protocols for a score": (changed(lambda rows: rows.append({**rows[0], "protocol": "train"})), "E528", 66),
    "protocols mixed": (changed(lambda rows: rows[20].update(protocol="translate-train")), "E528", 22),
    "seeds lost": (changed(lambda rows: [row.update(seed="1") for row in rows] and None), "E527", 3),
    "no baseline at all": (
        changed(lambda rows: [row.update(intermediate="mnli", seed=str(i)) for i, row in enumerate(rows)] and None),
        "E531",
        2,
    ),
    "another word for none": (
        changed(lambda rows: [row.update(intermediate=row["intermediate"].replace("none", "base")) for row in rows] and None),
        "E531",
        2,
    ),
    "a baseline lost": (changed(lambda rows: rows.pop(0) and None), "W531", 9),
    "another source for a baseline": (
        changed(lambda rows: [row.update(source="B") for row in rows if row["intermediate"] == "none"] and None),
        "W532",
        10,
    ),
    "two sources for a run": (changed(lambda rows: rows[2].update(source="B")), "E532", 4),
    "other items": (changed(lambda rows: rows[0].update(items="99")), "W533", 10),
    "no rows": (",".join(HEAD) + "\n", "E529", None),
    "nothing": ("", "E522", None),
    "no head": ("\n".join(text_of(table()).splitlines()[1:]) + "\n", "E521", None),
    "a field too many": (text_of(table()).replace("A 2020\n", "A 2020,x\n", 1), "E520", None),
    "a field too few": (text_of(table()).replace(",A 2020\n", "\n", 1), "E520", None),
    "an open quote": (text_of(table()) + '"a', "E520", None),
    "a column twice": (text_of(table()).replace("source\n", "model\n", 1), "E520", None),
    "two metrics": (changed(lambda rows: rows + [{**row, "metric": "f1"} for row in rows]), "E525", None),
    **{
        f"no {column}": (without(column), "E521" if column == "size" else "E522", None)
        for column in ("model", "size", "target", "language", "score")
    },
    "no metric": (without("metric"), "E525", None),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_found_with_its_row(made, name):
    text, code, line = TABLES[name]
    if code.startswith("W"):
        found = made(text).warnings
    else:
        with pytest.raises(BadInput) as error:
            made(text)
        found = error.value.findings
    mine = [finding for finding in found if finding.code == code]
    assert mine, [finding.render() for finding in found]
    assert line is None or line in {finding.place.line for finding in mine}


MANIFESTS = {  # change of the manifest -> code, and a word of the finding
    ("columns: {parameters: size}", "columns: {parameters: sise}"): ("E521", "sise"),
    ("columns: {parameters: size}", "columns: {parameters: score}"): ("E522", "the score"),
    ("columns: {parameters: size}", "columns: {}"): ("E522", "parameters"),
    ("columns: {parameters: size}", "columns: {parameters: size, items: size}"): ("E521", "size"),
    ("columns: {parameters: size}", "columns: {parameters: size, score: model}"): ("E522", "the model"),
    ("columns: {parameters: size}", "columns: {parameters: size, points: score}"): ("E103", "points"),
    ("columns: {parameters: size}", "columns: [size]"): ("E118", "list"),
    ("origin: published", "origin: paper"): ("E103", "paper"),
    ("origin: published", "unit: percents"): ("E103", "percents"),
    ("origin: published", "unit: percent"): ("E524", "fraction"),
    ("origin: published", "where: language = 'de'"): ("E303", "condition"),
    ("origin: published", "where: lang == 'de'"): ("E303", "lang"),
    ("origin: published", "where: language == 'fr'"): ("E303", "fr"),
    ("origin: published", "where: seed > 5"): ("E529", "no row"),
    ("origin: published", "where: available('x')"): ("E303", "cannot be answered"),
    ("origin: published", "where: seed == 'x'"): ("E303", "number"),
    ("file: scores.csv", "file: none.csv"): ("E520", "none.csv"),
    ("file: scores.csv", "file: study.yaml"): ("E520", ".csv"),
    ("  file: scores.csv\n", ""): ("E102", "file"),
    ("analysis: {x: params_total}", "analysis: {}"): ("E530", "embeddings"),
    ("analysis: {x: params_total}", "analysis: {x: params_total, gain: {baseline: {intermediate: qqp}}}"): ("E531", "baseline"),
    ("analysis: {x: params_total}", "analysis: {x: params_total, apart: [squad]}"): ("E402", "squad"),
    ("analysis: {x: params_total}", "analysis: {x: params_total}\ntasks: {xnly: {trained: false}}"): ("E201", "xnly"),
    ("analysis: {x: params_total}", "analysis: {x: params_total}\ntasks: {xnli: {metric: f1}}"): ("E525", "f1"),
    ("analysis: {x: params_total}", "analysis: {x: params_total}\nmatrix: {}"): ("E101", "matrix"),
    ("analysis: {x: params_total}", "analysis: {x: params_total}\nhypotheses: {a: {contrast: slope}}"): ("E406", "direction"),
}


@pytest.mark.parametrize("change", MANIFESTS, ids=lambda change: change[1][:40])
def test_a_wrong_mapping_is_found_with_its_place(made, change):
    code, word = MANIFESTS[change]
    assert change[0] in MANIFEST
    with pytest.raises(BadInput) as error:
        made(manifest=MANIFEST.replace(*change))
    found = [finding for finding in error.value.findings if finding.code == code]
    assert found and any(word in f"{finding.message} {finding.hint}" for finding in found), str(error.value)


def test_there_are_a_hundred_mutations():
    assert len(CELLS) + len(TABLES) + len(MANIFESTS) >= 100


def paired(study: TableStudy, folder: Path):
    """The gains of a table."""
    store = Store(folder / "store")
    studies.imported(study, store)
    return facts.query(facts.connect(store, [study.card()]), "SELECT * FROM gains ORDER BY ALL")


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("wer", -1), ("test_perplexity", -1), ("matthews_correlation", 1)])
def test_a_gain_is_what_was_added_or_of_an_error_rate_what_was_taken_away(made, tmp_path, metric, sign):
    study = made([{**row, "metric": metric} for row in table()])
    found = paired(study, tmp_path)
    assert not study.warnings and (found["gain"] == sign * (found["score"] - found["baseline"])).all()
    assert set(found["better"]) == {"lower" if sign < 0 else "higher"}


def test_a_metric_of_one_s_own_is_declared_and_an_unknown_one_is_said(made, tmp_path):
    rows = [{**row, "metric": "tone_errors"} for row in table()]
    unknown = made(rows)
    assert [finding.code for finding in unknown.warnings] == ["W537"]
    own = made(
        [{**row, "score": str(3 * float(row["score"]))} for row in rows],
        MANIFEST + "metrics: {tone_errors: {better: lower, range: [0, null]}}\n",
    )
    assert not own.warnings and own.card().lower == ("tone_errors",)
    with pytest.raises(BadInput, match="E538 accuracy is known to lie within 0 and 1"):
        made(manifest=MANIFEST + "metrics: {accuracy: {range: [0, 100]}}\n")
    with pytest.raises(BadInput, match="E538 the table has no metric 'tone_error'"):
        made(rows, MANIFEST + "metrics: {tone_error: {better: lower}}\n")


@pytest.mark.parametrize(
    ("metric", "score", "unit", "stops"),
    [
        ("accuracy", "-0.1", "fraction", True),
        ("mcc", "-0.1", "fraction", False),
        ("mcc", "-1.1", "fraction", True),
        ("mcc", "-40", "percent", False),
        ("wer", "1.7", "fraction", False),
        ("wer", "-0.1", "fraction", True),
        ("bleu", "34.1", "fraction", True),
        ("bleu", "34.1", "percent", False),
    ],
)
def test_a_score_lies_where_its_metric_can(made, metric, score, unit, stops):
    rows = [{**row, "metric": metric} for row in table()]
    if unit == "percent":
        rows = [{**row, "score": str(100 * float(row["score"]))} for row in rows]
    rows[3]["score"] = score
    manifest = MANIFEST.replace("  columns", f"  unit: {unit}\n  columns")
    if not stops:
        assert min(row.score for row in made(rows, manifest).rows) <= 1.7
        return
    with pytest.raises(BadInput, match=rf"scores.csv:5:\d+: E524 column 'score': a score of {score}"):
        made(rows, manifest)


@pytest.mark.parametrize("name", ["en", "EN", "eng", "eng-Latn", "eng_Latn", "en-US", "en_GB", "English"])
def test_the_source_language_is_known_by_any_of_its_names(made, tmp_path, name):
    rows = [{**row, "language": {"de": name}.get(row["language"], row["language"])} for row in table()]
    study = made(rows)
    assert set(paired(study, tmp_path)["language"]) == {"sw"}
    assert [finding.code for finding in study.warnings] == ([] if name == "en" else ["W535"])
    assert not made(rows, MANIFEST.replace("  columns", f"  language: {name}\n  columns")).warnings


def test_languages_that_look_alike_are_said_and_others_are_not(made):
    def warned(one, other):
        names = {"de": one, "sw": other}
        return [finding.code for finding in made([{**row, "language": names[row["language"]]} for row in table()]).warnings]

    assert warned("de", "deu") == warned("swa", "swh-Latn") == ["W536"]
    assert warned("zh-Hans", "zh-Hant") == warned("de", "nl") == warned("al1", "bo1") == []


def test_models_that_began_with_the_same_weights_are_on_the_card(made):
    study = made([{**row, "continues": "a" if row["model"] == "b" else ""} for row in table()])
    assert study.card().lineages == (("b", "a"),)


KNOWN = MANIFEST.replace("analysis: {x", "analysis: {sampling: known, x")


def sampled(se: str = "0.01") -> Rows:
    return [{**row, "gain_se": "" if row["intermediate"] == "none" else se} for row in table()]


def test_known_standard_errors_of_gains_come_in_and_are_in_its_unit(made, tmp_path):
    for manifest, rows in ((KNOWN, sampled()), (KNOWN.replace("data:", "data:\n  units: {gain_se: percent}"), sampled("1"))):
        study, store = made(rows, manifest), Store(tmp_path / "store")
        studies.imported(study, store)
        gains = facts.query(facts.connect(store, [study.card()]), "SELECT gain_se FROM gains")["gain_se"]
        assert len(gains) == 32 and gains.to_numpy() == pytest.approx(0.01)
    assert made(table()).digest != made(sampled()).digest


def test_scores_on_development_data_come_in_and_are_no_scores_of_the_study(made, tmp_path):
    rows = [{**row, "dev_score": "81.5"} for row in table()]
    study, store = made(rows, MANIFEST.replace("data:", "data:\n  units: {dev_score: percent}")), Store(tmp_path / "store")
    studies.imported(study, store)
    gains = facts.query(facts.connect(store, [study.card()]), "SELECT dev_score, score, gain FROM gains")
    assert gains["dev_score"].to_numpy() == pytest.approx(0.815) and (gains["score"] != 0.815).all()
    with pytest.raises(BadInput) as raised:
        made(rows)
    assert {finding.code for finding in raised.value.findings} == {"E524"}


@pytest.mark.parametrize("wrong", ["", "0"])
def test_a_gain_whose_known_variance_is_not_there_is_refused(made, wrong):
    rows = sampled()
    at = next(i for i, row in enumerate(rows) if row["intermediate"] != "none")
    rows[at]["gain_se"] = wrong
    with pytest.raises(BadInput) as raised:
        made(rows, KNOWN)
    (said,) = raised.value.findings
    assert said.code == "E543" and said.place.line == at + 2
    assert made(rows)  # of an estimated variance nothing is asked


def test_a_table_that_was_kept_before_there_were_such_errors_is_read(made, tmp_path):
    study, store = made(), Store(tmp_path / "store")
    studies.imported(study, store)
    (path,) = (tmp_path / "store").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["gain_se", "dev_score"]), path)
    assert len(facts.query(facts.connect(store, [study.card()]), "SELECT * FROM gains")) == 32
