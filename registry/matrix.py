"""The points of a study's matrix, and which of them its manifest leaves out."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.sections import Exclude
from xlift.registry.study import Study


class Combination(NamedTuple):
    """One point of the matrix."""

    model: str
    intermediate: str
    variant: str
    target: str
    replicate: int  # counted from 0


def combinations(study: Study, inputs: Inputs) -> Iterator[Combination]:
    matrix, models = study.manifest.matrix, study.facts.models
    replicates = range(matrix.seed.count)
    yield from map(Combination._make, product(models, matrix.intermediate, matrix.variant, matrix.target, replicates))
    for condition, rule in study.facts.includes:
        points = product(
            rule.model or models,
            rule.intermediate or matrix.intermediate,
            rule.variant or matrix.variant,
            rule.target or matrix.target,
            replicates,
        )
        for cell in map(Combination._make, points):
            if condition is None or condition(_values(study, cell), inputs.available):
                yield cell


def _values(study: Study, cell: Combination) -> dict[str, object]:
    return {
        **{axis: getattr(cell, axis) for axis in ("intermediate", "variant", "target")},
        "seed": study.manifest.matrix.seed.start + cell.replicate,
        "seed.index": cell.replicate,
        **study.facts.models[cell.model].values,
    }


def left_out(study: Study, cell: Combination, inputs: Inputs) -> Exclude | None:
    """The rule of the manifest that leaves a cell out."""
    rules = (rule for condition, rule in study.facts.excludes if condition(_values(study, cell), inputs.available))
    return next(rules, None)
