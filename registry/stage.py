"""The unit of work, named by its content: equal stages are the same run, and no run is computed twice.

What changes the numbers is here and is hashed. How a stage is run (device, workers, micro-batches, paths) is in
`runners.run.Env` and is not. A field at its default is left out of the hash, so that a new field changes no old id;
the defaults themselves are therefore pinned by a test, and never edited. NUMBERS stands for the code, and a
kind's own number for what is its alone.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from xlift.registry.kinds import KINDS, READ_BY
from xlift.registry.spec import Spec, canonical, digest

NUMBERS = 3  # in every id: raised, with a line in the changelog, by a change of the code that changes what stages compute
if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(KINDS)]
Normaliser = Literal["squad", "mlqa"]
Split = Literal["dev", "kept", "held-out"]
Origin = Literal["own", "imported", "published"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Shape(Spec):
    """An encoder made from scratch: XLM-R's architecture (Conneau et al. 2020) in any size."""

    layers: Positive
    hidden: Positive
    heads: Positive
    inner: Positive | None = Field(None, description="feed-forward width; 4 x hidden where absent")
    vocabulary: Positive = Field(2000, description="pieces of the tokenizer that is trained on the corpus")
    positions: Positive = 128

    def plain(self) -> "Shape":
        """The same shape, with nothing said that is so by default."""
        return self.model_copy(update={"inner": None}) if self.inner == 4 * self.hidden else self


class Weights(Spec):
    """Where a model's first weights come from: exactly one of the three."""

    make: Shape | None = None
    folder: str | None = Field(None, description="sha-256 over the folder's configuration, weights and tokenizer")
    hub: str | None = None
    revision: str | None = None
    layers: Positive | None = Field(None, description="the first so many of its layers alone; all where absent")
    form: Literal["text-to-text"] | None = Field(None, description="with its decoder; an encoder-decoder's encoder where absent")
    like: str | None = Field(None, description="the model_type that it is read as, where its own is not known")


class Lora(Spec):
    """Low-rank adaptation (Hu et al. 2022): the model's weights stay, and a product of two thin matrices is added to each
    linear map; it is trained, beside the head, and merged into the weights when the training ends.
    """

    rank: Positive = 8
    alpha: Positive = Field(16, description="the product counts alpha / rank times")
    dropout: Share = Field(0.0, description="of what goes into the thin matrices")


class Cutting(Spec):
    """How texts that are too long for a sequence are cut, in training and in scoring."""

    max_length: Positive = Field(256, description="tokens in a sequence")
    stride: Positive = Field(128, description="overlap of the windows of a long text, in tokens")
    doc_stride: Positive | None = Field(
        None,
        description="tokens by which these windows move on, as BERT's reader and its kin say it; by their overlap where absent",
    )
    question_length: Positive | None = Field(None, description="tokens of a question; half of the room where absent")
    context_cut: Literal["end", "start"] = Field(
        "end", description="of a choice's context that is too long: the end that is lost"
    )

    @model_validator(mode="after")
    def _one_stride(self) -> Self:
        if {"stride", "doc_stride"} <= self.model_fields_set and self.doc_stride is not None:
            raise ValueError("stride and doc_stride are both given; give the overlap of windows, or the step between them")
        return self


class Recipe(Cutting):
    """Everything about training that changes the numbers."""

    optimizer: Literal["adamw"] = "adamw"
    states: Literal["fp32"] = Field("fp32", description="precision of the optimizer's states")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: products in bf16, of master weights in fp32 (autocast)")
    lora: Lora | None = Field(None, description="train thin matrices beside the weights; all weights where absent")
    lr: float = Field(1e-5, gt=0, description="peak learning rate")
    warmup: Share = Field(0.1, description="share of the steps with linearly rising rate; then linear decay to 0")
    weight_decay: float = Field(0.01, ge=0, description="not on biases and normalisations")
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: float = Field(1e-8, gt=0)
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    batch: Positive = Field(32, description="examples in an optimizer batch")
    epochs: float | None = Field(2.0, gt=0)
    steps: Positive | None = Field(None, description="optimizer steps, instead of epochs")
    dropout: Share = Field(0.1, description="hidden states, where an architecture has it: Qwen, EuroBERT have none")
    attention_dropout: Share = Field(0.0, description="0, so that packed and padded training agree")
    head_dropout: Share = 0.1
    mask: float = Field(0.15, gt=0, lt=1, description="share of tokens that masked language modelling predicts")

    @model_validator(mode="after")
    def _one_length(self) -> "Recipe":
        if {"steps", "epochs"} <= self.model_fields_set and self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given; give one, and null for the other where it is inherited")
        if self.steps is None and self.epochs is None:
            raise ValueError("neither steps nor epochs is given")
        return self


