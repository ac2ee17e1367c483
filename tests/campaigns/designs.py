"""Are verdicts right where a design tells, on designs as people have them? Forty random ones, 10,000 planted data sets.

    python tests/campaigns/designs.py                    # all parts, about an hour of one core; finished parts are kept
    python tests/campaigns/designs.py --part partly 3    # one design of one stratum
    python tests/campaigns/designs.py --summary          # what the rows say, beside the bars

Five strata of eight designs: families not, partly or wholly confounded with size; treatments at one to all of the models; arms,
languages and seeds that are missing; each with four to nine models and one to nine targets. Of each design 125 data sets with slope 0
and 125 with a slope of 3 points for ten times the parameters, drawn with effects of languages, targets, models, treatments and runs.
Each is put through `fitted_group` and `tested`, as a report does it; p is not adjusted. Rows go to
experiments/results/inference/designs.csv, a row a data set: verdicts given, how many of a true zero were found (false positives),
how many had the wrong sign, how many 95 % intervals hold the truth.

An oracle, which shares nothing with the code under test, says which estimands each design tells: the rank of the declared fixed part
in full indicator coding, in exact fractions, and the counts of models, families and sizes. `asked` and `agree` count them.

Bars: false positives at most .08 in each stratum and .06 on average, wrong signs at most .03, coverage at least 92 % in each;
every estimand that the oracle tells is answered, and no other.
"""

import argparse
import csv
import sys
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis.study import estimands, groups, primary
from xlift.analysis.study.groups import fitted_group
from xlift.analysis.study.hypotheses import tested
from xlift.registry.card import Analysis, Hypothesis
from xlift.registry.findings import UserError

TOLD = estimands.told
RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "inference" / "designs.csv"
STRATA = ("apart", "partly", "wholly", "treatments", "missing")  # of family and size, the first three
DESIGNS, REPLICATIONS, PLANTED = 8, 125, (0.0, 3.0)
GAINS = {"nli": 1.5, "qa": 0.5, "tags": 0.5, "rank": -0.5}  # points; qa and tags differ by nothing
FAMILIES = {"a": 0.0, "b": 1.0, "c": -1.5}  # points that a family adds to every gain
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


def design(stratum: str, number: int) -> pd.DataFrame:
    """The rows of one study, without gains: who was run on what."""
    rng = np.random.default_rng([STRATA.index(stratum), number])
    count = int(rng.integers(4, 10))
    families = ["a"] if stratum == "apart" and count < 5 else list("ab" if count < 7 or rng.random() < 0.5 else "abc")
    if stratum == "wholly":
        count, families = max(count, 6), list("ab" if rng.random() < 0.5 else "abc")
    sizes = np.round(np.sort(rng.uniform(-0.8, 0.8, count)), 3)
    if stratum == "wholly":  # one size a family
        family = np.sort(np.arange(count) % len(families))
        sizes = np.round(np.linspace(-0.6, 0.6, len(families)), 3)[family]
    elif stratum == "partly":  # the larger models are of other families, some sizes are shared
        family = np.sort(np.arange(count) % len(families))
    else:
        family = rng.permutation(np.arange(count) % len(families))
    treatments = list(GAINS)[: int(rng.integers(2, 5))]
    targets, languages, seeds = int(rng.integers(1, 10)), int(rng.integers(3, 6)), int(rng.integers(1, 3))
    targets = min(targets, 9 if count < 7 else 4)
    axes = [np.arange(n) for n in (count, len(treatments), targets, languages, seeds)]
    m, t, target, language, seed = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    keep = np.ones(len(m), bool)
    if stratum == "treatments":  # the first one at all models, the others at one to all of them
        for i in range(1, len(treatments)):
            run = rng.choice(count, int(rng.integers(1, count + 1)), replace=False)
            keep &= (t != i) | np.isin(m, run)
    if stratum == "missing":
        arms = rng.random((count, len(treatments), targets)) < 0.15
        spoken = rng.random((targets, languages)) < 0.25
        again = rng.random((count, len(treatments), targets, seeds)) < 0.15
        keep &= ~(arms[m, t, target] | spoken[target, language] | again[m, t, target, seed])
    lp = sizes - sizes.mean()
    rows = pd.DataFrame(
        {
            "lp": lp[m],
            "params_non_embedding": np.round(10 ** (9.5 + lp[m])),
            "model": [f"m{k}" for k in m],
            "family": [families[family[k]] for k in m],
            "treatment": np.array(treatments)[t],
            "intermediate": np.array(treatments)[t],
            "variant": "plain",
            "target": [f"t{k}" for k in target],
            "language": [f"l{k}" for k in language],
            "seed": seed,
            "target_group": "fine-tuned",
        }
    )
    rows["intermediate_run"] = rows["model"] + rows["treatment"] + rows["seed"].astype(str)
    rows["treated_run"] = rows["intermediate_run"] + rows["target"]
    rows["baseline_run"] = rows["model"] + rows["target"] + rows["seed"].astype(str)
    rows["cell"] = rows["baseline_run"] + rows["language"]
    return rows[keep].reset_index(drop=True)


