"""Random draws that are the same on every machine and version of Python: integers only, from SHA-256 and a counter."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
MASK = (1 << 64) - 1


def number(*purpose: str | int) -> int:
    """An integer in [0, 2^64) that depends on `purpose` alone."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, purpose)).encode()).digest()[:8], "big")


class Draw:
    """A generator of its own for every purpose, so that no draw moves another's: SplitMix64 (Steele et al. 2014, fig. 17)."""

    __slots__ = ("_state",)

    def __init__(self, *purpose: str | int) -> None:
        self._state = number(*purpose)

    def _next(self) -> int:
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def chance(self, probability: float) -> bool:
        return self._next() < int(probability * 18446744073709551616)  # exact: a float times a power of two

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return (self._next() * n) >> 64

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in options]
