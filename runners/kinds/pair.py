"""One text or two, and one label: entailment, paraphrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns, labels
from xlift.runners.kinds.base import Batch, Feature, Kind, Reading
from xlift.runners.kinds.example import Example, Row
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlift.runners.metrics import Measure


@dataclass(frozen=True, slots=True)
class Pair(Example):
    first: str
    second: str
    label: str

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Pair:
        return cls(
            columns.string(columns.column(row, data, "first"), "first text"),
            columns.string(columns.column(row, data, "second"), "second text"),
            columns.label(columns.column(row, data, "label"), data),
        )

    @property
    def group(self) -> tuple[str, ...]:
        return (self.first,)

    @property
    def stratum(self) -> str:
        return self.label


@final
class PairKind(Kind):
    """Outputs are (sequences, classes); a prediction is a label."""

    example = Pair

    def encode(self, examples: Sequence[Pair], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One sequence an example, the longer text cut first."""
        known = labels.indices(data)
        room = tokens.room_for(reading.tokenizer, pair=True, max_length=reading.max_length)
        before, between, after = tokens.frame(reading.tokenizer, pair=True)
        texts = tokens.pieces(reading.tokenizer, [text for e in examples for text in (e.first, e.second)])
        features = []
        for at, example in enumerate(examples):
            label = np.array(labels.index(example.label, known, data, at))
            one, two = tokens.longest_first(tokens.array(texts[2 * at].ids), tokens.array(texts[2 * at + 1].ids), room)
            row = np.concatenate([before, one, between, two, after])
            seconds = (len(before) + len(one) + len(between),)
            features.append(Feature((row,), label, example=at, units=1, seconds=seconds))
        return features

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return heads.Sentence(encoder, len(labels.indices(data)), dropout)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(outputs.float(), batch.stacked_labels(), reduction="sum")

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Pair], data: Data, scoring: Scoring
    ) -> list[str]:
        """The label with the largest logit."""
        return [data.labels[int(logits.argmax())] for logits in outputs]

    def measure(self, predictions: Sequence[str], examples: Sequence[Pair], data: Data, language: str) -> list[Measure]:
        measures = [metrics.class_accuracy([e.label for e in examples], predictions, len(labels.indices(data)))]
        return metrics.primary_first(measures, data.metric)


KIND = PairKind()
