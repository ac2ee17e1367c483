"""A study on machines that are not here: by the order in which workers take stages, and what their devices hold.

Whoever is free takes the first stage in the queue's order (`standing.by_chain`) whose ancestors are finished and which its device
holds; faster devices ask first. On this machine a stage takes what it took, or what one alike took, in the store or in a
rehearsal (`xlift plan --probe`); on others its operations at the device's speed, after its weights were loaded.
"""

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlift.registry.findings import UserError, similar
from xlift.registry.known.devices import DEVICES, REACHED
from xlift.registry.plan import Plan, Step
from xlift.registry.profile import needed_gb
from xlift.registry.standing import by_chain

START, READ = 10.0, 1e9  # seconds until a stage's process works, and bytes of weights that are read in a second
HERE = "here"


@dataclass(frozen=True)
class Machines:
    """So many devices of one kind; `speed` is operations a second, None for those of this machine."""

    kind: str
    count: int
    memory_gb: float
    speed: float | None


@dataclass(frozen=True)
class Simulated:
    """Seconds from the first stage to the last; device seconds with and without work; the share of time that devices waited.

    `unplaced` stages fit no device, and what rests on them does not run. `bounds`: no order can be faster than each of these.
    """

    makespan: float
    busy: float
    held: float
    idle: float
    stages: int
    unplaced: int
    bounds: dict[str, float]
    used: dict[str, float]  # by kind of device, the share of the makespan that it worked

    @property
    def bottleneck(self) -> str:
        """What an addition would have to change first."""
        return max(self.bounds, key=lambda name: self.bounds[name]) if self.bounds else "nothing is to run"


