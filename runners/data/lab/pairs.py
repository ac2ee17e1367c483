"""Pairs of texts with the label that follows from their meanings.

What would give a label away without its task is drawn before the label is looked at, or alike for all labels: one side of
the pair, the number of words that only one side has, which words these are, and the length. So a pair differs in one word
of a lemma that has a synonym (*loud*): the same said by the synonym, another word, or nothing. Or (*silent*, as often as
the world is difficult) its words are the same in other places.
"""

from typing import NamedTuple

from runners.data.lab.draw import Draw
from runners.data.lab.meaning import (
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
from runners.data.lab.realise import Said, Style, draw_style, lemmas_of

DETAILS = ("agent_attribute", "patient_attribute", "time")
NEGATION = 0.15  # share of loud contradictions that are so by negation


class Item(NamedTuple):
    """Two texts and their label, the same in all languages."""

    first: tuple[Said, ...]
    second: tuple[Said, ...]
    label: str


def entailment(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """The hypothesis is drawn before the label is looked at, so it alone tells nothing; the premise is made to fit."""
    make = _silent if draw.chance(difficulty) else _loud
    premise, hypothesis = make(setting, difficulty, label, draw)
    return Item((premise,), (hypothesis,), label)


def _loud(setting: Setting, difficulty: float, label: str, draw: Draw) -> tuple[Said, Said]:
    """The premise says one detail of the hypothesis by a synonym, does not say it, or says another."""
    while True:
        meaning = draw_meaning(draw, setting, said=(1, 2))
        if touchable := [field for field in DETAILS if getattr(meaning, field) and has_synonym(getattr(meaning, field))]:
            break
    touched = draw.pick(touchable)
    style, premise = draw_style(draw, meaning, difficulty), meaning
    if label == "neutral":
        premise = premise._replace(**{touched: None})
    by_negation = draw.chance(NEGATION)
    if label == "contradiction":
        rival = other_lemma(getattr(meaning, touched), draw, setting)
        premise = premise._replace(**({"negated": not premise.negated} if by_negation else {touched: rival}))
    premise = _lengthened(premise, meaning, draw, setting)
    value = getattr(meaning, touched)
    other = set(style.other) ^ ({value} if label == "entailment" else set())
    return _premise(premise, meaning, tuple(sorted(other)), draw, difficulty), Said(meaning, style)


def _silent(setting: Setting, difficulty: float, label: str, draw: Draw) -> tuple[Said, Said]:
    """The premise has all words of the hypothesis, and an attribute or the participants may have changed places."""
    while True:
        meaning = draw_meaning(draw, setting, said=(1, 2), beings=True)
        if (meaning.agent_attribute is None) != (meaning.patient_attribute is None):
            break
    own, else_ = ("agent_attribute", "patient_attribute") if meaning.agent_attribute else ("patient_attribute", "agent_attribute")
    value, bound = getattr(meaning, own), draw.chance(0.5)
    rival = other_lemma(value, draw, setting)
    premise = meaning
    if label == "neutral":
        premise = meaning._replace(**{own: None, else_: value})
    elif bound:
        premise = meaning._replace(**({own: rival, else_: value} if label == "contradiction" else {else_: rival}))
    elif label == "contradiction":
        premise = swapped(meaning)
    style = draw_style(draw, meaning, difficulty)
    return _premise(_lengthened(premise, meaning, draw, setting), meaning, style.other, draw, difficulty), Said(meaning, style)


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


def _lengthened(premise: Meaning, hypothesis: Meaning, draw: Draw, setting: Setting) -> Meaning:
    """As many things said as in the hypothesis and one or two more, whatever the label."""
    length = len(hypothesis.said) + draw.pick((1, 2))
    extra = [field for field in draw.shuffled(premise.sayable) if field not in (*hypothesis.said, *premise.said)]
    return fill(premise, extra[:max(0, length - len(premise.said))], draw, setting.lemmas)


def _premise(premise: Meaning, hypothesis: Meaning, other: tuple[str, ...], draw: Draw, difficulty: float) -> Said:
    """The words of the hypothesis where both say the same, so that only what was meant to differs."""
    shared = lemmas_of(hypothesis)
    style = draw_style(draw, premise, difficulty)
    return Said(premise, style._replace(other=(*other, *(lemma for lemma in style.other if lemma not in shared))))


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
                    premise = (premise._replace(**{field: None}) if getattr(premise, field)
                               else fill(premise, [field], draw, setting.lemmas))
            if quantified_relation(premise, hypothesis) == label and premise != hypothesis:
                style = draw_style(draw, hypothesis, difficulty)._replace(passive=False)
                first = _premise(premise, hypothesis, style.other, draw, difficulty)
                return Item((first._replace(style=first.style._replace(passive=False)),), (Said(hypothesis, style),), label)


def as_quantified(meaning: Meaning, draw: Draw) -> Meaning:
    return meaning._replace(quantifier=draw.pick(QUANTIFIERS), agent_plural=False, agent_count=None, negated=False)


def duplicate(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """Two questions: the same one with a synonym or another order, or with another word or for the other role."""
    silent, asked = draw.chance(difficulty), draw.pick(("agent", "patient"))
    fixed = "patient" if asked == "agent" else "agent"
    while True:
        meaning = draw_meaning(draw, setting, said=(1, 2), beings=silent)
        fields = [field for field in ("verb", fixed, f"{fixed}_attribute", "time") if getattr(meaning, field)]
        touchable = [field for field in fields if has_synonym(getattr(meaning, field))]
        if silent or touchable:
            break
    meaning = meaning._replace(**{f"{asked}_attribute": None, f"{asked}_count": None})
    style = draw_style(draw, meaning, difficulty)._replace(passive=False)
    again = style._replace(fronted=draw.chance(0.5))
    if silent:
        other = meaning if label == "1" else swapped(meaning)
        return Item((Said(meaning, style, asked),), (Said(other, again, asked if label == "1" else fixed),), label)
    touched = draw.pick(touchable)
    value = getattr(meaning, touched)
    if label == "1":
        again = again._replace(other=toggled(style.other, value))
        return Item((Said(meaning, style, asked),), (Said(meaning, again, asked),), label)
    for _ in range(100):
        other = meaning._replace(**{touched: other_lemma(value, draw, setting)})
        if other.agent != other.patient and split_of(setting.seed, other) == setting.split:
            kept, new = [lemma for lemma in style.other if lemma != value], getattr(other, touched)
            again = again._replace(other=(*kept, *([new] if has_synonym(new) and draw.chance(0.5) else [])))
            return Item((Said(meaning, style, asked),), (Said(other, again, asked),), label)
    return duplicate(setting, difficulty, label, draw)


def toggled(other: tuple[str, ...], lemma: str) -> tuple[str, ...]:
    """Which lemmas are said by their second word, `lemma` by the word that it was not said by."""
    return tuple(each for each in other if each != lemma) if lemma in other else (*other, lemma)


def paraphrase(setting: Setting, difficulty: float, label: str, draw: Draw) -> Item:
    """The same in another order, or the same words with the participants, or their attributes, in each other's place.

    One of the two sentences has place or time in front, and voices are drawn alike for both labels; so neither the words
    nor the order of the participants alone tells the label.
    """
    roles = draw.chance(difficulty)
    while True:
        meaning = draw_meaning(draw, setting, said=(2, 3), beings=True)
        attributes = meaning.agent_attribute, meaning.patient_attribute
        if (meaning.place or meaning.time) and meaning.agent_plural == meaning.patient_plural and (
                roles or attributes[0] != attributes[1]):
            break
    exchanged = swapped(meaning) if roles else meaning._replace(agent_attribute=attributes[1], patient_attribute=attributes[0])
    first = draw_style(draw, meaning, difficulty)._replace(passive=draw.chance(0.5))
    second = Style(draw.chance(0.5), not first.fronted, other=first.other)
    return Item((Said(meaning, first),), (Said(meaning if label == "1" else exchanged, second),), label)
