"""Does a report say that slopes differ where they do, and only there? Planted studies with slopes of their own for each target.

    python tests/campaigns/heterogeneity.py --cell planted 5 3 0.5 --until 200   # components; targets, sds of slopes and models
    python tests/campaigns/heterogeneity.py --until 100                  # all cells, in turns; what is finished is kept
    python tests/campaigns/heterogeneity.py --summary

Six models in two families, three intermediates, four languages, one seed; other effects as in `SD`, or with `--cell donors` what
`experiments/published/donors.yaml` has. Rows go to experiments/results/inference/heterogeneity.csv: whether the headline says that
slopes differ, and over targets; the p of the mean slope for these targets, whose slopes are centred to mean 0, and for targets like
these, whose slopes are not; and whether a new target's interval holds the slope of one that is drawn like them. In the cells
`known` sampling variances are, and half of each is of a baseline that treatments share. Bars: where slopes
are equal at most .08 of a cell's studies "differ", .06 on average; false positives of both mean slopes likewise; at a slope sd of 3
and a model:target sd of .5, five targets, at least .8 "differ"; the interval covers in at least .90 at nine targets.
"""

import argparse
import csv
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis.study.apart import Apart
from xlift.analysis.study.groups import fitted_group
from xlift.registry.card import Analysis

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "inference" / "heterogeneity.csv"
MODELS, TREATMENTS, LANGUAGES = 6, 3, 4
SD = {"language": 0.8, "language slope": 0.4, "target": 1.0, "target treatment": 0.7, "model": 0.7, "model treatment": 0.4,
      "treated": 0.8, "baseline": 0.8, "cell": 0.8, "residual": 1.0}  # fmt: skip
DONORS = {"language": 0.1, "language slope": 0.1, "target": 0.5, "target treatment": 0.5, "model": 0.4, "model treatment": 0.4,
          "treated": 0.4, "baseline": 0.0, "cell": 1.2, "residual": 1.2}  # fmt: skip
CELLS = [("planted", *cell) for cell in product((5, 9), (0.0, 1.0, 3.0), (0.0, 0.5, 1.0, 2.0))]
CELLS += [("donors", 5, spread, 1.4) for spread in (0.0, 1.0, 3.0)]
CELLS += [("known", targets, 0.0, 1.4) for targets in (5, 9)]
SAMPLED = 0.7  # points: of a gain, and half of that variance of the baseline that treatments share
FIELDS = [
    "components",
    "targets",
    "spread",
    "models_at_target",
    "replicate",
    "differ",
    "target_p",
    "p_these",
    "p_like",
    "covers",
    "sd",
]
BLOCK = 10


def gains(components: str, targets: int, spread: float, at_target: float, rng: np.random.Generator) -> tuple[pd.DataFrame, float]:
    """One study's gains, slopes of targets centred to mean 0, and what their mean was; points."""
    sd = SD if components == "planted" else DONORS
    axes = [np.arange(n) for n in (MODELS, TREATMENTS, targets, LANGUAGES)]
    m, i, t, lang = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    lp = np.linspace(-0.7, 0.7, MODELS)
    slopes = spread * rng.normal(size=targets)
    treated, baseline = (m * TREATMENTS + i) * targets + t, m * targets + t
    cell = baseline * LANGUAGES + lang

    def draw(name: str, level: np.ndarray) -> np.ndarray:
        return sd[name] * rng.normal(size=level.max() + 1)[level]

    gain = 1.0 + (slopes - slopes.mean())[t] * lp[m] + draw("language", lang) + draw("language slope", lang) * lp[m]
    gain += draw("target", t) + draw("target treatment", t * TREATMENTS + i) + draw("model", m)
    gain += draw("model treatment", m * TREATMENTS + i) + at_target * rng.normal(size=baseline.max() + 1)[baseline]
    gain += draw("treated", treated) - draw("baseline", baseline) - draw("cell", cell) + sd["residual"] * rng.normal(size=len(m))
    names = {name: [f"{name}{k}" for k in codes] for name, codes in (("m", m), ("i", i), ("t", t), ("l", lang))}
    rows = pd.DataFrame(
        {
            "gain": gain / 100,
            "lp": lp[m],
            "params_non_embedding": np.round(10 ** (9.5 + lp[m])),
            "model": names["m"],
            "family": [f"f{k % 2}" for k in m],
            "treatment": names["i"],
            "intermediate": names["i"],
            "variant": "plain",
            "target": names["t"],
            "language": names["l"],
            "seed": 0,
            "target_group": "fine-tuned",
            "intermediate_run": m * TREATMENTS + i,
            "treated_run": treated,
            "baseline_run": baseline,
            "cell": cell,
        }
    )
    if components == "known":
        rows["gain"] += SAMPLED / 100 * (rng.normal(size=len(m)) - rng.normal(size=cell.max() + 1)[cell]) / 2**0.5
        rows["gain_se"] = SAMPLED / 100
    return rows, float(slopes.mean())


