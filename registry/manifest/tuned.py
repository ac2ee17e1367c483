"""Findings about `tuning`: what is searched, within what budget, and judged by what."""

import math
from collections.abc import Mapping
from typing import get_args

from pydantic import ValidationError

from xlift.registry.card import Scalar
from xlift.registry.findings import similar
from xlift.registry.kinds import READ_BY
from xlift.registry.known.tasks import Task
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.sections import Range, Tuning
from xlift.registry.stage import Recipe

SPLITS = ("dev", "held-out")


def check_tuning(at: Complaints, tasks: Mapping[str, Task], source_language: str) -> None:
    """A budget, a space that the recipe can hold, something to tune, and an objective that reads no test data."""
    tuning = at.manifest.tuning
    if tuning is None:
        return
    _budget(at, tuning)
    for field, axis in tuning.space.items():
        _axis(at, tuning, field, axis)
    if {"steps", "epochs"} <= tuning.space.keys():
        at.complain(
            "E312", ("tuning", "space", "steps"), "steps and epochs are both searched", "keep one: they replace each other"
        )
    _trained(at, tuning, tasks)
    _objective(at, tuning, source_language)


def _budget(at: Complaints, tuning: Tuning) -> None:
    grid = math.prod(len(axis) for axis in tuning.space.values() if isinstance(axis, tuple))
    if tuning.trials is None and tuning.hours is None and tuning.sampler != "grid":
        at.complain("E310", ("tuning",), "the search has no budget", "add 'trials: 16', or 'hours: …'")
    elif tuning.trials is None and tuning.across == "halving":
        at.complain("E310", ("tuning", "across"), "halving halves a number of trials", "add 'trials: 16'")
    if tuning.sampler == "grid" and tuning.trials and tuning.trials < grid:
        at.complain("W313", ("tuning", "trials"), f"the grid has {grid} points", f"write trials: {grid}, or less is searched")
    if "model" not in tuning.per:
        at.complain("E314", ("tuning", "per"), "one search for all models would compare scales at the values of one", "add model")


def _axis(at: Complaints, tuning: Tuning, field: str, axis: Range | tuple[Scalar, ...]) -> None:
    """One field of the recipe and its values."""
    path = ("tuning", "space", field)
    if field not in Recipe.model_fields:
        at.complain("E311", path, f"a recipe has no '{field}'", similar(field, Recipe.model_fields))
        return
    if isinstance(axis, Range):
        given = [(kind, limits) for kind in ("log", "uniform") if (limits := getattr(axis, kind))]
        if len(given) != 1:
            at.complain("E312", path, f"{field} has {len(given)} ranges", "give one of log: [low, high] and uniform: [low, high]")
            return
        kind, (low, high) = given[0]
        if low >= high:
            at.complain("E312", (*path, kind), f"{low:g} is not below {high:g}", "write [low, high]")
        elif kind == "log" and low <= 0:
            at.complain("E312", (*path, kind), f"{low:g} has no logarithm", "write numbers above 0, or uniform")
        if tuning.sampler == "grid":
            at.complain("E312", (*path, kind), "a grid has points, and this is a range", f"write {field}: [{low:g}, …, {high:g}]")
        values: tuple[Scalar, ...] = tuple(map(whole if is_whole(field) else float, (low, high)))
        places: list[tuple[str | int, ...]] = [(*path, kind, index) for index in range(2)]
    else:
        values, places = axis, [(*path, index) for index in range(len(axis))]
        if not axis:
            at.complain("E312", path, f"{field} has no values", "list some, such as [1, 2, 3]")
        if len(set(axis)) < len(axis):
            at.complain("E312", path, f"a value of {field} stands twice", "keep one")
    for value, place in zip(values, places, strict=True):
        try:
            Recipe.model_validate({field: value})
        except ValidationError as error:
            at.complain("E312", place, f"{field} cannot be {value}: {error.errors()[0]['msg'].lower()}", "see `xlift schema`")


def is_whole(field: str) -> bool:
    """Whether a field of the recipe holds whole numbers."""
    kinds = {
        part
        for kind in (get_args(Recipe.model_fields[field].annotation) or (Recipe.model_fields[field].annotation,))
        for part in (get_args(kind) or (kind,))
    }
    return int in kinds and float not in kinds


def whole(value: float) -> int | float:
    """A whole number as such; another one stays, and is found to be none."""
    return int(value) if value == int(value) else value


def _trained(at: Complaints, tuning: Tuning, tasks: Mapping[str, Task]) -> None:
    """There is something to tune, and what is searched makes a difference to it."""
    matrix, kinds = at.manifest.matrix, set()
    if "intermediate" in tuning.roles:
        treated = [tasks[name] for name in matrix.intermediate if name in tasks]
        if not treated:
            at.complain(
                "E314",
                ("tuning",),
                "there is no intermediate training to tune",
                "write roles: [target], or add one to the matrix",
            )
        kinds |= {
            tasks[part].kind
            for task in treated
            for part in (task.includes if task.kind == "mixture" else (task.name,))
            if part in tasks
        }
    if "target" in tuning.roles:
        targets = [tasks[name] for name in matrix.target if name in tasks and tasks[name].trains_on]
        if not targets:
            at.complain("E314", ("tuning", "roles"), "no target is trained", "write roles: [intermediate]")
        kinds |= {task.kind for task in targets}
    for field in sorted(tuning.space.keys() & READ_BY.keys()):
        if not kinds & set(READ_BY[field]) and not (field == "mask" and "mlm" in matrix.variant):
            at.complain(
                "E306",
                ("tuning", "space", field),
                f"nothing that is tuned reads {field}",
                f"remove it; it is read by {', '.join(READ_BY[field])}",
            )
    replicates = range(matrix.seed.start, matrix.seed.start + matrix.seed.count)
    if tuning.seed in replicates:
        at.complain(
            "W316",
            ("tuning", "seed") if "seed" in tuning.model_fields_set else ("tuning",),
            f"seed {tuning.seed} is a replicate's: a run that was picked for its luck would be counted",
            f"write seed: {replicates.stop}, or count replicates from another one",
        )


def _objective(at: Complaints, tuning: Tuning, source_language: str) -> None:
    objective = tuning.objective
    if objective.split == "test":
        at.complain(
            "E315",
            ("tuning", "objective", "split"),
            "the objective leaks: values chosen on test data make the scores on them too high",
            "write split: dev, or held-out",
        )
    elif objective.split not in (None, *SPLITS):
        at.complain("E315", ("tuning", "objective", "split"), f"no split '{objective.split}'", similar(objective.split, SPLITS))
    if objective.language not in (None, source_language):
        at.complain(
            "E315",
            ("tuning", "objective", "language"),
            f"the objective leaks: a transfer that is tuned in {objective.language} is not zero-shot",
            f"write language: {source_language}, or leave it out",
        )
