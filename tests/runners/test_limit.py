"""`limit`: a hashed draw of examples, alike from each label, the same items in files that are parallel."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from xlift.registry.inputs import Inputs
from xlift.registry.known.lab import World
from xlift.registry.manifest.load import load
from xlift.registry.sources.lab import Lab
from xlift.registry.stage import Data
from xlift.runners.data import drawn, read
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged

TEXTS = [Text(f"{number}") for number in range(120)]


def labelled(labels):
    return [Pair(f"premise {at // 3}", f"hypothesis {at}", label) for at, label in enumerate(labels)]


@pytest.mark.parametrize("period", range(1, 13))
@pytest.mark.parametrize("limit", [1, 7, 40])
def test_no_period_of_a_file_shows_in_what_is_drawn(period, limit):
    """Items of one remainder are not many more than a random draw has of them: within five standard deviations."""
    kept = drawn(TEXTS, limit)
    share, count = Counter(int(each.text) % period for each in kept), limit / period
    assert len(kept) == limit and max(share.values()) <= count + 5 * (count * (1 - 1 / period)) ** 0.5 + 1


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 5, 30), (1, 1), (7, 1, 1, 1, 1)])
def test_each_label_has_its_share_however_the_file_is_sorted(weights):
    labels = [str(label) for label, weight in enumerate(weights) for _ in range(6 * weight)]
    periodic = [str(label) for _ in range(6) for label, weight in enumerate(weights) for _ in range(weight)]
    for file in (labels, periodic, labels[::-1]):
        for limit in range(1, len(file)):
            kept = Counter(example.label for example in drawn(labelled(file), limit))
            assert all(abs(kept[label] - limit * count / len(file)) <= len(weights) / 2 for label, count in Counter(file).items())


def test_choices_have_their_labels_and_questions_their_answers():
    choices = [Choice("c", "q", ("x", "y"), at % 2) for at in range(40)]
    assert Counter(each.label for each in drawn(choices, 10)) == {0: 5, 1: 5}
    questions = [Question("a b", f"{at}", ("a",) * (at % 4 == 0), (0,) * (at % 4 == 0), f"{at}") for at in range(40)]
    assert Counter(len(each.answers) for each in drawn(questions, 8)) == {1: 2, 0: 6}


def test_what_is_drawn_is_in_the_file_s_order_and_part_of_what_a_larger_limit_draws():
    tagged = [Tagged((f"{at}",), ("O",)) for at in range(50)]
    before: set[int] = set()
    for limit in range(1, 51):
        kept = [int(each.tokens[0]) for each in drawn(tagged, limit)]
        assert kept == sorted(kept) and before < set(kept)
        before = set(kept)
    assert drawn(tagged, 50) == drawn(tagged, 99) == drawn(tagged, None) == tagged


def test_parallel_files_keep_the_same_items():
    labels = [str(at * at % 3) for at in range(60)]
    english, german = labelled(labels), [Pair(f"de {at}", "", label) for at, label in enumerate(labels)]
    kept = [[file.index(example) for example in drawn(file, 9)] for file in (english, german)]
    assert kept[0] == kept[1]


def test_the_lab_draws_alike():
    world = World(train_items=60, test_items=30, sentences=40)
    manifest = SimpleNamespace(data=Lab(source="lab", world=world), tasks={})
    inputs = Inputs(SimpleNamespace(manifest=manifest))
    for task, kind in (("lab-entail", "pair"), ("lab-span", "span"), ("lab-pos", "tag")):
        whole, some = (read(inputs, Data(source="lab", kind=kind, task=task, limit=n), "train", "al1")[1] for n in (None, 7))
        assert some == drawn(whole, 7) and len(some) == 7


FORMS = {
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "one line.json": json.dumps,
    "lines.json": lambda rows: json.dumps(rows, indent=1),
    "csv": lambda rows: "text\n" + "".join(f"{row['text']}\n" for row in rows),
    "crlf.csv": lambda rows: "text\r\n" + "".join(f"{row['text']}\r\n" for row in rows),
    "cr.csv": lambda rows: "text\r" + "".join(f"{row['text']}\r" for row in rows),
    "tsv": lambda rows: "text\n" + "".join(f"{row['text']}\n" for row in rows),
}
STUDY = """\
schema: xlift/1
id: limits
question: Is a limit kept?
data: {source: local, limit: {train: LIMIT}, files: '{task}/{split}.{language}.ENDING'}
languages: [de]
models: [{id: own, family: ours, make: {layers: 1, hidden: 16, heads: 2}}]
pretrain: {corpus: texts, languages: [en]}
tasks: {texts: {kind: mlm}}
matrix: {intermediate: [none], target: [tatoeba], seed: {count: 1, from: 1}}
"""


@pytest.mark.parametrize("limit", [4, 19, 20, 21, 400])
@pytest.mark.parametrize("form", FORMS)
def test_a_limit_holds_in_every_format_and_is_left_out_of_an_id_only_where_it_leaves_nothing_out(tmp_path, form, limit):
    rows = [{"text": f"a {number}"} for number in range(20)]
    ending = form.split(".")[-1]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / f"train.en.{ending}").write_bytes(FORMS[form](rows).encode())
    (tmp_path / "study.yaml").write_text(STUDY.replace("LIMIT", str(limit)).replace("ENDING", ending))
    inputs = Inputs(load(tmp_path / "study.yaml"), tmp_path)
    left_out = inputs.source.at_most(limit, "texts", "en")
    assert not (left_out and limit < 20) and (limit < 400 or left_out)
    wanted = Data(source="local", kind="mlm", task="texts", limit=None if left_out else limit)
    assert len(read(inputs, wanted, "train", "en")[1]) == min(limit, 20)
