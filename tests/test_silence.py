"""Silence is not absence: what was seen, what has changed, what is read by nothing and what is the same file is said."""

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from xlift import studies
from xlift.cli import app
from xlift.registry.changes import changes
from xlift.registry.findings import BadInput, UserError
from xlift.registry.kinds import KINDS
from xlift.registry.manifest.load import load
from xlift.registry.score import Score
from xlift.registry.store import Store, part_name

STUDY = """\
schema: xlift/1
id: own
question: Does it help?
data: {source: local}
models: [{id: tiny, family: ours, make: {layers: 1, hidden: 32, heads: 2}}]
pretrain: {corpus: text, languages: [en]}
recipe: {lr: 1e-3, steps: 4}
tasks:
  text: {kind: mlm}
  words: {kind: pair, labels: [no, yes]}
  mine: {kind: pair, labels: [no, yes], languages: [en, de]}
hypotheses:
  falls: {contrast: "gain | intermediate == 'words'", direction: negative}
matrix: {intermediate: [none, words], target: [mine], seed: {count: 1, from: 1}}
"""
TABLE = (
    STUDY[: STUDY.index("data:")].replace("id: own", "id: told")
    + "data: {source: table, file: scores.csv}\nanalysis: {x: params_total}\n"
)


def rows(salt: str, count: int = 12) -> str:
    return "".join(f'{{"first": "{salt} {at}", "second": "b", "label": "{("no", "yes")[at % 2]}"}}\n' for at in range(count))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    put(tmp_path, "words/train.en", rows("w"))
    put(tmp_path, "text/train.en", '{"text": "some words"}\n' * 9)
    for name in ("train.en", "test.en", "test.de"):
        put(tmp_path, f"mine/{name}", rows(name))
    return tmp_path


def put(folder, name, text):
    (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "data" / f"{name}.jsonl").write_text(text)


def finish(store, plan):
    """The evaluations of a plan, with made-up scores: what is read here is that they are there."""
    for step in plan.steps:
        if step.stage.kind == "evaluate":
            with store.lease(step.stage) as lease:
                names = []
                for language, mark in step.tests.items():
                    name = part_name(language, mark).replace(".jsonl", f".{lease.number}.jsonl")
                    score = Score(
                        language=language, metric="accuracy", value=0.5, chance=0.5, se=0.1, items=12, primary=True, data=mark
                    )
                    (store.folder(step.stage.id) / "scores").mkdir(exist_ok=True)
                    (store.folder(step.stage.id) / name).write_text(score.model_dump_json() + "\n")
                    names.append(name)
                store.commit(lease, names, started=datetime.now(UTC), host="here", versions={})
    store.save_card(plan.card())


