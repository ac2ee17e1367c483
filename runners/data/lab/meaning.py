"""Meanings: who did what to whom, where, when, how many, negated or not; what usually goes together; how two relate."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from xlift.registry.findings import UserError
from xlift.runners.data.lab.draw import Draw, number

T = TypeVar("T")

# The same in all languages. Persons, firms and places draw on overlapping parts of them, so that context tells which it is.
NAMES = (
    "Ada",
    "Bako",
    "Cira",
    "Dino",
    "Emi",
    "Fadi",
    "Gita",
    "Hugo",
    "Ines",
    "Juno",
    "Kai",
    "Lola",
    "Mika",
    "Nori",
    "Olan",
    "Pia",
    "Quim",
    "Rhea",
    "Sami",
    "Tula",
    "Uri",
    "Vera",
    "Wim",
    "Yago",
)
PERSONS, FIRMS, CITIES = NAMES[:14], NAMES[6:18], NAMES[10:]
COUNTS = (2, 3, 4, 5, 6, 7, 8, 9)
TENSES = ("past", "present", "future")
QUANTIFIERS = ("every", "some", "no")
TOPICS = 6  # verbs, beings, things, attributes and places of one topic go together
ON_TOPIC = 0.7  # share of draws that keep to the verb's topic
NAMED, PLURAL, NEGATED, CITY = 0.2, 0.35, 0.15, 0.3
OPTIONAL = ("agent_count", "agent_attribute", "patient_count", "patient_attribute", "recipient", "place", "time")
SHARES = (("train", 70), ("dev", 85), ("test", 100))  # upper ends, in percent of the cores


class Meaning(NamedTuple):
    """One situation. Lemmas are written class and number, as `being-7`; None is what is left unsaid."""

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
    negated: bool = False
    recipient: str | None = None
    place: str | None = None
    time: str | None = None
    quantifier: str | None = None  # of the agent, which then is neither counted nor plural

    @property
    def said(self) -> tuple[str, ...]:
        """The optional fields that are filled."""
        return tuple(field for field in OPTIONAL if getattr(self, field) is not None)

    @property
    def sayable(self) -> tuple[str, ...]:
        """The optional fields that may be filled: a name is one, and without attributes."""
        return tuple(
            field
            for role in ("agent", "patient")
            for field in (
                f"{role}_count" if getattr(self, f"{role}_plural") else "",
                "" if is_name(getattr(self, role)) else f"{role}_attribute",
            )
            if field
        ) + ("recipient", "place", "time")


def is_name(lemma: str) -> bool:
    return lemma.startswith(("person", "firm", "city"))


def rank(lemma: str) -> int:
    """The number of a lemma within its class."""
    return int(lemma.rpartition("-")[2])


def topic_of(lemma: str) -> int:
    return rank(lemma) % TOPICS


def takes_beings(verb: str) -> bool:
    """Half of the verbs of a topic are done to beings or persons, the others to things."""
    return rank(verb) // TOPICS % 2 == 0


def has_synonym(lemma: str) -> bool:
    """Every other attribute and time and every third noun, verb and place has a second word, in every language."""
    return not is_name(lemma) and rank(lemma) % (2 if lemma.startswith(("attribute", "time")) else 3) == 0


@dataclass(frozen=True)
class Inventory:
    """The lemmas of every class but names."""

    classes: dict[str, tuple[str, ...]]

    def draw(self, kind: str, topic: int, draw: Draw) -> str:
        lemmas = self.classes[kind]
        return draw.pick(lemmas[topic::TOPICS] if draw.chance(ON_TOPIC) else lemmas)

    def successor(self, verb: str) -> str:
        """What is usually done next: the next verb of the topic, in a circle."""
        circle = self.classes["verb"][topic_of(verb) :: TOPICS]
        return circle[(circle.index(verb) + 1) % len(circle)]


@lru_cache(maxsize=8)
def inventory(vocabulary: int) -> Inventory:
    """`vocabulary` lemmas, divided among the classes. At least 6 times, that is 2 a tense, and one place a topic."""
    sizes = {
        "being": vocabulary * 23 // 100,
        "thing": vocabulary * 15 // 100,
        "verb": vocabulary * 24 // 100,
        "attribute": vocabulary * 18 // 100,
        "place": vocabulary * 10 // 100,
    }
    sizes |= {"time": vocabulary - sum(sizes.values())}
    return Inventory({kind: tuple(f"{kind}-{i}" for i in range(size)) for kind, size in sizes.items()})


class NoSituation(UserError):
    """A split has no situation of the kind that was asked for."""


class Setting(NamedTuple):
    """What meanings are drawn for; `topics` are those of their verbs."""

    seed: int
    split: str
    lemmas: Inventory
    topics: tuple[int, ...] = tuple(range(TOPICS))


def split_of(seed: int, meaning: Meaning) -> str:
    """Where a meaning belongs: its core decides, which is the verb and the two participants in either role."""
    place = number(seed, "split", meaning.verb, *sorted((meaning.agent, meaning.patient))) % 100
    return next(split for split, end in SHARES if place < end)


def draw_meaning(
    draw: Draw,
    setting: Setting,
    *,
    said: Sequence[int],
    named: float = NAMED,
    beings: bool = False,
    verb: str | None = None,
    agent: tuple[str, bool] | None = None,
) -> Meaning:
    """A situation of this split with at least four sayable fields, of which one of `said` many is filled.

    `beings`: agent and patient are common nouns of beings, so that each may stand in the other's role.

    Raises:
        NoSituation: this verb and this agent may have no patient in the split.
    """
    lemmas = setting.lemmas
    for _ in range(100 if verb and agent else 2000):
        does = verb or draw.pick(lemmas.classes["verb"][draw.pick(setting.topics) :: TOPICS])
        if beings and not takes_beings(does):
            continue
        topic = topic_of(does)
        subject = agent or participant(draw, lemmas, topic, "being", 0.0 if beings else named)
        patient = participant(draw, lemmas, topic, "being" if takes_beings(does) else "thing", 0.0 if beings else named)
        fields: tuple[Any, ...] = (*subject, None, None, does, *patient, None, None, draw.pick(TENSES), draw.chance(NEGATED))
        bare = Meaning(*fields)
        if subject[0] != patient[0] and len(bare.sayable) >= 4 and split_of(setting.seed, bare) == setting.split:
            return fill(bare, draw.shuffled(bare.sayable)[: draw.pick(said)], draw, lemmas)
    raise NoSituation(f"the world has no fitting situation for {setting.split}: choose a larger vocabulary")


def until_possible(make: Callable[[], T]) -> T:
    """What `make` draws, at the first try that finds its situations."""
    for _ in range(200):
        with suppress(NoSituation):
            return make()
    return make()


def participant(draw: Draw, lemmas: Inventory, topic: int, kind: str, named: float) -> tuple[str, bool]:
    """A lemma and whether it is plural. A firm has a name and the word for firm."""
    if draw.chance(named) and kind == "being":
        if draw.chance(0.3):
            return f"firm-{draw.below(len(FIRMS))}", False
        return _named("person", draw, len(PERSONS)), False
    return lemmas.draw(kind, topic, draw), draw.chance(PLURAL)


def _named(kind: str, draw: Draw, names: int) -> str:
    """A person or place with one name or two."""
    first = draw.below(names)
    return f"{kind}-{draw.below(names)}-{first}" if draw.chance(0.35) else f"{kind}-{first}"


def fill(meaning: Meaning, fields: Sequence[str], draw: Draw, lemmas: Inventory) -> Meaning:
    """The meaning with `fields` said, each with a value other than it has, mostly of its verb's topic."""
    values: dict[str, Any] = {}
    for field in fields:
        kind, now = field.rpartition("_")[2], getattr(meaning, field)
        value: str | int | None = now
        while value == now or (field == "recipient" and value in (meaning.agent, meaning.patient)):
            if kind == "count":
                value = draw.pick(COUNTS)
            elif kind == "time":
                value = draw.pick(lemmas.classes["time"][TENSES.index(meaning.tense) :: len(TENSES)])
            elif kind == "place" and draw.chance(CITY):
                value = _named("city", draw, len(CITIES))
            elif kind == "recipient":
                value, _ = participant(draw, lemmas, topic_of(meaning.verb), "being", NAMED)
            else:
                value = lemmas.draw(kind, topic_of(meaning.verb), draw)
        values[field] = value
    return meaning._replace(**values)


