"""How far a study is, from its store alone: whoever works on it, and wherever."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from xlift.registry import leases
from xlift.registry.kept import NotUnderstood
from xlift.registry.leases import Clock
from xlift.registry.plan import Step
from xlift.registry.standing import unnamed
from xlift.registry.store import Store
from xlift.registry.study import Study
from xlift.runners.progress import Ahead

State = Literal["done", "running", "failed", "foreign", "ready", "waiting", "skipped"]
STATES: tuple[State, ...] = ("done", "running", "ready", "waiting", "failed", "skipped", "foreign")
WINDOW = 3600.0  # seconds of which the pace is told


@dataclass(frozen=True)
class StageNow:
    """A stage at one moment, with what is to be said of it: where it runs and how far it is, or why it does not."""

    step: Step
    state: State
    said: str = ""


@dataclass(frozen=True)
class Now:
    """A study at one moment. `share` of its work is done; `pace` is work in a second, of the last hour."""

    stages: tuple[StageNow, ...]
    share: float
    pace: float
    seconds_left: float | None

    def counts(self) -> list[tuple[str, str, Counter[State]]]:
        """By model and kind, how many stages are in which state."""
        found: dict[tuple[str, str], Counter[State]] = {}
        for stage in self.stages:
            found.setdefault((stage.step.model, stage.step.stage.kind), Counter())[stage.state] += 1
        return [(model, kind, counter) for (model, kind), counter in found.items()]

    def of(self, *states: State) -> list[StageNow]:
        """The stages in these states."""
        return [stage for stage in self.stages if stage.state in states]

    def waits(self) -> Counter[str]:
        """What stages wait for, and how many do."""
        return Counter(stage.said for stage in self.of("waiting"))

    def as_json(self) -> dict[str, object]:
        """For machines."""
        rows = [
            {
                "id": each.step.stage.id,
                "kind": each.step.stage.kind,
                "model": each.step.model,
                "task": each.step.stage.data.task,
                "state": each.state,
                "said": each.said,
            }
            for each in self.stages
        ]
        return {"share": self.share, "seconds_left": self.seconds_left, "stages": rows}


def now(study: Study, steps: Sequence[Step], store: Store, classes: Mapping[str, str] | None = None) -> Now:
    """How the steps of a study stand; `classes`: of resources, by stage, where they were sent to a cluster."""
    looked, found, clock = time.time(), dict[str, StageNow](), Clock(store.root)
    ahead, recent = Ahead(study, tuple(steps), store), 0.0
    first = looked
    done = 0.0
    for step in steps:
        stage, work = step.stage, ahead.work[step.stage.id]
        try:
            record, failure = store.record(stage.id), store.failed(stage.id)
        except NotUnderstood as error:
            found[stage.id] = StageNow(step, "foreign", str(error))
            continue
        if record and not (stage.kind == "evaluate" and unnamed(step, record)):
            found[stage.id] = StageNow(step, "done")
            done += work
            ended = (store.folder(stage.id) / "record.json").stat().st_mtime
            if ended > looked - WINDOW:
                recent, first = recent + work, min(first, max(looked - WINDOW, ended - record.seconds))
        elif store.busy(stage.id, clock):
            share, said = _under_way(step, store, looked)
            found[stage.id] = StageNow(step, "running", said)
            done, recent = done + share * work, recent + share * work
        elif failure and failure.final(step.mark):
            found[stage.id] = StageNow(step, "failed", failure.told())
        else:
            found[stage.id] = _waiting(step, found, failure.told() if failure else "", classes or {})
    total = sum(ahead.work[step.stage.id] for step in steps if found[step.stage.id].state not in ("failed", "skipped", "foreign"))
    pace = recent / (looked - first) if looked - first > 1 else 0.0
    left = (total - done) / pace if pace and done < total else 0.0 if done >= total else None
    return Now(tuple(found.values()), done / total if total else 1.0, pace, left)


def _under_way(step: Step, store: Store, now: float) -> tuple[float, str]:
    """Which share of a stage is done, and where it runs, since when, and how fast."""
    holder, last = leases.holder(store.folder(step.stage.id)), store.last(step.stage.id)
    host, pid, since = holder or ("?", 0, now)
    said = f"on {host} (process {pid}) for {_time(now - since)}"
    if not last or not {"step", "of", "loss"} <= last.keys():
        return 0.0, said
    speed = f", {last['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in last else ""
    share = last["step"] / last["of"]
    return share, f"{said}: step {last['step']:.0f}/{last['of']:.0f}, loss {last['loss']:.3f}{speed}"


def _waiting(step: Step, found: Mapping[str, StageNow], failed: str, classes: Mapping[str, str]) -> StageNow:
    """A stage that nobody works on: what it waits for, of those before it; or that nothing keeps it but a worker."""
    for stage in reversed(step.stage.lineage[:-1]):
        above = found.get(stage.id)
        if above is None or above.state == "done":
            break
        what = f"{stage.kind} {above.step.model} {stage.data.task} ({stage.id})"
        if above.state in ("failed", "skipped", "foreign"):
            return StageNow(step, "skipped", f"its {what} failed")
        if above.state != "waiting":
            return StageNow(step, "waiting", f"{what}, which is {above.state}")
    where = f"a worker of class {classes[step.stage.id]}" if step.stage.id in classes else "a worker"
    return StageNow(step, "ready", f"waits for {where}" + (f"; failed once: {failed}" if failed else ""))


def _time(seconds: float) -> str:
    """'3 h 12 min'."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
