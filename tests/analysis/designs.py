"""Random designs as people have them, and an oracle that says what each of them tells; it shares nothing with the code under test.

The oracle: the rank of the declared fixed part in full indicator coding, in exact fractions, and counts of models, families, sizes.
"""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pandas as pd

STRATA = ("apart", "partly", "wholly", "treatments", "missing", "targets")  # of family and size, the first three
GAINS = {"nli": 1.5, "qa": 0.5, "tags": 0.5, "rank": -0.5}  # points; qa and tags differ by nothing
FAMILIES = {"a": 0.0, "b": 1.0, "c": -1.5}  # points that a family adds to every gain


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
    if stratum == "targets":  # the first one at all models, and so with all treatments; the others at some models, with some
        for k in range(1, targets):
            run = rng.choice(count, int(rng.integers(1, count + 1)), replace=False)
            with_ = rng.choice(len(treatments), int(rng.integers(1, len(treatments) + 1)), replace=False)
            keep &= (target != k) | (np.isin(m, run) & np.isin(t, with_))
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


def questions(rows: pd.DataFrame) -> list[str]:
    """Every slope and gain of a treatment, of a target, of all, and differences."""
    axes = {axis: sorted(rows[axis].unique()) for axis in ("treatment", "target")}
    own = [f"{what} | {axis} == '{name}'" for what in ("slope", "gain") for axis, names in axes.items() for name in names]
    apart = [
        f"{what} | {axis} == '{a}' minus {what} | {axis} == '{b}'"
        for what in ("slope", "gain")
        for axis, names in axes.items()
        for a, b in combinations(names[:4], 2)
    ]
    return ["slope", "gain", *own, *apart]


class Oracle:
    """Which questions a design tells, and their true values, from exact fractions and counts."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.cells = rows[["model", "lp", "family", "treatment", "target"]].drop_duplicates().to_dict("records")
        self.treatments = sorted({cell["treatment"] for cell in self.cells})
        self.targets = sorted({cell["target"] for cell in self.cells})
        self.families = sorted({cell["family"] for cell in self.cells})
        self.models = {cell["model"]: (cell["lp"], cell["family"]) for cell in self.cells}
        self.both = {
            (name, target): {c["model"] for c in self.cells if (c["treatment"], c["target"]) == (name, target)}
            for name in self.treatments
            for target in self.targets
        }
        self.carries = {name: self._carries(self._models(0, name)) for name in self.treatments}
        self.carries |= {target: self._carries(self._models(1, target)) for target in self.targets}
        self.sized = all(any(self.carries[name] for name in names) for names in (self.treatments, self.targets))
        self.effects = dict.fromkeys(self.targets, 0.0)  # points that each target adds to every gain
        self.asked: dict[str, tuple[bool, list[list[Fraction]]]] = {}
        self.basis = echelon([self._row(cell["treatment"], cell["target"], cell["family"], cell["lp"]) for cell in self.cells])

    def _models(self, at: int, level: str) -> set[str]:
        return set().union(*(models for key, models in self.both.items() if key[at] == level))

    def _pairs(self, part: str) -> list[tuple[str, str]]:
        """Treatments and targets that a part of a question is over."""
        _, _, condition = part.partition(" | ")
        axis, _, level = condition.partition(" == ")
        at = {"": -1, "treatment": 0, "target": 1}[axis]
        return [pair for pair in self.both if at < 0 or pair[at] == level.strip("'")]

    def _carried(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of which both carry a slope, run together or not."""
        return [pair for pair in pairs if all(self.carries[name] for name in pair)]

    def _run(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [pair for pair in pairs if self.both[pair]]

    def _carries(self, models: set[str]) -> bool:
        facts = [self.models[name] for name in models]
        families = {family for _, family in facts}
        within = any(len({lp for lp, family in facts if family == one}) > 1 for one in families)
        return len(models) >= max(4, len(families) + 3) and len({lp for lp, _ in facts}) >= 3 and within

    def _row(self, treatment: str, target: str, family: str | None, lp: float) -> list[Fraction]:
        """A row of full indicator coding: 1, treatments and targets, families (None: all equally), lp, lp by the former two."""
        its = [Fraction(int(name == treatment)) for name in self.treatments]
        its += [Fraction(int(name == target)) for name in self.targets]
        share = [Fraction(int(name == family)) if family else Fraction(1, len(self.families)) for name in self.families]
        sized = [Fraction(lp), *(Fraction(lp) * x for x in its)] if self.sized else []
        return [Fraction(1), *its, *share, *sized]

    def ask(self, question: str) -> tuple[bool, float, float]:
        """Whether it is told, its value at slope 0, and what a slope of 1 point adds to it."""
        if question not in self.asked:
            self.asked[question] = self._rows(question)
        told, rows = self.asked[question]
        return (told, *self._value(rows)) if rows else (False, 0.0, 0.0)

    def _rows(self, question: str) -> tuple[bool, list[list[Fraction]]]:
        """Whether a question is told, and the row of each of its parts."""
        parts = question.split(" minus ")
        chosen = [self._pairs(part) for part in parts]
        if parts[0].startswith("slope"):
            carried = [self._carried(pairs) for pairs in chosen]
            if not all(carried) or not self.sized:
                return False, []
            rows = [mean([minus(self._row(*pair, None, 1.0), self._row(*pair, None, 0.0)) for pair in own]) for own in carried]
            return self._told(rows), rows
        if not self.sized:
            rows = [mean([self._row(*pair, None, 0.0) for pair in self._run(pairs)]) for pairs in chosen]
            met = set.intersection(*(set().union(*(self.both[pair] for pair in pairs)) for pairs in chosen))
            return bool(met) and self._told(rows), rows
        used = [self._carried(pairs) or self._run(pairs) for pairs in chosen]
        lonely = [pair for pairs, own in zip(chosen, used, strict=True) if not self._carried(pairs) for pair in own]
        if not lonely:
            rows = [mean([self._row(*pair, None, 0.0) for pair in own]) for own in used]
            return self._told(rows), rows
        shared = set.intersection(*(self.both[pair] for pair in lonely)) if len(parts) > 1 else None
        if shared is not None and not shared:
            return False, []
        rows = [
            mean([mean([self._row(*pair, *reversed(self.models[m])) for m in sorted(shared or self.both[pair])]) for pair in own])
            for own in used
        ]
        return self._told(rows), rows

    def _told(self, rows: list[list[Fraction]]) -> bool:
        row = minus(rows[0], rows[1]) if len(rows) > 1 else rows[0]
        return not any(reduced(row, self.basis))

    def _value(self, rows: list[list[Fraction]]) -> tuple[float, float]:
        """At slope 0, and what a slope of 1 adds: the sum of lp's share."""
        row = [float(x) for x in (minus(rows[0], rows[1]) if len(rows) > 1 else rows[0])]
        t, f = len(self.treatments) + len(self.targets), len(self.families)
        known = [GAINS[name] for name in self.treatments] + [self.effects[name] for name in self.targets]
        known += [FAMILIES[name] for name in self.families]
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
