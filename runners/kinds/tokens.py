"""Texts to token ids in batches, and what a tokenizer puts around them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding, processors
from transformers import PreTrainedTokenizerFast

from xlift.registry.findings import UserError
from xlift.registry.known.architectures import Reads

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
    texts: list[int] = []  # of the tokens of text, one after another
    for token, text in zip(probe.ids, probe.sequence_ids, strict=True):
        if text is None:
            runs[-1].append(token)
        elif not texts or text != texts[-1] or runs[-1]:
            texts.append(text)
            runs.append([])
    if texts != [0, 1][: 1 + pair]:
        raise UserError(f"the tokenizer puts special tokens around a text in a way that is not understood: {probe.tokens}")
    return tuple(map(array, runs))


def framed(tokenizer: PreTrainedTokenizerFast, reads: Reads) -> PreTrainedTokenizerFast:
    """The tokenizer, with what its model needs around texts and it does not put there; itself where it lacks nothing.

    Two texts are parted by the token for the end of a text. In a causal model that token ends every sequence, and its state is
    what heads read (Radford et al. 2018, section 3.3); an encoder whose tokenizer puts nothing at all around a text is given
    both ends. A tokenizer without a token for padding pads with that for the end: padding is never read.

    Raises:
        UserError: it has no such token.
    """
    (before, after), (opening, between, last) = frame(tokenizer, pair=False), frame(tokenizer, pair=True)
    bare = not any(map(len, (before, after, opening, between, last)))
    end, begin = tokenizer.eos_token, tokenizer.cls_token or tokenizer.bos_token
    lacking = {
        "end of a text": not end and (not len(between) or tokenizer.pad_token_id is None),
        "beginning of a text": not begin and bare and reads == "first",
    }
    for what in (what for what, lacks in lacking.items() if lacks):
        raise UserError(f"the tokenizer has no token for the {what}, which this model's sequences need")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = end
    if len(between) and (reads != "last" or (len(after) and len(last))):
        return tokenizer
    named = tokenizer.convert_ids_to_tokens
    opened = [begin] if bare and reads == "first" else named(before)
    parted = named(between) or [end]
    closed = [end] if bare or (reads == "last" and not len(after)) else named(after)
    around = {token: tokenizer.convert_tokens_to_ids(token) for token in (*opened, *parted, *closed)}
    template = processors.TemplateProcessing(
        single=[*opened, "$A", *closed],
        pair=[*opened, "$A", *parted, "$B", *closed],
        special_tokens=list(around.items()),
    )
    backend = backend_of(tokenizer)
    kept = backend.post_processor if bare else None  # it may trim offsets
    backend.post_processor = processors.Sequence([kept, template]) if kept else template
    return tokenizer


def room_for(tokenizer: PreTrainedTokenizerFast, *, pair: bool, max_length: int) -> int:
    """Tokens of text that fit into `max_length`, at least one a text; UserError where they do not."""
    room = max_length - backend_of(tokenizer).num_special_tokens_to_add(pair)
    if room < 1 + pair:
        raise UserError(
            f"max_length {max_length} leaves no room for text beside the special tokens",
            f"at least {max_length - room + 1 + pair} is needed",
        )
    return room


def backend_of(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The Rust tokenizer, which encodes batches in one call and knows offsets."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"{type(tokenizer).__name__} is not a fast tokenizer", "use a model folder with tokenizer.json")
    return backend


def _restore(backend: Any, truncation: dict | None, padding: dict | None) -> None:
    backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
    backend.enable_padding(**padding) if padding else backend.no_padding()
