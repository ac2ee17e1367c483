"""What a source gives: one example an item, of the class of its task's kind; and what a set of them must be."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Self

from xlift.registry.findings import UserError
from xlift.registry.stage import Data

Row = dict[str, Any]


class Unfit(UserError):
    """What is wrong with a set; `at` is the index of the example that shows it, where one does."""

    def __init__(self, message: str, hint: str | None = None, *, at: int | None = None):
        super().__init__(message if at is None else f"item {at + 1}: {message}", hint)
        self.message, self.at = message, at


class Example:
    """One item of a task. Subclasses are frozen; their fields are plain texts, numbers and tuples."""

    __slots__ = ()

    @classmethod
    def read(cls, row: Row, data: Data, place: str) -> Self:
        """The example that a file's row holds, columns by name; `Fault` where it holds none. `place` is file:line."""
        raise NotImplementedError

    @property
    def group(self) -> tuple[str, ...]:
        """What items share that have to fall on one side, where a part is held out: a premise, a context."""
        raise NotImplementedError

    @property
    def stratum(self) -> Hashable:
        """Of what a draw takes its share; None where there is no label."""
        return None

    @property
    def gold(self) -> tuple[Hashable, ...]:
        """What is right, of which a test set needs two kinds; () where that cannot be told of one item."""
        return () if self.stratum is None else (self.stratum,)

    def prefixed(self, prefix: str) -> Self:
        """With a text before its sentences, in retrieval."""
        return self

    @classmethod
    def check(cls, examples: Sequence[Self], *, scored: bool) -> None:
        """Unfit where a set cannot be trained on, or scored."""
        if scored:
            scorable(examples)


def scorable(examples: Sequence[Example]) -> None:
    """Unfit where no score can be taken from test items."""
    if len(examples) < 2:
        raise Unfit(f"{len(examples)} item, and a standard error needs two")
    gold = Counter(label for example in examples for label in example.gold)
    if len(gold) == 1:
        raise Unfit(f"the same label everywhere ({next(iter(gold))!r})")
