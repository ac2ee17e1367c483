"""What a reader of a fit has to know beside its numbers, in plain words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

FEW_LEVELS = 5
FEW_DF = 3.0


@dataclass(frozen=True, slots=True)
class Caution:
    """One thing to know, and of which kind it is."""

    kind: Literal["dropped", "aliased", "shared", "confounded", "singular", "few-levels", "few-df"]
    text: str


def cautions(fit) -> tuple[Caution, ...]:
    """Rows left out or not independent, singular terms with what follows, few levels, few df; empty where all is well."""
    return (
        *(Caution("dropped", text) for text in _dropped(fit)),
        *(Caution("aliased", text) for text in _aliased(fit)),
        *(Caution("shared", text) for text in _shared(fit)),
        *(Caution("confounded", text) for text in _confounded(fit)),
        *(Caution("singular", text) for text in _singular(fit)),
        *(Caution("few-levels", text) for text in _few_levels(fit)),
        *(Caution("few-df", text) for text in few_df(fit.effects["term"], fit.effects["df"])),
    )


def _dropped(fit) -> list[str]:
    return [f"{fit.dropped:,} rows with missing values were left out"] if fit.dropped else []


def _aliased(fit) -> list[str]:
    left = fit.grid.design.aliased
    if not left:
        return []
    return [
        f"these rows cannot tell {', '.join(left)} from the other fixed effects: left out, which chooses one of many equal ways "
        "to write the model; coefficients and contrasts that depend on the choice are not given"
    ]


def _shared(fit) -> list[str]:
    if not fit.shared:
        return []
    terms = " + ".join(f"(1 | {name})" for name in fit.shared)
    return [
        f"rows share {', '.join(fit.shared)}, and the formula has no term for it: they are not independent, so intervals are too "
        f"narrow and p too small; add {terms}"
    ]


def _confounded(fit) -> list[str]:
    numbers, entries = getattr(fit.inference, "confounded", []), fit.state.model.entries
    if not numbers:
        return []
    groups = [fit.state.model.terms[entries[number][0]].name if number < len(entries) else "the residual" for number in numbers]
    return [
        f"these rows cannot tell the variances of {', '.join(dict.fromkeys(groups))} apart: only their sum is known; drop one"
    ]


def _singular(fit) -> list[str]:
    said = []
    for term, T, name in zip(fit.state.model.terms, fit.state.T, fit.covariances, strict=True):
        if name not in fit.singular_terms:
            continue
        if np.abs(T).max() < 1e-4 or term.k == 1:
            said.append(
                f"singular fit: the variance of ({name}) is estimated zero. {term.name} is then as good as not in the model, and "
                f"intervals can be too narrow; with {len(term.levels)} levels a real variance is easily missed"
            )
        else:
            said.append(
                f"singular fit: the covariance matrix of ({name}) has less than full rank (a variance of zero, or a correlation of "  # noqa: E501
                f"-1 or 1). The data do not tell its {term.k} parts apart; a simpler term, as with ||, says the same"
            )
    return said


def _few_levels(fit) -> list[str]:
    few = {term.name: len(term.levels) for term in fit.state.model.terms if len(term.levels) < FEW_LEVELS}
    return [f"{name} has only {count} levels: its variance is hardly known" for name, count in few.items()]


def few_df(names: Iterable[str], df: Iterable[float]) -> list[str]:
    """Of a table of estimates: those with fewer than FEW_DF degrees of freedom."""
    few = [name for name, value in zip(names, df, strict=True) if value < FEW_DF]
    if not few:
        return []
    return [f"{', '.join(few)}: fewer than {FEW_DF:.0f} degrees of freedom: the interval rests on very few levels"]
