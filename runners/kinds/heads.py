"""What is put on an encoder. Every head maps hidden states (sequences, length, hidden) and a batch to outputs.

A softmax over choices or over positions cancels what is added to all of them, so heads for these have no output bias.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from xlift.registry.known.architectures import ARCHITECTURES
from xlift.runners.kinds.base import IGNORE, Batch


class Sentence(nn.Module):
    """Dropout, dense, tanh, dropout, linear on the state of the whole text, as RoBERTa classifies (Liu et al. 2019).

    `Architecture.reads` says where that state stands.
    """

    def __init__(self, encoder: nn.Module, outputs: int, dropout: float, *, bias: bool = True):
        super().__init__()
        width, self.reads = encoder.config.hidden_size, ARCHITECTURES[encoder.config.model_type].reads
        self.dense, self.out, self.dropout = nn.Linear(width, width), nn.Linear(width, outputs, bias), nn.Dropout(dropout)
        initialise(self, encoder)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        state = self.dropout(self._state(hidden, batch.mask))  # (sequences, hidden)
        return self.out(self.dropout(torch.tanh(self.dense(state))))  # (sequences, outputs)

    def _state(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.reads == "first":
            return hidden[:, 0]
        if self.reads == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        return mean(hidden, mask)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of hidden states (sequences, length, hidden) over real tokens, fp32 (sequences, hidden).

    `mask` is (sequences, length), True where a token is real; special tokens count as real.
    """
    real = mask[..., None]
    return hidden.float().masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)


class Token(nn.Module):
    """Dropout and linear on every hidden state."""

    def __init__(self, encoder: nn.Module, outputs: int, dropout: float, *, bias: bool = True):
        super().__init__()
        self.out, self.dropout = nn.Linear(encoder.config.hidden_size, outputs, bias), nn.Dropout(dropout)
        initialise(self, encoder)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.out(self.dropout(hidden))  # (sequences, length, outputs)


def initialise(head: nn.Module, encoder: nn.Module) -> None:
    """Normal weights of the encoder's own spread (0.02 where its configuration has none), zero biases."""
    spread = getattr(encoder.config, "initializer_range", 0.02)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Scores(Sentence):
    """One score a sequence, as rows of choices."""

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        return super().forward(hidden, batch).view(len(batch.features), -1)  # (features, choices)


class Vocabulary(nn.Module):
    """Dense, gelu, layer norm, and a decoder whose weights are the encoder's input embeddings; on predicted tokens only.

    Embeddings may be narrower than hidden states (ELECTRA, RemBERT): the dense layer leads from these to those.
    """

    def __init__(self, encoder: nn.Module, dropout: float):
        super().__init__()
        config = encoder.config
        embeddings = encoder.get_input_embeddings()
        self.tied = (embeddings,)  # in a tuple, so that its weights belong to the encoder alone
        count, width = embeddings.weight.shape
        self.dense = nn.Linear(config.hidden_size, width)
        eps = getattr(config, "layer_norm_eps", getattr(config, "norm_eps", 1e-12))  # DistilBERT names none
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(count))
        self.dropout = nn.Dropout(dropout)
        initialise(self, encoder)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        chosen = hidden[batch.padded_labels() != IGNORE]  # (predicted, hidden)
        state = self.norm(gelu(self.dense(self.dropout(chosen))))
        return linear(state, self.tied[0].weight, self.bias)  # (predicted, vocabulary)


class Matrix(nn.Module):
    """One map from predicted tokens onto the vocabulary, with weights of its own, as EuroBERT learns (Boizard et al. 2025)."""

    def __init__(self, encoder: nn.Module, dropout: float):
        super().__init__()
        self.matrix = nn.Linear(encoder.config.hidden_size, encoder.get_input_embeddings().num_embeddings, bias=False)
        self.dropout = nn.Dropout(dropout)
        initialise(self, encoder)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.matrix(self.dropout(hidden[batch.padded_labels() != IGNORE]))  # (predicted, vocabulary)
