"""Does the default model keep what it promises? Planted studies with run effects and losses, thousands of them.

    python tests/campaigns/default_model.py                 # all parts, about an hour of one core; finished parts are kept
    python tests/campaigns/default_model.py --part 4 spread # one of them: models, then the scenario
    python tests/campaigns/default_model.py --summary       # what the rows say

Each replication draws scores of treated and baseline runs, loses a twentieth of the runs (and the gains of lost baselines), pairs
what is left, composes the primary model and fits it. The true slope is 0; the true gains are those of `GAIN`. Rows go to
experiments/results/inference/default-model.csv: false positives of the headline slope at 5 % beside two stages, and coverage of
each treatment's gain by its 95 % interval. Bars: at most .065, and 93 to 98.5 %, beyond Monte Carlo error.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis.mixed import contrasts
from xlift.analysis.study.groups import fitted_group
from xlift.analysis.study.slope import scale_slope
from xlift.registry.card import Analysis

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "inference" / "default-model.csv"
MODELS = (4, 5, 6, 8)
REPLICATIONS = 2000
BLOCK = 100  # replications between writes
GAIN = {"qa": 0.5, "nli": 1.5, "tags": -0.5}  # points
SHAPE = {"targets": 4, "languages": 6, "seeds": 2}
# Standard deviations in points. spread: every effect is there; runs: models do not differ, as far as their runs show
SCENARIOS = {
    "spread": {"language": 0.8, "language slope": 0.4, "target": 1.0, "target treatment": 0.7, "model": 0.7, "model treatment": 0.4,
               "intermediate": 0.5, "treated": 1.2, "baseline": 1.0, "cell": 0.8, "residual": 1.0},
    "runs": {"language": 0.8, "language slope": 0.0, "target": 1.0, "target treatment": 0.5, "model": 0.0, "model treatment": 0.0,
             "intermediate": 0.8, "treated": 1.5, "baseline": 1.2, "cell": 0.8, "residual": 1.0},
}  # fmt: skip
LOST = 0.05
FIELDS = [
    "models",
    "scenario",
    "replicate",
    "rows",
    "estimate",
    "se",
    "df",
    "p",
    "two_stage_p",
    *(f"covers_{name}" for name in GAIN),
]


def gains(models: int, sd: dict[str, float], rng: np.random.Generator) -> tuple[pd.DataFrame, float]:
    """One study's gains, with the columns of the view, and what its targets add to their mean; two families from five models on."""
    sizes = np.sort(rng.uniform(-0.75, 0.75, models)) if models > 6 else np.linspace(-0.7, 0.7, models)
    axes = [np.arange(n) for n in (models, len(GAIN), *SHAPE.values())]
    m, i, t, lang, s = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    seeds, targets = SHAPE["seeds"], SHAPE["targets"]
    intermediate, treated = (m * len(GAIN) + i) * seeds + s, ((m * len(GAIN) + i) * targets + t) * seeds + s
    baseline = (m * targets + t) * seeds + s
    cell = baseline * SHAPE["languages"] + lang

    def draw(name: str, level: np.ndarray) -> np.ndarray:
        return sd[name] * rng.normal(size=level.max() + 1)[level]

    lp = sizes - sizes.mean()
    of_target = draw("target", t)  # fixed in the model: gains are those of these targets
    gain = np.array(list(GAIN.values()))[i] + draw("language", lang) + draw("language slope", lang) * lp[m] + of_target
    gain += draw("target treatment", t * len(GAIN) + i) + draw("model", m) + draw("model treatment", m * len(GAIN) + i)
    gain += draw("intermediate", intermediate) + draw("treated", treated) - draw("baseline", baseline) - draw("cell", cell)
    gain += sd["residual"] * rng.normal(size=len(m))
    rows = pd.DataFrame(
        {
            "gain": gain / 100,
            "score": 0.6,
            "baseline": 0.6 - gain / 100,
            "lp": lp[m],
            "params_non_embedding": np.round(10 ** (9.5 + lp[m])),
            "model": [f"m{k}" for k in m],
            "family": [f"f{k % 2 if models > 4 else 0}" for k in m],
            "treatment": np.array(list(GAIN))[i],
            "intermediate": np.array(list(GAIN))[i],
            "variant": "plain",
            "target": [f"t{k}" for k in t],
            "language": [f"l{k}" for k in lang],
            "seed": s,
            "target_group": "fine-tuned",
            "same_task": False,
            "at_chance": False,
            "intermediate_run": intermediate,
            "treated_run": treated,
            "baseline_run": baseline,
            "cell": cell,
        }
    )
    lost_treated = rng.random(treated.max() + 1) < LOST
    lost_baseline = rng.random(baseline.max() + 1) < LOST
    kept = rows[~(lost_treated[treated] | lost_baseline[baseline])].reset_index(drop=True)
    return kept, float(of_target.mean())


