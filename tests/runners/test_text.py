"""Text to text: an encoder-decoder at toy size writes the answers of every kind, and learns to."""

import numpy as np
import pytest
import torch
from test_families import LIMITS, data, examples, written
from transformers import AutoConfig, MT5ForConditionalGeneration

from xlift.registry.findings import BadInput, UserError
from xlift.registry.known.models import MODELS
from xlift.registry.known.parameters import count
from xlift.registry.manifest.load import load as read
from xlift.registry.stage import Recipe, Scoring
from xlift.runners import evaluate, nets
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.span import Question
from xlift.runners.packing import collate
from xlift.runners.train import Objective, fit

TRAINED = ("pair", "tag", "span", "choice")
FORM = "text-to-text"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written("mt5", tmp_path_factory.mktemp("mt5"))


def features_of(net, kind, given):
    return kind_of(kind, texts=True).encode(given, net.reading(LIMITS), data(kind), "en")


def scored(net, kind, given):
    return evaluate.score(net, given, data(kind), LIMITS, "en", "d", device="cpu", budget=512)[0].value


@pytest.mark.parametrize("kind", TRAINED)
def test_it_learns_to_write_and_is_the_same_after_it_was_saved(kind, folder, tmp_path):
    recipe = Recipe(lr=5e-3, steps=120, epochs=None, batch=16, max_length=48, stride=8, dropout=0.0)
    net, lines, given = nets.load(folder, recipe=recipe, form=FORM), [], examples(kind)
    head = kind_of(kind, texts=True).head(net.encoder, data(kind), 0.0)
    assert not list(head.parameters())
    fit(net, [Objective(data(kind), given, "en", head, 1)], recipe, 1, device="cpu", budget=2048, log=lines.append)
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    net.head = head
    if kind in ("pair", "choice"):
        assert scored(net, kind, given) > 0.9
    nets.save(net, tmp_path)
    again = nets.load(tmp_path, form=FORM)
    again.head = nets.load_head(kind_of(kind, texts=True).head(again.encoder, data(kind), 0.0), tmp_path)
    rows = [
        evaluate.predict(each, kind_of(kind, texts=True), features_of(each, kind, given[:8]), Scoring(), device="cpu", budget=1)
        for each in (net, again)
    ]
    assert all(np.array_equal(mine, other) for mine, other in zip(*rows, strict=True))


@pytest.mark.parametrize("kind", TRAINED)
def test_what_is_to_be_written_reads_back_as_the_gold_answer(kind, folder):
    net, given = nets.load(folder, form=FORM), examples(kind)
    told = kind_of(kind, texts=True)
    features = features_of(net, kind, given)
    outputs = []
    for feature in features:
        if feature.trace.options:
            at = next(i for i, option in enumerate(feature.trace.options) if option.tolist() == feature.labels.tolist())
            outputs.append(np.eye(len(feature.trace.options))[at])
        else:
            outputs.append(np.array([0.0, *feature.labels], dtype=np.float64))
    found = told.decode(outputs, features, given, data(kind), Scoring())
    gold = {
        "pair": lambda e: e.label,
        "choice": lambda e: e.label,
        "tag": lambda e: e.tags,
        "span": lambda e: e.answers[0],
    }[kind]
    if kind == "span":  # pieces that the toy tokenizer does not know cannot be written
        assert np.mean([mine == gold(e) for mine, e in zip(found, given, strict=True)]) > 0.8
    else:
        assert found == [gold(e) for e in given]


@pytest.mark.parametrize("kind", TRAINED)
def test_neighbours_and_padding_change_no_answer(kind, folder):
    net = nets.load(folder, form=FORM)
    net.head = kind_of(kind, texts=True).head(net.encoder, data(kind), 0.0)
    given, told = examples(kind, 12), kind_of(kind, texts=True)
    features = features_of(net, kind, given)
    apart, together = (
        told.decode(
            evaluate.predict(net, told, features, Scoring(), device="cpu", budget=budget), features, given, data(kind), Scoring()
        )
        for budget in (1, 10**6)
    )
    assert apart == together


