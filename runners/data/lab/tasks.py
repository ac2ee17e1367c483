"""Tasks: pairs of meanings with the label that follows from them, and their examples in each language."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from registry.lab import PIVOT, TASKS, World, items
from registry.stage import Data
from runners.data.examples import Example, Pair, Parallel, Text
from runners.data.lab.draw import Draw
from runners.data.lab.language import Lexicon, lexicon
from runners.data.lab.meaning import Meaning, draw_meaning, fill, inventory, swapped
from runners.data.lab.realise import PLAIN, Style, sentence

PASSIVE, FRONTED = 0.1, 0.4  # shares of the sentences that are said so, where style is free


class Item(NamedTuple):
    """Two meanings and how each is said, the same in all languages."""

    first: Meaning
    second: Meaning
    label: str
    first_style: Style = PLAIN
    second_style: Style = PLAIN


def read(world: World, data: Data, split: str, language: str) -> list[Example]:
    """The examples of `data.task` in one language, or `data.limit` of them, evenly spaced."""
    if language not in world.languages:
        raise ValueError(f"the world has no language {language!r}; it has: {', '.join(world.languages)}")
    total = items(world, data.task, split)
    count = min(data.limit or total, total)
    chosen = [i * total // count for i in range(count)]
    if data.task == "lab-corpus":
        return [Text(text) for text in _texts(world, language, chosen)]
    words = _lexicon(world, language)
    if data.task == "lab-pairs":
        if language == PIVOT:
            raise ValueError(f"lab-pairs has no test in the pivot {PIVOT!r}: it would be its own translation")
        pivot, meanings = _lexicon(world, PIVOT), distinct(world.seed, world.vocabulary, split, total)
        return [Parallel(sentence(*meanings[i], words), sentence(*meanings[i], pivot)) for i in chosen]
    return [Pair(sentence(item.first, words, item.first_style), sentence(item.second, words, item.second_style), item.label)
            for item in (pair(world, data.task, split, i) for i in chosen)]


def _lexicon(world: World, language: str) -> Lexicon:
    return lexicon(world.seed, world.vocabulary, world.distance, language)


def pair(world: World, task: str, split: str, index: int) -> Item:
    """Item `index` of a pair task; it depends on no other item and on no language."""
    labels = TASKS[task].labels
    block, place = divmod(index, len(labels))  # each block has each label once, in an order of its own
    label = Draw(world.seed, task, split, "labels", block).shuffled(labels)[place]
    draw = Draw(world.seed, task, split, index)
    return MAKERS[task](world, split, label, draw)


def entailment(world: World, split: str, label: str, draw: Draw) -> Item:
    """The hypothesis is drawn before the label is looked at, so it alone tells nothing; the premise is made to fit."""
    lemmas = inventory(world.vocabulary)
    hypothesis = draw_meaning(draw, lemmas, seed=world.seed, split=split, said=(1, 2))
    length = max(len(hypothesis.said) + 1, draw.pick((2, 3)))  # things said in the premise, whatever the label
    touched = draw.pick(hypothesis.said)
    premise = hypothesis
    if label == "neutral":
        premise = premise._replace(**{touched: None})
    extra = [field for field in draw.shuffled(premise.sayable) if field not in hypothesis.said]
    premise = fill(premise, extra[:length - len(premise.said)], draw, lemmas)
    if label == "contradiction":
        premise = _contradicted(premise, touched, draw, world)
    return Item(premise, hypothesis, label)


def _contradicted(premise: Meaning, touched: str, draw: Draw, world: World) -> Meaning:
    """One thing said otherwise: mostly a detail, else negation or the roles."""
    kind = draw.pick(("detail", "detail", "negated", "roles"))
    if kind == "detail":
        return fill(premise, [touched], draw, inventory(world.vocabulary))
    return swapped(premise) if kind == "roles" else premise._replace(negated=not premise.negated)


def paraphrase(world: World, split: str, label: str, draw: Draw) -> Item:
    """The same said otherwise, or the same words with agent and patient in each other's role."""
    while True:
        meaning = draw_meaning(draw, inventory(world.vocabulary), seed=world.seed, split=split, said=(1, 2))
        if meaning.place or meaning.time:  # something to put in front
            break
    while True:
        first, second = _style(draw), _style(draw)
        if first != second:
            return Item(meaning, meaning if label == "1" else swapped(meaning), label, first, second)


MAKERS = {"lab-entail": entailment, "lab-paraphrase": paraphrase}


def _style(draw: Draw) -> Style:
    return Style(draw.chance(PASSIVE), draw.chance(FRONTED))


@lru_cache(maxsize=8)
def distinct(seed: int, vocabulary: int, split: str, count: int) -> tuple[tuple[Meaning], ...]:
    """The first `count` meanings for retrieval, no two the same."""
    draw = Draw(seed, "lab-pairs", split)
    found: dict[tuple[Meaning], None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            break
        found[(draw_meaning(draw, inventory(vocabulary), seed=seed, split=split, said=(1, 2, 3)),)] = None
    else:
        raise ValueError(f"the world has fewer than {count} different meanings for {split}: choose a larger vocabulary")
    return tuple(found)


def _texts(world: World, language: str, chosen: Iterable[int]) -> Iterable[str]:
    """Sentences on meanings of the training split; a share of them with their translation in the pivot."""
    words, pivot = _lexicon(world, language), _lexicon(world, PIVOT)
    for index in chosen:
        draw = Draw(world.seed, "lab-corpus", language, index)
        meaning = draw_meaning(draw, inventory(world.vocabulary), seed=world.seed, split="train", said=(1, 2, 3))
        style = _style(draw)
        text = sentence(meaning, words, style)
        if draw.chance(world.parallel) and language != PIVOT:
            text += " " + sentence(meaning, pivot, style)
        yield text
