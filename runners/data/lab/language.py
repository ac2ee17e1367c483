"""Lexicons: proto-roots of a family, regular sound change, replaced roots, affixes and script."""

import re
from dataclasses import dataclass
from functools import lru_cache

from registry.lab import LANGUAGES, PIVOT, Language
from runners.data.lab.draw import Draw
from runners.data.lab.meaning import NAMES, TENSES, inventory

CONSONANTS, VOWELS = "pbtdkgmnszlrfvhj", "aeiou"
# How the roots of a family are built; C a consonant, V a vowel.
SHAPES = {"al": ("CVC", "CVCV", "CVCVC"), "bo": ("CVCV", "VCVC", "CVCVV")}
# Regular sound changes from the family's proto-language, applied in order.
CHANGES = {
    "al1": (("^p", "f"), ("j", "i")),
    "al2": (("(?<=[aeiou])t(?=[aeiou])", "d"), ("(?<=[aeiou])k(?=[aeiou])", "g"), ("o$", "u"), ("^h", "")),
    "bo1": (("g", "h"), ("ei", "i")),
    "bo2": (("(?<=[aeiou])p", "v"), ("^k", "g"), ("e$", "a")),
}
SCRIPTS = {"Latn": {}, "Cyrl": str.maketrans(CONSONANTS + VOWELS, "пбтдкгмнсзлрфвхйаеиоу")}
PARTICLES = ("not", "by", "in", "object")
AFFIXES = ("plural", "passive", "past", "future")  # the present has none


@dataclass(frozen=True)
class Lexicon:
    """The words of one language: every form of every lemma is another word.

    Keys are (lemma or particle, form); forms are "" or, of nouns, "plural", or, of verbs, tense and "passive".
    """

    language: Language
    forms: dict[tuple[str, str], str]


def root(draw: Draw, shape: str) -> str:
    return "".join(draw.pick(CONSONANTS if slot == "C" else VOWELS) for slot in shape)


def changed(form: str, code: str) -> str:
    """A proto-form after the sound changes of one language."""
    for pattern, replacement in CHANGES[code]:
        form = re.sub(pattern, replacement, form)
    return form


def inflected(lemma: str, stem: str, affixes: dict[str, str]) -> dict[str, str]:
    """All forms of a lemma; affixes are suffixes in every language so far."""
    kind = lemma.partition("-")[0]
    if kind == "noun":
        return {"": stem, "plural": stem + affixes["plural"]}
    if kind == "verb":
        return {tense + voice: stem + affixes.get(voice, "") + affixes.get(tense, "")
                for tense in TENSES for voice in ("", "passive")}
    return {"": stem}


@lru_cache(maxsize=64)
def lexicon(seed: int, vocabulary: int, distance: float, code: str) -> Lexicon:
    """The lexicon of one language; it does not depend on which other languages there are."""
    language = LANGUAGES[code]
    distance = 0.0 if code == PIVOT else distance  # the pivot kept every root, so the dial moves the others alone
    affixes: dict[str, str] = {}
    for name in AFFIXES:
        affixes[name] = _stem(seed, language, name, ("CV", "VC"), 0.0, {"": ""}, set(affixes.values()))[0]
    taken: set[str] = set()
    forms: dict[tuple[str, str], str] = {}
    lemmas = [lemma for kind, of_kind in inventory(vocabulary).classes.items() if kind != "name" for lemma in of_kind]
    for lemma in (*PARTICLES, *lemmas):
        shapes = ("CV",) if lemma in PARTICLES else SHAPES[language.family]
        _, words = _stem(seed, language, lemma, shapes, 0.0 if lemma in PARTICLES else distance, affixes, taken)
        taken.update(words.values())
        forms |= {(lemma, form): word.translate(SCRIPTS[language.script]) for form, word in words.items()}
    forms |= {(f"name-{i}", ""): name for i, name in enumerate(NAMES)}
    return Lexicon(language, forms)


def _stem(seed: int, language: Language, lemma: str, shapes: tuple[str, ...], distance: float, affixes: dict[str, str],
          taken: set[str]) -> tuple[str, dict[str, str]]:
    """The inherited stem and its forms; a root of the language's own where that was lost, or would be a homonym."""
    draw = Draw(seed, "root", language.family, lemma)
    stem = changed(root(draw, draw.pick(shapes)), language.code)
    own = Draw(seed, "replaced", language.code, lemma)
    lost = own.chance(distance)
    for _ in range(10_000):
        words = inflected(lemma, stem, affixes)
        if not lost and len(set(words.values())) == len(words) and taken.isdisjoint(words.values()):
            return stem, words
        stem, lost = root(own, own.pick(shapes)), False
    raise ValueError(f"no room for another word in {language.code}: choose a smaller vocabulary")
