"""What every table of estimates has in common: the level of its limits, and t tests of each row on its own degrees of freedom."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # of every interval that asks for no other


def quantile(df: np.ndarray | float, level: float = LEVEL) -> np.ndarray:
    """How many standard errors the half of a two-sided interval is wide; the normal's where df is infinite."""
    return stats.t.ppf((1 + level) / 2, df)


def t_table(
    label: str,
    names: Sequence[str],
    estimate: np.ndarray,
    se: np.ndarray,
    df: np.ndarray | float,
    *,
    null: float = 0.0,
    level: float = LEVEL,
) -> pd.DataFrame:
    """`label`, estimate, se, df, t, p (two-sided, of `null`), low, high: a row each; no adjustment for there being several."""
    with np.errstate(divide="ignore", invalid="ignore"):  # an estimate without error has no t
        t = (estimate - null) / se
    half = quantile(df, level) * se
    return pd.DataFrame(
        {
            label: list(names),
            "estimate": estimate,
            "se": se,
            "df": df,
            "t": t,
            "p": 2 * stats.t.sf(np.abs(t), df),
            "low": estimate - half,
            "high": estimate + half,
        }
    )
