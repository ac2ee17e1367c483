"""Every kind: decode inverts encode, losses are sums in fp32, and nothing is lost or scored twice."""

import itertools
import typing
from dataclasses import replace

import numpy as np
import pytest
import torch

from xlift.registry import stage
from xlift.registry.kinds import KINDS
from xlift.registry.stage import Cutting, Data, Scoring
from xlift.runners.kinds import kind_of, tokens
from xlift.runners.kinds.base import IGNORE, Reading
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.retrieve import Parallel
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged

SCORING = Scoring()

PAIRS = [
    Pair("The quick brown fox jumps.", "A fox jumps.", "yes"),
    Pair("The dog reads a book.", "敏捷的狐狸", "no"),
    Pair("", "A woman.", "no"),
]
TAGGED = [
    Tagged(("The", "woman", "reads"), ("O", "B-X", "O")),
    Tagged(("Fuchs", "springt"), ("B-X", "I-X")),
    Tagged(("", "\u200b", "Briefe", "敏捷的狐狸"), ("O", "B-X", "B-X", "O")),
]
CONTEXT = "The quick brown fox jumps over the lazy dog near the river. Der König der Inseln, ½ ㎏ 敏捷的狐狸."
QUESTIONS = [
    Question(CONTEXT, "Who jumps?", (answer,), (CONTEXT.index(answer),), "1")
    for answer in ("The quick", "lazy dog", "river", "Inseln", "㎏", "狐狸.", "König der In")
]
CHOICES = [
    Choice("The dog is lazy.", "Who?", ("The fox", "The dog", "The king of the islands"), 1),
    Choice("", "What?", ("A book", "A letter", "towns"), 2),
]
PARALLEL = [Parallel("Der Fuchs springt.", "The fox jumps."), Parallel("Ein Brief.", "A letter."), Parallel("狐狸", "fox")]
TEXTS = [Text("The quick brown fox jumps over the lazy dog."), Text("Ein Brief."), Text("Numbers such as 1999.")]


def data(kind, **more):
    labels = {"pair": ("yes", "no"), "tag": ("O", "B-X", "I-X")}.get(kind, ())
    return Data(source="local", kind=kind, task="t", **({"labels": labels} | more))


def encode(kind, examples, tokenizer, *, max_length=64, stride=8, described=None):
    return kind_of(kind).encode(
        examples, Reading(tokenizer, Cutting(max_length=max_length, stride=stride)), described or data(kind), "en"
    )


def text_of(feature, tokenizer):
    return [tokenizer.convert_ids_to_tokens(row.tolist()) for row in feature.sequences]


def planted(kind, features, labels=0):
    """Outputs that say what the labels say, without padding, on a floor of -1."""
    outputs = []
    for feature in features:
        if kind == "span":
            row = np.full((feature.tokens, 2), -1, dtype=np.float32)
            row[feature.labels, [0, 1]] = 10 if feature.labels.any() else 0
        elif kind == "tag":
            row = np.full((feature.tokens, labels), -1, dtype=np.float32)
            chosen = feature.labels != IGNORE
            row[chosen, feature.labels[chosen]] = 1
        else:
            row = np.eye(labels, dtype=np.float32)[feature.labels]
        outputs.append(row)
    return outputs


def decode(kind, outputs, features, examples, described=None, scoring=SCORING):
    return kind_of(kind).decode(outputs, features, examples, described or data(kind), scoring)


# All kinds


def test_there_is_one_kind_for_every_name():
    assert tuple(KINDS) == typing.get_args(stage.KindName)


EXAMPLES = {"pair": PAIRS, "tag": TAGGED, "span": QUESTIONS, "choice": CHOICES, "mlm": TEXTS}


@pytest.fixture(params=EXAMPLES)
def trained(request, tokenizer, encoder):
    """A kind that can be trained, its features ready for a batch, and a head."""
    kind = kind_of(request.param)
    features = encode(request.param, EXAMPLES[request.param], tokenizer, max_length=32)
    torch.manual_seed(0)
    head = kind.head(encoder, data(request.param), 0.1).eval()
    return kind, kind.prepare(features, tokenizer, 0.15, np.random.default_rng(0)), head


