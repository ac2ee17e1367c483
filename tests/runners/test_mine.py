"""Mining translations among sentences that mostly have none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xlift.registry.findings import BadInput, UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.stage import Data, Scoring
from xlift.registry.store import Store
from xlift.runners import evaluate, nets
from xlift.runners.data.bucc import convert
from xlift.runners.data.rows import example
from xlift.runners.jobs import Env
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.mine import Sentence, best_cut, mined
from xlift.runners.run import run

CPU = {"device": "cpu", "budget": 512}
BUCC = Data(source="local", kind="mine", task="bucc", metric="f1")


def by_the_whole_matrix(source: np.ndarray, pivot: np.ndarray) -> list[tuple[int, int, float]]:
    """The same pairs with every cosine at once, in fp64, proposals in a loop."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (source, pivot))
    cosines = one @ other.T
    means = [np.sort(each, axis=1)[:, -4:].mean(axis=1) for each in (cosines, cosines.T)]
    margins = cosines / ((means[0][:, None] + means[1][None, :]) / 2)
    proposed = set()
    for i, row in enumerate(cosines):
        proposed.add((i, max(np.argsort(row)[-4:], key=lambda j, i=i: margins[i, j])))
    for j, column in enumerate(cosines.T):
        proposed.add((max(np.argsort(column)[-4:], key=lambda i, j=j: margins[i, j]), j))
    found = []
    for i, j in sorted(proposed, key=lambda pair: -margins[pair]):
        if i not in {a for a, *_ in found} and j not in {b for _, b, _ in found}:
            found.append((i, j, margins[i, j]))
    return found


def test_pairs_are_those_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    source, pivot = rng.normal(size=(60, 8)) + 1, rng.normal(size=(90, 8)) + 1
    found, wanted = mined(source, pivot, block=7), by_the_whole_matrix(source, pivot)
    assert [pair[:2] for pair in found] == [pair[:2] for pair in wanted]
    np.testing.assert_allclose([pair[2] for pair in found], [pair[2] for pair in wanted], rtol=1e-5)


def test_fewer_sentences_than_neighbours_are_mined_too():
    assert [pair[:2] for pair in mined(np.eye(2) + 0.1, np.eye(2)[::-1] + 0.1)] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("seed", range(20))
def test_the_threshold_has_the_best_f1_of_all(seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 12, size=30) / 10)[::-1]
    right, gold = rng.random(30) < np.linspace(0.9, 0.1, 30), 25

    def f1(threshold):
        taken = scores >= threshold
        return 2 * right[taken].sum() / (taken.sum() + gold)

    cut = best_cut(scores.tolist(), right.tolist(), gold)
    assert (f1(cut) == max(map(f1, scores)) and not (scores == cut).any()) or cut == scores[-1]


def test_a_cut_may_be_at_the_last_pair_and_all_are_taken_where_none_is_right():
    assert best_cut([3.0, 2.0, 1.0], [True, True, True], 3) == 1.0
    assert best_cut([3.0, 2.0, 1.0], [True, False, True], 9) == 1.0
    assert best_cut([3.0, 2.0, 1.0], [True, False, False], 1) == 2.5
    assert best_cut([3.0, 2.0], [False, False], 2) == 0.0  # as in XTREME's script: all are taken


def sentences(pairs: int = 12, alone: int = 20) -> tuple[list[Sentence], list[np.ndarray]]:
    """Both splits with translations, which stand close to each other, and sentences that have none."""
    rng, made, states = np.random.default_rng(1), [], []
    for tunes in (True, False):
        for at in range(pairs + alone):
            state = rng.normal(size=64) + 0.5
            for side in ("source", "pivot"):
                own = state if at < pairs else rng.normal(size=64) + 0.5
                made.append(Sentence(f"{side} {at}", side, (f"p{at}",) if at < pairs else (), tunes))
                states.append(own + rng.normal(size=64) * 0.1)
    order = rng.permutation(len(made))
    return [made[i] for i in order], [states[i] for i in order]


def test_translations_are_found_at_the_threshold_of_the_development_sentences():
    examples, states = sentences()
    found = kind_of("mine").decode(states, [], examples, BUCC, Scoring())
    (measure,) = kind_of("mine").measure(found, examples, BUCC, "de")
    assert measure.metric == "f1" and measure.value > 0.9 and measure.items == 32 and measure.chance == 0
    assert all(found[found[i]] == i for i in range(len(found)) if found[i] >= 0)
    hidden = [e if e.tunes or e.pairs == ("p3",) else replace(e, pairs=()) for e in examples]
    assert kind_of("mine").decode(states, [], hidden, BUCC, Scoring()) == found  # the test's own pairs set no threshold
    scattered = [
        s if not e.tunes else np.random.default_rng(i).normal(size=64)
        for i, (e, s) in enumerate(zip(examples, states, strict=True))
    ]
    assert kind_of("mine").decode(scattered, [], examples, BUCC, Scoring()) != found


def test_f1_counts_each_pair_once():
    examples = [
        Sentence(f"{i}", side, pairs, False)
        for i, (side, pairs) in enumerate(
            [("source", ("a",)), ("source", ("b",)), ("source", ()), ("pivot", ("a",)), ("pivot", ("b",)), ("pivot", ())]
        )
    ]
    tuning = [Sentence("s", "source", ("a",), True), Sentence("t", "pivot", ("a",), True)]
    guess = [3, 5, 4, 0, 2, 1, 7, 6]  # one of three found, one of two translations
    (measure,) = kind_of("mine").measure(guess, examples + tuning, BUCC, "de")
    assert measure.value == pytest.approx(2 * 1 / (3 + 2)) and measure.items == 3


