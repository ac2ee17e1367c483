"""How fast a model trains here: some optimizer steps on text of its own, so that a plan need not guess its hours."""

from random import Random
from statistics import median
from typing import Any

import torch

from xlift.registry.cost import operations
from xlift.registry.findings import UserError, first_line
from xlift.registry.plan import Plan
from xlift.registry.stage import Data, Recipe, Stage
from xlift.runners import nets, train
from xlift.runners.fetch.models import folder_of
from xlift.runners.jobs import Env
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.pair import Pair
from xlift.runners.run import start

STEPS, WARM = 6, 2  # optimizer steps, of which the first are not counted
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def speeds(plan: Plan, env: Env) -> tuple[dict[str, float], dict[str, str]]:
    """Operations a second (`registry.cost`) that a training of each model reaches, and why others were not tried."""
    found, reasons = dict[str, float](), dict[str, str]()
    for name, model in plan.study.facts.models.items():
        step = next((step for step in plan.steps if step.model == name and step.stage.kind == "train"), None)
        if step is None or step.stage.recipe is None:
            continue
        weights = step.stage.weights
        here = weights.make or model.folder or (env.models and folder_of(env.models, weights.hub, weights.revision).is_dir())
        try:
            if not here:
                raise UserError("its weights are not here")
            each = operations(step.stage.recipe) * model.parameters.non_embedding
            found[name] = each * _tokens_per_second(step.stage.model_copy(update={"parent": None}), step.stage.recipe, env)
        except (UserError, OSError, torch.OutOfMemoryError) as error:
            reasons[name] = first_line(error)
    return found, reasons


def _tokens_per_second(stage: Stage, recipe: Recipe, env: Env) -> float:
    """Of a training by `recipe`, on pairs of random words as long as its sequences may be."""
    rng = Random(0)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 8))) for _ in range(500)]
    recipe = recipe.model_copy(update={"steps": STEPS, "epochs": None})
    data = Data(source="probe", kind="pair", task="probe", labels=("a", "b"))
    net = nets.make(stage.weights.make, [" ".join(words)], recipe) if stage.weights.make else start(stage, env, None)
    if recipe.lora:
        nets.adapt(net, recipe.lora, 0, halved=recipe.precision == "bf16")
    head = kind_of("pair", texts=net.texts).head(net.encoder, data, recipe.head_dropout)
    texts = [" ".join(rng.choices(words, k=recipe.max_length)) for _ in range(2 * recipe.batch)]
    examples = [Pair(texts[at], texts[-at], "ab"[at % 2]) for at in range(recipe.batch)]
    found: list[float] = []
    objective = train.Objective(data, examples, "en", head, 0)
    how: dict[str, Any] = {
        "device": env.device,
        "budget": env.budget,
        "log": lambda line: found.append(line["tokens_per_second"]),
    }
    train.fit(net, [objective], recipe, 0, **how)
    return median(found[WARM:])
