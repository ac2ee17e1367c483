"""Gains at declared sizes, slopes by treatment and target, and what languages do: questions to the fitted groups."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xlift.analysis.estimates import LEVEL, quantile
from xlift.analysis.mixed import formulas, matrices, prediction
from xlift.analysis.mixed.contrasts import adjusted
from xlift.analysis.mixed.formulas import Random
from xlift.analysis.study import estimands, telling
from xlift.analysis.study.groups import ROW, GroupFit, fitted_group
from xlift.registry.card import Analysis

POINTS = 41  # of a drawn line
CURVE = ["treatment", "family", "params", "mean", "low", "high", "new_low", "new_high"]


def sizes(group: GroupFit, declared: Sequence[float]) -> list[float]:
    """Parameters at which gains are told: those declared, or the smallest model's, the geometric mean, and the largest one's."""
    if declared:
        return list(declared)
    seen = group.rows[group.x]
    return [float(seen.min()), float(10 ** (np.log10(group.rows.drop_duplicates("model")[group.x]).mean())), float(seen.max())]


def gains_at(group: GroupFit, declared: Sequence[float]) -> pd.DataFrame:
    """treatment, params, estimate, se, df, t, p, low, high, note: marginal means of the primary model, over all else equally.

    A treatment whose slope is not told has one gain, of the models that were run, and no params; so have all where there is no
    slope. A gain that the design does not tell has no row.
    """
    columns = ["treatment", "params", "estimate", "se", "df", "t", "p", "low", "high", "note"]
    if group.fit is None or group.setting is None:
        return pd.DataFrame(columns=columns)
    found: list[tuple[str, float, telling.Told]] = []
    for treatment in group.treatments:
        slope = group.pooled and ("treatment" not in group.primary.movers or not isinstance(group.own_slopes[treatment], str))
        for params in sizes(group, declared) if slope else [None]:
            told = group.asked(estimands.of_treatment("gain", treatment, params))
            if not isinstance(told, str):
                found.append((treatment, np.nan if params is None else params, told))
    if not found:
        return pd.DataFrame(columns=columns)
    table = group.fit.contrasts(np.array([told.L for *_, told in found]), [treatment for treatment, *_ in found])
    table = table.assign(params=[params for _, params, _ in found], note=["; ".join(told.notes) for *_, told in found])
    return table.rename(columns={"contrast": "treatment"}).sort_values("params", kind="stable", ignore_index=True)[columns]


def by_target(group: GroupFit, analysis: Analysis) -> tuple[pd.DataFrame, str]:
    """treatment, target, estimate, se, df, t, p, p_adjusted (Holm over the group), low, high, and the formula: targets are fixed.

    The primary model with the target as a factor, and random deviations of models and of their treatments at a target.
    Empty, with the reason in the place of the formula, where no slope can be tested.
    """
    none = pd.DataFrame(columns=["treatment", "target", "estimate", "se", "df", "t", "p", "p_adjusted", "low", "high"])
    if not group.tested:
        return none, str(group.refused)
    several = group.rows["target"].nunique() > 1
    declared = formulas.parse(group.primary.formula)
    kept = [term for term in declared.random if "target" not in term.group]
    extra = [Random("1", ("model", "target")), Random("1", ("model", "treatment", "target"))] if several else []
    terms = [*kept[:-2], *extra, *kept[-2:]]
    fixed = "lp * treatment * target" if several else "lp * treatment"
    fixed += " + family" if "family" in group.fit.grid.levels else ""
    text = " + ".join([f"{declared.response} ~ {fixed}", *(f"({term.columns} | {term.name})" for term in terms)])
    own = fitted_group(group.name, group.rows, analysis.model_copy(update={"primary": text}))
    if own.fit is None or own.setting is None:
        return none, f"the model with targets as a factor: {own.refused}"
    pairs = group.rows[["treatment", "target"]].drop_duplicates()
    asked, rows = {}, []
    for key, basis in own.primary.bases.items():
        if basis.refused is None:
            there = pairs[np.all([pairs[name] == level for name, level in key], axis=0)] if key else pairs
            rows.append({name: ", ".join(sorted(set(there[name]))) for name in pairs})
            asked[key] = telling.slope_at(key, own.setting)
    if not rows:
        return none, str(own.refused)
    table = own.fit.contrasts(np.array(list(asked.values())), [""] * len(asked))
    table = pd.concat([pd.DataFrame(rows)[["treatment", "target"]], table.drop(columns="contrast")], axis=1)
    return table.assign(p_adjusted=adjusted(table["p"], "holm"))[none.columns], own.primary.formula


def languages(group: GroupFit) -> pd.DataFrame:
    """language, term, deviation, sd, gain, low, high: each language's conditional deviation, and its own mean gain at lp = 0."""
    columns = ["language", "term", "deviation", "sd", "gain", "low", "high"]
    if group.fit is None or not any(term.name == "language" for term in group.fit.state.model.terms):
        return pd.DataFrame(columns=columns)
    effects = group.fit.random_effects.query("group == 'language'").rename(columns={"level": "language", "mode": "deviation"})
    rows = telling.frame(estimands.GAIN, group.setting)
    names = list(dict.fromkeys(effects["language"]))
    everywhere = pd.concat([rows.assign(language=language) for language in names], ignore_index=True)
    weights = np.kron(np.eye(len(names)), np.full(len(rows), 1 / len(rows)))
    own = prediction.predict(group.fit, everywhere, weights=weights).rename(columns={"estimate": "gain"}).assign(language=names)
    return effects.merge(own[["language", "gain", "low", "high"]], on="language")[columns].reset_index(drop=True)


