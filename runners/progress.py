"""How far a run is, in words."""

import time
from dataclasses import dataclass

from xlift.registry.plan import Step
from xlift.registry.store import Store
from xlift.registry.study import Study
from xlift.runners.jobs import Outcome


def work(study: Study, step: Step) -> float:
    """Relative; an evaluation reads about as many items as 10 optimizer batches, once and forwards."""
    parameters, recipe = study.facts.models[step.model].parameters.total, step.stage.recipe
    if recipe is None:
        return parameters * 32 * 10 / 3 * max(1, len(step.tests))
    return parameters * recipe.batch * (recipe.steps or 200 * (recipe.epochs or 1))


@dataclass
class Ahead:
    """How far a run is, and how long it will still take: work is parameters x examples, its pace is that of this run."""

    study: Study
    steps: tuple[Step, ...]
    store: Store

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.since: dict[str, float] = {}
        self.work = {step.stage.id: work(self.study, step) for step in self.steps}

    def lines(self, outcome: Outcome, busy: list[Step]) -> list[str]:
        """One line a stage under way, and one of the whole study: step, loss, tokens per second, time left."""
        now, over = time.monotonic(), {*outcome.done, *outcome.elsewhere, *outcome.failed, *outcome.skipped}
        finished, lines = sum(self.work[stage] for stage in over if stage in self.work), []
        for step in busy:
            own = self.work.setdefault(step.stage.id, work(self.study, step))  # trials are ordered as they come
            since, last = self.since.setdefault(step.stage.id, now), self.store.last(step.stage.id)
            name = f"{step.stage.kind} {step.model} {step.stage.data.task}"
            if last and {"step", "of", "loss"} <= last.keys() and last["time"] / 1000 > time.time() - (now - since) - 1:
                share = last["step"] / last["of"]
                finished += share * own
                name += (
                    f": step {last['step']:.0f}/{last['of']:.0f}, loss {last['loss']:.3f}, "
                    f"{last.get('tokens_per_second', 0):,.0f} tokens/s, {_left(now - since, share)}"
                )
            lines.append(name)
        total = sum(self.work.values())
        return [*lines, f"study: {_left(now - self.begun, finished / total if total else 0)}"] if lines else []


def _left(elapsed: float, share: float) -> str:
    """'about 12 min left', from the share that is done."""
    if share <= 0 or elapsed < 2:
        return "time left not known yet"
    return left_of(elapsed * (1 - share) / share)


def left_of(seconds: float) -> str:
    """'about 12 min left'."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit} left"
    return f"about {seconds:.0f} s left"
