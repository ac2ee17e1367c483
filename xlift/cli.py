"""The command line: one thin function a verb. Heavy packages are imported by the verbs that need them."""

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A declarative experiment registry with statistical meta-analysis.",
)

Study = Annotated[Path, typer.Argument(help="a study's manifest (YAML)", show_default=False)]
StoreAt = Annotated[Path, typer.Option("--store", envvar="XLIFT_STORE", help="folder of the run store")]
DataAt = Annotated[Path | None, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data, for 'source: local'")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines")]


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="manifests", show_default=False)], as_json: AsJson = False) -> None:
    """Check manifests: every finding with its place and what would do."""
    from xlift.registry.findings import BadInput, relative
    from xlift.registry.manifest.load import load

    findings, stops = [], False
    for file in files:
        try:
            found = load(file).warnings
        except BadInput as error:
            found, stops = error.findings, True
            if not as_json:
                print(error)
        else:
            if not as_json:
                print("\n".join([finding.render() for finding in found] + [f"{relative(file)}: ok"]))
        findings += [finding.as_json() for finding in found]
    if as_json:
        print(json.dumps(findings, indent=1))
    raise typer.Exit(2 if stops else 0)


@app.command()
def schema() -> None:
    """Print the JSON Schema of manifests, for editors."""
    from xlift.registry.manifest.schema import schema

    print(json.dumps(schema(), indent=1))


