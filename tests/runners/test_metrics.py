"""Published cases, identities and refusals of the metrics."""

import math

import numpy as np
import pytest

from xlift.registry.kinds import KINDS
from xlift.registry.known.tasks import TASKS
from xlift.runners import metrics
from xlift.runners.metrics import entity_f1, f1_xtreme, tag_accuracy


def chunks(gold, guess, read):
    """F1 of one sentence by its chunks."""
    a, b = read(gold.split()), read(guess.split())
    return 2 * len(a & b) / (len(a) + len(b))


# Tags


def test_xtremes_f1_over_tags_merges_equal_neighbours():
    gold, guess = "NOUN NOUN NOUN VERB", "NOUN NOUN PROPN VERB"
    assert chunks(gold, guess, metrics.run_chunks) == pytest.approx(0.40)
    both = ([gold.split()] * 2, [guess.split()] * 2)
    assert f1_xtreme(*both).value == pytest.approx(0.40)
    assert tag_accuracy(*both).value == 0.75


def test_xtremes_f1_tells_cconj_from_sconj():
    both = ([["CCONJ", "NOUN"]] * 2, [["SCONJ", "NOUN"]] * 2)
    assert f1_xtreme(*both).value == 0.5


def test_in_xtremes_f1_tags_that_begin_with_s_never_merge():
    assert metrics.run_chunks(["SYM", "SYM", "NOUN", "NOUN"]) == {("SYM", 0, 0), ("SYM", 1, 1), ("NOUN", 2, 3)}
    assert metrics.run_chunks(["INTJ", "INTJ"]) == {("INTJ", 0, 1)}


def test_chunks_do_not_reach_over_the_end_of_a_sentence():
    assert f1_xtreme([["NOUN"], ["NOUN", "VERB"]], [["NOUN"], ["NOUN", "VERB"]]).value == 1.0


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-PER I-PER O B-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),
        ("O I-PER I-PER O", {("PER", 1, 2)}),  # I- after O begins an entity
        ("B-PER I-ORG", {("PER", 0, 0), ("ORG", 1, 1)}),  # and so does I- of another type
        ("B-PER B-PER", {("PER", 0, 0), ("PER", 1, 1)}),
        ("I-LOC B-LOC I-LOC", {("LOC", 0, 0), ("LOC", 1, 2)}),
        ("O O", set()),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags, found):
    assert metrics.iob_chunks(tags.split()) == found


def test_entity_f1_is_micro_averaged_over_the_corpus():
    gold = [["B-PER", "I-PER", "O"], ["B-LOC", "O", "B-ORG"]]
    guess = [["B-PER", "I-PER", "O"], ["B-LOC", "B-ORG", "B-PER"]]
    result = entity_f1(gold, guess)
    assert result.value == pytest.approx(2 * 2 / (3 + 4))
    assert (result.chance, result.items, result.metric) == (0.0, 2, "entity_f1")


def test_tags_without_prefixes_are_no_entities():
    with pytest.raises(ValueError, match=r"tag 'NOUN' is not O, B-<type> or I-<type>.*IOB2"):
        metrics.iob_chunks(["NOUN"])


def test_chance_of_tagging_is_the_share_of_the_most_frequent_tag():
    result = tag_accuracy([["NOUN", "NOUN", "VERB"], ["NOUN"]], [["NOUN", "VERB", "VERB"], ["NOUN"]])
    assert (result.value, result.chance, result.items) == (0.75, 0.75, 2)


# Answers


def test_answers_are_compared_without_case_articles_and_ascii_punctuation():
    assert metrics.squad_tokens("The  Cat, (a) dog's!", "de") == ["cat", "dogs"]
    assert metrics.squad_tokens("„Ä“ an", "de") == ["„ä“"]


