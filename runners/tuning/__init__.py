"""`xlift tune`: searches for the values of recipes, judged on development data.

One Optuna study a search; each trial is one or several trainings of the store, by content, so that none is computed twice.
What a trial came to is a file of the store, written before Optuna is told, and winners are picked from these files. A trial
belongs to a tuner, which holds a lease: of one that died, trials with a file are told and the others are tried again.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xlift.registry import sheet
from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.lock import Lock, Winner, lock_path, write_lock
from xlift.registry.plan import Plan, Step, expand, remember
from xlift.registry.store import Store
from xlift.registry.tuning import Search
from xlift.runners.jobs import Env, Job, Outcome
from xlift.runners.machine import cores, devices
from xlift.runners.pool import Crew, execute
from xlift.runners.progress import work
from xlift.runners.queue import Queue
from xlift.runners.tuning.elsewhere import Elsewhere
from xlift.runners.tuning.search import Searching, storage
from xlift.runners.tuning.tuner import Tuner

if TYPE_CHECKING:
    from xlift.runners.tuning.search import Storage


class NotTuned(UserError):
    """A search that found nothing, with the reason."""


def tune(
    plan: Plan,
    store: Store,
    data: Path | None,
    *,
    workers: int,
    device: str,
    models: Path | None = None,
    url: str | None = None,
    elsewhere: Callable[[], None] | None = None,
    tell: Callable[[list[Searching], list[Job]], None] = lambda *_: None,
) -> Plan:
    """Bring every search of a plan to its end and write the lock; the plan with what was found.

    With `elsewhere` workers anywhere run the trials, `workers` of them at once; it is called when they may come.

    Raises:
        NotTuned: after all searches and with the lock of the others written, where some found nothing, with reasons.
        UserError: where there is nothing to tune, or the storage cannot be opened.
    """
    if plan.study.manifest.tuning is None:
        raise UserError(f"{plan.study.path} has no 'tuning'", "add it, and see `xlift schema`")
    reasons: list[str] = []
    env = Env(store.root, Inputs(plan.study, data.resolve() if data else None), device, max(1, cores() // workers), models=models)
    remember(plan, store)
    sheet.save(plan, store)
    there = Elsewhere(env, workers, elsewhere) if elsewhere else Crew(env, devices(device, workers))
    with there as crew, _settled():
        tuner = Tuner(store, crew, plan.study.id, tell)
        with tuner.at_work():
            with tuner.alone():  # tables of a database are made by one
                optunas = storage(store, plan.study.id, url)
            for targets in (False, True):
                searches = [search for search in plan.builder.searches if (search.target is not None) == targets]
                tunings, why = _prepared(plan, searches, store, optunas, tuner)
                tuner.search(list(tunings.values()), frozenset(step.stage.id for step in plan.steps))
                found = {search: tuning.winner() for search, tuning in tunings.items()}
                reasons += why + [tunings[search].why_not() for search, winner in found.items() if winner is None]
                plan = _locked(plan, [winner for winner in found.values() if winner], env.inputs)
    remember(plan, store)
    if reasons:
        raise NotTuned("; ".join(reasons))
    return plan


@contextmanager
def _settled() -> Iterator[None]:
    """Meanwhile the garbage collector passes over what the imports made, which a thousand trials need not look at again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _prepared(
    plan: Plan, searches: list[Search], store: Store, optunas: "Storage", tuner: Tuner
) -> tuple[dict[Search, Searching], list[str]]:
    """The searches that can be made, with what their trainings start from computed, and why others cannot."""
    builder, crew, reasons = plan.builder, tuner.crew, list[str]()
    below: dict[str, Step] = {}
    ready = []
    for search in searches:
        trainings = builder.trials(search)
        if blocked := next(
            (step.blocked for training, judges in trainings for step in (training, *judges) if step.blocked), None
        ):
            reasons.append(f"{search.name}: {blocked}")
            continue
        ready.append(search)
        for training, _ in trainings:
            for stage in training.stage.lineage[:-1]:
                below[stage.id] = Step(stage, search.model, {})
    todo = [step for step in below.values() if not store.usable(step.stage.id)]
    trained = Outcome()
    execute(Queue(todo, store, partial(work, plan.study), trained), crew, lambda *_: tuner.tell([], crew.busy), lambda: False)
    tunings = {search: Searching(builder, search, store, optunas) for search in ready}
    for search in list(tunings):
        lineage = builder.trials(search)[0][0].stage.lineage
        if lost := next((trained.failed[stage.id] for stage in lineage if stage.id in trained.failed), None):
            reasons.append(f"{search.name}: {lost}")
            del tunings[search]
    if plan.study.manifest.tuning.across != "none":
        for search, tuning in tunings.items():
            tuning.follow(_smaller(plan, search, tunings))
    return tunings, reasons


def _smaller(plan: Plan, search: Search, tunings: dict[Search, Searching]) -> Searching | None:
    """The same search of the next smaller model of the family."""
    models = plan.study.facts.models
    own, found = models[search.model], []
    for other in tunings:
        model = models[other.model]
        smaller = model.parameters.non_embedding < own.parameters.non_embedding
        if smaller and model.family == own.family and other._replace(model=search.model) == search:
            found.append(other)
    return tunings[max(found, key=lambda other: models[other.model].parameters.non_embedding)] if found else None


def _locked(plan: Plan, winners: list[Winner], inputs: Inputs) -> Plan:
    """The plan with these winners, and the lock written beside its manifest; those of other searches stay."""
    before = plan.study.lock.winners if plan.study.lock else ()
    new = {winner.search: winner for winner in (*before, *winners) if winner.search in plan.builder.searches}
    if not new:
        return plan
    lock = Lock(schema="xlift-lock/1", study=plan.study.id, winners=tuple(new[s] for s in plan.builder.searches if s in new))
    write_atomically(lock_path(plan.study.path), write_lock(lock))
    return expand(replace(plan.study, lock=lock), inputs)
