"""One training loop for every kind: AdamW, linear warm-up and decay, optimizer batches of a fixed number of examples."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from registry.stage import Data, Recipe
from runners.kinds import KINDS
from runners.kinds.base import Feature, Kind
from runners.model import Net
from runners.packing import collate, micro_batches

LINES = 200  # of the log, at most, whatever the number of steps
Log = Callable[[dict[str, float]], None]


class Diverged(RuntimeError):
    """The loss or the gradient is no number."""


def fit(net: Net, examples: Sequence[Any], data: Data, recipe: Recipe, seed: int, *, device: str, budget: int, log: Log) -> None:
    """Train `net` in place on `examples` (Loshchilov and Hutter 2019; the recipe says the rest).

    The loss of a step is the sum over the optimizer batch's units divided by their number, so micro-batches of any
    size give the same gradient. Batches follow each other in a fresh order every epoch, across its end.

    Raises:
        Diverged: at the first step whose loss or gradient norm is not finite.
    """
    kind = KINDS[data.kind]
    groups = _by_example(kind.encode(examples, net.tokenizer, data, max_length=recipe.max_length, stride=recipe.stride))
    steps = recipe.steps or max(1, round(recipe.epochs * len(groups) / recipe.batch))
    for module in net.modules():
        module.to(device).train()
    optimizer = _optimizer(net, recipe)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, recipe.warmup))
    draw = np.random.default_rng([seed, 1])
    recent = _Recent(log, every=max(1, math.ceil(steps / LINES)), steps=steps)
    for step, batch in zip(range(steps), _batches(len(groups), recipe.batch, np.random.default_rng([seed, 0])), strict=False):
        features = kind.prepare([feature for index in batch for feature in groups[index]], net.tokenizer, recipe.mask, draw)
        loss, tokens = _backward(net, kind, features, recipe, device, budget)
        norm = torch.nn.utils.clip_grad_norm_([p for module in net.modules() for p in module.parameters()], recipe.clip).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"step {step + 1} of {steps}: loss {loss}, gradient norm {norm}; try a lower lr")
        recent.add(step + 1, loss, norm, rate.get_last_lr()[0], tokens)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rate.step()


def _by_example(features: Sequence[Feature]) -> list[list[Feature]]:
    groups: dict[int, list[Feature]] = {}
    for feature in features:
        groups.setdefault(feature.example, []).append(feature)
    return list(groups.values())


def _batches(count: int, size: int, order: np.random.Generator) -> Iterator[list[int]]:
    """Endless batches of exactly `size` indices below `count`, each index once an epoch."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting.extend(order.permutation(count).tolist())
        yield waiting[:size]
        waiting = waiting[size:]


def _backward(net: Net, kind: Kind, features: Sequence[Feature], recipe: Recipe, device: str, budget: int) -> tuple[float, int]:
    """Add the gradient of one optimizer batch; its loss, and its number of real tokens."""
    units, total = sum(feature.units for feature in features), 0.0
    for chosen in micro_batches(features, budget):
        batch = collate([features[index] for index in chosen], net.padding, device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            outputs = net.forward(batch)
        loss = kind.loss(outputs, batch) / max(1, units)
        loss.backward()
        total += loss.item()
    return total, sum(feature.tokens for feature in features)


def _optimizer(net: Net, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases and normalisations, which are vectors, do not decay."""
    parameters = [p for module in net.modules() for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True)


def _rate(step: int, steps: int, warmup: float) -> float:
    """The learning rate at a step (from 0), relative to its peak."""
    rising = round(warmup * steps)
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / max(1, steps - rising)


class _Recent:
    """Means over the steps since the last line of the log."""

    def __init__(self, log: Log, every: int, steps: int):
        self.log, self.every, self.steps = log, every, steps
        self.losses: list[float] = []
        self.tokens, self.since = 0, time.monotonic()

    def add(self, step: int, loss: float, norm: float, rate: float, tokens: int) -> None:
        self.losses.append(loss)
        self.tokens += tokens
        if step % self.every == 0 or step == self.steps:
            seconds = time.monotonic() - self.since
            self.log(
                {
                    "step": step,
                    "of": self.steps,
                    "loss": sum(self.losses) / len(self.losses),
                    "gradient_norm": norm,
                    "lr": rate,
                    "tokens_per_second": self.tokens / max(seconds, 1e-9),
                }
            )
            self.losses, self.tokens, self.since = [], 0, time.monotonic()
