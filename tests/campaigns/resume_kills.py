"""Trainings that are killed at random steps end with the weights of undisturbed ones, bit for bit.

    python tests/campaigns/resume_kills.py [--kills 50] [--seed 0] [--out experiments/results/resume_kills.csv]

Eleven sorts of training: pretraining; pairs, tags, spans, choices; a mixture; a training and a mixture with text beside; thin matrices, also
with halved weights; one that is watched while it is tuned. Each goes through a real worker process, which is killed, or asked to leave
by SIGTERM or SIGUSR1, when its log reaches a step that was drawn; another goes on. A line a training: kills,
steps, the steps that had been kept (none of which may be computed again), equal or not.
"""

import argparse
import csv
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import Plan, Step, expand
from xlift.registry.store import Store
from xlift.runners.jobs import Env, Job
from xlift.runners.pool import Crew

STUDY = """\
schema: xlift/1
id: killed
question: Does it go on?
data: {source: lab, world: {test_items: 10, train_items: 60, sentences: 100}}
models: [{id: one, make: {layers: 2, hidden: 32, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 60, batch: 8, max_length: 48, dropout: 0.1, head_dropout: 0.1}}
recipe: {lr: 1e-3, steps: 60, batch: 8, max_length: 64, dropout: 0.1, head_dropout: 0.1, warmup: 0.3MORE}
mixtures: {multi: {of: [lab-paraphrase, lab-span]}}
mlm: {share: 0.25}
TUNING
matrix: {intermediate: [none, lab-paraphrase, lab-span, lab-continue, multi], variant: [plain, mlm], target: [lab-pos], seed: {count: 1, from: 1}}
"""
TUNING = "tuning: {trials: 2, pruner: asha, reports: 4, space: {lr: {log: [1.0e-4, 1.0e-2]}}}"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)


def planned(folder: Path, more: str = "", tuning: str = "") -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    text = STUDY.replace("MORE", more).replace("TUNING\n", f"{tuning}\n" if tuning else "")
    (folder / "study.yaml").write_text(text)
    study = load(folder / "study.yaml")
    return expand(study, Inputs(study))


def sorts(folder: Path) -> dict[str, tuple[Plan, Job]]:
    """One training of each sort, by name."""
    found: dict[str, tuple[Plan, Job]] = {}
    for name, more in (("", ""), ("thin ", ", lora: {rank: 2, dropout: 0.1}"), ("halved ", ", precision: bf16, lora: {rank: 2}")):
        plan = planned(folder / (name.strip() or "whole"), more)
        for step in plan.steps:
            if step.stage.kind != "evaluate":
                data = step.stage.data
                beside = " with text" if data.kind == "mixture" and any(part.kind == "mlm" for part in data.of) else ""
                key = f"{name}{step.stage.kind if step.stage.kind == 'pretrain' else data.kind}{beside}"
                if not name or data.kind == "tag":
                    found.setdefault(key, (plan, Job(step)))
    plan = planned(folder / "tuned", tuning=TUNING)
    assert plan.builder is not None
    training, judges = plan.builder.trials(next(iter(plan.builder.searches)))[0]
    found["watched"] = (plan, Job(training, judges, 4))
    return found


def run_below(job: Job, crew: Crew) -> None:
    """What a training starts from."""
    for stage in job.step.stage.lineage[:-1]:
        finish(Job(Step(stage, job.step.model, {})), crew, [])


def finish(job: Job, crew: Crew, looks: list[tuple[int, float]]) -> str:
    crew.give(job)
    while not (endings := crew.collect(lambda _, look, score: looks.append((look, score)) or True)):
        pass
    return endings[0].state


def killed(
    job: Job, env: Env, at: list[int], rng: np.random.Generator, looks: list[tuple[int, float]]
) -> tuple[list[str], list[int], int]:
    """Run a training that is ended when its log reaches each of some steps: the ways in which it was, the steps that were kept
    then, and how many steps were computed again although they were kept.
    """
    store, ways, kept, again = Store(env.store), list[str](), [0], 0
    log, ended = store.folder(job.step.stage.id) / "log.jsonl", 0.0
    with Crew(env, 1) as crew:
        run_below(job, crew)
        for step in at:
            crew.give(job)
            endings = []
            while not endings and reached(log) < step:
                endings = crew.collect(lambda _, look, score: looks.append((look, score)) or True)
            if endings:  # it was faster than we looked
                break
            way = SIGNALS[rng.integers(len(SIGNALS))]
            os.kill(crew.workers[0].process.pid, way)
            while not endings:
                endings = crew.collect(lambda _, look, score: looks.append((look, score)) or True)
            if endings[0].state == "done":
                break
            again += repeated(log, kept[-1], ended)
            ways.append(way.name)
            kept.append(max((torch.load(path, weights_only=True)["step"] for path in log.parent.glob("resume.*")), default=0))
            ended = 1000 * time.time()
            if endings[0].state == "died":  # which would count as an attempt; here it is the campaign's doing
                store.forgive(job.step.stage)
        else:
            assert finish(job, crew, looks) == "done"
    return ways, kept[1:], again + repeated(log, kept[-1], ended)


def repeated(log: Path, kept: int, ended: float) -> int:
    """Lines of steps that were kept, written after their training had ended."""
    return sum(line["step"] <= kept and line["time"] > ended for line in rows(log) if "loss" in line)


def rows(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []


def reached(log: Path) -> int:
    return max((line["step"] for line in rows(log) if "loss" in line), default=0)


def weights(store: Store, stage) -> dict[str, bytes]:
    folder = store.checkpoint(stage.id)
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng, rows, total = np.random.default_rng(options.seed), [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = sorts(folder)
        print(f"{len(made)} sorts: {', '.join(made)}", flush=True)
        for sort, (plan, job) in made.items():
            each = -(-(options.kills - total) // (len(made) - len(rows)))
            whole = Env(folder / "undisturbed" / sort, Inputs(plan.study))
            cut = Env(folder / "killed" / sort, Inputs(plan.study), minutes=0.002)
            seen: list[tuple[int, float]] = []
            with Crew(whole, 1) as crew:
                run_below(job, crew)
                assert finish(job, crew, seen) == "done"
            begun, looks = time.monotonic(), list[tuple[int, float]]()
            at = sorted(rng.choice(np.arange(2, 58), each, replace=False).tolist())
            ways, kept, again = killed(job, cut, at, rng, looks)
            stage = job.step.stage
            equal = weights(Store(whole.store), stage) == weights(Store(cut.store), stage) and set(looks) == set(seen)
            total += len(ways)
            rows.append(
                {
                    "sort": sort,
                    "kills": len(ways),
                    "ways": " ".join(ways),
                    "steps": " ".join(map(str, at)),
                    "kept": " ".join(map(str, kept)),
                    "again": again,
                    "equal": equal,
                }
            )
            print(
                f"{sort}: {len(ways)} kills at {at}, went on after {kept}, {again} again, equal {equal}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
    if options.out:
        with open(options.out, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print(f"{total} kills over {len(rows)} sorts; all equal: {all(row['equal'] for row in rows)}")
    raise SystemExit(0 if all(row["equal"] and not row["again"] for row in rows) else 1)


if __name__ == "__main__":
    main()
