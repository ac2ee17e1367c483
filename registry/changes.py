"""What a manifest says now and the store's card of the study said when it was run: silence would pass one off for the other."""

import json
from collections.abc import Mapping
from typing import Any

from xlift.registry.card import StudyCard

WITHOUT_MANIFEST = ("question", "source_language", "analysis", "hypotheses", "control", "claims", "outcomes", "left_out")
ABSENT = "nothing"


def changes(then: StudyCard, now: StudyCard) -> tuple[str, ...]:
    """What differs, a line each, by the manifest's paths: 'recipe.lr: 0.001 then, 0.002 now'; a default is nothing."""
    before, after = (_said(card, whole=bool(then.manifest)) for card in (then, now))
    names = [name for name in (before | after) if before.get(name) != after.get(name)]  # absent and null are the same
    return tuple(f"{name}: {shown(before.get(name))} then, {shown(after.get(name))} now" for name in sorted(names))


def _said(card: StudyCard, *, whole: bool) -> dict[str, Any]:
    """Paths and values of a card's manifest; of one of before, which held none, what the card itself says of it."""
    if whole:  # what a manifest is laid over is in it already
        return flat({name: value for name, value in card.manifest.items() if name != "extends"})
    values = card.model_dump(mode="json", include=set(WITHOUT_MANIFEST))
    axes = ("model", "intermediate", "variant", "target", "seed")
    matrix = {axis: list(dict.fromkeys(getattr(cell, axis) for cell in card.cells)) for axis in axes}
    return flat({**values, "matrix": matrix})


def flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """All values by their paths; a list is one value, but one of mappings with an `id` each is a mapping of them."""
    found: dict[str, Any] = {}
    below = [("", dict(value))]
    while below:
        path, mapping = below.pop()
        for name, content in mapping.items():
            if isinstance(content, list) and content and all(isinstance(part, dict) and "id" in part for part in content):
                content = {part["id"]: part for part in content}
            if isinstance(content, dict) and content:
                below.append((f"{path}{name}.", content))
            else:
                found[f"{path}{name}"] = content
    return found


def shown(value: Any, most: int = 40) -> str:
    """A value in a line of words, its middle left out where it is long."""
    text = ABSENT if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most // 2 - 2]}…{text[2 - most // 2 :]}"
