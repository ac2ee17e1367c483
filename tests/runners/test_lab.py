"""The lab's world: pinned bytes, parallel meanings, disjoint splits, languages that differ, fingerprints, refusals."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import ValidationError

from xlift.registry.known.lab import LANGUAGES, LEXICAL, NAMES, PIVOT, POS, SUPERTAGS, TASKS, World, distances, fingerprint, items
from xlift.registry.stage import Data
from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.lexicon import CONSONANTS, SCRIPTS, VOWELS, Lexicon, lexical_distance, lexicon
from xlift.runners.data.lab.meaning import Meaning, Setting, draw_meaning, inventory, split_of
from xlift.runners.data.lab.realise import Said, Style, draw_style, say, sentence, text
from xlift.runners.data.lab.tasks import asked, lexicon_of, offered, pair, parallel, read, tagged, texts

ALL = tuple(LANGUAGES)
WORLD = World(languages=ALL, train_items=300, test_items=200, sentences=300)
FOREIGN = [code for code in ALL if code != PIVOT]


def data(task: str) -> Data:
    return Data(source="lab", kind=TASKS[task].kind, task=task)


def splits(task: str) -> list[str]:
    found = []
    for split in ("train", "dev", "test"):
        try:
            items(WORLD, task, split)
            found.append(split)
        except ValueError:
            pass
    return found


def parts(world: World) -> Iterator[tuple[str, str, str]]:
    """Every task, split and language that the world has."""
    return (
        (name, split, language)
        for name, task in TASKS.items()
        for split in splits(name)
        for language in world.languages
        if task.kind != "retrieve" or language != PIVOT
    )


def bytes_of(world: World, task: str, split: str, language: str) -> str:
    shown = (
        repr(read(world, data(task), split, language)).replace(", stem=''", "").replace("Parallel(foreign=", "Parallel(source=")
    )  # a part that no item of the lab has
    return hashlib.sha256(shown.encode()).hexdigest()


def meanings(world: World, task: str, split: str, index: int) -> list[Meaning]:
    """All situations that an item tells of as facts: the premise, the context, the sentence."""
    match TASKS[task].kind:
        case "pair":
            item = pair(world, task, split, index)
            return [said.meaning for said in (*item.first, *item.second)]
        case "span":
            return [said.meaning for said in asked(world, task, split, index).context]
        case "choice":
            item = offered(world, task, split, index)
            return [said.meaning for said in (*item.context, *item.choices, item.question) if isinstance(said, Said)]
        case "tag":
            return [tagged(world, task, split, index).meaning]
        case "retrieve":
            return [parallel(world, task, split, index).meaning]
    return [said.meaning for said in texts(world, PIVOT, index)]


def small(world: World | None = None, **dials) -> World:
    return (world or World(languages=(PIVOT, "bo2"), train_items=15, test_items=10, sentences=40)).model_copy(update=dials)


def test_the_bytes_of_a_small_world_are_pinned():
    world = World(languages=ALL, train_items=20, test_items=12, sentences=30)
    whole = "".join(bytes_of(world, *part) for part in parts(world))
    assert hashlib.sha256(whole.encode()).hexdigest() == "ee9398ddcf526e5eddbe0a5f4b4805265082d8304970b23ed6ccf486f10b48d0"


def test_draws_are_those_of_splitmix64():
    draw = Draw("x")
    draw._state = 1234567
    assert [draw._next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert sorted(draw.shuffled("abcdef")) == list("abcdef") and all(0 <= draw.below(7) < 7 for _ in range(200))
    assert not any(draw.chance(0.0) for _ in range(99)) and all(draw.chance(1.0) for _ in range(99))


def test_sentences_are_made_a_hundred_thousand_a_minute():
    read(WORLD.model_copy(update={"sentences": 1}), data("lab-corpus"), "train", "bo1")
    started = time.process_time()
    read(WORLD.model_copy(update={"sentences": 2000}), data("lab-corpus"), "train", "bo1")
    assert 2000 / (time.process_time() - started) * 60 > 100_000


# Meanings and splits


@pytest.mark.parametrize("task", TASKS)
def test_every_situation_belongs_to_its_split(task):
    for split in splits(task):
        for index in range(60):
            for meaning in meanings(WORLD, task, split, index):
                assert split_of(WORLD.seed, meaning) == split


def test_train_dev_and_test_texts_never_meet():
    seen = {
        split: {
            example
            for name in ("lab-entail", "lab-span", "lab-pos", "lab-names")
            for example in map(repr, read(WORLD, data(name), split, PIVOT))
        }
        for split in ("train", "dev", "test")
    }
    assert not (seen["train"] & seen["test"] or seen["train"] & seen["dev"] or seen["dev"] & seen["test"])


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.kind == "pair"])
def test_parallel_items_are_one_item_said_in_every_language(task):
    of_languages = {language: read(WORLD, data(task), "test", language) for language in ALL}
    for index in range(0, 200, 5):
        item = pair(WORLD, task, "test", index)
        for language, examples in of_languages.items():
            words = lexicon_of(WORLD, language)
            assert (say(item.first, words), say(item.second, words), item.label) == (
                examples[index].first,
                examples[index].second,
                examples[index].label,
            )


@pytest.mark.parametrize("language", ALL)
def test_different_meanings_are_different_sentences(language):
    """Without homonyms and synonyms a sentence has one meaning, whatever its style."""
    words, draw, meaning_of = lexicon(1, 160, 0.2, 0.0, language), Draw("test"), {}
    setting = Setting(1, "train", inventory(160))
    for _ in range(600):
        meaning = draw_meaning(draw, setting, said=(1, 2, 3))
        for style in (Style(passive, fronted) for passive in (False, True) for fronted in (False, True)):
            said = text(sentence(meaning, words, style))
            assert meaning_of.setdefault(said, meaning) == meaning
            assert 4 <= len(said.split()) <= 19


# Languages


def words_of(lexicon: Lexicon, key: tuple[str, bool]) -> set[str]:
    return {word for words in lexicon.forms[key].values() for word, pos in words if pos in ("NOUN", "VERB", "ADJ", "ADV")}


@pytest.mark.parametrize("language", ALL)
def test_every_lemma_has_words_of_its_own_and_homonyms_are_nouns_and_verbs(language):
    for vocabulary, distance, difficulty in ((60, 0.0, 0.0), (160, 0.2, 0.0), (160, 0.5, 1.0), (400, 1.0, 0.3)):
        found = lexicon(1, vocabulary, distance, difficulty, language)
        lemmas = [key for key in found.forms if not key[0].startswith(("person", "firm", "city"))]
        owners: dict[str, set[str]] = {}
        for key in lemmas:
            for word in words_of(found, key):
                owners.setdefault(word, set()).add(f"{key[0]} {key[1]}")
        shared = [kinds for kinds in owners.values() if len(kinds) > 1]
        assert bool(shared) == (difficulty > 0.5) or difficulty == 0.3
        assert all(
            len(kinds) == 2 and {kind.partition("-")[0] for kind in kinds} in ({"being", "verb"}, {"thing", "verb"})
            for kinds in shared
        )
        assert set(found.particles.values()).isdisjoint(owners) and len(set(found.particles.values())) == len(found.particles)


def test_twelve_languages_in_four_families_and_three_scripts_and_one_pivot():
    assert len(LANGUAGES) == 12 and sum(row.pivot for row in LANGUAGES.values()) == 1
    for fact, count in {
        "family": 4,
        "script": 3,
        "order": 3,
        "morphology": 3,
        "adposition": 2,
        "adjective": 2,
        "marked": 2,
    }.items():
        assert len({getattr(row, fact) for row in LANGUAGES.values()}) == count
    assert all(set(letters.values()).isdisjoint(map(ord, CONSONANTS + VOWELS)) for letters in SCRIPTS.values())


def test_distances_are_facts_that_agree_with_the_default_world():
    world = World()
    found = {code: lexicon(world.seed, world.vocabulary, world.distance, world.difficulty, code) for code in ALL}
    assert {code: round(lexical_distance(found[code], found[PIVOT]), 2) for code in ALL} == LEXICAL
    assert distances(PIVOT) == {"lexical": 0.0, "order": 0.0, "script": 0.0, "morphology": 0.0}
    assert distances("bo2") == {"lexical": LEXICAL["bo2"], "order": 1.0, "script": 1.0, "morphology": 1.0}


def test_distance_takes_the_roots_of_a_family_away():
    def far(distance: float, language: str) -> float:
        return lexical_distance(lexicon(1, 160, distance, 0.3, language), lexicon(1, 160, distance, 0.3, PIVOT))

    assert far(0.0, "al2") < far(0.5, "al2") < far(1.0, "al2")
    assert far(0.2, "al3") < far(0.2, "di1") < far(0.2, "ce1")  # a cousin, a borrower, a stranger


@pytest.mark.parametrize("language", ALL)
def test_scripts_differ_and_names_numerals_and_punctuation_are_anchors(language):
    letters = {"Latn": "[a-z]+", "Cyrl": "[а-я]+", "Geor": "[ა-ჰ]+"}[LANGUAGES[language].script]
    for example in read(WORLD, data("lab-names"), "test", language)[:60]:
        assert all(re.fullmatch(rf"{letters}|[A-Z][a-z]+|[2-9]|[.,?]", word) for word in example.tokens)


def test_order_case_and_morphology_are_those_of_the_table():
    meaning = Meaning(
        "being-1", True, 3, "attribute-1", "verb-1", "being-2", False, None, None, "past", False, None, "place-1", None
    )
    fields = {code: [(t.field, t.pos) for t in sentence(meaning, lexicon(1, 80, 0.2, 0.0, code))] for code in ALL}
    for code, row in LANGUAGES.items():
        heads = {"S": ("agent", "NOUN"), "O": ("patient", "NOUN"), "V": ("verb", "VERB")}
        assert sorted(heads, key=lambda part: fields[code].index(heads[part])) == list(row.order)
        adjective, noun = fields[code].index(("agent_attribute", "ADJ")), fields[code].index(("agent", "NOUN"))
        assert (adjective < noun) == (row.adjective == "before")
        assert (("verb", "AUX") in fields[code]) == (("agent", "PART") in fields[code]) == (row.morphology == "isolating")
        said = text(sentence(meaning, lexicon(1, 80, 0.2, 0.0, code)))
        subject = lexicon(1, 80, 0.2, 0.0, code).forms["being-2", False][False, False][0][0]
        assert (subject not in said.split()) == (row.marked and row.morphology != "isolating")


# Tasks


@pytest.mark.parametrize("language", ALL)
def test_every_tag_fits_its_token_and_its_labels(language):
    for task, labels in (("lab-pos", POS), ("lab-supertag", SUPERTAGS), ("lab-names", NAMES)):
        seen = set()
        for example in read(WORLD, data(task), "test", language):
            assert len(example.tokens) == len(example.tags) and set(example.tags) <= set(labels)
            seen |= set(example.tags)
            for before, tag in zip(("O", *example.tags), example.tags, strict=False):
                assert not tag.startswith("I-") or before[1:] == tag[1:]
        if task == "lab-names":
            assert seen == set(labels)
    for example in read(WORLD, data("lab-pos"), "test", language):
        for word, tag in zip(example.tokens, example.tags, strict=True):
            assert (tag == "NUM") == word.isdigit() and (tag == "PUNCT") == (word in ".,?") and (tag == "PROPN") == word.istitle()


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.labels and task.kind == "pair"])
def test_labels_are_balanced_and_no_pair_repeats_one_text(task):
    examples = read(WORLD, data(task), "train", PIVOT)
    assert max(Counter(example.label for example in examples).values()) <= len(examples) / len(TASKS[task].labels) + 2
    same = [example for example in examples if example.first == example.second]
    assert len(same) <= len(examples) / 20 and all(example.label == "1" for example in same)


def test_a_share_of_the_corpus_stands_beside_its_translation():
    for share in (0.0, 0.3, 1.0):
        alone, beside = (
            read(WORLD.model_copy(update={"parallel": p, "sentences": 1000}), data("lab-corpus"), "train", "bo1")
            for p in (0.0, share)
        )
        assert np.mean([a != b for a, b in zip(alone, beside, strict=True)]) == pytest.approx(share, abs=0.05)
        assert all(b.text.startswith(a.text) for a, b in zip(alone, beside, strict=True))


def test_a_language_may_be_of_low_resource():
    world = small(corpus={"bo2": 7})
    assert [len(read(world, data("lab-corpus"), "train", code)) for code in world.languages] == [40, 7]


# Fingerprints and refusals


def test_another_language_changes_no_bytes_and_no_fingerprint():
    less, more = small(languages=(PIVOT, "bo2")), small(languages=(PIVOT, "di3", "bo2"))
    for part in parts(less):
        assert bytes_of(less, *part) == bytes_of(more, *part) and fingerprint(less, *part) == fingerprint(more, *part)


@pytest.mark.parametrize(
    "dial",
    (
        {"seed": 2},
        {"train_items": 16},
        {"test_items": 11},
        {"sentences": 41},
        {"parallel": 0.7},
        {"vocabulary": 170},
        {"distance": 0.6},
        {"difficulty": 1.0},
        {"corpus": {"bo2": 30}},
    ),
    ids=str,
)
def test_fingerprints_change_exactly_when_bytes_do(dial):
    world, other = small(), small(**dial)
    for part in parts(world):
        same = bytes_of(world, *part) == bytes_of(other, *part)
        assert (fingerprint(world, *part) == fingerprint(other, *part)) == same, part


def test_fingerprints_of_different_parts_differ():
    prints = [fingerprint(WORLD, *part) for part in parts(WORLD)]
    assert len(set(prints)) == len(prints) and all(re.fullmatch("[0-9a-f]{64}", each) for each in prints)


def test_mistakes_are_refused_with_what_would_do():
    with pytest.raises(ValidationError, match="unknown language 'xx'; known: al1, al2, al3, bo1"):
        World(languages=(PIVOT, "xx"))
    with pytest.raises(ValidationError, match="the pivot 'al1' must come first"):
        World(languages=("al2", PIVOT))
    with pytest.raises(ValidationError, match="corpus: 'di1' is no language of this world; it has: al1, al2"):
        World(languages=(PIVOT, "al2"), corpus={"di1": 10})
    with pytest.raises(ValidationError, match="vocabulary"):
        World(vocabulary=20)
    with pytest.raises(ValueError, match="unknown lab task 'lab-tag'; known: lab-entail"):
        items(WORLD, "lab-tag", "test")
    with pytest.raises(ValueError, match="lab-pairs has no split 'train'; it has: dev, test"):
        read(WORLD, data("lab-pairs"), "train", "al2")
    with pytest.raises(ValueError, match="it would be its own translation"):
        read(WORLD, data("lab-mine"), "test", PIVOT)
    with pytest.raises(ValueError, match="the world has no language 'bo2'; it has: al1, al2"):
        read(World(languages=(PIVOT, "al2")), data("lab-entail"), "test", "bo2")


def test_nine_tasks_play_the_intermediate_ones_and_nine_the_targets():
    intermediate = "entail entail-mixed duplicate span span-none continue supertag reason sense".split()
    targets = "entail paraphrase pos names span span-far span-own mine pairs".split()
    assert set(TASKS) == {f"lab-{name}" for name in (*intermediate, *targets, "corpus")}
    assert TASKS["lab-span-far"].trains_on == "lab-span" and items(WORLD, "lab-span-own", "train") == 60
    style = draw_style(Draw("x"), draw_meaning(Draw("y"), Setting(1, "train", inventory(80)), said=(1,)), 0.0)
    assert not style.passive and not style.other