def drawn(rows: pd.DataFrame, slope: float, rng: np.random.Generator) -> pd.Series:
    """Gains of one data set, as fractions."""

    def effect(name: str, *columns: str) -> np.ndarray:
        codes = pd.factorize(pd.Series(list(zip(*(rows[column] for column in columns), strict=True))))[0]
        return SD[name] * rng.normal(size=codes.max() + 1)[codes]

    several = rows["target"].nunique() > 1  # of one target, gains are told as they are there
    gain = rows["treatment"].map(GAINS) + rows["family"].map(FAMILIES) + slope * rows["lp"]
    gain += effect("language", "language") + effect("language slope", "language") * rows["lp"]
    gain += (effect("target", "target") + effect("target treatment", "target", "treatment")) * several
    gain += (
        effect("model", "model") + effect("model treatment", "model", "treatment") + effect("intermediate", "intermediate_run")
    )
    gain += effect("treated", "treated_run") - effect("baseline", "baseline_run") - effect("cell", "cell")
    return (gain + SD["residual"] * rng.normal(size=len(rows))) / 100


def questions(rows: pd.DataFrame) -> list[str]:
    """Every slope and gain of a treatment, those of all, and differences."""
    names = sorted(rows["treatment"].unique())
    own = [f"{what} | treatment == '{name}'" for what in ("slope", "gain") for name in names]
    apart = [
        f"{what} | treatment == '{a}' minus {what} | treatment == '{b}'"
        for what in ("slope", "gain")
        for a, b in combinations(names, 2)
    ]
    return ["slope", "gain", *own, *apart]


