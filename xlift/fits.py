"""Verbs on any table: mixed models and meta-analysis."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xlift.options import AsJson


def fit(
    data: Annotated[Path, typer.Option(help="a table: .csv, .tsv or .parquet", show_default=False)],
    formula: Annotated[str, typer.Option(help="'gain ~ lp * treatment + (1 | language) + (1 | model)'", show_default=False)],
    variances: Annotated[str | None, typer.Option(help="column of known sampling variances")] = None,
    weights: Annotated[str | None, typer.Option(help="column of weights: Var(e) = sigma^2 / weight")] = None,
    residual_by: Annotated[str | None, typer.Option(help="column with one residual variance for each value")] = None,
    df: Annotated[str, typer.Option(help="kenward-roger, satterthwaite or two-stage")] = "kenward-roger",
    unit: Annotated[str | None, typer.Option(help="with two-stage: the column of the units, such as model")] = None,
    ml: Annotated[bool, typer.Option("--ml", help="maximum likelihood; with --df satterthwaite")] = False,
    missing: Annotated[str, typer.Option(help="raise, or drop rows with missing values")] = "raise",
    aliased: Annotated[str, typer.Option(help="raise, or drop fixed effects that depend on others")] = "raise",
    engine: Annotated[str, typer.Option(help="xlift; or statsmodels: the nearest MixedLM beside it")] = "xlift",
    slopes: Annotated[str | None, typer.Option(help="slopes on this column: levels weighed equally, and by --by")] = None,
    by: Annotated[str | None, typer.Option(help="with --slopes: a column of levels, such as treatment")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a mixed model, with degrees of freedom for few models."""
    from xlift.analysis.mixed.optimise import NotConverged
    from xlift.analysis.verbs import FitOptions, fitted

    try:
        options = FitOptions(
            variances=variances,
            weights=weights,
            residual_by=residual_by,
            df=df,
            unit=unit,
            reml=not ml,
            missing=missing,
            aliased=aliased,
            engine=engine,
            slopes=slopes,
            by=by,
        )
        answer = fitted(formula, data, options)
    except NotConverged as error:
        print(f"xlift: no fit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.json() if as_json else answer.text())


def meta(
    data: Annotated[Path, typer.Option(help="a table: .csv, .tsv or .parquet", show_default=False)],
    effect: Annotated[str, typer.Option(help="column of effects", show_default=False)],
    variance: Annotated[str, typer.Option(help="column of their sampling variances", show_default=False)],
    moderators: Annotated[str, typer.Option(help="such as '~ x'")] = "~ 1",
    random: Annotated[str | None, typer.Option(help="several levels, such as '(1 | study/effect)'")] = None,
    method: Annotated[str, typer.Option(help="REML, ML, DL, PM, EB, HE, SJ or FE")] = "REML",
    knapp_hartung: Annotated[bool, typer.Option("--knapp-hartung", help="t tests with Knapp and Hartung's factor")] = False,
    df: Annotated[str | None, typer.Option(help="of t tests: contain, kenward-roger, satterthwaite or residual")] = None,
    cluster: Annotated[str | None, typer.Option(help="column of clusters: adds robust CR2 estimates")] = None,
    forest: Annotated[Path | None, typer.Option(help="write a forest plot to this .svg or .png")] = None,
    funnel: Annotated[Path | None, typer.Option(help="write a funnel plot to this .svg or .png")] = None,
    labels: Annotated[str | None, typer.Option(help="column that names effects in the forest plot")] = None,
    leave_out: Annotated[str | None, typer.Option(help="column, such as paper: estimates without each of its levels")] = None,
    missing: Annotated[str, typer.Option(help="raise, or drop rows with missing values")] = "raise",
    as_json: AsJson = False,
) -> None:
    """Meta-analyse effects with known sampling variances."""
    from xlift.analysis.mixed.optimise import NotConverged
    from xlift.analysis.verbs import MetaOptions, meta_analysed

    try:
        options = MetaOptions(
            moderators=moderators,
            random=random,
            method=method,
            knapp_hartung=knapp_hartung,
            df=df,
            cluster=cluster,
            forest=forest,
            funnel=funnel,
            labels=labels,
            leave_out=leave_out,
            missing=missing,
        )
        answer = meta_analysed(data, effect, variance, options)
    except NotConverged as error:
        print(f"xlift: no fit: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(answer.json() if as_json else answer.text())
