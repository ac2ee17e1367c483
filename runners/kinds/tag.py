"""A label a word: parts of speech, names.

A word's label stands on its first sub-word; in a causal model on its last, which has seen the whole word. A sentence that
does not fit into one sequence becomes several, cut between words, so that every word is scored once; nothing is lost but
the tail of a single word longer than a whole sequence.
A word without any sub-word (a lone control character) is given one unknown token, so that it is scored as well.
The encoder sees the sub-words of running text: words joined by blanks, or, in a language that writes none, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from xlift.registry.findings import UserError
from xlift.registry.kinds import KINDS
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns, labels
from xlift.runners.kinds.base import IGNORE, Batch, Feature, Kind, Reading, finite
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np

if TYPE_CHECKING:
    from tokenizers import Encoding
    from torch import Tensor, nn

    from xlift.runners.metrics import Measure


@dataclass(frozen=True, slots=True)
class Tagged(Example):
    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Tagged:
        tokens = columns.strings(columns.column(row, data, "tokens"), "tokens")
        tags = columns.column(row, data, "tags")
        tags = tags.split() if isinstance(tags, str) else tags
        if not isinstance(tags, list):
            raise Fault(f"the tags are {columns.shown(tags)}, not a list", "write a list of tags")
        if len(tags) != len(tokens):
            raise Fault(f"{len(tokens)} tokens but {len(tags)} tags", "write one tag a token")
        if not tokens:
            raise Fault("no tokens", "take the item out")
        return cls(tokens, tuple(columns.label(tag, data) for tag in tags))

    @property
    def group(self) -> tuple[str, ...]:
        return self.tokens

    @property
    def gold(self) -> tuple[str, ...]:
        return self.tags


@final
class TagKind(Kind):
    """Outputs are (sequences, length, tags); a prediction is a tuple of tags. A feature's trace is where labels stand."""

    example = Tagged

    def encode(self, examples: Sequence[Tagged], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One sequence an example, or several for a long sentence, without overlap."""
        known = labels.indices(data)
        room = tokens.room_for(reading.tokenizer, pair=False, max_length=reading.max_length)
        before, after = tokens.frame(reading.tokenizer, pair=False)
        stand_in = _stand_in(reading.tokenizer)
        features = []
        for at, (example, words_of) in enumerate(zip(examples, _subwords(reading.tokenizer, examples, language), strict=True)):
            if len(example.tokens) != len(example.tags):
                raise UserError(f"task '{data.task}', example {at}: {len(example.tokens)} tokens but {len(example.tags)} tags")
            gold = [labels.index(tag, known, data, at) for tag in example.tags]
            done = 0
            for words in _fitting([ids if len(ids) else stand_in for ids in words_of], room):
                ends = len(before) + np.cumsum([*map(len, words)])
                places = ends - 1 if reading.causal else ends - [*map(len, words)]
                ids = np.concatenate([before, *words, after])
                row = np.full(len(ids), IGNORE, dtype=np.int64)
                row[places] = gold[done : done + len(words)]
                features.append(Feature((ids,), row, example=at, units=len(words), trace=places))
                done += len(words)
        return features

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return heads.Token(encoder, len(labels.indices(data)), dropout)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(
            outputs.float().flatten(0, 1), batch.padded_labels().flatten(), ignore_index=IGNORE, reduction="sum"
        )

    def split(self, outputs: Tensor, batch: Batch) -> list[np.ndarray]:
        """(length, tags) a feature."""
        rows = finite(outputs)
        return [row[: feature.tokens] for row, feature in zip(rows, batch.features, strict=True)]

    def decode(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Tagged], data: Data, scoring: Scoring
    ) -> list[tuple[str, ...]]:
        """The tag with the largest logit where each word's label stands."""
        found: list[list[str]] = [[] for _ in examples]
        for logits, feature in zip(outputs, features, strict=True):
            found[feature.example] += [data.labels[best] for best in logits[feature.trace].argmax(axis=1)]
        return [tuple(tags) for tags in found]

    def measure(
        self, predictions: Sequence[Sequence[str]], examples: Sequence[Tagged], data: Data, language: str
    ) -> list[Measure]:
        """Entity F1 where the labels are IOB2, XTREME's F1 over tags where they are bare; and accuracy over words."""
        gold = [e.tags for e in examples]
        measures = {"entity_f1": metrics.entity_f1, "f1_xtreme": metrics.f1_xtreme, "accuracy": metrics.tag_accuracy}
        wanted = KINDS["tag"].computed(data.labels)
        return metrics.primary_first([measures[name](gold, predictions) for name in wanted], data.metric)


def _stand_in(tokenizer: Any) -> np.ndarray:
    """The token of a word that has none, (1,): unknown, or end of text in tokenizers of bytes."""
    for token in (tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token is not None:
            return tokens.array([token])
    raise UserError("the tokenizer has neither an unknown token nor one for the end of a text")


UNSPACED = {"ja", "km", "lo", "my", "th", "zh"}  # languages that write no blanks between words


def _subwords(tokenizer: Any, examples: Sequence[Tagged], language: str) -> Iterator[list[np.ndarray]]:
    """The sub-words of each word of each example; none for a word that the tokenizer leaves out."""
    if language in UNSPACED:
        words = [list(e.tokens) for e in examples]
        for example, encoding in zip(examples, tokens.pieces(tokenizer, words, words=True), strict=True):
            yield _grouped(encoding, encoding.word_ids, len(example.tokens))
        return
    for example, encoding in zip(examples, tokens.pieces(tokenizer, [" ".join(e.tokens) for e in examples]), strict=True):
        ends = np.cumsum([len(word) + 1 for word in example.tokens]) - 1  # of each word, in characters
        owners = np.searchsorted(
            ends, [begin for begin, _ in encoding.offsets], side="right"
        )  # a blank goes with what follows it
        yield _grouped(encoding, owners.tolist(), len(example.tokens))


def _grouped(encoding: Encoding, owners: Sequence[int], count: int) -> list[np.ndarray]:
    found: list[list[int]] = [[] for _ in range(count)]
    for token, word in zip(encoding.ids, owners, strict=True):
        found[min(word, count - 1)].append(token)
    return [tokens.array(ids) for ids in found]


def _fitting(words: Sequence[np.ndarray], room: int) -> Iterator[list[np.ndarray]]:
    """Words in groups of at most `room` sub-words, each as long as it can be."""
    group: list[np.ndarray] = []
    used = 0
    for word in words:
        cut = word[:room]
        if used + len(cut) > room:
            yield group
            group, used = [], 0
        group.append(cut)
        used += len(cut)
    if group:
        yield group


KIND = TagKind()
