"""A question about a text, whose answer is a span of it, or nothing.

A long context becomes several windows, each after the whole question. The question is cut to half of the room beside the
special tokens, and the overlap of windows to half of a window, so that every window moves on; a step is at most a window.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from xlift.registry.stage import Cutting, Data, Scoring
from xlift.runners.kinds import columns
from xlift.runners.kinds.base import Batch, Feature, Kind, Reading, finite
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row, Unfit, scorable
from xlift.runners.kinds.parts import heads, metrics, tokens
from xlift.runners.later import functional, np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlift.runners.metrics import Measure


@dataclass(frozen=True, slots=True)
class Question(Example):
    """`starts` are character offsets of `answers` in `context`; both are empty where there is no answer."""

    context: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    id: str

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Question:
        context = columns.string(columns.column(row, data, "context"), "context")
        texts, starts = _answers(columns.column(row, data, "answers"))
        for text, start in zip(texts, starts, strict=True):
            if not text:
                raise Fault("an answer is empty", "give an unanswerable question empty lists, and take hidden answers out")
            if start < 0 or context[start : start + len(text)] != text:
                at = context.find(text)
                raise Fault(
                    f"answer {text!r} is not at character {start} of the context; "
                    + (f"it is at {at}" if at >= 0 else "it is nowhere in it: correct the item or take it out")
                )
        name = row.get(data.fields.get("id", "id"), place)
        return cls(context, columns.string(columns.column(row, data, "question"), "question"), texts, starts, str(name))

    @property
    def group(self) -> tuple[str, ...]:
        return (self.context,)

    @property
    def stratum(self) -> bool:
        return bool(self.answers)

    @property
    def gold(self) -> tuple[bool, ...]:
        return ()

    @classmethod
    def check(cls, examples: Sequence[Question], *, scored: bool) -> None:
        """Unfit where no question that is scored has an answer; all may have one."""
        if scored:
            scorable(examples)
        if scored and not any(example.answers for example in examples):
            raise Unfit("no question has an answer")


def _answers(value: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts and starts of {"text": […], "answer_start": […]}, in .csv and .tsv as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise Fault(f"the answers are not JSON ({error.msg})", _ANSWERS) from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), list) or not isinstance(value.get("answer_start"), list):
        raise Fault(f"the answers are {columns.shown(value)}", _ANSWERS)
    texts, starts = columns.strings(value["text"], "answers"), value["answer_start"]
    if len(texts) != len(starts):
        raise Fault(f"{len(texts)} answers but {len(starts)} starts", _ANSWERS)
    if wrong := [start for start in starts if not isinstance(start, int) or isinstance(start, bool)]:
        raise Fault(f"answer_start is {columns.shown(wrong[0])}", "write a character offset")
    return texts, tuple(starts)


_ANSWERS = 'write {"text": ["…"], "answer_start": [0]}'


BEST = 20  # starts and ends that are tried in each window, as in BERT's reader (Devlin et al. 2019)


@dataclass(frozen=True, slots=True)
class Window:
    """The context's tokens in a sequence: the first one's position, and the characters that each covers."""

    begin: int
    offsets: np.ndarray  # (tokens, 2) int32: first character, and the one after the last
    null: int = 0  # the position that stands for no answer: the first; in a causal model the last, which alone sees all


@final
class SpanKind(Kind):
    """Outputs are (sequences, length, 2): start and end; a prediction is a text. A feature's trace is a `Window`."""

    example = Question

    def encode(self, examples: Sequence[Question], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One feature a window. Labels: first and last token of the first answer; both `Window.null` where the window has not
        all of it.
        """
        room = tokens.room_for(reading.tokenizer, pair=True, max_length=reading.max_length)
        before, between, after = tokens.frame(reading.tokenizer, pair=True)
        asked = tokens.pieces(reading.tokenizer, [e.question for e in examples])
        contexts = tokens.pieces(reading.tokenizer, [e.context for e in examples])
        longest = min(room // 2, reading.cutting.question_length or room)
        features = []
        for at, (example, question, context) in enumerate(zip(examples, asked, contexts, strict=True)):
            opening = np.concatenate([before, tokens.array(question.ids)[:longest], between])
            ids = tokens.array(context.ids)
            offsets = np.array(context.offsets, dtype=np.int32).reshape(-1, 2)
            width = reading.max_length - len(opening) - len(after)
            answer = _answer(example, offsets)
            for low, high in _windows(len(ids), width, reading.cutting):
                inside = answer is not None and low <= answer[0] and answer[1] < high
                sequence = np.concatenate([opening, ids[low:high], after])
                null = len(sequence) - 1 if reading.causal else 0
                label = np.array(answer) - low + len(opening) if inside else np.array([null, null])
                features.append(
                    Feature(
                        (sequence,),
                        label.astype(np.int64),
                        example=at,
                        units=1,
                        seconds=(len(opening),),
                        trace=Window(len(opening), offsets[low:high], null),
                    )
                )
        return features

    def head(self, encoder: nn.Module, data: Data, dropout: float) -> nn.Module:
        return heads.Token(encoder, 2, dropout, bias=False)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean of the losses of start and end, summed over windows; padding cannot be chosen."""
        logits = outputs.float().masked_fill(~batch.mask[..., None], -np.inf)
        return (
            functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1), batch.stacked_labels().flatten(), reduction="sum") / 2
        )

    def split(self, outputs: Tensor, batch: Batch) -> list[np.ndarray]:
        """(length, 2) a feature."""
        rows = finite(outputs)
        return [row[: feature.tokens] for row, feature in zip(rows, batch.features, strict=True)]

    def decode(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Question],
        data: Data,
        scoring: Scoring,
    ) -> list[str]:
        """The best valid span over an example's windows.

        It is empty if some question of the set has no answer and the least score of "no answer" over windows is above the best
        score of a span by more than the threshold; or if no window has a valid span among its best starts and ends.
        """
        threshold = scoring.null_threshold
        assert threshold != "dev", "a threshold is settled before it is used"
        may_be_empty = any(not e.answers for e in examples)
        found = self.answers(outputs, features, examples, scoring)
        return ["" if may_be_empty and null > threshold else text for text, null in found]

    def answers(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Question], scoring: Scoring
    ) -> list[tuple[str, float]]:
        """The best valid span of each example, and by how much "no answer" scores above it."""
        best = [(-np.inf, "")] * len(examples)
        null = [np.inf] * len(examples)
        for logits, feature in zip(outputs, features, strict=True):
            at = feature.example
            null[at] = min(null[at], float(logits[feature.trace.null].sum()))
            found = _best_span(logits, feature.trace, scoring.answer_length)
            if found is not None and found[0] > best[at][0]:
                score, first, last = found
                best[at] = (score, examples[at].context[first:last].strip())
        return [(text, none - score) for (score, text), none in zip(best, null, strict=True)]

    def settled(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Question],
        data: Data,
        scoring: Scoring,
        language: str,
    ) -> Scoring:
        """With a null threshold of `dev` as it has the best F1 on these examples, which SQuAD 2.0's own script finds so."""
        if scoring.null_threshold != "dev":
            return scoring
        threshold = self._threshold(outputs, features, examples, data, scoring, language)
        return scoring.model_copy(update={"null_threshold": threshold})

    def _threshold(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Question],
        data: Data,
        scoring: Scoring,
        language: str,
    ) -> float:
        """Halfway between two margins; of equals the one that gives fewer answers; 0 where all questions have one."""
        if all(example.answers for example in examples):
            return 0.0
        found = self.answers(outputs, features, examples, scoring)
        rows = [
            (margin, metrics.answer_f1(example.answers, text, *how) - metrics.answer_f1(example.answers, "", *how))
            for how in [(language, data.normaliser or "squad")]
            for example, (text, margin) in zip(examples, found, strict=True)
            if np.isfinite(margin)
        ]
        if not rows:
            return 0.0
        margins, gains = np.array(sorted(rows)).T
        won = np.concatenate([[0.0], np.cumsum(gains)])  # by giving the answers of so many of the lowest margins
        won[1:-1][margins[1:] == margins[:-1]] = -np.inf  # equal margins are not parted
        last = int(won.argmax())
        if last in (0, len(margins)):
            return float(margins[0] - 1 if last == 0 else margins[-1])
        return float(margins[last - 1 : last + 1].mean())

    def measure(self, predictions: Sequence[str], examples: Sequence[Question], data: Data, language: str) -> list[Measure]:
        return metrics.primary_first(
            metrics.answer_measures([e.answers for e in examples], predictions, language, data.normaliser or "squad"), data.metric
        )


