"""Retrieval, which is not trained, and masked language modelling, which is not scored."""

import numpy as np
import pytest
import torch

from xlift.registry.kinds import RETRIEVAL
from xlift.registry.stage import Cutting, Data, Scoring
from xlift.runners.kinds import kind_of, retrieve
from xlift.runners.kinds.base import IGNORE, Reading
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.retrieve import Parallel

PARALLEL = [Parallel("Der Fuchs springt.", "The fox jumps."), Parallel("Ein Brief.", "A letter."), Parallel("狐狸", "fox")]
TEXTS = [Text("The quick brown fox jumps over the lazy dog."), Text("Ein Brief."), Text("Numbers such as 1999.")]


def data(kind):
    return Data(source="local", kind=kind, task="t")


def encode(kind, examples, tokenizer):
    return kind_of(kind).encode(examples, Reading(tokenizer, Cutting(max_length=64, stride=8)), data(kind), "de")


def decode(kind, outputs, features, examples):
    return kind_of(kind).decode(outputs, features, examples, data(kind), Scoring())


# Retrieve


def test_retrieval_encodes_source_then_pivot_and_asks_for_the_pivot(tokenizer):
    features = encode("retrieve", PARALLEL, tokenizer)
    assert [(f.example, f.trace) for f in features] == [(i, side) for i in range(3) for side in ("source", "pivot")]
    pivots = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.5]])
    sources = np.array([[2.0, 0.0], [0.0, 3.0], [0.0, -1.0]])
    outputs = [row for pair in zip(sources, pivots, strict=True) for row in pair]
    predictions = decode("retrieve", outputs, features, PARALLEL)
    assert predictions == [0, 1, 0]
    (measure,) = kind_of("retrieve").measure(predictions, PARALLEL, data("retrieve"), "de")
    assert (measure.value, measure.chance) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_the_nearest_neighbour_is_that_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    query, pool = rng.normal(size=(50, 8)), rng.normal(size=(70, 8))
    cosine = (query / np.linalg.norm(query, axis=1, keepdims=True)) @ (pool / np.linalg.norm(pool, axis=1, keepdims=True)).T
    np.testing.assert_array_equal(retrieve.nearest(query, pool, block=7), cosine.argmax(axis=1))


def test_pooling_is_the_mean_over_real_tokens_of_length_one():
    hidden = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    hidden[1, 2:] = float("nan")  # padding does not matter
    pooled = retrieve.pool(hidden, mask)
    wanted = torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    torch.testing.assert_close(pooled, wanted / wanted.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(("layers", "layer"), [(12, 7), (24, 14), (36, 21), (48, 28), (2, 1)])
def test_the_relative_layer_is_fourteen_of_twenty_four(layers, layer):
    assert retrieve.relative_layer(layers) == layer == int(np.floor(14 / 24 * layers + 0.5))


@pytest.mark.parametrize("kind", RETRIEVAL)
def test_retrieval_is_not_trained(kind, tokenizer, encoder, padded):
    with pytest.raises(ValueError, match="retrieval, which has no head"):
        kind_of(kind).head(encoder, data(kind), 0.1)
    with pytest.raises(ValueError, match="retrieval is not trained"):
        kind_of(kind).loss(torch.zeros(2, 4), padded(encode("retrieve", PARALLEL[:1], tokenizer)))


def test_embeddings_that_are_not_finite_have_no_neighbour():
    with pytest.raises(ValueError, match="not finite, so it has no neighbour"):
        retrieve.nearest(np.array([[np.nan]]), np.ones((1, 1)))


# Masked language modelling


def prepared(features, tokenizer, seed=0, share=0.15):
    return kind_of("mlm").prepare(features, tokenizer, share, np.random.default_rng(seed))


def test_masking_hides_fifteen_percent_and_keeps_special_tokens(tokenizer):
    features = encode("mlm", TEXTS[:1] * 2000, tokenizer)
    before = np.stack([f.sequences[0] for f in features])
    masked = prepared(features, tokenizer)
    after, labels = np.stack([f.sequences[0] for f in masked]), np.stack([f.labels for f in masked])
    chosen = labels != IGNORE
    assert not chosen[np.isin(before, tokenizer.all_special_ids)].any()
    np.testing.assert_array_equal(labels[chosen], before[chosen])
    np.testing.assert_array_equal(after[~chosen], before[~chosen])
    assert chosen[:, 1:-1].mean() == pytest.approx(0.15, abs=0.01)
    assert (after == tokenizer.mask_token_id)[chosen].mean() == pytest.approx(0.8, abs=0.02)
    assert (after == before)[chosen].mean() == pytest.approx(0.1, abs=0.02)
    replaced = after[chosen & (after != before)]
    assert set(replaced[np.isin(replaced, tokenizer.all_special_ids)]) == {tokenizer.mask_token_id}
    assert [f.units for f in masked] == chosen.sum(axis=1).tolist()
    assert all((f.labels == IGNORE).all() and f.units == 0 for f in features)


def test_at_least_one_token_is_predicted(tokenizer):
    features = encode("mlm", TEXTS, tokenizer)
    assert [f.units for f in prepared(features, tokenizer, share=1e-9)] == [1, 1, 1]


def test_masking_is_drawn_from_the_given_generator_alone(tokenizer):
    features = encode("mlm", TEXTS * 5, tokenizer)
    same, again, other = (prepared(features, tokenizer, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.sequences[0], b.sequences[0]) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a.labels, b.labels) for a, b in zip(same, other, strict=True))


def test_a_text_of_special_tokens_only_predicts_nothing(tokenizer):
    features = encode("mlm", [Text("")], tokenizer)
    assert prepared(features, tokenizer)[0].units == 0


def predict(encoder, head, batch):
    return head(encoder(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state, batch)


def test_the_decoder_is_tied_to_the_encoders_embeddings(tokenizer, encoder, padded):
    head = kind_of("mlm").head(encoder, data("mlm"), 0.0)
    vocabulary = len(tokenizer)
    assert sum(p.numel() for p in head.parameters()) == 32 * 32 + 32 + 2 * 32 + vocabulary
    batch = padded(prepared(encode("mlm", TEXTS, tokenizer), tokenizer))
    outputs = predict(encoder, head, batch)
    assert outputs.shape == (sum(f.units for f in batch.features), vocabulary)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[7] = 0
    assert not torch.equal(outputs, predict(encoder, head, batch))
    assert not predict(encoder, head, batch)[:, 7].any()


def test_masked_language_modelling_is_not_scored():
    with pytest.raises(ValueError, match="not scored"):
        decode("mlm", [], [], [])
    with pytest.raises(ValueError, match="no metric"):
        kind_of("mlm").measure([], TEXTS, data("mlm"), "de")
