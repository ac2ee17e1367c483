"""What the verbs `fit` and `meta` answer: one value with a form for programs and one for people."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from xlift.analysis import meta, mixed
from xlift.analysis.mixed import contrasts, formulas, gathering, summary
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


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How `fit` is asked; names are those of its options."""

    variances: str | None = None
    weights: str | None = None
    residual_by: str | None = None
    df: str = "kenward-roger"
    unit: str | None = None
    reml: bool = True
    missing: str = "raise"
    aliased: str = "raise"
    engine: str = "xlift"
    slopes: str | None = None
    by: str | None = None

    def checked(self) -> None:
        """UserError where they do not go together."""
        if self.by and not self.slopes:
            raise UserError("--by goes with --slopes: the column whose levels have a slope each")
        if self.engine not in ("xlift", "statsmodels"):
            raise UserError(f"no engine '{self.engine}'; there are xlift and statsmodels")
        if (self.df == "two-stage") != (self.unit is not None):
            raise UserError(
                "--df two-stage needs --unit COL, the column whose levels are compared whole (such as model); nothing else "
                "takes it"
            )
        if self.df not in ("two-stage", *mixed.METHODS):
            raise UserError(
                f"no degrees of freedom '{self.df}'{formulas.did_you_mean(self.df, ['two-stage', *mixed.METHODS])}; "
                "there are kenward-roger, satterthwaite and two-stage"
            )


def fitted(formula: str, data: gathering.Data, options: FitOptions) -> Answer:
    """The verb `fit`."""
    options.checked()
    data, columns = (
        gathering.opened(data),
        {"weights": options.weights, "variances": options.variances, "missing": options.missing},
    )
    found = mixed.fit(
        formula,
        data,
        reml=options.reml,
        df="satterthwaite" if options.unit else options.df,  # type: ignore[arg-type]
        residual_by=options.residual_by,
        aliased=options.aliased,
        **columns,  # type: ignore[arg-type]
    )
    effects, cautions = found.effects, list(found.warnings)
    if options.unit:
        from xlift.analysis.mixed import twostage

        effects = twostage.two_stage(formula, data, options.unit, **columns)
        cautions = [caution.text for caution in found.cautions if caution.kind != "few-df"]
        cautions.append(
            f"effects are two-stage: each level of '{options.unit}' is summarised by its own regression and they are compared "
            "with t; the random terms move only the criterion and the variance components"
        )
    content = {
        "formula": found.formula.text,
        "n": found.nobs,
        "reml": found.reml,
        "df": options.df,
        "criterion": found.criterion,
        "effects": effects.to_dict("records"),
        "variance_components": found.variance_components.to_dict("records"),
        "singular": found.singular,
        "warnings": cautions,
    }
    shown = summary.plain(found, effects, options.df, cautions)
    if name := options.slopes:
        asked = [contrasts.slopes(found, name).table()]
        asked += [contrasts.slopes(found, name, by=options.by).table()] if options.by else []
        table = pd.concat(asked, ignore_index=True)
        content["slopes"] = table.to_dict("records")
        shown += f"\n\nslopes on {name}, levels of other columns weighed equally:\n" + tabulate(table, "keys", floatfmt=".5g")
    if options.engine == "statsmodels":
        from xlift.analysis.mixed import beside_statsmodels

        other = beside_statsmodels.compare(found, data, missing=options.missing)
        content["statsmodels"] = other.content()
        shown += f"\n\n{other.text()}"
    return Answer(content, shown)


@dataclass(frozen=True, kw_only=True)
class MetaOptions:
    """How `meta` is asked; names are those of its options."""

    moderators: str = "~ 1"
    random: str | None = None
    method: str = "REML"
    knapp_hartung: bool = False
    df: str | None = None
    cluster: str | None = None
    forest: Path | None = None
    funnel: Path | None = None
    labels: str | None = None
    leave_out: str | None = None
    missing: str = "raise"


def meta_analysed(data: gathering.Data, effect: str, variance: str, options: MetaOptions) -> Answer:
    """The verb `meta`."""
    frame, warnings = _rows(data, effect, variance, options)
    for option, path in (("--forest", options.forest), ("--funnel", options.funnel)):
        if path and not path.parent.is_dir():
            raise UserError(f"{option} {path}: no folder {path.parent}; make it first")

    def analysed(rows: pd.DataFrame, random: str | None) -> meta.Meta:
        how = {name: getattr(options, name) for name in ("moderators", "method", "knapp_hartung", "df")}
        return meta.meta(rows, effect, variance, random=random, **how)

    found = analysed(frame, options.random)
    content = _meta_content(found)
    content["warnings"] = warnings + content["warnings"]
    if cluster := options.cluster:
        content["robust"] = meta.robust(found, frame[cluster].to_numpy()).to_dict("records")
        if cut := meta.cut_terms(found, frame[cluster].to_numpy()):
            content["warnings"].append(
                f"clusters of {cluster} cut through levels of {', '.join(cut)}, so they are not independent, and the "
                f"robust standard errors can be too small; cluster by {cut[0]}"
            )
    if options.leave_out:
        content["left_out"] = list(_without_each(frame, options.leave_out, analysed, options.random))
    if options.forest or options.funnel:
        from xlift.analysis.meta import forest

        if options.forest:
            names = frame[options.labels].astype(str).tolist() if options.labels else None
            forest.forest(found, names).savefig(options.forest)
        if options.funnel:
            forest.funnel(found).savefig(options.funnel)
    return Answer(content, _meta_text(content))


def _rows(data: gathering.Data, effect: str, variance: str, options: MetaOptions) -> tuple[pd.DataFrame, list[str]]:
    """The rows that are analysed, and how many were left out, in words."""
    opened = gathering.opened(data)
    frame = opened if isinstance(opened, pd.DataFrame) else opened.select("*")
    formulas.known([name for name in (options.cluster, options.labels, options.leave_out) if name], list(frame.columns))
    if options.missing != "drop":
        return frame, []
    terms = formulas.random_terms(options.random) if options.random else ()
    moderators = formulas.parse(options.moderators, response=False).keys
    named = [effect, variance, *moderators, *(name for term in terms for name in term.group)]
    formulas.known(named, list(frame.columns))
    wanted = dict.fromkeys(filter(None, [*named, options.cluster, options.leave_out]))
    whole = frame.dropna(subset=list(wanted)).reset_index(drop=True)
    lost = len(frame) - len(whole)
    return whole, [f"{lost:,} rows with missing values were left out"] if lost else []


def _meta_content(found: meta.Meta) -> dict[str, Any]:
    low, high = found.prediction or (None, None)
    content: dict[str, Any] = {
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
        "warnings": list(found.warnings),
    }
    if len(found.tau2) == 1 and found.method != "FE" and found.fit is None:
        content["tau2_interval"] = dict(zip(("low", "high"), meta.q_profile(found), strict=True))
    return content


def _without_each(
    frame: pd.DataFrame, column: str, analysed: Callable[[pd.DataFrame, str | None], meta.Meta], random: str | None
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
