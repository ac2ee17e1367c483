"""Verbs for many machines: workers, what is sent to a cluster, and how far it is."""

import json
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xlift import studies
from xlift.options import AsJson, DataAt, Device, ModelsAt, StoreAt, Study, stop, table_of

if TYPE_CHECKING:
    from xlift.registry.findings import Finding
    from xlift.registry.plan import Plan, Step
    from xlift.registry.profile import Opened
    from xlift.registry.standing import Standing
    from xlift.registry.store import Store
    from xlift.registry.submission import Submission
    from xlift.runners.engines.base import Engine, Order
    from xlift.runners.status import Now

SHOWN = 24  # stages that are named


def worker(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    models: ModelsAt = None,
    workers: Annotated[int, typer.Option(min=1, help="processes, each with a GPU of its own where there are several")] = 1,
    device: Device = "auto",
    time: Annotated[
        str | None, typer.Option("--for", help="how long, such as 8h, 90m or 1d; until nothing is left if absent")
    ] = None,
    keep: Annotated[float, typer.Option(min=0, help="minutes after which a training is kept again, to go on with")] = 10.0,
    grace: Annotated[int, typer.Option(min=1, help="seconds in which it is kept once it is asked to leave")] = 60,
    threads: Annotated[int | None, typer.Option(min=1, help="of each process; its share of the cores if absent")] = None,
    of: Annotated[str | None, typer.Option("--class", help="stages of this class of resources alone")] = None,
) -> None:
    """Take part in a study's runs, beside others that see its store. It leaves with status 75 where work is left."""
    from xlift.registry.manifest.load import load
    from xlift.runners import worker as joined

    seconds = _seconds(time) if time else None
    loaded, kept = load(study), studies.store_at(store)
    studies.named(loaded, data)
    if data is not None and not data.is_dir():
        stop(f"--data {data}: no such folder; give the folder that holds the tasks' files")
    steps = studies.steps_of(loaded, kept, data, keep=True)
    sent, index = _class(of, loaded.id, kept) if of else (None, 0)

    def mine(step: "Step", short: int) -> bool:
        return sent is None or sent.class_of(step, short) == index

    try:
        outcome = joined.work(
            loaded,
            sent.chosen(steps) if sent else steps,
            kept,
            data,
            workers=workers,
            device=device,
            models=models,
            minutes=keep,
            grace=grace,
            threads=threads,
            seconds=seconds,
            mine=mine,
        )
    except joined.WorkLeft as reason:
        print(f"xlift: work is left: {reason}", file=sys.stderr)
        raise typer.Exit(joined.LEFT) from None
    except joined.CancelledBy as reason:
        print(f"xlift: {reason}", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(1 if outcome.failed or outcome.skipped or outcome.foreign else 0)


def _seconds(text: str) -> float:
    from xlift.registry.profile import seconds

    try:
        if (found := seconds(text)) > 0:
            return found
    except ValueError:
        pass
    stop(f"--for {text}: write a number and s, m, h or d, such as 8h")


def _class(text: str, study: str, kept: "Store") -> "tuple[Submission, int]":
    """An order and one of its classes, by name@number; of the last order by its name alone."""
    from xlift.registry import submission

    name, _, number = text.partition("@")
    sent = submission.read(kept, study, int(number)) if number.isdigit() else submission.newest(kept, study)
    if sent is None or name not in sent.classes:
        names = ", ".join(sent.classes) if sent else "none: nothing was sent with `xlift run --on`"
        stop(f"--class {text}: study '{study}' has no such class (it has {names})")
    return sent, sent.classes.index(name)


@dataclass(frozen=True)
class Where:
    """What `xlift run --on` was told."""

    engine: str
    profile: Path | None
    data: Path | None
    models: Path | None
    workers: int | None
    device: str
    minutes: float


def send(
    plan: "Plan",
    kept: "Store",
    where: Where,
    *,
    only: frozenset[str] | None,
    retry: bool,
    dry: bool,
    follow: bool,
) -> None:
    """Start workers of a study on a cluster, or print what would be started; the store has its plan and card then."""
    from xlift.registry import submission
    from xlift.registry.findings import relative
    from xlift.registry.standing import standing
    from xlift.runners.engines import engine as engine_of

    engine = engine_of(where.engine)
    plan.pinned()
    stands = standing(plan, kept, read=True)
    todo, opened = stands.todo(only), _opened(where)
    order, findings = _order(plan, kept, where, todo, opened)
    if dry:
        for script in engine.scripts(order):
            print(f"--- {script.name}\n{script.text}")
        _classes(order)
        for finding in findings:
            print(finding.render(opened.sources.get(finding.place.file) if opened else None), file=sys.stderr)
        raise typer.Exit(2 if findings else 0)
    _check(engine, where, opened, findings)
    _remembered(plan, kept, stands, todo if retry else ())
    if (sent := submission.newest(kept, plan.study.id)) and (there := engine_of(sent.engine).states(sent.jobs)):
        print(f"{len(there)} jobs of an earlier order are there still, and go on beside; xlift cancel ends them", file=sys.stderr)
    if not todo:
        print(f"{plan.study.id}: nothing is left to run")
        return
    order, jobs = _submitted(order, where.engine, kept, todo, only=only is not None)
    if follow:
        _follow(order)
    _classes(order)
    print(f"\nsent to {where.engine}: {', '.join(jobs)}; logs in {order.logs}")
    print(f"how far it is: xlift status {relative(plan.study.path)}")


def _remembered(plan: "Plan", kept: "Store", stands: "Standing", again: "Sequence[Step]") -> None:
    """The store knows the plan, nothing in it is damaged, and what failed is tried `again`."""
    from xlift.registry import sheet
    from xlift.registry.plan import remember

    remember(plan, kept)
    sheet.save(plan, kept)
    stands.mend(kept)
    for step in again:
        kept.forgive(step.stage)


def for_tuning(plan: "Plan", kept: "Store", where: Where) -> "tuple[int, Callable[[], None]]":
    """How many workers tune a study on a cluster, and what starts them once there is something to do."""
    from xlift.registry.plan import Step
    from xlift.runners.engines import engine

    if where.engine == "ray":
        stop("trials are ordered as they come, which tasks of Ray do not: tune --on local or slurm, or start xlift worker there")
    opened, steps = _opened(where), dict[str, Step]()
    for search in plan.builder.searches if plan.builder else ():
        for training, judges in plan.builder.trials(search):
            below = [Step(stage, search.model, {}) for stage in training.stage.lineage[:-1]]
            steps |= {step.stage.id: step for step in (*below, training, *judges)}
    order, findings = _order(plan, kept, where, tuple(steps.values()), opened)
    _check(engine(where.engine), where, opened, findings)

    def started() -> None:
        made, jobs = _submitted(order, where.engine, kept, tuple(steps.values()))
        print(f"sent to {where.engine}: {', '.join(jobs)}; logs in {made.logs}", file=sys.stderr)

    return sum(order.count(index) for index in range(len(order.classes))), started


def _submitted(
    order: "Order", name: str, kept: "Store", steps: "Sequence[Step]", *, only: bool = False
) -> "tuple[Order, list[str]]":
    """Hand an order over; as it was handed over, and its jobs."""
    from xlift.registry import submission
    from xlift.runners.engines import engine

    number, folder = submission.begin(kept, order.name)
    order = replace(order, folder=folder.resolve())
    sent = submission.Submission(
        study=order.name,
        number=number,
        engine=name,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        jobs=(),
        classes=order.placed.classes,
        only=only,
        of=order.placed.of,
        alike={
            f"{step.model} {step.stage.kind}": order.placed.of[step.stage.id]
            for step in steps
            if step.stage.id in order.placed.of
        },
    )
    submission.save(kept, sent)  # workers read it as soon as they start
    try:
        order.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"the folder of logs {order.logs} cannot be made: {error.strerror or error}")
    jobs = engine(name).submit(order, engine(name).scripts(order))
    submission.save(kept, sent.model_copy(update={"jobs": tuple(jobs)}))
    return order, jobs


