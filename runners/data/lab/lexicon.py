"""Lexicons: roots of a family, regular sound change, replaced roots, homonyms, affixes or particles, and script."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from xlift.registry.findings import UserError
from xlift.registry.known.lab import FAMILIES, LANGUAGES, PIVOT, Language
from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.meaning import CITIES, FIRMS, PERSONS, QUANTIFIERS, TENSES, has_synonym, inventory, rank

CONSONANTS, VOWELS = "pbtdkgmnszlrfvhj", "aeiou"
SCRIPTS = {
    "Latn": {},
    "Cyrl": str.maketrans(CONSONANTS + VOWELS, "пбтдкгмнсзлрфвхйаеиоу"),
    "Geor": str.maketrans(CONSONANTS + VOWELS, "პბტდკგმნსზლრფვჰჯაეიოუ"),
}
PARTICLES = {
    "not": "PART",
    "by": "ADP",
    "in": "ADP",
    "to": "ADP",
    "object": "PART",
    "plural": "PART",
    "past": "AUX",
    "future": "AUX",
    "passive": "AUX",
    "then": "ADV",
    "who": "PRON",
    "what": "PRON",
    "where": "ADV",
    "when": "ADV",
    "how-many": "DET",
    "he": "PRON",
    "it": "PRON",
    "they": "PRON",
    **dict.fromkeys(QUANTIFIERS, "DET"),
}
AFFIXES = (
    "plural",
    "object",
    "plural-object",
    "passive",
    "past",
    "future",
    "plural-verb",
    "past-passive",
    "future-passive",
    "past-plural",
    "future-plural",
    "passive-plural",
    "past-passive-plural",
    "future-passive-plural",
)
HOMONYMS = 0.4  # share of verbs that sound like a noun, where everything is as hard as it can be
KINDS = {"being": "NOUN", "thing": "NOUN", "place": "NOUN", "verb": "VERB", "attribute": "ADJ", "time": "ADV"}
Words = tuple[tuple[str, str], ...]  # words and their parts of speech


@dataclass(frozen=True)
class Lexicon:
    """The words of one language.

    `forms` has, for (lemma, which of its synonyms), a dict from form to words: of nouns and attributes (plural, object),
    of verbs (tense, passive, plural), of all else (). `particles` has the grammatical words, `stems` the lemmas before
    they are inflected and written in the language's script.
    """

    language: Language
    forms: dict[tuple[str, bool], dict[tuple, Words]]
    particles: dict[str, str]
    stems: dict[str, str]


def root(draw: Draw, shape: str) -> str:
    return "".join(draw.pick(CONSONANTS if slot == "C" else VOWELS) for slot in shape)


def changed(form: str, language: Language) -> str:
    """A family's root after the sound changes of one language."""
    for change in language.changes.split():
        pattern, _, replacement = change.rpartition(">")
        form = re.sub(pattern, replacement, form)
    return form


@lru_cache(maxsize=64)
def lexicon(seed: int, vocabulary: int, distance: float, difficulty: float, code: str) -> Lexicon:
    """The lexicon of one language; it does not depend on which other languages there are."""
    language = LANGUAGES[code]
    distance = 0.0 if code == PIVOT else distance  # the pivot kept every root, so the dial moves the others alone
    taken: set[str] = set()
    affixes: dict[str, str] = {}
    for name in AFFIXES:
        affixes[name] = _stem(seed, language, f"affix {name}", ("VC", "CV", "VCV"), 0.0, _alone, set(affixes.values()))
    particles: dict[str, str] = {}
    for name in PARTICLES:
        particles[name] = _stem(seed, language, name, ("CV", "CVV"), 0.0, _alone, taken)
        taken.add(particles[name])
    script = SCRIPTS[language.script]
    written = {name: word.translate(script) for name, word in particles.items()}
    forms: dict[tuple[str, bool], dict[tuple, Words]] = {}
    stems: dict[str, str] = {}
    for kind, lemmas in inventory(vocabulary).classes.items():
        for lemma in lemmas:
            for other in (False, True) if has_synonym(lemma) else (False,):
                name = f"{lemma} other" if other else lemma

                def said(stem: str, kind: str = kind) -> set[str]:
                    return _said(kind, stem, language, affixes)

                lender = LANGUAGES[PIVOT].family if Draw(seed, "loan", code, name).chance(language.loans) else None
                stem = _stem(seed, language, name, FAMILIES[language.family], distance, said, taken, lender)
                if kind == "verb" and not other and (noun := _homonym(seed, difficulty, language, lemma)) in stems:
                    others = taken - _said(noun.partition("-")[0], stems[noun], language, affixes)
                    stem = stems[noun] if others.isdisjoint(said(stems[noun])) else stem
                taken |= said(stem)
                stems[name] = stem
                forms[lemma, other] = {
                    form: tuple((word.translate(script), pos) for word, pos in words)
                    for form, words in _inflected(kind, stem, language, affixes, particles).items()
                }
    firm = _stem(seed, language, "firm", FAMILIES[language.family], distance, _alone, taken)
    return Lexicon(language, forms | _names(firm.translate(script), language), written, stems)


