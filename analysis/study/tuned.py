"""What tuning changed: the gains with the values that searches found, less those with the study's own recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xlift.analysis.study import sizes
from xlift.analysis.study.groups import GroupFit, fitted
from xlift.registry.card import SearchCard, StudyCard, Trial

NEAR = 0.01  # of the best score on development data: trials that are as good for all that one can tell
PAIR = ["model", "treatment", "target", "language", "seed"]  # what two halves of a comparison share


@dataclass(frozen=True)
class Tuned:
    """A tuned study: its searches, their trials, and its gains with the study's own recipe (`own`, as in the view `gains`)."""

    card: StudyCard
    trials: dict[str, Sequence[Trial]]  # by the folder of the search
    own: pd.DataFrame | None = None

    def complete(self, search: SearchCard) -> list[Trial]:
        return [trial for trial in self.trials[search.folder] if trial.state == "complete" and trial.score is not None]

    def own_score(self, search: SearchCard) -> float | None:
        """The score on development data with the study's own recipe; None where that was not tried."""
        return next((trial.score for trial in self.complete(search) if trial.origin == "own"), None)

    def changes(self, gains: pd.DataFrame) -> pd.DataFrame:
        """Rows like gains, whose gain is what tuning added to it; of pairs that both have."""
        assert self.own is not None
        own = self.own[[*PAIR, "gain"]].rename(columns={"gain": "own"})
        both = gains.merge(own, on=PAIR)
        return both.assign(tuned=both["gain"], gain=both["gain"] - both["own"])

    def by_model(self, gains: pd.DataFrame) -> pd.DataFrame:
        """target_group, model, params, tuned, own, gain (their difference), low, high: raw means, t intervals over runs."""
        found = []
        for group, rows in self.changes(gains).groupby("target_group"):
            means = rows.groupby("model", as_index=False).agg(tuned=("tuned", "mean"), own=("own", "mean"))
            table = sizes.dots(rows.assign(treatment="all"), self.card.analysis.x)
            found.append(table.merge(means, on="model").assign(target_group=group).sort_values(["params", "model"]))
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["target_group", "model", "params"])

    def slopes(self, gains: pd.DataFrame) -> list[tuple[str, str, GroupFit]]:
        """Target group, what (tuned, own, change), and the primary model of it."""
        changed = self.changes(gains)
        cases = {"tuned": changed.assign(gain=changed["tuned"]), "own": changed.assign(gain=changed["own"]), "change": changed}
        return [(group.name, what, group) for what, rows in cases.items() for group in fitted(rows, self.card.analysis)]

    @cached_property
    def searched(self) -> str | None:
        """The field whose optimum is drawn against size: the learning rate, or else the first with numbers."""
        names = [name for search in self.card.searches for name, value in search.own.items() if isinstance(value, int | float)]
        return "lr" if "lr" in names else next(iter(names), None)

    def optima(self) -> pd.DataFrame:
        """search, model, params, best, low, high, own: the value found, and those of trials that do as well, for all one sees."""
        params = {cell.model: getattr(cell, self.card.analysis.x) for cell in self.card.cells}
        rows = []
        for search in self.card.searches:
            if search.found is None or self.searched not in search.found:
                continue
            trials = self.complete(search)
            best = max((trial.score or 0.0 for trial in trials), default=0.0)
            near = [float(t.values[self.searched]) for t in trials if t.score is not None and t.score >= best - NEAR]
            value = float(search.found[self.searched])
            name = " > ".join(filter(None, (search.intermediate, search.target)))
            own = float(search.own.get(self.searched, np.nan))
            rows.append((name, search.model, params.get(search.model), value, min([value, *near]), max([value, *near]), own))
        return pd.DataFrame(rows, columns=["search", "model", "params", "best", "low", "high", "own"])
