"""What a manifest declares: the sections, their types and their defaults. The JSON Schema for editors comes from here."""

from math import inf
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from xlift.registry.card import Analysis, Claim, Control, Hypothesis, Published, Scalar
from xlift.registry.findings import unfit
from xlift.registry.kinds import Better, Metric
from xlift.registry.known.metrics import known
from xlift.registry.sources import DataSection, Subset
from xlift.registry.spec import Spec
from xlift.registry.stage import KindName, Mixing, Normaliser, Origin, Positive, Recipe, Scoring, Shape


def shown(name: str) -> str:
    """The name; ValueError where nobody could read it."""
    if why := unfit(name):
        raise ValueError(why)
    return name


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PIN = "pin"  # a revision that is not known yet
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Label = Annotated[str, Field(min_length=1), AfterValidator(shown)]  # a name of a table's
Revision = Annotated[str, Field(pattern=f"^([0-9a-f]{{40}}|{PIN})$")]
Variant = Literal["plain", "mlm"]
Layer = TypeVar("Layer", Recipe, Scoring)
Unit = Literal["fraction", "percent"]
Scaled = Literal["score", "chance", "se", "gain_se", "dev_score"]  # what has a unit
Condition = Annotated[str, Field(min_length=1, max_length=500, description="e.g. variant == 'mlm' and family != 'xlmr'")]