def _stem(
    seed: int,
    language: Language,
    name: str,
    shapes: tuple[str, ...],
    distance: float,
    said: Callable[[str], set[str]],
    taken: set[str],
    lender: str | None = None,
) -> str:
    """The inherited or borrowed stem; one of the language's own where that was lost, or would say what another word says."""
    draw = Draw(seed, "root", lender or language.family, name)
    stem = changed(root(draw, draw.pick(FAMILIES[lender] if lender else shapes)), language)
    own = Draw(seed, "replaced", language.code, name)
    lost = own.chance(distance)
    for _ in range(10_000):
        if not lost and stem and taken.isdisjoint(said(stem)):
            return stem
        stem, lost = root(own, own.pick(shapes)), False
    raise UserError(f"no room for another word in {language.code}: choose a smaller vocabulary")


def _homonym(seed: int, difficulty: float, language: Language, verb: str) -> str | None:
    """The noun that a verb sounds like, if any, each noun for one verb at most; their inflected forms may differ."""
    if Draw(seed, "homonym", language.code, verb).chance(HOMONYMS * difficulty):
        return f"{'being' if rank(verb) % 2 else 'thing'}-{rank(verb) // 2}"
    return None


def _inflected(
    kind: str, stem: str, language: Language, affixes: dict[str, str], particles: dict[str, str]
) -> dict[tuple, Words]:
    """All forms of a lemma. Particles stand before their word in a language of prepositions, else after it."""
    pos = KINDS[kind]
    isolating, before = language.morphology == "isolating", language.adposition == "before"

    def with_particles(*names: str) -> Words:
        around = tuple((particles[name], PARTICLES[name]) for name in names)
        return (*around, (stem, pos)) if before else ((stem, pos), *around)

    found: dict[tuple, Words] = {}
    if kind == "verb":
        for tense in TENSES:
            for passive in (False, True):
                for plural in (False, True):
                    marks = [name for name, on in ((tense, tense != "present"), ("passive", passive)) if on]
                    found[tense, passive, plural] = (
                        with_particles(*marks)
                        if isolating
                        else (
                            (
                                _ended(
                                    stem,
                                    [*marks, *["plural"] * (plural and language.morphology == "fusional")],
                                    language,
                                    affixes,
                                ),
                                pos,
                            ),
                        )
                    )
    elif kind in ("being", "thing", "attribute"):
        agrees = kind != "attribute" or (language.morphology == "fusional" and language.marked)
        for plural in (False, True):
            for is_object in (False, True):
                marks = [name for name, on in (("plural", plural), ("object", is_object and language.marked)) if on and agrees]
                found[plural, is_object] = (
                    with_particles(*[name for name in marks if name == "plural"])
                    if isolating
                    else ((_ended(stem, marks, language, affixes), pos),)
                )
    else:
        found[()] = ((stem, pos),)
    return found


def _ended(stem: str, marks: list[str], language: Language, affixes: dict[str, str]) -> str:
    """One suffix a mark, or one ending for all of them."""
    if language.morphology == "fusional" and len(marks) > 1:
        return stem + affixes["-".join(marks)]
    if marks == ["plural"] and language.morphology == "fusional":
        return stem + affixes["plural"]
    return stem + "".join(affixes[mark] for mark in marks)


def _alone(stem: str) -> set[str]:
    return {stem}


def _said(kind: str, stem: str, language: Language, affixes: dict[str, str]) -> set[str]:
    """The words that only this lemma may have."""
    inflected = _inflected(kind, stem, language, affixes, dict.fromkeys(PARTICLES, ""))
    return {word for words in inflected.values() for word, _ in words if word}


def _names(firm: str, language: Language) -> dict[tuple[str, bool], dict[tuple, Words]]:
    """Names are written alike everywhere; a firm has the word for firm beside it, on the adjective's side."""
    found: dict[str, Words] = {}
    for kind, names in (("person", PERSONS), ("city", CITIES)):
        for i, name in enumerate(names):
            found[f"{kind}-{i}"] = ((name, "PROPN"),)
            found |= {f"{kind}-{j}-{i}": ((name, "PROPN"), (second, "PROPN")) for j, second in enumerate(names)}
    for i, name in enumerate(FIRMS):
        words = ((firm, "NOUN"), (name, "PROPN"))
        found[f"firm-{i}"] = words if language.adjective == "before" else words[::-1]
    return {(lemma, False): {(): words} for lemma, words in found.items()}


def lexical_distance(here: Lexicon, pivot: Lexicon) -> float:
    """Mean edit distance between the stems of a lemma in two languages, by the length of the longer; in [0, 1]."""
    pairs = [(here.stems[name], stem) for name, stem in pivot.stems.items()]
    return sum(_edits(a, b) / max(len(a), len(b)) for a, b in pairs) / len(pairs)


def _edits(a: str, b: str) -> int:
    """Insertions, deletions and substitutions from one word to the other (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]
