"""Zero-shot scores of a trained model in one language."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from xlift.registry.findings import UserError
from xlift.registry.score import Score
from xlift.registry.stage import Data, Scoring
from xlift.runners.kinds import kind_of, retrieve
from xlift.runners.kinds.base import Batch, Feature, Kind
from xlift.runners.nets import Net
from xlift.runners.packing import Budget, collate, micro_batches


def score(
    net: Net, examples: Sequence[Any], data: Data, scoring: Scoring, language: str, digest: str, *, device: str, budget: int
) -> list[Score]:
    """The task's metrics on `examples`; the one that gains are computed on comes first.

    What a scoring leaves to development data is set on the examples themselves, where they are these.
    """
    kind = kind_of(data.kind, texts=net.texts)
    examples = [example.prefixed(scoring.prefix) for example in examples]
    features = kind.encode(examples, net.reading(scoring), data, language)
    outputs = predict(net, kind, features, scoring, device=device, budget=budget)
    if data.split:
        scoring = kind.settled(outputs, features, examples, data, scoring, language)
    with torch.device(device):
        predictions = kind.decode(outputs, features, examples, data, scoring)
    measures = kind.measure(predictions, examples, data, language)
    return [
        Score(
            language=language,
            metric=m.metric,
            value=m.value,
            primary=index == 0,
            items=m.items,
            chance=m.chance,
            se=m.se,
            data=digest,
        )
        for index, m in enumerate(measures)
    ]


def settled(
    net: Net, examples: Sequence[Any], data: Data, scoring: Scoring, language: str, *, device: str, budget: int
) -> Scoring:
    """A scoring, with what it leaves to development data as it is best on these."""
    kind = kind_of(data.kind, texts=net.texts)
    features = kind.encode(examples, net.reading(scoring), data, language)
    outputs = predict(net, kind, features, scoring, device=device, budget=budget)
    return kind.settled(outputs, features, examples, data, scoring, language)


@torch.inference_mode()
def predict(net: Net, kind: Kind, features: Sequence[Feature], scoring: Scoring, *, device: str, budget: int) -> list[np.ndarray]:
    """The outputs of every feature, in the order of the features; computed in order of length, so that little is padded."""
    for module in net.modules():
        module.to(device).eval()
    outputs: dict[int, np.ndarray] = {}

    def compute(tokens: int) -> None:
        left = [index for index in range(len(features)) if index not in outputs]
        for places in micro_batches([features[index] for index in left], tokens):
            chosen = [left[place] for place in places]
            batch = collate([features[index] for index in chosen], net.padding, device)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=scoring.precision == "bf16"):
                result = net.forward(batch) if net.head is not None else _embed(net, batch, scoring)
            outputs.update(zip(chosen, kind.split(result, batch), strict=True))

    Budget(budget).within(features, compute)
    return [outputs[index] for index in range(len(features))]


def _embed(net: Net, batch: Batch, scoring: Scoring) -> torch.Tensor:
    """Sentence embeddings (sequences, hidden) from the hidden state that the scoring names."""
    states = net.encode(batch, output_hidden_states=True).hidden_states
    layers = len(states) - 1
    layer = retrieve.relative_layer(layers) if scoring.layer == "relative" else scoring.layer
    if layer > layers:
        raise UserError(f"layer {layer} of a model with {layers}: write scoring: {{layer: {layers}}}, or relative")
    return retrieve.pool(states[layer], batch.mask)