def test_a_likelihood_is_that_of_the_whole_text(folder):
    """The sum of log probabilities of an option's tokens and the end of the text, by the model's own loss."""
    net = nets.load(folder, form=FORM)
    net.head = kind_of("pair", texts=True).head(net.encoder, data("pair"), 0.0)
    (feature,) = features_of(net, "pair", examples("pair", 1))
    (row,) = evaluate.predict(net, kind_of("pair", texts=True), [feature], Scoring(), device="cpu", budget=64)
    batch = collate([feature], net.padding, "cpu")
    for found, option in zip(row, feature.trace.options, strict=True):
        loss = net.encoder(input_ids=batch.ids, attention_mask=batch.mask.long(), labels=torch.as_tensor(option)[None]).loss
        assert found == pytest.approx(-loss.item() * len(option), rel=1e-5)


def test_a_written_answer_is_no_longer_than_the_scoring_allows_and_the_surest_window_s(folder):
    net = nets.load(folder, form=FORM)
    long = Question("the fox reads a book " * 12, "who wrote", ("fox",), (4,), "1")
    features, told = features_of(net, "span", [long]), kind_of("span", texts=True)
    assert len(features) > 1
    ids = [net.tokenizer.encode(text, add_special_tokens=False) for text in ("the river", "lazy dog")]
    outputs = [np.array([-9.0, 1])] * len(features)
    outputs[0], outputs[1] = np.array([-2.0, *ids[0]]), np.array([-1.0, *ids[1]])
    assert told.decode(outputs, features, [long], data("span"), Scoring()) == ["lazy dog"]
    (short,) = told.decode(outputs, features, [long], data("span"), Scoring(answer_length=1))
    assert short and "lazy dog".startswith(short) and short != "lazy dog"


def test_sentences_are_retrieved_by_the_encoder_s_states(folder):
    whole, half = nets.load(folder, form=FORM), nets.load(folder)
    given = examples("retrieve", 6)
    features = kind_of("retrieve").encode(given, whole.reading(LIMITS), data("retrieve"), "de")
    one, other = (
        evaluate.predict(net, kind_of("retrieve", texts=net.texts), features, Scoring(), device="cpu", budget=512)
        for net in (whole, half)
    )
    assert whole.texts and not half.texts
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


STUDY = """\
schema: xlift/1
id: texts
question: Does it matter how it answers?
data: {source: local}
models:
  - {id: half, hub: google/mt5-large, revision: pin}
  - {id: whole, hub: google/mt5-large, revision: pin, form: text-to-text}
matrix: {intermediate: [none, mnli], target: [xnli], seed: {count: 1, from: 1}}
"""


def test_a_text_to_text_model_is_another_model_of_another_family(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    models = read(path).facts.models
    assert (models["half"].family, models["whole"].family) == ("mt5", "mt5-text")
    config = MODELS["google/mt5-large"].config
    assert models["whole"].parameters == count(config, tied=True)
    with torch.device("meta"):
        built = MT5ForConditionalGeneration(AutoConfig.for_model(**config))
    assert models["whole"].parameters.total == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("form: text-to-text", "form: text-to-text, family: mt5"),
        ("form: text-to-text", "form: text-to-text, layers: 3"),
        ("hub: google/mt5-large, revision: pin, form", "hub: FacebookAI/xlm-roberta-base, revision: pin, form"),
    ],
)
def test_forms_that_mean_nothing_are_refused(tmp_path, old, new):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(BadInput) as caught:
        read(path)
    (found,) = (finding for finding in caught.value.findings if finding.stops)
    assert found.code == "E228" and found.place.line == 7


def test_labels_that_are_one_to_the_tokenizer_are_refused(folder):
    net = nets.load(folder, form=FORM)
    with pytest.raises(UserError, match="two of \u2603, \u2602 are one text"):
        kind_of("pair", texts=True).encode(
            [Pair("a book", "the fox", "\u2603")],
            net.reading(LIMITS),
            data("pair").model_copy(update={"labels": ("\u2603", "\u2602")}),
            "en",
        )
