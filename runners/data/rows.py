"""One row of a file, columns by name, as the example of a kind; what is wrong with it is said with its place."""

import json
from collections.abc import Callable
from typing import Any

from xlift.registry.files import DataError
from xlift.registry.findings import UserError, similar
from xlift.registry.known.tasks import OPTIONAL, ROLES
from xlift.registry.stage import Data
from xlift.runners.data.examples import Choice, Example, Pair, Parallel, Question, Sentence, Tagged, Text

Row = dict[str, Any]


class Fault(UserError):
    """What is wrong with a row, and what would do; `example` adds the place."""


def example(row: Row, data: Data, place: str) -> Example:
    """The example that `row` holds; `place` is file:line."""
    if unknown := sorted(set(data.fields) - {*ROLES[data.kind], "id"}):
        raise DataError(
            f"{place}: task '{data.task}' has a field '{unknown[0]}', which {data.kind} does not read; "
            f"{similar(unknown[0], ROLES[data.kind])}"
        )
    try:
        return READERS[data.kind](row, data, place)
    except Fault as error:
        raise DataError(f"{place}: {error}") from error


def _column(row: Row, data: Data, role: str) -> Any:
    """The value of the column that `data.fields` gives a role; the role's own name where it gives none."""
    column = data.fields.get(role, role)
    if column not in row:
        if role in OPTIONAL.get(data.kind, ()) and role not in data.fields:
            return ""
        raise Fault(f"no column '{column}' (the {role}); {similar(column, map(str, row))}")
    return row[column]


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Fault(f"the {what} is {_shown(value)}, not text; write it in quotes")
    return value


def _strings(value: Any, what: str) -> tuple[str, ...]:
    """A list of texts; a text, as in .tsv, is cut at blanks."""
    if isinstance(value, str):
        return tuple(value.split())
    if not isinstance(value, list):
        raise Fault(f"the {what} are {_shown(value)}, not a list; write a list of texts")
    return tuple(_string(part, f"item {number} of the {what}") for number, part in enumerate(value, 1))


def _label(value: Any, data: Data) -> str:
    """A label as text: 1 and "1" are the same label."""
    if value is None or value == "":
        raise Fault("no label; use a file with labels (the test files of some benchmarks hide them)")
    if not isinstance(value, str | int):
        raise Fault(f"the label is {_shown(value)}; write a text or an integer")
    label = json.dumps(value) if isinstance(value, bool) else str(value)
    if label not in data.labels:
        raise Fault(f"label {label!r} is none of the labels of task '{data.task}'; {similar(label, data.labels)}")
    return label


def _pair(row: Row, data: Data, place: str) -> Pair:
    return Pair(
        _string(_column(row, data, "first"), "first text"),
        _string(_column(row, data, "second"), "second text"),
        _label(_column(row, data, "label"), data),
    )


def _tagged(row: Row, data: Data, place: str) -> Tagged:
    tokens = _strings(_column(row, data, "tokens"), "tokens")
    tags = _column(row, data, "tags")
    tags = tags.split() if isinstance(tags, str) else tags
    if not isinstance(tags, list):
        raise Fault(f"the tags are {_shown(tags)}, not a list; write a list of tags")
    if len(tags) != len(tokens):
        raise Fault(f"{len(tokens)} tokens but {len(tags)} tags; write one tag a token")
    if not tokens:
        raise Fault("no tokens; take the item out")
    return Tagged(tokens, tuple(_label(tag, data) for tag in tags))


def _question(row: Row, data: Data, place: str) -> Question:
    context = _string(_column(row, data, "context"), "context")
    texts, starts = _answers(_column(row, data, "answers"))
    for text, start in zip(texts, starts, strict=True):
        if not text:
            raise Fault("an answer is empty; give an unanswerable question empty lists, and take hidden answers out")
        if start < 0 or context[start : start + len(text)] != text:
            at = context.find(text)
            raise Fault(
                f"answer {text!r} is not at character {start} of the context; "
                + (f"it is at {at}" if at >= 0 else "it is nowhere in it: correct the item or take it out")
            )
    name = row.get(data.fields.get("id", "id"), place)
    return Question(context, _string(_column(row, data, "question"), "question"), texts, starts, str(name))


