"""What the verbs `fit` and `meta` answer: one value with a form for programs and one for people."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from xlift.analysis import meta as metas
from xlift.analysis import mixed
from xlift.analysis.mixed import contrasts, gather, summary
from xlift.analysis.mixed import formula as formulas
from xlift.analysis.mixed.optimise import NotConverged
from xlift.registry.findings import UserError


@dataclass(frozen=True)
class Answer:
    content: dict[str, Any]
    shown: str

    def json(self) -> str:
        """Numbers that do not exist (an infinite df, the correlation of a zero variance) are null."""
        return json.dumps(_plain(self.content), indent=1, ensure_ascii=False, allow_nan=False)

    def text(self) -> str:
        return self.shown


def fitted(
    formula: str,
    data: gather.Data,
    *,
    variances: str | None,
    weights: str | None,
    residual_by: str | None,
    df: str,
    unit: str | None,
    reml: bool,
    missing: str,
    aliased: str = "raise",
    engine: str,
    slopes: str | None = None,
    by: str | None = None,
) -> Answer:
    """The verb `fit`."""
    if by and not slopes:
        raise UserError("--by goes with --slopes: the column whose levels have a slope each")
    if engine not in ("xlift", "statsmodels"):
        raise UserError(f"no engine '{engine}'; there are xlift and statsmodels")
    if (df == "two-stage") != (unit is not None):
        raise UserError(
            "--df two-stage needs --unit COL, the column whose levels are compared whole (such as model); nothing else takes it"
        )
    if df not in ("two-stage", *mixed.METHODS):
        raise UserError(
            f"no degrees of freedom '{df}'{formulas.did_you_mean(df, ['two-stage', *mixed.METHODS])}; "
            "there are kenward-roger, satterthwaite and two-stage"
        )
    data, two_stage = gather.opened(data), df == "two-stage"
    found = mixed.fit(
        formula,
        data,
        reml=reml,
        df="satterthwaite" if two_stage else df,  # type: ignore[arg-type]
        weights=weights,
        variances=variances,
        residual_by=residual_by,
        missing=missing,
        aliased=aliased,
    )
    effects, said = found.effects, list(found.warnings)
    if two_stage:
        from xlift.analysis.mixed import twostage

        effects = twostage.two_stage(formula, data, unit, weights=weights, variances=variances, missing=missing)
        said = [caution.text for caution in found.cautions if caution.kind != "few-df"]
        said.append(
            f"effects are two-stage: each level of '{unit}' is summarised by its own regression and they are compared with t; the "  # noqa: E501
            "random terms move only the criterion and the variance components"
        )
    content = {
        "formula": found.formula.text,
        "n": found.nobs,
        "reml": found.reml,
        "df": df,
        "criterion": found.criterion,
        "effects": effects.to_dict("records"),
        "variance_components": found.variance_components.to_dict("records"),
        "singular": found.singular,
        "warnings": said,
    }
    shown = summary.plain(found, effects, df, said)
    if slopes:
        asked = [contrasts.slopes(found, slopes).table()] + ([contrasts.slopes(found, slopes, by=by).table()] if by else [])
        table = pd.concat(asked, ignore_index=True)
        content["slopes"] = table.to_dict("records")
        shown += f"\n\nslopes on {slopes}, levels of other columns weighed equally:\n" + tabulate(table, "keys", floatfmt=".5g")
    if engine == "statsmodels":
        from xlift.analysis.mixed import beside_statsmodels

        other = beside_statsmodels.compare(found, data, missing=missing)
        content["statsmodels"] = other.content()
        shown += f"\n\n{other.text()}"
    return Answer(content, shown)


def meta_analysed(
    data: gather.Data,
    effect: str,
    variance: str,
    *,
    moderators: str,
    random: str | None,
    method: str,
    knapp_hartung: bool,
    df: str | None = None,
    cluster: str | None,
    forest: Path | None,
    funnel: Path | None = None,
    labels: str | None = None,
    leave_out: str | None = None,
    missing: str = "raise",
) -> Answer:
    """The verb `meta`."""
    opened = gather.opened(data)
    frame = opened if isinstance(opened, pd.DataFrame) else opened.select("*")
    formulas.known([name for name in (cluster, labels, leave_out) if name], list(frame.columns))
    dropped: list[str] = []
    if missing == "drop":
        terms = formulas.random_terms(random) if random else ()
        named = [effect, variance, *formulas.parse(moderators, response=False).keys, *(n for term in terms for n in term.group)]
        formulas.known(named, list(frame.columns))
        whole = frame.dropna(subset=list(dict.fromkeys(filter(None, [*named, cluster, leave_out])))).reset_index(drop=True)
        dropped += [f"{len(frame) - len(whole):,} rows with missing values were left out"] if len(whole) < len(frame) else []
        frame = whole
    for option, path in (("--forest", forest), ("--funnel", funnel)):
        if path and not path.parent.is_dir():
            raise UserError(f"{option} {path}: no folder {path.parent}; make it first")

    def analysed(rows: pd.DataFrame, random: str | None) -> metas.Meta:
        return metas.meta(
            rows, effect, variance, moderators=moderators, random=random, method=method, knapp_hartung=knapp_hartung, df=df
        )

    found = analysed(frame, random)
    low, high = found.prediction or (None, None)
    content = {
        "n": len(found.effects.y),
        "method": found.method,
        "test": found.test,
        "df": found.df,
        "estimates": found.estimates.to_dict("records"),
        "tau2": [{"level": level or "effect", "value": value} for level, value in found.tau2.items()],
        "q": found.q,
        "q_df": found.q_df,
        "q_p": found.q_p,
        "i2": found.i2,
        "i2_by_level": [{"level": level or "effect", "value": v} for level, v in found.i2_by_level.items()],
        "prediction": {"low": low, "high": high},
        "loglik": found.loglik,
        "loglik_convention": f"{found.loglik_kind} log likelihood as metafor's"
        + (", with log|X'X| / 2 added" if found.loglik_kind == "restricted" else ""),
        "warnings": [*dropped, *found.warnings],
    }
    if len(found.tau2) == 1 and found.method != "FE" and found.fit is None:
        content["tau2_interval"] = dict(zip(("low", "high"), metas.q_profile(found), strict=True))
    if cluster:
        content["robust"] = metas.robust(found, frame[cluster].to_numpy()).to_dict("records")
        if cut := metas.cut_terms(found, frame[cluster].to_numpy()):
            content["warnings"].append(
                f"clusters of {cluster} cut through levels of {', '.join(cut)}, so they are not independent, and the "
                f"robust standard errors can be too small; cluster by {cut[0]}"
            )
    if leave_out:
        content["left_out"] = list(_without_each(frame, leave_out, analysed, random))
    if forest or funnel:
        from xlift.analysis.meta import forest as plots

        if forest:
            plots.forest(found, frame[labels].astype(str).tolist() if labels else None).savefig(forest)
        if funnel:
            plots.funnel(found).savefig(funnel)
    return Answer(content, _meta_text(content))


def _without_each(
    frame: pd.DataFrame, column: str, analysed: Callable[[pd.DataFrame, str | None], metas.Meta], random: str | None
) -> Iterator[dict[str, Any]]:
    """The estimates without each level of a column, a row a term; why there are none, where there are none."""
    for level in sorted(frame[column].unique()):
        rows = frame[frame[column] != level].reset_index(drop=True)
        try:
            estimates = analysed(rows, _with_levels(random, rows)).estimates
        except (UserError, NotConverged) as error:
            yield {"without": str(level), "n": len(rows), "term": "", "why": str(error)}
            continue
        yield from ({"without": str(level), "n": len(rows), **row} for row in estimates.to_dict("records"))


def _with_levels(random: str | None, rows: pd.DataFrame) -> str | None:
    """The random terms without factors of which these rows have one level."""
    terms = formulas.parse(f"~ 1 + {random}", response=False).random if random else ()
    left = [(term.columns, [name for name in term.group if rows[name].nunique() > 1]) for term in terms]
    return (
        " + ".join(dict.fromkeys(f"({columns} | {':'.join(map(formulas.quoted, group))})" for columns, group in left if group))
        or None
    )


def _meta_text(content: dict[str, Any]) -> str:
    parts = [
        f"{content['n']} effects, {content['method']}, {content['test']} tests"
        + (f", df: {content['df']}" if content["df"] else ""),
        tabulate(content["estimates"], headers="keys", floatfmt=".5g"),
        tabulate(
            [
                {"level": a["level"], "tau^2": a["value"], "I^2 (%)": b["value"]}
                for a, b in zip(content["tau2"], content["i2_by_level"] or content["tau2"], strict=True)
            ],
            headers="keys",
            floatfmt=".5g",
        ),
        f"Q = {content['q']:.3f} on {content['q_df']} degrees of freedom, p = {content['q_p']:.3g}; I^2 = {content['i2']:.1f} %",
    ]
    if content["prediction"]["low"] is not None:
        parts.append(f"95 % prediction interval [{content['prediction']['low']:.4g}, {content['prediction']['high']:.4g}]")
    if "left_out" in content:
        parts += ["without each of them:", tabulate(content["left_out"], headers="keys", floatfmt=".5g")]
    if "robust" in content:
        parts += ["robust (CR2) by cluster:", tabulate(content["robust"], headers="keys", floatfmt=".5g")]
    return "\n\n".join(parts + [f"warning: {text}" for text in content["warnings"]])


def _plain(value: Any) -> Any:
    """NaN and infinities as null, all the way down; numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
