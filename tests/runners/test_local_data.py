"""Files in all formats give the same examples, and bad ones are named with their place and what would do."""

import gzip
import hashlib
import json

import pytest

from xlift.registry import files
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.data.local import DataError
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mine import Sentence
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.retrieve import Parallel
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged

PATTERN = "{task}.{split}.{language}.jsonl"
PAIRS = [{"a": "one", "b": "two", "label": 1}, {"a": "drei", "b": "“vier”\u2028fünf", "label": 0}]


def data(kind="pair", **more):
    defaults = {"pair": {"labels": ("0", "1"), "fields": {"first": "a", "second": "b"}}, "tag": {"labels": ("O", "B-X", "I-X")}}
    return Data(source="local", kind=kind, task="t", **(defaults.get(kind, {}) | more))


def put(folder, text, name="t.test.en.jsonl"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def get(folder, described, pattern=PATTERN):
    return local.read(LocalFiles(folder, pattern, {}), described, "test", "en")[1]


def one(folder, row, kind, **more):
    put(folder, lines(row))
    return get(folder, data(kind, **more))[0]


# What is read


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("jsonl", lines(*PAIRS)),
        ("json", json.dumps(PAIRS)),
        ("csv", "label,a,b\n1,one,two\n0,drei,“vier”\u2028fünf\n"),
        ("tsv", "label\ta\tb\r\n1\tone\ttwo\r\n0\tdrei\t“vier”\u2028fünf\r\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_examples(tmp_path, form, text, packed):
    raw = text.encode()
    put(tmp_path, gzip.compress(raw) if packed else raw, f"t.test.en.{form}" + ".gz" * packed)
    assert get(tmp_path, data(), f"{{task}}.{{split}}.{{language}}.{form}") == [
        Pair("one", "two", "1"),
        Pair("drei", "“vier”\u2028fünf", "0"),
    ]


def test_columns_that_are_numbers_read_a_table_without_header(tmp_path):
    put(tmp_path, 'key\tHe said "no\nkey\tthen\n', "t.test.en.tsv")
    examples = get(tmp_path, data("mlm", fields={"text": "1"}), "{task}.{split}.{language}.tsv")
    assert examples == [Text('He said "no'), Text("then")]


def test_a_quoted_cell_of_csv_may_hold_commas_and_lines(tmp_path):
    put(tmp_path, 'a,b,label\n"x, ""y""","two\nlines",1\n', "t.test.en.csv")
    assert get(tmp_path, data(), "{task}.{split}.{language}.csv") == [Pair('x, "y"', "two\nlines", "1")]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path):
    put(tmp_path, b"\xef\xbb\xbf" + lines(*PAIRS).encode())
    assert len(get(tmp_path, data())) == 2


def test_every_kind_reads_its_own_roles(tmp_path):
    assert one(tmp_path, {"tokens": ["a", "b"], "tags": ["O", "B-X"]}, "tag") == Tagged(("a", "b"), ("O", "B-X"))
    answers = {"text": ["b c"], "answer_start": [2]}
    row = {"id": 7, "context": "a b c", "question": "q", "answers": answers}
    assert one(tmp_path, row, "span") == Question("a b c", "q", ("b c",), (2,), "7")
    assert one(tmp_path, {"source": "x", "english": "y"}, "retrieve", fields={"pivot": "english"}) == Parallel("x", "y")
    mined = {"text": "x", "side": "pivot", "pairs": "a b", "split": "dev"}
    assert one(tmp_path, mined, "mine") == Sentence("x", "pivot", ("a", "b"), True)
    assert one(tmp_path, mined | {"pairs": None, "split": "test"}, "mine") == Sentence("x", "pivot", (), False)
    assert one(tmp_path, {"text": "words"}, "mlm") == Text("words")


def test_choices_are_a_list_or_several_columns(tmp_path):
    wanted = Choice("p", "cause", ("x", "y"), 1)
    row = {"premise": "p", "question": "cause", "label": 1}
    fields = {"context": "premise", "choices": "c1 c2"}
    assert one(tmp_path, row | {"c1": "x", "c2": "y"}, "choice", fields=fields) == wanted
    assert one(tmp_path, row | {"ends": ["x", "y"]}, "choice", fields=fields | {"choices": "ends"}) == wanted
    lettered = row | {"ends": {"text": ["x", "y"], "label": ["A", "B"]}, "label": "B"}
    assert one(tmp_path, lettered, "choice", fields=fields | {"choices": "ends"}) == wanted


def test_a_choice_without_context_has_an_empty_one(tmp_path):
    assert one(tmp_path, {"question": "q", "choices": ["x", "y"], "label": 0}, "choice").context == ""


def test_the_digest_is_that_of_the_uncompressed_bytes(tmp_path):
    put(tmp_path, "x" * 100)
    put(tmp_path, gzip.compress(b"x" * 100), "packed.gz")
    plain, packed = (files.digest(tmp_path / name) for name in ("t.test.en.jsonl", "packed.gz"))
    assert plain == packed == hashlib.sha256(b"x" * 100).hexdigest()


def test_the_plain_file_is_found_before_the_packed_one(tmp_path):
    assert files.path(tmp_path, "t", "test", "en", PATTERN) is None
    put(tmp_path, b"", "t.test.en.jsonl.gz")
    assert files.path(tmp_path, "t", "test", "en", PATTERN).suffix == ".gz"
    put(tmp_path, b"")
    assert files.path(tmp_path, "t", "test", "en", PATTERN).suffix == ".jsonl"


# What is refused

GOOD = lines(PAIRS[0])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no items"),
        (b"\n \n", "no items"),
        (GOOD + "{oops\n", r"jsonl:2: not JSON .*write one JSON object a line"),
        (GOOD + "[1]\n", "jsonl:2: a list, not an object"),
        (lines({"a": "x", "bb": "y", "label": 0}), r"jsonl:1: no column 'b' \(the second\); write 'bb'"),
        (lines({"a": "x", "b": "y"}), r"jsonl:1: no column 'label'"),
        (lines({"a": "x", "b": "y", "label": 2}), "jsonl:1: label '2' is none of the labels of task 't'; known: 0, 1"),
        (lines({"a": "x", "b": "y", "label": None}), "jsonl:1: no label; use a file with labels"),
        (lines({"a": "x", "b": "y", "label": 1.0}), "jsonl:1: the label is 1.0; write a text or an integer"),
        (lines({"a": None, "b": "y", "label": 1}), "jsonl:1: the first text is null, not text"),
        (GOOD.encode() + b'{"a": "\xff"}\n', r"jsonl:2: not UTF-8 .*save the file as UTF-8"),
    ],
)
def test_a_bad_file_of_pairs_is_named_with_its_line_and_what_would_do(tmp_path, raw, message):
    put(tmp_path, raw)
    with pytest.raises(DataError, match=message):
        get(tmp_path, data())


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("tag", {"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens but 1 tags"),
        ("tag", {"tokens": [], "tags": []}, "no tokens"),
        ("tag", {"tokens": ["a"], "tags": ["B-Y"]}, "label 'B-Y' is none of the labels.*write 'B-X'"),
        ("tag", {"tokens": [1], "tags": ["O"]}, "item 1 of the tokens is 1, not text"),
        (
            "span",
            {"context": "a b", "question": "q", "answers": {"text": ["b"], "answer_start": [0]}},
            "answer 'b' is not at character 0 of the context; it is at 2",
        ),
        ("span", {"context": "a b", "question": "q", "answers": {"text": ["z"], "answer_start": [0]}}, "it is nowhere in it"),
        ("span", {"context": "a b", "question": "q", "answers": {"text": [""], "answer_start": [0]}}, "an answer is empty"),
        ("span", {"context": "a b", "question": "q", "answers": {"text": ["a"], "answer_start": []}}, "1 answers but 0 starts"),
        ("span", {"context": "a b", "question": "q", "answers": ["a"]}, 'write {"text"'),
        ("choice", {"choices": ["a", "b"], "label": 2}, "label 2 is none of the 2 choices"),
        ("choice", {"choices": ["a", "b"], "label": "B"}, "write the index of the right choice"),
        ("choice", {"choices": "a", "label": 0}, "the choices are 'a', not a list"),
        ("retrieve", {"source": "x", "pivot": " "}, "a sentence is empty"),
        ("mine", {"text": "x", "side": "en", "pairs": "", "split": "dev"}, "the side is 'en'; write source, or pivot"),
        ("mine", {"text": "x", "side": "pivot", "pairs": "", "split": "train"}, "the split is 'train'; write dev"),
        ("mine", {"text": "x", "side": "pivot", "split": "dev"}, "no column 'pairs'"),
        ("mlm", {"text": ""}, "the text is empty"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_what_would_do(tmp_path, kind, row, message):
    put(tmp_path, "\n" + lines(row))
    with pytest.raises(DataError, match=r"jsonl:2: .*" + message):
        get(tmp_path, data(kind))


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("csv", "a,b,label\nx,y\n", "csv:2: 2 cells, where the header has 3"),
        ("csv", 'a,b,label\n"x"z,y,1\n', "csv:2: not CSV"),
        ("tsv", "a\ta\tlabel\nx\ty\t1\n", "twice in the header"),
        ("tsv", "a\tb\tlabel\n", "no items"),
        ("json", '{"data": []}', "a JSON dict, not an array"),
        ("json", '[{"a": "x", "b": "y", "label": 1}, 3]', "item 2: a int, not an object"),
        ("json", "[\n{,}]", "json:2: not JSON"),
        ("xml", "x", "unknown format '.xml'; known: .jsonl, .json, .csv, .tsv"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, form, text, message):
    put(tmp_path, text, f"t.test.en.{form}")
    with pytest.raises(DataError, match=message):
        get(tmp_path, data(), f"{{task}}.{{split}}.{{language}}.{form}")


def test_a_damaged_or_truncated_gzip_is_refused(tmp_path):
    whole = gzip.compress(lines(*PAIRS * 50).encode())
    for raw in (whole[:-20], b"not gzip at all", whole[:30] + b"\x00" * 20 + whole[50:]):
        put(tmp_path, raw, "t.test.en.jsonl.gz")
        with pytest.raises(DataError, match=r"truncated or damaged gzip.*copy or download"):
            get(tmp_path, data())
        with pytest.raises(DataError, match="truncated or damaged gzip"):
            files.digest(tmp_path / "t.test.en.jsonl.gz")


def test_a_missing_file_is_named_with_what_is_there(tmp_path):
    put(tmp_path, GOOD, "t.test.de.jsonl")
    with pytest.raises(DataError, match=r"test\.en\.jsonl: no such file, plain or with \.gz; in its folder: t\.test\.de\.jsonl"):
        get(tmp_path, data())
    with pytest.raises(DataError, match="nor its folder"):
        get(tmp_path / "absent", data())


def test_a_pattern_or_field_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"use only \{task\}, \{split\} and \{language\}"):
        get(tmp_path, data(), "{lang}.jsonl")
    put(tmp_path, GOOD)
    with pytest.raises(DataError, match="field 'frist', which pair does not read; write 'first'"):
        get(tmp_path, data(fields={"frist": "a"}))
