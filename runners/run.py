"""Start reading here: one stage, from claim to commit."""

import json
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from xlift.registry.claims import Claim, write_atomically
from xlift.registry.plan import Step
from xlift.registry.sources import Sources
from xlift.registry.stage import Data, Stage
from xlift.registry.store import Store, part
from xlift.runners import data, evaluate, model, train
from xlift.runners.data.examples import Example
from xlift.runners.kinds import KINDS
from xlift.runners.model import Net
from xlift.runners.train import Course, Log


@dataclass(frozen=True)
class Env:
    """How stages are run: nothing here changes what they compute, up to rounding and, with dropout, its draws."""

    store: Path
    sources: Sources
    device: str = "cpu"
    threads: int = 1
    budget: int = 8192  # tokens in a micro-batch, padding included


def run(step: Step, env: Env) -> bool:
    """Compute a step's stage and commit it; False if a living process has it. What is finished is not computed again."""
    store, stage, started = Store(env.store), step.stage, datetime.now(UTC)
    claim = store.claim(stage)
    if claim is None:
        return False
    with claim:
        if stage.kind == "evaluate":
            _evaluate(step, env, store, claim)
        elif not store.record(stage.id):
            with _log(claim) as log:
                net = _train(stage, env, store, log)
            folder = claim.own("checkpoint")
            _commit(store, claim, [f"{folder}/{name}" for name in model.save(net, claim.folder / folder)], started)
    return True


def _train(stage: Stage, env: Env, store: Store, log: Log) -> Net:
    """A model trained as the stage says. Its draws depend on the stage's seed alone, so that halves of a gain share them."""
    torch.manual_seed(stage.seed)
    examples = [_examples(part, env) for part in stage.data.parts]
    if stage.kind == "pretrain":
        net = model.make(stage.weights.make, (e.text for e in examples[0]), stage.recipe)
    else:
        net = _start(stage, env, store)
    courses = [Course(part, read, _head(part, net, stage, store)) for part, read in zip(stage.data.parts, examples, strict=True)]
    train.fit(net, courses, stage.recipe, stage.seed, stage.data.mixing, device=env.device, budget=env.budget, log=log)
    net.head = courses[0].head if len(courses) == 1 else None
    return net


def _examples(part: Data, env: Env) -> list[Example]:
    languages = part.languages or (env.sources.study.facts.source_language,)
    return [example for language in languages for example in data.read(env.sources, part, "train", language)]


def _head(part: Data, net: Net, stage: Stage, store: Store) -> nn.Module:
    """A new head; masked language modelling goes on with the one that its parent trained."""
    head = KINDS[part.kind].head(net.encoder, part, stage.recipe.head_dropout)
    if stage.parent and part.kind == stage.parent.data.kind == "mlm":
        return model.load_head(head, store.checkpoint(stage.parent.id))
    return head


def _start(stage: Stage, env: Env, store: Store) -> Net:
    """The model that a stage starts from: its parent's checkpoint, a folder, or the hub."""
    if stage.parent:
        return model.load(store.checkpoint(stage.parent.id), recipe=stage.recipe)
    if stage.weights.folder:
        return model.load(_folder(stage, env), recipe=stage.recipe)
    return model.load(stage.weights.hub, stage.weights.revision, recipe=stage.recipe)


def _folder(stage: Stage, env: Env) -> Path:
    models = env.sources.study.facts.models.values()
    return next(m.folder for m in models if m.folder and env.sources.weights(m)[0] == stage.weights)


def _evaluate(step: Step, env: Env, store: Store, claim: Claim) -> None:
    """Score the languages that have no whole score yet, committing each on its own."""
    stage, net = step.stage, None
    for language in store.missing(stage.id, step.parts):
        started = datetime.now(UTC)
        net = net or _scored(stage, env, store)
        examples = data.read(env.sources, stage.data, "test", language)
        scores = evaluate.score(
            net, examples, stage.data, stage.scoring, language, step.parts[language], device=env.device, budget=env.budget
        )
        name = claim.own(part(language, step.parts[language]))
        (claim.folder / "scores").mkdir(exist_ok=True)
        write_atomically(claim.folder / name, "".join(score.model_dump_json() + "\n" for score in scores).encode())
        _commit(store, claim, [name], started)


def _scored(stage: Stage, env: Env, store: Store) -> Net:
    """The model to score, with its head unless the task is not trained."""
    net = _start(stage, env, store)
    if stage.data.kind != "retrieve":
        head = KINDS[stage.data.kind].head(net.encoder, stage.parent.data, 0.0)
        net.head = model.load_head(head, store.checkpoint(stage.parent.id))
    return net


@contextmanager
def _log(claim: Claim) -> Iterator[Log]:
    """A line of JSON a call, with the time in milliseconds since 1970; a new try starts a new log."""
    with open(claim.folder / "log.jsonl", "w", encoding="utf-8") as file:

        def line(values: dict[str, float]) -> None:
            file.write(json.dumps({"time": round(time.time() * 1000), **values}) + "\n")
            file.flush()

        yield line


def _commit(store: Store, claim: Claim, files: list[str], started: datetime) -> None:
    names = ("xlift", "torch", "transformers", "tokenizers", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
    store.commit(claim, files, started=started, host=socket.gethostname(), versions=versions)
