"""XTREME's own download, as its scripts leave it: labels taken out of tests, Tatoeba's English side sorted."""

import csv
import json

import pytest

from xlift.registry.findings import UserError
from xlift.registry.known.tasks import TASKS
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.data.xtreme import HIDDEN, SORTED, convert

CONTEXT = 'He said "no", and left for Rome in 1999.'


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(rows)


def tagged(path, sentences):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join("\n".join("\t".join(word) for word in words) for words in sentences) + "\n", encoding="utf-8")


def asked(path, answer="Rome"):
    start = CONTEXT.index(answer) if answer else 0
    questions = [{"id": n, "question": f"Where {n}?", "answers": [{"text": answer, "answer_start": start}]} for n in range(2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1", "data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}]}]}))


def download(folder):
    quoted = ['He said "no"', "a\u2028b, she said", "neutral"]
    table(folder / "xnli" / "train-en.tsv", [quoted, ["a", "b", "contradiction"]])
    for language in ("en", "de"):
        table(folder / "xnli" / f"dev-{language}.tsv", [quoted, ["a", "b", "entailment"]])
        table(folder / "xnli" / f"test-{language}.tsv", [quoted[:2], ["a", "b"]])
    table(folder / "pawsx" / "dev-ja.tsv", [["x", "y", "1"], ["y", "z", "0"]])
    for task, tags in (("udpos", ("NOUN", "VERB")), ("panx", ("B-PER", "O"))):
        words = [[("Anna", tags[0]), ("goes", tags[1])], [("Ben", tags[0])]]
        for name in ("train-en", "train-de", "dev-de"):
            tagged(folder / task / f"{name}.tsv", words)
        tagged(folder / task / "test-de.tsv", [[word[:1] for word in sentence] for sentence in words])
    asked(folder / "squad" / "train-v1.1.json")
    asked(folder / "squad" / "dev-v1.1.json")
    asked(folder / "xquad" / "xquad.de.json", "")
    asked(folder / "mlqa" / "MLQA_V1" / "dev" / "dev-context-de-question-de.json")
    asked(folder / "mlqa" / "MLQA_V1" / "dev" / "dev-context-de-question-en.json")  # of two languages: no target
    asked(folder / "mlqa" / "MLQA_V1" / "test" / "test-context-de-question-de.json", "")
    asked(folder / "tydiqa" / "tydiqa-goldp-v1.1-train" / "tydiqa.goldp.en.train.json")
    asked(folder / "tydiqa" / "tydiqa-goldp-v1.1-train" / "tydiqa.goldp.sw.train.json")
    asked(folder / "tydiqa" / "tydiqa-goldp-v1.1-dev" / "tydiqa.goldp.sw.dev.json", "")
    (folder / "tatoeba").mkdir()
    for language, english in (("de", ["A dog.", "Some cat."]), ("fr", ["The cat.", "A dog."])):
        (folder / "tatoeba" / f"{language}-en.{language}").write_text("Eins\u2028.\nZwei.\n", encoding="utf-8")
        (folder / "tatoeba" / f"{language}-en.en").write_text("\n".join(english) + "\n")
    (folder / "xcopa").mkdir()
    row = {"premise": "Es regnet.", "choice1": "nass", "choice2": "heiß", "question": "effect", "label": 0, "idx": 0}
    (folder / "xcopa" / "test.et.jsonl").write_text("".join(json.dumps(row | {"label": n}) + "\n" for n in (0, 1)))
    (folder / "xcopa" / "val.et.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "xcopa" / "test.en.jsonl").write_text(json.dumps({key: row[key] for key in row if key != "label"}) + "\n")
    (folder / "download.log").write_text("done\n")
    return folder


def read(data, task, split, language):
    known = TASKS[task]
    described = Data(source="local", kind=known.kind, task=task, labels=known.labels, fields=known.fields)
    return local.read(LocalFiles(data, "{task}/{split}.{language}.jsonl", {}), described, split, language)[1]


def test_what_has_labels_becomes_files_and_what_has_none_is_told(tmp_path):
    done = convert(download(tmp_path / "download"), tmp_path / "data")
    made = {path.relative_to(tmp_path / "data").as_posix(): items for path, items in done.made.items()}
    assert made == dict.fromkeys(
        [
            "mnli/train.en.jsonl",
            *("xnli/dev.de.jsonl", "xnli/dev.en.jsonl", "pawsx/dev.ja.jsonl"),
            *("udpos/train.en.jsonl", "udpos/dev.de.jsonl", "panx/train.en.jsonl", "panx/dev.de.jsonl"),
            *("squad1/train.en.jsonl", "squad1/dev.en.jsonl", "mlqa/dev.de.jsonl", "tydiqa/train.en.jsonl"),
            *("tatoeba/test.fr.jsonl", "xcopa/test.et.jsonl"),
        ],
        2,
    ) | {"xcopa/dev.et.jsonl": 1}
    left = {path.relative_to(tmp_path / "download").as_posix(): why for path, why in done.left.items()}
    assert left.pop("tatoeba/de-en.de") == SORTED and {*left.values()} == {HIDDEN}
    hidden = {"xnli/test-en.tsv", "xnli/test-de.tsv", "udpos/test-de.tsv", "panx/test-de.tsv", "xquad/xquad.de.json"}
    assert {*left} == hidden | {
        "mlqa/MLQA_V1/test/test-context-de-question-de.json",
        "tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.sw.dev.json",
        "xcopa/test.en.jsonl",
    }
    for name in made:
        task, file = name.split("/")
        split, language, _ = file.split(".")
        assert len(read(tmp_path / "data", task, split, language)) == made[name]
    assert read(tmp_path / "data", "mnli", "train", "en")[0].first == 'He said "no"'
    assert read(tmp_path / "data", "squad1", "train", "en")[0].answers == ("Rome",)
    assert read(tmp_path / "data", "tatoeba", "test", "fr")[1].pivot == "A dog."


def test_what_is_there_stays_and_again_changes_nothing(tmp_path):
    folder, data = download(tmp_path / "download"), tmp_path / "data"
    first = convert(folder, data)
    assert convert(folder, data).made == first.made
    (data / "xnli" / "dev.de.jsonl").write_text("mine\n")
    again = convert(folder, data)
    assert again.left[data / "xnli" / "dev.de.jsonl"] == "it is there already, and stays"
    assert (data / "xnli" / "dev.de.jsonl").read_text() == "mine\n" and len(again.made) == len(first.made) - 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("xnli/dev-de.tsv", "a\tb\tneutral\nc\td\n"),
        ("udpos/dev-de.tsv", "a\tNOUN\nb\n"),
        ("squad/train-v1.1.json", '{"data": [{"paragraphs": 3}]}'),
        ("xquad/xquad.de.json", '{"data": '),
        ("tatoeba/fi-en.fi", "yksi\n"),
    ],
)
def test_a_file_that_is_otherwise_is_named_and_nothing_is_written(name, text, tmp_path):
    folder = download(tmp_path / "download")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=f"{name.split('/')[1]}: it is not as XTREME's script writes it"):
        convert(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="nor another file of XTREME's download"):
        convert(tmp_path, tmp_path / "data")
