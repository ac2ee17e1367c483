"""Random draws that are the same on every machine and version of Python.

`random.Random.random` is the one method whose sequence Python promises to keep, so everything is built on it.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def number(*purpose: str | int) -> int:
    """An integer in [0, 2^64) that depends on `purpose` alone."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, purpose)).encode()).digest()[:8], "big")


class Draw:
    """A generator of its own for every purpose, so that no draw moves another's."""

    def __init__(self, *purpose: str | int) -> None:
        self._random = random.Random(number(*purpose)).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._random() * n)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in options]
