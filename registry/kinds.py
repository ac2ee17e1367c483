"""The forms that tasks have, one row each: what every room has to know of a kind. Behaviour is in `runners.kinds.<name>`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

Better = Literal["higher", "lower"]
# The most frequent label's share, at least 1 / labels; 1 / items; the share of items without an answer; 0
Chance = Literal["labels", "items", "empty", "none"]
MARKED = re.compile(r"^[BIEOLSUMHWV][-_]|[-_][BIEOLSUMHWV]$")  # labels that say where in a chunk they stand
PUNCTUATION = (".", ",", ":", "''", "``", "#", "$", "-LRB-", "-RRB-", "-NONE-")  # tags of the Penn treebank


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score can be, as a fraction (1 is all right, or all wrong), and which way is better."""

    better: Better = "higher"
    low: float = 0.0
    high: float = 1.0
    counted: bool = False  # a share of items, whose standard error is binomial

    def inside(self, score: float) -> bool:
        """Whether a score lies between the ends, and at neither."""
        return self.low < score < self.high


SHARE = Metric()
COUNTED = Metric(counted=True)
CORRELATION = Metric(low=-1.0)
RATE = Metric("lower", high=inf)


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric that a kind computes."""

    name: str
    chance: Chance
    metric: Metric = SHARE
    labels: Literal["any", "chunks", "names"] = "any"  # that it is made for
    hint: str = ""  # what would do where a task has other labels

    def fits(self, labels: Sequence[str]) -> bool:
        """Whether it is computed for a task of these labels.

        Entities need labels that begin and continue them (IOB2). XTREME's F1 of tags is made for names without marks, as of
        parts of speech: of other schemes (BIOES) or of numbers it would count what is no chunk.
        """
        chunks = all(label == "O" or label[:2] in ("B-", "I-") for label in labels)
        if self.labels == "chunks":
            return chunks
        names = (label for label in labels if label not in PUNCTUATION)
        return self.labels == "any" or (not chunks and all(name[:1].isalpha() and not MARKED.search(name) for name in names))

    def usual(self, labels: Sequence[str]) -> bool:
        """Whether a task of these labels has it without asking."""
        return self.labels == "any" or (self.labels == "chunks" and any(label.startswith("B-") for label in labels))


@dataclass(frozen=True, slots=True)
class Kind:
    """A form of tasks: what its examples are made of, what is computed of them, and what may be done with them."""

    name: str
    roles: tuple[str, ...]  # of an example; a task's `fields` maps them to columns
    metrics: tuple[Measured, ...] = ()  # what can be computed
    optional: tuple[str, ...] = ()  # roles that a file may lack; they are '' then
    labels: Literal["needed", "possible"] | None = None  # a list of them, in the order of the classes
    reads: tuple[str, ...] = ()  # fields of a recipe or a scoring that not every kind reads
    trained: bool = True  # retrieval reads states as they are
    scored: bool = True  # text has no test
    compared: bool = False  # answers, which a task may normalise in its own way
    divisible: bool = True  # a limit may draw of its test items
    texts: int = 1  # that stand in one sequence
    numbers: int = 1  # in the ids of its stages but at 1: raised where the code of this kind alone changes what it computes

    def computed(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The metrics of a task of these labels."""
        return tuple(each.name for each in self.metrics if each.fits(labels))

    def usual(self, labels: Sequence[str]) -> str:
        """The metric of a task that names none; "" where nothing is scored."""
        return next((each.name for each in self.metrics if each.usual(labels)), "")


_ACCURACY = Measured("accuracy", "labels", COUNTED)
_ENTITIES = Measured(
    "entity_f1",
    "none",
    labels="chunks",
    hint="write metric: accuracy, or the labels as O, B-<type> and I-<type>, of which entities are made",
)
_ROWS = (
    Kind("pair", ("first", "second", "label"), (_ACCURACY,), labels="needed", texts=2),
    Kind(
        "tag",
        ("tokens", "tags"),
        (_ENTITIES, Measured("f1_xtreme", "none", labels="names"), Measured("accuracy", "labels")),
        labels="needed",
    ),
    Kind(
        "span",
        ("context", "question", "answers"),
        (Measured("f1", "empty"), Measured("exact_match", "empty", COUNTED)),
        reads=("stride", "doc_stride", "question_length", "answer_length", "null_threshold"),
        compared=True,
        texts=2,
    ),
    Kind(
        "choice",
        ("context", "question", "stem", "choices", "label"),
        (_ACCURACY,),
        optional=("context", "question", "stem"),
        labels="possible",
        reads=("context_cut",),
        texts=2,
    ),
    Kind("retrieve", ("source", "pivot"), (Measured("accuracy", "items", COUNTED),), reads=("layer", "prefix"), trained=False),
    Kind(
        "mine",
        ("text", "side", "pairs", "split"),
        (Measured("f1", "none"),),
        reads=("layer", "prefix", "repeated"),
        trained=False,
        divisible=False,
        numbers=2,  # 2: a threshold of 0 where no pair of the development sentences is right
    ),
    Kind("mlm", ("text",), reads=("mask",), scored=False),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ROWS}
RETRIEVAL: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if not kind.trained)
CORPORA: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if not kind.scored)
# Fields that only some kinds read. A stage of another kind has them at their defaults, so that they do not change its id.
READ_BY: dict[str, tuple[str, ...]] = {
    field: tuple(name for name, kind in KINDS.items() if field in kind.reads) for each in _ROWS for field in each.reads
}
