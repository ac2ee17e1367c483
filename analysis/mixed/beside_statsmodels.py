"""statsmodels' nearest MixedLM beside a fit: one group, crossed terms as variance components, correlations left out.

MixedLM has one grouping factor, so crossed terms are variance components over a single dummy group; its components are
independent, it has no weights, no known variances, and tests with z. What differs for these reasons is said in words.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xlift.analysis.mixed import gathering, matrices
from xlift.analysis.mixed.model import Fit
from xlift.registry.findings import UserError

CLOSE = 1e-3  # relative to the standard error, and of the standard error itself


@dataclass(frozen=True)
class Nearest:
    """What MixedLM made of it: its estimates, and words on where it agrees, differs or fails."""

    effects: pd.DataFrame  # term, estimate, se, z, p; empty where it failed
    converged: bool
    criterion: float
    said: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        return {
            "effects": self.effects.to_dict("records"),
            "converged": self.converged,
            "criterion": self.criterion,
            "said": list(self.said),
        }

    def text(self) -> str:
        from tabulate import tabulate

        return "\n".join(
            ["statsmodels MixedLM:", tabulate(self.effects.to_dict("records"), headers="keys", floatfmt=".5g"), *self.said]
        )


def compare(fit: Fit, data: gathering.Data, *, missing: str = "raise") -> Nearest:
    """Fit the nearest MixedLM to the same rows; UserError where there is none at all."""
    if fit.columns.names:
        raise UserError(
            f"statsmodels' MixedLM has no {' or '.join(['weights, known variances', 'residual variances by group'])}; "
            f"leave {', '.join(fit.columns.names)} to the engine xlift"
        )
    if not fit.formula.random:
        raise UserError("without random terms there is no MixedLM to compare with; least squares is exact in both")
    opened = gathering.opened(data)
    frame = opened if isinstance(opened, pd.DataFrame) else opened.select("*")
    gathered = gathering.gather(fit.formula, frame, gathering.Columns(), missing=missing)
    design = matrices.build(fit.formula, gathered.frame, aliased="drop")
    one = len({term.group for term in design.terms}) == 1 and len(design.terms) == 1
    said = [] if one else ["MixedLM has one grouping factor: the random terms are variance components over one dummy group"]
    if not one and (lost := [term.name for term in design.terms if term.k > 1]):
        said.append(f"it cannot have the correlations of {', '.join(lost)} there, and leaves them out")
    found, complaints = _fitted(fit, gathered.cells.mean, design, one)
    return _said(fit, found, complaints, said)


def _fitted(fit: Fit, y: np.ndarray, design: matrices.Design, one: bool) -> tuple[Any, list[str]]:
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            if one:
                term = design.terms[0]
                model = MixedLM(y, design.X, groups=term.codes, exog_re=term.columns)
            else:
                blocks = {
                    f"{term.name}.{i}": np.eye(len(term.levels))[term.codes] * term.columns[:, [i]]
                    for term in design.terms
                    for i in range(term.k)
                }
                names = list(blocks)
                spec = VCSpec(
                    names, [[[f"{n}[{i}]" for i in range(blocks[n].shape[1])]] for n in names], [[blocks[n]] for n in names]
                )
                model = MixedLM(y, design.X, groups=np.ones(len(y)), exog_re=None, exog_vc=spec)
            found = model.fit(reml=fit.reml)
        except (np.linalg.LinAlgError, ValueError) as error:
            return None, [f"it failed: {error}"]
    return found, sorted({str(entry.message).split("\n")[0] for entry in caught})


def _said(fit: Fit, found: Any, complaints: list[str], said: list[str]) -> Nearest:
    empty = pd.DataFrame(columns=["term", "estimate", "se", "z", "p"])
    if found is None:
        return Nearest(empty, False, float("nan"), (*said, *complaints))
    p = len(fit.params)
    estimate, se = np.asarray(found.fe_params), np.asarray(found.bse_fe)
    table = pd.DataFrame(
        {"term": list(fit.params.index), "estimate": estimate, "se": se, "z": estimate / se, "p": np.asarray(found.pvalues)[:p]}
    )
    own = np.sqrt(np.diag(fit.model_cov))
    # statsmodels' restricted likelihood has lme4's constant, as ours: equal estimates have equal criteria
    criterion = -2 * float(found.llf)
    apart = np.maximum(np.abs(estimate - fit.params.to_numpy()) / own, np.abs(se / own - 1))
    if not found.converged:
        said.append("it did not converge, so what it reports is no estimate")
    elif (apart < CLOSE).all():
        said.append("its estimates and model-based standard errors agree with ours")
    else:
        off = [
            f"{name} (estimate {e:.4g} for {f:.4g}, se {s:.4g} for {o:.4g})"
            for name, e, f, s, o, a in zip(fit.params.index, estimate, fit.params, se, own, apart, strict=True)
            if a >= CLOSE
        ]
        said.append(f"it says it converged, and differs in {'; '.join(off)}")
    said.append(
        f"its p values are z tests, too small where few levels carry an effect; ours have {fit.df_method} degrees of freedom "
        f"from {fit.df.min():.1f} to {fit.df.max():.1f}"
    )
    return Nearest(table, bool(found.converged), criterion, (*said, *(f"it warned: {text}" for text in complaints)))