def replication(cell: tuple[str, int, float, float], number: int) -> dict[str, object]:
    rng = np.random.default_rng([CELLS.index(cell), number])
    rows, mean = gains(*cell, rng)
    row = dict(zip(FIELDS, (*cell, number), strict=False))
    sampling = "known" if cell[0] == "known" else "estimated"
    found = Apart(fitted_group("fine-tuned", rows, Analysis(sampling=sampling)), None)
    moved = rows.assign(gain=rows["gain"] + mean / 100 * rows["lp"])  # the same study, its slopes as they were drawn
    like = Apart(fitted_group("fine-tuned", moved, Analysis(targets="like these", sampling=sampling)), None)
    new, spread = cell[2] * rng.normal() / 100, like.spread
    told = not isinstance(spread, str)
    row |= {"differ": " ".join(found.differ), "target_p": found.tests["p"][0]}
    row |= {"p_these": found.group.headline["p"] if found.group.tested else None}
    row |= {"p_like": like.group.headline["p"] if like.group.tested else None}
    return row | {
        "covers": int(spread["low"] <= new <= spread["high"]) if told else None,
        "sd": spread["sd"] if told else None,
    }


def run(cells: list[tuple[str, int, float, float]], until: int) -> None:
    """What is missing of some cells up to a number of replications, in turns of BLOCK."""
    for stop in range(BLOCK, until + 1, BLOCK):
        for cell in cells:
            kept = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=FIELDS)
            done = kept[(kept[FIELDS[:4]] == pd.Series(cell, FIELDS[:4])).all(axis=1)]["replicate"]
            rows = [replication(cell, number) for number in range(stop - BLOCK, stop) if number not in {*done}]
            new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerows([{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
        print(stop, "replications a cell", flush=True)


def summary() -> pd.DataFrame:
    """A row a cell: rates over its replications."""
    rows = []
    for cell, part in pd.read_csv(RESULTS).groupby(FIELDS[:4]):
        said = part["differ"].fillna("")
        rows.append(
            dict(zip(FIELDS, cell, strict=False))
            | {
                "studies": len(part),
                "differ": (said != "").mean(),
                "over targets": said.str.contains("target").mean(),
                "these": (part["p_these"] < 0.05).mean(),
                "like these": (part["p_like"] < 0.05).mean(),
                "a new target": part["covers"].mean(),
            }
        )
    return pd.DataFrame(rows).round(3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", nargs=4, metavar=("COMPONENTS", "TARGETS", "SPREAD", "MODELS_AT_TARGET"))
    parser.add_argument("--until", type=int, default=1000)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if not options.summary:
        chosen = (options.cell[0], *map(float, options.cell[1:])) if options.cell else None
        run([cell for cell in CELLS if chosen in (None, cell)], options.until)
    print(summary().to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
