"""Cutting an optimizer batch into micro-batches of bounded size: how a stage is run, never what it computes."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from xlift.runners.kinds.base import Batch, Feature

Result = TypeVar("Result")


@dataclass
class Budget:
    """Tokens in a micro-batch, padding included; halved for good where the device's memory is too small for them."""

    tokens: int

    def within(
        self, features: Sequence[Feature], compute: Callable[[int], Result], undo: Callable[[], Any] = lambda: None
    ) -> Result:
        """What `compute` makes of features in micro-batches of so many tokens; where it runs out of memory it is undone and
        called anew.

        Raises:
            torch.OutOfMemoryError: with one feature at a time as well.
        """
        while True:
            try:
                return compute(self.tokens)
            except torch.OutOfMemoryError:
                if all(len(chosen) == 1 for chosen in micro_batches(features, self.tokens)):
                    raise
            undo()
            self.tokens //= 2
            gc.collect()  # what the frames of the error held
            torch.cuda.empty_cache()


def micro_batches(features: Sequence[Feature], budget: int) -> Iterator[list[int]]:
    """Indices of features of similar length, cut so that sequences x longest stays within `budget` tokens.

    The shortest come first. A feature that alone exceeds the budget is a micro-batch of its own.
    """
    chosen: list[int] = []
    sequences = longest = 0
    for index in sorted(range(len(features)), key=lambda i: max(map(len, features[i].sequences))):
        more, length = len(features[index].sequences), max(map(len, features[index].sequences))
        if chosen and (sequences + more) * max(longest, length) > budget:
            yield chosen
            chosen, sequences, longest = [], 0, 0
        chosen.append(index)
        sequences, longest = sequences + more, max(longest, length)
    if chosen:
        yield chosen


def collate(features: Sequence[Feature], padding: int, device: str) -> Batch:
    """The sequences of some features as one padded batch."""
    rows = [torch.from_numpy(ids) for feature in features for ids in feature.sequences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    seconds = [at for feature in features for at in feature.seconds]
    types = None
    if seconds:
        types = ((torch.arange(ids.shape[1])[None, :] >= torch.tensor(seconds)[:, None]) & mask).long().to(device)
    return Batch(ids.to(device), mask.to(device), tuple(features), types)
