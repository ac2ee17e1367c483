"""Sentences: a meaning in the words, forms and order of one language."""

from typing import NamedTuple

from runners.data.lab.language import Lexicon
from runners.data.lab.meaning import Meaning, is_name


class Style(NamedTuple):
    """Two ways to say the same: the patient as subject, and place and time in front."""

    passive: bool
    fronted: bool


PLAIN = Style(passive=False, fronted=False)


def sentence(meaning: Meaning, lexicon: Lexicon, style: Style = PLAIN) -> str:
    """Words between blanks; punctuation stands alone."""
    language, forms = lexicon.language, lexicon.forms
    agent, patient = (_noun_phrase(meaning, role, lexicon) for role in ("agent", "patient"))
    if style.passive:
        subject, complement = patient, _with_adposition("by", agent, lexicon)
    else:
        subject, complement = agent, _with_adposition("object", patient, lexicon) if language.marked else patient
    verb = [forms["not", ""]] if meaning.negated else []
    verb.append(forms[meaning.verb, meaning.tense + ("passive" if style.passive else "")])
    clause = [word for part in language.order for word in {"S": subject, "O": complement, "V": verb}[part]]
    scene = [forms[meaning.time, ""]] if meaning.time else []
    if meaning.place:
        scene += _with_adposition("in", [forms[meaning.place, ""]], lexicon)
    if scene and style.fronted:
        return " ".join([*scene, ",", *clause, "."])
    return " ".join([*clause, *scene, "."])


def _noun_phrase(meaning: Meaning, role: str, lexicon: Lexicon) -> list[str]:
    lemma, plural, count, attribute = meaning[:4] if role == "agent" else meaning[5:9]
    words = [lexicon.forms[lemma, "plural" if plural and not is_name(lemma) else ""]]
    if attribute:
        adjective = lexicon.forms[attribute, ""]
        words = [adjective, *words] if lexicon.language.adjective == "before" else [*words, adjective]
    return words if count is None else [str(count), *words]


def _with_adposition(particle: str, phrase: list[str], lexicon: Lexicon) -> list[str]:
    word = lexicon.forms[particle, ""]
    return [word, *phrase] if lexicon.language.adposition == "before" else [*phrase, word]