@pytest.mark.parametrize("tunes", [True, False])
def test_a_split_without_translations_is_refused(tunes):
    examples, states = sentences()
    bare = [replace(e, pairs=()) if e.tunes == tunes else e for e in examples]
    with pytest.raises(UserError, match=f"no two sentences of split {'dev' if tunes else 'test'} share a pair"):
        kind_of("mine").decode(states, [], bare, BUCC, Scoring())


STUDY = """\
schema: xlift/1
id: mining
question: Are they found?
data: {source: local, limit: {test: 4}}
languages: [de]
models:
  - {id: own, family: ours, folder: model, scoring: {max_length: 40, layer: 1}}
matrix: {intermediate: [none], target: [bucc], seed: {count: 1, from: 1}}
"""


def study(tmp_path, encoder, tokenizer, text=STUDY):
    encoder.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "data" / "bucc").mkdir(parents=True)
    same = ["a brown fox", "the lazy dog", "der König liest"]
    sides = {
        "source": [*same, "ein Brief an sie", "Numbers such as 1999"],
        "pivot": [*same, "towns", "she wrote of the river and of the king"],
    }
    rows = [
        {"text": text, "side": side, "pairs": f"{at}" * (at < 3), "split": split}
        for split in ("dev", "test")
        for side, texts in sides.items()
        for at, text in enumerate(texts)
    ]
    (tmp_path / "data" / "bucc" / "test.de.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "study.yaml").write_text(text)
    return load(tmp_path / "study.yaml")


def test_bucc_runs_whole_and_is_retrieval(tmp_path, encoder, tokenizer):
    read = study(tmp_path, encoder, tokenizer)
    plan = expand(read, Inputs(read, tmp_path / "data"))
    ((step,), (cell,)) = plan.steps, plan.cells
    assert cell.retrieval and step.stage.data.limit is None and step.blocked is None
    assert run(step, Env(tmp_path / "store", Inputs(read, tmp_path / "data")))
    (score,) = Store(tmp_path / "store").scores(step.stage.id)
    examples = [example(json.loads(line), BUCC, "here") for line in (tmp_path / "data" / "bucc" / "test.de.jsonl").open()]
    net, mine = nets.load(tmp_path / "model"), kind_of("mine")
    alone = [
        evaluate.predict(net, mine, mine.encode([e], net.reading(step.stage.scoring), BUCC, "de"), step.stage.scoring, **CPU)[0]
        for e in examples
    ]
    (measure,) = mine.measure(mine.decode(alone, [], examples, BUCC, Scoring()), examples, BUCC, "de")
    assert (score.metric, score.items, score.value) == ("f1", 5, pytest.approx(measure.value)) and score.value > 0.5


def test_a_limit_of_its_own_would_part_translations(tmp_path, encoder, tokenizer):
    with pytest.raises(BadInput) as caught:
        study(tmp_path, encoder, tokenizer, STUDY + "tasks: {bucc: {limit: {test: 4}}}\n")
    (found,) = caught.value.findings
    assert found.code == "E203" and "part sentences from their translations" in found.message and found.place.line == 9


def published(folder, **changed):
    files = {
        "sample.de": "de-1\tein Hund\nde-2\teine Katze\n",
        "sample.en": "en-1\ta bird\nen-2\ta dog\n",
        "sample.gold": "de-1\ten-2\n",
        "training.de": "de-1\tdas\u2028Haus\nde-2\tein Haus\nde-3\tetwas\n",
        "training.en": "en-1\ta house\n",
        "training.gold": "de-1\ten-1\nde-2\ten-1\n",
    } | changed
    (folder / "bucc2018" / "de-en").mkdir(parents=True)
    for name, text in files.items():
        if text is not None:
            (folder / "bucc2018" / "de-en" / f"de-en.{name}").write_text(text)
    return folder


def test_bucc_s_own_files_become_rows_that_are_read(tmp_path):
    (path,) = convert(published(tmp_path), tmp_path / "data")
    assert path == tmp_path / "data" / "bucc" / "test.de.jsonl"
    examples = [example(json.loads(line), BUCC, "here") for line in path.read_text().split("\n") if line]
    assert examples[:4] == [
        Sentence("ein Hund", "source", ("de-1",), True),
        Sentence("eine Katze", "source", (), True),
        Sentence("a bird", "pivot", (), True),
        Sentence("a dog", "pivot", ("de-1",), True),
    ]
    assert examples[4] == Sentence("das\u2028Haus", "source", ("de-1",), False)
    assert examples[7] == Sentence("a house", "pivot", ("de-1", "de-2"), False) and len(examples) == 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training.gold": None}, "no de-en.training.gold; unpack both archives"),
        ({"sample.en": "en-1 a bird\n"}, r"de-en.sample.en:1: not two columns"),
        ({"sample.gold": "de-9\ten-2\n"}, "de-en.sample.gold names de-9, which is none of the sentences"),
        ({"sample.de": None, "training.de": None}, "nor another language of BUCC 2018; unpack its archives"),
    ],
)
def test_files_of_bucc_that_are_not_whole_write_nothing(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        convert(published(tmp_path, **changed), tmp_path / "data")
    assert not (tmp_path / "data").exists()
