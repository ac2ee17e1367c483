"""A table of scores that were computed elsewhere becomes runs: models as it names them, trainings as it tells of them.

A row is a score. Its runs have the shape of our own, so that gains pair, and models of gains see which scores share a
training: model > intermediate > target > evaluation.
"""

from xlift.registry.table.file import Table, read_csv, write_csv
from xlift.registry.table.runs import TableStudy, told
from xlift.registry.table.understand import NEEDED, number, understand

__all__ = ["NEEDED", "Table", "TableStudy", "number", "read_csv", "told", "understand", "write_csv"]
