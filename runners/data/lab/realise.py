"""Sentences: a meaning in the words, forms and order of one language, every word with its tags."""

from collections.abc import Iterable
from typing import NamedTuple

from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.lexicon import PARTICLES, Lexicon
from xlift.runners.data.lab.meaning import Meaning, has_synonym, pronoun_of

VERBS = {"SVO": "(S\\NP)/NP", "SOV": "(S\\NP)\\NP", "VSO": "(S/NP)/NP"}
ENTITIES = {"person": "PER", "firm": "ORG", "city": "LOC"}


class Style(NamedTuple):
    """Ways to say the same: the patient as subject, place and time in front, a pronoun for the agent, `then` before all.

    `other` are the lemmas that their second word stands for.
    """

    passive: bool = False
    fronted: bool = False
    pronoun: bool = False
    then: bool = False
    other: tuple[str, ...] = ()


PLAIN = Style()


class Said(NamedTuple):
    """A meaning and how it is said, the same in all languages; `asked` is the field that a question is for."""

    meaning: Meaning
    style: Style = PLAIN
    asked: str | None = None


class Token(NamedTuple):
    """A word with its part of speech, its category, its name tag (IOB2) and the field of the meaning that it says."""

    word: str
    pos: str
    category: str
    name: str = "O"
    field: str = ""


def lemmas_of(meaning: Meaning) -> tuple[str, ...]:
    """What may be said by a synonym."""
    found = (
        meaning.agent,
        meaning.agent_attribute,
        meaning.verb,
        meaning.patient,
        meaning.patient_attribute,
        meaning.recipient,
        meaning.place,
        meaning.time,
    )
    return tuple(lemma for lemma in found if lemma and has_synonym(lemma))


def draw_style(draw: Draw, meaning: Meaning, difficulty: float) -> Style:
    """Passives, and synonyms where there are any, as often as it is difficult; place or time in front in two of five."""
    passive, fronted = draw.chance(difficulty / 2), draw.chance(0.4)
    return Style(passive, fronted, other=tuple(lemma for lemma in lemmas_of(meaning) if draw.chance(difficulty)))


def sentence(meaning: Meaning, lexicon: Lexicon, style: Style = PLAIN, asked: str | None = None) -> list[Token]:
    """The tokens of a statement, or of the question for the field `asked`. Punctuation stands alone."""
    language, order = lexicon.language, lexicon.language.order
    agent, patient = (_noun_phrase(meaning, role, lexicon, style, asked) for role in ("agent", "patient"))
    after_verb = "S/S" if order == "SOV" else "S\\S"
    if style.passive:
        subject, complement = patient, _with_adposition("by", agent, lexicon, after_verb)
    elif language.marked and language.morphology == "isolating":
        subject, complement = agent, _beside(_particle("object", lexicon, *_sides(lexicon, "NP/NP")), patient, lexicon)
    else:
        subject, complement = agent, patient
    if meaning.recipient:
        recipient = _word(meaning.recipient, (False, False), lexicon, style, "recipient")
        complement = [*complement, *_with_adposition("to", recipient, lexicon, after_verb)]
    scene = _scene(meaning, lexicon, style, asked, "S/S" if style.fronted else after_verb)
    parts = {"S": subject, "O": complement, "V": _verb(meaning, lexicon, style)}
    clause = [token for part in order for token in parts[part]]
    if style.then:
        clause = [_particle("then", lexicon, "S/S"), *clause]
    end = Token("?" if asked else ".", "PUNCT", ".")
    if scene and style.fronted:
        return [*scene, Token(",", "PUNCT", ","), *clause, end]
    return [*clause, *scene, end] if order != "SOV" else [*clause[: -len(parts["V"])], *scene, *parts["V"], end]


def tokens_of(texts: Iterable[Said], lexicon: Lexicon) -> list[Token]:
    return [token for said in texts for token in sentence(said.meaning, lexicon, said.style, said.asked)]


def text(tokens: Iterable[Token]) -> str:
    """Words between blanks."""
    return " ".join([token.word for token in tokens])


def say(texts: Iterable[Said], lexicon: Lexicon) -> str:
    return text(tokens_of(texts, lexicon))


def noun_phrase(lemma: str, plural: bool, lexicon: Lexicon, style: Style = PLAIN) -> list[Token]:
    return _word(lemma, (plural, False), lexicon, style, "")


