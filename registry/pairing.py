"""What a gain is of: the treatment, its baseline, the axes on which both agree, and the languages that are left out."""

from typing import Any

from xlift.registry.card import Pairing
from xlift.registry.known.languages import same_language

PLAIN = "plain"  # the variant that needs no mention
NONE = "none"  # no intermediate training; listed first


def untreated(intermediate: str, variant: str) -> bool:
    """Whether nothing is trained between the model and the target."""
    return (intermediate, variant) == (NONE, PLAIN)


def treatment(intermediate: str, variant: str) -> str:
    """What is done before the target: "mnli", or "mnli + mlm"."""
    return intermediate if variant == PLAIN else f"{intermediate} + {variant}"


def is_baseline(cell: Any, rule: Pairing) -> bool:
    """Whether a cell, or a row of a table, has the axes of the baseline."""
    return all(str(getattr(cell, axis)) == level for axis, level in rule.baseline.items())


def pair(cell: Any, language: str, rule: Pairing) -> tuple[Any, ...]:
    """What the two halves of a gain have in common."""
    return (cell.origin, *(language if axis == "language" else getattr(cell, axis) for axis in rule.match))


def left_out(language: str, rule: Pairing, source_language: str) -> bool:
    """Whether a language makes no gain: as declared, or else the one that all training is in."""
    return same_language(language, source_language) if rule.drop_languages is None else language in rule.drop_languages
