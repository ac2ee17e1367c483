"""A study on paper beside the same study, run here: the makespan by measured durations, and by those of a rehearsal.

python tests/benchmarks/simulated.py [STUDY] [--workers 2] [--data DIR]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from xlift.registry import cost, simulate
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store
from xlift.runners import probe, session
from xlift.runners.jobs import Env
from xlift.runners.machine import cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=Path(__file__).parents[1] / "campaigns" / "cluster.yaml")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    study = load(options.study)
    inputs = Inputs(study, options.data)
    plan, on = expand(study, inputs), simulate.machines(f"{options.workers}xhere")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        begun = time.time()
        rehearsed, _ = probe.durations(plan, Env(store.root, inputs, threads=max(1, cores() // options.workers)))
        print(f"rehearsed {len(rehearsed)} of {len(plan.steps)} stages in {time.time() - begun:.1f} s")
        begun = time.time()
        session.run(plan, store, options.data, workers=options.workers, device="cpu", mlflow=False)
        ended = [os.stat(store.folder(step.stage.id) / "record.json").st_mtime for step in plan.steps]
        records = {step.stage.id: store.record(step.stage.id) for step in plan.steps}
        first = min(end - record.seconds for end, record in zip(ended, records.values(), strict=True) if record)
        real = max(ended) - first
        measured = {id: record.seconds for id, record in records.items() if record}
        print(f"run here: {real:.1f} s from its first stage to its last ({max(ended) - begun:.1f} s with what comes before)")
    operations = {id: 3600 * hours for id, hours in cost.hours(plan, plan.steps, inputs, flops=1.0).items()}
    for name, durations in (
        ("measured durations", simulate.seconds(plan, operations, measured, {})),
        ("a rehearsal", simulate.seconds(plan, operations, {}, rehearsed)),
    ):
        found = simulate.simulate(plan, plan.steps, on, durations)
        print(
            f"on paper by {name}: {found.makespan:.1f} s, {100 * (found.makespan / real - 1):+.1f} %, idle {100 * found.idle:.1f} %"
        )


if __name__ == "__main__":
    main()
