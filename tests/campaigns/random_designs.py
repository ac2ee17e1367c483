"""Are verdicts right where a design tells, on designs as people have them? 48 random ones, 12,000 planted data sets.

    python tests/campaigns/random_designs.py                    # all parts, about an hour of one core; finished parts are kept
    python tests/campaigns/random_designs.py --part partly 3    # one design of one stratum
    python tests/campaigns/random_designs.py --summary          # what the rows say, beside the bars

Six strata of eight designs: families not, partly or wholly confounded with size; treatments at one to all of the models; arms,
languages and seeds that are missing; targets on some models with some treatments; each with four to nine models and one to nine
targets. Of each design 125 data sets with slope 0
and 125 with a slope of 3 points for ten times the parameters, drawn with effects of languages, targets, models, treatments and runs.
Each is put through `fitted_group` and `tested`, as a report does it; p is not adjusted. Rows go to
experiments/results/inference/random-designs.csv, a row a data set: verdicts given, how many of a true zero were found (false positives),
how many had the wrong sign, how many 95 % intervals hold the truth.

The designs and an oracle of what each of them tells are tests/analysis/designs.py; `asked` and `agree` count what it was asked.

Bars: false positives at most .08 in each stratum and .06 on average, wrong signs at most .03, coverage at least 92 % in each;
every estimand that the oracle tells is answered, and no other.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis.study import groups, primary, telling
from xlift.analysis.study.groups import fitted_group
from xlift.analysis.study.hypotheses import tested
from xlift.registry.card import Analysis, Hypothesis
from xlift.registry.findings import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))

from designs import FAMILIES, GAINS, STRATA, Oracle, design, questions

TOLD = telling.told
RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "inference" / "random-designs.csv"
DESIGNS, REPLICATIONS, PLANTED = 8, 125, (0.0, 3.0)
SD = {"language": 0.8, "language slope": 0.3, "target": 1.0, "target treatment": 0.6, "model": 0.6, "model treatment": 0.4,
      "intermediate": 0.5, "treated": 1.2, "baseline": 1.0, "cell": 0.8, "residual": 1.0}  # fmt: skip
FIELDS = [
    "stratum",
    "design",
    "planted",
    "replicate",
    "models",
    "rows",
    "asked",
    "agree",
    "given",
    "zeros",
    "false",
    "wrong",
    "covered",
]


def drawn(rows: pd.DataFrame, slope: float, rng: np.random.Generator) -> tuple[pd.Series, dict[str, float]]:
    """Gains of one data set, as fractions, and what each target adds to them, points: the gains asked for are of these targets."""

    def effect(name: str, *columns: str) -> np.ndarray:
        codes = pd.factorize(pd.Series(list(zip(*(rows[column] for column in columns), strict=True))))[0]
        return SD[name] * rng.normal(size=codes.max() + 1)[codes]

    several = rows["target"].nunique() > 1  # of one target, gains are told as they are there
    gain = rows["treatment"].map(GAINS) + rows["family"].map(FAMILIES) + slope * rows["lp"]
    gain += effect("language", "language") + effect("language slope", "language") * rows["lp"]
    of_target = effect("target", "target") * several
    gain += of_target + effect("target treatment", "target", "treatment") * several
    gain += (
        effect("model", "model") + effect("model treatment", "model", "treatment") + effect("intermediate", "intermediate_run")
    )
    gain += effect("treated", "treated_run") - effect("baseline", "baseline_run") - effect("cell", "cell")
    return (gain + SD["residual"] * rng.normal(size=len(rows))) / 100, dict(zip(rows["target"], of_target, strict=True))


def replication(stratum: str, number: int, slope: float, replicate: int, rows: pd.DataFrame, oracle: Oracle) -> dict:
    rng = np.random.default_rng([STRATA.index(stratum), number, int(slope), replicate])
    gains, oracle.effects = drawn(rows, slope, rng)
    group = fitted_group("fine-tuned", rows.assign(gain=gains, score=0.5 + gains, baseline=0.5), Analysis())
    asked = questions(rows)
    hypotheses = {text: Hypothesis(contrast=text, direction="positive") for text in asked}
    verdicts = {verdict.name: verdict for verdict in tested([group], hypotheses, "none", Analysis())}
    row = dict.fromkeys(("asked", "agree", "given", "zeros", "false", "wrong", "covered"), 0)
    for text in asked:
        told, value, by_slope = oracle.ask(text)
        verdict = verdicts[text]
        given = np.isfinite([verdict.estimate, verdict.low, verdict.high, verdict.p]).all()
        row["asked"] += 1
        row["agree"] += bool(given) == told
        # without a slope in the model, gains are means of models whose sizes are part of how they differ
        truth = value + (slope * by_slope if np.isfinite(by_slope) else 0.0)
        if not given or (slope and not np.isfinite(by_slope) and " minus " not in text):
            continue
        row["given"] += 1
        row["zeros"] += truth == 0
        row["false"] += truth == 0 and verdict.said != "undecided"
        row["wrong"] += truth != 0 and verdict.said == ("refuted" if truth > 0 else "supported")
        row["covered"] += 100 * verdict.low <= truth <= 100 * verdict.high
    known = {"stratum": stratum, "design": number, "planted": slope, "replicate": replicate}
    return {**known, "models": len(oracle.models), "rows": len(rows), **row}


def once_a_design(stratum: str, number: int) -> None:
    """The primary model and what is told of it depend on the design alone: they are worked out once for all data sets of one."""

    def kept(function, key):
        memo: dict = {}

        def answer(*arguments, **options):
            name = key(*arguments)
            if name not in memo:
                try:
                    memo[name] = function(*arguments, **options)
                except UserError as error:
                    memo[name] = error
            if isinstance(memo[name], UserError):
                raise memo[name]
            return memo[name]

        return answer

    groups.primary = kept(primary.primary, lambda *_: (stratum, number))
    telling.told = kept(TOLD, lambda estimand, _: (stratum, number, estimand.text, estimand.first))


def part(stratum: str, number: int) -> None:
    """What is missing of one design, written as it comes."""
    done = set()
    if RESULTS.exists():
        kept = pd.read_csv(RESULTS)
        own = kept[(kept["stratum"] == stratum) & (kept["design"] == number)]
        done = set(zip(own["planted"], own["replicate"], strict=True))
    rows = design(stratum, number)
    oracle = Oracle(rows)
    once_a_design(stratum, number)
    todo = [(slope, k) for slope in PLANTED for k in range(REPLICATIONS) if (slope, k) not in done]
    for start in range(0, len(todo), 25):
        found = [replication(stratum, number, *each, rows, oracle) for each in todo[start : start + 25]]
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerows(found)
    print(stratum, number, len(oracle.models), "models", len(rows), "rows", flush=True)


def summary() -> pd.DataFrame:
    """A row a stratum, and all of them."""
    table = pd.read_csv(RESULTS)
    every = [*table.groupby("stratum", sort=False), ("all", table)]
    rows = []
    for name, own in every:
        total = own[["asked", "agree", "given", "zeros", "false", "wrong", "covered"]].sum()
        rows.append(
            {
                "stratum": name,
                "data sets": len(own),
                "verdicts": total["given"],
                "false positives": round(total["false"] / max(total["zeros"], 1), 4),
                "wrong signs": round(total["wrong"] / total["given"], 4),
                "coverage": round(total["covered"] / total["given"], 4),
                "unlike the oracle": total["asked"] - total["agree"],
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", nargs=2, metavar=("STRATUM", "DESIGN"))
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if not options.summary:
        parts = [options.part] if options.part else [(stratum, number) for number in range(DESIGNS) for stratum in STRATA]
        for stratum, number in parts:
            part(stratum, int(number))
    print(summary().to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
