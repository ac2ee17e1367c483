"""What a set of examples must be is found before a run, with its place (review B5)."""

import json
from pathlib import Path

import pytest

from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.runners import nets
from xlift.runners.data import held_out, preflight
from xlift.runners.data.preflight import look
from xlift.runners.kinds import tokens
from xlift.runners.kinds.pair import Pair

STUDY = """\
schema: xlift/1
id: sets
question: q
data: {{source: local}}
models: [{{id: tiny, make: {{layers: 1, hidden: 32, heads: 2}}}}]
pretrain: {{corpus: text, languages: [en]}}
tasks:
  {task}: {{{about}}}
  text: {{kind: mlm, files: "text.{{language}}.jsonl"}}
matrix: {{intermediate: [none], target: [{task}], seed: {{count: 1, from: 1}}}}
"""


def found(folder: Path, files: dict[str, list[dict]], task: str, about: str = "", more: str = ""):
    """The findings of a study with these files."""
    (folder / "data" / task).mkdir(parents=True, exist_ok=True)
    (folder / "data" / "text.en.jsonl").write_text('{"text": "a b"}\n{"text": "c d"}\n')
    for name, rows in files.items():
        (folder / "data" / task / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "study.yaml").write_text(STUDY.format(task=task, about=about) + more)
    study = load(folder / "study.yaml")
    sources = Inputs(study, folder / "data")
    return look(expand(study, sources), sources)


def choices(*counts: int, label: int = 0, **more: str) -> list[dict]:
    return [{"choices": [f"c{i}" for i in range(count)], "label": (label + at) % 2, **more} for at, count in enumerate(counts)]


CHOICE = "kind: choice, languages: [en]"


@pytest.mark.parametrize("column", [(), ("context",), ("question",), ("stem", "context"), ("context", "question", "stem")])
def test_a_choice_task_of_one_s_own_lacks_what_it_has_not(tmp_path, column):
    rows = [{**row, **dict.fromkeys(column, "text")} for row in choices(2, 2)]
    assert not found(tmp_path, {"train.en": rows, "test.en": rows[::-1]}, "ours", CHOICE)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (choices(3, 3, 2), "item 3: 2 choices, where the first item has 3"),
        (choices(1, 2), "item 1: 1 choice, and at least two are needed"),
        ([{"choices": ["a"], "label": 0}] * 2, "item 1: 1 choice, and at least two are needed"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_choices_are_as_many_everywhere(tmp_path, rows, words, split):
    files = {"train.en": choices(2, 2), "test.en": choices(2, 2, label=1)} | {f"{split}.en": rows}
    (finding,) = found(tmp_path, files, "ours", CHOICE)
    assert finding.code == "E502" and finding.place.line == 8 and f"ours, {split} in en, {words}" in finding.message


def test_items_are_counted_as_they_stand_in_the_file_whatever_is_drawn_of_it(tmp_path):
    rows = choices(*[2] * 38, 3, 2)
    (finding,) = found(tmp_path, {"train.en": rows, "test.en": choices(2, 2)}, "ours", CHOICE + ", limit: {train: 39}")
    assert "item 39: 3 choices" in finding.message or "where the first item has 3" in finding.message


def mined(dev: bool, test: bool) -> list[dict]:
    return [
        {"text": f"{side} {split} {i}", "side": side, "split": split, "pairs": [f"p{i}"] if paired else []}
        for split, paired in (("dev", dev), ("test", test))
        for side in ("source", "pivot")
        for i in range(3)
    ]


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("test", [True, False])
def test_mining_needs_translations_to_set_its_threshold_and_to_find(tmp_path, dev, test):
    text = STUDY.replace("  {task}: {{{about}}}\n", "").replace("tasks:", "languages: [de]\ntasks:")
    (tmp_path / "data" / "bucc").mkdir(parents=True)
    rows = mined(dev, test)
    (tmp_path / "data" / "bucc" / "test.de.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "data" / "text.en.jsonl").write_text('{"text": "a b"}\n{"text": "c d"}\n')
    (tmp_path / "study.yaml").write_text(text.format(task="bucc"))
    study = load(tmp_path / "study.yaml")
    sources = Inputs(study, tmp_path / "data")
    findings = look(expand(study, sources), sources)
    split = "dev" if not dev else "test"
    wanted = [] if dev and test else [f"bucc, test in de: no two sentences of split {split} share a pair"]
    assert [finding.message.split(", so")[0] for finding in findings] == wanted


PAIR = 'kind: pair, labels: ["0", "1"], languages: [en, de]'
TUNED = "tuning: {trials: 2, space: {lr: [1.0e-3, 2.0e-3]}, roles: [target]}\n"


def pairs(count: int, labels: int = 2, mark: str = "") -> list[dict]:
    return [{"first": f"one {mark}{i}", "second": "two", "label": str(i % labels)} for i in range(count)]


def test_the_tenth_that_is_held_out_has_more_than_one_class(tmp_path):
    files = {"train.en": pairs(200), "test.en": pairs(9, mark="t"), "test.de": pairs(9, mark="d")}
    assert not found(tmp_path, files, "ours", PAIR, TUNED)
    rows = [
        {**row, "label": "0" if held_out(Pair(row["first"], row["second"], "0")) else row["label"]} for row in files["train.en"]
    ]
    (finding,) = found(tmp_path, files | {"train.en": rows}, "ours", PAIR, TUNED)
    assert "ours, held-out in en: the same label everywhere ('0')" in finding.message and "dev data" in finding.hint
    assert not found(tmp_path, files | {"train.en": rows}, "ours", PAIR)  # where nothing is held out
    (finding,) = found(tmp_path, files | {"train.en": pairs(3)}, "ours", PAIR, TUNED)
    assert finding.code == "E501" and "items" in finding.message


@pytest.mark.parametrize("least", [6, 5])
def test_models_that_are_made_here_leave_room_for_text(tmp_path, least):
    files = {"train.en": pairs(20), "test.en": pairs(9, mark="t"), "test.de": pairs(9, mark="d")}
    findings = found(tmp_path, files, "ours", PAIR, f"recipe: {{max_length: {least}}}\n")
    assert [finding.code for finding in findings] == ([] if least == 6 else ["E231"])


def test_special_tokens_are_counted_as_tokenizers_made_here_have_them():
    tokenizer = nets.train_tokenizer(["a b c", "d e f"], 100, 512)
    counts = [512 - tokens.room_for(tokenizer, pair=pair, max_length=512) for pair in (False, True)]
    assert tuple(counts) == preflight.MADE


@pytest.mark.parametrize(("code", "hint"), [("zho", "write 'zh'"), ("pt-BR", "write 'pt'"), ("hau", "known: af, ar")])
def test_a_code_of_another_language_is_not_taken_for_a_slip(tmp_path, code, hint):
    with pytest.raises(BadInput) as error:
        found(tmp_path, {}, "ours", f'kind: pair, labels: ["0", "1"], languages: [en, {code}]')
    (finding,) = error.value.findings
    assert finding.code == "E205" and finding.hint.startswith(hint)
