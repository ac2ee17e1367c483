"""Mining translations among sentences most of which have none (Zweigenbaum et al. 2018); nothing is trained.

Two sentences' score is the ratio margin of Artetxe and Schwenk (2019), section 3: their cosine over the mean of what each has
to its four nearest. Each sentence proposes its best; proposals are taken from the best down, a sentence once. The threshold is
the one with the best F1 on the sentences that tune (notes/science.md, section 5).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import columns
from xlift.runners.kinds.base import Feature, Reading
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row, Unfit, scorable
from xlift.runners.kinds.parts import metrics, tokens
from xlift.runners.kinds.retrieve import FOREIGN, PIVOT, SentenceKind, unit
from xlift.runners.later import np, torch

if TYPE_CHECKING:
    from torch import Tensor

    from xlift.runners.metrics import Measure


@dataclass(frozen=True, slots=True)
class Sentence(Example):
    """One of many, of which a few are translations of each other.

    Two of the two sides that share a name in `pairs` are; most have none. The threshold is set on those that tune.
    """

    text: str
    side: str  # FOREIGN or PIVOT
    pairs: tuple[str, ...]
    tunes: bool

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Sentence:
        text = columns.string(columns.column(row, data, "text"), "text")
        if not text.strip():
            raise Fault("the sentence is empty", "take it out")
        side, split = (columns.column(row, data, role) for role in ("side", "split"))
        if side not in (FOREIGN, PIVOT):
            raise Fault(
                f"the side is {columns.shown(side)}", "write source, or pivot for a sentence in the source language of the study"
            )
        if split not in ("dev", "test"):
            raise Fault(f"the split is {columns.shown(split)}", "write dev for what the threshold is set on, or test")
        return cls(text, side, columns.strings(columns.column(row, data, "pairs") or "", "pairs"), split == "dev")

    @property
    def group(self) -> tuple[str, ...]:
        return (self.text,)

    def prefixed(self, prefix: str) -> Sentence:
        return replace(self, text=prefix + self.text)

    @classmethod
    def check(cls, examples: Sequence[Sentence], *, scored: bool) -> None:
        """Unfit where a split has no translations to find, too."""
        if scored:
            scorable(examples)
        translations(examples)


OTHER = {FOREIGN: PIVOT, PIVOT: FOREIGN}


def translations(examples: Sequence[Sentence]) -> list[set[int]]:
    """For each sentence the indices of those of the other side that translate it; Unfit where a split has none."""
    named: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for at, example in enumerate(examples):
        for name in example.pairs:
            named[name, example.side, example.tunes].append(at)
    found = [{at for name in e.pairs for at in named.get((name, OTHER[e.side], e.tunes), ())} for e in examples]
    for split in ("dev", "test"):
        if not any(pairs for e, pairs in zip(examples, found, strict=True) if e.tunes == (split == "dev")):
            raise Unfit(f"no two sentences of split {split} share a pair, so nothing can be found there")
    return found


def _texts(side: Sequence[int], examples: Sequence[Sentence]) -> list[int]:
    """The first sentence of every text of a side."""
    return sorted({examples[at].text: at for at in reversed(side)}.values())


def _once(side: Sequence[int], examples: Sequence[Sentence]) -> list[int]:
    """The sentences whose text stands once on their side."""
    count = Counter(examples[at].text for at in side)
    return [at for at in side if count[examples[at].text] == 1]


NEIGHBOURS = 4
Mined = list[tuple[int, int, float]]  # of one side, of the other, their score; the best first


@final
class MineKind(SentenceKind):
    """Outputs are embeddings (sentences, hidden); a prediction is the index of the example that translates one, or -1."""

    example = Sentence

    def encode(self, examples: Sequence[Sentence], reading: Reading, data: Data, language: str) -> list[Feature]:
        """One feature an example; the caller has put `Scoring.prefix` before its text."""
        encoded = tokens.sequences(reading.tokenizer, [e.text for e in examples], max_length=reading.max_length)
        return [Feature((ids,), tokens.NOTHING, example=at, units=0) for at, ids in enumerate(encoded)]

    def decode(
        self,
        outputs: Sequence[np.ndarray],
        features: Sequence[Feature],
        examples: Sequence[Sentence],
        data: Data,
        scoring: Scoring,
    ) -> list[int]:
        """Both splits, each by itself, at the threshold that is best on the sentences that tune."""
        known, threshold = translations(examples), np.inf
        found = [-1] * len(examples)
        for tunes in (True, False):
            sides = [[i for i, e in enumerate(examples) if (e.side, e.tunes) == (side, tunes)] for side in (FOREIGN, PIVOT)]
            alone = [side if scoring.repeated == "each" else _texts(side, examples) for side in sides]
            foreign, pivot = (np.stack([outputs[i] for i in side]) for side in alone)
            pairs = [(alone[0][one], alone[1][other], score) for one, other, score in mined(foreign, pivot)]
            if scoring.repeated == "dropped":
                once = {i for side in sides for i in _once(side, examples)}
                pairs = [pair for pair in pairs if once.issuperset(pair[:2])]
            if tunes:
                right = [other in known[one] for one, other, _ in pairs]
                threshold = best_cut([score for *_, score in pairs], right, sum(len(known[one]) for one in sides[0]))
            for one, other, score in pairs:
                if score >= threshold:
                    found[one], found[other] = other, one
        return found

    def measure(self, predictions: Sequence[int], examples: Sequence[Sentence], data: Data, language: str) -> list[Measure]:
        known = translations(examples)
        scored = [i for i, e in enumerate(examples) if e.side == FOREIGN and not e.tunes]
        measures = [metrics.mining_f1([known[i] for i in scored], [predictions[i] for i in scored])]
        return metrics.primary_first(measures, data.metric)


def mined(foreign: np.ndarray, pivot: np.ndarray, *, block: int = 256) -> Mined:
    """Pairs of rows of two matrices (n, dim) and (m, dim), each row at most once; computed on torch's default device."""
    sides = (unit(foreign), unit(pivot))
    nearest = [_nearest(*each, block) for each in (sides, sides[::-1])]
    means = [cosines.mean(dim=1) for cosines, _ in nearest]
    proposed = []
    for (cosines, others), own, theirs in zip(nearest, means, means[::-1], strict=True):
        margins, best = (2 * cosines / (own[:, None] + theirs[others])).max(dim=1)
        proposed.append((others.gather(1, best[:, None])[:, 0].tolist(), margins.tolist()))
    (forth, scores), (back, more) = proposed
    pairs = [*zip(range(len(foreign)), forth, scores, strict=True), *zip(back, range(len(pivot)), more, strict=True)]
    taken: tuple[set[int], set[int]] = (set(), set())
    found: Mined = []
    for one, other, score in sorted(pairs, key=lambda pair: (-pair[2], *pair[:2])):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            found.append((one, other, score))
    return found


def _nearest(rows: Tensor, pool: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices, each (n, k), of the k of the pool that are nearest to each row."""
    found = [(part @ pool.T).topk(min(NEIGHBOURS, len(pool)), dim=1) for part in rows.split(block)]
    return torch.cat([cosines for cosines, _ in found]), torch.cat([indices for _, indices in found])


def best_cut(scores: Sequence[float], right: Sequence[bool], gold: int) -> float:
    """The threshold with the best F1 on pairs that stand with the best first: halfway between the last one in and the next.

    Of equals the highest; 0 where no pair is right, which takes all, as XTREME's script does: a model that finds nothing on the
    development sentences is scored by what it finds. `gold` pairs could have been found.
    """
    if not scores:
        return 0.0
    correct, taken = np.cumsum(right), np.arange(1, len(right) + 1)
    f1 = 2 * correct / (taken + gold)
    f1[:-1][np.equal(scores[:-1], scores[1:])] = -1  # equal scores are not parted
    last = int(f1.argmax())
    if not correct[last]:
        return 0.0
    return scores[last] if last + 1 == len(scores) else (scores[last] + scores[last + 1]) / 2


KIND = MineKind()