def curve(group: GroupFit) -> pd.DataFrame:
    """CURVE: the fitted gain of all treatments equally (no treatment) and of each, its interval, and a new model's band.

    Of several families each has its line of all treatments, over its own sizes, and there is none of a treatment: a mean over
    families at one size is of models that nobody made.
    """
    if group.fit is None or group.pooled is None or not group.tested:
        return pd.DataFrame(columns=CURVE)
    rows = telling.frame(estimands.GAIN, group.setting)
    lines: dict[tuple[str | None, str | None], telling.Told] = {(None, None): group.pooled}
    if "family" in rows and rows["family"].nunique() > 1:
        lines = {(None, family): group.pooled for family in sorted(rows["family"].unique())}
    elif len(group.treatments) > 1:
        lines |= {(name, None): slope for name, slope in group.own_slopes.items() if isinstance(slope, telling.Told)}
    found = [_line(group, rows, *names, slope.models) for names, slope in lines.items()]
    return pd.concat(found, ignore_index=True)[CURVE]


def _line(group: GroupFit, rows: pd.DataFrame, treatment: str | None, family: str | None, models: Sequence[str]) -> pd.DataFrame:
    """CURVE of one line, over the sizes of the models that it rests on."""
    for name, level in (("treatment", treatment), ("family", family)):
        rows = rows if level is None else rows[rows[name] == level]
    own = group.rows[group.rows["model"].isin(models) & ((group.rows["family"] == family) | (family is None))]
    seen, share = np.log10(own[group.x].astype(float)), np.linspace(0, 1, POINTS)
    sizes = np.linspace(seen.min(), seen.max(), POINTS)
    places = [estimands.lp(10**size, group.rows, group.x) for size in sizes]
    ends = [group.fit.grid.design.rows(rows.assign(lp=places[end])).mean(0) for end in (0, -1)]
    table = group.fit.contrasts(np.outer(1 - share, ends[0]) + np.outer(share, ends[1]), [""] * POINTS)
    line = table.rename(columns={"estimate": "mean"}).assign(treatment=treatment, family=family, params=10**sizes)
    if treatment is not None:
        return line.assign(new_low=np.nan, new_high=np.nan)
    named = rows if "treatment" in rows else rows.assign(treatment=group.treatments[0])
    everywhere = pd.concat([named.assign(lp=place) for place in places], ignore_index=True)
    band = new_model(group, everywhere, np.kron(np.eye(POINTS), np.full(len(named), 1 / len(named))))
    return line.assign(new_low=band["low"].to_numpy(), new_high=band["high"].to_numpy())


def new_model(group: GroupFit, rows: pd.DataFrame, weights: np.ndarray | None = None, level: float = LEVEL) -> pd.DataFrame:
    """estimate, se, df, low, high of the mean gain that a new model would have over `rows`, or for each row of weights.

    Languages and targets are average ones. The variance is Kenward and Roger's of the fixed effects and, beside it, that of a new
    model and of its treatments; the df are the smaller of theirs and of Satterthwaite's for the sum, so that no new model seems
    better known than the mean of all. No interval covers a misfit of the line.
    """
    weights = np.full((1, len(rows)), 1 / len(rows)) if weights is None else weights
    drawn = prediction.predict(group.fit, rows.assign(model="a new model"), weights=weights)
    L = weights @ group.fit.grid.design.rows(rows)
    mean, L = group.fit.contrasts(L, [""] * len(L)), group.fit.grid.design.reduced(L)
    plain = np.sum((L @ group.fit.model_cov.to_numpy()) * L, axis=1)
    se = np.sqrt(drawn["se"].to_numpy() ** 2 - plain + mean["se"].to_numpy() ** 2)
    df = np.minimum(drawn["df"].to_numpy(), mean["df"].to_numpy())
    estimate, half = mean["estimate"].to_numpy(), quantile(df, level) * se
    return pd.DataFrame({"estimate": estimate, "se": se, "df": df, "low": estimate - half, "high": estimate + half})


def dots(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """treatment, model, params, gain, low, high: raw mean gains of models, with t intervals over their runs."""
    runs = rows.groupby(["treatment", "model", "treated_run", "target"], as_index=False).agg(
        params=(x, "first"), gain=("gain", "mean")
    )
    table = runs.groupby(["treatment", "model"], as_index=False).agg(
        params=("params", "first"), gain=("gain", "mean"), sd=("gain", "std"), runs=("gain", "size")
    )
    half = [
        quantile(n - 1, LEVEL) * sd / np.sqrt(n) if n > 1 else np.nan for n, sd in zip(table["runs"], table["sd"], strict=True)
    ]
    return table.assign(low=table["gain"] - half, high=table["gain"] + half).drop(columns=["sd", "runs"])


def residuals(group: GroupFit) -> pd.DataFrame:
    """fitted, residual: of each gain, with the conditional modes of all random effects."""
    if group.fit is None:
        return pd.DataFrame(columns=["fitted", "residual"])
    parsed = formulas.parse(group.primary.formula)
    design = matrices.build(parsed, group.rows, aliased="drop")
    fitted = design.X @ group.fit.params.to_numpy()
    for t, term in enumerate(design.terms):
        if term.name == ROW:
            continue
        fitted = fitted + np.sum(group.fit.state.modes(t)[term.codes] * term.columns, axis=1)
    y = matrices.evaluate(parsed.response, group.rows)
    return pd.DataFrame({"fitted": fitted, "residual": y - fitted})
