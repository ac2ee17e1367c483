"""Metrics over test items: value, chance and standard error, all fractions in [0, 1].

A standard error is over items, not over seeds: sd / sqrt(n) for a mean, the linearised ratio estimator
(Cochran 1977, sec. 2.11) over sentences for a ratio of sums, such as the F1 of a corpus.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from unicodedata import category

import numpy as np

from xlift.registry.findings import UserError

Chunk = tuple[str, int, int]  # type, first word, last word
Sentences = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric over test items: value, chance and standard error over items are fractions in [0, 1]."""

    metric: str
    value: float
    chance: float
    se: float
    items: int


def primary_first(measures: Sequence[Measure], metric: str | None) -> list[Measure]:
    """The task's own metric first; the order given where the task names none."""
    if metric is None:
        return list(measures)
    if metric not in {m.metric for m in measures}:
        raise UserError(f"metric '{metric}' does not fit this task", f"known: {', '.join(m.metric for m in measures)}")
    return sorted(measures, key=lambda m: m.metric != metric)


# Estimates


def mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean of the items and its standard error, sd / sqrt(n)."""
    if len(values) < 2:
        raise UserError(f"{len(values)} test item(s) give no standard error", "score at least two")
    items = np.asarray(values, dtype=np.float64)
    return float(items.mean()), float(items.std(ddof=1) / np.sqrt(len(items)))


def ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """sum(over) / sum(under) and its linearised standard error over items (Cochran 1977, sec. 2.11)."""
    if len(over) < 2:
        raise UserError(f"{len(over)} test sentence(s) give no standard error", "score at least two")
    y, x = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    value = y.sum() / x.sum()
    residual = y - value * x
    return float(value), float(np.sqrt(len(x) / (len(x) - 1) * (residual @ residual)) / x.sum())


def majority(gold: Sequence[str | int]) -> float:
    """The share of the most frequent label; missing or constant gold is refused (notes/science.md, trap 5)."""
    if any(label is None or label == "" for label in gold):
        raise UserError("the test set has items without a gold label", "use a test set with labels, or the dev set")
    counts = Counter(gold)
    if len(counts) < 2:
        shown = f"the same gold label everywhere ({next(iter(counts))!r})" if counts else "no items"
        raise UserError(
            f"the test set has {shown}, so its labels are placeholders or it is too small",
            "use a test set with real labels, or the dev set",
        )
    return counts.most_common(1)[0][1] / len(gold)


# Classes


def class_accuracy(gold: Sequence[str | int], guess: Sequence[str | int], classes: int) -> Measure:
    """Share of items with the right label; chance is 1 / classes, or the majority's share where that is more."""
    chance = max(1 / classes, majority(gold))
    value, se = mean([g == p for g, p in zip(gold, guess, strict=True)])
    return Measure("accuracy", value, chance, se, len(gold))


def retrieval_accuracy(guess: Sequence[int]) -> Measure:
    """Share of queries whose nearest neighbour is the item of the same index; chance is 1 / items."""
    value, se = mean([int(found) == index for index, found in enumerate(guess)])
    return Measure("accuracy", value, 1 / len(guess), se, len(guess))


def mining_f1(gold: Sequence[Collection[int]], guess: Sequence[int]) -> Measure:
    """F1 of the pairs that were found: for each sentence the indices of its translations, and that of the one found, or -1.

    Chance is 0: a pair at random is hardly ever one. Items are sentences of the one side.
    """
    right = [2 * (found in wanted) for wanted, found in zip(gold, guess, strict=True)]
    value, se = ratio(right, [len(wanted) + (found >= 0) for wanted, found in zip(gold, guess, strict=True)])
    return Measure("f1", value, 0.0, se, len(gold))


# Tags


def tag_accuracy(gold: Sentences, guess: Sentences) -> Measure:
    """Share of words with the right tag; chance is the majority tag's share; items are sentences."""
    chance = majority([tag for sentence in gold for tag in sentence])
    right = [sum(g == p for g, p in zip(a, b, strict=True)) for a, b in zip(gold, guess, strict=True)]
    value, se = ratio(right, [len(sentence) for sentence in gold])
    return Measure("accuracy", value, chance, se, len(gold))


def iob_chunks(tags: Sequence[str]) -> set[Chunk]:
    """Entities in IOB2 tags, read leniently as conlleval does: an I- after O, or of another type, begins one too."""
    found, kind, begin = set(), None, 0
    for at, tag in enumerate([*tags, "O"]):
        mark, _, here = tag.partition("-")
        if mark not in {"B", "I", "O"} or (mark != "O") != bool(here):
            raise UserError(f"tag '{tag}' is not O, B-<type> or I-<type>, of which entities are made", "write the tags as IOB2")
        if kind is not None and (mark != "I" or here != kind):
            found.add((kind, begin, at - 1))
            kind = None
        if mark != "O" and kind is None:
            kind, begin = here, at
    return found


