"""Start reading here: one stage, from lease to commit."""

import contextlib
import json
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xlift.registry.files import DataError, write_atomically
from xlift.registry.findings import UserError
from xlift.registry.kept import NotUnderstood
from xlift.registry.kinds import CORPORA, RETRIEVAL
from xlift.registry.leases import Lease, Lost
from xlift.registry.plan import Step
from xlift.registry.spec import digest
from xlift.registry.stage import Data, Scoring, Stage
from xlift.registry.store import Damaged, Store, part_name
from xlift.runners import data, evaluate, nets, train
from xlift.runners.fetch import models
from xlift.runners.jobs import Env, Pruned, Watched
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.example import Example
from xlift.runners.kinds.mlm import Text
from xlift.runners.machine import versions
from xlift.runners.nets import Net
from xlift.runners.resume import Keeper
from xlift.runners.train import Log, Objective, Watch


class Unscored(UserError):
    """Languages without a score, with the reason of each; the scores of the others are committed."""


class NotAsPlanned(DataError):
    """What lies on this machine is not what the stage was named by: no failure of the stage, which others may run."""


class FailedBefore(UserError):
    """A stage that failed so often, on whatever host, that nobody tries it again."""


def run(step: Step, env: Env, watched: Watched | None = None) -> bool:
    """Compute a step's stage and commit it; False if a living process has it. What is finished is not computed again.

    That it failed is noted before others may try it.

    Raises:
        FailedBefore: it failed so often that nobody tries it again.
    """
    store, stage, started = Store(env.store), step.stage, datetime.now(UTC)
    lease = store.lease(stage)
    if lease is None:
        return False
    with lease, _noted(step, store, lease):
        if stage.kind == "evaluate":
            _evaluate(step, env, store, lease)
        elif not store.usable(stage.id):
            with Keeper(lease, env.device, 60 * env.minutes, env.grace) as keeper, _log(lease, keeper.step) as log:
                try:
                    net = _train(stage, env, log, store, watched, keeper)
                except (Pruned, train.Diverged):
                    keeper.forget()  # nobody goes on with it
                    raise
            started -= timedelta(seconds=keeper.before)
            folder = lease.named("checkpoint")
            _commit(store, lease, [f"{folder}/{name}" for name in nets.save(net, lease.folder / folder)], started)
    return True


@contextmanager
def _noted(step: Step, store: Store, lease: Lease) -> Iterator[None]:
    """A failure within it is an attempt in the store, as far as there is room for it."""
    if lease.inherited and not list(lease.folder.glob("resume.*")):
        with contextlib.suppress(OSError):
            store.fail(lease, "its worker vanished, with all that had started it", "", "lost", step.mark, versions())
    if (before := store.failed(step.stage.id)) and before.final(step.mark):
        raise FailedBefore(before.told())
    try:
        yield
    except (Lost, Pruned, Damaged, NotAsPlanned):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError, NotUnderstood):
            store.fail(lease, reason, traceback.format_exc(), kind_of_failure(error), step.mark, versions())
        raise


def kind_of_failure(error: Exception) -> str:
    """What the store calls an attempt that ended so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "memory"
    if isinstance(error, train.Diverged):
        return "diverged"
    return "device" if "CUDA error" in str(error) or type(error).__name__ == "AcceleratorError" else "failed"


def _train(stage: Stage, env: Env, log: Log, store: Store, watched: Watched | None, keeper: Keeper) -> Net:
    """A model trained as the stage says; `Stage.entropy` says which draws it shares with which others."""
    examples = [_examples(part, env) for part in stage.data.parts]
    torch.manual_seed(stage.entropy(stage.data))
    parent = store.checkpoint(stage.parent.id) if stage.parent else None
    if stage.kind == "pretrain":
        net = nets.make(stage.weights.make, (e.text for e in examples[0] if isinstance(e, Text)), stage.recipe)
    else:
        net = start(stage, env, parent)
    lora, halved = stage.recipe.lora, stage.recipe.precision == "bf16" and not watched  # looks have a precision of their own
    masters = nets.adapt(net, lora, stage.entropy(stage.data), halved=halved) if lora else {}
    objectives = [
        Objective(part, read, env.inputs.study.facts.source_language, _head(part, net, stage, env, parent), stage.entropy(part))
        for part, read in zip(stage.data.parts, examples, strict=True)
    ]
    entropy = stage.entropy(stage.data)
    watch = _watch(net, objectives, env, log, watched) if watched else None
    how: dict[str, Any] = {"device": env.device, "budget": env.budget, "log": log, "watch": watch, "keeper": keeper}
    train.fit(net, objectives, stage.recipe, entropy, stage.data.mixing, **how)
    if lora:
        nets.merge(net, masters)
    return _headed(net, objectives)


def _headed(net: Net, objectives: Sequence[Objective]) -> Net:
    """The model with what was trained on it: one head, or those of a mixture's tasks."""
    if len(objectives) == 1:
        return replace(net, head=objectives[0].head)
    return replace(net, heads={i: each.head for i, each in enumerate(objectives) if each.data.kind not in CORPORA})


