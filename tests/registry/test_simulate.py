"""A study on machines that are not here: by hand where it can be, and never faster than anything could be."""

import numpy as np
import pytest

from xlift.registry import simulate
from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.simulate import Machines, machines, seconds

STUDY = """\
schema: xlift/1
id: paper
question: How long?
data: {source: lab, world: {test_items: 10, train_items: 40, sentences: 100}}
models:
  - {id: small, make: {layers: 1, hidden: 16, heads: 2}}
  - {id: large, make: {layers: 2, hidden: 32, heads: 2}}
pretrain: {recipe: {steps: 1}}
matrix: {intermediate: [none, lab-span], target: [lab-pos], seed: {count: 2, from: 1}}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("paper") / "study.yaml"
    path.write_text(STUDY)
    study = load(path)
    return expand(study, Inputs(study))


def here(count: int) -> tuple[Machines, ...]:
    return machines(f"{count}xhere")


def run(plan, taken: dict[str, float], on) -> simulate.Simulated:
    return simulate.simulate(plan, plan.steps, on, seconds(plan, {}, taken, {}))


def test_one_device_takes_the_sum_and_many_take_the_longest_chain(plan):
    taken = {step.stage.id: float(2 + at) for at, step in enumerate(plan.steps)}
    one = run(plan, taken, here(1))
    assert one.makespan == one.busy == sum(taken.values()) and one.idle == 0 and one.stages == len(plan.steps)
    chains = [sum(taken[stage.id] for stage in step.stage.lineage) for step in plan.steps]
    many = run(plan, taken, here(100))
    assert many.makespan == max(chains) and many.held == 100 * max(chains) and "longest chain" in many.bottleneck


def test_two_devices_by_hand(plan):
    """Each model: a pretraining, and from it, for two seeds, none > target and span > target, each with its evaluation."""
    taken = {step.stage.id: {"pretrain": 10.0, "train": 4.0, "evaluate": 1.0}[step.stage.kind] for step in plan.steps}
    # 0-10 both pretrain. Of each model then: four roots of 4 s, of which two lead to another training, and four evaluations.
    found = run(plan, taken, here(2))
    work = 2 * (10 + 6 * 4 + 4 * 1)
    assert found.busy == work == 76 and 38 <= found.makespan <= 42


@pytest.mark.parametrize("seed", range(20))
def test_no_order_is_faster_than_the_bounds_and_greedy_is_within_twice(plan, seed):
    """Graham's bound (1969): a list schedule on equal machines takes at most 2 - 1/m times the best."""
    rng = np.random.default_rng(seed)
    taken = {step.stage.id: float(rng.lognormal(0, 1)) for step in plan.steps}
    count = int(rng.integers(1, 6))
    found = run(plan, taken, here(count))
    assert max(found.bounds.values()) <= found.makespan * (1 + 1e-9)
    assert found.makespan <= sum(found.bounds.values()) * (1 + 1e-9)
    assert found.busy == pytest.approx(sum(taken.values())) and 0 <= found.idle < 1


def test_stages_alike_take_what_one_of_them_took_and_what_is_unknown_is_said(plan):
    first = {}
    for step in plan.steps:  # one of each sort, of seed 1 alone
        first.setdefault((step.model, step.stage.kind, step.stage.data.task), step.stage.id)
    found = run(plan, dict.fromkeys(first.values(), 3.0), here(1))
    assert found.makespan == 3.0 * len(plan.steps)
    with pytest.raises(UserError, match=r"nothing is known of how fast .* give --probe"):
        run(plan, {}, here(1))


def test_what_fits_no_device_is_left_with_all_that_rests_on_it(plan):
    operations = {step.stage.id: 1e9 for step in plan.steps}
    small = Machines("tiny", 2, 0.00075, 1e9)
    found = simulate.simulate(plan, plan.steps, (small,), seconds(plan, operations, {}, {}))
    needs = [simulate.needed_gb(step, plan.study.facts.models[step.model]) for step in plan.steps]
    assert 0 < found.unplaced < len(plan.steps) and min(needs) < 0.00075 < max(needs)
    assert found.stages + found.unplaced == len(plan.steps)
    assert simulate.simulate(plan, plan.steps, (Machines("none", 1, 1e-9, 1.0),), seconds(plan, operations, {}, {})).makespan == 0


@pytest.mark.parametrize(("text", "says"), [("64", "count"), ("0xH100", "count"), ("2xH1000", "H100"), ("", "count")])
def test_machines_that_are_none_are_said(text, says):
    with pytest.raises(UserError, match=says):
        machines(text)


def test_machines_are_read():
    first, second = machines("64xH100, 16 x A100-40")
    assert (first.kind, first.count, first.memory_gb) == ("H100", 64, 80) and (second.kind, second.count) == ("A100-40", 16)