def forward(encoder, head, batch):
    return head(encoder(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state, batch)


def test_the_loss_of_a_batch_is_the_sum_of_those_of_its_features(trained, encoder, padded):
    kind, features, head = trained
    together = kind.loss(forward(encoder, head, padded(features)), padded(features))
    apart = [kind.loss(forward(encoder, head, padded([f])), padded([f])) for f in features]
    assert together.shape == ()
    assert together.item() == pytest.approx(sum(loss.item() for loss in apart), rel=1e-5)


def test_the_loss_is_fp32_even_of_bf16_outputs(trained, encoder, padded):
    kind, features, head = trained
    batch = padded(features)
    assert kind.loss(forward(encoder, head, batch).bfloat16(), batch).dtype == torch.float32


def test_the_loss_reaches_every_parameter_of_head_and_encoder(trained, encoder, padded):
    kind, features, head = trained
    kind.loss(forward(encoder, head, padded(features)), padded(features)).backward()
    still = [
        name
        for module in (head, encoder)
        for name, p in module.named_parameters()
        if not name.endswith("key.bias") and (p.grad is None or not p.grad.any())
    ]  # attention's softmax cancels that one
    assert still == []


def test_the_untrained_loss_is_near_that_of_guessing(trained, encoder, padded):
    kind, features, head = trained
    batch = padded(features)
    outputs = forward(encoder, head, batch)
    assert kind.loss(outputs * 0, batch).item() > 0
    assert kind.loss(outputs, batch).item() == pytest.approx(kind.loss(outputs * 0, batch).item(), rel=0.15)


def test_split_gives_each_feature_its_outputs_without_padding(trained, encoder, padded):
    kind, features, head = trained
    together = kind.split(forward(encoder, head, padded(features)).detach(), padded(features))
    for feature, row in zip(features, together, strict=True):
        alone = kind.split(forward(encoder, head, padded([feature])).detach(), padded([feature]))[0]
        assert row.dtype == np.float32
        np.testing.assert_allclose(row, alone, atol=1e-5)


def test_outputs_that_are_not_finite_are_refused(trained, encoder, padded):
    kind, features, head = trained
    outputs = forward(encoder, head, padded(features)).detach()
    with pytest.raises(ValueError, match="outputs are not finite"):
        kind.split(outputs * float("nan"), padded(features))


def test_encoding_leaves_the_tokenizers_settings_alone(tokenizer):
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(9, strategy="longest_first")
    backend.enable_padding(length=12)
    before = (backend.truncation, backend.padding)
    lengths = [f.tokens for kind, examples in EXAMPLES.items() for f in encode(kind, examples, tokenizer, max_length=32)]
    assert (backend.truncation, backend.padding) == before
    backend.no_truncation()
    backend.no_padding()
    assert lengths == [f.tokens for kind, examples in EXAMPLES.items() for f in encode(kind, examples, tokenizer, max_length=32)]


@pytest.mark.parametrize(("kind", "least"), [("pair", 6), ("tag", 3), ("span", 6), ("choice", 6), ("retrieve", 3), ("mlm", 3)])
def test_a_length_without_room_for_text_is_refused(tokenizer, kind, least):
    examples = {**EXAMPLES, "retrieve": PARALLEL}[kind]
    with pytest.raises(ValueError, match=f"max_length {least - 1} leaves no room.*at least {least} is needed"):
        encode(kind, examples, tokenizer, max_length=least - 1)
    features = encode(kind, examples, tokenizer, max_length=least)
    assert max(len(row) for f in features for row in f.sequences) == least


@pytest.mark.parametrize("kind", [*EXAMPLES, "retrieve"])
def test_no_examples_give_no_features(tokenizer, kind):
    assert encode(kind, [], tokenizer) == []


def test_special_tokens_are_found_around_and_between_texts(tokenizer):
    assert [part.tolist() for part in tokens.frame(tokenizer, pair=False)] == [[0], [2]]
    assert [part.tolist() for part in tokens.frame(tokenizer, pair=True)] == [[0], [2, 2], [2]]


# Pair


def test_pairs_are_decoded_to_their_labels(tokenizer):
    features = encode("pair", PAIRS, tokenizer)
    predictions = decode("pair", planted("pair", features, 2), features, PAIRS)
    assert predictions == ["yes", "no", "no"]
    (measure,) = kind_of("pair").measure(predictions, PAIRS, data("pair"), "en")
    assert (measure.value, measure.chance, measure.items) == (1.0, pytest.approx(2 / 3), 3)


def test_the_longer_text_of_a_pair_is_cut_first(tokenizer):
    (feature,) = encode("pair", [Pair("fox " * 50, "A dog", "yes")], tokenizer, max_length=24)
    (alone,) = encode("pair", [Pair("", "A dog", "yes")], tokenizer)
    assert feature.tokens == 24
    assert feature.sequences[0][-alone.tokens + 4 :].tolist() == alone.sequences[0][4:].tolist()


def test_a_label_that_the_task_does_not_have_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"task 't', example 0: label 'maybe' is none of its labels; known: yes, no"):
        encode("pair", [Pair("a", "b", "maybe")], tokenizer)
    with pytest.raises(ValueError, match="names no labels; list them under `labels`"):
        encode("pair", PAIRS, tokenizer, described=data("pair", labels=()))


