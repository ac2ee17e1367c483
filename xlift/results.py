"""Verbs that read results: queries, gains, tables of scores, reports, power."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from xlift import studies
from xlift.options import DataAt, StoreAt, Study, Tracked, stop


def sql(
    query: Annotated[str, typer.Argument(help="over the views stages, scores, gains, missing", show_default=False)],
    store: StoreAt = Path("store"),
    form: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """Ask DuckDB about the runs."""
    from xlift.analysis import gathered
    from xlift.analysis.report import table

    print(table.rendered(gathered.ask(studies.existing(store), query), form))


def gains(
    study: Study,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet")] = "table",
    out: Annotated[Path | None, typer.Option(help="file to write; standard output where absent")] = None,
    group: Annotated[str | None, typer.Option(help="one target group, such as fine-tuned")] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
) -> None:
    """Every paired gain of a study, with lp and all that a formula may group by: what `fit` reads."""
    from xlift.analysis import facts, paired
    from xlift.analysis.report import table

    found = studies.read(studies.warned(studies.opened(study)), store, data)
    rows = paired.gains(facts.connect(found.store, [found.card]), found.card.study, group)
    if form == "parquet" and not (out or not sys.stdout.isatty()):
        stop("--format parquet is not for a terminal; give --out FILE")
    made = rows.to_parquet(index=False) if form == "parquet" else f"{table.rendered(rows, form)}\n".encode()
    if out is None:
        sys.stdout.buffer.write(made)
    else:
        if not out.parent.is_dir():
            stop(f"--out {out}: no folder {out.parent}; make it first")
        out.write_bytes(made)


def import_(
    table: Annotated[Path, typer.Argument(help="a table of scores: .csv or .parquet", show_default=False)],
    study: Annotated[Path, typer.Argument(help="its manifest; written where there is none", show_default=False)],
    store: StoreAt = Path("store"),
    mlflow: Annotated[
        str | None, typer.Option(help="an experiment, which is written into the table first: a row a metric")
    ] = None,
) -> None:
    """Take a table of scores that were computed elsewhere into the store, as runs; again: changes nothing."""
    from xlift.registry.manifest import templates
    from xlift.registry.table import TableStudy, told

    if mlflow:
        from xlift.registry.table import write_csv
        from xlift.runners import tracking

        rows, others = tracking.logged(mlflow, studies.store_at(store))
        if others:
            told_of = ", ".join(f"{count} {status}" for status, count in sorted(others.items()))
            print(f"left out, since only finished runs have their last scores: {told_of}", file=sys.stderr)
        write_csv(table, rows)
    if not study.exists():
        if not study.parent.is_dir():
            stop(f"no folder {study.parent}; make it first")
        study.write_text(templates.of_table(studies.table_at(table), table, study), encoding="utf-8")
        print(f"wrote {study}: see that it says what the columns are; then give the command again")
        return
    loaded = studies.warned(studies.opened(study))
    if not isinstance(loaded, TableStudy):
        stop(f"{study} runs here and reads no table; give another manifest")
    if (study.parent / (file := loaded.manifest.data.file)).resolve() != table.resolve():
        stop(f"{study} reads {file}, not {table}; change its data.file, or give another manifest")
    new = studies.imported(loaded, studies.store_at(store))
    print(f"{told(loaded)}; table {loaded.digest[:8]}, {'new' if new else 'which the store has already'}")


def report(
    study: Study,
    out: Annotated[Path | None, typer.Option(help="folder of the report; reports/<study> where absent")] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    mlflow: Tracked = True,
) -> None:
    """Tables, figures and one self-contained HTML page; also put on the study's MLflow run.

    A local study is read as the store knows it; with --data, as its manifest and those data make it now.
    """
    gc.set_threshold(100_000, 50, 50)  # the default looks for cycles thousands of times in a report, a tenth of its time
    found = studies.read(studies.warned(studies.opened(study)), store, data)
    folder = out or Path("reports") / found.card.study
    made = studies.report_of(found.card, found.store, found.changed)
    print(f"report: {made.write(folder)}")
    if mlflow and found.plan and any(found.store.record(step.stage.id) for step in found.plan.steps):
        from xlift.runners import tracking

        try:
            tracking.Mirror(found.plan, found.store).attach(folder, made.metrics())
        except tracking.TrackingError as error:
            print(f"xlift: the report is not in MLflow: {error}", file=sys.stderr)


def power(
    study: Study,
    source: Annotated[Path | None, typer.Option("--from", help="a study whose variance components are taken")] = None,
    components: Annotated[Path | None, typer.Option(help="a .csv of them: component, sd_points; as a report writes it")] = None,
    group: Annotated[str | None, typer.Option(help="one target group; fine-tuned where absent")] = None,
    slopes: Annotated[str, typer.Option(help="points for ten times the parameters, whose chances are told")] = "1,2,4",
    samples: Annotated[int, typer.Option(min=20, help="of each design")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="of the samples")] = 0,
    tokens: Annotated[float, typer.Option(min=1, help="that a training reads, for GPU hours")] = 5e7,
    flops: Annotated[float, typer.Option(min=1, help="a second that a GPU reaches, for GPU hours")] = 4e14,
    out: Annotated[Path | None, typer.Option(help="folder of the table and figure; reports/<study>-power where absent")] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
) -> None:
    """What slope a design can find: as declared, and with twice the models, seeds, languages or targets."""
    from xlift.analysis.report import power as shown

    try:
        wanted = tuple(float(text) for text in slopes.split(","))
    except ValueError:
        stop(f"--slopes {slopes}: write numbers, such as 1,2,4")
    loaded = studies.warned(studies.opened(study))
    card = studies.card_of(loaded, data)
    known, told = studies.variance_components(source or study, components, group, store, data)
    found, unknown = studies.simulated(card, known, group, samples, seed)
    note = shown.note(known, told, unknown, samples, seed)
    table = shown.power_table(found, wanted, note=note, tokens=tokens, flops=flops)
    made = shown.write(table, found, out or Path("reports") / f"{card.study}-power")
    print(table.to_text(), shown.answer(found), f"power: {made[0]} and {', '.join(path.name for path in made[1:])}", sep="\n\n")
