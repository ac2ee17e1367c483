"""The table of Dymkiewicz et al. 2026 that `donors.yaml` reads: writes donors.csv beside it, of a copy of their results.

    python experiments/published/donors.py RESULTS

RESULTS has a row a model, source task, target task and language, of a base and a tuned model's scores over three seeds (their
repository's results/transfer_results.csv: English source tasks, normalised scores, four decimals, short names of models). A row
here is a score. A target after training on its own task is a target of its own, `arc_challenge on itself`, with the same
baselines. `gain_se`: the paired standard deviations of the gain between seeds, pooled over a target, over the square root of
three: of single cells they are too few, and 22 are 0.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
SOURCE = {
    "source": "Dymkiewicz et al. 2026",
    "arxiv_id": "2511.13368",
    "table": "results/transfer_results.csv",
    "found_at": "results/transfer_results.csv at 5869b712 of the paper's repository, CC BY 4.0, changed: English source tasks, "
    "a row a score, four decimals, gain_se pooled",
    "protocol": "prompted, normalised, mean of three seeds of 400 items",
}
SIZES = {  # model -> family, parameters, and those without embeddings, by its configuration; Gemma 3 4B: its language model
    "Llama-3.2-1B": ("Llama 3", 1_235_814_400, 973_146_112),
    "Llama-3.2-3B": ("Llama 3", 3_212_749_824, 2_818_747_392),
    "Llama-3.1-8B": ("Llama 3", 8_030_261_248, 6_979_588_096),
    "Qwen2.5-0.5B": ("Qwen2.5", 494_032_768, 357_898_112),
    "Qwen2.5-1.5B": ("Qwen2.5", 1_543_714_304, 1_310_340_608),
    "Qwen2.5-3B": ("Qwen2.5", 3_085_938_688, 2_774_773_760),
    "Qwen2.5-7B": ("Qwen2.5", 7_615_616_512, 6_525_621_760),
    "gemma-3-1b": ("Gemma 3", 999_885_952, 697_896_064),
    "gemma-3-4b": ("Gemma 3", 3_880_263_168, 3_209_010_688),
}
ITSELF = " on itself"  # of a target after training on its own task, which is another question
CHANCE = {"arc_challenge": 0.25, "global_mmlu": 0.25, "hellaswag": 0.25}  # of four choices; truthfulqa's differ in number


def main(results: Path) -> None:
    rows = pd.read_csv(results)
    pooled = rows.groupby("target_task")["delta_norm_sd"].apply(lambda sds: float(np.sqrt((sds**2).mean()))) / 100
    axes = ["model", "target_task", "language"]
    treated = rows.assign(intermediate=rows["source_task"], score=rows["score_norm"])
    treated["gain_se"] = (treated["target_task"].map(pooled) / np.sqrt(rows["n"])).round(6)
    base = rows.drop_duplicates(axes).assign(intermediate="none", score=lambda part: part["base_norm"])
    matched = treated[treated["source_task"] == treated["target_task"]]
    table = pd.concat([base, treated.drop(matched.index)], ignore_index=True).assign(target=lambda part: part["target_task"])
    itself = pd.concat([base, matched], ignore_index=True).assign(target=lambda part: part["target_task"] + ITSELF)
    table = pd.concat([table, itself], ignore_index=True)
    table["family"], table["params"], table["non_embedding"] = zip(*table["model"].map(SIZES), strict=True)
    table["chance"] = table["target_task"].map(CHANCE)
    table = table.assign(metric="accuracy", **SOURCE).sort_values(["model", "target", "language", "intermediate"])
    columns = [*SOURCE, "model", "family", "params", "non_embedding", "intermediate", "target", "language", "metric", "score"]
    table[[*columns, "chance", "gain_se"]].to_csv(HERE / "donors.csv", index=False)
    print(f"{len(table):,} scores; gain_se {', '.join(f'{name} {100 * sd / 3**0.5:.2f}' for name, sd in pooled.items())} points")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
