"""The queue of a study: its stages and the store. Whoever sees both takes from it, on whatever host; nobody hands out.

A stage is looked at before it is claimed, and what others finished is remembered. Stages that others hold are looked at again
now and then, a few at random; the longer nothing changes, the less often.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from xlift.registry import sheet
from xlift.registry.leases import Clock
from xlift.registry.orders import Orders
from xlift.registry.plan import Step
from xlift.registry.standing import Seen, by_chain, look
from xlift.registry.store import TRIES, Store
from xlift.runners.jobs import Ending, Job, Outcome

SOONEST, LATEST = 1.0, 30.0  # seconds between looks at what others hold
BACK_OFF = 1.5


class Queue:
    """What is left of a study: `take` what can be run now, and say what became of it.

    Steps come first that most `work` hangs on. `mine`: whether a stage runs here, given how often its memory did not do so far;
    what the others rest on is waited for. `orders` of tuners are run too, as long as one may order more.
    """

    def __init__(
        self,
        todo: Sequence[Step],
        store: Store,
        work: Callable[[Step], float],
        outcome: Outcome | None = None,
        mine: Callable[[Step, int], bool] = lambda *_: True,
        orders: Orders | None = None,
    ):
        ordered = by_chain(todo, work)
        self.store, self.mine, self.outcome = store, mine, outcome or Outcome()
        self.waiting = {step.stage.id: step for step in ordered}
        self.under_way: dict[str, Step] = {}  # here
        self.held: set[str] = set()  # elsewhere, when they were looked at last
        self.vain: set[str] = set()  # what failed here, and not for its memory or its numbers
        self._known = dict(self.waiting)
        self._tries: Counter[str] = Counter()
        self._short: dict[str, int] = {}
        self.orders, self._ordered = orders, dict[str, tuple[Job, int]]()
        self._asking = bool(orders and orders.open())
        self._pause, self._next, self._dry, self._looked = SOONEST, 0.0, False, not ordered
        self._chance = random.Random()

    def __bool__(self) -> bool:
        """Whether anything is left that runs here."""
        return self._asking or not self._looked or bool(self.under_way) or any(self._mine(step) for step in self.waiting.values())

    def take(self) -> Step | None:
        """A step whose ancestors are finished and that nobody has; the caller runs it, and says what became of it."""
        if self._dry and self.idle:
            return None
        self._take_orders()
        self._look_again()
        self._looked, clock = True, Clock(self.store.root)
        for step in self._ready():
            id = step.stage.id
            known = id in self.held or (id in self._short and not self._mine(step))
            if not known and self._seen(step, clock) == "free" and self._mine(step):
                self.under_way[id] = sheet.checked(self.waiting.pop(id))
                return step
            if id in self.waiting:
                self.held.add(id)
        self._dry, self._next = True, max(self._next, time.monotonic() + self._pause)
        return None

    def ended(self, ending: Ending) -> None:
        """What became of a step that was taken."""
        step = ending.job.step
        id = step.stage.id
        del self.under_way[id]
        self._dry, self._pause = False, SOONEST
        if ending.state == "done":
            self.outcome.done.append(id)
            return
        if ending.state == "pruned":
            if self.orders:
                self.orders.end(id, ending.state, ending.reason)
            return
        self.waiting[id] = step  # that it failed often enough is seen in the store
        if ending.state == "held":
            self.held.add(id)
        elif ending.state != "left":
            self._tries[id] += 1
            self.held.add(id)  # others may try it first, where it may do
            if ending.state in ("failed", "died", "device"):
                self.vain.add(id)
            if ending.state == "damaged":  # a checkpoint that it rests on: it is made again
                for stage in reversed(step.stage.lineage[:-1]):
                    if self.store.usable(stage.id):
                        break
                    self.waiting[stage.id] = self._known.get(stage.id) or Step(stage, step.model, {})
            if self._tries[id] >= TRIES and self._seen(step, Clock(self.store.root)) == "free":  # a full store noted nothing
                self._failed(step, ending.reason)

    def job(self, step: Step) -> Job:
        """What a worker is to do of a step."""
        return self._ordered[step.stage.id][0] if step.stage.id in self._ordered else Job(step)

    def go_on(self, job: Job, *_: object) -> bool:
        """Whether a watched training goes on."""
        return not (self.orders and job.step.stage.id in self._ordered and self.orders.pruned(job.step.stage.id))

    @property
    def idle(self) -> float:
        """Seconds until it is worth while to look again at what others hold."""
        return max(0.0, self._next - time.monotonic())

    def _ready(self) -> Iterator[Step]:
        """Steps that rest on nothing that waits or is under way."""
        for step in list(self.waiting.values()):
            if step.stage.id in self.waiting and not any(self._open(stage.id) for stage in step.stage.lineage[:-1]):
                yield step

    def _mine(self, step: Step) -> bool:
        return self.mine(step, self._short.get(step.stage.id, 0))

    def _open(self, id: str) -> bool:
        return id in self.waiting or id in self.under_way

    def _take_orders(self) -> None:
        """Orders that are new are waiting from now on, those that are gone no more."""
        if self.orders is None:
            return
        marks = self.orders.ids()
        for id, (_, mark) in list(self._ordered.items()):
            if marks.get(id) != mark and id not in self.under_way:
                del self._ordered[id]
                self.waiting.pop(id, None)
                self.held.discard(id)
        for id in sorted(marks.keys() - self._ordered.keys()):
            order = self.orders.read(id)
            if order and order.what.stage.id == id:
                step = order.what.step
                self._ordered[id] = Job(step, tuple(judge.step for judge in order.judges), order.reports), marks[id]
                self.waiting.setdefault(id, step)
                self._known[id] = step
        self._asking = self.orders.open()

    def _look_again(self) -> None:
        """At a few of those that others hold, if it is time: whether they are free, or finished."""
        if not self.held or time.monotonic() < self._next:
            return
        few = self._chance.sample(sorted(self.held), min(len(self.held), max(2, round(self._pause))))
        self.held -= set(few)
        clock, changed = Clock(self.store.root), False
        for id in few:
            step = self.waiting.get(id)
            if step and self._seen(step, clock) == "free" and not self._mine(step):
                self.held.add(id)
            changed |= id not in self.held
        self._pause = SOONEST if changed or self._asking else min(LATEST, self._pause * BACK_OFF)
        self._next = time.monotonic() + self._pause * self._chance.uniform(0.75, 1.25)

    def _seen(self, step: Step, clock: Clock) -> Seen:
        """Look at a step, and remember what is known of it from now on."""
        id = step.stage.id
        found, reason, self._short[id] = look(step, self.store, clock)
        if found == "released":
            found = "free" if self._needed(step, clock) else "finished"
        if found == "held":
            self.held.add(id)
        elif found == "finished":
            del self.waiting[id]
            self.outcome.elsewhere.append(id)
        elif found == "foreign":
            self.outcome.foreign[id] = reason
            self._dropped(step, f"is another version's: {reason}")
        elif found == "failed":
            self._failed(step, reason)
        return found

    def _needed(self, training: Step, clock: Clock) -> bool:
        """Whether a released training is still wanted: for itself, or for an evaluation that others did not finish meanwhile."""
        own = training.stage.id
        if not any(step.stage.kind == "evaluate" and self._rests(step, own) for step in self._known.values()):
            return True
        below = [step for step in self.waiting.values() if step.stage.kind == "evaluate" and self._rests(step, own)]
        return any(step.stage.id in self.waiting and self._seen(step, clock) != "finished" for step in below)

    def _rests(self, step: Step, id: str) -> bool:
        return any(stage.id == id for stage in step.stage.lineage[:-1])

    def _failed(self, step: Step, reason: str) -> None:
        self.outcome.failed[step.stage.id] = reason
        self._dropped(step, "failed")

    def _dropped(self, step: Step, became: str) -> None:
        """No step that rests on this one is run."""
        stage = step.stage
        self.waiting.pop(stage.id, None)
        for other in list(self.waiting.values()):
            if self._rests(other, stage.id):
                del self.waiting[other.stage.id]
                self.held.discard(other.stage.id)
                self.outcome.skipped[other.stage.id] = f"its {stage.kind} stage {stage.id} ({stage.data.task}) {became}"
