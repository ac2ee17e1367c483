"""How the stages of a plan stand in a store: looked at once, and handed on to whatever asks."""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from xlift.registry.kept import NotUnderstood
from xlift.registry.plan import Plan, Step
from xlift.registry.stage import Stage
from xlift.registry.store import Record, Store, part_name, unnumbered

Seen = Literal["finished", "released", "failed", "held", "free", "foreign"]
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
    damaged: tuple[Step, ...] = ()  # evaluations of which parts are not what was committed

    def mend(self, store: Store) -> None:
        """Take what is damaged out of its records, so that it is made again."""
        for step in self.damaged:
            lost = self.missing[step.stage.id]
            store.disown(step.stage, {part_name(language, step.tests[language]) for language in lost})

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


def standing(plan: Plan, store: Store, *, read: bool = False) -> Standing:
    """How every stage of a plan stands now, by its record and by the sizes of the files that this names.

    With `read` these are compared with their checksums, so that what is damaged can be made again.
    """
    states, missing, usable = dict[str, State](), dict[str, tuple[str, ...]](), set[str]()
    foreign, failures, damaged = dict[str, str](), dict[str, str](), list[Step]()
    for step in plan.steps:
        id = step.stage.id
        try:
            record, failure = store.record(id), store.failed(id)
        except NotUnderstood as error:
            foreign[id], states[id] = str(error), "blocked"
            continue
        if failure:
            failures[id] = failure.reason
        whole = record is not None
        if step.stage.kind == "evaluate":
            missing[id] = store.missing_of(record, id, step.tests, read=read)
            whole = not missing[id]
            if record and set(missing[id]) - set(unnamed(step, record)):
                damaged.append(step)
        states[id] = "blocked" if step.blocked else "finished" if whole else "run"
        if record and not record.released and states[id] == "finished":
            usable.add(id)
    return Standing(plan, states, missing, foreign, frozenset(usable), failures, tuple(damaged))


def unnamed(step: Step, record: Record) -> tuple[str, ...]:
    """The languages of an evaluation of which a record names no score: what it names is not looked at."""
    names = {unnumbered(name) for name in record.files}
    return tuple(language for language, data in step.tests.items() if part_name(language, data) not in names)


def look(step: Step, store: Store, clock: Callable[[], float]) -> tuple[Seen, str, int]:
    """How one stage stands, why, and how often its memory did not do: in as few file operations as can be.

    What a record names is not looked at.
    """
    id, (found, why) = step.stage.id, _recorded(step, store)
    if found in ("finished", "foreign"):
        return found, why, 0
    if store.busy(id, clock):
        return "held", "", 0
    try:
        failure = store.failed(id)
    except NotUnderstood as error:
        return "foreign", str(error), 0
    if failure is None:
        return found, "", 0
    short = sum(attempt.kind == "memory" for attempt in failure.counted(step.mark))
    return ("failed", failure.told(), short) if failure.final(step.mark) else (found, "", short)


def left(steps: Sequence[Step], store: Store) -> tuple[Step, ...]:
    """What must run of runnable steps by records alone: evaluations that are not finished, and what they rest on."""
    known, needed = dict[str, bool](), set[str]()
    by_id = {step.stage.id: step for step in steps}

    def usable(id: str) -> bool:
        if id not in known:
            known[id] = id not in by_id or _recorded(by_id[id], store)[0] == "finished"
        return known[id]

    for step in steps:
        if step.stage.kind == "evaluate" and _recorded(step, store)[0] not in ("finished", "foreign"):
            needed.add(step.stage.id)
            for ancestor in reversed(step.stage.lineage[:-1]):
                if usable(ancestor.id):
                    break
                needed.add(ancestor.id)
    return tuple(step for step in steps if step.stage.id in needed)


def by_chain(steps: Sequence[Step], work: Callable[[Step], float]) -> list[Step]:
    """Steps in the order in which workers take them: those first that most work hangs on, themselves and what comes after them.

    That is the order by the longest path of a list schedule (Hu 1961); parents come before children.
    """
    after: dict[str, float] = {}
    path: dict[str, float] = {}
    for step in reversed(steps):
        id, parent = step.stage.id, step.stage.parent
        path[id] = work(step) + after.get(id, 0.0)
        if parent:
            after[parent.id] = max(path[id], after.get(parent.id, 0.0))
    return sorted(steps, key=lambda step: -path[step.stage.id])


def _recorded(step: Step, store: Store) -> tuple[Seen, str]:
    try:
        record = store.record(step.stage.id)
    except NotUnderstood as error:
        return "foreign", str(error)
    if record is None:
        return "free", ""
    if step.stage.kind == "evaluate":
        return ("free" if unnamed(step, record) else "finished"), ""
    return ("released" if record.released else "finished"), ""


def _unfinished(stage: Stage, ready: Container[str]) -> Iterator[Stage]:
    """An evaluation and, below it, ancestors up to the first whose checkpoint is there."""
    yield stage
    for ancestor in reversed(stage.lineage[:-1]):
        if ancestor.id in ready:
            return
        yield ancestor
