"""One row of a file, columns by name, as the example of a kind; what is wrong with it is said with its place."""

from xlift.registry.files import DataError
from xlift.registry.findings import similar
from xlift.registry.kinds import KINDS
from xlift.registry.stage import Data
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.columns import Fault
from xlift.runners.kinds.example import Example, Row


def example(row: Row, data: Data, place: str) -> Example:
    """The example that `row` holds; `place` is file:line."""
    if unknown := sorted(set(data.fields) - {*KINDS[data.kind].roles, "id"}):
        raise DataError(
            f"{place}: task '{data.task}' has a field '{unknown[0]}', which {data.kind} does not read",
            similar(unknown[0], KINDS[data.kind].roles),
        )
    try:
        return kind_of(data.kind).example.read(row, data, place)
    except Fault as error:
        raise DataError(f"{place}: {error.message}", error.hint) from error
