"""Every table of a planted study, in every form, as it was. XLIFT_SNAPSHOTS=write makes them anew: look at the difference."""

import os
import re
from pathlib import Path

import pytest

from xlift.analysis import facts
from xlift.analysis.report import page
from xlift.analysis.report.table import Table

from .planted import plant, scattered, sized

SNAPSHOTS = Path(__file__).parents[1] / "reference" / "snapshots"
FORMS = {"md": "to_markdown", "tex": "to_latex", "txt": "to_text", "csv": "to_csv"}


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
CLOSE = {"rel": 1e-6, "abs": 1e-9}  # an optimiser's last digits differ between processors


def told(text: str) -> tuple[str, list[float]]:
    """A text without its numbers, and these."""
    return NUMBER.sub("#", text), [float(number) for number in NUMBER.findall(text)]


@pytest.fixture(scope="module")
def made() -> dict[str, Table]:
    """The tables of a study that lost a run."""
    card, shelf = plant(scattered, models=sized(5))
    lost = next(cell.stage for cell in card.cells if cell.intermediate == "squad1" and cell.target == "panx")
    shelf.lose(lost, "failed", "ValueError: loss is nan")
    return page.report(card, facts.connect(shelf, [card])).tables


@pytest.mark.parametrize("form", FORMS)
def test_tables_are_as_they_were(made, form):
    text = "\n".join(f"=== {name}\n{getattr(table, FORMS[form])()}" for name, table in sorted(made.items()))
    file = SNAPSHOTS / f"tables.{form}"
    if os.environ.get("XLIFT_SNAPSHOTS") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (words, numbers), (known, before) = told(text), told(file.read_text(encoding="utf-8"))
    again = f"{file} differs; with XLIFT_SNAPSHOTS=write it is made anew"
    assert words == known, again
    assert numbers == pytest.approx(before, **CLOSE), again
