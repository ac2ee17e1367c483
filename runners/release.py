"""`--release`: checkpoints of trainings that nothing left to run needs are deleted, since a study at 10B has terabytes."""

from collections.abc import Iterable

from xlift.registry.standing import Standing
from xlift.registry.store import Store


class Needs:
    """Which evaluations still need a training's checkpoint; where none does any more, it is deleted."""

    def __init__(self, stands: Standing, store: Store):
        self.store = store
        self.above = {
            step.stage.id: [stage for stage in step.stage.lineage if stage.kind == "train"]
            for step in stands.plan.steps
            if step.stage.kind == "evaluate"
        }
        self.open: dict[str, set[str]] = {stage.id: set() for stages in self.above.values() for stage in stages}
        states = {id: stands.states[id] for id in self.above}
        for id, stages in self.above.items():
            for stage in stages if states[id] == "run" else ():
                self.open[stage.id].add(id)
        self.met([id for id, state in states.items() if state != "run"])

    def met(self, evaluations: Iterable[str]) -> None:
        """These evaluations are finished, or cannot run; ids of other stages, or for a second time, say nothing."""
        for id in evaluations:
            for stage in self.above.pop(id, ()):
                self.open[stage.id].discard(id)
                if not self.open[stage.id] and self.store.usable(stage.id):
                    self.store.release(stage)
