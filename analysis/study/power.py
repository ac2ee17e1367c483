"""How large a slope a design can find: its own model, simulated with variance components that are known from elsewhere.

Gains are drawn from the model on their cross-products (`mixed.bootstrap`), at slope 0. A slope moves estimates by itself and
nothing else, so one set of samples answers for every slope.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xlift.analysis.estimates import quantile
from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.bootstrap import drawn_from
from xlift.analysis.mixed.model import Fit, NotConverged, refit
from xlift.analysis.study.groups import ROW, GroupFit, fitted_group
from xlift.analysis.study.primary import default
from xlift.registry.card import Analysis
from xlift.registry.findings import UserError

WANTED = 0.8  # power at which a slope counts as detectable
RUNS = ("intermediate_run", "treated_run", "baseline_run")
RESIDUAL = "residual"
UNTRAINED = ("retrieval", "prompted")  # groups of targets that have no runs of their own
RESAMPLES = 200  # of the samples, for the Monte Carlo error of the detectable slope


def component(name: str, group: str) -> str:
    """What the standard deviation of a random effect is called in tables: "language", "lp by language"."""
    return RESIDUAL if group in ("Residual", ROW) else group if name in ("Intercept", "1") else f"{name} by {group}"


def components(group: GroupFit) -> dict[str, float]:
    """Standard deviations of a fitted model, by `component`; fractions. Known sampling variances are in the residual."""
    rows = group.fit.variance_components
    found = {component(row.name1, row.group): float(row.value**0.5) for row in rows[rows["name2"].isna()].itertuples()}
    sampling = group.rows[group.variances].mean() if group.variances else 0.0
    return found | {RESIDUAL: float(np.hypot(found[RESIDUAL], np.sqrt(sampling)))}


@dataclass(frozen=True)
class Design:
    """Planned gains of one target group, and what has been changed of what was declared."""

    name: str
    rows: pd.DataFrame

    @property
    def jobs(self) -> pd.DataFrame:
        """run, params_total: every training of a task; models themselves are no runs."""
        parts = [self.rows[[run, "model", "params_total"]].set_axis(["run", "model", "params_total"], axis=1) for run in RUNS]
        runs = pd.concat(parts).drop_duplicates("run")
        return runs[runs["run"] != runs["model"]][["run", "params_total"]]

    def gpu_hours(self, tokens: float, flops: float) -> float:
        """Of all trainings: 6 FLOP for a parameter and token (Kaplan et al. 2020, section 2.1), `flops` a second reached."""
        return float(6 * self.jobs["params_total"].sum() * tokens / flops / 3600)

    def with_more(self, axis: str) -> "Design":
        """Twice as many models (between those that there are), seeds, languages or targets."""
        return Design(f"twice the {axis}", pd.concat([self.rows, MORE[axis](self.rows.copy())], ignore_index=True))


def _models(rows: pd.DataFrame) -> pd.DataFrame:
    names = rows.sort_values("lp")["model"].unique()
    places = np.linspace(rows["lp"].min(), rows["lp"].max(), len(names) + 2)[1:-1]
    lp = rows["model"].map(dict(zip(names, places, strict=True)))
    factor = 10 ** (lp - rows["lp"])
    for size in ("params_total", "params_non_embedding"):
        rows[size] = (rows[size] * factor).round() if rows[size].notna().all() else rows[size]
    return _renamed(rows.assign(lp=lp), ["model", *RUNS, "cell"])


def _seeds(rows: pd.DataFrame) -> pd.DataFrame:
    rows["seed"] += rows["seed"].max() - rows["seed"].min() + 1
    return _renamed(rows, [*RUNS, "cell"])


def _languages(rows: pd.DataFrame) -> pd.DataFrame:
    return _renamed(rows, ["language", "cell"])


def _targets(rows: pd.DataFrame) -> pd.DataFrame:
    own = [] if rows["target_group"].iloc[0] in UNTRAINED else ["treated_run", "baseline_run"]
    return _renamed(rows, ["target", "cell", *own])


def _renamed(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Other levels; an untrained model that stands for a run is no other one, unless the model is."""
    models = rows["model"].copy()
    for name in columns:
        untrained = (rows[name] == models) if name in RUNS and "model" not in columns else np.zeros(len(rows), bool)
        rows[name] = rows[name].where(untrained, rows[name].astype(str) + "'")
    return rows


MORE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "models": _models,
    "seeds": _seeds,
    "languages": _languages,
    "targets": _targets,
}