def swapped(meaning: Meaning) -> Meaning:
    """Agent and patient in each other's role, with their attributes and numbers."""
    fields: tuple[Any, ...] = (*meaning[5:9], meaning.verb, *meaning[:4], *meaning[9:])
    return Meaning(*fields)


def relation(premise: Meaning, hypothesis: Meaning) -> str:
    """Entailment, neutral or contradiction, both sentences being about the one same situation.

    Anything said of it differently is a contradiction, then anything said only in the hypothesis is neutral. Negation
    says that it did not take place, which makes it one more thing said.
    """
    said = [(p, h) for p, h in zip(premise, hypothesis, strict=True) if h is not None]
    if any(p is not None and p != h for p, h in said):
        return "contradiction"
    return "neutral" if any(p is None for p, _ in said) else "entailment"


def quantified_relation(premise: Meaning, hypothesis: Meaning) -> str:
    """The same for two quantified sentences of one verb, patient and tense: monotonicity (van Benthem 1986, ch. 1).

    What is said of the agent restricts the quantifier, the other details are its scope; that there are such agents is
    presupposed. Details do not exclude each other: different individuals may have them.
    """
    (p_of, p_is), (h_of, h_is) = restrictor_and_scope(premise), restrictor_and_scope(hypothesis)
    p, h = premise.quantifier, hypothesis.quantifier
    comparable = p_of <= h_of or h_of <= p_of
    entails = {
        ("some", "some"): h_of <= p_of and h_is <= p_is,
        ("every", "every"): p_of <= h_of and h_is <= p_is,
        ("no", "no"): p_of <= h_of and p_is <= h_is,
        ("every", "some"): comparable and h_is <= p_is,
    }
    excludes = {
        ("no", "some"): p_of <= h_of and p_is <= h_is,
        ("some", "no"): h_of <= p_of and h_is <= p_is,
        ("every", "no"): comparable and h_is <= p_is,
        ("no", "every"): comparable and p_is <= h_is,
    }
    if entails.get((p, h)):
        return "entailment"
    return "contradiction" if excludes.get((p, h)) else "neutral"


def restrictor_and_scope(meaning: Meaning) -> tuple[frozenset, frozenset]:
    """What is said of the individuals that are quantified over, and of what they do."""
    return (
        frozenset({meaning.agent_attribute} - {None}),
        frozenset((field, getattr(meaning, field)) for field in meaning.said if not field.startswith("agent")),
    )


def pronoun_of(lemma: str, plural: bool) -> str:
    """They, for several; it, for a thing or a firm; else he."""
    return "they" if plural else "it" if lemma.startswith(("thing", "firm")) else "he"
