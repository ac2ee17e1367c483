"""Masked language modelling (Devlin et al. 2019): hidden tokens are predicted from their neighbours.

A text is one sequence. What is hidden is drawn by `prepare`, for a whole optimizer batch and in the order of its features,
so that it does not depend on how the batch is cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Never, final

from xlift.registry.findings import UserError
from xlift.registry.known.architectures import ARCHITECTURES
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns
from xlift.runners.kinds.base import IGNORE, Batch, Feature, Kind, Reading, finite
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row
from xlift.runners.kinds.parts import heads, tokens
from xlift.runners.later import functional, np

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Text(Example):
    text: str

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Text:
        text = columns.string(columns.column(row, data, "text"), "text")
        if not text.strip():
            raise Fault("the text is empty", "take the item out")
        return cls(text)

    @property
    def group(self) -> tuple[str, ...]:
        return (self.text,)


HIDDEN, REPLACED = 0.8, 0.1  # shares of the predicted tokens; the rest stays as it is


@final
class MlmKind(Kind):
    """Outputs are (predicted tokens, vocabulary); there is no prediction and no metric."""

    example = Text

    def encode(self, examples: Sequence[Text], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One sequence a text, cut at `Reading.max_length`; nothing is predicted before `prepare`."""
        encoded = tokens.sequences(reading.tokenizer, [e.text for e in examples], max_length=reading.max_length)
        return [Feature((ids,), np.full(len(ids), IGNORE, dtype=np.int64), example=at, units=0) for at, ids in enumerate(encoded)]

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        own = ARCHITECTURES[encoder.config.model_type].language_head or {}
        return (heads.Matrix if "matrix" in own.values() else heads.Vocabulary)(encoder, dropout)

    def prepare(self, features: Sequence[Feature], tokenizer: Any, mask: float, rng: np.random.Generator) -> list[Feature]:
        """A share `mask` of each text's tokens, at least one, is predicted: 80 % hidden, 10 % replaced, 10 % as they are.

        Special tokens are neither predicted nor drawn as replacements. `units` are the predicted tokens: 0 for a text
        that is nothing but special tokens.
        """
        if tokenizer.mask_token_id is None:
            raise UserError("the tokenizer has no mask token, so the model cannot be trained by masked language modelling")
        special = np.array(sorted(tokenizer.all_special_ids))
        usual = np.setdiff1d(np.arange(len(tokenizer)), special)
        return [_masked(f, tokenizer.mask_token_id, special, usual, mask, rng) for f in features]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        labels = batch.padded_labels()
        return functional.cross_entropy(outputs.float(), labels[labels != IGNORE], reduction="sum")

    def split(self, outputs: Tensor, batch: Batch) -> list[np.ndarray]:
        """(predicted tokens, vocabulary) a feature."""
        return list(np.split(finite(outputs), np.cumsum([f.units for f in batch.features])[:-1]))

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Text], data: Data, scoring: Scoring
    ) -> Never:
        raise UserError(f"task '{data.task}' is masked language modelling, which is not scored", "evaluate another task")

    def measure(self, predictions: Sequence[Any], examples: Sequence[Text], data: Data, language: str) -> Never:
        raise UserError(f"task '{data.task}' is masked language modelling, which has no metric", "evaluate another task")


def _masked(
    feature: Feature, hide: int, special: np.ndarray, usual: np.ndarray, share: float, rng: np.random.Generator
) -> Feature:
    """`feature` with tokens drawn for prediction; `usual` are the ids that may replace a token."""
    ids = feature.sequences[0].copy()
    candidates = np.flatnonzero(~np.isin(ids, special))
    if not len(candidates):
        return feature
    drawn = rng.random(len(candidates)) < share
    if not drawn.any():
        drawn[rng.integers(len(candidates))] = True
    chosen = candidates[drawn]
    labels = np.full(len(ids), IGNORE, dtype=np.int64)
    labels[chosen] = ids[chosen]
    fate = rng.random(len(chosen))
    others = rng.choice(usual, size=len(chosen))
    ids[chosen] = np.where(fate < HIDDEN, hide, np.where(fate < HIDDEN + REPLACED, others, ids[chosen]))
    return replace(feature, sequences=(ids,), labels=labels, units=len(chosen))


KIND = MlmKind()