def _opened(where: Where) -> "Opened | None":
    """The profile; None where the engine needs none."""
    from xlift.registry import profile

    if where.engine == "local":
        return None
    if where.profile is None:
        stop(f"--on {where.engine} needs --profile FILE: which classes of resources there are, and for which stages")
    return profile.read(where.profile)


def _order(
    plan: "Plan", kept: "Store", where: Where, todo: "tuple[Step, ...]", opened: "Opened | None"
) -> "tuple[Order, list[Finding]]":
    """What is to be sent, and findings of what cannot be."""
    from xlift.registry import cost, profile, submission
    from xlift.runners.engines.base import Order
    from xlift.runners.machine import cores

    section = opened.section(where.engine) if opened else None
    classes = section.classes if section else (profile.Class(name="local", workers=where.workers or cores()),)
    placed = profile.place(todo, plan.study.facts.models, classes, _measured(todo, plan, kept))
    hours = cost.hours(plan, todo, plan.builder.inputs) if plan.builder else {}
    findings = profile.unplaced(placed, opened, where.engine) if opened else []
    order = Order(
        study=plan.study.path.resolve(),
        name=plan.study.id,
        store=kept.root.resolve(),
        folder=submission.folder(kept, plan.study.id).resolve() / "NUMBER",
        section=section,
        classes=tuple(classes),
        placed=placed,
        data=where.data.resolve() if where.data else None,
        models=where.models.resolve() if where.models else None,
        minutes=where.minutes,
        device=where.device,
        hours=tuple(sum(hours.get(id, 0.0) for id in placed.first(index)) for index in range(len(classes))),
    )
    return order, findings