# Tag


@pytest.mark.parametrize("max_length", [3, 8, 13, 64])
def test_every_word_is_scored_once_however_short_the_sequences(tokenizer, max_length):
    features = encode("tag", TAGGED, tokenizer, max_length=max_length)
    assert max(f.tokens for f in features) <= max_length
    assert sum(f.units for f in features) == sum(len(e.tokens) for e in TAGGED)
    assert all((f.labels != IGNORE).sum() == f.units for f in features)
    predictions = decode("tag", planted("tag", features, 3), features, TAGGED)
    assert predictions == [e.tags for e in TAGGED]
    measures = kind_of("tag").measure(predictions, TAGGED, data("tag"), "en")
    assert [(m.metric, m.value) for m in measures] == [("entity_f1", 1.0), ("accuracy", 1.0)]


def test_a_sentence_is_cut_between_words_only(tokenizer):
    words = ("springt", "Numbers", "skiing", "König", "letters")
    whole = encode("tag", [Tagged(words, ("O",) * 5)], tokenizer)[0]
    parts = encode(
        "tag", [Tagged(words, ("O",) * 5)], tokenizer, max_length=int(max(np.diff([*whole.trace, whole.tokens - 1]))) + 4
    )
    assert len(parts) > 1
    assert [piece for f in parts for piece in text_of(f, tokenizer)[0][1:-1]] == text_of(whole, tokenizer)[0][1:-1]
    assert all(text_of(f, tokenizer)[0][1].startswith("▁") for f in parts)


def test_a_word_without_sub_words_is_one_unknown_token(tokenizer):
    feature = encode("tag", [Tagged(("", "fox"), ("O", "B-X"))], tokenizer)[0]
    assert text_of(feature, tokenizer)[0][:2] == ["<s>", "<unk>"]
    assert feature.labels[1:3].tolist() == [0, 1]


def test_tags_without_prefixes_are_scored_as_xtreme_does(tokenizer):
    described = data("tag", labels=("NOUN", "VERB"), metric="f1_xtreme")
    examples = [Tagged(("a", "b"), ("NOUN", "VERB"))] * 2
    measures = kind_of("tag").measure([("NOUN", "NOUN"), ("NOUN", "VERB")], examples, described, "en")
    assert [(m.metric, m.value) for m in measures] == [("f1_xtreme", pytest.approx(4 / 7)), ("accuracy", 0.75)]
    by_words = kind_of("tag").measure([("NOUN", "NOUN")] * 2, examples, described.model_copy(update={"metric": "accuracy"}), "en")
    assert by_words[0].metric == "accuracy"


# Span


@pytest.mark.parametrize("max_length", [32, 48, 120])
def test_answers_come_back_from_every_window(tokenizer, max_length):
    features = encode("span", QUESTIONS, tokenizer, max_length=max_length, stride=10)
    assert max(f.tokens for f in features) <= max_length
    assert all(f.units == 1 for f in features)
    predictions = decode("span", planted("span", features), features, QUESTIONS)
    for example, prediction in zip(QUESTIONS, predictions, strict=True):
        assert example.answers[0] in prediction
        assert len(prediction) <= len(example.answers[0]) + 8  # widened to whole tokens at most