class Scoring(Cutting):
    """Everything about evaluation that changes the numbers."""

    precision: Literal["fp32", "bf16"] = "fp32"
    answer_length: Positive = Field(30, description="longest answer of a span question, in tokens")
    layer: Literal["relative"] | Annotated[int, Field(ge=0)] = Field(
        "relative", description="hidden state for retrieval; 0 is the embeddings; relative is floor(14/24 layers + 1/2)"
    )
    prefix: str = Field("", description="text put before every sentence in retrieval")
    null_threshold: float | Literal["dev"] = Field(
        0.0,
        description="by how much no answer must score above the best one to be given, where some questions have none; "
        "dev: as has the best F1 on development data in the source language; models that write their answers have none",
    )
    repeated: Literal["each", "dropped"] = Field(
        "each",
        description="of sentences that are mined, those with one text: each by itself, or, as in XTREME's script, none of them",
    )


Part = TypeVar("Part", Recipe, Scoring)


def as_read(part: Part, *kinds: str) -> Part:
    """A recipe or scoring with only what one of `kinds` reads."""
    fields = [name for name in part.model_fields_set if set(READ_BY.get(name, kinds)) & set(kinds)]
    return type(part)(**{name: getattr(part, name) for name in fields})


class Mixing(Spec):
    """How a mixture is trained: each optimizer batch is of one task, drawn with p ~ min(items, cap)^(1 / temperature).

    Proportional sampling has no cap and temperature 1 (Phang et al. 2020: a cap of 2^17); uniform sampling is its limit
    at high temperature. An epoch is as many examples as its tasks have, each counted up to the cap.
    """

    sampler: Literal["proportional", "uniform"] = "proportional"
    cap: Positive | None = Field(None, description="items of a task that count")
    temperature: float = Field(1.0, gt=0)
    text: float | None = Field(None, gt=0, lt=1, description="share of batches that are text; as sampled where absent")


class Data(Spec):
    """What the examples of a stage are; the files of test languages are named in each part of the scores instead."""

    source: str
    kind: KindName | Literal["mixture"]
    task: str
    digest: str | None = Field(None, description="sha-256 of the training data, or of the lab's world")
    split: Split | None = Field(
        None,
        description="a file of development data; or the training data without a tenth of it (kept), or that tenth; where absent, "
        "the training or the test data",
    )
    languages: tuple[str, ...] = Field((), description="of texts, in reading order; tasks are trained in the source language")
    limit: Positive | None = Field(None, description="items, drawn alike from each label; all where absent")
    labels: tuple[str, ...] = ()
    fields: dict[str, str] = Field({}, description="the role of each column that the kind reads")
    metric: str | None = None
    normaliser: Normaliser | None = Field(None, description="how answers are compared; as in SQuAD v1.1 where absent")
    dev: "Data | None" = Field(None, description="development data on which a threshold is set")
    of: tuple["Data", ...] = Field((), description="the tasks of a mixture")
    mixing: Mixing | None = None

    @property
    def parts(self) -> tuple["Data", ...]:
        """The tasks of a mixture, or itself."""
        return self.of or (self,)


class Stage(Spec):
    """One run: pretrain an encoder, train it on a task, or evaluate it on a target.

    *Intermediate* and *target* are roles in a plan, not parts of a stage, so that one training on SQuAD serves all
    targets that train on it. `evaluate` draws no random number, so its seed is None.
    """

    kind: Literal["pretrain", "train", "evaluate"]
    weights: Weights
    data: Data
    recipe: Recipe | None = Field(None, description="of pretrain and train")
    scoring: Scoring | None = Field(None, description="of evaluate")
    seed: int | None = None
    parent: "Stage | None" = None

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the sha-256 of the stage's canonical content, its parent by id."""
        content = self.model_dump(mode="json", exclude_defaults=True, exclude={"parent"})
        if self.data.kind == "mixture":
            del content["data"]["task"]  # a name, and nothing but a name
        if own := {part.kind: KINDS[part.kind].numbers for part in self.data.parts if KINDS[part.kind].numbers != 1}:
            content["kinds"] = own
        return digest(content | {"numbers": NUMBERS} | ({"parent": self.parent.id} if self.parent else {}))[:16]

    def entropy(self, data: Data) -> int:
        """64 bits from which a training draws what belongs to `data`, all of its own or one task of its mixture.

        They are of the seed, the data, and how many earlier stages of the chain were trained on them. So two stages of a
        chain share neither a new head nor an order, while the halves of a gain share both wherever their tasks differ.
        """
        content = data.model_dump(mode="json", exclude_defaults=True, exclude={"task"} if data.kind == "mixture" else None)
        before = sum(data in (stage.data, *stage.data.parts) for stage in self.lineage[:-1])
        return int(digest([self.seed, content, before])[:16], 16)

    def __hash__(self) -> int:
        return hash(self.id)

    def model_copy(self, **options: Any) -> "Stage":
        """A changed copy; its id is its own."""
        copy = super().model_copy(**options)
        copy.__dict__.pop("id", None)
        return copy

    @property
    def lineage(self) -> tuple["Stage", ...]:
        """The stages that this one rests on, the root first, itself last."""
        return (*(self.parent.lineage if self.parent else ()), self)

    @property
    def effective_seed(self) -> int | None:
        """Its own seed, or that of the nearest ancestor that has one."""
        return next((stage.seed for stage in reversed(self.lineage) if stage.seed is not None), None)

    def json(self) -> str:  # type: ignore[override]
        """Canonical JSON of the whole lineage, which `Stage.model_validate_json` reads back."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))
