"""What the queue takes beside the stages themselves.

    python tests/benchmarks/queueing.py [--stages 1000] [--finished 8000]

Three figures: CPU ms a stage outside its work, of a local run and of a worker (looking, claiming, committing, telling; what a stage
computes is left out); CPU seconds and file operations of one `xlift worker` on a finished study, counted by strace where it is there;
and, with --real N, the parent process of a real run of N small stages.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from xlift.registry import sheet
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import Plan, expand, remember
from xlift.registry.store import Store, part_name
from xlift.runners import pool, session, worker
from xlift.runners.jobs import Ending
from xlift.runners.machine import versions

STUDY = """\
schema: xlift/1
id: small
question: What does a stage take beside its work?
data: {{source: lab, world: {{test_items: 10, train_items: 20, sentences: 50}}}}
models:
  - {{id: one, make: {{layers: 1, hidden: 16, heads: 2, vocabulary: 300}}}}
  - {{id: two, make: {{layers: 1, hidden: 32, heads: 2, vocabulary: 300}}}}
pretrain: {{recipe: {{steps: 1, batch: 4}}}}
recipe: {{steps: 1, batch: 4, max_length: 48}}
matrix: {{intermediate: [none, lab-span], target: [lab-pos, lab-names], seed: {{count: {seeds}, from: 1}}}}
"""


class Instant(pool.Crew):
    """A crew that claims and commits, and computes nothing."""

    def give(self, job):
        self.job = job

    def collect(self, go_on=lambda *_: True, idle=0.0):
        job = self.__dict__.pop("job", None)
        if job is None:
            return []
        committed(Store(self.env.store), job.step)
        return [Ending(job, "done")]

    @property
    def busy(self):
        return [self.job] if "job" in self.__dict__ else []


def committed(store: Store, step) -> None:
    from datetime import UTC, datetime

    with store.lease(step.stage) as lease:
        if step.stage.kind == "evaluate":
            names = [lease.named(part_name(language, data)) for language, data in step.tests.items()]
        else:
            names = [f"{lease.named('checkpoint')}/x"]
        for name in names:
            (lease.folder / name).parent.mkdir(exist_ok=True)
            (lease.folder / name).touch()
        store.commit(lease, names, started=datetime.now(UTC), host="", versions=versions())


def planned(folder: Path, stages: int) -> Plan:
    path = folder / "study.yaml"
    path.write_text(STUDY.format(seeds=max(1, stages // 18)))
    study = load(path)
    return expand(study, Inputs(study))


def outside(folder: Path, stages: int) -> None:
    """CPU ms a stage, of a local run and of a worker."""
    pool.Crew = Instant
    versions()
    plan = planned(folder, stages)
    ways = {
        "local": lambda store: session.run(plan, store, None, workers=1, device="cpu", mlflow=False),
        "worker": lambda store: worker.work(plan.study, plan.steps, store, None, workers=1, device="cpu"),
    }
    for turn in range(2):
        for name, way in ways.items():
            begun = time.process_time()
            way(Store(folder / f"{name}-{turn}"))
            print(f"{name}: {1e3 * (time.process_time() - begun) / len(plan.steps):.1f} CPU ms a stage, {len(plan.steps)} stages")


def finished(folder: Path, stages: int) -> None:
    """A worker's whole life on a study that is finished."""
    plan, store = planned(folder, stages), Store(folder / "finished")
    languages = {f"l{i}": f"{i:064d}" for i in range(15)}
    steps = [replace(step, tests=languages) if step.stage.kind == "evaluate" else step for step in plan.steps][:stages]
    for step in steps:
        committed(store, step)
    sheet.save(replace(plan, steps=tuple(steps)), store)
    remember(plan, store)
    command = [sys.executable, "-m", "xlift", "worker", str(folder / "study.yaml"), "--store", str(store.root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"a worker on {len(steps)} finished stages: {used:.2f} CPU s")
    if not shutil.which("strace"):
        return
    trace = folder / "trace"
    subprocess.run(["strace", "-f", "-e", "trace=file", "-o", str(trace), *command], check=True, capture_output=True)
    count = sum(str(store.root) in line for line in trace.read_text(errors="replace").splitlines())
    print(f"  {count} file operations on the store")


def real(folder: Path, stages: int) -> None:
    """The parent of a real run, without what it imports: its CPU beyond that of a run of nothing."""
    planned(folder, stages)
    command = [sys.executable, "-m", "xlift", "run", "study.yaml", "--no-mlflow", "--workers", "2", "--store", "real"]
    used = []
    for _ in range(2):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        used.append(usage.ru_utime + usage.ru_stime)
    print(
        f"a real run of {stages} stages: its processes take {1e3 * (used[0] - used[1]) / stages:.1f} CPU ms a stage, work included"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=8000)
    parser.add_argument("--real", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finished(folder, options.finished)
        if options.real:
            real(folder, options.real)
        outside(folder, options.stages)


if __name__ == "__main__":
    main()
