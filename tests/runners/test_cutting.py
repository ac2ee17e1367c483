"""What the field's own scripts do otherwise than the defaults: windows by a step, questions and contexts cut, thresholds on dev."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.manifest.sections import merged
from xlift.registry.plan import expand
from xlift.registry.stage import Cutting, Data, Recipe, Scoring
from xlift.registry.store import Store
from xlift.runners import metrics
from xlift.runners.jobs import Env
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.base import Feature, Reading
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mine import Sentence, best_cut, mined
from xlift.runners.kinds.span import Question, Window
from xlift.runners.kinds.tokens import NOTHING
from xlift.runners.run import run

SPAN, CHOICE = Data(source="local", kind="span", task="t"), Data(source="local", kind="choice", task="t")
MINE = Data(source="local", kind="mine", task="t")


def encode(data, examples, tokenizer, **cutting):
    return kind_of(data.kind).encode(examples, Reading(tokenizer, Cutting(**cutting)), data, "en")


# Windows, questions, contexts


@pytest.mark.parametrize(("stride", "windows"), [({"doc_stride": 128}, 5), ({}, 3), ({"doc_stride": 10_000}, 3)])
def test_windows_begin_every_so_many_tokens_and_cover_the_text(tokenizer, stride, windows):
    """800 tokens at 384: five in XTREME's script and jiant, three by an overlap of 128; a step is at most a window."""
    question = Question("a " * 800, "fox", ("a",), (0,), "1")
    found = [feature.trace for feature in encode(SPAN, [question], tokenizer, max_length=384, **stride)]
    starts = [(int(window.offsets[0, 0]) + 1) // 2 for window in found]  # a token and a blank are two characters
    assert len(found) == windows and found[-1].offsets[-1, 1] >= 1598
    covered = {int(begin) for window in found for begin, _ in window.offsets}
    assert len(covered) == len(
        {begin for begin, _ in encode(SPAN, [question], tokenizer, max_length=2000)[0].trace.offsets.tolist()}
    )
    if stride == {"doc_stride": 128}:
        assert np.diff(starts).tolist() == [128] * 4


def test_a_question_has_at_most_so_many_tokens(tokenizer):
    question = Question("the fox", "who wrote the first letter to the king of the islands?", ("fox",), (4,), "1")
    (whole,), (cut,) = (encode(SPAN, [question], tokenizer, max_length=128, **more) for more in ({}, {"question_length": 5}))
    assert cut.trace.begin == 1 + 5 + 2 < whole.trace.begin  # <s> question </s> </s>
    assert cut.sequences[0][1:6].tolist() == whole.sequences[0][1:6].tolist()


def test_a_context_loses_its_end_or_its_start(tokenizer):
    words = [f"{word} {at}" for at in range(60) for word in ("fox",)]
    example = Choice(" ".join(words), "who wrote it?", ("a woman", "the king of the islands"), 1)
    ids = tokenizer(example.context, add_special_tokens=False)["input_ids"]
    for cut in ("end", "start"):
        (feature,) = encode(CHOICE, [example], tokenizer, max_length=64, context_cut=cut)
        kept = feature.seconds[0] - 3 - len(tokenizer("who wrote it?", add_special_tokens=False)["input_ids"])
        assert 20 < kept < len(ids)
        for row in feature.sequences:
            assert row[1 : 1 + kept].tolist() == (ids[:kept] if cut == "end" else ids[-kept:])
    short = replace(example, context="the fox")
    one, other = (encode(CHOICE, [short], tokenizer, max_length=64, context_cut=cut)[0] for cut in ("end", "start"))
    assert all(map(np.array_equal, one.sequences, other.sequences))


def test_the_overlap_of_windows_and_the_step_between_them_replace_each_other():
    assert merged(Recipe(stride=64), Recipe(doc_stride=128)) == Recipe(doc_stride=128)
    assert merged(Recipe(doc_stride=128), Recipe(stride=64)) == Recipe(stride=64)
    assert merged(Scoring(stride=64), Scoring(doc_stride=None)) == Scoring(stride=64)
    with pytest.raises(ValueError, match="stride and doc_stride are both given"):
        Recipe(stride=64, doc_stride=128)


# The null threshold


def drawn(seed):
    """Questions of which some have no answer, and outputs of one window each, of five tokens."""
    rng = np.random.default_rng(seed)
    context = "one two three four five"
    offsets = np.array([(at, at + len(word)) for word in context.split() for at in [context.index(word)]], dtype=np.int32)
    examples, features, outputs = [], [], []
    for at in range(30):
        answer = rng.choice(context.split()) if rng.random() < 0.6 else None
        examples.append(Question(context, "?", (answer,) if answer else (), (context.index(answer),) if answer else (), str(at)))
        features.append(Feature((np.arange(6),), np.zeros(2), example=at, units=1, trace=Window(1, offsets)))
        outputs.append(rng.integers(-3, 4, size=(6, 2)).astype(np.float32))  # of which some are equal
    return examples, features, outputs


@pytest.mark.parametrize("seed", range(30))
def test_the_threshold_on_development_data_has_the_best_f1_of_all(seed):
    examples, features, outputs = drawn(seed)
    kind, scoring = kind_of("span"), Scoring(null_threshold="dev")

    def f1(threshold):
        texts = kind.decode(outputs, features, examples, SPAN, Scoring(null_threshold=threshold))
        return metrics.answer_measures([e.answers for e in examples], texts, "en")[0].value

    settled = kind.settled(outputs, features, examples, SPAN, scoring, "en")
    assert f1(settled.null_threshold) == pytest.approx(max(f1(t) for t in np.arange(-14, 14, 0.25)))
    assert kind.settled(outputs, features, examples, SPAN, Scoring(null_threshold=1.5), "en").null_threshold == 1.5
    some = [at for at, example in enumerate(examples) if example.answers]
    chosen = (
        [examples[at] for at in some],
        [replace(features[at], example=i) for i, at in enumerate(some)],
        [outputs[at] for at in some],
    )
    assert kind.settled(chosen[2], chosen[1], chosen[0], SPAN, scoring, "en").null_threshold == 0.0


STUDY = """\
schema: xlift/1
id: nulls
question: Is the threshold set on development data?
data: {source: local}
models: [{id: tiny, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 120, positions: 64}}]
pretrain: {corpus: words, languages: [en], recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 32}}
recipe: {lr: 1e-3, steps: 4, batch: 8, max_length: 48}
tasks:
  words: {kind: mlm}
  ours: {kind: span, languages: [en, de], scoring: {null_threshold: dev, max_length: 48}}
matrix: {intermediate: [none], target: [ours], seed: {count: 1, from: 1}}
"""


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answered(number, seed):
    context = f"the fox {number} reads a book near the river {seed}"
    answers = {"text": ["book"], "answer_start": [context.index("book")]} if number % 3 else {"text": [], "answer_start": []}
    return {"context": context, "question": f"what {number}?", "answers": answers, "id": str(number)}


def test_a_target_s_threshold_is_set_on_development_data_which_are_in_its_id(tmp_path):
    folder = tmp_path / "data"
    write(folder / "words" / "train.en.jsonl", [{"text": f"the fox reads {n} books near the river"} for n in range(40)])
    for name, seed in (("train.en", 1), ("test.en", 2), ("test.de", 3)):
        write(folder / "ours" / f"{name}.jsonl", [answered(n, seed) for n in range(24)])
    (tmp_path / "study.yaml").write_text(STUDY)
    study = load(tmp_path / "study.yaml")

    def scored():
        inputs = Inputs(study, folder)
        plan = expand(study, inputs)
        for step in plan.steps:
            if not step.blocked:
                run(step, Env(tmp_path / "store", inputs))
        return plan.steps[-1]

    assert scored().blocked == "no dev data of ours"
    write(folder / "ours" / "dev.en.jsonl", [answered(n, 4) for n in range(24)])
    first = scored()
    values = {score.language: score.value for score in Store(tmp_path / "store").scores(first.stage.id) if score.primary}
    assert first.stage.data.dev.split == "dev" and set(values) == {"en", "de"}
    best = {score.value for score in Store(tmp_path / "store").scores(first.stage.id) if score.metric == "f1"}
    assert min(best) >= 8 / 24 - 1e-9  # no answer at all is among the thresholds: an untrained model does no worse
    write(folder / "ours" / "dev.en.jsonl", [answered(n, 5) for n in range(24)])
    other = scored()
    assert other.stage.id != first.stage.id and other.stage.parent.id == first.stage.parent.id


def test_both_strides_are_refused_where_they_stand(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.replace("max_length: 48}}", "stride: 8, doc_stride: 8}}"))
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    (found,) = caught.value.findings
    assert found.place.line == 10 and "stride and doc_stride are both given" in found.message


# Sentences that stand more than once


def by_hand(rows, examples, tunes):
    """Pairs of one split as XTREME's script leaves them: texts once each, and of those the ones that stood once."""
    sides = []
    for side in ("source", "pivot"):
        own = [at for at, e in enumerate(examples) if e.side == side and e.tunes == tunes]
        first = {examples[at].text: at for at in reversed(own)}
        often = Counter(examples[at].text for at in own)
        sides.append((sorted(first.values()), often))
    (one, ones), (two, twos) = sides
    pairs = [(one[a], two[b], score) for a, b, score in mined(rows[one], rows[two])]
    return [(a, b, score) for a, b, score in pairs if ones[examples[a].text] == twos[examples[b].text] == 1]


@pytest.mark.parametrize("seed", range(12))
def test_sentences_that_stand_twice_are_mined_each_or_not_at_all(seed):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(14, 6)) + 0.5
    examples, rows = [], []
    for tunes in (True, False):
        for side in ("source", "pivot"):
            for at in [*range(14), *rng.integers(0, 14, size=4).tolist()]:
                examples.append(Sentence(f"{side} {at}", side, (str(at),) if at < 9 else (), tunes))
                rows.append(base[at] + (0.4 * np.random.default_rng(at).normal(size=6) if side == "pivot" else 0))
    outputs = list(np.array(rows, dtype=np.float32))
    features = [Feature((np.arange(2),), NOTHING, example=at, units=0) for at in range(len(examples))]
    found = kind_of("mine").decode(outputs, features, examples, MINE, Scoring(repeated="dropped"))
    translated = {
        (a, b)
        for a, e in enumerate(examples)
        for b, o in enumerate(examples)
        if (e.side, o.side) == ("source", "pivot") and e.tunes == o.tunes and e.pairs and e.pairs == o.pairs
    }
    dev, test = (by_hand(np.array(outputs), examples, tunes) for tunes in (True, False))
    gold = sum(examples[a].tunes for a, _ in translated)  # those that stand twice can be missed, and count
    threshold = best_cut([score for *_, score in dev], [(a, b) in translated for a, b, _ in dev], gold)
    wanted = {a: b for a, b, score in [*dev, *test] if score >= threshold}
    assert {a: b for a, b in enumerate(found) if b >= 0 and examples[a].side == "source"} == wanted and wanted
    each = kind_of("mine").decode(outputs, features, examples, MINE, Scoring())
    assert each != found


def test_where_every_sentence_stands_twice_nothing_is_found():
    examples = [
        Sentence(f"{side} {at % 2}", side, (str(at % 2),), tunes)
        for tunes in (True, False)
        for side in ("source", "pivot")
        for at in range(4)
    ]
    outputs = list(np.random.default_rng(0).normal(size=(len(examples), 4)).astype(np.float32))
    features = [Feature((np.arange(2),), NOTHING, example=at, units=0) for at in range(len(examples))]
    found = kind_of("mine").decode(outputs, features, examples, MINE, Scoring(repeated="dropped"))
    assert set(found) == {-1}
