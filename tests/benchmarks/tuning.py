"""What tuning costs beside its trainings: CPU time a trial on the journal, above Optuna's bare ask and tell.

    python tests/benchmarks/tuning.py            # 1,000 trials each, alternated in three rounds
    python tests/benchmarks/tuning.py --mlflow   # and what it costs to show 200 trials in MLflow

Trainings are not made: a crew says at once that each is done, and its score is a formula. All else is as it is.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import optuna

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store
from xlift.runners import jobs, pool, tuning
from xlift.runners.tuning.search import distribution

STUDY = """\
schema: xlift/1
id: bench
question: What does a trial cost?
data: {{source: lab}}
models: [{{id: one, make: {{layers: 1, hidden: 16, heads: 2}}}}]
pretrain: {{recipe: {{steps: 1}}}}
tuning:
  trials: {trials}
  sampler: {sampler}
  space: {{lr: {{log: [1.0e-5, 1.0e-2]}}, weight_decay: {{uniform: [0, 0.1]}}, warmup: {{uniform: [0, 0.5]}}, batch: [8, 16, 32], epochs: [1, 2, 3]}}
  beside: false
matrix: {{intermediate: [none, lab-pos], target: [lab-names], seed: {{count: 1, from: 1}}}}
"""


class Instant(pool.Crew):
    """A crew that has done its job as soon as it got it: a checkpoint is there. What that takes is not counted."""

    seconds = 0.0

    def give(self, job):
        self.job, begun = job, time.process_time()
        if job.step.stage.kind == "train":
            trained(Store(self.env.store), job.step.stage)
        Instant.seconds += time.process_time() - begun

    def collect(self, go_on=lambda *_: True, idle=0.0):
        job = self.__dict__.pop("job", None)
        return [jobs.Ending(job, "done")] if job else []

    @property
    def busy(self):
        return [self.job] if "job" in self.__dict__ else []


def trained(store: Store, stage) -> None:
    """Commit a checkpoint."""
    with store.lease(stage) as lease:
        folder = lease.named("checkpoint")
        (lease.folder / folder).mkdir()
        (lease.folder / folder / "x").touch()
        store.commit(lease, [f"{folder}/x"], started=datetime.now(UTC), host="", versions={})


class Scored(tuning.Tuner):
    """A tuner whose scores are a formula of the learning rate."""

    def _score(self, pairs):
        return 1 - abs(next(iter(pairs))[0].stage.recipe.lr - 1e-3)


def ours(folder: Path, trials: int, sampler: str) -> float:
    """CPU seconds of a search."""
    (folder / "study.yaml").write_text(STUDY.format(trials=trials, sampler=sampler))
    study, store = load(folder / "study.yaml"), Store(folder / "store")
    plan = expand(study, Inputs(study))
    trained(store, plan.steps[0].stage)  # its pretraining
    begun, Instant.seconds = time.process_time(), 0.0
    tuning.tune(plan, store, None, workers=1, device="cpu")
    return time.process_time() - begun - Instant.seconds


def bare(folder: Path, trials: int, sampler: str) -> float:
    """CPU seconds of ask and tell alone, with the same space, sampler and journal."""
    section = load_section(folder, trials, sampler)
    space = {name: distribution(name, axis) for name, axis in section.space.items()}
    begun = time.process_time()
    made = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[sampler]
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "bare.journal"))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend), sampler=made(seed=1), direction="maximize")
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, 1 - abs(trial.params["lr"] - 1e-3))
    return time.process_time() - begun


def load_section(folder: Path, trials: int, sampler: str):
    (folder / "study.yaml").write_text(STUDY.format(trials=trials, sampler=sampler))
    return load(folder / "study.yaml").manifest.tuning


def shown(folder: Path) -> float:
    """CPU seconds to show what is in a store in MLflow, its database made before."""
    from xlift.runners import tracking

    study = load(folder / "study.yaml")
    mirror = tracking.Mirror(expand(study, Inputs(study)), Store(folder / "store"))
    mirror.store.root.joinpath("tuning").rename(folder / "aside")
    mirror.update()
    (folder / "aside").rename(mirror.store.root / "tuning")
    begun = time.process_time()
    mirror.update()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlflow", action="store_true")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuning.Crew, tuning.Tuner = Instant, Scored
    for sampler in ("random", "tpe"):
        rows = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                own, plain = ours(Path(folder), options.trials, sampler), bare(Path(folder), options.trials, sampler)
            rows.append((own, plain))
            print(f"{sampler}: {1e3 * own / options.trials:.1f} ms a trial, bare {1e3 * plain / options.trials:.1f}", flush=True)
        above = statistics.median(1e3 * (own - plain) / options.trials for own, plain in rows)
        print(f"{sampler}: {above:.1f} CPU ms a trial above bare ask and tell (median of {options.rounds})")
    if options.mlflow:
        with tempfile.TemporaryDirectory() as folder:
            ours(Path(folder), 200, "random")
            print(f"MLflow: {1e3 * shown(Path(folder)) / 200:.0f} CPU ms a trial")


if __name__ == "__main__":
    main()
