"""What the store says about the faces: how stages stand, and the points to draw. All times are milliseconds since 1970."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from xlift.registry import leases
from xlift.registry.pairing import left_out
from xlift.registry.plan import Plan, Step
from xlift.registry.score import Score
from xlift.registry.store import Store, part_name
from xlift.runners.tracking.runs import NOTE, RunView

State = Literal["waiting", "running", "partial", "finished", "failed", "stopped"]
Point = tuple[str, float, int, int]  # name, value, time, step
BESIDE = ("time", "step", "of")  # what a line of the log has beside its values


@dataclass(frozen=True)
class StageStatus:
    """How a stage stands in the store. Times are milliseconds since 1970; `mark` is the sha-256 of its record."""

    state: State
    started: int | None = None
    ended: int | None = None
    failure: str | None = None
    mark: str | None = None


def status_of(step: Step, store: Store) -> StageStatus:
    """`partial`: some languages are scored and nobody works on the rest; `stopped`: its lease ended without a word."""
    stage, folder = step.stage.id, store.folder(step.stage.id)
    if reason := store.foreign(stage):
        return StageStatus("stopped", failure=reason)
    alive = leases.alive(folder)  # looked at first: a commit comes before the end of its lease
    record = store.record(stage)
    if record:
        started = round(datetime.fromisoformat(record.started).timestamp() * 1000)
        whole = not store.missing(stage, step.tests)
        state: State = "finished" if whole else "running" if alive else "failed" if store.failure(stage) else "partial"
        mark = hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()
        return StageStatus(state, started, started + round(record.seconds * 1000), store.failure(stage), mark)
    if not leases.latest(folder):
        return StageStatus("waiting")
    started, ended = _changed(folder / "stage.json"), _changed(folder / "log.jsonl")
    if alive:
        return StageStatus("running", started)
    failure = store.failure(stage)
    if failure:
        return StageStatus("failed", started, _changed(folder / "failure.json"), failure)
    return StageStatus("stopped", started, ended or started)


def standing(statuses: Iterable[StageStatus]) -> str | None:
    """The status of the MLflow run over these stages, None before any of them started.

    SCHEDULED is the honest word for a run whose training is done and whose evaluation waits for a worker.
    """
    states = {seen.state for seen in statuses}
    if states <= {"waiting"}:
        return None
    if states == {"finished"}:
        return "FINISHED"
    order = {"running": "RUNNING", "failed": "FAILED", "stopped": "KILLED"}
    return next((status for state, status in order.items() if state in states), "SCHEDULED")


def scores(step: Step, store: Store) -> list[Score]:
    """The scores of an evaluation on the test data of this plan."""
    return [score for score in store.scores(step.stage.id) if step.tests.get(score.language) == score.data]


def attempt(view: RunView, store: Store) -> str | None:
    """What tells one try of a training from the next: the time of the first line of its log."""
    if view.training is None:
        return None
    try:
        with open(store.folder(view.training.stage.id) / "log.jsonl", "rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    return str(json.loads(line)["time"]) if line.endswith(b"\n") else None


def tags_of(view: RunView, statuses: Sequence[StageStatus], parent: str | None, study: str, store: Store) -> dict[str, str]:
    """The tags of a view's run; `parent` is the MLflow run above it."""
    tags = {"xlift.key": view.key, "xlift.kind": view.kind, "xlift.study": study, **view.axes}
    tags |= {"mlflow.note.content": view.note[:NOTE], "mlflow.source.name": "xlift", "mlflow.source.type": "LOCAL"}
    failures = [seen.failure for seen in statuses if seen.failure] if view.leaf else []
    more = {
        "mlflow.parentRunId": parent,
        "xlift.stage": view.stages,
        "xlift.try": attempt(view, store),
        "failure": failures[0][:NOTE] if failures else None,
    }
    return tags | {name: value for name, value in more.items() if value}


def curve_points(view: RunView, store: Store, offset: int) -> tuple[list[Point], int]:
    """New points of the training curves from a byte of the log on, and the byte after them."""
    if view.training is None:
        return [], offset
    try:
        rows, after = store.log(view.training.stage.id, offset)
    except ValueError:  # a new try is writing over the log: next time it is another view's run
        return [], offset
    return [
        (f"train/{name}", row[name], int(row["time"]), int(row["step"])) for row in rows for name in row if name not in BESIDE
    ], after


def score_points(view: RunView, store: Store) -> list[Point]:
    """`<metric>/<target>/<language>` at the time of its part; chance; and `score`, the mean that a list of runs is sorted by.

    Chance is one number for all languages where it is the same, so that it fills no page of charts.
    """
    evaluation, target, points, chances = view.steps[-1], view.cell.target, [], {}
    for score in scores(evaluation, store):
        at = store.written(evaluation.stage.id, part_name(score.language, score.data))
        points.append((f"{score.metric}/{target}/{score.language}", score.value, at, 0))
        if score.primary:
            chances[score.language] = (score.chance, at)
    if len({chance for chance, _ in chances.values()}) == 1:
        return [*points, (f"chance/{target}", *max(chances.values()), 0)]
    return points + [(f"chance/{target}/{language}", chance, at, 0) for language, (chance, at) in chances.items()]


def mean_points(cells: Sequence[RunView], store: Store, plan: Plan, at: int, name: str = "/{target}") -> list[Point]:
    """`score` and `gain`, means over cells of one target and all languages that make gains; none if there is no such.

    A gain is a score less the baseline's in the same language; `score/<target>` and `gain/<target>` where cells are several.
    """
    rule, source = plan.study.manifest.analysis.gain, plan.study.facts.source_language
    pairs = [both for view in cells for both in _pairs(view, store) if not left_out(both[0].language, rule, source)]
    gains = [treated.value - base.value for treated, base in pairs if base]
    suffix = name.format(target=cells[0].cell.target)
    found = {"score": [treated.value for treated, _ in pairs], "gain": gains}
    return [(f"{what}{suffix}", math.fsum(values) / len(values), at, 0) for what, values in found.items() if values]


def _pairs(view: RunView, store: Store) -> list[tuple[Score, Score | None]]:
    """The primary scores of a cell, each with its baseline's on the same data."""
    base = {score.data: score for score in scores(view.baseline, store) if score.primary} if view.baseline else {}
    return [(score, base.get(score.data)) for score in scores(view.steps[-1], store) if score.primary]


def _changed(path: Path) -> int | None:
    """When a file was last written, in milliseconds since 1970; None if it is not there."""
    try:
        return round(path.stat().st_mtime * 1000)
    except FileNotFoundError:
        return None
