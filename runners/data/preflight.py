"""A look at every file that a plan names, before anything trains: there, readable, its columns and labels known, whole.

findings = look(plan, sources)        # all of them, with their places in the manifest
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from xlift.registry.findings import Finding
from xlift.registry.plan import Plan
from xlift.registry.sources import Sources
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.data.examples import Choice, Example, Pair, Question, Tagged
from xlift.runners.data.local import DataError

Wanted = tuple[str, str, str]  # task, split, language


def look(plan: Plan, sources: Sources) -> list[Finding]:
    """Findings (E5xx) about the files of `source: local`, one a file; none where no data folder is given, or in the lab."""
    if plan.study.manifest.data.source != "local" or sources.data is None:
        return []
    return [
        finding for (_, split, language), data in _wanted(plan).items() for finding in _file(plan, sources, data, split, language)
    ]


def _wanted(plan: Plan) -> dict[Wanted, Data]:
    """Every file that a cell of the plan rests on, whether or not it is there; not those of cells declared as blocked."""
    facts, found = plan.study.facts, {}
    targets = dict.fromkeys(cell.target for cell in plan.cells if not cell.declared)
    for step in plan.steps:
        for part in step.stage.data.parts if step.stage.kind != "evaluate" else ():
            if not facts.tasks[part.task].licensed:
                for language in part.languages or (facts.source_language,):
                    found[part.task, "train", language] = part
    for search in plan.builder.searches if plan.builder else ():
        for judge in (judge for _, judges in plan.builder.trials(search) for judge in judges):
            if judge.stage.data.split == "dev":
                found[judge.stage.data.task, "dev", facts.source_language] = judge.stage.data
    for step in plan.steps:
        if step.stage.kind == "evaluate" and step.stage.data.task in targets and not facts.tasks[step.stage.data.task].licensed:
            for language in plan.languages(step.stage.data.task):
                found[step.stage.data.task, "test", language] = step.stage.data
    return found


def _file(plan: Plan, sources: Sources, data: Data, split: str, language: str) -> Iterator[Finding]:
    """What is wrong with one file, at the place of its task in the manifest."""
    assert sources.data is not None
    place = plan.study.place_of_task(data.task)
    try:
        _, examples = local.read(sources.data, data, split, language, sources.pattern(data.task))
    except (DataError, OSError) as error:
        message, _, hint = str(error).rpartition("; ")
        yield Finding("E501", place, f"{data.task}, {split} in {language}: {message or hint}", hint if message else None)
        return
    if split != "train" and (fault := _unscorable(examples)):
        what = f"{data.task}, {split} in {language}: {fault}"
        yield Finding("E502", place, what, "give a file with real labels, or leave the language out")


def _unscorable(examples: Sequence[Example]) -> str | None:
    """Why no score can be taken from test items."""
    if len(examples) < 2:
        return f"{len(examples)} item, and a standard error needs two"
    gold: Counter[object] = Counter()
    for example in examples:
        match example:
            case Pair():
                gold[example.label] += 1
            case Choice():
                gold[example.label] += 1
            case Tagged():
                gold.update(example.tags)
            case Question():
                gold[bool(example.answers)] += 1
            case _:
                return None
    if isinstance(examples[0], Question):
        return None if gold[True] else "no question has an answer"
    return None if len(gold) > 1 else f"the same label everywhere ({next(iter(gold))!r})"