@app.command()
def init(path: Annotated[Path, typer.Argument(help="the manifest to write")] = Path("study.yaml")) -> None:
    """Write a small study in the lab to start from."""
    from xlift.registry.manifest import templates

    if path.exists():
        _stop(f"{path} exists; give another path")
    if not path.parent.is_dir():
        _stop(f"no folder {path.parent}; make it first")
    path.write_text(
        templates.STUDY.replace("NAME", re.sub("[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "study"), encoding="utf-8"
    )
    print(f"wrote {path}; now: xlift check {path}")


@app.command()
def show(study: Study, data: DataAt = None) -> None:
    """Show a study as it is understood: inheritance joined, defaults filled in, parameters computed."""
    from xlift.registry.manifest.load import load

    loaded = load(study)
    for model in loaded.facts.models.values():
        total, inner = model.parameters.total, model.parameters.non_embedding
        print(f"# {model.id}: {total:,} parameters, {inner:,} outside embeddings, family {model.family}")
    print(json.dumps(loaded.manifest.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1, ensure_ascii=False))


@app.command()
def tasks() -> None:
    """List the known tasks, of XTREME and of the lab."""
    from xlift.registry.known import lab
    from xlift.registry.known.tasks import TASKS

    rows = [
        (t.name, t.kind, t.metric, t.trains_on or "-", str(len(t.languages)) if t.languages else "-", t.source)
        for t in [*TASKS.values(), *lab.TASKS.values()]
    ]
    _table(("task", "kind", "metric", "trains on", "languages", "source"), rows)


@app.command()
def models() -> None:
    """List the known models, with parameters computed from their configurations."""
    from xlift.registry.known.models import MODELS

    rows = []
    for row in MODELS.values():
        parameters = row.parameters()
        rows.append(
            (row.hub, row.family, f"{parameters.total / 1e6:,.1f}M", f"{parameters.non_embedding / 1e6:,.1f}M", row.source)
        )
    _table(("model", "family", "parameters", "outside embeddings", "source"), rows)


@app.command()
def plan(study: Study, store: StoreAt = Path("store"), data: DataAt = None, as_json: AsJson = False) -> None:
    """What a study would run: every stage once, with its state."""
    from xlift.registry.plan import describe

    planned, kept = _plan(study, data), _store(store)
    rows = describe(planned, kept)
    if as_json:
        print(
            json.dumps(
                {"study": planned.study.id, "cells": len(planned.cells), "excluded": planned.excluded, "stages": rows}, indent=1
            )
        )
        return
    _table(
        ("id", "kind", "model", "task", "seed", "parent", "state", "reason"),
        [tuple(str(v) if v is not None else "-" for v in row.values()) for row in rows],
    )
    counts = {state: sum(row["state"] == state for row in rows) for state in ("run", "finished", "blocked")}
    print(
        f"\n{len(rows)} stages: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
        + f"; {len(planned.cells)} cells"
        + "".join(f"; {count} excluded: {why}" for why, count in planned.excluded.items())
    )


@app.command()
def run(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    workers: Annotated[int | None, typer.Option(min=1, help="worker processes; one a core where absent")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
) -> None:
    """Run what is missing of a study. The same command again goes on, and runs nothing twice."""
    from xlift.analysis import facts
    from xlift.analysis.report.page import report as analyse
    from xlift.runners import session

    planned = _plan(study, data)
    outcome = session.run(planned, _store(store), data, workers=workers or os.cpu_count() or 1, device=device)
    card = planned.card()
    print(analyse(card, facts.connect(_store(store), [card])).summary())
    raise typer.Exit(1 if outcome.failed or outcome.skipped else 0)


@app.command()
def sync(study: Study, store: StoreAt = Path("store"), data: DataAt = None) -> None:
    """Make MLflow complete from the store; safe to repeat."""
    from xlift.runners import tracking

    planned = _plan(study, data)
    print(tracking.Mirror(planned, _store(store)).update())


@app.command()
def ui(store: StoreAt = Path("store"), port: Annotated[int, typer.Option(help="on loopback")] = 5055) -> None:
    """Open the MLflow UI on loopback."""
    from xlift.runners import tracking

    tracking.serve(_store(store), port)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="over the views stages, scores, gains, missing", show_default=False)],
    store: StoreAt = Path("store"),
    form: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """Ask DuckDB about the runs."""
    from xlift.analysis import facts
    from xlift.analysis.report import tables

    kept = _store(store)
    print(tables.rendered(facts.query(facts.connect(kept, kept.cards()), query), form))


@app.command()
def report(
    study: Study,
    out: Annotated[Path | None, typer.Option(help="folder of the report; reports/<study> where absent")] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
) -> None:
    """Tables, figures and one self-contained HTML page; also put on the study's MLflow run."""
    from xlift.analysis import facts
    from xlift.analysis.report.page import report as analyse

    planned, kept = _plan(study, data), _store(store)
    card, folder = planned.card(), out or Path("reports") / planned.study.id
    print(f"report: {analyse(card, facts.connect(kept, [card])).write(folder)}")
    if any(kept.record(step.stage.id) for step in planned.steps):
        from xlift.runners import tracking

        try:
            tracking.Mirror(planned, kept).attach(folder)
        except tracking.TrackingError as error:
            print(f"xlift: the report is not in MLflow: {error}", file=sys.stderr)


@app.command()
def fit(
    data: Annotated[Path, typer.Option(help="a table: .csv, .tsv or .parquet", show_default=False)],
    formula: Annotated[str, typer.Option(help="such as 'gain ~ lp * inter + (1 + lp | lang) + (1 | model)'", show_default=False)],
    variances: Annotated[str | None, typer.Option(help="column of known sampling variances")] = None,
    weights: Annotated[str | None, typer.Option(help="column of weights: Var(e) = sigma^2 / weight")] = None,
    residual_by: Annotated[str | None, typer.Option(help="column with one residual variance for each value")] = None,
    df: Annotated[str, typer.Option(help="kenward-roger, satterthwaite or two-stage")] = "kenward-roger",
    unit: Annotated[str | None, typer.Option(help="with two-stage: the column of the units, such as model")] = None,
    ml: Annotated[bool, typer.Option("--ml", help="maximum likelihood; with --df satterthwaite")] = False,
    missing: Annotated[str, typer.Option(help="raise, or drop rows with missing values")] = "raise",
    engine: Annotated[str, typer.Option(help="xlift; or statsmodels: the nearest MixedLM beside it")] = "xlift",
    as_json: AsJson = False,
) -> None:
    """Fit a mixed model, with degrees of freedom for few models."""
    from xlift.analysis.mixed.optimise import NotConverged
    from xlift.analysis.verbs import fitted

    try:
        answer = fitted(
            formula,
            data,
            variances=variances,
            weights=weights,
            residual_by=residual_by,
            df=df,
            unit=unit,
            reml=not ml,
            missing=missing,
            engine=engine,
        )
    except NotConverged as error:
        print(f"xlift: no fit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.json() if as_json else answer.text())


@app.command()
def meta(
    data: Annotated[Path, typer.Option(help="a table: .csv, .tsv or .parquet", show_default=False)],
    effect: Annotated[str, typer.Option(help="column of effects", show_default=False)],
    variance: Annotated[str, typer.Option(help="column of their sampling variances", show_default=False)],
    moderators: Annotated[str, typer.Option(help="such as '~ x'")] = "~ 1",
    random: Annotated[str | None, typer.Option(help="several levels, such as '(1 | study/effect)'")] = None,
    method: Annotated[str, typer.Option(help="REML, ML, DL, PM, EB, HE, SJ or FE")] = "REML",
    knapp_hartung: Annotated[bool, typer.Option("--knapp-hartung", help="t tests with Knapp and Hartung's factor")] = False,
    cluster: Annotated[str | None, typer.Option(help="column of clusters: adds robust CR2 estimates")] = None,
    forest: Annotated[Path | None, typer.Option(help="write a forest plot to this .svg or .png")] = None,
    as_json: AsJson = False,
) -> None:
    """Meta-analyse effects with known sampling variances."""
    from xlift.analysis.mixed.optimise import NotConverged
    from xlift.analysis.verbs import meta_analysed

    try:
        answer = meta_analysed(
            data,
            effect,
            variance,
            moderators=moderators,
            random=random,
            method=method,
            knapp_hartung=knapp_hartung,
            cluster=cluster,
            forest=forest,
        )
    except NotConverged as error:
        print(f"xlift: no fit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.json() if as_json else answer.text())


def _plan(study: Path, data: Path | None):
    """The plan of a manifest, with its warnings on standard error."""
    from xlift.registry.manifest.load import load
    from xlift.registry.plan import expand
    from xlift.registry.sources import Sources

    loaded = load(study)
    for finding in loaded.warnings:
        print(finding.render(), file=sys.stderr)
    if data is not None and not data.is_dir():
        _stop(f"--data {data}: no such folder; give the folder that holds the tasks' files")
    return expand(loaded, Sources(loaded, data.resolve() if data else None))


def _store(root: Path):
    from xlift.registry.store import Store

    if root.exists() and not root.is_dir():
        _stop(f"--store {root} is no folder")
    return Store(root)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Aligned columns; the last one may be as long as it likes."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _stop(message: str) -> None:
    print(f"xlift: {message}", file=sys.stderr)
    raise typer.Exit(2)


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="print the version", is_eager=True)] = False) -> None:
    if show_version:
        print(f"xlift {version('xlift')}")
        raise typer.Exit


def main() -> None:
    """Run a verb: exit status 0 done, 1 failed runs, 2 bad input; never a traceback for the user's mistakes."""
    from xlift.registry.findings import BadInput

    sys.stdout.reconfigure(errors="backslashreplace")  # what a manifest holds may not be printable
    sys.stderr.reconfigure(errors="backslashreplace")
    try:
        app()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        if type(error) is not ValueError and not type(error).__module__.startswith("xlift."):
            raise
        print(f"xlift: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
