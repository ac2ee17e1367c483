"""A plan as the store keeps it, for whoever joins in: to read one takes a tenth of what it takes to make one anew.

Recipes, data and weights stand in it once. It is derived from the manifest and what lay beside it, and never the truth.
"""

from pathlib import Path
from typing import Any, Literal

from xlift.registry import kept
from xlift.registry.builder import Step
from xlift.registry.findings import UserError
from xlift.registry.kept import Kept
from xlift.registry.plan import Plan
from xlift.registry.spec import Spec, canonical, digest
from xlift.registry.stage import Data, Recipe, Scoring, Stage, Weights
from xlift.registry.store import Store
from xlift.registry.study import Study


class Line(Spec):
    """A stage: what it is made of by its place in the sheet's lists."""

    id: str
    kind: Literal["pretrain", "train", "evaluate"]
    model: str
    weights: int
    data: int
    recipe: int | None = None
    scoring: int | None = None
    tests: int
    seed: int | None = None
    parent: str | None = None


class Sheet(Kept):
    """The stages of a study that can run, parents first, under the digest of the manifest that they follow from."""

    study: str
    manifest: str
    weights: tuple[Weights, ...]
    data: tuple[Data, ...]
    recipes: tuple[Recipe, ...]
    scorings: tuple[Scoring, ...]
    tests: tuple[dict[str, str], ...]
    lines: tuple[Line, ...]

    def steps(self) -> tuple[Step, ...]:
        """The steps as they were planned; `checked` looks at one before it runs."""
        stages, found = dict[str, Stage](), []
        for line in self.lines:
            stage = Stage.model_construct(
                kind=line.kind,
                weights=self.weights[line.weights],
                data=self.data[line.data],
                recipe=None if line.recipe is None else self.recipes[line.recipe],
                scoring=None if line.scoring is None else self.scorings[line.scoring],
                seed=line.seed,
                parent=stages[line.parent] if line.parent else None,
            )
            stage.__dict__["id"] = line.id
            stages[line.id] = stage
            found.append(Step(stage, line.model, self.tests[line.tests]))
        return tuple(found)


def of(plan: Plan) -> Sheet:
    """The sheet of a plan."""
    weights, data, recipes, scorings, tests = _Places(), _Places(), _Places(), _Places(), _Places()
    lines = tuple(
        Line(
            id=step.stage.id,
            kind=step.stage.kind,
            model=step.model,
            weights=weights.place(step.stage.weights),
            data=data.place(step.stage.data),
            recipe=recipes.place(step.stage.recipe) if step.stage.recipe else None,
            scoring=scorings.place(step.stage.scoring) if step.stage.scoring else None,
            tests=tests.place(step.tests),
            seed=step.stage.seed,
            parent=step.stage.parent.id if step.stage.parent else None,
        )
        for step in plan.steps
        if not step.blocked
    )
    return Sheet(
        study=plan.study.id,
        manifest=manifest_of(plan.study),
        weights=tuple(weights.values),
        data=tuple(data.values),
        recipes=tuple(recipes.values),
        scorings=tuple(scorings.values),
        tests=tuple(tests.values),
        lines=lines,
    )


def save(plan: Plan, store: Store) -> None:
    """Keep the sheet of a plan in the store. Raises `UserError` where that cannot be written."""
    try:
        kept.write(_path(store, plan.study.id), of(plan))
    except OSError as error:
        raise UserError(f"the store {store.root} cannot be written: {error.strerror or error}") from None


def read(study: Study, store: Store) -> tuple[Step, ...] | None:
    """The steps of a stored plan; None where there is none, or one of another manifest, or another version's, or damaged."""
    try:
        sheet = kept.read(Sheet, _path(store, study.id))
    except kept.NotUnderstood:
        return None
    if sheet is None or sheet.manifest != manifest_of(study) or {line.model for line in sheet.lines} - set(study.facts.models):
        return None
    try:
        return sheet.steps()
    except (KeyError, IndexError):  # lists that are too short, a parent that is not there
        return None


def checked(step: Step) -> Step:
    """The step, where its stages have the content that their ids name; UserError where a sheet is damaged."""
    for stage in step.stage.lineage:
        if Stage.model_copy(stage).id != stage.id:
            raise UserError(f"the stored plan names stage {stage.id} by another content; run the study again where it was begun")
    return step


def manifest_of(study: Study) -> str:
    """What a study's stages follow from, its data and weights apart."""
    lock = study.lock.model_dump(mode="json") if study.lock else None
    return digest([sorted(study.sources.values()), lock])


class _Places:
    """Values in the order in which they were first asked for; all of them live as long as the plan does."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._known: dict[int | str, int] = {}

    def place(self, value: Any) -> int:
        if id(value) not in self._known:
            content = canonical(value.model_dump(mode="json") if isinstance(value, Spec) else value)
            if content not in self._known:
                self._known[content] = len(self.values)
                self.values.append(value)
            self._known[id(value)] = self._known[content]
        return self._known[id(value)]


def _path(store: Store, study: str) -> Path:
    return store.root / "plans" / f"{study}.json"
