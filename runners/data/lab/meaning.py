"""Meanings: who did what to whom, where, when, how many, negated or not; and how two of them relate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from runners.data.lab.draw import Draw, number

NAMES = ("Ada", "Bako", "Cira", "Dino", "Emi", "Fadi", "Gita", "Hugo", "Ines", "Juno", "Kai", "Lola")  # the same in all languages
COUNTS = (2, 3, 4, 5, 6, 7, 8, 9)
TENSES = ("past", "present", "future")
TOPICS = 6           # nouns, verbs, adjectives and places of one topic go together
ON_TOPIC = 0.5       # share of draws that keep to the event's topic
NAMED, PLURAL, NEGATED = 0.2, 0.4, 0.2
OPTIONAL = ("agent_count", "agent_attribute", "patient_count", "patient_attribute", "place", "time")
SHARES = (("train", 70), ("dev", 85), ("test", 100))  # upper ends, in percent of the cores


class Meaning(NamedTuple):
    """One situation. Lemmas are written class and number, as `noun-7`; None is what is left unsaid."""

    agent: str
    agent_plural: bool
    agent_count: int | None
    agent_attribute: str | None
    verb: str
    patient: str
    patient_plural: bool
    patient_count: int | None
    patient_attribute: str | None
    tense: str
    negated: bool
    place: str | None
    time: str | None

    @property
    def said(self) -> tuple[str, ...]:
        """The optional fields that are filled."""
        return tuple(field for field in OPTIONAL if getattr(self, field) is not None)

    @property
    def sayable(self) -> tuple[str, ...]:
        """The optional fields that may be filled: a name is one, and without attributes."""
        return tuple(field for role in ("agent", "patient") for field in (
            f"{role}_count" if getattr(self, f"{role}_plural") else "",
            "" if is_name(getattr(self, role)) else f"{role}_attribute") if field) + ("place", "time")


def is_name(lemma: str) -> bool:
    return lemma.startswith("name")


@dataclass(frozen=True)
class Inventory:
    """The lemmas of every class."""

    classes: dict[str, tuple[str, ...]]

    def draw(self, kind: str, topic: int, draw: Draw) -> str:
        lemmas = self.classes[kind]
        return draw.pick(lemmas[topic::TOPICS] if draw.chance(ON_TOPIC) else lemmas)


@lru_cache(maxsize=8)
def inventory(vocabulary: int) -> Inventory:
    """`vocabulary` lemmas, divided among the classes; names come on top. At least 6 times, that is 2 a tense."""
    sizes = {"noun": vocabulary * 38 // 100, "verb": vocabulary * 24 // 100, "attribute": vocabulary * 18 // 100,
             "place": vocabulary * 10 // 100}
    sizes |= {"time": vocabulary - sum(sizes.values()), "name": len(NAMES)}
    return Inventory({kind: tuple(f"{kind}-{i}" for i in range(size)) for kind, size in sizes.items()})


def split_of(seed: int, meaning: Meaning) -> str:
    """Where a meaning belongs: its core decides, which is the verb and the two participants in either role."""
    place = number(seed, "split", meaning.verb, *sorted((meaning.agent, meaning.patient))) % 100
    return next(split for split, end in SHARES if place < end)


def draw_meaning(draw: Draw, lemmas: Inventory, *, seed: int, split: str, said: Sequence[int]) -> Meaning:
    """A situation of this split with at least four sayable fields, of which one of `said` many is filled."""
    while True:
        topic = draw.below(TOPICS)
        agent, patient = (_participant(draw, lemmas, topic) for _ in range(2))
        bare = Meaning(agent[0], agent[1], None, None, lemmas.draw("verb", topic, draw), patient[0], patient[1], None, None,
                       draw.pick(TENSES), draw.chance(NEGATED), None, None)
        if agent[0] != patient[0] and len(bare.sayable) >= 4 and split_of(seed, bare) == split:
            return fill(bare, draw.shuffled(bare.sayable)[:draw.pick(said)], draw, lemmas)


def _participant(draw: Draw, lemmas: Inventory, topic: int) -> tuple[str, bool]:
    if draw.chance(NAMED):
        return draw.pick(lemmas.classes["name"]), False
    return lemmas.draw("noun", topic, draw), draw.chance(PLURAL)


def fill(meaning: Meaning, fields: Sequence[str], draw: Draw, lemmas: Inventory) -> Meaning:
    """The meaning with `fields` said, each with a value other than it has."""
    values = {}
    for field in fields:
        kind = field.rpartition("_")[2]
        if kind == "count":
            options: Sequence = COUNTS
        elif kind == "time":
            options = lemmas.classes["time"][TENSES.index(meaning.tense)::len(TENSES)]
        else:
            options = lemmas.classes[kind]
        values[field] = draw.pick([value for value in options if value != getattr(meaning, field)])
    return meaning._replace(**values)


def swapped(meaning: Meaning) -> Meaning:
    """Agent and patient in each other's role, with their attributes and numbers."""
    return Meaning(*meaning[5:9], meaning.verb, *meaning[:4], *meaning[9:])


def relation(premise: Meaning, hypothesis: Meaning) -> str:
    """Entailment, neutral or contradiction, both sentences being about the one same situation.

    Anything said of it differently is a contradiction, then anything said only in the hypothesis is neutral. Negation
    says that it did not take place, which makes it one more thing said.
    """
    said = [(p, h) for p, h in zip(premise, hypothesis, strict=True) if h is not None]
    if any(p is not None and p != h for p, h in said):
        return "contradiction"
    return "neutral" if any(p is None for p, _ in said) else "entailment"
