"""What the best treatment of each target would have given, chosen on other runs than those that tell what it gave.

A treatment that is chosen and scored on the same runs is the luckiest as well as the best, and its gain is too high. So for each
model and target it is chosen on all other seeds, whose intermediate and target runs are others, and scored on the one left out,
averaged over which; where there is one seed, by the same runs' scores on development data in the source language.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from xlift.analysis.estimates import LEVEL, quantile
from xlift.registry.card import MEAN

RUNS = ["intermediate_run", "treated_run"]  # which a choice and its score never share
CHOICES = ["model", "target", "seed", "treatment", "gain", "same"]
COLUMNS = ["target", "models", "seeds", "chosen", "gain", "low", "high", "over", "same", "reason"]
EACH = "each"  # of the targets, where all have one reason
FEWEST = 2  # treatments among which one is chosen
SEEDS = "by its mean gain on all other seeds and scored on the one that is left out, averaged over which"
SCORES = "by the same runs' scores on development data in the source language"
NOTHING = "one seed, or means of seeds, and no scores on development data in the source language"
SHARED = "its seeds have no runs or gains of their own to choose on"


def best(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """COLUMNS, a row a target and, where there are several, MEAN over those of which all models have one; and how it was chosen.

    `rows` are one target group's gains. Fractions. chosen: treatments and how often, over models and seeds; same: the gain of
    the one that is best on the runs that it is scored on, beside; over: what the interval is over, models (t, M - 1 degrees of
    freedom) or, of one model alone, seeds (S - 1), whose choices share runs. A target without a choice has its reason; where no
    target has one, for one reason, the row is of EACH.
    """
    if rows.groupby("target")["treatment"].nunique().max() < FEWEST:
        return pd.DataFrame(columns=COLUMNS), ""
    found, how = pd.DataFrame(_choices(rows, seeds=True), columns=CHOICES), SEEDS
    if found.empty:
        found, how = pd.DataFrame(_choices(rows, seeds=False), columns=CHOICES), SCORES
    every = found["model"].nunique()
    parts = {name: found[found["target"] == name] for name in sorted(rows["target"].unique())}
    several = rows.groupby("target")["seed"].nunique() > 1
    if not every and several.nunique() == 1:
        return pd.DataFrame([_row(EACH, found, SHARED if several.any() else NOTHING)], columns=COLUMNS), ""
    told = [_row(name, part, SHARED if several[name] else NOTHING) for name, part in parts.items()]
    whole = [name for name, part in parts.items() if every and part["model"].nunique() == every]
    if len(whole) > 1:
        told.append(_row(MEAN, _averaged(found[found["target"].isin(whole)], len(whole)), SHARED))
    return pd.DataFrame(told, columns=COLUMNS), how if every else ""


def _choices(rows: pd.DataFrame, *, seeds: bool) -> Iterator[tuple]:
    """CHOICES: for each model, target and seed the treatment that is chosen, where there are two to choose from."""
    if rows["seed"].nunique() < 2 if seeds else rows.get("dev_score", pd.Series(dtype=float)).isna().all():
        return
    for (model, target), own in rows.groupby(["model", "target"]):
        runs = _compared(own)
        for seed, scored in runs.groupby("seed"):
            scored = scored.set_index("treatment")
            marks = _elsewhere(runs, scored) if seeds else scored["dev"].dropna()
            if len(marks) >= FEWEST:
                yield model, target, seed, marks.idxmax(), scored["gain"][marks.idxmax()], scored["gain"][marks.index].max()


def _compared(own: pd.DataFrame) -> pd.DataFrame:
    """treatment, seed, gain, dev (the higher the better) and RUNS: means over the languages that all that is compared has."""
    runs = own.groupby(["treatment", "seed"]).ngroup()
    often = runs.groupby(own["language"]).nunique()
    own = own[own["language"].map(often) == runs.nunique()]
    dev = own["dev_score"].astype(float) if "dev_score" in own else pd.Series(np.nan, own.index)
    means = own.assign(dev=dev.where(own["better"] != "lower", -dev)).groupby(["treatment", "seed"], as_index=False)
    return means.agg(gain=("gain", "mean"), dev=("dev", "mean"), **{name: (name, "first") for name in RUNS})


def _elsewhere(runs: pd.DataFrame, scored: pd.DataFrame) -> pd.Series:
    """treatment -> its mean gain over the other seeds, of those scored: seeds that all of them have, with other runs."""
    others = runs[~np.logical_or.reduce([runs[name].isin(scored[name].dropna()) for name in RUNS])]
    others = others[others["treatment"].isin(scored.index)]
    table = others.pivot(index="treatment", columns="seed", values="gain").dropna(axis="columns")
    return table.mean(axis="columns") if table.shape[1] else pd.Series(dtype=float)


def _averaged(choices: pd.DataFrame, targets: int) -> pd.DataFrame:
    """The mean over targets, of each model and seed that has them all."""
    means = choices.groupby(["model", "seed"], as_index=False).agg(
        gain=("gain", "mean"), same=("same", "mean"), n=("gain", "size")
    )
    return means[means["n"] == targets].assign(treatment=None)


def _row(target: str, choices: pd.DataFrame, why: str) -> dict[str, object]:
    """One of COLUMNS; `why` where there are no choices."""
    if choices.empty:
        return {"target": target, "models": 0, "seeds": 0, "reason": why}
    means = choices.groupby("model")[["gain", "same"]].mean()
    over = "models" if len(means) > 1 else "seeds"
    values = means["gain"] if over == "models" else choices["gain"]
    half = quantile(len(values) - 1, LEVEL) * values.std() / len(values) ** 0.5 if len(values) > 1 else np.nan
    gain = float(means["gain"].mean())
    return {
        "target": target,
        "models": len(means),
        "seeds": choices["seed"].nunique(),
        "chosen": ", ".join(f"{name} {often}" for name, often in choices["treatment"].value_counts().items()),
        "gain": gain,
        "low": gain - half,
        "high": gain + half,
        "over": over,
        "same": float(means["same"].mean()),
    }
