"""A table, and how its numbers are shown: the only place where points (100 = all right) are born."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd
from tabulate import tabulate

from xlift.registry.findings import UserError

DASH = "–"  # where there is no number
LATEX = {
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "†": r"$^\dagger$",
    "°": r"$^\circ$",
    "‡": r"$^\ddagger$",
    "–": "--",
    "×": r"$\times$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
# Widths in letters of the body's size: of one column of a two-column page, and of both at each size of type
COLUMN, PAGE, LONG, SHORT = 44, 120, 36, 20
SIZES = {"\\normalsize": 88, "\\small": 98, "\\footnotesize": 112, "\\scriptsize": PAGE}
PARAGRAPHS = 0.42  # of the width: all columns together whose texts are broken


@dataclass(frozen=True, slots=True)
class Table:
    """`data` has plain numbers, for CSV; `shown` has the same facts as text, its first `labels` columns name the row."""

    name: str  # also the name of its files
    title: str
    data: pd.DataFrame
    shown: pd.DataFrame
    labels: int = 1
    note: str = ""
    view: str = "gains"  # of the rows that it is made of; "" where it is of none
    query: str = ""  # these rows, in SQL that `xlift sql` answers
    target: str = ""  # that it is of, where a study has such a table for each
    words: tuple[str, ...] = ()  # columns of sentences, which are set flush left and may be broken

    def of(self, study: str) -> "Table":
        """The same with the query of its rows."""
        quoted = self.target.replace("'", "''")
        target = f" AND target = '{quoted}'" if self.target else ""
        return replace(self, query=f"SELECT * FROM {self.view} WHERE study = '{study}'{target}" if self.view else "")

    def _align(self) -> list[str]:
        columns = enumerate(self.shown.columns)
        return ["left" if place < self.labels or column in self.words else "right" for place, column in columns]

    def to_markdown(self) -> str:
        align = self._align()
        cells = [[str(cell).replace("|", r"\|") for cell in row] for row in self.shown.itertuples(index=False, name=None)]
        grid = tabulate(cells, list(self.shown.columns), "pipe", colalign=align if cells else None, disable_numparse=True)
        origin = f"From `{self.query}`; the runs are in runs.csv." if self.query else ""
        return "\n\n".join(filter(None, [f"**{self.title}**", grid, self.note, origin])) + "\n"

    def to_text(self) -> str:
        """For a terminal."""
        align = self._align()
        cells = [[str(cell) for cell in row] for row in self.shown.itertuples(index=False, name=None)]
        grid = tabulate(cells, list(self.shown.columns), "simple", colalign=align if cells else None, disable_numparse=True)
        return "\n\n".join(filter(None, [self.title, grid, self.note]))

    def to_latex(self) -> str:
        """A floating table in booktabs' style, which fits one column of a two-column page, or both (`table*`).

        What fits neither loses its intervals, which the CSV has, and then its size; long texts are set in paragraphs. Needs
        `\\usepackage{booktabs}`, and a head of the file says so. "" where there are no rows.
        """
        if self.shown.empty:
            return ""
        shown, caption = self.shown.astype(str), ". ".join(filter(None, [self.title, self.note.rstrip(".")])) + "."
        if _width(shown) > PAGE:
            for place, side in enumerate(self._align()):
                if side == "right":  # numbers: names and sentences may hold a bracket too
                    shown.isetitem(place, [cell.partition(" [")[0] for cell in shown.iloc[:, place]])
            caption += " Intervals are in the CSV file." if not shown.equals(self.shown.astype(str)) else ""
        width = _width(shown)
        broken_from, share = (LONG, PARAGRAPHS) if width <= PAGE else (SHORT, 1.1 * PARAGRAPHS)
        long = [_longest(shown.iloc[:, place]) > broken_from for place in range(len(shown.columns))]
        paragraph = rf"p{{{share / max(sum(long), 1):.2g}\linewidth}}"
        form = "".join(paragraph if broken else side[0] for broken, side in zip(long, self._align(), strict=True))
        floats = "table" if width <= COLUMN else "table*"
        size = next((name for name, room in SIZES.items() if width <= (COLUMN if floats == "table" else room)), "\\scriptsize")
        numbered = shown.map(latex).set_axis(range(len(shown.columns)), axis=1)  # pandas makes Python's names of those of columns
        grid = numbered.to_latex(index=False, escape=False, column_format=form, header=list(map(latex, shown.columns)))
        origin = [f"% from {self.query}; the runs are in runs.csv"] if self.query else []
        lines = [
            "% needs \\usepackage{booktabs}",
            *origin,
            rf"\begin{{{floats}}}[t]",
            r"\centering",
            rf"\caption{{{latex(caption)}}}",
        ]
        lines += [
            rf"\label{{tab:{self.name}}}",
            f"{size}\\setlength{{\\tabcolsep}}{{4pt}}",
            grid.rstrip(),
            rf"\end{{{floats}}}",
            "",
        ]
        return "\n".join(lines)

    def to_csv(self) -> str:
        return self.data.to_csv(index=False, lineterminator="\n")


def _width(shown: pd.DataFrame) -> int:
    """Letters that a table is wide, two for the space between columns; a long text takes a paragraph."""
    return sum(min(_longest(shown.iloc[:, place]), LONG) + 2 for place in range(len(shown.columns))) - 2


def _longest(column: pd.Series) -> int:
    return max(len(str(column.name)), *(len(str(cell)) for cell in column)) if len(column) else len(str(column.name))


def latex(text: str) -> str:
    """Text with every sign that LaTeX would take for a command written out."""
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found.group()], text)


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Of each name one that a file can have on every system: itself, or what is left of it and eight digits of its digest."""
    names = list(names)
    folded = Counter(name.casefold() for name in names)  # some systems do not tell A from a

    def slug(name: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) and folded[name.casefold()] == 1:
            return name
        kept = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-")
        return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")

    return {name: slug(name) for name in names}


def points(fraction):
    """A score or a gain, or a column of them, in points."""
    return 100 * fraction


def plain(fraction: float, digits: int = 1) -> str:
    """A score in points, without a sign: '56.3'."""
    return DASH if pd.isna(fraction) else f"{points(fraction):.{digits}f}"


def signed(fraction: float, digits: int = 1) -> str:
    """A gain in points, with its sign: '+1.2', '−0.3', '0.0'."""
    if pd.isna(fraction):
        return DASH
    text = f"{points(fraction):+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def interval(low: float, high: float, digits: int = 1) -> str:
    """'[−0.3, +2.7]', or nothing where it does not exist, or has no width because nothing varies."""
    return "" if pd.isna(low) or low == high else f"[{signed(low, digits)}, {signed(high, digits)}]"


def probability(p: float) -> str:
    return DASH if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def size(parameters: float) -> str:
    """'850k', '1.3M', '10B': a parameter count to two digits."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= 0.9995 * unit:
            number = parameters / unit
            return f"{number:.0f}{name}" if number >= 9.95 or number == round(number) else f"{number:.1f}{name}"
    return f"{parameters:.0f}"


def count(number: int, noun: str) -> str:
    """'1 model', '1,204 runs'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rendered(frame: pd.DataFrame, form: str) -> str:
    """A query's answer for the terminal (table), a spreadsheet (csv) or a program (json)."""
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n").rstrip("\n")
    if form == "json":
        return frame.to_json(orient="records", date_format="iso", double_precision=15, indent=1, force_ascii=False)
    if form == "table":
        return tabulate(frame.astype(object).where(frame.notna(), None), headers="keys", showindex=False, missingval=DASH)
    raise UserError(f"no format '{form}'; there is table, csv and json")
