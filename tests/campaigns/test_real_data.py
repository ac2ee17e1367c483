"""Real XTREME development data: columns, labels and languages are those that the facts name, and oracles score one.

XLIFT_DATA=DIR python -m pytest tests/campaigns/test_real_data.py
"""

import gzip
import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "runners")]
import real_data
from conftest import tokenizer  # noqa: F401  (a fixture)
from test_kinds import decode, encode, planted

from xlift.registry.known.languages import LANGUAGES
from xlift.registry.known.tasks import TASKS
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data, Scoring
from xlift.runners.data import local
from xlift.runners.kinds import kind_of

DATA = real_data.data()
PATTERN = "{task}/{split}.{language}.jsonl"
FOLDERS = {
    name: "qa" if name in ("tydiqa", "xquad") else name
    for name in "xnli pawsx panx udpos tydiqa xquad xcopa tatoeba sick".split()
}


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def mini(name, folder, language, split):
    """A task's facts, 120 examples of the real data and what describes them."""
    task = TASKS[name]
    described = Data(
        source="local", kind=task.kind, task=folder, labels=task.labels, fields=task.fields, metric=task.metric, limit=120
    )
    return task, described, local.read(LocalFiles(DATA, PATTERN, {}), described, split, language)[1]


def test_every_language_of_the_data_is_known():
    found = {path.name.split(".")[1] for path in DATA.glob("*/*.jsonl.gz")}
    assert found and found <= set(LANGUAGES)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_columns_of_the_files_are_the_ones_named(name):
    task = TASKS[name]
    paths = list((DATA / FOLDERS[name]).glob("test.*.jsonl.gz"))
    assert paths
    for path in paths:
        first = rows(path)[0]
        assert {column for columns in task.fields.values() for column in columns.split()} <= set(first), path.name


@pytest.mark.parametrize("name", ["xnli", "pawsx", "sick", "panx", "udpos"])
def test_the_labels_of_the_files_are_the_ones_named(name):
    task = TASKS[name]
    column = task.fields["tags" if task.kind == "tag" else "label"]
    for path in (DATA / FOLDERS[name]).glob("*.en.jsonl.gz"):
        values = [row[column] for row in rows(path)]
        found = {tag for tags in values for tag in tags} if task.kind == "tag" else {str(value) for value in values}
        assert found == set(task.labels), path.name


@pytest.mark.parametrize("name", ["xnli", "pawsx", "panx", "udpos", "tatoeba", "xcopa"])
def test_the_languages_of_the_files_belong_to_the_task(name):
    found = {path.name.split(".")[1] for path in (DATA / FOLDERS[name]).glob("test.*.jsonl.gz")}
    assert found and found <= set(TASKS[name].languages)


@pytest.mark.parametrize(
    ("task", "languages", "items"),
    [
        ("xnli", 15, 996),
        ("pawsx", 7, 1000),
        ("panx", 18, 1000),
        ("udpos", 16, None),
        ("xquad", 12, 1190),
        ("xcopa", 12, 500),
        ("tatoeba", 29, None),
    ],
)
def test_the_data_are_read_in_every_language(task, languages, items):
    facts, folder = TASKS[task], "qa" if task == "xquad" else task
    described = Data(source="local", kind=facts.kind, task=folder, labels=facts.labels, fields=facts.fields)
    codes = [f.name.split(".")[1] for f in (DATA / folder).glob("test.*")]
    counts = [len(local.read(LocalFiles(DATA, PATTERN, {}), described, "test", code)[1]) for code in codes]
    assert len(codes) == languages
    assert set(counts) == {items} if items else min(counts) > 90


@pytest.mark.parametrize(
    ("name", "folder", "language", "split"),
    [
        ("panx", "panx", "ja", "test"),
        ("panx", "panx", "zh", "test"),
        ("panx", "panx", "ar", "test"),
        ("udpos", "udpos", "th", "test"),
        ("xnli", "xnli", "sw", "test"),
        ("pawsx", "pawsx", "ja", "test"),
        ("xquad", "qa", "zh", "test"),
        ("xquad", "qa", "th", "test"),
        ("xquad", "qa", "ar", "test"),
        ("xquad", "qa", "en", "test"),
        ("xcopa", "xcopa", "qu", "val"),
    ],
)
def test_the_gold_labels_score_one(tokenizer, name, folder, language, split):  # noqa: F811
    task, described, examples = mini(name, folder, language, split)
    features = encode(task.kind, examples, tokenizer, max_length=384, stride=128, described=described)
    outputs = planted(task.kind, features, len(task.labels) or 2)
    predictions = decode(task.kind, outputs, features, examples, described, Scoring(answer_length=384))
    first = kind_of(task.kind).measure(predictions, examples, described, language)[0]
    assert first.metric == task.metric
    assert first.value > 0.8 if task.kind == "span" else first.value == 1.0  # an unknown run is one token


def test_the_hidden_labels_of_xcopas_test_set_are_refused():
    _, described, examples = mini("xcopa", "xcopa", "qu", "test")
    with pytest.raises(ValueError, match=r"the same gold label everywhere \(0\), so its labels are placeholders"):
        kind_of("choice").measure([0] * len(examples), examples, described, "qu")
