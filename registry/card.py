"""A study's card: what `analysis` needs to know of a study, so that facts can be read without its manifest."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from xlift.registry.kept import Kept
from xlift.registry.spec import Spec

POOLED, MEAN = "all", "mean"  # how tables call what is over all treatments: no treatment's names


class Cell(Spec):
    """One combination of a study's matrix, and the evaluate stage that answers it.

    Several cells may share a stage: an untrained retrieval baseline is the same at every seed.
    """

    model: str
    family: str
    params_total: int
    params_non_embedding: int | None
    intermediate: str
    variant: str
    target: str
    seed: int
    stage: str | None = Field(description="id of its evaluate stage; None where it is blocked")
    languages: tuple[str, ...]
    data: dict[str, str] = Field({}, description="language -> sha-256 of its test data in this study")
    seen: tuple[str, ...] | None = Field(None, description="those of `languages` that the model's pretraining saw, where known")
    same_task: bool = Field(False, description="the intermediate and the target's training sets overlap")
    retrieval: bool = Field(False, description="the target is retrieval, which is not trained")
    prompted: bool = Field(False, description="the target is not trained: the model answers a prompt")
    written: bool = Field(False, description="the model writes its answers, text to text: another model than its encoder")
    origin: str = Field("own", description="own, imported or published: gains never pair across")
    intermediate_language: str | None = Field(None, description="of the intermediate's training data, where a table tells it")
    blocked: str | None = Field(None, description="why it cannot run")
    declared: bool = Field(False, description="the manifest itself says that it is blocked or planned as missing")


def target_group(cell: Cell, apart: Iterable[str] | None) -> str:
    """The targets that may be averaged with each other; retrieval is always by itself, and so is what is prompted.

    Text-to-text models stand apart from the others: they are not sizes of one model.
    """
    aside = cell.target in (apart or ())
    if cell.retrieval:
        group = "retrieval"
    elif cell.prompted:
        group = "prompted, set apart" if aside else "prompted"
    else:
        group = "set apart" if aside else "fine-tuned"
    return f"{group}, text to text" if cell.written else group


class StageCard(Spec):
    """A stage as a study names it."""

    id: str
    kind: str
    model: str
    family: str
    params_total: int
    params_non_embedding: int | None
    task: str
    seed: int | None
    parent: str | None
    source: str


class Pairing(Spec):
    """How gains are paired."""

    baseline: dict[str, str] = Field({"intermediate": "none", "variant": "plain"}, description="axes of the baseline")
    match: tuple[str, ...] = ("model", "target", "language", "seed")
    drop_languages: tuple[str, ...] | None = Field(None, description="the source language where absent")


Targets = Literal["these", "like these"]


class Analysis(Spec):
    """What the gains are regressed on."""

    x: Literal["params_non_embedding", "params_total"] = "params_non_embedding"
    gain: Pairing = Pairing()
    centre: float | None = Field(None, gt=0, description="parameters at which lp is 0; the models' geometric mean where absent")
    primary: Annotated[str, Field(min_length=3, max_length=4000)] | None = Field(
        None, description="the model of the gains, such as 'gain ~ lp * treatment + (1 | model)'; `xlift show` prints the default"
    )
    targets: Targets = Field(
        "these",
        description="what the default model's slopes speak for: these targets, or targets like these, of which there are five",
    )
    sampling: Literal["estimated", "known"] = Field(
        "estimated", description="known: the square of every gain's `gain_se`, a column of a table, is part of its variance"
    )
    apart: tuple[str, ...] | None = Field(None, description="targets never averaged with the rest; retrieval where absent")
    min_models: Annotated[int, Field(ge=4)] = Field(4, description="a slope on fewer models is refused")
    sizes: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (), description="parameters at which gains are told; the smallest, the mean and the largest model's where absent"
    )


Sentence = Annotated[str, Field(min_length=3, max_length=1000)]


class Hypothesis(Spec):
    """What is expected, declared beforehand: a contrast, an equivalence or a prediction of one target group; in points."""

    contrast: Sentence | None = Field(None, description="tested against zero, e.g. slope, or gain | intermediate == 'qqp'")
    equivalence: Sentence | None = Field(None, description="tested to lie within bounds")
    predict: Sentence | None = Field(None, description="for a new model, e.g. gain at params = 1e10")
    group: str | None = Field(None, description="of targets; needed where the study has several")
    direction: Literal["positive", "negative"] | None = Field(None, description="of a contrast; of a prediction, if tested")
    sides: Literal["two", "one"] = Field("two", description="one: a contrast is tested on its declared side alone")
    bounds: tuple[float, float] | None = Field(None, description="of an equivalence, points")
    interval: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="level of a prediction's interval")
    check: Literal["leave-largest-out"] | None = Field(None, description="of a prediction")

    @property
    def asked(self) -> str:
        """The estimand, in words."""
        return self.contrast or self.equivalence or self.predict or ""


class Claim(Spec):
    """A sentence of a paper, and what of this study's gains it is about."""

    text: Sentence
    source: Annotated[str, Field(min_length=1, max_length=200)]
    test: Sentence = Field(description="e.g. slope < 0, or gain | intermediate == 'multi' is largest")
    group: str | None = Field(None, description="of targets; needed where the study has several")