def _watch(net: Net, objectives: Sequence[Objective], env: Env, log: Log, watched: Watched) -> Watch:
    """Scores on development data while the training goes on; the last is left to the evaluation of what it ends with."""
    language = env.inputs.study.facts.source_language
    heads = {each.data.task: each.head for each in objectives}
    tests = [(judge, _development(judge, env)) for judge in watched.judges]

    def watch(step: int, steps: int) -> bool:
        looks = [k for k in range(1, watched.reports) if step == max(1, round(k * steps / watched.reports))]
        if not looks or step == steps:
            return False
        found = []
        for judge, examples in tests:
            stage, headed = judge.stage, replace(net, head=heads[judge.stage.data.task])
            scores = evaluate.score(
                headed,
                examples,
                stage.data,
                stage.scoring,
                language,
                judge.tests[language],
                device=env.device,
                budget=env.budget,
            )
            found.append(scores[0].value)
        score = sum(found) / len(found)
        log({"step": step, "of": steps, "dev": score, "look": looks[-1]})
        if not watched.go_on(looks[-1], score):
            raise Pruned(f"step {step} of {steps}: {score:.4f} on development data, and others are further")
        return True

    return watch


def _development(judge: Step, env: Env) -> list[Example]:
    """The development data of a judge, which are in the source language and those that its stage was named by."""
    _in_source(judge, env)
    language = env.inputs.study.facts.source_language
    mark, examples = data.read(env.inputs, judge.stage.data, "test", language)
    if mark != judge.tests[language]:
        raise NotAsPlanned(f"the development data of {judge.stage.data.task} changed after the plan was made", "run it again")
    return examples


def _in_source(judge: Step, env: Env) -> None:
    """DataError where an objective would read test data, or another language."""
    if judge.stage.data.split is None or set(judge.tests) != {env.inputs.study.facts.source_language}:
        raise DataError(f"the objective leaks: development data are in the source language, not in {', '.join(judge.tests)}")


def _examples(part: Data, env: Env) -> list[Example]:
    """The training examples of a task, which have to be those that its stage was named by."""
    languages = part.languages or (env.inputs.study.facts.source_language,)
    read = [(language, *data.read(env.inputs, part, "train", language)) for language in languages]
    found = digest([[language, mark] for language, mark, _ in read]) if part.languages else read[0][1]
    if found != part.digest:
        raise NotAsPlanned(f"the training data of {part.task} changed after the plan was made", "run the study again")
    return [example for _, _, examples in read for example in examples]


def _head(part: Data, net: Net, stage: Stage, env: Env, parent: Path | None) -> nn.Module:
    """A new head; masked language modelling goes on with the one that pretraining left, where there is one."""
    torch.manual_seed(stage.entropy(part))
    head = kind_of(part.kind, texts=net.texts).head(net.encoder, part, stage.recipe.head_dropout)
    if part.kind in CORPORA and parent and stage.parent and stage.parent.data.kind == part.kind:
        return nets.load_head(head, parent)
    if part.kind in CORPORA and stage.parent is None and stage.kind == "train":
        return nets.continued(head, *_source(stage, env), stage.weights.like)
    return head


def start(stage: Stage, env: Env, parent: Path | None) -> Net:
    """The model that a stage starts from: its parent's checkpoint, a folder, or the hub."""
    if parent:
        return nets.load(parent, recipe=stage.recipe, form=stage.weights.form)
    return nets.load(
        *_source(stage, env), recipe=stage.recipe, layers=stage.weights.layers, form=stage.weights.form, like=stage.weights.like
    )


