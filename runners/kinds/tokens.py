"""Texts to token ids in batches, and what a tokenizer puts around them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast

from xlift.registry.findings import UserError

NOTHING = np.empty(0, dtype=np.int64)  # the labels of a feature that has none


def array(ids: Sequence[int]) -> np.ndarray:
    """Token ids as (length,) int64."""
    return np.asarray(ids, dtype=np.int64)


def sequences(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str | tuple[str, str]], *, max_length: int) -> list[np.ndarray]:
    """Texts, or pairs of texts, with special tokens, each at most `max_length` tokens: the longer of a pair is cut first."""
    if not texts:
        return []
    backend = backend_of(tokenizer)
    room_for(tokenizer, pair=isinstance(texts[0], tuple), max_length=max_length)
    truncation, padding = backend.truncation, backend.padding
    backend.no_padding()
    backend.enable_truncation(max_length, strategy="longest_first")
    try:
        return [array(e.ids) for e in backend.encode_batch_fast(list(texts))]
    finally:
        _restore(backend, truncation, padding)


def pieces(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Any], *, words: bool = False) -> list[Encoding]:
    """Texts, or lists of words, whole and without special tokens, with offsets in characters and indices of words."""
    backend = backend_of(tokenizer)
    truncation, padding = backend.truncation, backend.padding
    backend.no_padding()
    backend.no_truncation()
    try:
        return backend.encode_batch(list(texts), is_pretokenized=words, add_special_tokens=False)
    finally:
        _restore(backend, truncation, padding)


def longest_first(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Two texts cut to `room` tokens in all, at their ends, the longer one first."""
    over = max(0, len(first) + len(second) - room)
    level = min(over, abs(len(first) - len(second)))  # what makes them equally long
    more = (over + level) // 2  # what the longer one loses
    one, two = (more, over - more) if len(first) >= len(second) else (over - more, more)
    return first[: len(first) - one], second[: len(second) - two]


def frame(tokenizer: PreTrainedTokenizerFast, *, pair: bool) -> tuple[np.ndarray, ...]:
    """The special tokens before, (between,) and after the text(s): ids, each (length,)."""
    backend = backend_of(tokenizer)
    truncation, padding = backend.truncation, backend.padding
    backend.no_padding()
    backend.no_truncation()
    try:
        probe = backend.encode("a", "a") if pair else backend.encode("a")
    finally:
        _restore(backend, truncation, padding)
    runs: list[list[int]] = [[]]
    of_text = False
    for token, special in zip(probe.ids, probe.special_tokens_mask, strict=True):
        if special:
            if of_text:
                runs.append([])
            runs[-1].append(token)
        of_text = not special
    runs += [[]] * of_text  # nothing comes after the text
    if len(runs) != 2 + pair:
        raise UserError(f"the tokenizer puts special tokens around a text in a way that is not understood: {probe.tokens}")
    return tuple(map(array, runs))


def room_for(tokenizer: PreTrainedTokenizerFast, *, pair: bool, max_length: int) -> int:
    """Tokens of text that fit into `max_length`, at least one a text; UserError where they do not."""
    room = max_length - backend_of(tokenizer).num_special_tokens_to_add(pair)
    if room < 1 + pair:
        raise UserError(
            f"max_length {max_length} leaves no room for text beside the special tokens; at least "
            f"{max_length - room + 1 + pair} is needed"
        )
    return room


def backend_of(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The Rust tokenizer, which encodes batches in one call and knows offsets."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"{type(tokenizer).__name__} is not a fast tokenizer; use a model folder with tokenizer.json")
    return backend


def _restore(backend: Any, truncation: dict | None, padding: dict | None) -> None:
    backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
    backend.enable_padding(**padding) if padding else backend.no_padding()
