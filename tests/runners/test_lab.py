"""The lab's properties over many items: exact labels, parallel meanings, disjoint splits, pinned bytes, no artefacts."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pydantic import ValidationError

from registry.lab import LANGUAGES, PIVOT, TASKS, World, fingerprint, items
from registry.stage import Data
from runners.data.examples import Pair
from runners.data.lab import read
from runners.data.lab.draw import Draw
from runners.data.lab.language import lexicon
from runners.data.lab.meaning import Meaning, draw_meaning, inventory, relation, split_of, swapped
from runners.data.lab.realise import Style, sentence
from runners.data.lab.tasks import distinct, pair

WORLD = World(train_items=3000, test_items=600, sentences=400)
PAIR_TASKS = ("lab-entail", "lab-paraphrase")


def data(task: str, limit: int | None = None) -> Data:
    return Data(source="lab", kind=TASKS[task].kind, task=task, limit=limit)


def parts(world: World) -> Iterator[tuple[str, str, str]]:
    """Every task, split and language that the world has."""
    for name, task in TASKS.items():
        splits = {"mlm": ("train",), "retrieve": ("dev", "test")}.get(task.kind, ("train", "dev", "test"))
        for split in splits:
            for language in world.languages:
                if task.kind != "retrieve" or language != PIVOT:
                    yield name, split, language


def bytes_of(world: World, task: str, split: str, language: str) -> str:
    return hashlib.sha256(repr(read(world, data(task), split, language)).encode()).hexdigest()


def chance_of(features: Callable[[Pair], Counter], train: list[Pair], test: list[Pair]) -> float:
    """Accuracy of a multinomial naive Bayes with add-one smoothing on these features, in [0, 1]."""
    labels = sorted({example.label for example in train})
    counts = {label: Counter() for label in labels}
    for example in train:
        counts[example.label].update(features(example))
    known = set().union(*counts.values())
    logs = {
        label: {word: np.log((of_label[word] + 1) / (of_label.total() + len(known))) for word in known}
        for label, of_label in counts.items()
    }
    right = 0
    for example in test:
        words = [(word, n) for word, n in sorted(features(example).items()) if word in known]
        right += example.label == max(labels, key=lambda label: sum(n * logs[label][word] for word, n in words))
    return right / len(test)


def test_the_bytes_of_a_small_world_are_pinned():
    world = World(train_items=60, test_items=30, sentences=60)
    whole = "".join(bytes_of(world, *part) for part in parts(world))
    assert hashlib.sha256(whole.encode()).hexdigest() == "9934dbfb688c80f085acdda96f218f5e30611cb6d05c86bc0eb0f0a920fdb624"


def test_labels_follow_from_the_meanings():
    for index in range(1500):
        item = pair(WORLD, "lab-entail", "train", index)
        assert relation(item.first, item.second) == item.label
        item = pair(WORLD, "lab-paraphrase", "train", index)
        assert item.label == str(int(item.first == item.second))
        assert item.second in (item.first, swapped(item.first))


def test_relation_knows_what_is_said_more_less_and_otherwise():
    full = Meaning("noun-1", True, 3, None, "verb-1", "noun-2", False, None, "attribute-1", "past", False, "place-1", None)
    assert relation(full, full._replace(agent_count=None)) == "entailment"
    assert relation(full._replace(place=None), full) == "neutral"
    for other in (full._replace(place="place-2"), full._replace(negated=True), full._replace(agent_count=4), swapped(full)):
        assert relation(full, other) == "contradiction"
    assert swapped(swapped(full)) == full


@pytest.mark.parametrize("task", PAIR_TASKS)
def test_labels_are_balanced_and_no_pair_repeats_one_text(task):
    examples = read(WORLD, data(task), "train", PIVOT)
    assert set(Counter(example.label for example in examples).values()) == {len(examples) // len(TASKS[task].labels)}
    assert all(example.first != example.second for example in examples)


@pytest.mark.parametrize("task", PAIR_TASKS)
def test_test_items_are_parallel_in_all_languages(task):
    of_languages = [read(WORLD, data(task), "test", language) for language in WORLD.languages]
    for index, examples in enumerate(zip(*of_languages, strict=True)):
        item = pair(WORLD, task, "test", index)
        for language, example in zip(WORLD.languages, examples, strict=True):
            words = lexicon(WORLD.seed, WORLD.vocabulary, WORLD.distance, language)
            assert example == Pair(
                sentence(item.first, words, item.first_style), sentence(item.second, words, item.second_style), item.label
            )


def test_train_dev_and_test_meanings_never_meet():
    seen = {
        split: {
            (frozenset((m.agent, m.patient)), m.verb)
            for i in range(600)
            for task in PAIR_TASKS
            for m in pair(WORLD, task, split, i)[:2]
        }
        for split in ("train", "dev", "test")
    }
    assert not (seen["train"] & seen["test"] or seen["train"] & seen["dev"] or seen["dev"] & seen["test"])
    assert all(split_of(WORLD.seed, meaning) == "test" for (meaning,) in distinct(WORLD.seed, WORLD.vocabulary, "test", 100))


def test_the_corpus_has_no_sentence_of_the_tests():
    corpus = {part for example in read(WORLD, data("lab-corpus"), "train", PIVOT) for part in example.text.split(" . ")}
    tests = {
        text
        for task in PAIR_TASKS
        for example in read(WORLD, data(task), "test", PIVOT)
        for text in (example.first, example.second)
    }
    assert not corpus & tests


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_form_of_every_lemma_is_another_word(language):
    for vocabulary, distance in ((60, 0.0), (160, 0.2), (400, 1.0)):
        forms = lexicon(1, vocabulary, distance, language).forms
        assert len(set(forms.values())) == len(forms)


@pytest.mark.parametrize("language", LANGUAGES)
def test_different_meanings_are_different_sentences(language):
    words, draw, meaning_of = lexicon(1, 160, 0.2, language), Draw("test"), {}
    for _ in range(3000):
        meaning = draw_meaning(draw, inventory(160), seed=1, split="train", said=(1, 2, 3))
        for style in (Style(passive, fronted) for passive in (False, True) for fronted in (False, True)):
            text = sentence(meaning, words, style)
            assert meaning_of.setdefault(text, meaning) == meaning
            assert 5 <= len(text.split()) <= 13


def test_family_shares_roots_and_distance_takes_them_away():
    def shared(distance: float, language: str) -> float:
        pivot, other = (lexicon(1, 160, distance, code).forms for code in (PIVOT, language))
        return sum(pivot[key] == other[key] for key in pivot) / len(pivot)

    assert shared(0.0, "al2") > shared(0.5, "al2") > shared(1.0, "al2")
    assert shared(0.0, "bo1") == 12 / len(lexicon(1, 160, 0.0, "bo1").forms)  # the names; the particles besides, in a family
    assert shared(1.0, "al2") <= (12 + 4) / len(lexicon(1, 160, 1.0, "al2").forms)


def test_scripts_differ_and_names_numerals_and_punctuation_are_anchors():
    for language, facts in LANGUAGES.items():
        for example in read(WORLD, data("lab-paraphrase", 100), "test", language):
            for word in example.first.split():
                cyrillic = bool(re.fullmatch("[а-я]+", word))
                assert cyrillic == (facts.script == "Cyrl") or re.fullmatch(r"[A-Z][a-z]+|[2-9]|[.,]", word)


def test_a_share_of_the_corpus_stands_beside_its_translation():
    for share in (0.0, 0.3, 1.0):
        world = World(sentences=1000, parallel=share)
        texts = [example.text for example in read(world, data("lab-corpus"), "train", "bo1")]
        assert np.mean([text.count(" . ") for text in texts]) == pytest.approx(share, abs=0.05)
        assert not any(" . " in example.text for example in read(world, data("lab-corpus"), "train", PIVOT))


def test_a_hypothesis_alone_tells_nothing():
    train, test = (read(WORLD, data("lab-entail"), split, PIVOT) for split in ("train", "test"))
    assert chance_of(lambda example: Counter(example.second.split()), train, test) < 1 / 3 + 0.06


@pytest.mark.parametrize("language", (PIVOT, "bo1"))
def test_the_words_of_a_paraphrase_tell_nothing_without_their_order(language):
    def symmetric(example: Pair) -> Counter:
        first, second = Counter(example.first.split()), Counter(example.second.split())
        return Counter({("shared", word): n for word, n in (first & second).items()}) + Counter(
            {("differs", word): n for word, n in ((first - second) + (second - first)).items()}
        )

    train, test = (read(WORLD, data("lab-paraphrase"), split, language) for split in ("train", "test"))
    assert chance_of(symmetric, train, test) < 0.5 + 0.06


def test_a_limit_keeps_evenly_spaced_items():
    whole, some = (read(WORLD, data("lab-entail", limit), "test", "al2") for limit in (None, 7))
    assert some == [whole[i * 600 // 7] for i in range(7)]
    assert read(WORLD, data("lab-entail", 10_000), "test", "al2") == whole


def test_another_language_changes_no_bytes_and_no_fingerprint():
    small, large = (
        World(train_items=50, test_items=50, sentences=50, languages=codes)
        for codes in ((PIVOT, "bo1"), ("al1", "al2", "bo1", "bo2"))
    )
    for part in parts(small):
        assert bytes_of(small, *part) == bytes_of(large, *part)
        assert fingerprint(small, *part) == fingerprint(large, *part)


@pytest.mark.parametrize(
    "dial",
    (
        {"seed": 2},
        {"train_items": 51},
        {"test_items": 51},
        {"sentences": 51},
        {"parallel": 0.9},
        {"vocabulary": 170},
        {"distance": 0.6},
    ),
)
def test_fingerprints_change_exactly_when_bytes_do(dial):
    world = World(train_items=50, test_items=50, sentences=50)
    other = world.model_copy(update=dial)
    for part in parts(world):
        assert (fingerprint(world, *part) == fingerprint(other, *part)) == (bytes_of(world, *part) == bytes_of(other, *part)), (
            part
        )


def test_fingerprints_of_different_parts_differ():
    prints = [fingerprint(WORLD, *part) for part in parts(WORLD)]
    assert len(set(prints)) == len(prints) and all(re.fullmatch("[0-9a-f]{64}", each) for each in prints)


def test_mistakes_are_refused_with_what_would_do():
    with pytest.raises(ValidationError, match="unknown language 'xx'; known: al1, al2, bo1, bo2"):
        World(languages=(PIVOT, "xx"))
    with pytest.raises(ValidationError, match="the pivot 'al1' must come first"):
        World(languages=("al2", PIVOT))
    with pytest.raises(ValueError, match="unknown lab task 'lab-tag'; known: lab-entail"):
        items(WORLD, "lab-tag", "test")
    with pytest.raises(ValueError, match="lab-pairs has no split 'train'; it has: dev, test"):
        read(WORLD, data("lab-pairs"), "train", "al2")
    with pytest.raises(ValueError, match="it would be its own translation"):
        read(WORLD, data("lab-pairs"), "test", PIVOT)
    with pytest.raises(ValueError, match="the world has no language 'bo2'; it has: al1, al2"):
        read(World(languages=(PIVOT, "al2")), data("lab-entail"), "test", "bo2")


def test_every_lab_task_has_exact_labels_of_its_own_maker_or_none():
    for name, task in TASKS.items():
        assert name == task.name and bool(task.labels) == (task.kind == "pair")
        if task.labels:
            assert {example.label for example in read(WORLD, data(name), "test", PIVOT)} == set(task.labels)
