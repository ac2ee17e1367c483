"""Verbs that run a study, and show it in MLflow."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from xlift import cluster, studies
from xlift.options import DataAt, Device, ModelsAt, StoreAt, Study, Tracked, Workers, stop, table_of, told_gaps

MINUTES = 10.0
On = Annotated[str | None, typer.Option("--on", help="local, slurm or ray: start workers there, and return")]

Profiled = Annotated[
    Path | None, typer.Option("--profile", envvar="XLIFT_PROFILE", help="classes of resources, for --on slurm and --on ray")
]


def run(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    models: ModelsAt = None,
    workers: Workers = None,
    device: Device = "auto",
    only: Annotated[str | None, typer.Option(help="run these cells alone, such as \"target == 'lab-pos'\"")] = None,
    keep: Annotated[float, typer.Option(min=0, help="minutes after which a training is kept again, to go on with")] = MINUTES,
    mlflow: Tracked = True,
    release: Annotated[bool, typer.Option("--release", help="delete checkpoints that nothing left to run needs")] = False,
    retry: Annotated[bool, typer.Option("--retry-failed", help="try again what failed as often as it is tried")] = False,
    on: On = None,
    profile: Profiled = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="with --on: print what would be sent, and what fits nowhere")] = False,
) -> None:
    """Run what is missing of a study. The same command again goes on, within trainings too, and runs nothing twice."""
    from xlift.runners import machine, session

    planned, kept = studies.planned(study, data, models=on is None), studies.store_at(store)
    chosen = planned.where(_condition(only, planned)) if only else None
    if on:
        where = cluster.Where(on, profile, data, models, workers, device, keep)
        cluster.send(planned, kept, where, only=chosen, retry=retry, dry=dry, follow=mlflow)
        return
    if dry:
        stop("--dry-run is of --on; xlift plan STUDY says what would run here")
    device, count = machine.device_and_workers(device, workers)
    with _resumable():
        outcome = session.run(
            planned,
            kept,
            data,
            workers=count,
            device=device,
            models=models,
            only=chosen,
            minutes=keep,
            mlflow=mlflow,
            release=release,
            retry=retry,
        )
    print(studies.report_of(planned.card(), kept).summary())
    gaps = told_gaps(planned)
    raise typer.Exit(1 if outcome.failed or outcome.skipped or outcome.foreign else gaps)


def tune(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    models: ModelsAt = None,
    workers: Workers = None,
    device: Device = "auto",
    storage: Annotated[
        str | None, typer.Option(envvar="XLIFT_TUNING", help="a database for the trials, such as postgresql://…; else the store")
    ] = None,
    mlflow: Tracked = True,
    on: On = None,
    profile: Profiled = None,
) -> None:
    """Search for the values of recipes on development data, and write what was found into the lock beside the manifest."""
    from xlift.registry.findings import relative
    from xlift.registry.manifest.lock import lock_path
    from xlift.registry.tuning import told
    from xlift.runners import machine, session, tuning

    planned, kept = studies.planned(study, data, models=True), studies.store_at(store)
    started = None
    if on:
        where = cluster.Where(on, profile, data, models, workers, device, MINUTES)
        count, started = cluster.for_tuning(planned, kept, where)
    else:
        device, count = machine.device_and_workers(device, workers)
    with _resumable():
        try:
            made = session.tune(
                planned,
                kept,
                data,
                workers=count,
                device=device,
                models=models,
                storage=storage,
                mlflow=mlflow,
                elsewhere=started,
            )
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
    table_of(("search", "values", "trial", "development score"), rows)
    print(f"\nwrote {relative(lock_path(study))}; look at it, commit it, and go on: xlift run {study}")


def sync(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    follow: Annotated[bool, typer.Option("--follow", help="and keep it so, until nothing of the study is left to run")] = False,
) -> None:
    """Make MLflow complete from the store; safe to repeat."""
    from xlift.runners import tracking

    planned, kept = studies.planned(study, data), studies.existing(store)
    studies.known(kept, planned.study.id)
    studies.named(planned.study, data)
    mirror = tracking.Mirror(planned, kept)
    with _resumable():
        print(tracking.followed(mirror) if follow else mirror.update())


def ui(store: StoreAt = Path("store"), port: Annotated[int, typer.Option(help="on loopback")] = 5055) -> None:
    """Open the MLflow UI on loopback."""
    from xlift.runners import tracking

    tracking.serve(studies.existing(store), port)


def _condition(text: str, planned):
    """What --only says, checked against the study's axes."""
    from xlift.registry.manifest import conditions
    from xlift.registry.manifest.resolve import axes_of

    try:
        return conditions.parse(text, axes_of(planned.study.manifest, planned.study.facts.models))
    except conditions.BadCondition as error:
        stop(f"--only: {error.words}")


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends it with status 130, and says that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nxlift: interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