def _answers(value: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts and starts of {"text": […], "answer_start": […]}, in .csv and .tsv as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise Fault(f"the answers are not JSON ({error.msg}); {_ANSWERS}") from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), list) or not isinstance(value.get("answer_start"), list):
        raise Fault(f"the answers are {_shown(value)}; {_ANSWERS}")
    texts, starts = _strings(value["text"], "answers"), value["answer_start"]
    if len(texts) != len(starts):
        raise Fault(f"{len(texts)} answers but {len(starts)} starts; {_ANSWERS}")
    if wrong := [start for start in starts if not isinstance(start, int) or isinstance(start, bool)]:
        raise Fault(f"answer_start is {_shown(wrong[0])}; write a character offset")
    return texts, tuple(starts)


_ANSWERS = 'write {"text": ["…"], "answer_start": [0]}'


def _choice(row: Row, data: Data, place: str) -> Choice:
    choices, names = _choices(row, data)
    value = _column(row, data, "label")
    if names:
        if str(value) not in names:
            raise Fault(f"label {value!r} is none of the choices' own: {', '.join(names)}")
        index = names.index(str(value))
    elif data.labels:
        index = data.labels.index(_label(value, data))
    elif isinstance(value, bool) or not str(value).isdecimal():
        raise Fault(f"the label is {_shown(value)}; write the index of the right choice, or list the task's `labels`")
    else:
        index = int(value)
    if index >= len(choices):
        raise Fault(f"label {value!r} is none of the {len(choices)} choices; count them from 0, or list the task's `labels`")
    context, question, stem = (_string(_column(row, data, role), role) for role in ("context", "question", "stem"))
    return Choice(context, question, choices, index, stem)


def _choices(row: Row, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts, and their own labels where they have some.

    They are one column with a list, or with {"text": […], "label": […]}, or several columns, whose names are separated by blanks.
    """
    field = data.fields.get("choices", "choices")
    if field in row or len(field.split()) < 2:
        value = _column(row, data, "choices")
        if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("label"), list):
            return _strings(value["text"], "choices"), tuple(map(str, value["label"]))
        if not isinstance(value, list):
            raise Fault(f"the choices are {_shown(value)}, not a list; name one column for each choice, separated by blanks")
        return _strings(value, "choices"), ()
    for column in field.split():
        if column not in row:
            raise Fault(f"no column '{column}' (one of the choices); {similar(column, map(str, row))}")
    return tuple(_string(row[column], column) for column in field.split()), ()


def _parallel(row: Row, data: Data, place: str) -> Parallel:
    source, pivot = (_string(_column(row, data, role), role) for role in ("source", "pivot"))
    if not source.strip() or not pivot.strip():
        raise Fault("a sentence is empty; take the pair out")
    return Parallel(source, pivot)


def _sentence(row: Row, data: Data, place: str) -> Sentence:
    text = _string(_column(row, data, "text"), "text")
    if not text.strip():
        raise Fault("the sentence is empty; take it out")
    side, split = (_column(row, data, role) for role in ("side", "split"))
    if side not in ("source", "pivot"):
        raise Fault(f"the side is {_shown(side)}; write source, or pivot for a sentence in the source language of the study")
    if split not in ("dev", "test"):
        raise Fault(f"the split is {_shown(split)}; write dev for what the threshold is set on, or test")
    return Sentence(text, side, _strings(_column(row, data, "pairs") or "", "pairs"), split == "dev")


def _text(row: Row, data: Data, place: str) -> Text:
    text = _string(_column(row, data, "text"), "text")
    if not text.strip():
        raise Fault("the text is empty; take the item out")
    return Text(text)


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


READERS: dict[str, Callable[[Row, Data, str], Example]] = {
    "pair": _pair,
    "tag": _tagged,
    "span": _question,
    "choice": _choice,
    "retrieve": _parallel,
    "mine": _sentence,
    "mlm": _text,
}
