"""The report of a study: tables, figures and one HTML page that needs nothing else, neither script nor network."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import jinja2
import pandas as pd

from xlift.analysis import facts, paired
from xlift.analysis.facts import Facts
from xlift.analysis.report import apart, effects, plots, tables, tuning
from xlift.analysis.report.answers import Answers, curve_plate, curve_tables
from xlift.analysis.report.methods import methods
from xlift.analysis.report.notes import notes
from xlift.analysis.report.sections import Folded, Plate, Section, Text, kind
from xlift.analysis.report.table import Table, count, points
from xlift.analysis.study.apart import Apart
from xlift.analysis.study.curve import curves
from xlift.analysis.study.faults import Note
from xlift.analysis.study.groups import fitted
from xlift.analysis.study.tuned import Tuned
from xlift.registry.card import StudyCard
from xlift.registry.findings import UserError
from xlift.registry.registration import Registration

LONG = 60  # rows of a table, beyond which it is folded
FEW = 12  # rows of what is missing, up to which it is shown at once


@dataclass(frozen=True)
class Report:
    """Everything a page shows; `write` puts it into a folder."""

    card: StudyCard
    verdicts: tuple[tuple[str, str, bool], ...]  # what it is of, sentence, whether it was refused
    headline: tuple[Plate, ...]  # the figure of the answer
    notes: tuple[Note, ...]
    sections: tuple[Section, ...]
    programs: tuple[Table, ...]  # tables that are for programs: only files
    stages: tuple[str, ...]  # evaluations behind the gains
    runs: tuple[str, ...]  # trained checkpoints behind them
    roles: tuple[tuple[str, str, tuple[str, ...]], ...]  # target group, role, ids of runs
    groups: tuple[Apart, ...]

    @cached_property
    def tables(self) -> dict[str, Table]:
        """All tables by name."""
        return {table.name: table for table in (*(table for each in self.sections for table in each.tables), *self.programs)}

    @cached_property
    def figures(self) -> dict[str, Plate]:
        """All figures by name."""
        return {plate.name: plate for plate in (*self.headline, *(plate for each in self.sections for plate in each.plates))}

    @cached_property
    def drawings(self) -> dict[str, str]:
        """Each figure as SVG."""
        return {name: plots.svg(plate.figure) for name, plate in self.figures.items()}

    def html(self) -> str:
        """One self-contained page."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("xlift.analysis.report"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        drawn = {name: plots.inline(self.drawings[name], name, plate.caption) for name, plate in self.figures.items()}
        stacked = {
            name: plots.inline(plots.svg(plate.stacked), f"{name}-down", plate.caption)
            for name, plate in self.figures.items()
            if plate.stacked
        }
        return environment.get_template("report.html.j2").render(
            report=self,
            card=self.card,
            kind=kind,
            long=LONG,
            drawn=drawn,
            stacked=stacked,
            queries={view: facts.sql(view) for view in facts.VIEWS},
        )

    def summary(self) -> str:
        """The gains and the verdicts for the terminal."""
        shown = [self.tables[name].to_text() for name in ("gain-by-target",) if name in self.tables]
        missing = len(self.tables["missing"].data)
        return "\n\n".join(
            [
                *shown,
                *(f"{group}: {sentence}" for group, sentence, _ in self.verdicts),
                *([f"{count(missing, 'score')} missing: see the report"] if missing else []),
            ]
        )

    def metrics(self) -> dict[str, float]:
        """Slopes for MLflow, in points for ten times the parameters: slope/<group>, with its limits, p and df, and whether slopes
        differ (1 or 0); of each target slope/<group>/<target>."""
        metrics: dict[str, float] = {}
        for found in self.groups:
            if not (len(found.group.slopes) and found.group.tested):
                continue
            row, name = found.group.slopes.iloc[0], f"slope/{found.group.name}"
            metrics |= {name: points(row["estimate"]), f"{name}/p": row["p"], f"{name}/df": row["df"]}
            metrics |= {f"{name}/low": points(row["low"]), f"{name}/high": points(row["high"])}
            metrics |= {f"{name}/differ": float(bool(found.differ))}
            metrics |= {f"{name}/{own.target}": points(own.estimate) for own in found.slopes.itertuples()}
        return {name: float(value) for name, value in metrics.items()}

    def write(self, out: Path) -> Path:
        """`report.html`, `tables/*.{md,tex,csv}` and `figures/*.{svg,png}` in `out`; returns the path of the page.

        All of it is made beside `out` and takes the old report's place at once: a report is there whole, or as it was.
        """
        if out.exists() and not (out.is_dir() and ((out / "report.html").is_file() or not any(out.iterdir()))):
            raise UserError(f"{out} holds something else than a report; give another --out")
        out.parent.mkdir(parents=True, exist_ok=True)
        made = out.with_name(f".{out.name}.{uuid4().hex}")
        try:
            self._fill(made)
            if out.exists():
                for other in [path for path in out.iterdir() if path.name not in ("report.html", "tables", "figures")]:
                    os.replace(other, made / other.name)  # what somebody put beside the report stays there
                old = out.with_name(f"{made.name}.old")
                os.replace(out, old)
                os.replace(made, out)
                shutil.rmtree(old)
            else:
                os.replace(made, out)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return out / "report.html"

    def _fill(self, folder: Path) -> None:
        for part in ("tables", "figures"):
            (folder / part).mkdir(parents=True)
        programs = {table.name for table in self.programs}
        for name, table in self.tables.items():
            texts = {"csv": table.to_csv()}
            if name not in programs:  # which have as many rows as there are gains
                texts |= {"md": table.to_markdown(), "tex": table.to_latex()}
            for ending, text in texts.items():
                if text:
                    (folder / "tables" / f"{name}.{ending}").write_text(text, encoding="utf-8")
        for name, plate in self.figures.items():
            (folder / "figures" / f"{name}.svg").write_text(self.drawings[name], encoding="utf-8")
            (folder / "figures" / f"{name}.png").write_bytes(plots.png(plate.figure))
        (folder / "report.html").write_text(self.html(), encoding="utf-8")


