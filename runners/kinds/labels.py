"""Class labels as indices."""

from xlift.registry.findings import UserError
from xlift.registry.stage import Data


def indices(data: Data) -> dict[str, int]:
    """Each label and its index; UserError where the task names none."""
    if not data.labels:
        raise UserError(f"task '{data.task}' names no labels", "list them under `labels`, in the order of the classes")
    return {label: index for index, label in enumerate(data.labels)}


def index(label: str, known: dict[str, int], data: Data, example: int) -> int:
    """The index of one label; UserError names the example."""
    if label not in known:
        raise UserError(
            f"task '{data.task}', example {example}: label {label!r} is none of its labels", f"known: {', '.join(known)}"
        )
    return known[label]
