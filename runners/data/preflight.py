"""A look at every file that a plan names, before anything trains: there, readable, its columns and labels known, whole.

findings = look(plan, inputs)        # all of them, with their places in the manifest
"""

from collections.abc import Iterator

from xlift.registry.findings import Finding
from xlift.registry.inputs import Inputs
from xlift.registry.kinds import KINDS
from xlift.registry.plan import Plan
from xlift.registry.stage import Data
from xlift.runners.data import FILES, DataError, read
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.example import Unfit

MADE = (2, 4)  # special tokens around one text and around two, of a tokenizer that is made here
Wanted = tuple[str, str, str]  # task, split, language


def look(plan: Plan, inputs: Inputs) -> list[Finding]:
    """Findings about lengths, and (E5xx) about files that a user brought, one a file; none of them without a data folder."""
    short = _short(plan)
    if not plan.study.manifest.data.brought or inputs.data is None:
        return short
    return short + [
        finding for (_, split, language), data in wanted(plan).items() for finding in _file(plan, inputs, data, split, language)
    ]


def lengths(plan: Plan, model: str) -> list[tuple[str, str, int, str]]:
    """Task, its kind, max_length and prefix of every text that a model is to read, in training, in scoring and in trials."""
    asked: dict[tuple[str, str, int, str], None] = {}
    for step in (*plan.steps, *(plan.builder.tried if plan.builder else ())):
        stage = step.stage
        if step.model == model and stage.scoring:
            asked[stage.data.task, stage.data.kind, stage.scoring.max_length, stage.scoring.prefix] = None
        elif step.model == model and stage.recipe:
            asked |= {(part.task, part.kind, stage.recipe.max_length, ""): None for part in stage.data.parts}
    return list(asked)


def _short(plan: Plan) -> list[Finding]:
    """Lengths that leave models made here no room for text (E231); those of others are looked at with their tokenizers."""
    found: dict[Finding, None] = {}
    for model in [model.id for model in plan.study.facts.models.values() if model.section.make]:
        for task, kind, length, _ in lengths(plan, model):
            least = MADE[KINDS[kind].texts - 1] + KINDS[kind].texts
            if length < least:
                message = f"{task}: max_length {length} leaves no room for text beside the special tokens"
                found[Finding("E231", plan.study.place_of_task(task), message, f"at least {least} is needed")] = None
    return list(found)


def wanted(plan: Plan) -> dict[Wanted, Data]:
    """Every part of a file that a cell of the plan rests on, whether or not it is there; not of cells declared as blocked."""
    facts, found = plan.study.facts, dict[Wanted, Data]()
    targets = dict.fromkeys(cell.target for cell in plan.cells if not cell.declared)
    for step in (*plan.steps, *(plan.builder.tried if plan.builder else ())):
        for part in step.stage.data.parts if step.stage.kind != "evaluate" else ():
            for language in part.languages or (facts.source_language,) if part.split is None else ():
                found[part.task, "train", language] = part  # of which trials keep a part
        data = step.stage.data
        if step.stage.kind == "evaluate" and data.split:
            found[data.task, data.split, facts.source_language] = data
        elif step.stage.kind == "evaluate" and data.task in targets:
            if data.dev:
                found[data.dev.task, "dev", facts.source_language] = data.dev
            for language in plan.languages(data.task):
                found[data.task, "test", language] = data
    return {each: data for each, data in found.items() if not facts.tasks[data.task].licensed}


def _file(plan: Plan, inputs: Inputs, data: Data, split: str, language: str) -> Iterator[Finding]:
    """What is wrong with one file, or a part of it, at the place of its task in the manifest."""
    place, what = plan.study.place_of_task(data.task), f"{data.task}, {split} in {language}"
    try:
        _, examples = read(inputs, data, split, language)
    except DataError as error:
        yield Finding("E501", place, f"{what}: {error.message}", error.hint)
        return
    except OSError as error:
        yield Finding("E501", place, f"{what}: {error}")
        return
    try:
        kind_of(data.kind).example.check(examples, scored=split != "train")
    except Unfit as error:
        if error.at is not None:  # whatever is drawn of a file, its items are counted as they stand in it
            _, whole = read(inputs, data.model_copy(update={"limit": None, "split": None}), FILES.get(split, split), language)
            what += f", item {whole.index(examples[error.at]) + 1}"
        usual = "give a file of dev data" if split == "held-out" else "give a file with real labels, or leave the language out"
        yield Finding("E502", place, f"{what}: {error.message}", error.hint or usual)
