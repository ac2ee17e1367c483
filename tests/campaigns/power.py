"""Whether predicted power is the share of planted studies in which the slope is found: two designs, 500 studies each.

    python tests/campaigns/power.py [--studies 500] > experiments/results/power/agreement.csv

A study is planted row by row: every level of every random term gets its draw, and gains are their sum with a slope and noise.
It is fitted as a report fits it. The prediction knows the design and the standard deviations, and no gain. Some 4 minutes.
"""

import argparse
import sys
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from analysis.planted import plant, sized

from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.study.check import planned_groups
from xlift.analysis.study.groups import fitted_group
from xlift.analysis.study.power import Design, component, simulated
from xlift.analysis.study.primary import DEFAULT
from xlift.registry.card import Analysis

KNOWN = {  # standard deviations, fractions
    "language": 0.01,
    "lp by language": 0.004,
    "model:target": 0.006,
    "target:treatment": 0.006,
    "model": 0.006,
    "model:treatment": 0.004,
    "intermediate_run": 0.004,
    "treated_run": 0.006,
    "baseline_run": 0.006,
    "cell": 0.006,
    "residual": 0.008,
}
DESIGNS = {"5 models, 2 seeds": (5, (1, 2), 0.025), "8 models, 1 seed": (8, (1,), 0.012)}  # models, seeds, slope


def planted(rows: pd.DataFrame, slope: float, rng: np.random.Generator) -> pd.DataFrame:
    """The rows with gains: each level of each term of the default model drawn, nothing taken from the code under test."""
    gain = slope * rows["lp"].to_numpy() + KNOWN["residual"] * rng.normal(size=len(rows))
    for term in formulas.parse(DEFAULT["these"]).random:
        codes = pd.factorize(matrices.labels(rows, term.group))[0]
        for column in map(str, formulas.terms_of(term.columns)):
            sd = KNOWN[component("Intercept" if column == "1" else column, term.name)]
            gain += sd * rng.normal(size=codes.max() + 1)[codes] * (1 if column == "1" else rows[column].to_numpy())
    return rows.assign(gain=gain)


def compared(name: str, studies: int) -> dict[str, object]:
    """Predicted and found power of one design, and how far apart they are in Monte Carlo standard errors."""
    models, seeds, slope = DESIGNS[name]
    languages = ("en", *(f"l{index}" for index in range(8)))
    card, _ = plant(
        lambda cell, language: 0.5,
        models={f"m{i}": ("f", size) for i, (_, size) in enumerate(sized(models).values())},
        seeds=seeds,
        languages=languages,
    )
    rows = planned_groups(card)["fine-tuned"]
    power, _ = simulated(Design(name, rows), KNOWN, Analysis(), studies, np.random.default_rng(1))
    predicted, error = power.at(slope)
    rng, found = np.random.default_rng(2), 0
    for _ in range(studies):
        headline = fitted_group("fine-tuned", planted(rows, slope, rng), Analysis()).headline
        found += headline is not None and headline["p"] < 0.05 and headline["estimate"] > 0
    share = found / studies
    apart = (share - predicted) / sqrt(error**2 + share * (1 - share) / studies)
    return {
        "design": name,
        "slope_points": 100 * slope,
        "studies": studies,
        "predicted": predicted,
        "found": share,
        "z": round(apart, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    studies = parser.parse_args().studies
    table = pd.DataFrame([compared(name, studies) for name in DESIGNS])
    print(table.to_csv(index=False), end="")
    assert (table["z"].abs() < 3).all(), "predicted power is not what planted studies find"


if __name__ == "__main__":
    main()