class ModelSection(Spec):
    """A pretrained encoder: made here, in a folder, or on the hub."""

    id: Name
    family: Name | None = Field(None, description="its pretraining's family; known for the hub's models")
    make: Shape | None = Field(None, description="made from scratch by a pretrain stage")
    folder: Text | None = Field(None, description="a transformers folder, relative to the manifest")
    hub: Text | None = Field(None, description="the hub's name for it; beside a folder: what that is a copy of")
    revision: Revision | None = Field(
        None, description="commit on the hub, 40 digits; or `pin` in a draft, which is not run before `xlift data pin` wrote one"
    )
    layers: Positive | None = Field(
        None, description="the first so many layers of a pretrained model alone (Sajjad et al. 2023), a model of its own"
    )
    continues: Name | None = Field(
        None,
        description="the model that its training began with, of this study or another: the two are not independent",
    )
    like: Name | None = Field(
        None, description="the model_type that a folder's model is read as, where its own is not known here"
    )
    form: Literal["text-to-text"] | None = Field(
        None, description="an encoder-decoder that writes its answers (Raffel et al. 2020); its encoder alone where absent"
    )
    languages: tuple[Name, ...] | None = Field(
        None, description="that its pretraining saw; known for the hub's models and for those made here"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of its pretraining, where it is made here")
    scoring: Scoring = Field(Scoring(), description="how this model is scored, where it differs from the study")


class Pretrain(Spec):
    """How encoders are made from scratch: masked language modelling on a corpus."""

    corpus: Name = "lab-corpus"
    languages: tuple[str, ...] | None = Field(None, description="of the corpus; the world's where absent")
    recipe: Recipe = Recipe()


class HubTexts(Spec):
    """Text of a data set on the hub, which `xlift data fetch` writes as the files of a corpus."""

    dataset: Text = Field(description="its name on the hub")
    revision: Revision = Field(description="commit on the hub, 40 digits; or `pin`, in whose place fetching writes today's")
    config: Text = Field("default", description="its configuration; {language} stands for each language")
    split: Name = "train"
    column: Text = Field("text", description="that holds a text a row")
    rows: Positive = Field(description="of each language: the first ones that are not empty")


class TaskSection(Spec):
    """What differs from the known task of this name, or a task of your own."""

    kind: KindName | None = Field(None, description="needed for a task of your own")
    labels: tuple[Text, ...] | None = Field(None, description="in the order of the classes")
    fields: dict[str, str] | None = Field(None, description="role -> column of the files")
    files: Text | None = None
    hub: HubTexts | None = Field(None, description="of a corpus: where `xlift data fetch` has its texts from")
    metric: Name | None = None
    normaliser: Normaliser | None = Field(None, description="how answers are compared, of span tasks")
    languages: tuple[Name, ...] | None = Field(None, description="of the tests")
    trains_on: Name | None = Field(None, description="the task whose training set it uses")
    includes: tuple[Name, ...] | None = Field(None, description="training sets that its own contains")
    source: Text | None = None
    limit: Subset = Subset()
    recipe: Recipe = Recipe()
    scoring: Scoring = Scoring()


class Mixture(Mixing):
    """Several tasks that are trained together, as one intermediate task."""

    of: Annotated[tuple[Name, ...], Field(min_length=2)]
    recipe: Recipe = Recipe()


class Mlm(Spec):
    """The variant `mlm`: masked language modelling goes on beside the intermediate task, as one more task of a mixture."""

    corpus: Name | None = Field(None, description="that of pretraining where absent")
    languages: tuple[str, ...] | None = Field(None, description="of the corpus; those of pretraining where absent")
    share: float | None = Field(None, gt=0, lt=1, description="of the batches; sampled by its size where absent")
    recipe: Recipe = Recipe()


class Seeds(Spec):
    """Replicates: replicate i of every model and task has seed `from` + i."""

    count: Annotated[int, Field(gt=0, le=1000)]
    start: Annotated[int, Field(ge=0, lt=2**40)] = Field(alias="from")


class Exclude(Spec):
    """Cells that are left out, and why."""

    when: Condition
    why: Text
    kind: Literal["excluded", "blocked", "planned-missing"] = Field(
        "excluded", alias="as", description="excluded cells are counted; the others are listed as missing"
    )


class Include(Spec):
    """Cells beside the product of the axes; an absent axis takes all of the matrix's values."""

    model: tuple[Name, ...] | None = None
    intermediate: tuple[Name, ...] | None = None
    variant: tuple[Variant, ...] | None = None
    target: tuple[Name, ...] | None = None
    when: Condition | None = None
    why: Text


class Matrix(Spec):
    """The axes of the experiment; models are an axis too."""

    intermediate: Annotated[tuple[Name, ...], Field(min_length=1)]
    variant: Annotated[tuple[Variant, ...], Field(min_length=1)] = ("plain",)
    target: Annotated[tuple[Name, ...], Field(min_length=1)]
    seed: Seeds
    include: tuple[Include, ...] = ()
    exclude: tuple[Exclude, ...] = ()


class Range(Spec):
    """All values between two, ends included; whole numbers where the field has whole numbers."""

    log: tuple[float, float] | None = Field(None, description="drawn evenly on a logarithmic scale, as learning rates are")
    uniform: tuple[float, float] | None = Field(None, description="drawn evenly")


class Objective(Spec):
    """What a trial is judged by: the task's own metric on development data in the source language, and nothing else."""

    split: Name | None = Field(
        None, description="dev: the task's file; held-out: a tenth of its training data; the first that there is where absent"
    )
    language: Name | None = Field(None, description="the source language, and no other")


class Constraints(Spec):
    """What a trial must keep to; one whose training diverges or runs out of memory never does."""

    memory_gb: float | None = Field(None, gt=0, description="largest memory of a training, 10^9 bytes; on a CPU of the process")


class Tuning(Spec):
    """A search for the values of a recipe, for each model and intermediate task."""

    roles: Annotated[tuple[Literal["intermediate", "target"], ...], Field(min_length=1)] = Field(
        ("intermediate",), description="which trainings; with target, baselines too are tuned, with the same budget"
    )
    per: tuple[Literal["model", "intermediate"], ...] = Field(
        ("model", "intermediate"), description="one search for each of these; without intermediate, one value serves them all"
    )
    space: Annotated[dict[str, Range | tuple[Scalar, ...]], Field(min_length=1)] = Field(
        description="fields of the recipe -> a list of values, {log: [low, high]} or {uniform: [low, high]}"
    )
    trials: Positive | None = Field(None, description="in each search; the first is the study's own recipe")
    hours: float | None = Field(None, gt=0, description="of training in each search, after which it asks for no further trial")
    sampler: Literal["tpe", "gp", "random", "grid"] = Field("tpe", description="tpe: tree-structured Parzen estimator, joint")
    pruner: Literal["none", "asha", "hyperband"] = Field("none", description="stops trainings that lag behind")
    reports: Annotated[int, Field(ge=2, le=100)] = Field(4, description="scores that a pruner sees of a training")
    across: Literal["none", "warm-start", "halving"] = Field(
        "none",
        description="models of a family by size: each alone; each after the best of the next smaller one; or at each size the "
        "best half of the smaller one's trials again",
    )
    seed: Annotated[int, Field(ge=0, lt=2**40)] = Field(
        0, description="of the search and of its trainings; apart from replicates"
    )
    objective: Objective = Objective()
    constraints: Constraints = Constraints()
    beside: bool = Field(True, description="run all with the study's own recipe too, so that a report tells what tuning changed")


class Declared(Spec):
    """What every study declares, wherever its scores come from."""

    form: Literal["xlift/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
    question: Text
    extends: tuple[Text, ...] = Field((), description="manifests that this one is laid over; later wins")
    analysis: Analysis = Analysis()
    hypotheses: dict[Name, Hypothesis] = {}
    control: Control = Field("holm", description="how p of the hypotheses is adjusted for there being several")
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...] = Field((), description="scores of papers, which a report shows beside this study's own")

    def for_card(self) -> dict[str, Any]:
        """What of it a study's card has, wherever its scores come from."""
        kept = ("question", "analysis", "hypotheses", "control", "claims", "published")
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"study": self.id, "manifest": whole, **{name: getattr(self, name) for name in kept}}


