"""The forms that tasks have, one row each: what every room has to know of a kind. Behaviour is in `runners.kinds.<name>`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kind:
    """A form of tasks: what its examples are made of, what is computed of them, and what may be done with them."""

    name: str
    roles: tuple[str, ...]  # of an example; a task's `fields` maps them to columns
    metrics: tuple[str, ...] = ()  # what can be computed; the first is the usual one
    optional: tuple[str, ...] = ()  # roles that a file may lack; they are '' then
    labels: Literal["needed", "possible"] | None = None  # a list of them, in the order of the classes
    reads: tuple[str, ...] = ()  # fields of a recipe or a scoring that not every kind reads
    trained: bool = True  # retrieval reads states as they are
    scored: bool = True  # text has no test
    divisible: bool = True  # a limit may draw of its test items
    texts: int = 1  # that stand in one sequence
    numbers: int = 1  # in the ids of its stages but at 1: raised where the code of this kind alone changes what it computes


_ROWS = (
    Kind("pair", ("first", "second", "label"), ("accuracy",), labels="needed", texts=2),
    Kind("tag", ("tokens", "tags"), ("entity_f1", "f1_xtreme", "accuracy"), labels="needed"),
    Kind("span", ("context", "question", "answers"), ("f1", "exact_match"), reads=("stride", "answer_length"), texts=2),
    Kind(
        "choice",
        ("context", "question", "stem", "choices", "label"),
        ("accuracy",),
        optional=("context", "question", "stem"),
        labels="possible",
        texts=2,
    ),
    Kind("retrieve", ("source", "pivot"), ("accuracy",), reads=("layer", "prefix"), trained=False),
    Kind("mine", ("text", "side", "pairs", "split"), ("f1",), reads=("layer", "prefix"), trained=False, divisible=False),
    Kind("mlm", ("text",), reads=("mask",), scored=False),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ROWS}
RETRIEVAL: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if not kind.trained)
CORPORA: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if not kind.scored)
# Fields that only some kinds read. A stage of another kind has them at their defaults, so that they do not change its id.
READ_BY: dict[str, tuple[str, ...]] = {
    field: tuple(name for name, kind in KINDS.items() if field in kind.reads) for each in _ROWS for field in each.reads
}