def test_windows_cover_the_context_and_overlap_by_the_stride(tokenizer):
    whole = encode("span", QUESTIONS[:1], tokenizer, max_length=256)[0].trace.offsets
    windows = [f.trace.offsets for f in encode("span", QUESTIONS[:1], tokenizer, max_length=40, stride=7)]
    assert len(windows) > 2
    for before, after in itertools.pairwise(windows):
        np.testing.assert_array_equal(before[-7:], after[:7])
    np.testing.assert_array_equal(np.concatenate([windows[0], *(w[7:] for w in windows[1:])]), whole)


def test_a_window_without_the_whole_answer_points_at_position_zero(tokenizer):
    features = encode("span", QUESTIONS, tokenizer, max_length=32, stride=10)
    inside = [f for f in features if f.labels.any()]
    assert {f.example for f in inside} == set(range(len(QUESTIONS)))
    assert len(inside) < len(features)
    unanswerable = encode("span", [Question(CONTEXT, "Why?", (), (), "2")], tokenizer, max_length=32)
    assert all(f.labels.tolist() == [0, 0] for f in unanswerable)


def test_a_long_question_leaves_room_for_the_context(tokenizer):
    question = replace(QUESTIONS[2], question="Who jumps? " * 50)
    features = encode("span", [question], tokenizer, max_length=32, stride=128)
    assert all(f.tokens <= 32 for f in features)
    assert decode("span", planted("span", features), features, [question]) == ["river"]


def test_the_best_span_is_valid_and_short_enough(tokenizer):
    (feature,) = encode("span", QUESTIONS[:1], tokenizer, max_length=256)
    begin, count = feature.trace.begin, len(feature.trace.offsets)
    logits = np.random.default_rng(0).normal(size=(feature.tokens, 2)).astype(np.float32)
    logits[[0, 1, -1]] = 50  # outside the context
    logits[begin + 9, 0] = logits[begin + 2, 1] = 9  # an end before its start
    allowed = [(logits[begin + s, 0] + logits[begin + e, 1], s, e) for s in range(count) for e in range(s, min(s + 3, count))]
    _, start, end = max(allowed)
    wanted = CONTEXT[feature.trace.offsets[start, 0] : feature.trace.offsets[end, 1]].strip()
    assert decode("span", [logits], [feature], QUESTIONS[:1], scoring=Scoring(answer_length=3)) == [wanted]


def test_no_answer_wins_only_where_questions_may_have_none(tokenizer):
    unanswerable = Question(CONTEXT, "Why?", (), (), "2")
    examples = [QUESTIONS[0], unanswerable]
    features = encode("span", examples, tokenizer, max_length=256)
    outputs = planted("span", features)
    for row in outputs:
        row[0] = 20
    assert decode("span", outputs, features, examples) == ["", ""]
    assert decode("span", outputs[:1], features[:1], examples[:1]) != [""]
    outputs[0][0] = 1
    assert decode("span", outputs, features, examples) == [QUESTIONS[0].answers[0], ""]


# Choice


def test_choices_are_decoded_to_the_index_of_the_right_one(tokenizer, encoder, padded):
    features = encode("choice", CHOICES, tokenizer)
    assert [len(f.sequences) for f in features] == [3, 3]
    assert "".join(text_of(features[0], tokenizer)[1]).count("</s>") == 3
    outputs = forward(encoder, kind_of("choice").head(encoder, data("choice"), 0.0), padded(features))
    assert outputs.shape == (2, 3)
    predictions = decode("choice", planted("choice", features, 3), features, CHOICES)
    (measure,) = kind_of("choice").measure(predictions, CHOICES, data("choice"), "en")
    assert (predictions, measure.value) == ([1, 2], 1.0)


def test_all_examples_have_the_same_number_of_choices(tokenizer):
    with pytest.raises(ValueError, match="item 2: 2 choices, where the first item has 3"):
        encode("choice", [CHOICES[0], replace(CHOICES[1], choices=("a", "b"), label=0)], tokenizer)
    with pytest.raises(ValueError, match="label 3 is none of its 3 choices, counted from 0"):
        encode("choice", [replace(CHOICES[0], label=3)], tokenizer)