def replication(models: int, scenario: str, number: int) -> dict:
    rng = np.random.default_rng([models, list(SCENARIOS).index(scenario), number])
    rows, added = gains(models, SCENARIOS[scenario], rng)
    group = fitted_group("fine-tuned", rows, Analysis())
    row = {"models": models, "scenario": scenario, "replicate": number, "rows": len(rows)}
    if not len(group.slopes):
        return row  # no fit: an empty row, which the summary counts
    slope, two = group.slopes.iloc[0], scale_slope(rows, "params_non_embedding", beside=group.setting.of_models)
    means = contrasts.means(group.fit, "treatment", at={"lp": 0.0}).table().set_index("contrast")
    covered = {f"covers_{n}": int(means.loc[n, "low"] <= (v + added) / 100 <= means.loc[n, "high"]) for n, v in GAIN.items()}
    numbers = {
        "estimate": slope["estimate"],
        "se": slope["se"],
        "df": slope["df"],
        "p": slope["p"],
        "two_stage_p": getattr(two, "p", None),
    }
    return row | {name: f"{value:.6g}" for name, value in numbers.items() if value is not None} | covered


def part(models: int, scenario: str) -> None:
    """What is missing of one part, written block by block."""
    done = set()
    if RESULTS.exists():
        kept = pd.read_csv(RESULTS)
        done = set(kept[(kept["models"] == models) & (kept["scenario"] == scenario)]["replicate"])
    todo = [number for number in range(REPLICATIONS) if number not in done]
    for start in range(0, len(todo), BLOCK):
        rows = [replication(models, scenario, number) for number in todo[start : start + BLOCK]]
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerows(rows)
        print(models, scenario, start + len(rows), "of", len(todo), flush=True)


def summary() -> pd.DataFrame:
    """A row a part: rates with their Monte Carlo standard errors."""
    rows = []
    for (models, scenario), table in pd.read_csv(RESULTS).groupby(["models", "scenario"]):
        fits = table.dropna(subset="p")
        covers = fits[[f"covers_{name}" for name in GAIN]].mean()
        rows.append(
            {
                "models": models,
                "scenario": scenario,
                "replications": len(table),
                "no fit": len(table) - len(fits),
                "false positives": round((fits["p"] < 0.05).mean(), 4),
                "two stages": round((fits["two_stage_p"] < 0.05).mean(), 4),
                "se": round((0.05 * 0.95 / len(fits)) ** 0.5, 4),
                "median df": round(fits["df"].median(), 2),
                **{f"coverage {name}": round(covers[f"covers_{name}"], 4) for name in GAIN},
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", nargs=2, metavar=("MODELS", "SCENARIO"))
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if options.summary:
        print(summary().to_string(index=False))
        return
    for models, scenario in [options.part] if options.part else [(m, s) for m in MODELS for s in SCENARIOS]:
        part(int(models), scenario)
    print(summary().to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
