"""A study's card: what `analysis` needs to know of a study, so that facts can be read without its manifest."""

from typing import Annotated, Literal

from pydantic import Field

from xlift.registry.spec import Spec


class Cell(Spec):
    """One combination of a study's matrix, and the evaluate stage that answers it.

    Several cells may share a stage: an untrained retrieval baseline is the same at every seed.
    """

    model: str
    family: str
    params_total: int
    params_non_embedding: int
    intermediate: str
    variant: str
    target: str
    seed: int
    stage: str | None = Field(description="id of its evaluate stage; None where it is blocked")
    languages: tuple[str, ...]
    data: dict[str, str] = Field({}, description="language -> sha-256 of its test data in this study")
    same_task: bool = Field(False, description="the intermediate and the target's training sets overlap")
    retrieval: bool = Field(False, description="the target is not trained")
    blocked: str | None = Field(None, description="why it cannot run")
    declared: bool = Field(False, description="the manifest itself says that it is blocked or planned as missing")


class StageCard(Spec):
    """A stage as a study names it."""

    id: str
    kind: str
    model: str
    family: str
    params_total: int
    params_non_embedding: int
    task: str
    seed: int | None
    parent: str | None
    source: str


class Pairing(Spec):
    """How gains are paired."""

    baseline: dict[str, str] = Field({"intermediate": "none", "variant": "plain"}, description="axes of the baseline")
    match: tuple[str, ...] = ("model", "target", "language", "seed")
    drop_languages: tuple[str, ...] | None = Field(None, description="the source language where absent")


class Analysis(Spec):
    """What the gains are regressed on."""

    x: Literal["params_non_embedding", "params_total"] = "params_non_embedding"
    gain: Pairing = Pairing()
    centre: float | None = Field(None, gt=0, description="parameters at which lp is 0; the models' geometric mean where absent")
    primary: Annotated[str, Field(min_length=3, max_length=4000)] | None = Field(
        None, description="the model of the gains, such as 'gain ~ lp * treatment + (1 | model)'; `xlift show` prints the default"
    )
    apart: tuple[str, ...] | None = Field(None, description="targets never averaged with the rest; retrieval where absent")
    min_models: Annotated[int, Field(ge=4)] = Field(4, description="a slope on fewer models is refused")


class StudyCard(Spec):
    """A study as the store remembers it, so that facts can be read without the manifest."""

    study: str
    question: str
    source_language: str
    analysis: Analysis
    cells: tuple[Cell, ...]
    stages: tuple[StageCard, ...]
