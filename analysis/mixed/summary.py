"""A fit as text: statsmodels' Summary for a notebook, plain lines for a terminal."""

from collections.abc import Sequence
from typing import Any

import pandas as pd


def head(fit) -> list[tuple[str, str]]:
    """Label and value of what stands above the coefficients."""
    model = fit.state.model
    groups = ", ".join(f"{term.name} {len(term.levels)}" for term in {t.name: t for t in model.terms}.values())
    return [
        ("Formula", fit.formula.text),
        ("Rows", f"{fit.nobs:,}"),
        ("Method", "REML" if fit.reml else "ML"),
        ("Degrees of freedom", fit.df_method),
        (f"-2 log {'restricted ' if fit.reml else ''}likelihood", f"{fit.criterion:.4f}"),
        ("Levels", groups or "no random terms"),
    ]


def components(fit) -> pd.DataFrame:
    """Variance components with standard deviations and correlations."""
    table = fit.variance_components
    variance = {(row.group, row.name1): row.value for row in table.itertuples() if row.name2 is None}
    sd = [row.value**0.5 if row.name2 is None else None for row in table.itertuples()]
    scale = [
        None if row.name2 is None else (variance[row.group, row.name1] * variance[row.group, row.name2]) ** 0.5
        for row in table.itertuples()
    ]
    return table.assign(sd=sd, correlation=[value / s if s else None for value, s in zip(table["value"], scale, strict=True)])


def _blank(table: pd.DataFrame) -> pd.DataFrame:
    """Missing cells as empty text."""
    return table.astype(object).where(table.notna(), "")


def summary(fit) -> Any:
    """statsmodels' Summary of a fit."""
    from statsmodels.iolib.summary2 import Summary

    made = Summary()
    made.add_title("Linear mixed model")
    made.add_df(pd.DataFrame(head(fit)), header=False, index=False, align="l")
    made.add_df(fit.effects.set_index("term"), float_format="%.4f")
    made.add_df(_blank(components(fit)).set_index("group"), float_format="%.4f")
    for text in fit.warnings:
        made.add_text(text)
    return made


def plain(fit, effects: pd.DataFrame, df: str, warnings: Sequence[str]) -> str:
    """The same for a terminal, with effects of any method."""
    from tabulate import tabulate

    table = components(fit)
    shown = [label_value if label_value[0] != "Degrees of freedom" else (label_value[0], df) for label_value in head(fit)]
    return "\n\n".join(
        [
            "\n".join(f"{label}: {value}" for label, value in shown),
            tabulate(effects.to_dict("records"), headers="keys", floatfmt=".5g"),
            tabulate(
                table.astype(object).where(table.notna(), None).to_dict("records"), headers="keys", floatfmt=".5g", missingval=""
            ),
            *(f"warning: {text}" for text in warnings),
        ]
    )
