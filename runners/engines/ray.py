"""Ray: a task for each stage, which waits for its parents; a driver that may die, since the store is what goes on.

`xlift run --on ray` starts the driver in the background of this machine (`python -m xlift.runners.engines.ray ORDER`). A task
asks for a class's share of a node, claims its stage as every worker does, and returns what became of it. Nothing is uploaded:
xlift is installed on the nodes, and the store is where they all see it.

What was found by running it (Ray 2.60): ports are open on all interfaces unless RAY_AUTH_MODE=token; what no node can ever
give waits for ever without an error, so it is asked before; `ray.cancel` without force does not interrupt a call that blocks.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import Step
from xlift.registry.profile import Ray as Section
from xlift.registry.profile import RayClass
from xlift.registry.sheet import checked
from xlift.registry.sheet import read as sheet_of
from xlift.registry.standing import by_chain, left
from xlift.registry.store import Store
from xlift.registry.submission import Cancelled, read
from xlift.runners.engines import local
from xlift.runners.engines.base import Order, Script
from xlift.runners.jobs import Env, Job
from xlift.runners.progress import work

if TYPE_CHECKING:
    from xlift.registry.submission import Submission

FAILING = ("failed", "memory", "died", "device", "damaged")  # tried again: the store says how often
Said = tuple[str, str, str]  # stage, what became of it, why


class Ray:
    def missing(self) -> str | None:
        return None if find_spec("ray") else "ray is not installed here: pip install 'xlift[ray]'"

    def scripts(self, order: Order) -> list[Script]:
        assert isinstance(order.section, Section)
        told = {
            "study": str(order.study),
            "number": int(order.folder.name) if order.folder.name.isdigit() else 0,
            "store": str(order.store),
            "data": str(order.data) if order.data else None,
            "models": str(order.models) if order.models else None,
            "minutes": order.minutes,
            "device": order.device,
            "address": order.section.address,
            "retries": order.section.retries,
            "classes": [each.model_dump(mode="json") for each in order.classes],
        }
        return [Script("driver", json.dumps(told, indent=1) + "\n")]

    def submit(self, order: Order, scripts: list[Script]) -> list[str]:
        (script,) = scripts
        path = order.folder / "driver.json"
        path.write_text(script.text, encoding="utf-8")
        command = [sys.executable, "-P", "-m", "xlift.runners.engines.ray", str(path)]
        return [local.background(command, order.logs / "driver.log")]

    def states(self, jobs: tuple[str, ...]) -> dict[str, str]:
        return {name.replace("process", "driver"): state for name, state in local.ENGINE.states(jobs).items()}

    def cancel(self, jobs: tuple[str, ...]) -> None:
        local.ENGINE.cancel(jobs)  # Ray ends the tasks of a driver that ends


@dataclass(frozen=True)
class Task:
    """What a node needs to know of a stage."""

    job: Job
    env: Env


def run_stage(task: Task, *parents: Said) -> Said:
    """Run a stage on a node, once its parents did; it goes on while another process has it. The body of a task."""
    from xlift.runners.machine import device_and_workers
    from xlift.runners.pool import attempt, quiet

    stage = task.job.step.stage.id
    lost = next((parent for parent in parents if parent[1] != "done"), None)
    if lost:
        return stage, "skipped", lost[0]
    quiet(task.env.threads)
    env = replace(task.env, device=device_and_workers(task.env.device, 1)[0])
    pause = 1.0
    while True:
        state, reason = attempt(task.job, env, lambda *_: True)
        if state != "held":
            return stage, state, reason
        time.sleep(pause)
        pause = min(30.0, 1.5 * pause)


class Driver:
    """Hands a study's stages to Ray, and those again that are to be tried again."""

    def __init__(self, told: dict[str, Any], ray: Any):
        self.told, self.ray = told, ray
        study = load(Path(told["study"]))
        self.store, self.study = Store(Path(told["store"])), study
        found, sent = sheet_of(study, self.store), read(self.store, study.id, told["number"])
        if found is None or sent is None:
            raise UserError(f"the store {self.store.root} has no plan of study '{study.id}' as it is now; send it again")
        self.sent: Submission = sent
        self.classes = [RayClass.model_validate(each) for each in told["classes"]]
        todo = [step for step in left(found, self.store) if step.stage.id in sent.of]
        self.steps = {step.stage.id: step for step in by_chain(todo, partial(work, study))}
        self.env = Env(
            self.store.root,
            Inputs(study, Path(told["data"]) if told["data"] else None),
            told["device"],
            minutes=told["minutes"],
            models=Path(told["models"]) if told["models"] else None,
        )
        self.refs: dict[str, Any] = {}
        self.short: dict[str, int] = {}
        self.ended: dict[str, tuple[str, str]] = {}

    def run(self) -> dict[str, tuple[str, str]]:
        """Bring everything to its end; what became of each stage. UserError where a class asks for more than any node has."""
        self.fits()
        cancelled = Cancelled(self.store, self.study.id)
        for step in self.steps.values():
            self.send(step)
        while self.refs and not cancelled():
            ready, _ = self.ray.wait(list(self.refs.values()), num_returns=1, timeout=5.0)
            for ref in ready:
                stage = next(stage for stage, each in self.refs.items() if each == ref)
                del self.refs[stage]
                try:
                    _, state, reason = self.ray.get(ref)
                except self.ray.exceptions.RayError as error:  # its process or node died more often than it is tried again
                    state, reason = "died", str(error).splitlines()[0]
                self.take(self.steps[stage], state, reason)
        return self.ended

    def fits(self) -> None:
        """UserError where a class can never be given what it asks for; a cluster that grows by itself is not asked."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for index in {classes[0] for id, classes in self.sent.of.items() if id in self.steps}:
            wanted = {"CPU": self.classes[index].cpus, "GPU": self.classes[index].gpus, **self.classes[index].resources}
            if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
                asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)
                raise UserError(f"class '{self.classes[index].name}' asks for {asked}, and no node of the cluster has that")

    def send(self, step: Step) -> None:
        """Submit a stage behind those of its ancestors that are under way."""
        id = step.stage.id
        index = self.sent.class_of(step, self.short.get(id, 0))
        each = self.classes[index or 0]
        parents = [self.refs[stage.id] for stage in step.stage.lineage[:-1] if stage.id in self.refs]
        options: dict[str, Any] = {
            "num_cpus": each.cpus,
            "num_gpus": each.gpus,
            "resources": each.resources,
            "max_retries": self.told["retries"],
            "name": f"{step.stage.kind} {step.model} {step.stage.data.task}",
        }
        task = Task(Job(checked(step)), replace(self.env, threads=max(1, int(each.cpus))))
        self.refs[id] = self.ray.remote(run_stage).options(**options).remote(task, *parents)

    def take(self, step: Step, state: str, reason: str) -> None:
        """What became of a stage: it is at its end, or sent again."""
        id = step.stage.id
        self.ended.pop(id, None)
        if state == "skipped":
            if reason in self.refs:  # its parent is tried again
                self.send(step)
                return
            reason = f"its ancestor {reason} failed"
        elif state in FAILING:
            failure = self.store.failed(id)
            self.short[id] = sum(attempt.kind == "memory" for attempt in failure.counted(step.mark)) if failure else 0
            final = failure is not None and failure.final(step.mark)
            if state != "died" and not final and failure is not None:
                self.send(step)
                return
        self.ended[id] = (state, reason)
        print(f"{state} {id} {step.stage.kind} {step.model} {step.stage.data.task} {reason}".rstrip(), flush=True)


def main(arguments: Sequence[str]) -> int:
    """The driver of an order. Exit status 1 where stages failed."""
    told = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ray.init(address=told["address"], log_to_driver=False)
    try:
        ended = Driver(told, ray).run()
    except UserError as error:
        print(f"xlift: {error}", file=sys.stderr)
        return 2
    finally:
        ray.shutdown()
    return 1 if any(state != "done" for state, _ in ended.values()) else 0


ENGINE = Ray()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