def test_f1_and_exact_match_take_the_best_gold_answer():
    f1, exact = metrics.answer_measures([("in 1999", "the year 1999"), ("Paris",)], ["year 1999", "Paris, France"], "en")
    assert (f1.metric, exact.metric) == ("f1", "exact_match")
    assert f1.value == pytest.approx((1 + 2 / 3) / 2)
    assert (exact.value, exact.chance, f1.chance) == (0.5, 0.0, 0.0)


def test_an_empty_guess_is_right_where_there_is_no_answer():
    f1, exact = metrics.answer_measures([(), (), ("Paris",), ("Rome",)], ["", "Oslo", "", "Rome"], "en")
    assert f1.value == exact.value == 0.5
    assert f1.chance == 0.5


# Standard errors


def test_the_standard_error_of_a_mean_is_that_of_its_items():
    result = metrics.class_accuracy(list("aabb"), list("aaab"), 2)
    assert result.value == 0.75
    assert result.se == pytest.approx(math.sqrt(0.75 * 0.25 / 3))


def test_the_ratio_estimator_of_equally_long_sentences_is_that_of_the_mean():
    values = np.array([1.0, 3.0, 4.0, 0.0])
    assert metrics.ratio(values, np.full(4, 5.0)) == pytest.approx(metrics.mean(values / 5))


def test_the_ratio_estimators_error_is_that_of_resampled_sentences():
    rng = np.random.default_rng(1)
    under = rng.integers(1, 20, 400).astype(float)
    over = rng.binomial(under.astype(int), 0.6).astype(float)
    drawn = rng.integers(0, 400, (2000, 400))
    resampled = over[drawn].sum(axis=1) / under[drawn].sum(axis=1)
    assert metrics.ratio(over, under)[1] == pytest.approx(resampled.std(), rel=0.1)


def test_one_item_has_no_standard_error():
    with pytest.raises(ValueError, match="no standard error; score at least two"):
        metrics.mean([1.0])


# Chance and refusals


@pytest.mark.parametrize(
    ("gold", "classes", "chance"), [("aabb", 2, 0.5), ("aaab", 2, 0.75), ("aabc", 3, 0.5), ("abc", 3, 1 / 3)]
)
def test_chance_of_a_class_is_the_better_of_uniform_and_majority(gold, classes, chance):
    assert metrics.class_accuracy(list(gold), list(gold), classes).chance == pytest.approx(chance)


def test_chance_of_retrieval_is_one_in_all():
    result = metrics.retrieval_accuracy([0, 1, 1, 3])
    assert (result.value, result.chance) == (0.75, 0.25)


@pytest.mark.parametrize(
    "score",
    [
        lambda: metrics.class_accuracy(["a", "a"], ["a", "b"], 2),
        lambda: metrics.class_accuracy([0, 0], [0, 0], 2),
        lambda: entity_f1([["O"], ["O"]], [["O"], ["O"]]),
        lambda: tag_accuracy([["X"], ["X"]], [["X"], ["X"]]),
    ],
)
def test_constant_gold_labels_are_refused(score):
    with pytest.raises(ValueError, match="the same gold label everywhere"):
        score()


def test_missing_gold_is_refused():
    with pytest.raises(ValueError, match="without a gold label"):
        metrics.class_accuracy(["a", ""], ["a", "b"], 2)
    with pytest.raises(ValueError, match="no question of the test set has a gold answer"):
        metrics.answer_measures([(), ()], ["", ""], "en")


def test_predictions_of_another_number_than_the_items_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        metrics.class_accuracy(["a", "b"], ["a"], 2)


def test_the_tasks_own_metric_comes_first():
    measures = metrics.answer_measures([("a b",), ("c",)], ["b", "c"], "en")
    assert [m.metric for m in metrics.primary_first(measures, "exact_match")] == ["exact_match", "f1"]
    with pytest.raises(ValueError, match="metric 'accuracy' does not fit this task; known: f1, exact_match"):
        metrics.primary_first(measures, "accuracy")


def test_every_task_has_a_metric_of_its_kind():
    assert all(task.metric in KINDS[task.kind].computed(task.labels) for task in TASKS.values())
