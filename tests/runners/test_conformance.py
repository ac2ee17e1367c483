"""What every kind of task keeps to, whichever it is: one suite over all rows of `registry.kinds`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from xlift.registry.files import DataError
from xlift.registry.findings import UserError
from xlift.registry.kinds import KINDS, READ_BY
from xlift.registry.known.metrics import known
from xlift.registry.stage import Cutting, Data, Recipe, Scoring, Stage, Weights, as_read
from xlift.runners.data import drawn, held_out
from xlift.runners.data.rows import example
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.base import Reading
from xlift.runners.kinds.example import Unfit

WORDS = "The fox jumps over a lazy dog near the river of towns".split()
LABELS = {"pair": ("no", "yes"), "tag": ("O", "B-X", "I-X")}
ITEMS = 6


def some(number: int, count: int = 4) -> str:
    """Words of which no two numbers have the same."""
    return " ".join(f"{WORDS[(number * 7 + i) % len(WORDS)]}{number}" for i in range(count))


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {  # the row of a file's nth item
    "pair": lambda n: {"first": some(n), "second": some(n + 50), "label": LABELS["pair"][n % 2]},
    "tag": lambda n: {"tokens": some(n, 3).split(), "tags": ["O", "B-X", "I-X"] if n % 2 else ["B-X", "O", "O"]},
    "span": lambda n: {
        "context": some(n, 8),
        "question": some(n + 50),
        "answers": {"text": [some(n, 8).split()[0]], "answer_start": [0]},
    },
    "choice": lambda n: {"context": some(n), "choices": [some(n + 50), some(n + 99)], "label": n % 2},
    "retrieve": lambda n: {"source": some(n), "pivot": some(n + 50)},
    "mine": lambda n: {
        "text": some(n),
        "side": ("source", "pivot")[n // 2 % 2],
        "split": ("dev", "test")[n % 2],
        "pairs": [f"p{n % 2}"],
    },
    "mlm": lambda n: {"text": some(n)},
}
CHANCES: dict[str, Callable[[list[Any], int], tuple[float, float]]] = {
    "labels": lambda found, labels: (1 / max(labels, 2), 1),
    "items": lambda found, labels: (1 / len(found), 1 / len(found)),
    "empty": lambda found, labels: (0, 1),
    "none": lambda found, labels: (0, 0),
}
every = pytest.mark.parametrize("name", KINDS)


def data(name: str, **more: Any) -> Data:
    return Data(source="local", kind=name, task="t", labels=LABELS.get(name, ()), **more)


def examples(name: str, count: int = ITEMS) -> list[Any]:
    return [example(ROWS[name](n), data(name), f"file:{n}") for n in range(count)]


def test_every_kind_has_rows_here():
    assert set(ROWS) == set(KINDS)


@every
def test_a_row_has_the_roles_of_its_kind_and_lacks_what_is_optional(name):
    kind, row = KINDS[name], ROWS[name](0)
    assert set(row) <= set(kind.roles) and set(kind.roles) - set(row) <= set(kind.optional)
    for role in row:
        left = {other: value for other, value in row.items() if other != role}
        if role in kind.optional:
            example(left, data(name), "file:1")
        else:
            with pytest.raises(DataError, match=f"file:1: no column '{role}'"):
                example(left, data(name), "file:1")
    with pytest.raises(DataError, match="colour"):
        example(row, data(name, fields={"colour": "label"}), "file:1")


@every
def test_examples_are_values_and_fall_on_either_side_of_a_held_out_part(name):
    found = examples(name, 200)
    assert len(set(found)) == 200 and found == examples(name, 200)
    assert all(isinstance(text, str) for each in found for text in each.group)
    assert 5 <= sum(map(held_out, found)) <= 45  # a tenth
    fewer, more = drawn(found, 20), drawn(found, 50)
    assert len(fewer) == 20 and set(fewer) < set(more)


@every
def test_what_can_be_scored_passes_and_what_cannot_is_refused(name):
    check, kind = kind_of(name).example.check, KINDS[name]
    check(examples(name), scored=kind.scored)
    check(examples(name)[:1] if kind.divisible else examples(name), scored=False)
    if kind.scored:
        with pytest.raises(Unfit):
            check(examples(name)[:1], scored=True)
    if gold := {label for each in examples(name) for label in each.gold}:
        assert len(gold) > 1
        with pytest.raises(Unfit):
            check([examples(name)[0]] * 3, scored=True) if name != "tag" else check(
                [_untagged(examples(name)[0])] * 3, scored=True
            )


def _untagged(tagged: Any) -> Any:
    return type(tagged)(tagged.tokens, ("O",) * len(tagged.tokens))


@every
def test_from_examples_to_measures(name, tokenizer, encoder, padded):
    """Encode, head, loss, split, decode, measure: of trained kinds; of others encode and measure."""
    kind, row, found = kind_of(name), KINDS[name], examples(name)
    features = kind.encode(found, Reading(tokenizer, Cutting(max_length=64, stride=8)), data(name), "en")
    assert {feature.example for feature in features} == set(range(len(found)))
    assert all(len(ids) <= 64 for feature in features for ids in feature.sequences)
    if not row.trained:
        with pytest.raises(UserError):
            kind.head(encoder, data(name), 0.0)
        outputs = [np.random.default_rng(at).normal(size=8).astype(np.float32) for at, _ in enumerate(features)]
    else:
        features = kind.prepare(features, tokenizer, 0.3, np.random.default_rng(1))
        batch = padded(features)
        head = kind.head(encoder, data(name), 0.0)
        made = head(encoder(batch.ids, batch.mask.long()).last_hidden_state, batch)
        loss = kind.loss(made, batch)
        assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite()
        loss.backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in head.parameters())
        outputs = kind.split(made.detach(), batch)
        assert len(outputs) == len(features)
        if name != "choice":  # of which one feature has several sequences
            alone = kind.split(
                head(
                    encoder(padded(features[:1]).ids, padded(features[:1]).mask.long()).last_hidden_state, padded(features[:1])
                ).detach(),
                padded(features[:1]),
            )
            np.testing.assert_allclose(alone[0], outputs[0], atol=1e-5)  # what stands beside it in a batch changes nothing
    if not row.scored:
        with pytest.raises(UserError):
            kind.decode(outputs, features, found, data(name), Scoring())
        return
    predictions = kind.decode(outputs, features, found, data(name), Scoring())
    assert len(predictions) == len(found)
    measures = kind.measure(predictions, found, data(name), "en")
    assert [measure.metric for measure in measures] == list(KINDS[name].computed(data(name).labels))
    assert all(0 <= measure.value <= 1 and 0 <= measure.chance <= 1 and measure.se >= 0 for measure in measures)
    for measure, told in zip(measures, (each for each in KINDS[name].metrics if each.fits(data(name).labels)), strict=True):
        low, high = CHANCES[told.chance](found, len(data(name).labels))
        assert low <= measure.chance <= high, told
        assert known(told.name).better == told.metric.better and told.metric.low <= measure.value <= told.metric.high
        if told.metric.counted:
            assert measure.value * measure.items == pytest.approx(round(measure.value * measure.items))
    for metric in KINDS[name].computed(data(name).labels):
        assert kind.measure(predictions, found, data(name, metric=metric), "en")[0].metric == metric


@every
def test_fields_that_a_kind_does_not_read_change_no_id(name):
    other = {"mask": 0.5, "stride": 7, "doc_stride": 7, "question_length": 9, "context_cut": "start", "answer_length": 5}
    other |= {"null_threshold": "dev", "layer": 1, "prefix": "q: ", "repeated": "dropped"}
    assert set(other) == set(READ_BY)

    def name_of(**more: Any) -> str:
        recipe = {field: value for field, value in more.items() if field in Recipe.model_fields}
        scoring = {field: value for field, value in more.items() if field in Scoring.model_fields}
        stage = Stage(
            kind="evaluate",
            weights=Weights(hub="x"),
            data=data(name),
            recipe=as_read(Recipe(**recipe), name),
            scoring=as_read(Scoring(**scoring), name),
        )
        return stage.id

    read = {field for field, value in other.items() if name_of(**{field: value}) != name_of()}
    assert read == set(KINDS[name].reads)


@every
def test_a_kind_s_own_number_names_its_stages_anew_and_no_other_s(name, monkeypatch):
    from dataclasses import replace

    def ids() -> dict[str, str]:
        stages = {each: Stage(kind="train", weights=Weights(hub="x"), data=data(each), recipe=Recipe()) for each in KINDS}
        return {each: stage.id for each, stage in stages.items()}

    before = ids()
    monkeypatch.setitem(KINDS, name, replace(KINDS[name], numbers=KINDS[name].numbers + 1))
    after = ids()
    assert {each for each in KINDS if before[each] != after[each]} == {name}
