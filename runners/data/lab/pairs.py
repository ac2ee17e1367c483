"""Pairs of texts with the label that follows from their meanings.

What would give a label away without its task is drawn before the label is looked at, or alike for all labels: one side of
the pair, the number of words that only one side has, which words these are, and the length. Two texts differ in one word
(*loud*), which is a synonym's or another's, or, as often as the world is difficult, in no word (*silent*).
"""

from typing import Any, NamedTuple

from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.meaning import (
    QUANTIFIERS,
    TENSES,
    Meaning,
    Setting,
    draw_meaning,
    fill,
    has_synonym,
    pronoun_of,
    quantified_relation,
    rank,
    split_of,
    swapped,
    takes_beings,
)
from xlift.runners.data.lab.realise import Said, Style, draw_style, lemmas_of

NEGATION = 0.15  # share of loud contradictions that are so by negation


class Item(NamedTuple):
    """Two texts and their label, the same in all languages."""

    first: tuple[Said, ...]
    second: tuple[Said, ...]
    label: str


def entailment(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """The hypothesis is drawn before the label is looked at, so it alone tells nothing; the premise is made to fit.

    One participant of the hypothesis has an attribute, the other has none. *Loud*: in the premise it is a synonym, or
    another attribute, which either participant has. *Silent*: the attribute or the participants have changed places.
    """
    silent = draw.chance(difficulty)
    while True:
        meaning = draw_meaning(draw, setting, said=(1, 2), beings=silent)
        own, else_ = ("agent_attribute", "patient_attribute")[:: 1 if meaning.agent_attribute else -1]
        value = getattr(meaning, own)
        if (
            value
            and has_synonym(value)
            and else_ in meaning.sayable
            and not getattr(meaning, else_)
            and (exchangeable(meaning) or not silent)
        ):
            break
    moved, rival = value if silent else other_lemma(value, draw, setting), draw.chance(0.5)
    premise = meaning
    if label == "neutral":
        changes: dict[str, Any] = {own: None, else_: moved}
        premise = meaning._replace(**changes)
    elif label == "contradiction":
        premise = (
            swapped(meaning)
            if silent
            else meaning._replace(**({"negated": not meaning.negated} if draw.chance(NEGATION) else {own: moved}))
        )
    length = len(meaning.said) + draw.pick((1, 2))  # things said in the premise, whatever the label
    extra = [field for field in draw.shuffled(premise.sayable) if field not in (*meaning.said, *premise.said, else_)]
    premise = fill(premise, extra[: length - len(premise.said)], draw, setting.lemmas)
    style = _with(draw_style(draw, meaning, difficulty), value, draw.chance(0.5))
    first = _like(style, premise, meaning, draw, difficulty)
    if not silent:
        first = _with(first, moved, rival)
        if label == "entailment":
            first = _with(first, value, value not in style.other)
    return Item((Said(premise, first),), (Said(meaning, style),), label)


def exchangeable(meaning: Meaning) -> bool:
    """Whether the participants may change places without another form of the verb."""
    return meaning.agent_plural == meaning.patient_plural


def _with(style: Style, lemma: str, other: bool) -> Style:
    """The style, with `lemma` said by its second word or by its first; a lemma without a synonym has but one."""
    rest = tuple(each for each in style.other if each != lemma)
    return style._replace(other=(*rest, lemma) if other and has_synonym(lemma) else rest)


def _like(style: Style, premise: Meaning, hypothesis: Meaning, draw: Draw, difficulty: float) -> Style:
    """A style for the premise with the words of the hypothesis where both say the same."""
    own, shared = draw_style(draw, premise, difficulty), lemmas_of(hypothesis)
    return own._replace(other=(*style.other, *(lemma for lemma in own.other if lemma not in shared)))


def other_lemma(lemma: str, draw: Draw, setting: Setting) -> str:
    """Another lemma that may stand in its place and has a synonym, so that its word is no rarer than a synonym's."""
    fits = like(lemma, setting)
    return draw.pick([each for each in fits if has_synonym(each)] or fits)


def like(lemma: str, setting: Setting) -> list[str]:
    """Other lemmas that may stand in the place of one: of its class, verbs of the same objects, times of the same tense."""
    kind = lemma.partition("-")[0]
    fits = [each for each in setting.lemmas.classes[kind] if each != lemma]
    if kind == "verb":
        fits = [each for each in fits if takes_beings(each) == takes_beings(lemma)]
    elif kind == "time":  # times of past, present and future take turns
        fits = [each for each in fits if rank(each) % len(TENSES) == rank(lemma) % len(TENSES)]
    return fits


def mixed_entailment(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """Two quantified sentences, or a premise of two sentences; `tasks` puts items of plain entailment between them."""
    if draw.chance(0.5):
        return _quantified(setting, difficulty, label, draw)
    (premise,), (hypothesis,), _ = entailment(setting, difficulty, label, draw)
    event = premise.meaning
    while True:  # another event, of the same agent as often as not
        agent = (event.agent, event.agent_plural) if draw.chance(0.6) else None
        beside = draw_meaning(draw, setting, said=(0, 1), agent=agent)
        if beside.verb != event.verb and beside.patient != event.agent:
            break
    if agent and pronoun_of(*agent) != pronoun_of(beside.patient, beside.patient_plural) and not beside.recipient:
        beside = beside._replace(agent_count=event.agent_count, agent_attribute=event.agent_attribute)
        style = premise.style._replace(passive=False, pronoun=True)
        return Item((Said(beside), premise._replace(style=style)), (hypothesis,), label)
    said = [Said(beside), premise]
    return Item(tuple(said if draw.chance(0.5) else said[::-1]), (hypothesis,), label)


def _quantified(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """The hypothesis first; then premises about the same until one bears the label. Quantifiers alone tell something."""
    while True:
        hypothesis = as_quantified(draw_meaning(draw, setting, said=(1, 2), named=0.0), draw)
        for _ in range(60):
            premise = hypothesis._replace(quantifier=draw.pick(QUANTIFIERS))
            for field in ("agent_attribute", "place", "time"):
                if draw.chance(0.5):
                    premise = (
                        premise._replace(**{field: None})
                        if getattr(premise, field)
                        else fill(premise, [field], draw, setting.lemmas)
                    )
            if quantified_relation(premise, hypothesis) == label and premise != hypothesis:
                style = draw_style(draw, hypothesis, difficulty)._replace(passive=False)
                first = _like(style, premise, hypothesis, draw, difficulty)._replace(passive=False)
                return Item((Said(premise, first),), (Said(hypothesis, style),), label)


def as_quantified(meaning: Meaning, draw: Draw) -> Meaning:
    return meaning._replace(quantifier=draw.pick(QUANTIFIERS), agent_plural=False, agent_count=None, negated=False)


def duplicate(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """Two questions: the same one with a synonym or in another order, or one with another word or for the other role."""
    silent, asked = draw.chance(difficulty), draw.pick(("agent", "patient"))
    fixed = "patient" if asked == "agent" else "agent"
    while True:
        meaning = draw_meaning(draw, setting, said=(1, 2), beings=silent)
        meaning = meaning._replace(**{f"{asked}_attribute": None, f"{asked}_count": None})
        touched = draw.pick(("verb", fixed, f"{fixed}_attribute", "time"))
        value = getattr(meaning, touched)
        silently = exchangeable(meaning) and (meaning.place or meaning.time)
        fits = silently if silent else value and has_synonym(value) and any(map(has_synonym, like(value, setting)))
        if fits:
            other = swapped(meaning) if silent else meaning._replace(**{touched: other_lemma(value, draw, setting)})  # type: ignore[arg-type]
            if other.agent != other.patient and split_of(setting.seed, other) == setting.split:
                break
    style = draw_style(draw, meaning, difficulty)._replace(passive=False)
    again, rival = style._replace(fronted=not style.fronted if silent else draw.chance(0.5)), draw.chance(0.5)
    if not silent:
        style = _with(style, value, draw.chance(0.5))
        again = _with(again, value, value not in style.other) if label == "1" else _with(again, getattr(other, touched), rival)
    second = Said(meaning, again, asked) if label == "1" else Said(other, again, fixed if silent else asked)
    return Item((Said(meaning, style, asked),), (second,), label)


def paraphrase(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """The same in another order, or the same words with the participants, or their attributes, in each other's place.

    One of the two sentences has place or time in front, and voices are drawn alike for both labels; so neither the words
    nor the order of the participants alone tells the label.
    """
    roles = draw.chance(difficulty)
    while True:
        meaning = draw_meaning(draw, setting, said=(2, 3), beings=True)
        attributes = meaning.agent_attribute, meaning.patient_attribute
        if (meaning.place or meaning.time) and exchangeable(meaning) and (roles or attributes[0] != attributes[1]):
            break
    exchanged = swapped(meaning) if roles else meaning._replace(agent_attribute=attributes[1], patient_attribute=attributes[0])
    first = draw_style(draw, meaning, difficulty)._replace(passive=draw.chance(0.5))
    second = Style(draw.chance(0.5), not first.fronted, other=first.other)
    return Item((Said(meaning, first),), (Said(meaning if label == "1" else exchanged, second),), label)
