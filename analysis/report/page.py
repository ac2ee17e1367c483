"""The report of a study: tables, figures and one HTML page that needs nothing else, neither script nor network."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import jinja2
import pandas as pd

from xlift.analysis import facts
from xlift.analysis import gains as pairing
from xlift.analysis.facts import Facts
from xlift.analysis.report import effects, plots, tables, tuning
from xlift.analysis.report.answers import Answers, Plate, curve_plates, curve_tables
from xlift.analysis.report.methods import methods
from xlift.analysis.report.table import DASH, Table, count, points
from xlift.analysis.study.check import planned_groups
from xlift.analysis.study.curve import curves
from xlift.analysis.study.faults import faults
from xlift.analysis.study.groups import GroupFit, fitted
from xlift.analysis.study.primary import primary
from xlift.analysis.study.slope import CAUTION
from xlift.analysis.study.tuned import Tuned
from xlift.registry.card import StudyCard
from xlift.registry.findings import UserError
from xlift.registry.known.languages import same_language
from xlift.registry.pairing import is_baseline
from xlift.registry.registration import Registration, deviations
from xlift.registry.sources import SOURCES


@dataclass(frozen=True)
class Report:
    """Everything a page shows; `write` puts it into a folder."""

    card: StudyCard
    verdicts: tuple[tuple[str, str, bool], ...]  # target group, sentence, whether it was refused
    notes: tuple[str, ...]
    tables: dict[str, Table]
    figures: dict[str, Plate]
    stages: tuple[str, ...]  # evaluations behind the gains
    runs: tuple[str, ...]  # trained checkpoints behind them
    roles: tuple[tuple[str, str, tuple[str, ...]], ...]  # target group, role, ids of runs
    groups: tuple[GroupFit, ...]
    methods: tuple[str, ...] = ()  # paragraphs: what was done

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
            tables=self.tables,
            drawn=drawn,
            stacked=stacked,
            queries={view: facts.sql(view) for view in facts.VIEWS},
            scores=[table for table in self.tables.values() if table.target],
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
        """Slopes for MLflow, in points for ten times the parameters: slope/<group>, with its limits, p and df."""
        found: dict[str, float] = {}
        for group in self.groups:
            if len(group.slopes) and group.tested:
                row = group.slopes.iloc[0]
                name = f"slope/{group.name}"
                found |= {name: points(row["estimate"]), f"{name}/p": row["p"], f"{name}/df": row["df"]}
                found |= {f"{name}/low": points(row["low"]), f"{name}/high": points(row["high"])}
        return {name: float(value) for name, value in found.items()}

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
        for name, table in self.tables.items():
            texts = {"csv": table.to_csv()}
            if name not in ("gains", "runs"):  # which are for programs: as many rows as there are gains
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
    rows = pairing.gains(connection, card.study)
    answers, scores = Answers(card, fitted(rows, card.analysis)), pairing.scores(connection, card.study)
    untreated = len(scores) > 0 and not len(pairing.planned(connection, card.study))
    missing = pairing.missing(connection, card.study)
    scored = curves(scores, card.analysis) if untreated else ()
    every = [
        design_table(card),
        model_table(card),
        coverage_table(connection, card.study),
        tables.missing_table(missing),
        *(answers.tables(rows) if len(rows) else []),
        *curve_tables(scored),
        *(tuning.tables_of(tuned, rows) if tuned else []),
        *tables.score_tables(scores),
        gains_table(rows),
        runs_table(rows),
    ]
    verdicts = tuple((group.name, effects.verdict(group), not group.tested) for group in answers.groups)
    stages = sorted({*rows["treated_stage"], *rows["baseline_stage"]})
    roles = tuple(
        (str(group), role, tuple(sorted(part[f"{role}_run"].unique())))
        for group, part in rows.groupby("target_group")
        for role in ("treated", "baseline", "intermediate")
    )
    return Report(
        card,
        verdicts,
        (
            *_notes(card, rows, answers.groups, missing),
            *faults(card, rows, scores),
            *(f"{group.name} targets: {effects.verdict(group, what='score')}" for group in scored),
            *_registered(card, registration),
            *(f"The manifest has changed since the study was run: {text}." for text in changed),
        ),
        {table.name: replace(table, query=_query(table, card.study)) for table in every},
        {
            plate.name: plate
            for plate in [
                *(answers.plates(rows) if len(rows) else []),
                *(curve_plates(scores, card.analysis.x) if untreated else []),
                *(tuning.plates_of(tuned, rows) if tuned else []),
            ]
        },
        tuple(stages),
        tuple(dict.fromkeys(id for _, _, ids in roles for id in ids)),
        roles,
        answers.groups,
        tuple(methods(card, answers.groups)) if len(rows) else (),
    )


def _registered(card: StudyCard, registration: Registration | None) -> Iterator[str]:
    """Whether the hypotheses are confirmatory, and what has changed since they were registered."""
    if registration is None:
        if card.hypotheses:
            yield "Exploratory: the hypotheses were not registered before the first score (xlift register)."
        return
    mark = f"registered on {registration.at}, sha-256 {registration.digest[:16]}…"
    if registration.confirmatory:
        yield f"Confirmatory: {mark}, before any target had a score."
    else:
        yield f"Exploratory: {mark}, when {count(registration.scored, 'evaluation')} had scores."
    if registration.twins:
        others = count(registration.twins, "evaluation")
        yield f"{others} of the same models on the same targets, by another recipe or in tables, had scores at registration."
    models = {group: primary(group, rows, card.analysis).formula for group, rows in planned_groups(card).items()}
    yield from (f"Deviation from the registration: {text}." for text in deviations(registration, card, models))


def _query(table: Table, study: str) -> str:
    """The rows behind a table, in SQL that `xlift sql` answers."""
    views = {"coverage": "stages", "missing": "missing", "design": "", "models": "", "searches": ""}
    views |= dict.fromkeys(("curve", "curve-components"), "scores")
    view = "scores" if table.target else views.get(table.name, "gains")
    quoted = table.target.replace("'", "''")
    target = f" AND target = '{quoted}'" if table.target else ""
    return f"SELECT * FROM {view} WHERE study = '{study}'{target}" if view else ""


def design_table(card: StudyCard) -> Table:
    """The axes of the matrix and their levels."""
    axes = {"models": "model", "intermediates": "intermediate", "variants": "variant", "targets": "target", "seeds": "seed"}
    levels = {name: list(dict.fromkeys(str(getattr(cell, axis)) for cell in card.cells)) for name, axis in axes.items()}
    levels["languages"] = sorted({language for cell in card.cells for language in cell.languages})
    frame = pd.DataFrame([{"Axis": name, "Levels": len(values), "Names": ", ".join(values)} for name, values in levels.items()])
    note = f"{count(len(card.cells), 'cell')}, answered by {count(len(card.stages), 'stage')}."
    return Table("design", "The matrix", frame, frame.astype(str), 3, note)


def model_table(card: StudyCard) -> Table:
    """Models by size."""
    seen = {cell.model: (cell.params_total, cell.params_non_embedding, cell.family) for cell in card.cells}
    data = pd.DataFrame(
        [
            {"model": name, "family": facts[2], "params_total": facts[0], "params_non_embedding": facts[1]}
            for name, facts in sorted(seen.items(), key=lambda item: (item[1], item[0]))
        ]
    )
    shown = pd.DataFrame(
        [
            {
                "Model": row.model,
                "Family": row.family,
                "Parameters": f"{row.params_total:,}",
                "Without embeddings": DASH if pd.isna(row.params_non_embedding) else f"{row.params_non_embedding:,.0f}",
            }
            for row in data.itertuples()
        ]
    )
    return Table("models", "Models", data, shown, 2)


def coverage_table(connection: Facts, study: str) -> Table:
    """Stages by kind and state."""
    data = facts.query(
        connection,
        "SELECT kind, state, count(*) AS stages, sum(seconds) / 3600 AS hours FROM stages "
        "WHERE study = ? GROUP BY kind, state ORDER BY kind, state",
        [study],
    )
    shown = pd.DataFrame(
        [
            {
                "Stage": row.kind,
                "State": row.state,
                "Stages": f"{row.stages:,}",
                "Hours": DASH if pd.isna(row.hours) else f"{row.hours:,.2f}",
            }
            for row in data.itertuples()
        ],
        columns=["Stage", "State", "Stages", "Hours"],
    )
    return Table("coverage", "Runs", data, shown, 2)


def runs_table(rows: pd.DataFrame) -> Table:
    """Every run behind the gains, and what it is there: only for files."""
    roles = ("treated", "baseline", "intermediate")
    parts = [rows[["target_group", f"{role}_run"]].set_axis(["target_group", "run"], axis=1).assign(role=role) for role in roles]
    data = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
    return Table("runs", "Every run", data, pd.DataFrame({"Runs": [f"{data['run'].nunique():,}, in the CSV file"]}))


def gains_table(rows: pd.DataFrame) -> Table:
    """Every gain with the ids of its two stages: only for files, as fractions."""
    return Table("gains", "Every gain", rows, pd.DataFrame({"Gains": [f"{len(rows):,}, in the CSV file"]}))


def _no_gain(card: StudyCard, missing: pd.DataFrame) -> str:
    """The reason why a study has none, as far as its card and what is `missing` know it."""
    rule = card.analysis.gain
    treated = [cell for cell in card.cells if not is_baseline(cell, rule)]
    if not treated:
        return "nothing here had intermediate training"
    tested = sorted({language for cell in treated for language in cell.languages})
    if rule.drop_languages is None and tested and all(same_language(language, card.source_language) for language in tested):
        return (
            f"every test is in {', '.join(tested)}, the language of training, and a gain is one in transfer to others; "
            "analysis: {gain: {drop_languages: []}} keeps it"
        )
    reasons = missing["reason"].value_counts()
    said = "; ".join(f"{reason} ({number:,})" for reason, number in reasons.head(3).items())
    return f"of no pair are both halves scored: {said}" if said else "no treated run has a baseline"


def _notes(card: StudyCard, rows: pd.DataFrame, groups: Sequence[GroupFit], missing: pd.DataFrame) -> tuple[str, ...]:
    """What a reader has to know before the numbers."""
    used = {stage.source for stage in card.stages}
    notes = [section.caution for name, section in SOURCES.items() if name in used and section.caution]
    notes += [
        f"{group.name} targets: only {group.pooled.least} models: whether they scatter as intervals assume cannot be seen from "
        "so few."
        for group in groups
        if group.tested and group.pooled and group.pooled.least < CAUTION
    ]
    if not len(rows):
        return (*notes, f"There is no gain yet: {_no_gain(card, missing)}.")
    if same := int(rows["same_task"].sum()):
        notes.append(
            f"{same:,} of {count(len(rows), 'gain')} are of same-task cells (†): the intermediate and the target train "
            "on overlapping data. The sensitivity table leaves them out."
        )
    return tuple(notes)
