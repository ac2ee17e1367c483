"""Finding a sentence's translation among all by the cosine of mean-pooled hidden states; nothing is trained.

The query is the sentence in the source language of the study (the pivot), the pool is the foreign side, as in
notes/science.md section 5; two sentences that are equal in the pool count as different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Never, final

from xlift.registry.findings import UserError
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns
from xlift.runners.kinds.base import Batch, Feature, Kind, Reading
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np, torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlift.runners.metrics import Measure


FOREIGN, PIVOT = "source", "pivot"  # the sides of a translation, as files call them


@dataclass(frozen=True, slots=True)
class Parallel(Example):
    """A sentence and its translation in the source language of the study."""

    foreign: str
    pivot: str

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Parallel:
        foreign, pivot = (columns.string(columns.column(row, data, side), side) for side in (FOREIGN, PIVOT))
        if not foreign.strip() or not pivot.strip():
            raise Fault("a sentence is empty", "take the pair out")
        return cls(foreign, pivot)

    @property
    def group(self) -> tuple[str, ...]:
        return (self.pivot,)

    def prefixed(self, prefix: str) -> Parallel:
        return replace(self, foreign=prefix + self.foreign, pivot=prefix + self.pivot)


class SentenceKind(Kind):
    """A kind that is scored by embeddings of sentences (`pool`), and not trained."""

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> Never:
        raise UserError(f"task '{data.task}' is retrieval, which has no head: its outputs are pooled hidden states")

    def loss(self, outputs: Tensor, batch: Batch) -> Never:
        raise UserError("retrieval is not trained", "use it as a target only")


@final
class RetrieveKind(SentenceKind):
    """Outputs are embeddings (sequences, hidden), which `pool` makes; a prediction is the index of an example."""

    example = Parallel

    def encode(self, examples: Sequence[Parallel], reading: Reading, data: Data, language: str) -> list[Feature]:
        """Two features an example, its foreign side and then its pivot; the caller has put `Scoring.prefix` before both texts."""
        texts = [text for e in examples for text in (e.foreign, e.pivot)]
        encoded = tokens.sequences(reading.tokenizer, texts, max_length=reading.max_length)
        return [
            Feature((ids,), tokens.NOTHING, example=at // 2, units=0, trace=PIVOT if at % 2 else FOREIGN)
            for at, ids in enumerate(encoded)
        ]

    def decode(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Parallel],
        data: Data,
        scoring: Scoring,
    ) -> list[int]:
        """For each example's pivot, the example whose foreign side is nearest."""
        sides: dict[str, list[np.ndarray | None]] = {side: [None] * len(examples) for side in (FOREIGN, PIVOT)}
        for embedding, feature in zip(outputs, features, strict=True):
            sides[feature.trace][feature.example] = embedding
        return nearest(np.stack(sides[PIVOT]), np.stack(sides[FOREIGN])).tolist()

    def measure(self, predictions: Sequence[int], examples: Sequence[Parallel], data: Data, language: str) -> list[Measure]:
        return metrics.primary_first([metrics.retrieval_accuracy(predictions)], data.metric)


def relative_layer(layers: int) -> int:
    """The hidden state that stands where 14 of 24 does, floor(14/24 layers + 1/2); 0 is the embeddings."""
    return (7 * layers + 6) // 12


def pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """`heads.mean` of one layer's hidden states (sequences, length, hidden), of length 1."""
    return functional.normalize(heads.mean(hidden, mask), dim=-1)


def nearest(query: np.ndarray, pool: np.ndarray, *, block: int = 1024) -> np.ndarray:
    """For each of the queries (n, dim) the index of the pool's (m, dim) nearest row by cosine, exactly; the first of equals."""
    targets = unit(pool)
    found = [(part @ targets.T).argmax(dim=1) for part in unit(query).split(block)]
    return torch.cat(found).cpu().numpy()


def unit(rows: np.ndarray) -> Tensor:
    """Embeddings (n, dim) of length 1, fp32, on torch's default device; UserError where one is not finite."""
    made = functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)
    if not made.isfinite().all():
        raise UserError("an embedding is not finite, so it has no neighbour", "score in fp32 or look at the checkpoint")
    return made


KIND = RetrieveKind()
