"""Every label of the lab follows from the meanings: checked by going through possible situations, not by the makers' rules."""

from itertools import combinations, product

import pytest

from xlift.registry.known.lab import LANGUAGES, PIVOT, TASKS, World
from xlift.registry.stage import Data
from xlift.runners.data.lab.meaning import Meaning, has_synonym, quantified_relation, relation, swapped, topic_of
from xlift.runners.data.lab.pairs import Item
from xlift.runners.data.lab.realise import Said, Style, text, tokens_of
from xlift.runners.data.lab.tasks import asked, lexicon_of, offered, pair, parallel, read, span_of

WORLD = World(languages=tuple(LANGUAGES), train_items=600, test_items=200, sentences=10, difficulty=0.5)


def by_situations(premise: Meaning, hypothesis: Meaning) -> str:
    """Entailment, neutral or contradiction, by going through all situations that give each field one of the values named."""
    differ = [i for i, (p, h) in enumerate(zip(premise, hypothesis, strict=True)) if p != h]
    values = [[*{premise[i], hypothesis[i]} - {None}, "something else"] for i in differ]

    def holds(meaning: Meaning, situation: tuple) -> bool:
        return all(meaning[i] in (None, value) for i, value in zip(differ, situation, strict=True))

    return ending((holds(premise, situation), holds(hypothesis, situation)) for situation in product(*values))


def ending(truths) -> str:
    """From pairs (premise, hypothesis) of truth values, one a situation."""
    after = {hypothesis for premise, hypothesis in truths if premise}
    assert after
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(after), "neutral")


def by_models(premise: Meaning, hypothesis: Meaning) -> str:
    """The same for quantified sentences, by going through all sets of at most three sorts of individuals.

    A sort is which of the properties named it has. Each sentence says that some sort is there and that some are not, so
    three sorts are enough for a counterexample; the agents spoken of are there.
    """

    def parts(meaning: Meaning) -> tuple[set, set]:
        of = {("attribute", meaning.agent_attribute)} - {("attribute", None)}
        return of, {
            (f, getattr(meaning, f))
            for f in ("patient_count", "patient_attribute", "recipient", "place", "time")
            if getattr(meaning, f)
        } | {"does"}

    (p_of, p_is), (h_of, h_is) = parts(premise), parts(hypothesis)
    names = sorted(map(repr, p_of | p_is | h_of | h_is))
    sorts = [
        frozenset(name for name, on in zip(names, bits, strict=True) if on) for bits in product((False, True), repeat=len(names))
    ]

    def holds(quantifier: str, of: set, what: set, model) -> bool:
        of, what = set(map(repr, of)), set(map(repr, what))
        does = [what <= sort for sort in model if of <= sort]
        return {"every": all(does), "some": any(does), "no": not any(does)}[quantifier]

    def truths():
        for model in (m for size in (1, 2, 3) for m in combinations(sorts, size)):
            if all(any(set(map(repr, of)) <= sort for sort in model) for of in (p_of, h_of)):
                yield holds(premise.quantifier, p_of, p_is, model), holds(hypothesis.quantifier, h_of, h_is, model)

    return ending(truths())


def facts(item: Item) -> tuple[Meaning, Meaning]:
    """The sentence of the premise that the hypothesis is about, which is the one with its verb, and the hypothesis."""
    (hypothesis,) = item.second
    (about,) = (said.meaning for said in item.first if said.meaning.verb == hypothesis.meaning.verb)
    return about, hypothesis.meaning


def test_relation_knows_what_is_said_more_less_and_otherwise():
    full = Meaning(
        "being-1", True, 3, None, "verb-1", "being-2", False, None, "attribute-1", "past", False, None, "place-1", None
    )
    assert relation(full, full._replace(agent_count=None)) == by_situations(full, full._replace(agent_count=None)) == "entailment"
    assert relation(full._replace(place=None), full) == by_situations(full._replace(place=None), full) == "neutral"
    for other in (full._replace(place="place-2"), full._replace(negated=True), full._replace(agent_count=4), swapped(full)):
        assert relation(full, other) == by_situations(full, other) == "contradiction"
    assert swapped(swapped(full)) == full


@pytest.mark.parametrize("task", ("lab-entail", "lab-entail-mixed"))
def test_entailment_is_what_holds_in_all_situations(task):
    genres = set()
    for split, count in (("train", 400), ("test", 150)):
        for index in range(count):
            item = pair(WORLD, task, split, index)
            premise, hypothesis = facts(item)
            genres.add((bool(hypothesis.quantifier), len(item.first), item.first[-1].style.pronoun))
            if hypothesis.quantifier is None:
                assert relation(premise, hypothesis) == by_situations(premise, hypothesis) == item.label
            else:
                assert quantified_relation(premise, hypothesis) == item.label
                if index % 3 == 1 and split == "train":
                    assert by_models(premise, hypothesis) == item.label
    assert genres == (
        {(False, 1, False)}
        if task == "lab-entail"
        else {(False, 1, False), (True, 1, False), (False, 2, False), (False, 2, True)}
    )


def test_a_pronoun_stands_for_the_one_agent_that_it_can():
    found = 0
    for index in range(600):
        item = pair(WORLD, "lab-entail-mixed", "train", index)
        if item.first[-1].style.pronoun:
            first, second = (said.meaning for said in item.first)
            assert (first.agent, first.agent_plural, first.agent_count, first.agent_attribute) == second[:4]
            found += 1
    assert found > 20


def test_two_questions_are_one_if_they_say_and_ask_the_same():
    for index in range(500):
        item = pair(WORLD, "lab-duplicate", "train", index)
        (first,), (second,) = item.first, item.second
        assert (first.meaning == second.meaning and first.asked == second.asked) == (item.label == "1")


