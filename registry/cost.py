"""What the stages of a plan that are not finished will take, by model: before it starts, and roughly. So too where data are
not here yet, or a search has to find a recipe first.

Tokens are a quarter of the bytes of the files, at most `max_length` an item; of a task whose files are not here, half of
`max_length`. A training takes 6 x parameters x tokens operations, with thin matrices 4 (no gradients of the frozen weights), an
evaluation 2 (Kaplan et al. 2020, section 2.1); parameters are those outside the embeddings.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache

from xlift.registry.inputs import Inputs
from xlift.registry.known.hub import HUB
from xlift.registry.known.memory import training_gb
from xlift.registry.known.tasks import TASKS
from xlift.registry.plan import Plan, Step
from xlift.registry.stage import Data, Recipe, Stage
from xlift.registry.standing import Standing

FLOPS = 4e14  # operations a second that a GPU reaches
TESTED = 1000  # items of a test of which nothing is known
TRAINED = 10_000  # and of a training set
WEIGHT = 4  # bytes of a weight in a checkpoint


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one model: stages that are to run, what they read, and what they take."""

    model: str
    stages: int
    examples: int
    tokens: int
    gpu_hours: float
    tuning_gpu_hours: float  # of searches that have found nothing yet, all their trials
    memory_gb: float  # of the largest training, without activations
    disk_gb: float  # of all checkpoints
    released_gb: float  # with --release, for one worker: two of them
    flops: float  # operations a second at which hours are told


def costs(
    plan: Plan, stands: Standing, inputs: Inputs, flops: float = FLOPS, reached: Mapping[str, float] | None = None
) -> list[Cost]:
    """The models of a plan that have something left to run, in the order of the manifest.

    `flops` are operations a second of a GPU, of models of which it is not known what they `reached`.
    """
    estimate = _Estimate(plan, inputs, flops, reached or {})
    steps: dict[str, list[Step]] = {name: [] for name in plan.study.facts.models}
    for step in plan.steps:
        if stands.states[step.stage.id] != "finished" and step.stage.id not in stands.foreign:
            steps[step.model].append(step)
    searches = dict(estimate.searches())
    return [estimate.of(model, own, searches.get(model, 0.0)) for model, own in steps.items() if own or model in searches]


def hours(plan: Plan, steps: Iterable[Step], inputs: Inputs, flops: float = FLOPS) -> dict[str, float]:
    """GPU hours of each step, by its stage."""
    estimate = _Estimate(plan, inputs, flops, {})
    return {step.stage.id: estimate.step(step) for step in steps}


def total(found: list[Cost]) -> Cost:
    """All models together; memory is that of the largest."""
    rows = [asdict(cost) for cost in found]
    summed = {name: sum(row[name] for row in rows) for name in rows[0] if name != "model"}
    most = {name: max(row[name] for row in rows) for name in ("memory_gb", "released_gb", "flops")}
    return Cost(model="all", **summed | most)


def operations(recipe: Recipe | None) -> int:
    """Of a training, or of an evaluation, for a parameter and a token."""
    return 2 if recipe is None else 4 if recipe.lora else 6


class _Estimate:
    def __init__(self, plan: Plan, inputs: Inputs, flops: float, reached: Mapping[str, float]):
        self.plan, self.inputs = plan, inputs
        self.flops = {model: reached.get(model, flops) for model in plan.study.facts.models}
        self.sized = cache(inputs.source.sized)

    def of(self, model: str, steps: list[Step], tuning: float) -> Cost:
        parameters = self.plan.study.facts.models[model].parameters
        read = [self._read(step) for step in steps]
        trained = [step.stage.recipe for step in steps if step.stage.recipe]
        weight = WEIGHT * parameters.total / 1e9
        return Cost(
            model=model,
            stages=len(steps),
            examples=sum(examples for examples, _ in read),
            tokens=sum(tokens for _, tokens in read),
            gpu_hours=sum(self._hours(step.stage, model, tokens) for step, (_, tokens) in zip(steps, read, strict=True)),
            tuning_gpu_hours=tuning,
            memory_gb=max([0.0, *(training_gb(parameters, _method(recipe)) for recipe in trained)]),
            disk_gb=weight * len(trained),
            released_gb=weight * min(2, len(trained)),
            flops=self.flops[model],
        )

    def searches(self) -> Iterator[tuple[str, float]]:
        """GPU hours of searches that have found nothing yet, by model."""
        builder, tuning = self.plan.builder, self.plan.study.manifest.tuning
        if builder is None or tuning is None:
            return
        known, found = self.plan.study.lock.by_search if self.plan.study.lock else {}, dict[str, float]()
        for search in builder.searches:
            if search not in known:
                steps = [step for training, judges in builder.trials(search) for step in (training, *judges)]
                hours = sum(self._hours(step.stage, search.model, self._read(step)[1]) for step in steps)
                found[search.model] = found.get(search.model, 0.0) + (tuning.trials or 1) * hours
        yield from found.items()

    def _hours(self, stage: Stage, model: str, tokens: int) -> float:
        each = operations(stage.recipe) * self.plan.study.facts.models[model].parameters.non_embedding
        return each * tokens / self.flops[model] / 3600

    def step(self, step: Step) -> float:
        """GPU hours of one."""
        return self._hours(step.stage, step.model, self._read(step)[1])

    def _read(self, step: Step) -> tuple[int, int]:
        """Examples and tokens that a stage reads."""
        stage = step.stage
        if stage.recipe is None:
            split = "train" if stage.data.split in ("kept", "held-out") else stage.data.split or "test"
            longest = stage.scoring.max_length if stage.scoring else 0
            languages = step.tests or self.plan.languages(stage.data.task)
            sizes = [self._size(stage.data, split, language, longest) for language in languages]
            return sum(items for items, _ in sizes), round(sum(items * each for items, each in sizes))
        recipe, source = stage.recipe, self.plan.study.facts.source_language
        sizes = [
            self._size(part, "train", language, recipe.max_length)
            for part in stage.data.parts
            for language in part.languages or (source,)
        ]
        items, tokens = sum(items for items, _ in sizes), sum(items * each for items, each in sizes)
        examples = recipe.batch * recipe.steps if recipe.steps else round((recipe.epochs or 1) * items)
        return examples, round(examples * tokens / max(items, 1))

    def _size(self, data: Data, split: str, language: str, longest: int) -> tuple[int, float]:
        """Items of one split in one language, and the tokens of one."""
        found = self.sized(data.task, split, language)
        items, tokens = found or (_known(data.task, split), longest / 2)
        return min(items, data.limit or items), min(tokens, longest)


def _known(task: str, split: str) -> int:
    """Items of a task whose files are not here."""
    parts = HUB[task].splits.get(split, ()) if task in HUB else ()
    rows = [part.rows for part in parts]
    if rows and all(rows):
        return sum(filter(None, rows))
    trained = TASKS[task].train_items if task in TASKS else None
    return (trained or TRAINED) if split == "train" else TESTED


def _method(recipe: Recipe) -> str:
    return "lora" if recipe.lora else recipe.precision


def as_json(found: list[Cost]) -> list[Mapping[str, object]]:
    return [asdict(cost) for cost in found]
