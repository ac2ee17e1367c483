"""A context, perhaps a question, and several ways to go on, of which one is right.

Each choice is one sequence, and a linear layer scores it; all examples of a task have the same number of choices.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xlift.registry.stage import Data, Scoring
from xlift.runners import metrics
from xlift.runners.data.examples import Choice
from xlift.runners.data.sets import number_of_choices
from xlift.runners.kinds import heads, tokens
from xlift.runners.kinds.base import Batch, Feature, Kind, Reading
from xlift.runners.metrics import Measure


class Scores(heads.Sentence):
    """One score a sequence, as rows of choices."""

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        return super().forward(hidden, batch).view(len(batch.features), -1)  # (features, choices)


@final
class ChoiceKind(Kind):
    """Outputs are (features, choices); a prediction is the index of a choice."""

    def encode(self, examples: Sequence[Choice], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One sequence a choice: context and question, then the choice. What is too long loses the end of its context."""
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
            opening = tokens.array([*first.ids[:kept], *first.ids[context:]])
            cut = [tokens.longest_first(opening, choice, room) for choice in choices]
            rows = tuple(np.concatenate([before, one, between, two, after]) for one, two in cut)
            seconds = tuple(len(before) + len(one) + len(between) for one, _ in cut)
            features.append(Feature(rows, np.array(example.label), example=at, units=1, seconds=seconds))
        return features

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return Scores(encoder, 1, dropout, bias=False)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(outputs.float(), batch.stacked_labels(), reduction="sum")

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
