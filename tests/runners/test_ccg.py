"""CCGbank in its published layout, made into files of tags and labels that a manifest extends."""

import json

import pytest

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.data.ccg import convert

FIRST = (
    "ID=wsj_0201.1 PARSER=GOLD NUMPARSE=1\n"
    "(<T S[dcl] 0 2> (<T S[dcl] 1 2> (<L NP/N DT DT The NP_14/N_14>) (<T N 1 1> (<L N NN NN fox N>) ) ) "
    "(<L (S[dcl]\\NP)/NP VBZ VBZ -LRB- (S[dcl]\\NP_8)/NP_9>) (<L . . . . .>) )\n"
)
SECOND = "ID=wsj_0001.1 PARSER=GOLD NUMPARSE=1\n(<T S 0 1> (<L N/N NNP NNP Pierre N_73/N_73>) (<L N NNP NNP Vinken N>) )\n"
STUDY = """\
schema: xlift/1
id: tagged
question: Are supertags read?
extends: [data/ccg/labels.yaml]
data: {source: local}
models: [{id: tiny, make: {layers: 1, hidden: 16, heads: 2}}]
pretrain: {corpus: words, languages: [en]}
tasks: {words: {kind: mlm, files: "words.{language}.jsonl"}}
matrix: {intermediate: [none, ccg], target: [tatoeba], seed: {count: 1, from: 1}}
"""


def bank(folder):
    for section, text in (("02", FIRST), ("00", SECOND), ("23", FIRST * 5), ("01", FIRST)):
        path = folder / "data" / "AUTO" / section / f"wsj_{section}01.auto"
        path.parent.mkdir(parents=True)
        path.write_text(text)


def test_derivations_become_words_and_categories_and_a_manifest_has_their_labels(tmp_path):
    bank(tmp_path / "ccgbank_1_1")
    made = convert(tmp_path / "ccgbank_1_1", tmp_path / "data")
    assert {path.name: count for path, count in made.items()} == {"train.en.jsonl": 1, "dev.en.jsonl": 1}  # neither 01 nor 23
    (row,) = [json.loads(line) for line in (tmp_path / "data" / "ccg" / "train.en.jsonl").read_text().splitlines()]
    assert row == {"tokens": ["The", "fox", "(", "."], "tags": ["NP/N", "N", "(S[dcl]\\NP)/NP", "."]}
    (tmp_path / "study.yaml").write_text(STUDY)
    study = load(tmp_path / "study.yaml")
    task = study.facts.tasks["ccg"]
    assert set(task.labels) == {"NP/N", "N", "(S[dcl]\\NP)/NP", ".", "N/N"}
    data = Data(source="local", kind="tag", task="ccg", labels=task.labels, fields=task.fields)
    assert len(local.read(Inputs(study, tmp_path / "data").source, data, "dev", "en")[1]) == 1


def test_what_is_no_ccgbank_is_said_and_nothing_is_written(tmp_path):
    bank(tmp_path / "bank")
    (tmp_path / "bank" / "data" / "AUTO" / "02" / "wsj_0299.auto").write_text("ID=x\nnothing here\n")
    with pytest.raises(UserError, match="wsj_0299.auto:2: no word in this derivation"):
        convert(tmp_path / "bank", tmp_path / "data")
    with pytest.raises(UserError, match="nor another derivation of CCGbank"):
        convert(tmp_path / "none", tmp_path / "data")
    assert not (tmp_path / "data").exists()
