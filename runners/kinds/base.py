"""What every kind of task provides: how examples become sequences, a head, a loss, predictions and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlift.registry.findings import UserError
from xlift.registry.stage import Cutting, Data, Scoring
from xlift.runners.kinds.example import Example
from xlift.runners.later import np, torch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerFast

    from xlift.runners.metrics import Measure

IGNORE = -100  # a label that bears no loss, as in torch.nn.functional.cross_entropy


@dataclass(frozen=True, slots=True)
class Feature:
    """One training or test unit: one sequence, or one sequence a choice."""

    sequences: tuple[np.ndarray, ...]  # token ids, int64, each (length,)
    labels: np.ndarray  # int64; its shape is the kind's: (), (2,), (length,); empty where there is none
    example: int  # index of its example; windows of one long text share it
    units: int  # loss terms that it bears
    seconds: tuple[int, ...] = ()  # where the second text of each sequence begins; empty where there is one text
    trace: Any = None  # what `decode` needs to get back from tokens to the text

    @property
    def tokens(self) -> int:
        return sum(map(len, self.sequences))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads texts."""

    tokenizer: PreTrainedTokenizerFast
    cutting: Cutting
    causal: bool = False  # a token sees only those before it, so an output stands where all was seen that it rests on

    @property
    def max_length(self) -> int:
        """Tokens of a sequence."""
        return self.cutting.max_length


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded sequences of several features, in order."""

    ids: Tensor  # (sequences, length) int64
    mask: Tensor  # (sequences, length) bool: True where a token is real
    features: tuple[Feature, ...]
    types: Tensor | None = None  # (sequences, length) int64: 1 from where the second text begins; None where all are single

    def stacked_labels(self) -> Tensor:
        """(features, ...) int64, for kinds whose labels have one shape."""
        return torch.as_tensor(np.stack([f.labels for f in self.features])).to(self.ids.device)

    def padded_labels(self) -> Tensor:
        """(sequences, length) int64, for kinds with a label a token; padding is `IGNORE`."""
        rows = [torch.as_tensor(f.labels) for f in self.features]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE).to(self.ids.device)


def finite(outputs: Tensor) -> np.ndarray:
    """Outputs as fp32 on the host; UserError where one is not finite, since its largest would be taken for a prediction."""
    rows = outputs.float().cpu()
    if not rows.isfinite().all():
        raise UserError("the model's outputs are not finite", "score in fp32, or look at the checkpoint's training")
    return rows.numpy()


class Kind(ABC):
    """Behaviour shared by all tasks of one form. Stateless."""

    example: type[Example]

    @abstractmethod
    def encode(self, examples: Sequence[Any], reading: Reading, data: Data, language: str) -> list[Feature]:
        """Every example as one or more features, in the order of the examples; `language` is theirs."""

    @abstractmethod
    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        """A module from hidden states (sequences, length, hidden) and `Batch` to outputs."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The sum (not the mean) of the loss over the batch's units, a scalar in fp32."""

    def prepare(self, features: Sequence[Feature], tokenizer: Any, mask: float, rng: np.random.Generator) -> list[Feature]:
        """What is drawn anew for every optimizer batch: nothing, except in masked language modelling."""
        return list(features)

    def split(self, outputs: Tensor, batch: Batch) -> list[np.ndarray]:
        """The outputs of each feature, without padding, fp32."""
        return list(finite(outputs))

    def settled(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Any],
        data: Data,
        scoring: Scoring,
        language: str,
    ) -> Scoring:
        """A scoring, with what it leaves to development data as it is best on these: nothing, except of spans."""
        return scoring

    @abstractmethod
    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Any], data: Data, scoring: Scoring
    ) -> list[Any]:
        """One prediction an example."""

    @abstractmethod
    def measure(self, predictions: Sequence[Any], examples: Sequence[Any], data: Data, language: str) -> list[Measure]:
        """The task's own metric first, then secondary ones."""
