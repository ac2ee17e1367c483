"""How long a study's stages take here, by a rehearsal: stages of its own, cut short, so that a plan need not guess its hours."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from xlift.registry.findings import UserError, first_line
from xlift.registry.kept import NotUnderstood
from xlift.registry.plan import Plan, Step
from xlift.registry.simulate import likeness
from xlift.registry.stage import Data, Mixing, Stage
from xlift.registry.store import Store, part_name
from xlift.runners import data
from xlift.runners.fetch.models import folder_of
from xlift.runners.jobs import Env
from xlift.runners.pool import quiet
from xlift.runners.run import run
from xlift.runners.train import batch_shares, steps_of

STEPS, WARM = 12, 4  # optimizer steps of a training, of which the first count as what every training takes before them
ITEMS, LANGUAGES = 256, 2  # of an evaluation, at most; what the first language takes beyond the second is taken once


def durations(plan: Plan, env: Env) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of one stage of each sort (`registry.simulate.likeness`), by its id; by model, why others were not tried.

    A stage runs in a temporary store, where the store is or will be, twelve steps or two languages long; its model is read,
    its examples are tokenised and its checkpoint is written as they would be. Two checkpoints are there at a time.
    """
    found, reasons = dict[str, float](), dict[str, str]()
    quiet(env.threads)
    below = next(folder for folder in (env.store.resolve(), *env.store.resolve().parents) if folder.is_dir())
    for model in plan.study.facts.models:
        steps = [step for step in plan.steps if step.model == model and not step.blocked]
        try:
            if not steps:
                raise UserError(next((step.blocked for step in plan.steps if step.model == model), None) or "it has no stage")
            if not _here(plan, model, steps[0].stage, env):
                raise UserError("its weights are not here")
            with TemporaryDirectory(prefix="probe.", dir=below) as folder:
                for id, seconds in _Rehearsal(plan, replace(env, store=Path(folder))).of(steps):
                    found[id] = seconds
        except (UserError, NotUnderstood, OSError, torch.OutOfMemoryError) as error:
            reasons[model] = first_line(error)
    return found, reasons


def _here(plan: Plan, model: str, stage: Stage, env: Env) -> bool:
    weights, folder = stage.weights, plan.study.facts.models[model].folder
    return bool(weights.make or folder or (env.models and folder_of(env.models, weights.hub, weights.revision).is_dir()))


class _Rehearsal:
    """Of one model. What its trainings start from is one short training, whichever they are."""

    def __init__(self, plan: Plan, env: Env):
        self.env, self.store, self.source = env, Store(env.store), plan.study.facts.source_language

    def of(self, steps: Iterable[Step]) -> Iterator[tuple[str, float]]:
        """The first stage of each sort, and its seconds."""
        first: Stage | None = None
        tried: set[object] = set()
        judges: dict[str | None, list[Step]] = {}
        for step in steps:
            if step.stage.kind == "evaluate" and likeness(step) not in tried:
                tried.add(likeness(step))
                judges.setdefault(step.stage.parent.id if step.stage.parent else None, []).append(step)
        for judge in judges.pop(None, []):
            yield judge.stage.id, self._evaluation(judge, None)
        for step in (step for step in steps if step.stage.kind != "evaluate"):
            mine = judges.get(step.stage.id, [])
            if likeness(step) in tried and not mine:
                continue
            tried.add(likeness(step))
            short = self._short(step.stage, first if step.stage.parent else None)
            yield step.stage.id, self._training(step, short)
            for judge in mine:
                yield judge.stage.id, self._evaluation(judge, short)
            if first is None:
                first = short
            else:
                self.store.release(short)

    def _short(self, stage: Stage, parent: Stage | None) -> Stage:
        recipe = stage.recipe.model_copy(update={"steps": min(STEPS, stage.recipe.steps or STEPS), "epochs": None})
        return stage.model_copy(update={"parent": parent, "recipe": recipe})

    def _training(self, step: Step, short: Stage) -> float:
        """Its seconds with as many steps as its recipe says, each as long as those after the first ones were."""
        run(Step(short, step.model, {}), self.env)
        ends = [line["time"] / 1000 for line in self.store.log(short.id)[0]]
        each = (ends[-1] - ends[WARM - 1]) / (len(ends) - WARM) if len(ends) > WARM else 0.0
        return self.store.record(short.id).seconds + (self._steps(step.stage) - len(ends)) * each

    def _steps(self, stage: Stage) -> int:
        parts = stage.data.parts
        if stage.recipe.steps:
            return stage.recipe.steps
        items = [sum(self._items(part, "train", language) for language in part.languages or (self.source,)) for part in parts]
        return steps_of(stage.recipe, batch_shares([part.kind for part in parts], items, stage.data.mixing or Mixing())[1])

    def _items(self, part: Data, split: str, language: str) -> int:
        return len(data.read(self.env.inputs, part, split, language)[1])

    def _evaluation(self, judge: Step, parent: Stage | None) -> float:
        """Its seconds in all its languages: what is done once, and what the last of those that it ran in took, by its items."""
        task = judge.stage.data
        short = judge.stage.model_copy(
            update={"parent": parent, "data": task.model_copy(update={"limit": min(task.limit or ITEMS, ITEMS)})}
        )
        tests = dict(list(judge.tests.items())[:LANGUAGES])
        run(Step(short, judge.model, tests), self.env)
        taken = self.store.record(short.id).seconds
        ends = [self.store.written(short.id, part_name(*test)) / 1000 for test in tests.items()]
        each = ends[-1] - ends[0] if len(tests) > 1 else taken
        items = sum(self._items(task, "test", language) for language in tests) / len(tests)
        return taken - each * len(tests) + each * max(1.0, items / short.data.limit) * len(judge.tests)
