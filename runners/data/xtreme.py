"""XTREME's own download (Hu et al. 2020, scripts/download_data.sh) becomes files that tasks read: `xlift data xtreme`.

Its scripts take the labels out of the test sets, and put the English side of Tatoeba into alphabetical order, so that nobody is
tuned on a test. Of such a file none is made, and that is said; the hub has these tests whole (`xlift data fetch`). What is left
trains and is development data.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError
from xlift.registry.known.tasks import TASKS
from xlift.runners.fetch.rules import RULES, Counts

Row = dict[str, Any]
HIDDEN = "its labels are taken out; the hub has them (xlift data fetch)"
SORTED = "its English sentences are in alphabetical order, so none is beside its translation; the hub has them aligned"


class _Hidden(Exception):
    """A file without its labels."""


@dataclass
class Converted:
    """What was made of a download, and what was not."""

    made: dict[Path, int] = field(default_factory=dict)  # items
    left: dict[Path, str] = field(default_factory=dict)  # why none was made of it


def convert(published: Path, data: Path) -> Converted:
    """Write `data`/<task>/<split>.<language>.jsonl of every file of the download that has labels; what is there already stays.

    Raises:
        UserError: it is no such download, or a file is not what it should be; then nothing is written.
    """
    done, files = Converted(), dict[Path, bytes]()
    for pattern, name, read in _LAYOUT:
        for path in sorted(published.glob(re.sub(r"\(.*?\)", "*", pattern))):
            told = re.fullmatch(pattern, path.relative_to(published).as_posix())
            if not told or (target := _target(name, told)) is None:
                continue
            try:
                rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in read(path)]
            except _Hidden:
                done.left[path] = SORTED if name.startswith("tatoeba") else HIDDEN
            except (ValueError, KeyError, TypeError, OSError, csv.Error) as error:
                raise UserError(f"{path}: it is not as XTREME's script writes it ({error})", "download it again") from error
            else:
                files[data / target] = "".join(rows).encode()
                done.made[data / target] = len(rows)
    if not done.made and not done.left:
        raise UserError(f"{published}: no xnli/dev-en.tsv, nor another file of XTREME's download", "give its folder `download`")
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            done.left[path] = "it is there already, and stays"
            del done.made[path]
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return done


def _target(name: str, told: re.Match[str]) -> str | None:
    """Where a file belongs; None where no task reads it: of training data, English alone is."""
    parts = told.groupdict()
    split, language = {"val": "dev"}.get(parts.get("split", ""), parts.get("split", "")), parts.get("language", "en")
    task, _, fixed = name.partition("/")
    split = fixed or split
    if task == "xnli" and split == "train":
        task = "mnli"
    known = language == "en" or language in TASKS[task].languages
    return f"{task}/{split}.{language}.jsonl" if known and (split != "train" or language == "en") else None


def _pairs(first: str, second: str) -> Callable[[Path], list[Row]]:
    def read(path: Path) -> list[Row]:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if row]
        if all(len(row) == 2 for row in rows):
            raise _Hidden
        return [dict(zip((first, second, "label"), row, strict=True)) for row in rows]

    return read


def _tags(path: Path) -> list[Row]:
    """A word and its tag a line, sentences apart by an empty one."""
    sentences = [
        [line.split("\t") for line in block.split("\n") if line]
        for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8").strip("\n"))
    ]
    if all(len(word) == 1 for words in sentences for word in words):
        raise _Hidden
    return [
        {"tokens": list(tokens), "tags": list(tags)}
        for tokens, tags in (zip(*words, strict=True) for words in sentences if words)
    ]


def _answers(path: Path) -> list[Row]:
    """Questions of paragraphs of documents, as SQuAD has them."""
    found = [
        {
            "id": str(question["id"]),
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {name: [answer[name] for answer in question["answers"]] for name in ("text", "answer_start")},
        }
        for document in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in document["paragraphs"]
        for question in paragraph["qas"]
    ]
    if not any(text for row in found for text in row["answers"]["text"]):
        raise _Hidden
    return list(RULES["answers"].rows(iter(found), "", Counts()))


def _copa(path: Path) -> list[Row]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not any("label" in row for row in rows):
        raise _Hidden
    return list(RULES["copa"].rows(iter(rows), "", Counts()))


def _translations(path: Path) -> Iterator[Row]:
    """Of a file of foreign sentences and the English one beside it."""
    foreign, english = (each.read_text(encoding="utf-8").rstrip("\n").split("\n") for each in (path, path.with_suffix(".en")))
    if english == sorted(english) or len(foreign) != len(english):
        raise _Hidden
    return ({"source": one, "english": other} for one, other in zip(foreign, english, strict=True))


_CODE, _SPLIT = "(?P<language>[a-z]{2})", "(?P<split>train|dev|test|val)"
_LAYOUT: tuple[tuple[str, str, Callable[[Path], Any]], ...] = (  # below `download`; task, with its split where no name tells it
    (f"xnli/{_SPLIT}-{_CODE}.tsv", "xnli", _pairs("premise", "hypothesis")),
    (f"pawsx/{_SPLIT}-{_CODE}.tsv", "pawsx", _pairs("sentence1", "sentence2")),
    (f"udpos/{_SPLIT}-{_CODE}.tsv", "udpos", _tags),
    (f"panx/{_SPLIT}-{_CODE}.tsv", "panx", _tags),
    (f"squad/{_SPLIT}-v1.1.json", "squad1", _answers),
    (f"xquad/xquad.{_CODE}.json", "xquad/test", _answers),
    (f"mlqa/MLQA_V1/(?:dev|test)/{_SPLIT}-context-{_CODE}-question-(?P=language).json", "mlqa", _answers),
    (f"tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{_CODE}.train.json", "tydiqa/train", _answers),
    (f"tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{_CODE}.dev.json", "tydiqa/test", _answers),
    (f"tatoeba/{_CODE}-en.(?P=language)", "tatoeba/test", _translations),
    (f"xcopa/{_SPLIT}.{_CODE}.jsonl", "xcopa", _copa),
)
