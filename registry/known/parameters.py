"""Sizes and limits of a model, from its configuration (no torch): see `formulas` for what is counted."""

import difflib
from dataclasses import dataclass

from xlift.registry.findings import UserError
from xlift.registry.known.architectures import ARCHITECTURES, Architecture
from xlift.registry.known.formulas import Config, size


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of weights of one model."""

    total: int
    non_embedding: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How far a model goes: tokens in a sequence (None: no table of positions bounds them), layers, and width of its states."""

    positions: int | None
    layers: int
    width: int


LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")  # transformers' names of one thing


def cut(config: Config, layers: int) -> Config:
    """The configuration of a model's first `layers`, of which it has at least as many."""
    return {**config, **{name: layers for name in LAYERS if name in config}}


def architecture_of(config: Config) -> Architecture:
    """How a model of this configuration is read. UserError where its type is not known."""
    known = f"known: {', '.join(sorted(ARCHITECTURES))}"
    if "model_type" not in config:
        raise UserError(f"the configuration has no 'model_type'; {known}")
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        near = difflib.get_close_matches(str(kind), ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown model_type {kind!r}; {hint}{known}")
    return ARCHITECTURES[kind]


def limits(config: Config) -> Capacity:
    """The limits in a configuration that `count` accepts."""
    layers = size(config, *LAYERS)
    width = size(config, "hidden_size", "d_model", "dim", "n_embd")
    if "max_position_embeddings" not in config:
        return Capacity(None, layers, width)
    taken = 0
    if architecture_of(config).from_padding:
        taken = (1 if config.get("pad_token_id") is None else size(config, "pad_token_id", least=0)) + 1
    return Capacity(size(config, "max_position_embeddings") - taken, layers, width)


def count(config: Config, *, encoder_only: bool = False, tied: bool = False) -> Parameters:
    """Parameters of what `AutoModel` makes of a config.json, without a pooler.

    An encoder-decoder is counted whole, its output matrix as separate weights (as mT5's checkpoints have it); with
    `encoder_only` its encoder alone, and `tied`, where its output matrix is its input's. All other types have one side, and
    neither changes anything.
    """
    architecture = architecture_of(config)
    whole = architecture.whole if not encoder_only else None
    embeddings, body = (whole or architecture.count)(config)
    if whole and tied:
        embeddings //= 2
    return Parameters(total=embeddings + body, non_embedding=body)
