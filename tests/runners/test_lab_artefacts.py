"""What a task does not claim, no shortcut gives: a linear model on one side, on words or on counts stays near chance."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from xlift.registry.known.lab import PIVOT, World
from xlift.registry.stage import Data
from xlift.runners.data.lab.tasks import asked, pair, read
from xlift.runners.kinds.pair import Pair

WORLD = World(languages=(PIVOT, "bo3", "ce1"), train_items=2400, test_items=900)
CHANCE = {"lab-entail": 1 / 3, "lab-entail-mixed": 1 / 3, "lab-duplicate": 0.5, "lab-paraphrase": 0.5}


@cache
def examples(task: str, split: str, language: str = PIVOT, kind: str = "pair") -> list:
    return read(WORLD, Data(source="lab", kind=kind, task=task), split, language)


def linear(train: list[Counter], labels: list, test: list[Counter], gold: list) -> float:
    """Accuracy of a ridge regression onto the labels (one column each) from counts of features."""
    names = sorted({name for counts in train for name in counts}, key=repr)
    column = {name: i for i, name in enumerate(names)}

    def matrix(rows: list[Counter]) -> np.ndarray:
        x = np.zeros((len(rows), len(names) + 1))
        x[:, -1] = 1
        for i, counts in enumerate(rows):
            for name, n in counts.items():
                if name in column:
                    x[i, column[name]] = n
        return x

    classes = sorted(set(labels))
    x, y = matrix(train), np.array([[label == each for each in classes] for label in labels], dtype=float)
    weights = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ y)
    return float(np.mean([classes[i] == label for i, label in zip((matrix(test) @ weights).argmax(1), gold, strict=True)]))


def bags(example: Pair) -> tuple[Counter, Counter]:
    return Counter(example.first.split()), Counter(example.second.split())


def words(example: Pair) -> Counter:
    """Words of both texts, those of the first alone and of the second alone."""
    first, second = bags(example)
    return Counter(
        {
            (name, word): n
            for name, bag in (("both", first & second), ("first", first - second), ("second", second - first))
            for word, n in bag.items()
        }
    )


def overlap(example: Pair) -> Counter:
    """How many words are shared, how many only one text has, and how much longer one is."""
    first, second = bags(example)
    one, two = (first - second).total(), (second - first).total()
    return Counter([("shared", (first & second).total()), ("alone", one, two), ("longer", one - two)])


SHORTCUTS: dict[str, Callable[[Pair], Counter]] = {
    "the second text alone": lambda example: bags(example)[1],
    "the first text alone": lambda example: bags(example)[0],
    "words": words,
    "overlap": overlap,
}


@pytest.mark.parametrize("task", ("lab-entail", "lab-duplicate", "lab-paraphrase"))
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_shortcut_stays_near_chance(task, shortcut):
    train, test = (examples(task, split) for split in ("train", "test"))
    features = SHORTCUTS[shortcut]
    found = linear([features(e) for e in train], [e.label for e in train], [features(e) for e in test], [e.label for e in test])
    assert found < CHANCE[task] + 0.07


def test_mixed_entailment_claims_less_quantifiers_tell_something():
    """`no` against `some` excludes entailment, so words and counts reach about 1/2; the hypothesis alone stays at chance."""
    train, test = (examples("lab-entail-mixed", split) for split in ("train", "test"))
    for shortcut, bound in (("the second text alone", 0.4), ("words", 0.54), ("overlap", 0.54)):
        features = SHORTCUTS[shortcut]
        assert (
            linear([features(e) for e in train], [e.label for e in train], [features(e) for e in test], [e.label for e in test])
            < bound
        )


@pytest.mark.parametrize("language", ("bo3", "ce1"))
def test_words_tell_little_in_an_isolating_language_and_the_case_tells_roles_where_there_is_one(language):
    """In a language with cases the words of a non-paraphrase may differ from those of a paraphrase: case is its grammar."""
    train, test = (examples("lab-paraphrase", split, language) for split in ("train", "test"))
    found = linear([overlap(e) for e in train], [e.label for e in train], [overlap(e) for e in test], [e.label for e in test])
    assert found < 0.57 if language == "bo3" else found < 0.75


def test_the_order_of_the_participants_alone_tells_nothing_of_a_paraphrase():
    """Who comes first is agent and patient in turn; the order is kept in half of the pairs of either label."""
    kept = {"0": [], "1": []}
    for index in range(1500):
        item = pair(WORLD, "lab-paraphrase", "train", index)
        (first,), (second,) = item.first, item.second
        ahead = [said.meaning.patient if said.style.passive else said.meaning.agent for said in (first, second)]
        kept[item.label].append(ahead[0] == ahead[1])
    assert all(np.mean(each) == pytest.approx(0.5, abs=0.06) for each in kept.values())


@pytest.mark.parametrize(("task", "chance"), (("lab-continue", 1 / 4), ("lab-reason", 1 / 4), ("lab-sense", 1 / 5)))
def test_choices_alone_or_their_overlap_tell_nothing(task, chance):
    train, test = (examples(task, split, kind="choice") for split in ("train", "test"))
    for features in (
        lambda e, choice: Counter(choice.split()),
        lambda e, choice: Counter([len(set(choice.split()) & set(f"{e.context} {e.question}".split()))]),
    ):
        rows = [features(e, choice) for e in train for choice in e.choices]
        right = [i == e.label for e in train for i in range(len(e.choices))]
        names = sorted({name for row in rows for name in row}, key=repr)
        odds = {
            name: np.log(
                (sum(r for row, r in zip(rows, right, strict=True) if name in row) + 1) / (sum(name in row for row in rows) + 2)
            )
            for name in names
        }
        guesses = [
            np.argmax([np.mean([odds.get(name, 0) for name in features(e, choice)]) for choice in e.choices]) for e in test
        ]
        assert np.mean([guess == e.label for guess, e in zip(guesses, test, strict=True)]) < chance + 0.06


def test_names_numerals_and_length_find_no_more_than_one_in_four():
    for task in ("lab-pairs", "lab-mine"):
        found = examples(task, "test", "ce1", "retrieve")[:200]
        sources, pivots = (
            [set(text.split()) for text in side] for side in zip(*((e.foreign, e.pivot) for e in found), strict=True)
        )
        hits = [
            np.argmax([len(pivot & source) - 0.01 * abs(len(pivot) - len(source)) for source in sources]) == i
            for i, pivot in enumerate(pivots)
        ]
        assert np.mean(hits) < 0.25 + 0.05


def test_what_is_asked_has_a_rival_in_the_text():
    """A reader that does not look at the question is right at most half of the time: another span is of the same kind."""
    rivals = []
    for task in ("lab-span", "lab-span-far"):
        for index in range(150):
            item = asked(WORLD, task, "train", index)
            field, others = item.question.asked, [said.meaning for i, said in enumerate(item.context) if i != item.sentence]
            rivals.append(any(getattr(meaning, field) is not None for meaning in others))
    assert np.mean(rivals) > 0.85
