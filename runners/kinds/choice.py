"""A context, perhaps a question, and several ways to go on, of which one is right.

Each choice is one sequence, and a linear layer scores it; all examples of a task have the same number of choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from xlift.registry.findings import similar
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns
from xlift.runners.kinds.base import Batch, Feature, Kind, Reading
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row, Unfit, scorable
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlift.runners.metrics import Measure


@dataclass(frozen=True, slots=True)
class Choice(Example):
    """`stem` begins every choice, as HellaSwag's endings continue one half-sentence."""

    context: str
    question: str
    choices: tuple[str, ...]
    label: int
    stem: str = ""

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Choice:
        choices, names = _choices(row, data)
        value = columns.column(row, data, "label")
        if names:
            if str(value) not in names:
                raise Fault(f"label {value!r} is none of the choices' own: {', '.join(names)}")
            index = names.index(str(value))
        elif data.labels:
            index = data.labels.index(columns.label(value, data))
        elif isinstance(value, bool) or not str(value).isdecimal():
            raise Fault(
                f"the label is {columns.shown(value)}", "write the index of the right choice, or list the task's `labels`"
            )
        else:
            index = int(value)
        if index >= len(choices):
            raise Fault(
                f"label {value!r} is none of the {len(choices)} choices", "count them from 0, or list the task's `labels`"
            )
        context, question, stem = (
            columns.string(columns.column(row, data, role), role) for role in ("context", "question", "stem")
        )
        return cls(context, question, choices, index, stem)

    @property
    def group(self) -> tuple[str, ...]:
        return (self.context, self.stem) if self.context or self.stem else (self.question,)

    @property
    def stratum(self) -> int:
        return self.label

    @classmethod
    def check(cls, examples: Sequence[Choice], *, scored: bool) -> None:
        """Unfit where choices are not as many everywhere, too."""
        number_of_choices(examples)
        if scored:
            scorable(examples)


def _choices(row: Row, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts, and their own labels where they have some.

    They are one column with a list, or with {"text": […], "label": […]}, or several columns, whose names are separated by blanks.
    """
    field = data.fields.get("choices", "choices")
    if field in row or len(field.split()) < 2:
        value = columns.column(row, data, "choices")
        if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("label"), list):
            return columns.strings(value["text"], "choices"), tuple(map(str, value["label"]))
        if not isinstance(value, list):
            raise Fault(
                f"the choices are {columns.shown(value)}, not a list", "name one column for each choice, separated by blanks"
            )
        return columns.strings(value, "choices"), ()
    for column in field.split():
        if column not in row:
            raise Fault(f"no column '{column}' (one of the choices)", similar(column, map(str, row)))
    return tuple(columns.string(row[column], column) for column in field.split()), ()


def number_of_choices(examples: Sequence[Choice]) -> int:
    """How many choices every example has; Unfit where they differ, are fewer than two, or a label is none of them."""
    count = len(examples[0].choices) if examples else 0
    for at, example in enumerate(examples):
        if len(example.choices) != count:
            raise Unfit(
                f"{len(example.choices)} choices, where the first item has {count}", "all must have the same number", at=at
            )
        if count < 2:
            raise Unfit(f"{count} choice, and at least two are needed", at=at)
        if not 0 <= example.label < count:
            raise Unfit(f"label {example.label} is none of its {count} choices, counted from 0", at=at)
    return count


@final
class ChoiceKind(Kind):
    """Outputs are (features, choices); a prediction is the index of a choice."""

    example = Choice

    def encode(self, examples: Sequence[Choice], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One sequence a choice: context and question, then the choice. What is too long loses an end of its context."""
        count = number_of_choices(examples)
        room = tokens.room_for(reading.tokenizer, pair=True, max_length=reading.max_length)
        before, between, after = tokens.frame(reading.tokenizer, pair=True)
        openings = tokens.pieces(reading.tokenizer, [asked(e) for e in examples])
        offered = tokens.pieces(reading.tokenizer, [joined(e.stem, choice) for e in examples for choice in e.choices])
        features = []
        for at, (example, first) in enumerate(zip(examples, openings, strict=True)):
            choices = [tokens.array(piece.ids) for piece in offered[at * count : (at + 1) * count]]
            context = sum(begin < len(example.context) for begin, _ in first.offsets)
            kept = max(0, context - max(0, len(first.ids) + max(map(len, choices)) - room))  # the same for every choice
            begin = 0 if reading.cutting.context_cut == "end" else context - kept
            opening = tokens.array([*first.ids[begin : begin + kept], *first.ids[context:]])
            cut = [tokens.longest_first(opening, choice, room) for choice in choices]
            rows = tuple(np.concatenate([before, one, between, two, after]) for one, two in cut)
            seconds = tuple(len(before) + len(one) + len(between) for one, _ in cut)
            features.append(Feature(rows, np.array(example.label), example=at, units=1, seconds=seconds))
        return features

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return heads.Scores(encoder, 1, dropout, bias=False)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(outputs.float(), batch.stacked_labels(), reduction="sum")

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Choice], data: Data, scoring: Scoring
    ) -> list[int]:
        """The choice with the largest score."""
        return [int(scores.argmax()) for scores in outputs]

    def measure(self, predictions: Sequence[int], examples: Sequence[Choice], data: Data, language: str) -> list[Measure]:
        measures = [metrics.class_accuracy([e.label for e in examples], predictions, number_of_choices(examples))]
        return metrics.primary_first(measures, data.metric)


def joined(stem: str, choice: str) -> str:
    return f"{stem} {choice}" if stem else choice


def asked(example: Choice) -> str:
    """What stands before each choice: the context and the question, of those that there are."""
    return " ".join(filter(None, (example.context, example.question)))


KIND = ChoiceKind()
