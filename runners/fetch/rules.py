"""How rows of the hub become rows of a task's files: columns by their names there, labels by name, and what is repaired.

A rule's number is in the lock: raised where it would make other rows of the same ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xlift.registry.known.hub import TYDIQA

Row = dict[str, Any]


@dataclass
class Counts:
    """What became of the rows of one file."""

    kept: int = 0
    repaired: int = 0  # of those that were kept
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class Rule:
    """The columns that a rule reads, those of them whose labels are named in the file, and the rows that it makes of one."""

    version: int
    columns: tuple[str, ...]
    make: Callable[[Row, str, Counts], Row | None]  # row, language, what became of the others; None where it is not kept
    named: str | None = None  # of a ClassLabel, whose numbers mean nothing without their names

    def rows(self, rows: Iterator[Row], language: str, counts: Counts) -> Iterator[Row]:
        for row in rows:
            if (made := self.make(row, language, counts)) is not None:
                counts.kept += 1
                yield made


def _labelled(*columns: str) -> Callable[[Row, str, Counts], Row | None]:
    """Without rows that have no label: -1, as of SNLI's items on which nobody agreed and of hidden tests."""

    def make(row: Row, _: str, counts: Counts) -> Row | None:
        if row["label"] is None:
            counts.drop("no label")
            return None
        return {column: row[column] for column in (*columns, "label")}

    return make


def _answered(row: Row, _: str, counts: Counts) -> Row | None:
    """With every answer where the context has it.

    Scripts stripped contexts and moved no offset, so an answer is the nearest one at or before its `answer_start`.
    """
    context, texts, starts = row["context"], row["answers"]["text"], list(row["answers"]["answer_start"])
    moved = False
    for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
        if context[start : start + len(text)] == text:
            continue
        found = context.rfind(text, 0, start + len(text))
        if found < 0:
            counts.drop("an answer that its context does not have")
            return None
        starts[index], moved = found, True
    counts.repaired += moved
    return {
        "id": row["id"],
        "context": context,
        "question": row["question"],
        "answers": {"text": list(texts), "answer_start": starts},
    }


def _of_one_language(row: Row, language: str, counts: Counts) -> Row | None:
    """TyDiQA's file has all languages, which ids tell apart; the others are not counted."""
    return _answered(row, language, counts) if row["id"].split("-")[0] == TYDIQA[language] else None


def _tagged(row: Row, _: str, counts: Counts) -> Row:
    """Words without blanks around them, as XTREME's preparation strips them."""
    return {"tokens": [token.strip() for token in row["tokens"]], "tags": row["ner_tags"]}


def _translated(row: Row, _: str, counts: Counts) -> Row:
    """Sentences without the line break that ended them in their file."""
    return {"source": row["source_sentence"].rstrip("\r\n"), "english": row["target_sentence"].rstrip("\r\n")}


def _choices(row: Row, _: str, counts: Counts) -> Row | None:
    if row["answerKey"] == "":
        counts.drop("no label")
        return None
    return {"question": row["question"], "choices": row["choices"], "answerKey": row["answerKey"]}


def _numbered(*columns: str) -> Callable[[Row, str, Counts], Row | None]:
    """A label is the place of the right choice; -1 and '' are hidden ones."""

    def make(row: Row, _: str, counts: Counts) -> Row | None:
        label = row["label"]
        if label in (None, "", -1, "-1"):
            counts.drop("no label")
            return None
        return {column: row[column] for column in columns} | {"label": int(label)}

    return make


def _asked(row: Row, language: str, counts: Counts) -> Row | None:
    """With the question written out, in English whatever the language, as XTREME-R puts it (Ruder et al. 2021)."""
    return _numbered("premise", "choice1", "choice2")(row | {"question": ""}, language, counts) and {
        "premise": row["premise"],
        "question": {"cause": "What was the cause?", "effect": "What happened as a result?"}[row["question"]],
        "choice1": row["choice1"],
        "choice2": row["choice2"],
        "label": int(row["label"]),
    }


def _text(row: Row, _: str, counts: Counts) -> Row | None:
    """A text of whatever column, where there is one."""
    (text,) = row.values()
    if not text or not text.strip():
        counts.drop("no text")
        return None
    return {"text": text}


RULES: dict[str, Rule] = {
    "nli": Rule(1, ("premise", "hypothesis", "label"), _labelled("premise", "hypothesis"), "label"),
    "qqp": Rule(1, ("question1", "question2", "label"), _labelled("question1", "question2"), "label"),
    "paraphrases": Rule(1, ("sentence1", "sentence2", "label"), _labelled("sentence1", "sentence2"), "label"),
    "answers": Rule(1, ("id", "context", "question", "answers"), _answered),
    "tydiqa": Rule(1, ("id", "context", "question", "answers"), _of_one_language),
    "hellaswag": Rule(1, ("ctx_a", "ctx_b", "endings", "label"), _numbered("ctx_a", "ctx_b", "endings")),
    "cosmosqa": Rule(
        1,
        ("context", "question", "answer0", "answer1", "answer2", "answer3", "label"),
        _numbered("context", "question", "answer0", "answer1", "answer2", "answer3"),
    ),
    "commonsenseqa": Rule(1, ("question", "choices", "answerKey"), _choices),
    "copa": Rule(1, ("premise", "question", "choice1", "choice2", "label"), _asked),
    "names": Rule(1, ("tokens", "ner_tags"), _tagged, "ner_tags"),
    "texts": Rule(1, ("text",), _text),
    "translations": Rule(1, ("source_sentence", "target_sentence"), _translated),
}
