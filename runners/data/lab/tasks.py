"""Tasks: items, which are made of meanings and are the same in all languages, and their examples in each language."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from xlift.registry.findings import UserError
from xlift.registry.kinds import RETRIEVAL
from xlift.registry.known.lab import PIVOT, TASKS, World, items
from xlift.registry.stage import Data
from xlift.runners.data.lab import pairs, questions
from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.lexicon import Lexicon, lexicon
from xlift.runners.data.lab.meaning import Meaning, Setting, draw_meaning, inventory, is_name, split_of, until_possible
from xlift.runners.data.lab.pairs import Item, as_quantified
from xlift.runners.data.lab.questions import Asked, Offered
from xlift.runners.data.lab.realise import Said, Token, draw_style, noun_phrase, say, sentence, text, tokens_of
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.example import Example
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.retrieve import Parallel
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged

GROUP = 4  # sentences that share names, numerals and length, in retrieval
TAGS: dict[str, Callable[[Token], str]] = {
    "lab-pos": lambda token: token.pos,
    "lab-supertag": lambda token: token.category,
    "lab-names": lambda token: token.name,
}
PAIRS = {
    "lab-entail": pairs.entailment,
    "lab-entail-mixed": pairs.mixed_entailment,
    "lab-duplicate": pairs.duplicate,
    "lab-paraphrase": pairs.paraphrase,
}
DOMAINS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {  # topics of the texts, and what the texts and questions are
    "lab-span": ((0, 1, 2, 3), {"sentences": 2}),
    "lab-span-none": ((0, 1, 2, 3), {"sentences": 2, "answered": False}),
    "lab-span-far": ((4, 5), {"sentences": 3}),
    "lab-span-own": ((0, 1, 2, 3, 4, 5), {"sentences": 3, "pronouns": True}),
}
CHOICES = {"lab-continue": questions.going_on, "lab-reason": questions.reason, "lab-sense": questions.sense}


def read(world: World, data: Data, split: str, language: str) -> list[Example]:
    """All examples of `data.task` in one language."""
    if language not in world.languages:
        raise UserError(f"the world has no language {language!r}", f"it has: {', '.join(world.languages)}")
    if TASKS[data.task].kind in RETRIEVAL and language == PIVOT:
        raise UserError(f"{data.task} has no test in the pivot {PIVOT!r}: it would be its own translation")
    example = EXAMPLES[TASKS[data.task].kind]
    return [example(world, data.task, split, language, index) for index in range(items(world, data.task, split, language))]


def lexicon_of(world: World, language: str) -> Lexicon:
    return lexicon(world.seed, world.vocabulary, world.distance, world.difficulty, language)


def _setting(world: World, split: str) -> Setting:
    return Setting(world.seed, split, inventory(world.vocabulary))


# Items: item `index` of a task depends on no other item and on no language.


def pair(world: World, task: str, split: str, index: int) -> Item:
    """Every third item of lab-entail-mixed is one of lab-entail."""
    if task == "lab-entail-mixed":
        index, third = divmod(index, 3)
        if third == 0:
            return pair(world, "lab-entail", split, index)
        index = 2 * index + third - 1
    labels = TASKS[task].labels
    block, place = divmod(index, len(labels))  # each block has each label once, in an order of its own
    label = Draw(world.seed, task, split, "labels", block).shuffled(labels)[place]
    draw = Draw(world.seed, task, split, index)
    return until_possible(lambda: PAIRS[task](_setting(world, split), world.difficulty, label, draw))


def asked(world: World, task: str, split: str, index: int) -> Asked:
    """Two of three items of lab-span-none are lab-span's."""
    if task == "lab-span-none":
        whole, third = divmod(index, 3)
        if third < 2:
            return asked(world, "lab-span", split, 2 * whole + third)
    topics, how = DOMAINS[task]
    draw, setting = Draw(world.seed, task, split, index), Setting(world.seed, split, inventory(world.vocabulary), topics)
    return until_possible(lambda: questions.span(setting, world.difficulty, draw, **how))


def offered(world: World, task: str, split: str, index: int) -> Offered:
    draw = Draw(world.seed, task, split, index)
    return until_possible(lambda: CHOICES[task](_setting(world, split), world.difficulty, draw))


def tagged(world: World, task: str, split: str, index: int) -> Said:
    """A statement, a question or a quantified sentence; names are frequent where they are the task."""
    draw, setting = Draw(world.seed, task, split, index), _setting(world, split)
    meaning = draw_meaning(draw, setting, said=(1, 2, 3), named=0.7 if task == "lab-names" else 0.2)
    form = draw.below(6)
    if form == 0 and not is_name(meaning.agent):
        meaning = as_quantified(meaning, draw)
    return Said(meaning, draw_style(draw, meaning, world.difficulty), draw.pick(("agent", "patient")) if form == 1 else None)


