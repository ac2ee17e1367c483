"""What MLflow shows of a study: one view for each run there, from the plan alone. MLflow itself is not needed here."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from xlift.registry.card import Cell
from xlift.registry.findings import relative
from xlift.registry.pairing import is_baseline, pair, untreated
from xlift.registry.plan import Plan, Step
from xlift.registry.spec import Spec

NOTE = 5000  # characters of a text that every MLflow server takes
ENOUGH = 36  # hexadecimal digits of a data set's digest that MLflow has room for


@dataclass(frozen=True)
class RunView:
    """A run as MLflow shall show it.

    `kind` is study, parent (model x intermediate x variant), cell (target x seed), train or pretrain. `steps` are its
    own stages; those of a parent are its children's, and those of the study are all.
    """

    key: str
    kind: str
    name: str
    note: str
    parent: str | None = None
    axes: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    cell: Cell | None = None
    baseline: Step | None = None  # the evaluation that its gain is over
    own: bool = False  # of a tuned study: with the study's own recipe, beside the others

    @property
    def leaf(self) -> bool:
        return self.kind not in ("study", "parent")

    @property
    def training(self) -> Step | None:
        """The stage whose loss curve it shows."""
        return next((step for step in self.steps if step.stage.kind != "evaluate"), None) if self.leaf else None

    @property
    def stages(self) -> str:
        return " ".join(step.stage.id for step in self.steps) if self.leaf else ""

    def inputs(self) -> list[tuple[str, str, str, str]]:
        """The data sets of a leaf: name, digest, source, and context (train or test)."""
        rows: list[tuple[str, str, str, str]] = []
        for step in self.steps if self.leaf else ():
            data = step.stage.data
            rows += [(f"{part.task}/train", part.digest[:ENOUGH], part.source, "train") for part in data.parts if part.digest]
            rows += [
                (f"{data.task}/test/{language}", mark[:ENOUGH], data.source, "test") for language, mark in step.tests.items()
            ]
        return rows


def views(plan: Plan) -> tuple[RunView, ...]:
    """The study, then each parent followed by its children."""
    steps = {step.stage.id: step for step in plan.steps}
    found = [RunView("study", "study", "study", plan.study.manifest.question, steps=plan.steps)]
    found += _families(plan, plan.cells, plan.cells, steps)
    shown = {cell.stage for cell in plan.cells}
    beside = [cell for cell in plan.untuned if cell.stage not in shown]
    return (*found, *(_as_own(view) for view in _families(plan, beside, plan.untuned, steps)))


def _as_own(view: RunView) -> RunView:
    """A view of a tuned study's run with the study's own recipe: beside that with what tuning found, under a name of its own."""
    more = {"recipe": "own"}
    return replace(
        view,
        key=f"own:{view.key}",
        name=f"{view.name} / own recipe",
        parent=f"own:{view.parent}" if view.parent else None,
        axes=view.axes | more,
        params=view.params | more,
        own=True,
    )


def _families(plan: Plan, cells: Iterable[Cell], paired: Iterable[Cell], steps: dict[str, Step]) -> list[RunView]:
    """Parents, each followed by its children; baselines are among the cells `paired`."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.stage:
            groups.setdefault((cell.model, cell.intermediate, cell.variant), []).append(cell)
    baselines, found = _baselines(plan, paired, steps), []
    homes: dict[str, tuple[str, str, str]] = {}  # model -> the parent that its pretraining stands under
    for group in groups:
        if untreated(*group[1:]) or group[0] not in homes:
            homes[group[0]] = group
    for group, cells in groups.items():
        found += _family(group, cells, steps, homes[group[0]] == group, baselines)
    return found


def _baselines(plan: Plan, cells: Iterable[Cell], steps: dict[str, Step]) -> dict[str, Step]:
    """The evaluation that each treated cell is compared with, by the study's rule; by the treated cell's key."""
    rule = plan.study.manifest.analysis.gain
    base, treated = {}, []
    for cell in [cell for cell in cells if cell.stage]:
        common = pair(cell, "", rule)  # an evaluation is of all its languages
        if is_baseline(cell, rule):
            base[common] = steps[cell.stage]
        else:
            treated.append((_key(cell), common))
    return {key: base[common] for key, common in treated if common in base}


def _key(cell: Cell) -> str:
    return f"child:{cell.model}:{cell.intermediate}:{cell.variant}:{cell.target}:{cell.seed}"


def _family(
    group: tuple[str, str, str], cells: list[Cell], steps: dict[str, Step], home: bool, baselines: dict[str, Step]
) -> list[RunView]:
    """A parent and its children: the pretraining if this is its `home`, the intermediate trainings, the cells."""
    model, intermediate, variant = group
    key = f"parent:{model}:{intermediate}:{variant}"
    children = [child for cell in cells for child in _trainings(cell, key, steps, home)]
    children += [_cell(cell, key, steps, baselines.get(_key(cell))) for cell in cells]
    children = list({child.key: child for child in children}.values())
    first = cells[0]
    sizes = {"params_total": str(first.params_total), "params_non_embedding": str(first.params_non_embedding)}
    axes = {"model": model, "family": first.family, "intermediate": intermediate, "variant": variant}
    below = {step.stage.id: step for child in children for step in child.steps}
    note = (
        f"**{model}** ({first.family}, {first.params_total:,} parameters, {first.params_non_embedding:,} outside embeddings), "
        f"{_after(first)}. `score/<target>` and `gain/<target>` are means over seeds and all languages but the source language."
    )
    parent = RunView(key, "parent", _named(first), note, None, axes, axes | sizes, tuple(below.values()))
    return [parent, *children]


