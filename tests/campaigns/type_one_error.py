"""How often is a slope found that is not there? And does a new model fall into its prediction interval?

    python tests/campaigns/type_one_error.py            # about 20 minutes of one core
    python tests/campaigns/type_one_error.py --replications 20 --two-stage 50 --out /tmp/results

Registries of 4, 5 and 6 models x 3 intermediates x 4 targets x 8 languages x 2 seeds, 5 % lost, true slope 0, standard
deviation between models 0.7 or 0.25. Writes error.csv, with the Monte Carlo error beside each rate.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "analysis")]

import registries

from xlift.analysis import mixed
from xlift.analysis.mixed import prediction, twostage
from xlift.analysis.mixed.inference import Satterthwaite

FORMULA = "gain ~ lp + inter + (1 + lp | lang) + (1 | target) + (1 | mi) + (1 | model)"
NEW = pd.DataFrame({"lp": 1.0, "inter": ["i0", "i1", "i2"], "model": "new", "mi": ["new:i0", "new:i1", "new:i2"]})
TWO_STAGE = {"two-stage": 0.4, "two-stage, no language slopes": 0.0}  # standard deviation of the languages' slopes
TRUTH = 1.0 + np.linspace(-1, 1.5, 3).mean()  # mean gain at 10B over the intermediates, of an average model


def mixed_row(models: int, sd: float, replicate: int) -> dict[str, float]:
    """p values of the slope, and whether a new model's true mean is in the 95 % prediction interval."""
    fit = mixed.fit(FORMULA, registries.null(models, sd, replicate))
    plain = Satterthwaite(fit.state)
    row = fit.cross.contrast(np.eye(len(fit.params))[1])[0]
    t = fit.params["lp"] / np.sqrt(row @ plain.cov @ row)
    from scipy import stats

    rng = np.random.default_rng([models, int(1000 * sd), replicate])
    true = TRUTH + rng.normal(0, sd) + rng.normal(0, 0.4, 3).mean()
    band = prediction.predict(fit, NEW, weights=[1 / 3] * 3).iloc[0]
    return {
        "kenward-roger": fit.pvalues["lp"] < 0.05,
        "satterthwaite": 2 * stats.t.sf(abs(t), plain.df(row)) < 0.05,
        "model variance estimated 0": any("| model" in term and "mi" not in term for term in fit.singular_terms),
        "new model outside its interval": not band.low <= true <= band.high,
    }


def two_stage_row(models: int, sd: float, replicate: int, lang_slope: float) -> bool:
    registry = registries.null(models, sd, replicate, lang_slope)
    table = twostage.two_stage("gain ~ lp + inter", registry, "model").set_index("term")
    return bool(table.loc["lp", "p"] < 0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--two-stage", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "results" / "inference")
    options = parser.parse_args()
    rows = []
    for sd in (0.7, 0.25):
        for models in (4, 5, 6):
            found = pd.DataFrame([mixed_row(models, sd, i) for i in range(options.replications)])
            rates = [(name, found[name].mean(), len(found)) for name in found]
            if options.two_stage:
                for what, slope in TWO_STAGE.items():
                    found = [two_stage_row(models, sd, i, slope) for i in range(options.two_stage)]
                    rates.append((what, np.mean(found), len(found)))
            rows += [
                {
                    "models": models,
                    "model_sd": sd,
                    "what": name,
                    "rate": float(rate),
                    "replications": n,
                    "monte_carlo_se": float(np.sqrt(rate * (1 - rate) / n)),
                }
                for name, rate, n in rates
            ]
            print(pd.DataFrame(rows).tail(len(rates)).to_string(index=False), flush=True)
            pd.DataFrame(rows).to_csv(options.out / "error.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
