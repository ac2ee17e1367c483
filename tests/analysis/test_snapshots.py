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


def to_nine_digits(text: str) -> str:
    """What an optimiser finds differs in its last digits from machine to machine, and at a bound of zero in earlier ones."""

    def shown(number: re.Match) -> str:
        value = float(number.group())
        return f"{value:.9g}" if abs(value) > 1e-9 else f"{value:.4g}"

    return re.sub(r"-?\d+\.\d{9,}(e-?\d+)?|-?\d+\.\d+e-\d\d", shown, text)


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
    text = to_nine_digits(text)
    if os.environ.get("XLIFT_SNAPSHOTS") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file} differs; with XLIFT_SNAPSHOTS=write it is made anew"