class Published(Spec):
    """A score of a paper, beside which this study's own is shown: of a model without intermediate training, on a target."""

    target: str
    model: str
    score: float = Field(ge=0, le=100, description="mean over languages, the source language too, in points")
    languages: Annotated[int, Field(gt=0)] = Field(description="of which it is the mean")
    source: Annotated[str, Field(min_length=1, max_length=200)]


Scalar = bool | int | float | str


TrialState = Literal["complete", "pruned", "infeasible", "failed"]


class Trial(Kept):
    """One trial of a search, as the store remembers it."""

    number: int
    values: dict[str, Scalar]
    origin: str = Field(description="own: the study's recipe; searched; or which trial of which model it was taken over from")
    state: TrialState
    score: float | None = Field(None, description="mean of the tasks' own metrics on development data; a fraction")
    reason: str | None = Field(None, description="why it is not complete")
    stages: tuple[str, ...] = Field(description="its trainings")
    judges: tuple[str, ...] = Field(description="their evaluations")
    memory_gb: float | None = None
    started: str
    seconds: float


class SearchCard(Spec):
    """A search of a tuned study: what it is for, its budget, where its trials are, and what it found."""

    model: str
    intermediate: str
    variant: str
    target: str | None
    tasks: tuple[str, ...] = Field(description="whose development data judge it")
    trials: int | None
    hours: float | None
    folder: str = Field(description="of its trials, below the store's `tuning`")
    own: dict[str, Scalar] = Field(description="the values of the study's own recipe")
    found: dict[str, Scalar] | None = None
    score: float | None = None


Control = Literal["holm", "bonferroni", "bh", "by", "none"]


class StudyCard(Kept):
    """A study as the store remembers it, so that facts can be read without the manifest."""

    study: str
    question: str
    source_language: str
    analysis: Analysis
    hypotheses: dict[str, Hypothesis] = {}
    control: Control = "holm"
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...] = ()
    outcomes: dict[str, str] = Field({}, description="target -> its metric")
    lower: tuple[str, ...] = Field((), description="metrics of which less is better: a gain is what was taken away")
    lineages: tuple[tuple[str, ...], ...] = Field((), description="models that began with the same weights, as far as is known")
    seen: dict[str, str] = Field({}, description="model -> where it is told which languages its pretraining saw")
    left_out: tuple[str, ...] = Field((), description="the manifest's rules of what is not run")
    cells: tuple[Cell, ...]
    untuned: tuple[Cell, ...] = Field((), description="of a tuned study: the cells again, with the study's own recipe")
    stages: tuple[StageCard, ...]
    table: str | None = Field(
        None, description="digest of the table of scores that it reads, under which the store keeps its rows"
    )
    manifest: dict[str, Any] = Field({}, description="what it says otherwise than by default; {} in cards of before")
    searches: tuple[SearchCard, ...] = Field((), description="of a tuned study")