@dataclass(frozen=True)
class Power:
    """What samples of a design came to: (samples,) errors of the slope's estimate, its standard errors and degrees of freedom."""

    design: Design
    error: np.ndarray
    se: np.ndarray
    df: np.ndarray
    failed: int  # samples that could not be fitted; they count as nothing found

    def at(self, slope: float) -> tuple[float, float]:
        """The chance that a slope is found, with its sign, at 5 % two-sided; and its Monte Carlo standard error."""
        share = float(self._found(slope, np.arange(len(self.error))))
        count = len(self.error) + self.failed
        return share, float(np.sqrt(share * (1 - share) / count))

    @cached_property
    def detectable(self) -> tuple[float, float]:
        """The smallest slope that is found with WANTED chance, and its Monte Carlo standard error (bootstrap of the samples)."""
        rng, every = np.random.default_rng(0), np.arange(len(self.error))
        least = self._smallest(every)
        again = [self._smallest(rng.choice(every, len(every))) for _ in range(RESAMPLES)] if np.isfinite(least) else [0.0]
        return least, float(np.std(again))

    def _found(self, slope: float, which: np.ndarray) -> float:
        found = (self.error + slope)[which] > (quantile(self.df) * self.se)[which]
        return found.sum() / (len(which) + self.failed)

    def _smallest(self, which: np.ndarray) -> float:
        """A sample finds a slope above its own threshold, so this is a quantile of the thresholds."""
        thresholds = np.sort((quantile(self.df) * self.se - self.error)[which])
        needed = int(np.ceil(WANTED * (len(which) + self.failed)))
        return float(thresholds[needed - 1]) if needed <= len(thresholds) else float("inf")


def simulated(
    design: Design, known: Mapping[str, float], analysis: Analysis, samples: int, rng: np.random.Generator
) -> tuple[Power, tuple[str, ...]]:
    """`samples` of a design's gains at slope 0, and the components that nothing is known of, which are taken as 0.

    `known` are standard deviations by `component`, fractions. Terms that the design cannot tell from others add to those.
    UserError where the design has no slope.
    """
    rows, analysis = (
        design.rows.assign(gain=rng.normal(size=len(design.rows))),
        analysis.model_copy(update={"sampling": "estimated"}),
    )
    group = fitted_group(rows["target_group"].iloc[0], rows, analysis)
    if group.refused or group.fit is None or group.pooled is None:
        raise UserError(f"{design.name}: no slope, so no power: {group.refused}")
    start, slope = group.fit, group.pooled.L
    truth, residual, unknown = _truth(formulas.parse(analysis.primary or default(rows, analysis.targets)), start, rows, known)
    factors = [(t, np.diag(sds) / residual) for t, sds in enumerate(truth)]
    draw, planted = drawn_from(start, factors, residual, rng), start.contrasts(slope, ["slope"])["estimate"].iloc[0]
    found, failed = [], 0
    for _ in range(samples):
        try:
            row = refit(start, draw()).contrasts(slope, ["slope"]).iloc[0]
            found.append((row["estimate"] - planted, row["se"], row["df"]))
        except NotConverged:
            failed += 1
    error, se, df = np.array(found).reshape(-1, 3).T
    return Power(design, error, se, df, failed), unknown


def _truth(
    declared: formulas.Formula, start: Fit, rows: pd.DataFrame, known: Mapping[str, float]
) -> tuple[list[np.ndarray], float, tuple[str, ...]]:
    """Standard deviations of each term of the model that is fitted, of the residual, and what nothing is known of."""
    terms = start.state.model.terms
    partitions = {matrices.partition(rows, term.group).tobytes(): t for t, term in enumerate(terms)}
    squares = [np.zeros(len(term.names)) for term in terms]
    residual, unknown = known.get(RESIDUAL, 0.0) ** 2, [] if known.get(RESIDUAL) else [RESIDUAL]
    for random in declared.random:
        codes = matrices.partition(rows, random.group)
        term = partitions.get(codes.tobytes())
        for column in map(str, formulas.terms_of(random.columns)):
            name = component("Intercept" if column == "1" else column, random.name)
            if name not in known:
                unknown += [name] if term is not None else []
            elif term is not None and (label := "Intercept" if column == "1" else column) in terms[term].names:
                squares[term][terms[term].names.index(label)] += known[name] ** 2
            elif column == "1" and codes.max() + 1 == len(rows):
                residual += known[name] ** 2
    if not residual:
        raise UserError("no residual standard deviation is known, so there is nothing to simulate")
    return [np.sqrt(each) for each in squares], float(np.sqrt(residual)), tuple(unknown)
