"""The command line: one thin function a verb. Heavy packages are imported by the verbs that need them."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from xlift import studies

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A declarative experiment registry with statistical meta-analysis.",
)

models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a study takes from elsewhere.")
app.add_typer(data_app, name="data")

Study = Annotated[Path, typer.Argument(help="a study's manifest (YAML)", show_default=False)]
StoreAt = Annotated[Path, typer.Option("--store", envvar="XLIFT_STORE", help="folder of the run store")]
DataAt = Annotated[Path | None, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data, for 'source: local'")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines")]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes; one a core, or one on a GPU")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
Tracked = Annotated[bool, typer.Option("--mlflow/--no-mlflow", envvar="XLIFT_MLFLOW", help="or leave it to `xlift sync`")]


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="manifests", show_default=False)],
    data: DataAt = None,
    as_json: AsJson = False,
) -> None:
    """Check manifests: every finding with its place and what would do. With --data, every file that they name as well."""
    from xlift.registry.findings import BadInput, Finding, relative
    from xlift.registry.study import Study

    findings, stops = [], False
    for file in files:
        try:
            study = studies.opened(file)
            said = list[Finding]()
            if not isinstance(study, Study):
                said += studies.analysis_findings(study, study.card)
            else:
                studies.plan_of(study, data, said, models=True)
            found = (*study.warnings, *said)
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
    path.write_text(templates.of_the_lab(path), encoding="utf-8")
    print(f"wrote {path}; now: xlift check {path}")


@app.command()
def show(study: Study) -> None:
    """Show a study as it is understood: inheritance joined, defaults filled in; parameters on standard error."""
    loaded = studies.opened(study)
    card = studies.card_of(loaded, None)
    sizes = {cell.model: (cell.family, cell.params_total, cell.params_non_embedding) for cell in card.cells}
    rows = [(name, family, *("-" if n is None else f"{n:,}" for n in counts)) for name, (family, *counts) in sizes.items()]
    _table(("model", "family", "parameters", "outside embeddings"), rows, file=sys.stderr)
    for model in studies.primary_models(card):
        print(f"\nprimary model of {model.group} targets: {model.formula}", file=sys.stderr)
        for text in [*(f"left out: {text}" for text in model.left_out), *model.slopes]:
            print(f"  {text}", file=sys.stderr)
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


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the known models: sizes, kinds of task, memory of training in GB without activations, pretraining's languages."""
    from xlift.registry.known.memory import METHODS, training_gb
    from xlift.registry.known.models import MODELS
    from xlift.registry.known.pretraining import pretraining

    if context.invoked_subcommand:
        return
    rows: list[dict[str, Any]] = []
    for model in MODELS.values():
        parameters, seen = model.parameters(encoder_only=True), pretraining(model.hub)
        rows.append(
            {
                "model": model.hub,
                "family": model.family,
                "parameters": parameters.total,
                "outside embeddings": parameters.non_embedding,
                "kinds": model.architecture.kinds,
                **{f"{method} GB": round(training_gb(parameters, method), 1) for method in METHODS},
                "languages": seen.count if seen else None,
                "seen": sorted(seen.languages) if seen else None,
                "languages' source": seen.told if seen else None,
                "source": model.source,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    shown = [name for name in rows[0] if name != "seen"]
    _table(tuple(shown), [tuple(_said(row[name]) for name in shown) for row in rows])
    print(
        "\nGB: weights, gradients and AdamW's moments; lora with rank 8. mT5 is its encoder. --json has each model's languages."
    )


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, int):
        return f"{value / 1e6:,.1f}M" if value > 1e6 else str(value)
    return "-" if value is None else str(value)


@models_app.command("convert")
def convert(folder: Annotated[Path, typer.Argument(help="a model's folder, with pytorch_model.bin", show_default=False)]) -> None:
    """Write pickled weights as safetensors, which alone are read elsewhere; in a process of its own, tensors and nothing else."""
    from xlift.runners.convert import convert

    for name, digest in convert(folder).items():
        print(f"{digest}  {name}")


@data_app.command()
def pin(study: Study) -> None:
    """Write the hub's current commit in place of every `revision: pin`; all of them or none."""
    from xlift.runners import hub

    for name, commit in hub.pin(studies.warned(studies.load(study))).items():
        print(f"{commit}  {name}")


@data_app.command()
def bucc(
    published: Annotated[Path, typer.Argument(help="the folder in which its archives were unpacked", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Write BUCC 2018 as files that its task reads."""
    from xlift.runners.data.bucc import convert

    for path, sentences in convert(published, data).items():
        print(f"{sentences:>9,}  {path}")


@app.command()
def plan(study: Study, store: StoreAt = Path("store"), data: DataAt = None, as_json: AsJson = False) -> None:
    """What a study would run: every stage once, with its state; and whether its files are whole."""
    from xlift.registry.plan import describe

    planned, kept = studies.planned(study, data), studies.store_at(store)
    if studies.unnamed(planned.study, data):
        print("xlift: the ids of a local study rest on its data: without --data DIR no state is known", file=sys.stderr)
    rows = describe(planned, kept)
    if as_json:
        summary = {"study": planned.study.id, "cells": len(planned.cells), "excluded": planned.excluded, "gaps": planned.gaps()}
        print(json.dumps({**summary, "stages": rows}, indent=1))
        raise typer.Exit(1 if planned.gaps() else 0)
    head = ("id", "kind", "model", "after", "task", "seed", "parent", "state", "reason")
    _table(head, [tuple("-" if row[name] is None else str(row[name]) for name in head) for row in rows])
    counts = {state: sum(row["state"] == state for row in rows) for state in ("run", "finished", "blocked")}
    print(
        f"\n{len(rows)} stages: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
        + f"; {len(planned.cells)} cells"
        + "".join(f"; {count} excluded: {why}" for why, count in planned.excluded.items())
    )
    raise typer.Exit(_told_gaps(planned))


@app.command()
def why(
    study: Study,
    stage: Annotated[str | None, typer.Argument(help="the beginning of a stage's id", show_default=False)] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    as_json: AsJson = False,
) -> None:
    """What would run again, and which field differs from the nearest finished run."""
    from xlift.registry import why as reasons

    planned = studies.planned(study, data)
    studies.named(planned.study, data)
    found = reasons.why(planned, studies.existing(store), stage)
    if as_json:
        rows = [{"id": w.step.stage.id, "reason": w.reason, "nearest": w.nearest, "differs": w.differs} for w in found]
        print(json.dumps(rows, indent=1))
        return
    for reason in found:
        step = reason.step.stage
        seed = "" if step.seed is None else f", seed {step.seed}"
        print(f"{step.id}  {step.kind} {reason.step.model} {step.data.task}{seed}: {reason.reason}")
        if reason.nearest and reason.differs:
            more = f"\n    … and {len(reason.differs) - 6} fields more" if len(reason.differs) > 6 else ""
            print(f"    nearest: {reason.nearest}\n    " + "\n    ".join(reason.differs[:6]) + more)
    if not found:
        print("nothing would run: all that can is finished")


@app.command()
def register(study: Study, store: StoreAt = Path("store"), data: DataAt = None) -> None:
    """Freeze hypotheses, outcomes, exclusions and formulas by hash: confirmatory, if no target has a score yet."""
    loaded = studies.warned(studies.opened(study))
    made = studies.register(loaded, studies.store_at(store), data)
    kind = "confirmatory" if made.confirmatory else f"exploratory: {made.scored} evaluations had scores"
    if made.twins:
        kind += f"; {made.twins} evaluations of the same models on the same targets, by another recipe or in tables, had scores"
    print(f"registered {made.study} on {made.at}, {kind}\nsha-256 {made.digest}")


@app.command()
def run(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    workers: Workers = None,
    device: Device = "auto",
    only: Annotated[str | None, typer.Option(help="run these cells alone, such as \"target == 'lab-pos'\"")] = None,
    mlflow: Tracked = True,
    release: Annotated[bool, typer.Option("--release", help="delete checkpoints that nothing left to run needs")] = False,
) -> None:
    """Run what is missing of a study. The same command again goes on, and runs nothing twice."""
    from xlift.runners import session

    planned, kept = studies.planned(study, data, models=True), studies.store_at(store)
    chosen = planned.where(_condition(only, planned)) if only else None
    device, count = session.device_and_workers(device, workers)
    with _resumable():
        outcome = session.run(planned, kept, data, workers=count, device=device, only=chosen, mlflow=mlflow, release=release)
    print(studies.report_of(planned.card(), kept).summary())
    gaps = _told_gaps(planned)
    raise typer.Exit(1 if outcome.failed or outcome.skipped or planned.foreign(kept) else gaps)


@app.command()
def tune(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    workers: Workers = None,
    device: Device = "auto",
    storage: Annotated[
        str | None, typer.Option(envvar="XLIFT_TUNING", help="a database for the trials, such as postgresql://…; else the store")
    ] = None,
    mlflow: Tracked = True,
) -> None:
    """Search for the values of recipes on development data, and write what was found into the lock beside the manifest."""
    from xlift.registry.findings import relative
    from xlift.registry.manifest.lock import lock_path
    from xlift.registry.tuning import told
    from xlift.runners import session, tuning

    planned, kept = studies.planned(study, data, models=True), studies.store_at(store)
    device, count = session.device_and_workers(device, workers)
    with _resumable():
        try:
            made = session.tune(planned, kept, data, workers=count, device=device, storage=storage, mlflow=mlflow)
        except tuning.NotTuned as error:
            print(f"xlift: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
    rows = [
        (
            search.name,
            told(found.recipe),
            f"{found.trial} of {found.trials}",
            f"{100 * found.score:.1f}",
        )
        for search, found in made.study.lock.by_search.items()
    ]
    _table(("search", "values", "trial", "development score"), rows)
    print(f"\nwrote {relative(lock_path(study))}; look at it, commit it, and go on: xlift run {study}")


@app.command()
def sync(study: Study, store: StoreAt = Path("store"), data: DataAt = None) -> None:
    """Make MLflow complete from the store; safe to repeat."""
    from xlift.runners import tracking

    planned, kept = studies.planned(study, data), studies.existing(store)
    studies.known(kept, planned.study.id)
    studies.named(planned.study, data)
    print(tracking.Mirror(planned, kept).update())


@app.command()
def ui(store: StoreAt = Path("store"), port: Annotated[int, typer.Option(help="on loopback")] = 5055) -> None:
    """Open the MLflow UI on loopback."""
    from xlift.runners import tracking

    tracking.serve(studies.existing(store), port)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="over the views stages, scores, gains, missing", show_default=False)],
    store: StoreAt = Path("store"),
    form: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """Ask DuckDB about the runs."""
    from xlift.analysis import facts
    from xlift.analysis.report import table

    kept = studies.existing(store)
    print(table.rendered(facts.query(facts.connect(kept, kept.cards()), query), form))


@app.command()
def gains(
    study: Study,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet")] = "table",
    out: Annotated[Path | None, typer.Option(help="file to write; standard output where absent")] = None,
    group: Annotated[str | None, typer.Option(help="one target group, such as fine-tuned")] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
) -> None:
    """Every paired gain of a study, with lp and all that a formula may group by: what `fit` reads."""
    from xlift.analysis import facts
    from xlift.analysis import gains as pairing
    from xlift.analysis.report import table

    found = studies.read(studies.warned(studies.opened(study)), store, data)
    rows = pairing.gains(facts.connect(found.store, [found.card]), found.card.study, group)
    if form == "parquet" and not (out or not sys.stdout.isatty()):
        _stop("--format parquet is not for a terminal; give --out FILE")
    made = rows.to_parquet(index=False) if form == "parquet" else f"{table.rendered(rows, form)}\n".encode()
    if out is None:
        sys.stdout.buffer.write(made)
    else:
        if not out.parent.is_dir():
            _stop(f"--out {out}: no folder {out.parent}; make it first")
        out.write_bytes(made)


@app.command("import")
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
            _stop(f"no folder {study.parent}; make it first")
        study.write_text(templates.of_table(studies.table_at(table), table, study), encoding="utf-8")
        print(f"wrote {study}: see that it says what the columns are; then give the command again")
        return
    loaded = studies.warned(studies.opened(study))
    if not isinstance(loaded, TableStudy):
        _stop(f"{study} runs here and reads no table; give another manifest")
    if (study.parent / (file := loaded.manifest.data.file)).resolve() != table.resolve():
        _stop(f"{study} reads {file}, not {table}; change its data.file, or give another manifest")
    new = studies.imported(loaded, studies.store_at(store))
    print(f"{told(loaded)}; table {loaded.digest[:8]}, {'new' if new else 'which the store has already'}")


@app.command()
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


@app.command()
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
        _stop(f"--slopes {slopes}: write numbers, such as 1,2,4")
    loaded = studies.warned(studies.opened(study))
    card = studies.card_of(loaded, data)
    known, told = studies.variance_components(source or study, components, group, store, data)
    found, unknown = studies.simulated(card, known, group, samples, seed)
    note = shown.note(known, told, unknown, samples, seed)
    table = shown.power_table(found, wanted, note=note, tokens=tokens, flops=flops)
    made = shown.write(table, found, out or Path("reports") / f"{card.study}-power")
    print(table.to_text(), shown.answer(found), f"power: {made[0]} and {', '.join(path.name for path in made[1:])}", sep="\n\n")


@app.command()
def fit(
    data: Annotated[Path, typer.Option(help="a table: .csv, .tsv or .parquet", show_default=False)],
    formula: Annotated[str, typer.Option(help="'gain ~ lp * treatment + (1 | language) + (1 | model)'", show_default=False)],
    variances: Annotated[str | None, typer.Option(help="column of known sampling variances")] = None,
    weights: Annotated[str | None, typer.Option(help="column of weights: Var(e) = sigma^2 / weight")] = None,
    residual_by: Annotated[str | None, typer.Option(help="column with one residual variance for each value")] = None,
    df: Annotated[str, typer.Option(help="kenward-roger, satterthwaite or two-stage")] = "kenward-roger",
    unit: Annotated[str | None, typer.Option(help="with two-stage: the column of the units, such as model")] = None,
    ml: Annotated[bool, typer.Option("--ml", help="maximum likelihood; with --df satterthwaite")] = False,
    missing: Annotated[str, typer.Option(help="raise, or drop rows with missing values")] = "raise",
    aliased: Annotated[str, typer.Option(help="raise, or drop fixed effects that depend on others")] = "raise",
    engine: Annotated[str, typer.Option(help="xlift; or statsmodels: the nearest MixedLM beside it")] = "xlift",
    slopes: Annotated[str | None, typer.Option(help="slopes on this column: levels weighed equally, and by --by")] = None,
    by: Annotated[str | None, typer.Option(help="with --slopes: a column of levels, such as treatment")] = None,
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
            aliased=aliased,
            engine=engine,
            slopes=slopes,
            by=by,
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
    df: Annotated[str | None, typer.Option(help="of t tests: contain, kenward-roger, satterthwaite or residual")] = None,
    cluster: Annotated[str | None, typer.Option(help="column of clusters: adds robust CR2 estimates")] = None,
    forest: Annotated[Path | None, typer.Option(help="write a forest plot to this .svg or .png")] = None,
    funnel: Annotated[Path | None, typer.Option(help="write a funnel plot to this .svg or .png")] = None,
    labels: Annotated[str | None, typer.Option(help="column that names effects in the forest plot")] = None,
    leave_out: Annotated[str | None, typer.Option(help="column, such as paper: estimates without each of its levels")] = None,
    missing: Annotated[str, typer.Option(help="raise, or drop rows with missing values")] = "raise",
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
            df=df,
            cluster=cluster,
            forest=forest,
            funnel=funnel,
            labels=labels,
            leave_out=leave_out,
            missing=missing,
        )
    except NotConverged as error:
        print(f"xlift: no fit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.json() if as_json else answer.text())


def _condition(text: str, planned):
    """What --only says, checked against the study's axes."""
    from xlift.registry.manifest import conditions
    from xlift.registry.manifest.resolve import axes_of

    try:
        return conditions.parse(text, axes_of(planned.study.manifest, planned.study.facts.models))
    except conditions.BadCondition as error:
        _stop(f"--only: {error.words}")


def _told_gaps(planned) -> int:
    """1, with a line a reason, where cells cannot run though the manifest does not say so; otherwise 0."""
    for reason, count in planned.gaps().items():
        print(f"xlift: {count} cells cannot run: {reason}; or exclude them with 'as: blocked'", file=sys.stderr)
    return 1 if planned.gaps() else 0


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], file: TextIO | None = None) -> None:
    """Aligned columns; the last one may be as long as it likes."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, tuple("-" * width for width in widths[:-1]) + ("-" * len(head[-1]),), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=file)


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends it with status 130, and says that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nxlift: interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning on standard error: our own in a line of words, others with the place that gave them."""
    from xlift.registry.kept import NotRead

    ours = issubclass(category, NotRead)
    shown = f"xlift: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    sys.stderr.write(shown)


def _stop(message: str) -> NoReturn:
    print(f"xlift: {message}", file=sys.stderr)
    raise typer.Exit(2)


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="print the version", is_eager=True)] = False) -> None:
    if show_version:
        print(f"xlift {version('xlift')}")
        raise typer.Exit


def main() -> None:
    """Run a verb: exit status 0 done, 1 failed runs, 2 bad input; never a traceback for the user's mistakes."""
    from xlift.registry.findings import BadInput, UserError

    warnings.showwarning = _warned
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a manifest holds may not be printable
    try:
        app()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"xlift: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
