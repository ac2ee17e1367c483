"""The gains that papers report, with sampling variances, for `xlift meta`: writes gains.csv beside it.

    python experiments/published/gains.py

A gain is a task's mean over languages (English left out where languages are told). Its sampling variance, in fractions:

- over items: p (1 - p) / items of both scores. Languages of a test set are translations of the same items and count as one test
  set (the most cautious rule); where languages have sets of their own sizes, the mean of their variances.
- over seeds: twice the variance between five seeds of a mean over languages, of fine-tuned XLM-R base (the larger of XQuAD's and
  WikiANN's, xtreme-scale.csv); only for what was fine-tuned on the target. Of prompted models nothing is known of seeds: 0.
- F1 has no binomial variance: there the seeds' alone stands, which is too small.
"""

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ITEMS = {"XNLI": 5010, "PAWS-X": 2000}  # of the tests that are scored by accuracy (Hu et al. 2020, table 1)


def seeds() -> float:
    """The variance between seeds of a mean over languages."""
    rows = pd.read_csv(HERE / "xtreme-scale.csv")
    runs = rows[(rows["model"] == "XLM-R base") & rows["target_task"].isin(["XQuAD", "WikiANN"]) & (rows["language"] != "en")]
    means = runs.groupby(["target_task", "seed"])["value"].mean() / 100
    return float(means.groupby("target_task").var().max())


def prompted() -> pd.DataFrame:
    """BLOOMZ over BLOOM: a gain a size and task."""
    rows = pd.read_csv(HERE / "xmtf.csv")
    rows["score"] = rows["value"] / 100
    rows["variance"] = rows["score"] * (1 - rows["score"]) / rows["items"]
    axes = ["source", "model", "params", "target_task"]
    halves = rows.groupby([*axes, "intermediate"])[["score", "variance"]].mean().unstack()
    found = pd.DataFrame({"gain": halves["score", "xP3"] - halves["score", "none"], "variance": halves["variance"].sum(axis=1)})
    return found.reset_index().assign(rule="items", intermediate="xP3 (multilingual)")


def leaderboard() -> pd.DataFrame:
    """Phang et al.'s entry over XLM-R large: the best intermediate task of each target was chosen on development data."""
    rows = pd.read_csv(HERE / "leaderboard.csv").assign(score=lambda rows: rows["value"] / 100)
    found = rows.pivot_table(index=["model", "params", "target_task"], columns="intermediate", values="score").reset_index()
    treated, baseline, items = found["best_per_task"], found["none"], found["target_task"].map(ITEMS)
    over = (treated * (1 - treated) + baseline * (1 - baseline)) / items
    return found[["model", "params", "target_task"]].assign(
        source="Phang et al. 2020",
        intermediate="best per task (English)",
        gain=treated - baseline,
        variance=over.fillna(0.0) + 2 * seeds(),
        rule=np.where(items.notna(), "items and seeds", "seeds"),
    )


def main() -> None:
    table = pd.concat([leaderboard(), prompted()], ignore_index=True).rename(columns={"source": "paper", "target_task": "task"})
    table["lp"] = np.log10(table["params"]) - 9  # 0 at 1B
    table["label"] = table["task"] + ", " + table["model"]
    table = table.sort_values(["paper", "task", "params"])
    table[["paper", "model", "params", "lp", "task", "intermediate", "gain", "variance", "rule", "label"]].round(8).to_csv(
        HERE / "gains.csv", index=False
    )
    print(f"{len(table)} gains of {table['paper'].nunique()} papers; seeds: sd {100 * seeds() ** 0.5:.2f} points")


if __name__ == "__main__":
    main()