def _cell(cell: Cell, parent: str, steps: dict[str, Step], baseline: Step | None) -> RunView:
    evaluation = steps[cell.stage]
    own = [evaluation] if cell.retrieval else [steps[evaluation.stage.parent.id], evaluation]
    same = str(cell.same_task).lower()
    axes = {**_axes(cell), "target": cell.target, "seed": str(cell.seed), "same_task": same}
    params = axes | {"params_total": str(cell.params_total), "params_non_embedding": str(cell.params_non_embedding)}
    for step in own:
        params |= _fields("recipe", step.stage.recipe) | _fields("scoring", step.stage.scoring)
    stages = ", ".join(f"{step.stage.kind} `{step.stage.id}`" for step in own)
    note = (
        f"**{cell.target}** in {len(evaluation.tests)} languages by {cell.model}, {_after(cell)}, seed {cell.seed}. "
        f"Stages: {stages}." + (" The intermediate task's training data overlap the target's." if cell.same_task else "")
    )
    name = f"{_named(cell)} > {cell.target} / seed {cell.seed}"
    return RunView(_key(cell), "cell", name, note, parent, axes, params, tuple(own), cell, baseline)


def _trainings(cell: Cell, parent: str, steps: dict[str, Step], home: bool) -> Iterator[RunView]:
    """The pretraining and the intermediate training that a cell rests on."""
    lineage = [steps[stage.id] for stage in steps[cell.stage].stage.lineage]
    if home and lineage[0].stage.kind == "pretrain":
        yield _training(f"pretrain:{cell.model}", "pretrain", f"{cell.model} / pretrain", lineage[0], cell, parent)
    if not untreated(cell.intermediate, cell.variant):
        step = next(step for step in lineage if step.stage.kind == "train")
        name = f"{cell.model} / train {step.stage.data.task} / seed {cell.seed}"
        yield _training(f"train:{parent.removeprefix('parent:')}:{cell.seed}", "train", name, step, cell, parent)


def _training(key: str, kind: str, name: str, step: Step, cell: Cell, parent: str) -> RunView:
    stage = step.stage
    axes = {"model": cell.model, "family": cell.family, "task": stage.data.task, "seed": str(stage.effective_seed)}
    if kind == "train":
        axes |= {"intermediate": cell.intermediate, "variant": cell.variant}
    sizes = {"params_total": str(cell.params_total), "params_non_embedding": str(cell.params_non_embedding)}
    note = f"{kind} of {cell.model} on **{stage.data.task}**, stage `{stage.id}`."
    return RunView(key, kind, name, note, parent, axes, axes | sizes | _fields("recipe", stage.recipe), (step,))


def _axes(cell: Cell) -> dict[str, str]:
    return {"model": cell.model, "family": cell.family, "intermediate": cell.intermediate, "variant": cell.variant}


def _named(cell: Cell) -> str:
    return f"{cell.model} / {cell.intermediate}" + (f" / {cell.variant}" if cell.variant != "plain" else "")


def _after(cell: Cell) -> str:
    trained = (
        "without intermediate training" if cell.intermediate == "none" else f"after intermediate training on {cell.intermediate}"
    )
    return trained + (f" ({cell.variant})" if cell.variant != "plain" else "")


def _fields(prefix: str, value: Spec | None) -> dict[str, str]:
    """The fields of a recipe or a scoring, those that are None or empty left out."""
    fields = json.loads(value.model_dump_json(exclude_none=True)) if value else {}
    return {f"{prefix}.{name}": str(content) for name, content in fields.items() if content != ""}


def documents(plan: Plan) -> dict[str, str]:
    """By file name: the manifest as it was written, and the study's card."""
    text = plan.study.path.read_text(encoding="utf-8-sig")
    return {"manifest.yaml": text, "card.json": plan.card().model_dump_json(indent=1)}


def front(plan: Plan, manifest_text: str) -> str:
    """The experiment's page, in Markdown: the question, the design, the manifest (its beginning, if it is long)."""
    manifest, facts = plan.study.manifest, plan.study.facts
    axes = manifest.matrix
    lines = [
        f"**{manifest.question}**",
        "",
        f"- models: {', '.join(f'{m.id} ({m.parameters.total:,} parameters)' for m in facts.models.values())}",
        f"- intermediate: {', '.join(axes.intermediate)}; variant: {', '.join(axes.variant)}; seeds: {axes.seed.count}",
        f"- targets: {', '.join(axes.target)}; all training in {facts.source_language}",
        f"- {len(plan.cells)} cells, {len(plan.steps)} stages; data: {manifest.data.source}",
        "",
        f"`{relative(plan.study.path)}`",
        "```yaml",
    ]
    head, text = "\n".join(lines) + "\n", manifest_text.rstrip()
    room = max(0, NOTE - len(head) - 100)
    text = text if len(text) <= room else text[:room] + "\n# … the whole manifest is an artifact of the run `study`"
    return f"{head}{text}\n```\n"[:NOTE]