def _measured(todo: "tuple[Step, ...]", plan: "Plan", kept: "Store") -> dict[str, float]:
    """10^9 bytes that trainings like those to do took, of the same model, kind and recipe: the most that was seen."""
    found: dict[tuple[object, ...], float] = {}
    for step in plan.steps:
        if step.stage.recipe and kept.usable(step.stage.id):
            taken = (kept.last(step.stage.id) or {}).get("memory_gb")
            if taken:
                key = (step.model, step.stage.kind, step.stage.recipe)
                found[key] = max(taken, found.get(key, 0.0))
    keys = {step.stage.id: (step.model, step.stage.kind, step.stage.recipe) for step in todo}
    return {id: found[key] for id, key in keys.items() if key in found}


def _classes(order: "Order") -> None:
    """A line a class: its stages, their GPU hours as planned, their largest memory, and its workers."""
    rows = []
    for index, each in enumerate(order.classes):
        ids = order.placed.first(index)
        most = max((order.placed.needs[id] for id in ids), default=0.0)
        rows.append((each.name, str(len(ids)), f"{order.hours[index]:,.2f}", f"{most:.2f}", str(order.count(index))))
    if order.placed.nowhere:
        rows.append(("none fits", str(len(order.placed.nowhere)), "", "", ""))
    table_of(("class", "stages", "GPU hours", "memory GB", "workers"), rows)


def _check(engine: "Engine", where: Where, opened: "Opened | None", findings: "list[Finding]") -> None:
    """BadInput where an engine is not here, or a profile does not fit."""
    from xlift.registry.findings import BadInput

    missing = engine.missing()
    if missing and opened:
        opened.stop("E154", (where.engine,), missing, "give the command where the engine is, or look with --dry-run")
    if missing:
        stop(missing)
    if findings and opened:
        raise BadInput(findings, opened.sources)


def _follow(order: "Order") -> None:
    """One process beside, which writes MLflow from the store until nothing is left to run."""
    from xlift.runners.engines.local import background

    words = [sys.executable, "-P", "-m", "xlift", "sync", str(order.study), "--store", str(order.store), "--follow"]
    words += ["--data", str(order.data)] if order.data else []
    background(words, order.folder / "follow.log")


def status(study: Study, store: StoreAt = Path("store"), data: DataAt = None, as_json: AsJson = False) -> None:
    """How far a study is, wherever it runs: done, running where, failed why, waiting for what, and the time left."""
    from xlift.registry import submission
    from xlift.registry.manifest.load import load
    from xlift.runners import status as states
    from xlift.runners.engines import engine

    loaded, kept = load(study), studies.existing(store)
    sent = submission.newest(kept, loaded.id)
    now = states.now(loaded, studies.steps_of(loaded, kept, data), kept, sent.names() if sent else None)
    jobs = engine(sent.engine).states(sent.jobs) if sent else {}
    if as_json:
        print(json.dumps({"study": loaded.id, **now.as_json(), "jobs": jobs}, indent=1))
    else:
        _told(now, jobs, sent.engine if sent else "")
    raise typer.Exit(1 if now.of("failed", "foreign") else 0)


