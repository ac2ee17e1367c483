"""Tasks as text to text (Raffel et al. 2020), for encoder-decoders: what is read is encoded as elsewhere, the answer is written.

A label, or the number of a choice, is the one whose text is likeliest. Answers, and the tags of a sentence's words, are written
greedily. There is no head of its own: the decoder is trained whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from xlift.registry.findings import UserError
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import choice, pair, span, tag, tokens
from xlift.runners.kinds.base import IGNORE, Batch, Feature, Kind, Reading
from xlift.runners.kinds.choice import Choice, asked, joined, number_of_choices
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged
from xlift.runners.metrics import Measure

LONGEST = 64  # tokens of an answer that is written


@dataclass(frozen=True, slots=True)
class Target:
    """What may be written for a feature: one of several texts, or, without them, at most `longest` tokens."""

    tokenizer: Any
    options: tuple[np.ndarray, ...] = ()  # token ids with the end of the text, each (length,)
    longest: int = LONGEST
    words: int = 0  # that are tagged


class Writer(nn.Module):
    """The decoder of an encoder-decoder.

    In training its outputs are logits of the target's tokens (tokens, vocabulary). Else they are, with options, their log
    likelihoods (features, options); without, (features, 1 + steps): the mean log likelihood of what was written, and its token
    ids, which fp32 holds exactly up to 2^24.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = (model,)  # in a tuple, so that its weights belong to the encoder-decoder alone

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        if self.training:
            targets = batch.padded_labels()
            return self._logits(hidden, batch, targets)[targets != IGNORE]
        target: Target = batch.features[0].trace
        return self._likelihoods(hidden, batch, target.options) if target.options else self._written(hidden, batch)

    def _logits(self, hidden: Tensor, batch: Batch, targets: Tensor) -> Tensor:
        read = BaseModelOutput(last_hidden_state=hidden)
        return self.model[0](encoder_outputs=read, attention_mask=batch.mask.long(), labels=targets, use_cache=False).logits

    def _likelihoods(self, hidden: Tensor, batch: Batch, options: Sequence[np.ndarray]) -> Tensor:
        found = []
        for option in options:
            targets = torch.as_tensor(option, device=hidden.device).repeat(len(hidden), 1)
            chances = self._logits(hidden, batch, targets).float().log_softmax(dim=-1)
            found.append(chances.gather(2, targets[..., None]).sum(dim=(1, 2)))
        return torch.stack(found, dim=1)

    def _written(self, hidden: Tensor, batch: Batch) -> Tensor:
        model, longest = self.model[0], max(feature.trace.longest for feature in batch.features)
        made = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=batch.mask.long(),
            max_new_tokens=longest,
            do_sample=False,
            num_beams=1,
            output_scores=True,
            return_dict_in_generate=True,
        )
        chances = model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True).float()
        real = chances.isfinite() & (made.sequences[:, 1:] != model.config.pad_token_id)
        means = chances.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return torch.cat([means[:, None], made.sequences[:, 1:].float()], dim=1)


class _Text(Kind):
    """A kind, by way of text. Labels are the token ids of what is to be written, and the end of the text."""

    def __init__(self, read: Kind):
        self.read = read

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return Writer(encoder)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Summed over the tokens that are to be written."""
        labels = batch.padded_labels()
        return cross_entropy(outputs.float(), labels[labels != IGNORE], reduction="sum")

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Any], data: Data, scoring: Scoring
    ) -> list[Any]:
        """As the kind itself, where its labels' likelihoods stand for its logits."""
        return self.read.decode(outputs, features, examples, data, scoring)

    def measure(self, predictions: Sequence[Any], examples: Sequence[Any], data: Data, language: str) -> list[Measure]:
        return self.read.measure(predictions, examples, data, language)


@final
class PairText(_Text):
    """A label is the one whose text is likeliest."""

    def encode(self, examples: Sequence[Pair], reading: Reading, data: Data, language: str) -> list[Feature]:
        options = _labels(data, reading.tokenizer)
        target = Target(reading.tokenizer, tuple(options))
        features = self.read.encode(examples, reading, data, language)
        return [_to_write(feature, options[int(feature.labels)], target) for feature in features]


