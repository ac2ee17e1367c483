"""What a source gives: one example a row, typed by the kind of its task."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Pair:
    first: str
    second: str
    label: str


@dataclass(frozen=True, slots=True)
class Tagged:
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """`starts` are character offsets of `answers` in `context`; both are empty where there is no answer."""

    context: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    id: str


@dataclass(frozen=True, slots=True)
class Choice:
    """`stem` begins every choice, as HellaSwag's endings continue one half-sentence."""

    context: str
    question: str
    choices: tuple[str, ...]
    label: int
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Parallel:
    """A sentence and its translation in the source language of the study."""

    source: str
    pivot: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One of many, of which a few are translations of each other.

    Two of the two sides that share a name in `pairs` are; most have none. The threshold is set on those that tune.
    """

    text: str
    side: Literal["source", "pivot"]
    pairs: tuple[str, ...]
    tunes: bool


@dataclass(frozen=True, slots=True)
class Text:
    text: str


Example = Pair | Tagged | Question | Choice | Parallel | Sentence | Text