def machines(text: str) -> tuple[Machines, ...]:
    """'64xH100,16xA100': kinds of `known.devices`, or `here` for workers of this machine. UserError where it is none."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9][0-9]{0,5})\s*[x×*]\s*(\S+)\s*", part)
        if not match:
            raise UserError(f"--simulate {part.strip()!r}: write a count and a device, such as 64xH100,16xA100")
        count, kind = int(match[1]), match[2]
        if kind == HERE:
            found.append(Machines(HERE, count, float("inf"), None))
        elif kind in DEVICES:
            found.append(Machines(kind, count, DEVICES[kind].memory_gb, REACHED * DEVICES[kind].peak))
        else:
            raise UserError(f"--simulate: unknown device '{kind}'", similar(kind, [*DEVICES, HERE]))
    return tuple(found)


def seconds(
    plan: Plan, operations: Mapping[str, float], measured: Mapping[str, float], rehearsed: Mapping[str, float]
) -> "Durations":
    """How long stages take here: as `measured`, or as stages alike were; else as one alike was `rehearsed` (seconds by stage)."""
    alike: dict[tuple[object, ...], list[float]] = {}
    for found in (measured, rehearsed):
        known = {*alike}
        for step in plan.steps:
            if step.stage.id in found and likeness(step) not in known:
                alike.setdefault(likeness(step), []).append(found[step.stage.id])
    return Durations(plan, operations, measured, {key: sum(own) / len(own) for key, own in alike.items()})


@dataclass(frozen=True)
class Durations:
    """Seconds of a stage on a device."""

    plan: Plan
    operations: Mapping[str, float]
    measured: Mapping[str, float]
    alike: Mapping[tuple[object, ...], float]

    def here(self, step: Step) -> float | None:
        """On this machine, whose workers live across stages; None where no stage alike was ever timed."""
        return self.measured.get(step.stage.id) or self.alike.get(likeness(step))

    def __call__(self, step: Step, on: Machines) -> float:
        if on.speed:
            weights = 4 * self.plan.study.facts.models[step.model].parameters.total
            return START + weights / READ + self.operations[step.stage.id] / on.speed
        known = self.here(step)
        if known is None:
            raise UserError(f"nothing is known of how fast {step.model} is here", "give --probe, or a store in which it ran")
        return known

    def reached(self) -> dict[str, float]:
        """Operations a second of each model over the stages that were timed, with all that they do beside them."""
        timed: dict[str, list[tuple[float, float]]] = {}
        for step in self.plan.steps:
            if taken := self.here(step):
                timed.setdefault(step.model, []).append((self.operations[step.stage.id], taken))
        return {model: sum(count for count, _ in own) / sum(taken for _, taken in own) for model, own in timed.items()}


def likeness(step: Step) -> tuple[object, ...]:
    """What stages have in common that take equally long."""
    return step.model, step.stage.kind, step.stage.data.task, step.stage.recipe, len(step.tests)


def simulate(plan: Plan, steps: Sequence[Step], on: Sequence[Machines], duration: Durations) -> Simulated:
    """Run `steps` on paper."""
    fastest = max(on, key=lambda each: each.speed or 0.0)
    order = by_chain(steps, lambda step: duration(step, fastest))
    place = {step.stage.id: at for at, step in enumerate(order)}
    fits = {step.stage.id: _fitting(step, plan, on) for step in order}
    children: dict[str, list[Step]] = {}
    missing: dict[str, int] = {}
    runs = {step.stage.id for step in order if all(fits.get(stage.id, True) for stage in step.stage.lineage)}
    for step in order:
        above = [stage.id for stage in step.stage.lineage[:-1] if stage.id in runs][-1:]
        missing[step.stage.id] = len(above)
        for id in above:
            children.setdefault(id, []).append(step)
    ready = [(place[step.stage.id], step) for step in order if step.stage.id in runs and not missing[step.stage.id]]
    heapq.heapify(ready)
    free = {index: each.count for index, each in enumerate(on)}
    faster = sorted(range(len(on)), key=lambda index: -(on[index].speed or 0))
    events: list[tuple[float, int, int, Step]] = []
    now, worked = 0.0, dict.fromkeys(range(len(on)), 0.0)
    while ready or events:
        aside = []
        while ready and any(free.values()):
            at, step = heapq.heappop(ready)
            index = next((index for index in faster if free[index] and index in fits[step.stage.id]), None)
            if index is None:
                aside.append((at, step))
                continue
            free[index] -= 1
            took = duration(step, on[index])
            worked[index] += took
            heapq.heappush(events, (now + took, at, index, step))
        for item in aside:
            heapq.heappush(ready, item)
        now, _, index, step = heapq.heappop(events)
        free[index] += 1
        for child in children.get(step.stage.id, ()):
            missing[child.stage.id] -= 1
            if not missing[child.stage.id] and child.stage.id in runs:
                heapq.heappush(ready, (place[child.stage.id], child))
    count, busy = sum(each.count for each in on), sum(worked.values())
    return Simulated(
        makespan=now,
        busy=busy,
        held=now * count,
        idle=1 - busy / (now * count) if now else 0.0,
        stages=len(runs),
        unplaced=len(order) - len(runs),
        bounds=_bounds([step for step in order if step.stage.id in runs], on, fits, duration),
        used={each.kind: worked[index] / (now * each.count) if now else 0.0 for index, each in enumerate(on)},
    )


def _fitting(step: Step, plan: Plan, on: Sequence[Machines]) -> frozenset[int]:
    needed = needed_gb(step, plan.study.facts.models[step.model])
    return frozenset(index for index, each in enumerate(on) if each.memory_gb >= needed)


def _bounds(
    steps: Sequence[Step], on: Sequence[Machines], fits: Mapping[str, frozenset[int]], duration: Durations
) -> dict[str, float]:
    """Seconds that no order can beat, by what would have to change: the longest chain, and the work of each set of devices."""
    chain: dict[str, float] = {}
    longest = ("", 0.0)
    work: dict[frozenset[int], float] = {}
    for step in steps:
        fastest = min(duration(step, on[index]) for index in fits[step.stage.id])
        above = next((chain[stage.id] for stage in reversed(step.stage.lineage[:-1]) if stage.id in chain), 0.0)
        chain[step.stage.id] = above + fastest
        if chain[step.stage.id] > longest[1]:
            tasks = " > ".join(stage.data.task for stage in step.stage.lineage)
            longest = (f"the longest chain of stages ({step.model}: {tasks})", chain[step.stage.id])
        work[fits[step.stage.id]] = work.get(fits[step.stage.id], 0.0) + fastest
    found = {longest[0]: longest[1]} if steps else {}
    for kinds in work:
        share = sum(seconds_ for other, seconds_ in work.items() if other <= kinds)
        count = sum(on[index].count for index in kinds)
        names = ", ".join(f"{on[index].count} {on[index].kind}" for index in sorted(kinds))
        alone = "" if len(kinds) == len(on) else ", which alone hold it"
        found[f"the work on {names}{alone}"] = share / count
    return found