def test_paraphrases_mean_the_same_and_others_do_not_with_the_same_lemmas():
    for index in range(500):
        item = pair(WORLD, "lab-paraphrase", "train", index)
        (first,), (second,) = item.first, item.second
        assert by_situations(first.meaning, second.meaning) == ("entailment" if item.label == "1" else "contradiction") or (
            None in (first.meaning.agent_attribute, first.meaning.patient_attribute)
            and item.label == "0"
            and first.meaning != second.meaning
        )
        assert sorted(map(str, first.meaning)) == sorted(map(str, second.meaning))


SPANS = [name for name, task in TASKS.items() if task.kind == "span"]


@pytest.mark.parametrize("task", SPANS)
def test_every_answer_stands_where_it_says_and_says_what_is_asked(task):
    split, none = "test", 0
    for language in (PIVOT, "bo2", "ce2", "di3"):
        words = lexicon_of(WORLD, language)
        for index, example in enumerate(
            read(WORLD, Data(source="lab", kind="span", task=task, limit=None), split, language)[:80]
        ):
            item = asked(WORLD, task, split, index)
            matches = [
                at
                for at, said in enumerate(item.context)
                if all(
                    getattr(said.meaning, f) == getattr(item.question.meaning, f)
                    for f in ("agent", "verb", "patient")
                    if f != item.question.asked
                )
            ]
            if not example.answers:
                none += 1
                assert not matches and task == "lab-span-none"
                continue
            (answer,), (start,) = example.answers, example.starts
            assert example.context[start : start + len(answer)] == answer and span_of(item, words) == (answer, start)
            assert f" {example.context} ".find(f" {answer} ") >= 0 and len(matches) == 1
            stated, field = item.context[item.sentence].meaning, item.question.asked
            assert getattr(stated, field) == getattr(item.context[matches[0]].meaning, field)
            if field.endswith("count"):
                assert answer == str(getattr(stated, field))
    assert (none > 0) == (task == "lab-span-none")


def test_a_third_of_the_questions_have_no_answer_and_the_rest_are_those_of_lab_span():
    whole, mixed = (
        [asked(WORLD, task, "train", i) for i in range(count)] for task, count in (("lab-span", 40), ("lab-span-none", 60))
    )
    assert [item for item in mixed if item.sentence is not None] == whole
    for item in mixed:
        if item.sentence is None:  # all that the question says is in the text, in different sentences
            said = {value for each in item.context for value in each.meaning}
            assert {
                item.question.meaning.verb,
                *(getattr(item.question.meaning, f) for f in ("agent", "patient") if f != item.question.asked),
            } <= said


def test_domains_are_disjoint_in_their_topics():
    topics = {
        task: {topic_of(said.meaning.verb) for i in range(200) for said in asked(WORLD, task, "test", i).context}
        for task in SPANS
    }
    assert topics["lab-span"] == {0, 1, 2, 3} and topics["lab-span-far"] == {4, 5} and topics["lab-span-own"] == set(range(6))


def test_what_goes_on_is_what_is_usually_done_next():
    for index in range(200):
        for task in ("lab-continue", "lab-reason"):
            item = offered(WORLD, task, "train", index)
            doing = [
                said.meaning.verb
                for said in item.context
                if item.about in (None, (said.meaning.agent, said.meaning.agent_plural))
            ][-1]
            verbs = [said.meaning.verb for said in item.choices]
            near = [
                int(verb[5:]) for verb in sorted({*verbs, doing}, key=lambda v: int(v[5:])) if topic_of(verb) == topic_of(doing)
            ]
            right = int(verbs[item.label][5:])
            assert right in near and len(set(verbs)) == 4
            assert right == int(doing[5:]) + 6 or right == topic_of(doing)  # the next of the topic, or the first again
            assert len({said.meaning.agent for said in item.choices}) == 1
        item = offered(WORLD, "lab-sense", "train", index)
        topics = [topic_of(lemma) for lemma, _, _ in item.choices]
        assert [t == topic_of(item.question.meaning.verb) for t in topics] == [i == item.label for i in range(5)] and len(
            set(topics)
        ) == 5


def test_four_candidates_share_what_all_languages_share():
    for task in ("lab-pairs", "lab-mine"):
        for group in range(20):
            four = [parallel(WORLD, task, "test", 4 * group + i) for i in range(4)]
            assert len({said.meaning for said in four}) == 4 and len({said.style for said in four}) == 1
            for language in ("al2", "bo1", "ce1", "di1"):
                said = [tokens_of((each,), lexicon_of(WORLD, language)) for each in four]
                assert len({len(tokens) for tokens in said}) == 1
                assert len({text(t for t in tokens if t.pos in ("PROPN", "NUM", "PUNCT")) for tokens in said}) == 1
            differ = [
                sum(a != b for a, b in zip(four[0].meaning, other.meaning, strict=True)) for other in (each for each in four[1:])
            ]
            assert max(differ) == 1 if task == "lab-mine" else min(differ) >= 1


def test_a_synonym_is_another_word_of_the_same_lemma_in_every_language():
    meaning = Meaning("being-3", False, None, None, "verb-3", "being-6", False, None, None, "past")
    assert has_synonym("being-3") and has_synonym("verb-3") and not has_synonym("being-4")
    for language in LANGUAGES:
        words = lexicon_of(WORLD, language)
        assert text(tokens_of((Said(meaning),), words)) != text(tokens_of((Said(meaning, Style(other=("verb-3",))),), words))