def told(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def registered(folder, text=STUDY):
    (folder / "study.yaml").write_text(text)
    return studies.register(load(folder / "study.yaml"), Store(folder / "store"), folder / "data")


# What was seen


@pytest.mark.parametrize("verb", ["register", "why"])
def test_where_ids_rest_on_data_what_was_seen_is_not_guessed_without_them(folder, verb):
    finish(Store(folder / "store"), studies.planned(folder / "study.yaml", folder / "data"))
    refused = told(verb, "study.yaml").exception
    assert isinstance(refused, UserError) and "ids of a local study rest on its data: give --data DIR" in str(refused)
    assert "without --data DIR no state is known" in told("plan", "study.yaml").stderr
    assert "exploratory: 2 evaluations had scores" in told("register", "study.yaml", "--data", "data").stdout


def test_a_registration_before_the_first_score_is_confirmatory(folder):
    made = registered(folder)
    assert made.confirmatory and made.twins == 0


@pytest.mark.parametrize("change", [("lr: 1e-3", "lr: 2e-3"), ("from: 1", "from: 7"), ("id: own", "id: other")])
def test_scores_of_the_same_models_on_the_same_targets_by_another_recipe_are_told(folder, change):
    finish(Store(folder / "store"), studies.planned(folder / "study.yaml", folder / "data"))
    text = STUDY.replace(*change)
    made = registered(folder, text)
    same = change[0] == "id: own"  # the same stages under another study: they are its own scores
    assert (made.scored, made.twins) == ((2, 0) if same else (0, 2))
    assert made.confirmatory != same


def test_a_table_s_scores_count_as_seen_before_it_is_imported_and_in_other_studies(folder):
    lines = ["model,parameters,family,target,language,intermediate,seed,metric,score"]
    lines += [
        f"{model},{size},ours,mine,{language},{treatment},1,accuracy,{0.4 + size / 1e11:.4f}"
        for model, size in (("tiny", 278_000_000), ("more", 560_000_000), ("most", 3_480_000_000), ("all", 10_700_000_000))
        for language in ("de", "fr")
        for treatment in ("none", "words")
    ]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    (folder / "told.yaml").write_text(TABLE)
    made = told("register", "told.yaml")
    assert "exploratory: 8 evaluations had scores" in made.stdout, made.output
    assert told("import", "scores.csv", "told.yaml").exit_code == 0
    assert registered(folder).twins == 2  # tiny on mine, with and without words


def test_the_report_says_that_near_twins_had_scores(folder):
    finish(Store(folder / "store"), studies.planned(folder / "study.yaml", folder / "data"))
    registered(folder, STUDY.replace("lr: 1e-3", "lr: 2e-3"))
    found = studies.read(load(folder / "study.yaml"), folder / "store", folder / "data")
    notes = studies.report_of(found.card, found.store).notes
    assert any("2 evaluations of the same models on the same targets" in note.text for note in notes)


# What has changed

EDITS = {
    "target": (
        "intermediate: [none, words]",
        "intermediate: [none, words, mine]",
        'matrix.intermediate: ["none", "words"] then, ["none", "words", "mine"] now',
    ),
    "lr": ("lr: 1e-3", "lr: 2e-3", "recipe.lr: 0.001 then, 0.002 now"),
    "hypothesis": ("direction: negative", "direction: positive", "hypotheses.falls.direction: negative then, positive now"),
    "model": ("hidden: 32", "hidden: 64", "models.tiny.make.hidden: 32 then, 64 now"),
    "control": ("hypotheses:", "control: none\nhypotheses:", "control: nothing then, none now"),
}


@pytest.mark.parametrize(("old", "new", "said"), EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("data", [None, "data"])
def test_what_the_manifest_says_otherwise_than_when_it_was_run_is_on_the_page_and_on_standard_error(
    folder, old, new, said, data, capsys
):
    finish(Store(folder / "store"), studies.planned(folder / "study.yaml", folder / "data"))
    found = studies.read(load(folder / "study.yaml"), folder / "store", None)
    assert found.changed == () and "has changed" not in capsys.readouterr().err
    (folder / "study.yaml").write_text(STUDY.replace(old, new))
    found = studies.read(load(folder / "study.yaml"), folder / "store", data and folder / data)
    assert f"own has changed since it was run: {said}" in capsys.readouterr().err
    page = studies.report_of(found.card, found.store, found.changed)
    assert any(said in note.text for note in page.notes)


def test_a_manifest_laid_over_another_that_says_the_same_has_not_changed(folder):
    card = studies.planned(folder / "study.yaml", folder / "data").card()
    (folder / "base.yaml").write_text(STUDY)
    (folder / "study.yaml").write_text("schema: xlift/1\nid: own\nextends: [base.yaml]\n")
    assert changes(card, studies.planned(folder / "study.yaml", folder / "data").card()) == ()


def test_a_section_that_is_added_is_told_by_its_fields_alone(folder):
    card = studies.planned(folder / "study.yaml", folder / "data").card()
    (folder / "study.yaml").write_text(STUDY.replace("hypotheses:", "mlm: {share: 0.5}\nhypotheses:"))
    now = studies.planned(folder / "study.yaml", folder / "data").card()
    assert changes(card, now) == ("mlm.share: nothing then, 0.5 now",)
    assert changes(now, card) == ("mlm.share: 0.5 then, nothing now",)


def test_a_card_that_held_no_manifest_is_compared_by_what_it_says(folder):
    card = studies.planned(folder / "study.yaml", folder / "data").card()
    old = card.model_copy(update={"manifest": {}})
    assert changes(old, card) == ()
    other = card.model_copy(update={"question": "Another?", "cells": card.cells[:1]})
    assert changes(old, other) == (
        'matrix.intermediate: ["none", "words"] then, ["none"] now',
        "question: Does it help? then, Another? now",
    )


# What nothing reads

UNREAD = {
    "task": ("  text:", "  other: {kind: tag, labels: [a, b]}\n  text:", "no stage reads task 'other'"),
    "mixture": ("hypotheses:", "mixtures: {both: {of: [words, mine]}}\nhypotheses:", "no stage trains mixture 'both'"),
    "mlm": ("hypotheses:", "mlm: {share: 0.5}\nhypotheses:", "no stage reads mlm"),
    "test limit": ("words: {kind: pair,", "words: {kind: pair, limit: {test: 3},", "words is not tested, so this limits nothing"),
    "scoring": ("words: {kind: pair,", "words: {kind: pair, scoring: {max_length: 9},", "no stage reads its scoring"),
    "metric": ("words: {kind: pair,", "words: {kind: pair, metric: accuracy,", "no stage reads its metric"),
    "recipe": ("lr: 1e-3,", "lr: 1e-3, stride: 9,", "nothing that is trained reads stride"),
    "scorings": ("recipe:", "scoring: {prefix: x}\nrecipe:", "nothing that is tested reads prefix"),
    "a model's scoring": ("family: ours,", "family: ours, scoring: {layer: 1},", "nothing that is tested reads layer"),
    "pretraining's recipe": ("languages: [en]}", "languages: [en], recipe: {stride: 9}}", "nothing that is trained reads stride"),
    "languages": ("recipe:", "languages: [de, hi]\nrecipe:", "no target is tested in hi"),
}


@pytest.mark.parametrize(("old", "new", "said"), UNREAD.values(), ids=UNREAD)
def test_a_setting_that_no_stage_reads_is_told_at_its_place(folder, old, new, said):
    assert STUDY.count(old) == 1
    (folder / "study.yaml").write_text(STUDY.replace(old, new))
    warnings = [finding for finding in load(folder / "study.yaml").warnings if finding.code == "W307"]
    assert len(warnings) == 1 and said in warnings[0].message
    line = (folder / "study.yaml").read_text().split("\n")[warnings[0].place.line - 1]
    assert line not in STUDY.split("\n")  # the line that was changed


@pytest.mark.parametrize("setting", ["recipe: {batch: 2}", "limit: {train: 9}"])
def test_a_recipe_or_limit_stands_where_the_training_is(folder, setting):
    """XNLI trains on MNLI: what stands at xnli is read by nothing, what stands at mnli is."""
    text = STUDY.replace("target: [mine]", "target: [xnli, mine]")
    for name, count in (("xnli", 1), ("mnli", 0)):
        (folder / "study.yaml").write_text(text.replace("  text:", f"  {name}: {{{setting}}}\n  text:"))
        warnings = [finding for finding in load(folder / "study.yaml").warnings if finding.code == "W307"]
        assert len(warnings) == count and all("mnli" in finding.hint for finding in warnings)


def test_the_recipe_of_a_task_within_a_mixture_is_not_read_and_its_limit_is(folder):
    text = STUDY.replace("hypotheses:", "mixtures: {both: {of: [words, mine]}}\nhypotheses:").replace(
        "[none, words]", "[none, both]"
    )
    text = text[: text.index("hypotheses:")] + text[text.index("matrix:") :]
    (folder / "study.yaml").write_text(
        text.replace("words: {kind: pair,", "words: {kind: pair, recipe: {batch: 2}, limit: {train: 4},")
    )
    (warning,) = [finding for finding in load(folder / "study.yaml").warnings if finding.code == "W307"]
    assert "nothing is trained by the recipe of words" in warning.message and "trained within both" in warning.hint


def test_the_common_recipe_is_not_that_of_pretraining(folder):
    retrieval = STUDY.replace("[none, words]", "[none]").replace("target: [mine]", "target: [tatoeba]")
    retrieval = retrieval[: retrieval.index("hypotheses:")] + retrieval[retrieval.index("matrix:") :]
    (folder / "study.yaml").write_text(retrieval)
    said = [finding.message for finding in load(folder / "study.yaml").warnings if finding.code == "W307"]
    assert "nothing is trained by it: pretraining has a recipe of its own" in said


def test_what_is_read_is_asked_of_whole_manifests_whose_names_stand_for_something(folder):
    """A slip elsewhere takes what stands beside it for unread no more; a name in a rule that stands for nothing is its own finding."""
    rule = STUDY.replace("from: 1}}", "from: 1}, include: [{target: [mien], why: x}]}")
    slip = STUDY.replace("target: [mine]", "variant: [plain, mlmm], target: [mine]") + "mlm: {share: 0.5}\n"
    for text, code in ((rule, "E201"), (slip, "E103")):
        (folder / "study.yaml").write_text(text)
        with pytest.raises(BadInput) as caught:
            load(folder / "study.yaml")
        assert [finding.code for finding in caught.value.findings] == [code]


def test_a_target_in_none_of_the_languages_is_an_error(folder):
    (folder / "study.yaml").write_text(STUDY.replace("recipe:", "languages: [hi]\nrecipe:"))
    with pytest.raises(BadInput, match="E308 mine is tested in none of the study's languages; it has en, de"):
        load(folder / "study.yaml")


def test_nothing_is_said_of_what_is_read(folder):
    assert [finding.code for finding in load(folder / "study.yaml").warnings] == []
    tuned = STUDY.replace("matrix:", "tuning: {trials: 2, space: {lr: [1e-3, 2e-3]}}\nmatrix:")
    tuned = tuned.replace("words: {kind: pair,", "words: {kind: pair, limit: {test: 3}, scoring: {max_length: 9},")
    (folder / "study.yaml").write_text(tuned)
    assert "W307" not in [finding.code for finding in load(folder / "study.yaml").warnings]


# What is one file


def found(folder):
    try:
        said = []
        studies.plan_of(load(folder / "study.yaml"), folder / "data", said)
        return [(finding.code, finding.message) for finding in said]
    except BadInput as error:
        return [(finding.code, finding.message) for finding in error.findings]


def test_equal_training_data_are_the_same_task(folder):
    plan = studies.planned(folder / "study.yaml", folder / "data")
    assert not any(cell.same_task for cell in plan.cells)
    put(folder, "words/train.en", rows("train.en"))
    plan = studies.planned(folder / "study.yaml", folder / "data")
    assert [cell.same_task for cell in plan.cells] == [False, True]
    assert ("W318", "words and mine have the same training data; cells with both count as same-task") in found(folder) or (
        "W318",
        "mine and words have the same training data; cells with both count as same-task",
    ) in found(folder)


@pytest.mark.parametrize(
    ("name", "salt", "said"),
    [
        ("mine/test.de", "train.en", "the test data of mine in de are the training data of mine"),
        ("mine/test.en", "w", "the test data of mine in en are the training data of words"),
        ("mine/test.de", "test.en", "the test data of mine in en and de are the same file"),
    ],
)
def test_tests_that_are_trained_on_or_stand_twice_are_refused(folder, name, salt, said):
    assert not [code for code, _ in found(folder) if code.endswith(("18", "19"))]
    put(folder, name, rows(salt))
    assert ("E318", said) in found(folder)


def test_equal_tests_of_two_targets_are_told(folder):
    text = STUDY.replace("  text:", "  twin: {kind: pair, labels: [no, yes], languages: [de], trains_on: words}\n  text:")
    (folder / "study.yaml").write_text(text.replace("target: [mine]", "target: [mine, twin]"))
    put(folder, "twin/test.de", rows("test.de"))
    assert [code for code, message in found(folder) if "count twice" in message] == ["W319"]


# Tags


@pytest.mark.parametrize(
    ("labels", "metrics"),
    [
        ("O B-PER I-PER", ("entity_f1", "accuracy")),
        ("NOUN VERB X", ("f1_xtreme", "accuracy")),
        ("NN . , VBZ", ("f1_xtreme", "accuracy")),
        ("O B-PER I-PER E-PER S-PER", ("accuracy",)),
        ("O B-PER I-PER L-PER U-PER", ("accuracy",)),
        ("O B_PER I_PER", ("accuracy",)),
        ("O PER-B PER-I", ("accuracy",)),
        ("0 1 2", ("accuracy",)),
        ("0 B-PER 2", ("accuracy",)),
    ],
)
def test_xtreme_s_f1_is_for_bare_tags_alone(labels, metrics):
    assert KINDS["tag"].computed(tuple(labels.split())) == metrics
