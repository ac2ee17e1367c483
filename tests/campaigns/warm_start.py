"""How many trials does a search need that begins with the best of the next smaller model, for what a cold one finds?

    python tests/campaigns/warm_start.py --store /tmp/warm --seeds 1 10     # about 3 minutes a seed on one core; goes on where it stopped
    python tests/campaigns/warm_start.py --table                            # what the rows say

The lab, an encoder of 64 and one of 128 (XLM-R's architecture), one intermediate task, 12 trials in each search: the larger
model's search once cold and once after the smaller one's. Rows, one a trial, are kept in experiments/results/tuning/.
"""

import argparse
import csv
import math
from pathlib import Path

import numpy as np
from scipy import stats

ROWS = Path(__file__).parents[2] / "experiments" / "results" / "tuning" / "warm-start.csv"
HEAD = ("seed", "arm", "model", "trial", "origin", "lr", "batch", "epochs", "state", "score")
TRIALS = 12
STUDY = """\
schema: xlift/1
id: warm-{seed}
question: What does a warm start save?
data: {{source: lab, world: {{languages: [al1, al2], vocabulary: 60, difficulty: 0.1, train_items: 600, test_items: 400, sentences: 3000}}}}
models:
  - {{id: narrow, make: {{layers: 2, hidden: 64, heads: 4}}}}
  - {{id: wide, make: {{layers: 2, hidden: 128, heads: 4}}}}
pretrain: {{recipe: {{lr: 2e-3, batch: 32, steps: 600, max_length: 48, mask: 0.3, dropout: 0, head_dropout: 0}}}}
recipe: {{lr: 1e-4, batch: 32, epochs: 2, max_length: 64, dropout: 0, head_dropout: 0}}
tuning:
  {{trials: {trials}, seed: {seed}, across: {across}, space: {{lr: {{log: [5.0e-5, 2.0e-2]}}, batch: [8, 16, 32], epochs: [1, 2]}}, beside: false}}
matrix: {{intermediate: [none, lab-pos], target: [lab-names], seed: {{count: 1, from: 1000}}}}
"""


def rows(seed: int, store: Path) -> list[tuple]:
    """The trials of both arms for one seed."""
    from xlift.registry.inputs import Inputs
    from xlift.registry.manifest.load import load
    from xlift.registry.plan import expand
    from xlift.registry.store import Store
    from xlift.runners import tuning

    found = []
    for arm, across in (("cold", "none"), ("warm", "warm-start")):
        folder = store / f"{arm}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(STUDY.format(seed=seed, trials=TRIALS, across=across))
        study, kept = load(folder / "study.yaml"), Store(store / "store")
        plan = tuning.tune(expand(study, Inputs(study)), kept, None, workers=1, device="cpu")
        for search in plan.builder.searches:
            for trial in kept.trials(plan.builder.folder(search)):
                values = (trial.values["lr"], trial.values["batch"], trial.values["epochs"])
                found.append((seed, arm, search.model, trial.number, trial.origin, *values, trial.state, trial.score))
    return found


def table() -> str:
    """Trials until the cold search's best, by arm, and their paired difference; a search that never gets there counts 13."""
    read = list(csv.DictReader(ROWS.open(encoding="utf-8")))
    seeds = sorted({int(row["seed"]) for row in read})
    needed: dict[str, list[int]] = {"cold": [], "warm": []}
    gaps = []
    for seed in seeds:
        runs = {
            arm: [
                float(row["score"] or "nan")
                for row in read
                if (int(row["seed"]), row["arm"], row["model"]) == (seed, arm, "wide")
            ]
            for arm in needed
        }
        goal = np.nanmax(runs["cold"])
        gaps.append(100 * (np.nanmax(runs["warm"]) - goal))
        for arm, scores in runs.items():
            needed[arm].append(next((i for i, score in enumerate(scores, 1) if score >= goal), TRIALS + 1))
    difference = np.subtract(needed["warm"], needed["cold"])
    half = stats.t.ppf(0.975, len(seeds) - 1) * difference.std(ddof=1) / math.sqrt(len(seeds))
    reach = stats.t.ppf(0.975, len(seeds) - 1) * np.std(gaps, ddof=1) / math.sqrt(len(seeds))
    lines = [f"{'seed':>6} {'cold':>6} {'warm':>6}   best, warm − cold (points)"]
    lines += [f"{s:>6} {c:>6} {w:>6}   {g:+.2f}" for s, c, w, g in zip(seeds, needed["cold"], needed["warm"], gaps, strict=True)]
    lines.append(f"median {np.median(needed['cold']):g} cold, {np.median(needed['warm']):g} warm")
    lines.append(
        f"warm − cold: {difference.mean():+.1f} trials [{difference.mean() - half:+.1f}, {difference.mean() + half:+.1f}]"
    )
    lines.append(
        f"best found, warm − cold: {np.mean(gaps):+.2f} points [{np.mean(gaps) - reach:+.2f}, {np.mean(gaps) + reach:+.2f}]"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("warm-start"))
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 10))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        ROWS.parent.mkdir(parents=True, exist_ok=True)
        done = {int(row["seed"]) for row in csv.DictReader(ROWS.open(encoding="utf-8"))} if ROWS.exists() else set()
        for seed in range(options.seeds[0], options.seeds[1] + 1):
            if seed not in done:
                new = rows(seed, options.store)
                fresh = not ROWS.exists()
                with ROWS.open("a", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerows([HEAD, *new] if fresh else new)
                print(f"seed {seed}", flush=True)
    print(table())


if __name__ == "__main__":
    main()
