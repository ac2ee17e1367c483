"""Registration: what a study commits itself to before its first score, frozen by hash, and what has changed since."""

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from xlift.registry.card import Analysis, Hypothesis, StudyCard
from xlift.registry.kept import Kept
from xlift.registry.spec import Spec, digest

FIELDS = ("question", "hypotheses", "control", "analysis", "outcomes", "left_out", "matrix")


class Registration(Kept):
    """What was frozen, when, and whether a target stage had a score then."""

    study: str
    at: str  # ISO 8601, UTC
    digest: str  # sha-256 of `frozen`
    scored: int  # target stages with a score at that time; 0 is confirmatory
    twins: int = 0  # evaluations of the same models on the same targets, of other recipes or in tables, that were there then
    frozen: dict[str, Any]

    @property
    def confirmatory(self) -> bool:
        return self.scored == 0


def frozen(card: StudyCard, models: dict[str, str]) -> dict[str, Any]:
    """Hypotheses, outcomes, exclusions, the analysis, and the formula of each target group's primary model (`models`)."""
    values = card.model_dump(mode="json")
    axes = ("model", "intermediate", "variant", "target", "seed")
    matrix = {axis: list(dict.fromkeys(cell[axis] for cell in values["cells"])) for axis in axes}
    matrix["language"] = sorted({language for cell in values["cells"] for language in cell["languages"]})
    found = {name: values[name] for name in FIELDS if name != "matrix"}
    return {**found, "matrix": matrix, "primary": models}


def register(card: StudyCard, models: dict[str, str], scored: int, twins: int = 0) -> Registration:
    """Freeze a study as it is declared now."""
    content = frozen(card, models)
    return Registration(
        study=card.study,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=digest(content),
        scored=scored,
        twins=twins,
        frozen=content,
    )


def deviations(registration: Registration, card: StudyCard, models: dict[str, str]) -> list[str]:
    """What differs from what was registered, a sentence each; models are those of the design, planned and not scored."""
    now, before, said = json.loads(json.dumps(frozen(card, models))), _filled(registration.frozen), []
    for name in sorted({*before, *now}):
        then, today = before.get(name), now.get(name)
        if then == today:
            continue
        if isinstance(then, dict) and isinstance(today, dict):
            for key in sorted({*then, *today}):
                if then.get(key) != today.get(key):
                    said.append(f"{name}.{key}: {_short(then.get(key))} was registered, and it is {_short(today.get(key))} now")
        else:
            said.append(f"{name}: {_short(then)} was registered, and it is {_short(today)} now")
    return said


def _filled(frozen: dict[str, Any]) -> dict[str, Any]:
    """What was frozen, with the defaults of fields that are newer: they were not declared otherwise."""
    try:
        analysis = _dumped(Analysis, frozen["analysis"])
        asked = {name: _dumped(Hypothesis, own) for name, own in frozen["hypotheses"].items()}
    except (KeyError, ValidationError):  # of a version that has other fields
        return frozen
    return {**frozen, "analysis": analysis, "hypotheses": asked}


def _dumped(form: type[Spec], values: Any) -> dict[str, Any]:
    return form.model_validate_json(json.dumps(values)).model_dump(mode="json")


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:297]}…"
