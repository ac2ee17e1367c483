"""How the stages of a plan stand in a store: looked at once, and handed on to whatever asks."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal

from xlift.registry.plan import Plan, Step
from xlift.registry.stage import Stage
from xlift.registry.store import Store

State = Literal["run", "finished", "blocked"]


@dataclass(frozen=True)
class Standing:
    """The states of all stages of a plan, by id, at one moment. A stage that is `blocked` may be so by `foreign`."""

    plan: Plan
    states: dict[str, State]
    missing: dict[str, tuple[str, ...]]  # evaluation -> languages without a whole score
    foreign: dict[str, str]  # why stages that another version wrote are neither read nor run
    usable: frozenset[str]  # trainings whose checkpoints are there
    failures: dict[str, str]  # the reasons of last tries

    def todo(self, only: frozenset[str] | None = None) -> tuple[Step, ...]:
        """What must run, parents first: unfinished evaluations (or those `only`), and the unfinished stages that they rest on."""
        needed = set[str]()
        for step in self.plan.steps:
            id = step.stage.id
            if step.stage.kind == "evaluate" and self.states[id] == "run" and (only is None or id in only):
                chain = [stage.id for stage in _unfinished(step.stage, self.usable)]
                if all(self.states[each] != "blocked" for each in chain):
                    needed |= set(chain)
        return tuple(step for step in self.plan.steps if step.stage.id in needed)

    def blocked(self, step: Step) -> str | None:
        """Why a step can neither run nor be read."""
        return step.blocked or self.foreign.get(step.stage.id)

    def describe(self) -> list[dict[str, object]]:
        """Every stage with its state: run, finished or blocked, and why."""
        return [
            {
                "id": step.stage.id,
                "kind": step.stage.kind,
                "model": step.model,
                "task": step.stage.data.task,
                "after": " > ".join(stage.data.task for stage in step.stage.lineage[:-1] if stage.kind == "train") or None,
                "seed": step.stage.effective_seed,
                "parent": step.stage.parent.id if step.stage.parent else None,
                "state": self.states[step.stage.id],
                "reason": self.blocked(step) or self.failures.get(step.stage.id),
            }
            for step in self.plan.steps
        ]


def standing(plan: Plan, store: Store) -> Standing:
    """How every stage of a plan stands now: files of scores are read once, and compared with their checksums."""
    ids = {step.stage.id: step for step in plan.steps}
    foreign = {id: reason for id in ids if (reason := store.foreign(id))}
    failures = {id: reason for id in ids if id not in foreign and (reason := store.failure(id))}
    missing = {
        id: store.missing(id, step.tests) for id, step in ids.items() if step.stage.kind == "evaluate" and id not in foreign
    }
    states: dict[str, State] = {}
    for id, step in ids.items():
        if step.blocked or id in foreign:
            states[id] = "blocked"
        else:
            whole = not missing[id] if id in missing else store.record(id) is not None
            states[id] = "finished" if whole else "run"
    usable = frozenset(id for id, state in states.items() if state == "finished" and store.usable(id))
    return Standing(plan, states, missing, foreign, usable, failures)


def _unfinished(stage: Stage, ready: Container[str]) -> Iterator[Stage]:
    """An evaluation and, below it, ancestors up to the first whose checkpoint is there."""
    yield stage
    for ancestor in reversed(stage.lineage[:-1]):
        if ancestor.id in ready:
            return
        yield ancestor