def run_chunks(tags: Sequence[str]) -> set[Chunk]:
    """Chunks as XTREME counted them in tags without prefixes (seqeval 0.0.12's behaviour; notes/science.md, traps 1 and 2).

    Its reader took a tag's first letter for a prefix and the whole tag for the type. So equal neighbours merge,
    except where the letter is B, E or S (SCONJ, SYM), which stand alone; O and . are outside.
    """
    found, begin = set(), 0
    for at, tag in enumerate(tags):
        if at + 1 == len(tags) or tags[at + 1] != tag or tag[0] in "BES":
            if tag[0] not in "O.":
                found.add((tag, begin, at))
            begin = at + 1
    return found


def corpus_f1(metric: str, gold: Sentences, guess: Sentences, chunks: Callable[[Sequence[str]], set[Chunk]]) -> Measure:
    """2 x right / (gold + guessed) chunks over the corpus; items are sentences; chance is taken as 0."""
    majority([tag for sentence in gold for tag in sentence])
    pairs = [(chunks(a), chunks(b)) for a, b in zip(gold, guess, strict=True)]
    if not any(a for a, _ in pairs):
        raise UserError(f"the test set has no chunk, so {metric} does not exist", "use a test set with labels")
    value, se = ratio([2 * len(a & b) for a, b in pairs], [len(a) + len(b) for a, b in pairs])
    return Measure(metric, value, 0.0, se, len(gold))


def entity_f1(gold: Sentences, guess: Sentences) -> Measure:
    """Micro F1 of exact entities in IOB2 tags (Tjong Kim Sang and De Meulder 2003)."""
    return corpus_f1("entity_f1", gold, guess, iob_chunks)


def f1_xtreme(gold: Sentences, guess: Sentences) -> Measure:
    """What XTREME's tables call F1 for part-of-speech tags: micro F1 of runs of equal tags."""
    return corpus_f1("f1_xtreme", gold, guess, run_chunks)


# Answers


def squad_tokens(answer: str, language: str) -> list[str]:
    """Tokens of an answer as SQuAD v1.1 compares them, in any language: no case, ASCII punctuation or English articles."""
    bare = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def mlqa_tokens(answer: str, language: str) -> list[str]:
    """Tokens of an answer as MLQA compares them (Lewis et al. 2020): no case, Unicode punctuation or articles of its language.

    A Chinese character is a token. In Arabic the article goes wherever its letters stand, as in the benchmark's script.
    """
    if language not in MLQA_ARTICLES:
        raise UserError(f"MLQA compares answers in {', '.join(MLQA_ARTICLES)}, not in {language}", "write normaliser: squad")
    bare = "".join(sign for sign in answer.lower() if sign not in string.punctuation and category(sign)[0] != "P")
    if MLQA_ARTICLES[language]:
        bare = re.sub(MLQA_ARTICLES[language], " ", bare)
    return (re.sub("([\u4e00-\u9fa5])", r" \1 ", bare) if language == "zh" else bare).split()


MLQA_ARTICLES = {
    "ar": r"\sال^|ال",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "hi": "",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "zh": "",
}
NORMALISERS: dict[str, Callable[[str, str], list[str]]] = {"squad": squad_tokens, "mlqa": mlqa_tokens}


def token_overlap_f1(gold: Sequence[str], guess: Sequence[str]) -> float:
    """Bag-of-tokens F1 of one answer, in [0, 1] (Rajpurkar et al. 2016, sec. 6.1)."""
    shared = (Counter(gold) & Counter(guess)).total()
    return 2 * shared / (len(gold) + len(guess)) if shared else 0.0


def answer_f1(answers: Sequence[str], text: str, language: str, normaliser: str) -> float:
    """F1 of one item at its best gold answer; without one, whether the text is empty."""
    return _compared(answers, text, language, normaliser)[0]


def _compared(answers: Sequence[str], text: str, language: str, normaliser: str) -> tuple[float, bool]:
    """F1, and whether the text is an answer."""
    tokens = NORMALISERS[normaliser](text, language)
    golds = [NORMALISERS[normaliser](answer, language) for answer in answers]
    if not golds:
        return float(not tokens), not tokens
    return max(token_overlap_f1(gold, tokens) for gold in golds), tokens in golds


def answer_measures(
    gold: Sequence[Sequence[str]], guess: Sequence[str], language: str, normaliser: str = "squad"
) -> list[Measure]:
    """F1 and exact match, each item at its best gold answer; an item without one is right if the guess is empty.

    Chance is the share of items without an answer, which an empty guess gets right; 0 where all have one.
    """
    if not any(gold):
        raise UserError("no question of the test set has a gold answer", "use a test set with answers, or the dev set")
    found = [_compared(answers, text, language, normaliser) for answers, text in zip(gold, guess, strict=True)]
    overlap, exact = ([each[at] for each in found] for at in (0, 1))
    chance = sum(not answers for answers in gold) / len(gold)
    estimates = {"f1": mean(overlap), "exact_match": mean(exact)}
    return [Measure(name, value, chance, se, len(gold)) for name, (value, se) in estimates.items()]