def _particle(name: str, lexicon: Lexicon, category: str, field: str = "") -> Token:
    return Token(lexicon.particles[name], PARTICLES[name], category, "O", field)


def _sides(lexicon: Lexicon, category: str) -> tuple[str]:
    """A modifier's category, turned round where adpositions and the like stand after their word."""
    return (category if lexicon.language.adposition == "before" else category.replace("/", "\\"),)


def _beside(particle: Token, phrase: list[Token], lexicon: Lexicon) -> list[Token]:
    return [particle, *phrase] if lexicon.language.adposition == "before" else [*phrase, particle]


def _with_adposition(name: str, phrase: list[Token], lexicon: Lexicon, of: str) -> list[Token]:
    side = "/NP" if lexicon.language.adposition == "before" else "\\NP"
    return _beside(_particle(name, lexicon, f"({of}){side}"), phrase, lexicon)


def _word(lemma: str, form: tuple, lexicon: Lexicon, style: Style, field: str, category: str = "NP") -> list[Token]:
    """The words of a lemma: the one that bears its meaning, and particles or other names beside it."""
    forms = lexicon.forms[lemma, lemma in style.other]
    words = forms[form if form in forms else ()]
    if len(words) == 1:
        kind = ENTITIES.get(lemma.partition("-")[0])
        return [Token(*words[0], category, f"B-{kind}" if kind else "O", field)]
    kind = ENTITIES.get(lemma.partition("-")[0])
    head = next(i for i, (_, pos) in reversed(list(enumerate(words))) if pos in ("PROPN", "NOUN", "VERB"))
    kept = category if category in ("NP", "VP") or "S" in category else "NP"
    aside = "VP" if words[head][1] == "VERB" else "NP"
    return [
        Token(
            word,
            pos,
            kept if i == head else f"{aside}{'/' if i < head else chr(92)}{aside}",
            f"{'I' if i else 'B'}-{kind}" if kind else "O",
            field,
        )
        for i, (word, pos) in enumerate(words)
    ]


def _noun_phrase(meaning: Meaning, role: str, lexicon: Lexicon, style: Style, asked: str | None) -> list[Token]:
    lemma, plural, count, attribute = meaning[:4] if role == "agent" else meaning[5:9]
    if asked == role:
        return [_particle("what" if lemma.startswith("thing") else "who", lexicon, "NP", role)]
    if role == "agent" and style.pronoun:
        return [_particle(pronoun_of(lemma, plural), lexicon, "NP", role)]
    form = (plural, role == "patient" and not style.passive)
    words = _word(lemma, form, lexicon, style, role)
    if attribute:
        before = lexicon.language.adjective == "before"
        adjective = _word(attribute, form, lexicon, style, f"{role}_attribute", "NP/NP" if before else "NP\\NP")
        words = [*adjective, *words] if before else [*words, *adjective]
    if asked == f"{role}_count":
        return [_particle("how-many", lexicon, "NP/NP", asked), *words]
    if role == "agent" and meaning.quantifier:
        return [_particle(meaning.quantifier, lexicon, "NP/NP", "quantifier"), *words]
    return words if count is None else [Token(str(count), "NUM", "NP/NP", "O", f"{role}_count"), *words]


def _verb(meaning: Meaning, lexicon: Lexicon, style: Style) -> list[Token]:
    """The verb agrees in number with its subject, where the language says so; negation is on its side of the object."""
    plural = meaning.patient_plural if style.passive else meaning.agent_plural
    order = lexicon.language.order
    category = VERBS[order] if not style.passive else "S/NP" if order == "VSO" else "S\\NP"
    words = _word(meaning.verb, (meaning.tense, style.passive, plural), lexicon, style, "verb", category)
    if not meaning.negated:
        return words
    if order == "SOV":
        return [*words, _particle("not", lexicon, "VP\\VP", "negated")]
    return [_particle("not", lexicon, "VP/VP", "negated"), *words]


def _scene(meaning: Meaning, lexicon: Lexicon, style: Style, asked: str | None, of: str) -> list[Token]:
    found: list[Token] = []
    if asked == "time":
        found.append(_particle("when", lexicon, of, "time"))
    elif meaning.time:
        found += _word(meaning.time, (), lexicon, style, "time", of)
    if asked == "place":
        found.append(_particle("where", lexicon, of, "place"))
    elif meaning.place:
        found += _with_adposition("in", _word(meaning.place, (), lexicon, style, "place"), lexicon, of)
    return found