def _source(stage: Stage, env: Env) -> tuple[Path | str, str | None]:
    """Where the first weights of a chain are: a folder, or a name and a revision on the hub."""
    if not stage.weights.folder:
        here = models.folder_of(env.models, stage.weights.hub, stage.weights.revision) if env.models else None
        return (here, None) if here and here.is_dir() else (stage.weights.hub, stage.weights.revision)
    for candidate in env.inputs.study.facts.models.values():
        if candidate.folder and env.inputs.weights(candidate)[0] == stage.weights:
            return candidate.folder, None
    raise NotAsPlanned("the weights of this stage's model changed after the plan was made", "run the study again")


def _evaluate(step: Step, env: Env, store: Store, lease: Lease) -> None:
    """Score the languages that have no whole score yet, committing each on its own: a bad one never hides a good one.

    Raises:
        Unscored: after the last language, where some could not be scored, with the reason of each.
    """
    stage, net, scoring, reasons = step.stage, None, None, dict[str, Exception]()
    if stage.data.split:
        _in_source(step, env)
    for language in store.missing(stage.id, step.tests):
        started, wanted = datetime.now(UTC), step.tests[language]
        net = net or _scored(stage, env, store)
        scoring = scoring or _settled(stage, net, env)
        try:
            found, examples = data.read(env.inputs, stage.data, "test", language)
            if found != wanted:
                raise NotAsPlanned("its test data changed after the plan was made", "run the study again")
            scores = evaluate.score(net, examples, stage.data, scoring, language, wanted, device=env.device, budget=env.budget)
        except (UserError, OSError) as error:
            reasons[language] = error
            continue
        name = lease.named(part_name(language, wanted))
        (lease.folder / "scores").mkdir(exist_ok=True)
        write_atomically(lease.folder / name, "".join(score.model_dump_json() + "\n" for score in scores).encode())
        _commit(store, lease, [name], started)
    if reasons:
        here = all(isinstance(reason, NotAsPlanned) for reason in reasons.values())
        raise (NotAsPlanned if here else Unscored)("; ".join(f"{language}: {reason}" for language, reason in reasons.items()))


def _settled(stage: Stage, net: Net, env: Env) -> Scoring:
    """How a stage is scored, with what is set on development data."""
    if stage.data.dev is None:
        return stage.scoring
    language = env.inputs.study.facts.source_language
    found, examples = data.read(env.inputs, stage.data.dev, "test", language)
    if found != stage.data.dev.digest:
        raise NotAsPlanned(
            f"the development data of {stage.data.dev.task} changed after the plan was made", "run the study again"
        )
    return evaluate.settled(net, examples, stage.data.dev, stage.scoring, language, device=env.device, budget=env.budget)


def _scored(stage: Stage, env: Env, store: Store) -> Net:
    """The model to score, with its head unless the task is not trained."""
    parent = store.checkpoint(stage.parent.id) if stage.parent else None  # its checksums are computed once
    net = start(stage, env, parent)
    if stage.data.kind not in RETRIEVAL:
        parts = stage.parent.data.parts
        place = [part.task for part in parts].index(stage.data.task) if len(parts) > 1 else None
        head = kind_of(stage.data.kind, texts=net.texts).head(net.encoder, parts[place or 0], 0.0)
        net.head = nets.load_head(head, parent, place)
    return net


@contextmanager
def _log(lease: Lease, step: int) -> Iterator[Log]:
    """A line of JSON a call, with the time in milliseconds since 1970, after those of the steps that are gone on with."""
    path, kept = lease.folder / "log.jsonl", list[str]()
    if step:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # lines that are lost or torn are no reason to stop
            kept = [
                line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if json.loads(line)["step"] <= step
            ]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(kept)

        def line(values: dict[str, float]) -> None:
            file.write(json.dumps({"time": round(time.time() * 1000), **values}) + "\n")
            file.flush()

        yield line


def _commit(store: Store, lease: Lease, files: list[str], started: datetime) -> None:
    store.commit(lease, files, started=started, host=socket.gethostname(), versions=versions())
