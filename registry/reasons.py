"""Why a stage of a plan would run: what differs between it and the finished run that is nearest to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xlift.registry.changes import flat, shown
from xlift.registry.findings import UserError, similar
from xlift.registry.plan import Plan, Step
from xlift.registry.stage import NUMBERS, Stage
from xlift.registry.standing import Standing, standing
from xlift.registry.store import Store

Fields = dict[str, Any]
KINDS = ("kind", "data.kind")  # what two stages share that are compared


@dataclass(frozen=True)
class Why:
    """A stage that would run, and the reason; `nearest` is the finished run that differs least, `differs` how it does."""

    step: Step
    reason: str
    nearest: str | None = None
    differs: tuple[str, ...] = ()


def why(plan: Plan, store: Store, stage: str | None = None) -> list[Why]:
    """The reasons of all that would run, or that another version keeps from it, or of one stage, by how its id begins.

    UserError where it is none of the plan's.
    """
    stands = standing(plan, store)
    again = {step.stage.id for step in (stands.todo() if stage is None else (_named(plan, stage),))}
    asked = again if stage else again | stands.foreign.keys()
    finished = dict(_finished(store))
    return [_why(step, stands, store, again, finished) for step in plan.steps if step.stage.id in asked]


def _named(plan: Plan, name: str) -> Step:
    found = [step for step in plan.steps if step.stage.id.startswith(name)]
    if len(found) != 1:
        known = [step.stage.id for step in plan.steps]
        hint = similar(name, known) if not found else f"it begins {len(found)} ids; write more of it"
        raise UserError(f"no stage '{name}' in this plan; {hint}")
    return found[0]


def _why(step: Step, stands: Standing, store: Store, again: set[str], finished: Mapping[str, Fields]) -> Why:
    stage, state = step.stage, stands.states[step.stage.id]
    if reason := stands.blocked(step):
        return Why(step, f"it cannot run: {reason}")
    record = store.record(stage.id)
    if record and state == "finished" and not (record.released and stage.id in again):
        return Why(step, f"it is finished, and would not run; it ran on {record.started[:19]}")
    if record and record.released:
        return Why(step, "its checkpoint was released after tuning, and is needed again")
    if record:
        return Why(step, f"languages without a whole score: {', '.join(stands.missing[stage.id])}")
    if failure := stands.failures.get(stage.id):
        return Why(step, f"its last try failed: {failure}")
    above = next((ancestor for ancestor in stage.lineage[:-1] if ancestor.id in again), None)
    own = _flat(stage)
    like = {name: fields for name, fields in finished.items() if all(fields[kind] == own[kind] for kind in KINDS)}
    nearest = min(
        like, key=lambda name: (like[name]["data.task"] != own["data.task"], _distance(own, like[name]), name), default=None
    )
    differs = tuple(_differences(own, finished[nearest])) if nearest else ()
    if above and (not nearest or all(name.startswith("parent") for name in differs)):
        return Why(step, f"it follows {above.kind} {above.id} ({above.data.task}), which would run", nearest, differs)
    return Why(step, "it never ran here", nearest, differs)


def _finished(store: Store) -> Iterator[tuple[str, Fields]]:
    """The finished runs, by id, with their fields."""
    for name, stage in store.finished():
        yield name, _flat(stage) | ({} if stage.id == name else {"numbers": f"before {NUMBERS}"})


def _flat(stage: Stage) -> Fields:
    """All fields of a stage by their paths, those of its ancestors below `parent`; lists are one value."""
    return {"numbers": NUMBERS} | flat(stage.model_dump(mode="json"))


def _distance(one: Fields, other: Fields) -> int:
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def _differences(now: Fields, then: Fields) -> Iterator[str]:
    """'recipe.lr: 0.002, was 0.001', the fields of the stage itself before those of its ancestors."""
    names = [name for name in now.keys() | then.keys() if now.get(name) != then.get(name)]
    for name in sorted(names, key=lambda name: (name.count("parent"), name)):
        yield f"{name}: {shown(now.get(name))}, was {shown(then.get(name))}"