def _told(now: "Now", jobs: dict[str, str], engine: str) -> None:
    from xlift.runners.progress import left_of
    from xlift.runners.status import STATES

    states = [state for state in STATES if now.of(state)]
    rows = [(model, kind, *(str(counter[state] or "") for state in states)) for model, kind, counter in now.counts()]
    table_of(("model", "kind", *states), rows)
    left = f", {left_of(now.seconds_left)} at the pace of the last hour" if now.seconds_left else ""
    print(f"\n{100 * now.share:.0f}% of the work is done{left}")
    for title, lines in (
        ("running", _few([f"{_name(each.step)}  {each.said}" for each in now.of("running")])),
        ("failed", _few([f"{_name(each.step)}  {each.said}" for each in now.of("failed", "foreign")])),
        ("waiting", [f"{count} for {what}" for what, count in now.waits().most_common(8)]),
        (f"jobs of {engine}", [f"{count} {state}" for state, count in Counter(jobs.values()).most_common()]),
    ):
        if lines:
            print(f"\n{title}\n" + "\n".join(f"  {line}" for line in lines))


def _few(lines: list[str]) -> list[str]:
    """As many lines as can be looked at."""
    return [*lines[:SHOWN], f"… and {len(lines) - SHOWN} more; --json has them"] if len(lines) > SHOWN else lines


def _name(step: "Step") -> str:
    return f"{step.stage.id}  {step.stage.kind} {step.model} {step.stage.data.task}"


def logs(
    study: Study,
    stage: Annotated[str, typer.Argument(help="a stage's id, or its first digits")],
    store: StoreAt = Path("store"),
    data: DataAt = None,
    lines: Annotated[int, typer.Option(min=1, help="last lines of its progress")] = 20,
) -> None:
    """What is known of one stage's run: where it is or was, its last steps, and the trace of each failure."""
    from xlift.registry import leases
    from xlift.registry.manifest.load import load

    loaded, kept = load(study), studies.existing(store)
    found = [step for step in studies.steps_of(loaded, kept, data) if step.stage.id.startswith(stage)]
    if len(found) != 1:
        stop(f"{len(found)} stages of study '{loaded.id}' begin with '{stage}'; xlift plan {study} --stages lists them")
    (step,) = found
    id, folder = step.stage.id, kept.folder(step.stage.id)
    print(f"{_name(step)}: {kept.state(id)}\n{folder}")
    if holder := leases.holder(folder):
        print(f"on {holder[0]} (process {holder[1]}) since {datetime.fromtimestamp(holder[2], UTC):%Y-%m-%d %H:%M:%S} UTC")
    for row in kept.log(id)[0][-lines:]:
        told = {name: value for name, value in row.items() if name != "time"}
        when = datetime.fromtimestamp(row["time"] / 1000, UTC)
        print(f"  {when:%H:%M:%S}  " + "  ".join(f"{name} {value:.6g}" for name, value in told.items()))
    if failure := kept.failed(id):
        for attempt in failure.attempts:
            print(f"failed ({attempt.kind}) on {attempt.host} at {attempt.at}: {attempt.reason}")
        print(failure.detail)


def cancel(study: Study, store: StoreAt = Path("store")) -> None:
    """End what runs of a study, wherever: workers keep their trainings and leave, and an engine's jobs end."""
    from xlift.registry import submission
    from xlift.registry.manifest.load import load
    from xlift.runners.engines import engine

    loaded, kept = load(study), studies.existing(store)
    submission.cancel(kept, loaded.id)
    sent = submission.newest(kept, loaded.id)
    states = engine(sent.engine).states(sent.jobs) if sent else {}
    if sent and states:
        engine(sent.engine).cancel(sent.jobs)
    print(
        f"{loaded.id}: workers are asked to leave" + (f"; {len(states)} jobs of {sent.engine} ended" if sent and states else "")
    )