def parallel(world: World, task: str, split: str, index: int) -> Said:
    """Sentence `index` of retrieval; its group of four shares names, numerals, order and length.

    In lab-pairs all other words differ between the four, in lab-mine one word differs from the first of them.
    """
    return _group(world.seed, world.vocabulary, world.difficulty, task, split, index // GROUP)[index % GROUP]


@lru_cache(maxsize=4096)
def _group(seed: int, vocabulary: int, difficulty: float, task: str, split: str, number: int) -> tuple[Said, ...]:
    draw, setting = Draw(seed, task, split, number), Setting(seed, split, inventory(vocabulary))
    found: list[Meaning] = []
    while len(found) < GROUP:
        found = [draw_meaning(draw, setting, said=(2, 3), named=0.5)]
        words = [
            field
            for field, value in found[0]._asdict().items()
            if isinstance(value, str) and field != "tense" and not is_name(value)
        ]
        for _ in range(200):
            touched = words if task == "lab-pairs" else [draw.pick(words)]
            changes: dict[str, Any] = {field: draw.pick(pairs.like(getattr(found[0], field), setting)) for field in touched}
            other = found[0]._replace(**changes)
            if (
                other not in found
                and len({other.agent, other.patient, other.recipient}) == 3
                and len(found) < GROUP
                and split_of(seed, other) == split
            ):
                found.append(other)
    style = draw_style(draw, found[0], difficulty)._replace(other=())
    return tuple(Said(meaning, style) for meaning in found)


def texts(world: World, language: str, index: int) -> tuple[Said, ...]:
    """Text `index` of a language's corpus: a sentence, two of one story, a statement and a question, or a quantified sentence."""
    draw, setting = Draw(world.seed, "lab-corpus", language, index), _setting(world, "train")
    return until_possible(lambda: _drawn_texts(draw, setting, world.difficulty))


def _drawn_texts(draw: Draw, setting: Setting, difficulty: float) -> tuple[Said, ...]:
    meaning = draw_meaning(draw, setting, said=(1, 2, 3))
    said, form = Said(meaning, draw_style(draw, meaning, difficulty)), draw.below(20)
    if form == 0 and not is_name(meaning.agent):
        return (said._replace(meaning=as_quantified(meaning, draw)),)
    if form < 3:
        fields = [field for field in questions.ASKED if field in ("agent", "patient", *meaning.said)]
        return said, said._replace(asked=draw.pick(fields))
    if form >= 10:
        return (said,)
    usual, pronoun = draw.chance(0.7), questions.resolves(meaning) and draw.chance(0.5)
    after = draw_meaning(
        draw,
        setting,
        said=(0, 1),
        agent=(meaning.agent, meaning.agent_plural),
        verb=setting.lemmas.successor(meaning.verb) if usual else None,
    )
    style = draw_style(draw, after, difficulty)
    if pronoun:
        after, style = after._replace(agent_count=None, agent_attribute=None), style._replace(passive=False)
    return said, Said(after, style._replace(pronoun=pronoun, then=usual))


# Examples


def _pair(world: World, task: str, split: str, language: str, index: int) -> Pair:
    item, words = pair(world, task, split, index), lexicon_of(world, language)
    return Pair(say(item.first, words), say(item.second, words), item.label)


def _question(world: World, task: str, split: str, language: str, index: int) -> Question:
    item, words = asked(world, task, split, index), lexicon_of(world, language)
    answer, start = span_of(item, words)
    answers, starts = ((answer,), (start,)) if answer else ((), ())
    return Question(say(item.context, words), say((item.question,), words), answers, starts, f"{task}-{split}-{index}")


def span_of(item: Asked, words: Lexicon) -> tuple[str, int]:
    """The answer and its first character in the context; nothing where there is no answer."""
    if item.sentence is None:
        return "", 0
    before, tokens = tokens_of(item.context[: item.sentence], words), tokens_of((item.context[item.sentence],), words)
    inside = [i for i, token in enumerate(tokens) if token.field.startswith(item.question.asked)]
    first, last = inside[0], inside[-1] + 1
    return text(tokens[first:last]), sum(len(token.word) + 1 for token in [*before, *tokens[:first]])


def _choice(world: World, task: str, split: str, language: str, index: int) -> Choice:
    item, words = offered(world, task, split, index), lexicon_of(world, language)
    question = say((item.question,), words) if item.question else ""
    if item.about:
        question = f"{text(noun_phrase(*item.about, words))} {words.particles['then']} {words.particles['what']} ?"
    choices = tuple(
        say((each,), words) if isinstance(each, Said) else text(noun_phrase(*each[:2], words, each[2])) for each in item.choices
    )
    return Choice(say(item.context, words), question, choices, item.label)


def _tagged(world: World, task: str, split: str, language: str, index: int) -> Tagged:
    said = tagged(world, task, split, index)
    tokens = sentence(said.meaning, lexicon_of(world, language), said.style, said.asked)
    return Tagged(tuple(token.word for token in tokens), tuple(TAGS[task](token) for token in tokens))


def _parallel(world: World, task: str, split: str, language: str, index: int) -> Parallel:
    said = (parallel(world, task, split, index),)
    return Parallel(say(said, lexicon_of(world, language)), say(said, lexicon_of(world, PIVOT)))


def _text(world: World, task: str, split: str, language: str, index: int) -> Text:
    said, words = texts(world, language, index), lexicon_of(world, language)
    beside = language != PIVOT and Draw(world.seed, "parallel", language, index).chance(world.parallel)
    return Text(f"{say(said, words)} {say(said, lexicon_of(world, PIVOT))}" if beside else say(said, words))


EXAMPLES: dict[str, Callable[..., Example]] = {
    "pair": _pair,
    "span": _question,
    "choice": _choice,
    "tag": _tagged,
    "retrieve": _parallel,
    "mlm": _text,
}