@final
class ChoiceText(_Text):
    """A choice is the one whose number is likeliest."""

    pairs = PairText(pair.KIND)

    def encode(self, examples: Sequence[Choice], reading: Reading, data: Data, language: str) -> list[Feature]:
        """The choices stand, numbered, where a pair's second text does."""
        pairs = []
        for example in examples:
            second = " ".join(f"{at}: {joined(example.stem, choice)}" for at, choice in enumerate(example.choices, 1))
            pairs.append(Pair(asked(example), second, str(example.label + 1)))
        numbers = tuple(str(at + 1) for at in range(number_of_choices(examples)))
        return self.pairs.encode(pairs, reading, data.model_copy(update={"labels": numbers}), language)


@final
class TagText(_Text):
    """The tags of a sentence's words are written one after another."""

    def encode(self, examples: Sequence[Tagged], reading: Reading, data: Data, language: str) -> list[Feature]:
        longest = max(map(len, _labels(data, reading.tokenizer)), default=1)
        features = self.read.encode(examples, reading, data, language)
        texts = [" ".join(data.labels[at] for at in feature.labels[feature.trace]) for feature in features]
        return [
            _to_write(feature, ids, Target(reading.tokenizer, longest=feature.units * longest + 1, words=feature.units))
            for feature, ids in zip(features, _ids(reading.tokenizer, texts), strict=True)
        ]

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Tagged], data: Data, scoring: Scoring
    ) -> list[tuple[str, ...]]:
        """What was written; where there are too few tags, or what is none, the label of no entity, or the first."""
        tags: list[list[str]] = [[] for _ in examples]
        for row, feature in zip(outputs, features, strict=True):
            tags[feature.example] += _tags(_text(row, feature, feature.trace.longest), feature.trace.words, data.labels)
        return [tuple(each) for each in tags]


@final
class SpanText(_Text):
    """An answer is written."""

    def encode(self, examples: Sequence[Question], reading: Reading, data: Data, language: str) -> list[Feature]:
        """A feature a window; nothing is to be written for one that does not hold the answer."""
        features = self.read.encode(examples, reading, data, language)
        texts = [_answer(examples[feature.example], feature) for feature in features]
        target = Target(reading.tokenizer)
        return [_to_write(*each, target) for each in zip(features, _ids(reading.tokenizer, texts), strict=True)]

    def decode(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Question],
        data: Data,
        scoring: Scoring,
    ) -> list[str]:
        """The answer of the window that was surest of one."""
        answers = [(-np.inf, "")] * len(examples)
        for row, feature in zip(outputs, features, strict=True):
            text = _text(row, feature, scoring.answer_length)
            if text and row[0] > answers[feature.example][0]:
                answers[feature.example] = (float(row[0]), text)
        return [text for _, text in answers]


def _to_write(feature: Feature, ids: np.ndarray, target: Target) -> Feature:
    return replace(feature, labels=ids, units=len(ids), trace=target)


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """The token ids of each text, with its end."""
    return [tokens.array([*piece.ids, tokenizer.eos_token_id]) for piece in tokens.pieces(tokenizer, texts)]


def _labels(data: Data, tokenizer: Any) -> list[np.ndarray]:
    """The token ids of each label, with the end of the text."""
    ids = _ids(tokenizer, data.labels)
    if len({each.tobytes() for each in ids}) < len(ids):
        raise UserError(f"task '{data.task}': to the tokenizer two of {', '.join(data.labels)} are one text", "rename a label")
    return ids


def _text(row: np.ndarray, feature: Feature, longest: int) -> str:
    """What was written for a feature, of at most `longest` tokens."""
    ids = row[1 : 1 + min(longest, feature.trace.longest)].astype(np.int64)
    return feature.trace.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _tags(text: str, words: int, labels: Sequence[str]) -> list[str]:
    """As many tags as words; what is no label is none."""
    none = "O" if "O" in labels else labels[0]
    said = [word if word in labels else none for word in text.split()[:words]]
    return said + [none] * (words - len(said))


def _answer(example: Question, feature: Feature) -> str:
    """The answer, where the window holds it."""
    held = int(feature.labels[0]) != feature.trace.null or int(feature.labels[1]) != feature.trace.null
    return example.answers[0] if held and example.answers else ""


TEXTS: dict[str, Kind] = {
    "pair": PairText(pair.KIND),
    "tag": TagText(tag.KIND),
    "span": SpanText(span.KIND),
    "choice": ChoiceText(choice.KIND),
}
