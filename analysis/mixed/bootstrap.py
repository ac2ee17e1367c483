"""Parametric bootstrap on cross-products: samples of the fitted model without a row in sight.

Under the model, [Z Q]'W y* is normal with known mean and covariance, and the squares of e that [Z Q] does not see are
sigma^2 chi-square. So a sample costs as much as a fit, whatever the number of rows.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from xlift.analysis.estimates import LEVEL
from xlift.analysis.mixed.crossproducts import Cross
from xlift.analysis.mixed.model import Fit, refit
from xlift.analysis.mixed.optimise import NotConverged
from xlift.registry.findings import UserError


def bootstrap(fit: Fit, statistic: Callable[[Fit], pd.Series], samples: int, rng: np.random.Generator) -> pd.DataFrame:
    """(samples, statistics): `statistic` of refits to samples of the model. A sample that cannot be fitted is a row of NaN."""
    names, rows = statistic(fit).index, []
    simulated = sampler(fit, rng)
    for _ in range(samples):
        try:
            rows.append(statistic(refit(fit, simulated())).to_numpy())
        except NotConverged:
            rows.append(np.full(len(names), np.nan))
    return pd.DataFrame(rows, columns=names)


def intervals(samples: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """name, low, high (percentiles), failed: how many samples could not be fitted."""
    low, high = samples.quantile((1 - level) / 2), samples.quantile((1 + level) / 2)
    return pd.DataFrame(
        {"name": samples.columns, "low": low.to_numpy(), "high": high.to_numpy(), "failed": samples.isna().sum().to_numpy()}
    )


def bootstrapped_likelihood_ratio(smaller: Fit, larger: Fit, samples: int, rng: np.random.Generator) -> pd.Series:
    """chi2 and its bootstrap p under the smaller model: for variances on the boundary, where chi-square does not hold.

    Both models have to be fitted to the same rows with the same fixed effects; they differ in random terms.
    """
    if smaller.cross.names != larger.cross.names or smaller.nobs != larger.nobs or smaller.reml != larger.reml:
        raise UserError("a bootstrap test here compares random terms: the same rows, fixed effects and criterion")
    observed = smaller.criterion - larger.criterion
    state, rng_sample = smaller.state, rng
    place = [
        next(
            (u for u, other in enumerate(larger.state.model.terms) if (other.name, other.names) == (term.name, term.names)), None
        )
        for term in state.model.terms
    ]
    if None in place:
        raise UserError("each random term of the smaller model has to be in the larger one")
    above = drawn_from(larger, [(u, T) for u, T in zip(place, state.T, strict=True)], np.sqrt(state.sigma2), rng_sample)
    keep = np.concatenate(
        [np.arange(larger.cross.slices[u].start, larger.cross.slices[u].stop) for u in place]
        + [np.arange(larger.cross.q, larger.cross.q + larger.cross.p + 1)]
    ).astype(int)
    count, inner = 0, smaller.cross.as_dense()
    for _ in range(samples):
        cross = above()
        inside = replace(inner, N=cross.as_dense().N[:, keep][:, :, keep])
        count += refit(smaller, inside).criterion - refit(larger, cross).criterion >= observed - 1e-9
    return pd.Series({"chi2": max(observed, 0.0), "p": (count + 1) / (samples + 1), "samples": samples})


def sampler(fit: Fit, rng: np.random.Generator) -> Callable[[], Cross]:
    """A function that draws the cross-products of a new sample of responses."""
    return drawn_from(fit, list(enumerate(fit.state.T)), float(np.sqrt(fit.state.sigma2)), rng, fit.state.delta)


def drawn_from(
    fit: Fit, factors: list, sigma: float, rng: np.random.Generator, delta: np.ndarray | None = None
) -> Callable[[], Cross]:
    """Samples with the factors of some terms, around the fit's coefficients (r = 0: coefficients do not move likelihoods)."""
    cross = fit.cross
    delta, draw = np.ones(len(cross.strata)) if delta is None else delta, cross.simulator()

    def drawn() -> Cross:
        effect = np.zeros(cross.q + cross.p)
        for t, T in factors:
            levels = len(cross.terms[t].levels)
            effect[cross.slices[t]] = sigma * (rng.normal(size=(levels, T.shape[0])) @ T.T).ravel()
        effect[cross.q :] = fit.state.gamma
        return draw(effect, sigma * np.sqrt(delta), rng)

    return drawn