def report(
    card: StudyCard,
    connection: Facts,
    registration: Registration | None = None,
    tuned: Tuned | None = None,
    changed: Sequence[str] = (),
) -> Report:
    """All that the facts say about one study, at whatever state its runs are.

    Beside it what the study registered, where it did, what its searches found, where it is tuned, and what its manifest
    says otherwise now (`changed`) than when it was run.
    """
    rows, scores = paired.gains(connection, card.study), paired.scores(connection, card.study)
    missing, answers = paired.missing(connection, card.study), Answers(card, fitted(rows, card.analysis))
    searched = [tuning.section(tuned, rows)] if tuned else []
    verdicts = [
        (f"{found.group.name} targets, intermediates equally", apart.verdict(found), not found.group.tested)
        for found in answers.apart
    ]
    headline, sections = [answers.scaling()] if len(rows) else [], answers.sections(rows, searched) if len(rows) else searched
    if len(scores) and not len(paired.planned(connection, card.study)):  # nothing that a gain could be of
        scored = curves(scores, card.analysis)
        verdicts += [
            (f"{group.name} targets, scores", effects.verdict(group, what="score"), not group.tested) for group in scored
        ]
        headline.append(curve_plate(scores, card.analysis.x))
        sections.append(Section("curve", "Scores and size", curve_tables(scored)))
    sections += [
        _scores(card, scores),
        Section("design", "Design", [tables.design_table(card), tables.model_table(card)]),
        _coverage(card, connection, missing),
        Section("methods", "Methods", [Text(text) for text in methods(card, answers.groups)] if len(rows) else []),
    ]
    stages = sorted({*rows["treated_stage"], *rows["baseline_stage"]})
    roles = tuple(
        (str(group), role, tuple(sorted(part[f"{role}_run"].unique())))
        for group, part in rows.groupby("target_group")
        for role in ("treated", "baseline", "intermediate")
    )
    programs = [tables.gains_table(rows), tables.runs_table(rows)]
    return Report(
        card,
        tuple(verdicts),
        tuple(headline),
        notes(card, rows, scores, answers.groups, answers.choices, missing, registration, changed),
        tuple(section.of(card.study) for section in sections if section.parts),
        tuple(table.of(card.study) for table in programs),
        tuple(stages),
        tuple(dict.fromkeys(id for _, _, ids in roles for id in ids)),
        roles,
        answers.apart,
    )


def _coverage(card: StudyCard, connection: Facts, missing: pd.DataFrame) -> Section:
    table = tables.missing_table(missing)
    number = f"{count(len(missing), 'result')} {'is' if len(missing) == 1 else 'are'} missing"
    nothing = "Nothing is missing: every cell has a score in every language, and every gain its baseline."
    said = [] if len(missing) else [Text(nothing)]
    lacking = Folded(number, table, open=len(table.shown) <= FEW)
    return Section("coverage", "Coverage", [tables.coverage_table(connection, card.study), *said, lacking])


def _scores(card: StudyCard, scores: pd.DataFrame) -> Section:
    beside = tables.published_table(card, scores)
    return Section(
        "scores", "Scores", [*([beside] if beside else []), *(Folded(each.title, each) for each in tables.score_tables(scores))]
    )