def _answer(example: Question, offsets: np.ndarray) -> tuple[int, int] | None:
    """First and last token that share a character with the first answer; None without answer or without such tokens."""
    if not example.answers:
        return None
    begin, end = example.starts[0], example.starts[0] + len(example.answers[0])
    touched = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _windows(length: int, width: int, cutting: Cutting) -> Iterator[tuple[int, int]]:
    """Ranges of at most `width` tokens that cover `length` tokens, by their overlap or the step between them.

    One at least, empty for no tokens.
    """
    step = min(cutting.doc_stride, width) if cutting.doc_stride else width - min(cutting.stride, width // 2)
    low = 0
    while low + width < length:
        yield low, low + width
        low += step
    yield low, length


def _best_span(logits: np.ndarray, window: Window, longest: int) -> tuple[float, int, int] | None:
    """Score, first character and the one after the last of a window's best span of at most `longest` tokens."""
    count = len(window.offsets)
    scores = logits[window.begin : window.begin + count]  # (tokens, 2)
    starts, ends = (np.argsort(-scores[:, side], kind="stable")[:BEST] for side in (0, 1))
    total = scores[starts, 0][:, None] + scores[ends, 1][None]  # (starts, ends)
    tokens_spanned = ends[None] - starts[:, None] + 1
    total[(tokens_spanned < 1) | (tokens_spanned > longest)] = -np.inf
    if not total.size or total.max() == -np.inf:
        return None
    start, end = np.unravel_index(total.argmax(), total.shape)
    return float(total[start, end]), int(window.offsets[starts[start], 0]), int(window.offsets[ends[end], 1])


KIND = SpanKind()
