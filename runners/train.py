"""One training loop for every kind: AdamW, linear warm-up and decay, optimizer batches of a fixed number of examples."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from xlift.registry.kinds import CORPORA
from xlift.registry.stage import Data, Mixing, Recipe
from xlift.runners import memory
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.base import Feature
from xlift.runners.nets import Net
from xlift.runners.packing import Budget, collate, micro_batches
from xlift.runners.resume import Keeper, State

LINES = 200  # of the log, at most, whatever the number of steps
Log = Callable[[dict[str, float]], None]
Watch = Callable[[int, int], bool]  # step, of how many -> whether the model was looked at


class Diverged(RuntimeError):
    """The loss or the gradient is no number."""


@dataclass(frozen=True)
class Objective:
    """One task to learn: its data, its examples, their language, the head that is trained, the entropy of its draws."""

    data: Data
    examples: Sequence[Any]
    language: str
    head: nn.Module
    entropy: int


def fit(
    net: Net,
    objectives: Sequence[Objective],
    recipe: Recipe,
    entropy: int,
    mixing: Mixing | None = None,
    *,
    device: str,
    budget: int,
    log: Log,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
) -> None:
    """Train the encoder of `net` and the heads of `objectives` in place (Loshchilov and Hutter 2019; the recipe says the rest).

    The loss of a step is the sum over the optimizer batch's units divided by their number, so micro-batches of any
    size give the same gradient. Batches follow each other in a fresh order every epoch, across its end. Each batch of
    several objectives is of one, drawn as `mixing` says. `entropy` is that of dropout and of these draws. `watch` is called
    after every step; it may look at the model, which changes nothing of the training, and end it by an exception. `keeper`
    keeps what is under way, and the training goes on after the step that it found.

    Raises:
        Diverged: at the first step whose loss or gradient norm is not finite.
    """
    torch.manual_seed(entropy)
    memory.start(device)
    streams = [_BatchStream(objective, net, recipe) for objective in objectives]
    shares, epoch = batch_shares(
        [objective.data.kind for objective in objectives], [stream.items for stream in streams], mixing or Mixing()
    )
    steps = steps_of(recipe, epoch)
    modules = [net.encoder, *(objective.head for objective in objectives)]
    for module in modules:
        module.to(device).train()
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer = _optimizer(parameters, recipe)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, recipe.warmup))
    turn = np.random.default_rng(entropy)
    recent = _Recent(log, every=max(1, math.ceil(steps / LINES)), steps=steps, device=device)
    fitting = Budget(budget)
    under_way = _UnderWay(modules, optimizer, rate, streams, turn, fitting, recent, device)
    for step in range(under_way.gone_on(keeper), steps):
        stream = streams[turn.choice(len(streams), p=shares)] if len(streams) > 1 else streams[0]
        batch = stream.batch()
        compute = partial(_backward, net, stream.objective, batch, recipe, device)
        loss, tokens = fitting.within(batch, compute, optimizer.zero_grad)
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"step {step + 1} of {steps}: loss {loss}, gradient norm {norm}; try a lower lr")
        recent.add(step + 1, loss, norm, rate.get_last_lr()[0], tokens)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rate.step()
        if watch and watch(step + 1, steps):
            for module in modules:
                module.train()
        if keeper and step + 1 < steps:
            keeper.after(step + 1, under_way.state)


@dataclass(frozen=True)
class _UnderWay:
    """All that a step changes, and the next one depends on."""

    modules: Sequence[nn.Module]
    optimizer: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LambdaLR
    streams: Sequence["_BatchStream"]
    turn: np.random.Generator
    budget: Budget
    recent: "_Recent"
    device: str

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What is trained, and the buffers, of which a module may change some."""
        trained = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        return [*trained, *(b for module in self.modules for b in module.buffers())]

    @property
    def generators(self) -> list[np.random.Generator]:
        return [self.turn, *(stream.draw for stream in self.streams)]

    def gone_on(self, keeper: Keeper | None) -> int:
        """The step to go on after, from what was kept; 0 where nothing was."""
        if keeper and keeper.found:
            self.restore(keeper.found)
            keeper.found = None  # which frees its memory
        return keeper.step if keeper else 0

    def state(self) -> State:
        return {
            "tensors": self.tensors,
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "taken": [stream.taken for stream in self.streams],
            "generators": [generator.bit_generator.state for generator in self.generators],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.startswith("cuda") else None,
            "budget": self.budget.tokens,
            "losses": self.recent.losses,
            "tokens": self.recent.tokens,
        }

    def restore(self, state: State) -> None:
        with torch.no_grad():
            for tensor, value in zip(self.tensors, state["tensors"], strict=True):
                tensor.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate.load_state_dict(state["rate"])
        for stream, taken in zip(self.streams, state["taken"], strict=True):
            stream.skip(taken)
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = value
        self.budget.tokens, self.recent.losses, self.recent.tokens = state["budget"], state["losses"], state["tokens"]
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)