Role = Literal[
    "model",
    "parameters",
    "non_embedding",
    "family",
    "intermediate",
    "continues",
    "intermediate_language",
    "variant",
    "target",
    "language",
    "seed",
    "metric",
    "score",
    "items",
    "chance",
    "se",
    "gain_se",
    "dev_score",
    "source",
    "protocol",
    "origin",
]


class TableSection(Spec):
    """A table of scores that were computed elsewhere: a row a score."""

    source: Literal["table"]
    file: Text = Field(description=".csv or .parquet, relative to the manifest")
    columns: dict[Role, Text] = Field({}, description="what a column of the table is; columns of these names are known without")
    origin: Origin = Field("imported", description="own: of this laboratory; published: read in papers")
    mixed: bool = Field(False, description="rows may have several origins, by a column; each gain has one, and fits a factor")
    unit: Unit = Field("fraction", description="of scores, chances and standard errors")
    units: dict[Scaled, Unit] = Field({}, description="of a column that has another unit")
    where: Condition | None = Field(None, description="which rows, over the table's columns, e.g. split == 'test'")
    language: Label = Field("en", description="of all training, which gains leave out")


class ReportedTask(Spec):
    """What a table does not tell of a task."""

    trained: bool | None = Field(None, description="as a target; false: the model is asked in a prompt; as known where absent")
    trains_on: Label | None = Field(None, description="the task whose training set it uses; known, or its own, where absent")
    includes: tuple[Label, ...] | None = Field(None, description="training sets that its own contains")
    metric: Label | None = Field(None, description="that gains are computed on, where a table has several")


class ReportedMetric(Spec):
    """What is not known of a metric of one's own; of a known one, another direction, a narrower range or its unit."""

    better: Better | None = Field(None, description="lower: of an error rate or a loss, whose gain is what was taken away")
    unit: Unit | None = Field(None, description="of its scores, chances and standard errors; the table's where absent")
    range: tuple[float | None, float | None] | None = Field(
        None, description="its scores lie between; fractions, null: no end; as known where absent, or [0, 1]"
    )


class TableManifest(Declared):
    """A study of scores that were computed elsewhere, as its author writes it."""

    data: TableSection
    metrics: dict[Label, ReportedMetric] = {}
    tasks: dict[Label, ReportedTask] = {}

    def metric(self, name: str) -> Metric:
        """The facts of a metric: as declared, or as known; more is better, within 0 and 1, where it is neither."""
        own, usual = self.metrics.get(name), known(name) or Metric()
        if own is None:
            return usual
        low, high = own.range or (usual.low, usual.high)
        return Metric(own.better or usual.better, -inf if low is None else low, inf if high is None else high)


class Manifest(Declared):
    """A study that runs here, as its author writes it."""

    data: DataSection
    languages: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        None, description="test languages; all of each target where absent"
    )
    models: Annotated[tuple[ModelSection, ...], Field(min_length=1)]
    pretrain: Pretrain | None = None
    recipe: Recipe = Recipe()
    scoring: Scoring = Scoring()
    tasks: dict[Name, TaskSection] = {}
    mixtures: dict[Name, Mixture] = {}
    mlm: Mlm | None = None
    tuning: Tuning | None = None
    matrix: Matrix


def merged(*layers: Layer) -> Layer:
    """Later layers win, in the fields that they set; of two that say one thing, the later."""
    values: dict[str, Any] = {}
    for layer in layers:
        for name in [field for field in type(layer).model_fields if field in layer.model_fields_set]:  # in a fixed order
            values[name] = getattr(layer, name)
            if name == "steps" and values[name] is not None:
                values["epochs"] = None
            elif name == "epochs" and values[name] is not None:
                values["steps"] = None
            elif name == "stride":
                values.pop("doc_stride", None)
            elif name == "doc_stride" and values[name] is not None:
                values.pop("stride", None)
    return type(layers[0])(**values)


def texts(manifest: Manifest) -> tuple[str | None, tuple[str, ...] | None]:
    """The corpus with which the variant `mlm` goes on, and its languages: its own, or those of pretraining."""
    own, pretrain = manifest.mlm or Mlm(), manifest.pretrain
    corpus = own.corpus or (pretrain.corpus if pretrain else None)
    return corpus, own.languages or (pretrain.languages if pretrain else None)
