"""Verbs on a study's manifest: checked, understood, planned, registered."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xlift import studies
from xlift.options import AsJson, DataAt, Device, ModelsAt, StoreAt, Study, stop, table_of, told_gaps

if TYPE_CHECKING:
    from xlift.registry.cost import Cost
    from xlift.registry.plan import Plan
    from xlift.registry.simulate import Durations
    from xlift.registry.store import Store


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


def schema() -> None:
    """Print the JSON Schema of manifests, for editors."""
    from xlift.registry.manifest.schema import schema

    print(json.dumps(schema(), indent=1))


def init(path: Annotated[Path, typer.Argument(help="the manifest to write")] = Path("study.yaml")) -> None:
    """Write a small study in the lab to start from."""
    from xlift.registry.manifest import templates

    if path.exists():
        stop(f"{path} exists; give another path")
    if not path.parent.is_dir():
        stop(f"no folder {path.parent}; make it first")
    path.write_text(templates.of_the_lab(path), encoding="utf-8")
    print(f"wrote {path}; now: xlift check {path}")


def show(study: Study) -> None:
    """Show a study as it is understood: inheritance joined, defaults filled in; parameters on standard error."""
    loaded = studies.opened(study)
    card = studies.card_of(loaded, None)
    sizes = {cell.model: (cell.family, cell.params_total, cell.params_non_embedding) for cell in card.cells}
    rows = [(name, family, *("-" if n is None else f"{n:,}" for n in counts)) for name, (family, *counts) in sizes.items()]
    table_of(("model", "family", "parameters", "outside embeddings"), rows, file=sys.stderr)
    for model in studies.primary_models(card):
        print(f"\nprimary model of {model.group} targets: {model.formula}", file=sys.stderr)
        for text in [*(f"left out: {text}" for text in model.left_out), *model.slopes]:
            print(f"  {text}", file=sys.stderr)
    print(json.dumps(loaded.manifest.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1, ensure_ascii=False))


def plan(
    study: Study,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    stages: Annotated[bool, typer.Option("--stages", help="a line a stage; a line a group of them where absent")] = False,
    flops: Annotated[float, typer.Option(min=1, help="operations a second that a GPU reaches, for GPU hours")] = 4e14,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="measure that here, by stages of the study cut short, of models whose weights are here"),
    ] = False,
    simulate: Annotated[
        str | None, typer.Option(help="how long it takes on such machines, such as 64xH100,16xA100, or 2xhere")
    ] = None,
    device: Device = "auto",
    models: ModelsAt = None,
    as_json: AsJson = False,
) -> None:
    """What a study would run: its stages with their states, whether its files are whole, and what it will take."""
    from xlift.registry import cost
    from xlift.registry.standing import standing

    planned, kept = studies.planned(study, data), studies.store_at(store)
    if studies.unnamed(planned.study, data):
        print("xlift: the ids of a local study rest on its data: without --data DIR no state is known", file=sys.stderr)
    stands = standing(planned, kept)
    rehearsed = _rehearsed(planned, store, device, models, simulate) if probe else {}
    if simulate is not None:
        _simulated(planned, kept, simulate, rehearsed, as_json)
        return
    rows = stands.describe()
    reached = _durations(planned, {}, rehearsed).reached() if rehearsed else {}
    costs = cost.costs(planned, stands, planned.builder.inputs, flops, reached) if planned.builder else []
    if as_json:
        summary = {"study": planned.study.id, "cells": len(planned.cells), "excluded": planned.excluded, "gaps": planned.gaps()}
        print(json.dumps({**summary, "costs": cost.as_json(costs), "stages": rows}, indent=1))
        raise typer.Exit(1 if planned.gaps() else 0)
    if stages:
        head = ("id", "kind", "model", "after", "task", "seed", "parent", "state", "reason")
        table_of(head, [tuple("-" if row[name] is None else str(row[name]) for name in head) for row in rows])
    else:
        _groups(rows)
    counts = {state: sum(row["state"] == state for row in rows) for state in ("run", "finished", "blocked")}
    print(
        f"\n{len(rows)} stages: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
        + f"; {len(planned.cells)} cells"
        + "".join(f"; {count} excluded: {why}" for why, count in planned.excluded.items())
        + ("" if stages else "; --stages lists them")
    )
    if costs:
        _costs([*costs, *([cost.total(costs)] if len(costs) > 1 else [])], flops, sorted(reached))
    raise typer.Exit(told_gaps(planned))


def _durations(plan: "Plan", measured: dict[str, float], rehearsed: dict[str, float]) -> "Durations":
    from xlift.registry import cost, simulate

    hours = cost.hours(plan, plan.steps, plan.builder.inputs, flops=1.0)
    return simulate.seconds(plan, {id: 3600 * each for id, each in hours.items()}, measured, rehearsed)


def _simulated(plan: "Plan", kept: "Store", text: str, rehearsed: dict[str, float], as_json: bool) -> None:
    """A study on paper: makespan, device hours, idle share, and what bounds it."""
    from dataclasses import asdict

    from xlift.registry import simulate

    on = simulate.machines(text)
    measured = {step.stage.id: record.seconds for step in plan.steps if (record := kept.record(step.stage.id))}
    found = simulate.simulate(plan, plan.steps, on, _durations(plan, measured, rehearsed))
    if as_json:
        print(json.dumps({"study": plan.study.id, "machines": text, **asdict(found), "bottleneck": found.bottleneck}, indent=1))
        return
    print(
        f"{plan.study.id} on {text}: {found.stages} stages" + (f", and {found.unplaced} that fit none" if found.unplaced else "")
    )
    unit, name = (3600.0, "h") if found.makespan >= 3600 else (1.0, "s")
    spent = f"{found.held / unit:,.1f} device {name}, {100 * found.idle:.1f} % of them idle"
    print(f"makespan {found.makespan / unit:,.1f} {name}, {spent}")
    for kind, share in found.used.items():
        print(f"  {kind}: works {100 * share:.1f} % of the time")
    print(f"bounded by {found.bottleneck}; no order is faster than")
    for bound, least in sorted(found.bounds.items(), key=lambda item: -item[1]):
        print(f"  {least / unit:,.1f} {name}: {bound}")


def _rehearsed(plan: "Plan", store: Path, device: str, models: Path | None, on: str | None) -> dict[str, float]:
    """Seconds of stages that were rehearsed here, with a worker's share of the cores; on stderr, why others were not."""
    from xlift.registry import simulate
    from xlift.runners import probe
    from xlift.runners.jobs import Env
    from xlift.runners.machine import cores, device_and_workers

    workers = sum(each.count for each in simulate.machines(on) if each.kind == simulate.HERE) if on is not None else 0
    device, usual = device_and_workers(device, workers or None)
    env = Env(store, plan.builder.inputs, device, max(1, cores() // usual), models=models)
    found, reasons = probe.durations(plan, env)
    for name, why in reasons.items():
        print(f"xlift: {name} was not tried: {why}", file=sys.stderr)
    return found


def _groups(rows: list[dict[str, object]]) -> None:
    """A line for the stages of one kind, model, state and reason."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("kind", "model", "state")) + (str(row["reason"] or "-"),)
        groups.setdefault(key, []).append(str(row["task"]))
    head = ("kind", "model", "stages", "state", "tasks", "reason")
    lines = []
    for (kind, model, state, reason), tasks in groups.items():
        names = list(dict.fromkeys(tasks))
        told = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines.append((kind, model, str(len(tasks)), state, told, reason))
    table_of(head, lines)


def _costs(costs: "list[Cost]", flops: float, reached: list[str]) -> None:
    """What is still to run, by model."""
    tuned = any(each.tuning_gpu_hours for each in costs)
    head = ["left to run", "stages", "examples", "tokens", "GPU hours", *(["of tuning"] * tuned)]
    head += ["memory GB", "disk GB", "with --release", *(["operations/s"] * bool(reached))]
    rows = []
    for each in costs:
        hours = [f"{each.gpu_hours:,.1f}", *([f"{each.tuning_gpu_hours:,.1f}"] * tuned)]
        sizes = [f"{number:,.1f}" for number in (each.memory_gb, each.disk_gb, each.released_gb)]
        speed = [f"{each.flops:.1e}" if each.model in reached else "-"] * bool(reached)
        rows.append((each.model, f"{each.stages:,}", f"{each.examples:,}", f"{each.tokens:,}", *hours, *sizes, *speed))
    print()
    table_of(tuple(head), rows)
    print(
        "\nRoughly: tokens by the bytes of files or, where they are not here, by known sizes; GPU hours at "
        + ("what stages cut short reached here, else at " if reached else "")
        + f"{flops:.2g} operations a second;\nmemory of weights, gradients and moments, without activations; --release keeps two "
        "checkpoints a worker."
    )


def why(
    study: Study,
    stage: Annotated[str | None, typer.Argument(help="the beginning of a stage's id", show_default=False)] = None,
    store: StoreAt = Path("store"),
    data: DataAt = None,
    as_json: AsJson = False,
) -> None:
    """What would run again, and which field differs from the nearest finished run."""
    from xlift.registry import reasons

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


def register(study: Study, store: StoreAt = Path("store"), data: DataAt = None) -> None:
    """Freeze hypotheses, outcomes, exclusions and formulas by hash: confirmatory, if no target has a score yet."""
    loaded = studies.warned(studies.opened(study))
    made = studies.register(loaded, studies.store_at(store), data)
    kind = "confirmatory" if made.confirmatory else f"exploratory: {made.scored} evaluations had scores"
    if made.twins:
        kind += f"; {made.twins} evaluations of the same models on the same targets, by another recipe or in tables, had scores"
    print(f"registered {made.study} on {made.at}, {kind}\nsha-256 {made.digest}")
