"""What a rehearsal of a study says its stages take, and the hours that a plan tells by it."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from xlift.registry import cost, simulate
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import Plan, Step, expand
from xlift.registry.standing import standing
from xlift.registry.store import Store, part_name
from xlift.runners import probe
from xlift.runners.jobs import Env
from xlift.runners.run import run

STUDY = """\
schema: xlift/1
id: probed
question: How long will it take?
data: {source: lab, world: {languages: [al1, al2, bo1], train_items: 40, test_items: 30, sentences: 60}}
models:
  - {id: made, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 120, positions: 64}}
  - {id: far, hub: google/mt5-small, revision: "REVISION"}
pretrain: {recipe: {steps: 20, batch: 4, max_length: 32}}
recipe: {batch: 4, epochs: 3, max_length: 32}
mixtures: {both: {of: [lab-span, lab-pos]}}
matrix: {intermediate: [none, both], target: [lab-pos, lab-pairs], seed: {count: 2, from: 1}}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    path = tmp_path_factory.mktemp("probed") / "study.yaml"
    path.write_text(STUDY.replace("REVISION", "a" * 40))
    study = load(path)
    return expand(study, Inputs(study))


def env_of(plan: Plan, folder) -> Env:
    return Env(folder, plan.builder.inputs, models=folder / "models")


@pytest.fixture(scope="module")
def rehearsed(plan, tmp_path_factory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("store")
    found, reasons = probe.durations(plan, env_of(plan, folder))
    assert reasons == {"far": "its weights are not here"} and not [*folder.iterdir()]
    return found


def own(plan: Plan) -> list:
    return [step for step in plan.steps if step.model == "made"]


def test_a_stage_of_each_sort_is_timed(plan, rehearsed):
    assert {*rehearsed} <= {step.stage.id for step in own(plan)} and all(taken > 0 for taken in rehearsed.values())
    assert len(rehearsed) == len({simulate.likeness(step) for step in own(plan)}) < len(own(plan))
    assert all(simulate.seconds(plan, {}, {}, rehearsed).here(step) for step in own(plan))


def test_hours_are_the_seconds_of_the_stages_where_the_weights_are_here(plan, rehearsed, tmp_path):
    operations = {id: 3600 * hours for id, hours in cost.hours(plan, plan.steps, plan.builder.inputs, flops=1.0).items()}
    durations = simulate.seconds(plan, operations, {}, rehearsed)
    costs = cost.costs(plan, standing(plan, Store(tmp_path)), plan.builder.inputs, 1e9, durations.reached())
    told = {each.model: each for each in costs}
    assert told["made"].gpu_hours == pytest.approx(sum(durations.here(step) for step in own(plan)) / 3600)
    assert told["far"].flops == 1e9 and told["far"].gpu_hours > 0


def test_what_was_measured_goes_before_what_was_rehearsed(plan, rehearsed):
    timed = simulate.seconds(plan, {}, dict.fromkeys([next(iter(rehearsed))], 1e6), rehearsed)
    longer = [step for step in own(plan) if timed.here(step) == 1e6]
    assert {simulate.likeness(step) for step in longer} == {simulate.likeness(longer[0])}


def test_a_training_has_as_many_steps_as_it_will_have(plan, tmp_path):
    env, store = env_of(plan, tmp_path), Store(tmp_path)
    sorts = {simulate.likeness(step): step.stage for step in own(plan) if step.stage.kind != "evaluate"}
    for stage in sorts.values():
        for each in stage.lineage:
            run(Step(each, "made", {}), env)
        assert probe._Rehearsal(plan, env)._steps(stage) == store.log(stage.id)[0][-1]["of"]


def test_the_arithmetic_of_what_is_cut_short(plan, tmp_path, monkeypatch):
    """By a clock of our own: 100 s beside steps of 2 s; 40 s for a model's reading, and 7 s a language."""
    at = datetime(2026, 1, 1, tzinfo=UTC)

    store = Store(tmp_path)

    def timed(step, env):
        lease, short = store.lease(step.stage), step.stage
        with lease:
            if short.kind == "evaluate":
                (lease.folder / "scores").mkdir()
                names = [lease.named(part_name(*test)) for test in step.tests.items()]
                taken = 40 + 7 * len(names)
            else:
                ends = [10.0 * min(k, probe.WARM) + 2 * max(0, k - probe.WARM) for k in range(1, short.recipe.steps + 1)]
                lines = [json.dumps({"time": 1000 * end, "step": k}) for k, end in enumerate(ends, 1)]
                (lease.folder / "log.jsonl").write_text("".join(line + "\n" for line in lines))
                names, taken = [], 100 + 2 * short.recipe.steps
            for name in names:
                (lease.folder / name).write_text("")
            store.commit(lease, names, started=datetime.now(UTC) - timedelta(seconds=taken), host="", versions={})
            for k, name in enumerate(names, 1):
                os.utime(lease.folder / name, (at.timestamp() + 7 * k,) * 2)

    monkeypatch.setattr(probe, "run", timed)
    rehearsal = probe._Rehearsal(plan, env_of(plan, tmp_path))
    found = dict(rehearsal.of(own(plan)))
    for step in (step for step in own(plan) if step.stage.id in found):
        wanted = 40 + 7 * len(step.tests) if step.stage.kind == "evaluate" else 100 + 2 * rehearsal._steps(step.stage)
        assert found[step.stage.id] == pytest.approx(wanted, abs=0.5)