class Oracle:
    """Which questions a design tells, and their true values, from exact fractions and counts."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.cells = rows[["model", "lp", "family", "treatment"]].drop_duplicates().to_dict("records")
        self.treatments = sorted({cell["treatment"] for cell in self.cells})
        self.families = sorted({cell["family"] for cell in self.cells})
        self.models = {cell["model"]: (cell["lp"], cell["family"]) for cell in self.cells}
        self.own = {name: {c["model"] for c in self.cells if c["treatment"] == name} for name in self.treatments}
        self.carries = {name: self._carries(models) for name, models in self.own.items()}
        self.sized = any(self.carries.values())
        self.basis = echelon([self._row(cell["treatment"], cell["family"], cell["lp"]) for cell in self.cells])

    def _carries(self, models: set[str]) -> bool:
        facts = [self.models[name] for name in models]
        families = {family for _, family in facts}
        within = any(len({lp for lp, family in facts if family == one}) > 1 for one in families)
        return len(models) >= max(4, len(families) + 3) and len({lp for lp, _ in facts}) >= 3 and within

    def _row(self, treatment: str, family: str | None, lp: float, one: int = 1) -> list[Fraction]:
        """A row of the full indicator coding: 1, treatments, families (None: all equally), lp, lp by treatment."""
        its = [Fraction(int(name == treatment)) for name in self.treatments]
        share = [Fraction(int(name == family)) if family else Fraction(1, len(self.families)) for name in self.families]
        sized = [Fraction(lp), *(Fraction(lp) * x for x in its)] if self.sized else []
        return [*(one * x for x in (Fraction(1), *its, *share)), *sized]

    def ask(self, question: str) -> tuple[bool, float, float]:
        """Whether it is told, its value at slope 0, and what a slope of 1 point adds to it."""
        parts = [part.split(" | treatment == ") for part in question.split(" minus ")]
        chosen = [[part[1].strip("'")] if len(part) > 1 else self.treatments for part in parts]
        if parts[0][0] == "slope":
            carried = [[name for name in names if self.carries[name]] for names in chosen]
            if not all(carried):
                return False, 0.0, 0.0
            rows = [mean([minus(self._row(n, None, 1.0), self._row(n, None, 0.0)) for n in names]) for names in carried]
            return self._told(rows), 0.0, 1.0 if len(rows) == 1 else 0.0
        if not self.sized:
            rows = [mean([self._row(name, None, 0.0) for name in names]) for names in chosen]
            return self._told(rows), *self._value(rows)
        used = [[n for n in names if self.carries[n]] or names for names in chosen]
        lonely = [name for names in used for name in names if not self.carries[name]]
        if not lonely:
            rows = [mean([self._row(name, None, 0.0) for name in names]) for names in used]
            return self._told(rows), *self._value(rows)
        shared = set.intersection(*(self.own[name] for name in lonely)) if len(parts) > 1 else None
        if shared is not None and not shared:
            return False, 0.0, 0.0
        rows = [
            mean(
                [mean([self._row(n, self.models[m][1], self.models[m][0]) for m in sorted(shared or self.own[n])]) for n in names]
            )
            for names in used
        ]
        return self._told(rows), *self._value(rows)

    def _told(self, rows: list[list[Fraction]]) -> bool:
        row = minus(rows[0], rows[1]) if len(rows) > 1 else rows[0]
        return not any(reduced(row, self.basis))

    def _value(self, rows: list[list[Fraction]]) -> tuple[float, float]:
        """At slope 0, and what a slope of 1 adds: the sum of lp's share."""
        row = [float(x) for x in (minus(rows[0], rows[1]) if len(rows) > 1 else rows[0])]
        t, f = len(self.treatments), len(self.families)
        known = [GAINS[name] for name in self.treatments] + [FAMILIES[name] for name in self.families]
        return float(np.dot(row[1 : 1 + t + f], known)), row[1 + t + f] if self.sized else float("nan")


def echelon(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Independent rows of the same space, each with a leading 1 that the others lack."""
    found: list[list[Fraction]] = []
    for row in rows:
        left = reduced(row, found)
        if any(left):
            lead = next(x for x in left if x)
            found.append([x / lead for x in left])
    return found


def reduced(row: list[Fraction], basis: list[list[Fraction]]) -> list[Fraction]:
    for own in basis:
        place = next(i for i, x in enumerate(own) if x)
        row = [x - row[place] * y for x, y in zip(row, own, strict=True)]
    return row


def mean(rows: list[list[Fraction]]) -> list[Fraction]:
    return [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]


def minus(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    return [x - y for x, y in zip(a, b, strict=True)]


def replication(stratum: str, number: int, slope: float, replicate: int, rows: pd.DataFrame, oracle: Oracle) -> dict:
    rng = np.random.default_rng([STRATA.index(stratum), number, int(slope), replicate])
    gains = drawn(rows, slope, rng)
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
    estimands.told = kept(TOLD, lambda estimand, _: (stratum, number, estimand.text, estimand.first))


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