def batch_shares(kinds: Sequence[str], items: Sequence[int], mixing: Mixing) -> tuple[np.ndarray, float]:
    """The probability of each task of a mixture, (tasks,), and the examples of an epoch: see `Mixing`.

    Where `text` fixes the share of masked language modelling, an epoch is one of the other tasks, and that share more.
    """
    counted = np.minimum(items, mixing.cap or max(items)).astype(float)
    logs = np.log(np.maximum(counted, 1e-300)) / (np.inf if mixing.sampler == "uniform" else mixing.temperature)
    weights = np.exp(logs - logs.max())  # of the largest task 1, so that no temperature overflows
    text = np.array([kind in CORPORA for kind in kinds])
    if mixing.text is None or text.all() or not text.any():
        return weights / weights.sum(), counted.sum()
    shares = np.where(text, mixing.text * weights / weights[text].sum(), (1 - mixing.text) * weights / weights[~text].sum())
    return shares, counted[~text].sum() / (1 - mixing.text)


def steps_of(recipe: Recipe, epoch: float) -> int:
    """Optimizer steps of a training whose epoch has so many examples."""
    return recipe.steps or max(1, round(recipe.epochs * epoch / recipe.batch))


class _BatchStream:
    """The batches of one objective, without end."""

    def __init__(self, objective: Objective, net: Net, recipe: Recipe):
        self.objective, self.net, self.mask = objective, net, recipe.mask
        self.kind = kind_of(objective.data.kind, texts=net.texts)
        encoded = self.kind.encode(objective.examples, net.reading(recipe), objective.data, objective.language)
        self.groups = _by_example(encoded)
        self.items = len(self.groups)
        self.order = _batches(self.items, recipe.batch, np.random.default_rng([objective.entropy, 0]))
        self.draw = np.random.default_rng([objective.entropy, 1])
        self.taken = 0

    def skip(self, count: int) -> None:
        """Pass over batches: their examples are chosen, and nothing is made of them."""
        for _ in range(count):
            next(self.order)
        self.taken += count

    def batch(self) -> list[Feature]:
        self.taken += 1
        features = [feature for index in next(self.order) for feature in self.groups[index]]
        return self.kind.prepare(features, self.net.tokenizer, self.mask, self.draw)


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


def _backward(
    net: Net, objective: Objective, features: Sequence[Feature], recipe: Recipe, device: str, budget: int
) -> tuple[float, int]:
    """Add the gradient of one optimizer batch; its loss, and its number of real tokens."""
    kind, units, total = kind_of(objective.data.kind, texts=net.texts), sum(feature.units for feature in features), 0.0
    for chosen in micro_batches(features, budget):
        batch = collate([features[index] for index in chosen], net.padding, device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            outputs = objective.head(net.hidden(batch), batch)
        loss = kind.loss(outputs, batch) / max(1, units)
        loss.backward()
        total += loss.item()
    return total, sum(feature.tokens for feature in features)


def _optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases and normalisations, which are vectors, do not decay."""
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

    def __init__(self, log: Log, every: int, steps: int, device: str):
        self.log, self.every, self.steps, self.device = log, every, steps, device
        self.losses: list[float] = []
        self.tokens, self.since = 0, time.monotonic()

    def add(self, step: int, loss: float, norm: float, rate: float, tokens: int) -> None:
        self.losses.append(loss)
        self.tokens += tokens
        if step % self.every == 0 or step == self.steps:
            seconds, taken = time.monotonic() - self.since, memory.peak_gb(self.device)
            self.log(
                {
                    "step": step,
                    "of": self.steps,
                    "loss": sum(self.losses) / len(self.losses),
                    "gradient_norm": norm,
                    "lr": rate,
                    "tokens_per_second": self.tokens / max(seconds, 1e-9),
                    **({"memory_gb": taken} if taken is not None else {}),
                }
            )
            self.losses, self.tokens, self.since = [], 0, time.monotonic()
