"""Meta-analysis: effects with known sampling variances (Viechtbauer 2010, whose metafor these numbers follow).

One tau^2 by any of eight estimators, with Wald or Knapp-Hartung tests; or several levels, crossed or nested, by the mixed
model with known variances. `loglik` follows metafor: the restricted one adds log|X'X| / 2.

Several levels are tested with t. Their degrees of freedom are by containment where nothing else is asked for (metafor's
dfs="contain"): a coefficient has as many units as the coarsest level within which its moderator is constant. Those of Kenward and
Roger or Satterthwaite follow from the estimated tau^2, and where that is zero, as it often is with few studies, they are those of
known variances: infinitely many. Residual ones (k - p, metafor's default) count effects as if no study held several.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis import mixed
from xlift.analysis.estimates import LEVEL, quantile, t_table
from xlift.analysis.meta.effects import ESTIMATORS, Effects, generalized_q
from xlift.analysis.mixed import formulas, gathering, matrices
from xlift.analysis.mixed.assemble import cross_products
from xlift.analysis.mixed.cautions import few_df
from xlift.analysis.mixed.formulas import Formula
from xlift.analysis.mixed.gathering import Columns, Data
from xlift.analysis.mixed.model import Df as FitDf
from xlift.registry.findings import UserError

Df = Literal["contain", "residual", "kenward-roger", "satterthwaite"]
DFS = get_args(Df)
EACH = "single effect"  # the column that stands for single effects
EXACT = 1e-20  # of the weighted squares: what rounding leaves of effects that are fitted exactly
FEW_EFFECTS = 10  # up to which a z test, for which tau^2 is known, needs a word


@dataclass(frozen=True)
class Meta:
    """The result: estimates (term, estimate, se, df, low, high, p), heterogeneity, prediction, warnings."""

    estimates: pd.DataFrame
    cov: np.ndarray
    tau2: dict[str, float]  # by level; one level "" for one tau^2
    method: str
    test: str  # "z", "knapp-hartung" or "t"
    df: str  # how degrees of freedom were found; "" for z
    q: float
    q_df: int
    q_p: float
    i2: float  # percent
    i2_by_level: dict[str, float]
    prediction: tuple[float, float] | None
    loglik: float
    loglik_kind: str
    effects: Effects
    warnings: tuple[str, ...]
    fit: "mixed.Fit | None" = None

    @property
    def h2(self) -> float:
        return 1 + sum(self.tau2.values()) / self.effects.typical


def meta(
    data: Data,
    effect: str,
    variance: str,
    *,
    moderators: str = "~ 1",
    random: str | None = None,
    method: str = "REML",
    knapp_hartung: bool = False,
    df: str | None = None,
) -> Meta:
    """Meta-analyse the column `effect` with sampling variances in `variance`; UserError for bad input, in words.

    `df` is one of DFS, for t tests: contain where there are random terms; without them tests are z, or Knapp and Hartung's.
    """
    method = method.upper()
    if df not in (None, *DFS):
        raise UserError(f"no degrees of freedom '{df}'{formulas.did_you_mean(df, DFS)}; there are {', '.join(DFS)}")
    if df and (knapp_hartung or method == "FE"):
        other = "Knapp and Hartung's test has k - p of its own" if knapp_hartung else "with one true effect (FE) tests are z"
        raise UserError(f"{other}: leave --df {df} out")
    if method not in (*ESTIMATORS, "FE"):
        raise UserError(
            f"no method '{method}'{formulas.did_you_mean(method, [*ESTIMATORS, 'FE'])}; there are FE, {', '.join(ESTIMATORS)}"
        )
    right = formulas.parse(moderators, response=False)
    if right.random:
        raise UserError(f'moderators are fixed effects; give random terms apart (--random "{moderators}")')
    terms = formulas.random_terms(random) if random else ()
    y = formulas.quoted(effect)
    formula = Formula(f"{y} ~ {right.fixed}", y, right.fixed, terms)
    data = gathering.opened(data)
    frame = data if isinstance(data, pd.DataFrame) else data.select("*")
    gathered = gathering.gather(formula, frame, Columns(variances=variance))
    design = matrices.build(formula, gathered.frame)
    cross_products(design, gathered.cells, known=True)  # refuses moderators that cannot be told apart
    k, p = design.X.shape
    if k <= p:
        raise UserError(f"{k} effects cannot carry {p} coefficients and heterogeneity")
    effects = Effects(gathered.cells.mean, 1 / gathered.cells.weight, design.X, design.names)
    if not terms and df in ("kenward-roger", "satterthwaite"):
        formula, frame = replace(formula, random=(formulas.Random("1", (EACH,)),)), frame.assign(**{EACH: range(len(frame))})
    if formula.random:
        return _multilevel(formula, frame, variance, effects, method, knapp_hartung, df or "contain")
    return _one_level(effects, method, knapp_hartung, df or "")


def _one_level(effects: Effects, method: str, knapp_hartung: bool, df: str) -> Meta:
    k, p = effects.X.shape
    tau2 = 0.0 if method == "FE" else float(ESTIMATORS[method](effects))
    w = 1 / (effects.v + tau2)
    beta, cov = effects.least_squares(w)
    said = []
    if not tau2 and method != "FE":
        said.append(
            "tau^2 is estimated zero: the interval is that of one true effect, and heterogeneity is easily "
            f"missed with {k} effects"
        )
    if knapp_hartung:
        factor = effects.rss(w) / (k - p)
        if factor <= EXACT * float(w @ effects.y**2):
            raise UserError("the effects lie on the fit exactly: Knapp and Hartung's factor is 0, and no interval follows")
        if factor < 1:
            said.append(f"Knapp and Hartung's factor is {factor:.2g}, below 1: standard errors are smaller than without it")
        cov = cov * factor
    elif not df and method != "FE" and k <= FEW_EFFECTS:
        said.append(
            f"z tests take tau^2 for known, and {k} effects hardly tell it: intervals are too narrow; --knapp-hartung has t tests"
        )
    return _made(
        effects,
        beta=beta,
        cov=cov,
        df=np.full(p, float(k - p) if knapp_hartung or df else np.inf),
        how="residual" if knapp_hartung else df,
        tau2={"": tau2},
        method=method,
        test="knapp-hartung" if knapp_hartung else "t" if df else "z",
        loglik=effects.loglik(w, restricted=method != "ML"),
        restricted=method != "ML",
        said=said,
    )


def _multilevel(
    formula: Formula, frame: pd.DataFrame, variance: str, effects: Effects, method: str, knapp_hartung: bool, df: str
) -> Meta:
    if method not in ("REML", "ML"):
        raise UserError(f"several levels need REML or ML, not {method}")
    formula, said = _levels_apart(formula, frame)
    by_fit: FitDf = "kenward-roger" if df == "kenward-roger" else "satterthwaite"
    fit = mixed.fit(formula, frame, variances=variance, reml=method == "REML", df=by_fit)
    tau2 = {}
    for (name, D), term in zip(fit.covariances.items(), fit.state.model.terms, strict=True):
        if term.k > 1 or term.names != ("Intercept",):
            raise UserError(
                f"levels of a meta-analysis are intercepts, as in (1 | {term.name}); ({name}) can be fitted with `xlift fit`"
            )
        tau2[term.name if term.name != EACH else ""] = float(D[0, 0])
    logs = 2 * np.log(np.abs(np.diag(np.linalg.qr(effects.X, mode="r")))).sum() if fit.reml else 0.0
    k, p = effects.X.shape
    if df == "contain":
        dfs = contained(effects, fit.grid.design.terms)
    else:
        dfs = np.full(p, float(k - p)) if df == "residual" else fit.df.to_numpy()
    said += [caution.text for caution in fit.cautions if caution.kind != "few-df"]  # which are those of the table below
    said += few_df(effects.names, dfs)
    if any(np.isinf(dfs)):
        said.append("infinite degrees of freedom follow from a tau^2 that is estimated zero, which few levels hardly tell")
    said += ["Knapp-Hartung's factor is for one level; tests are t as without it"] if knapp_hartung else []
    return _made(
        effects,
        beta=fit.params.to_numpy(),
        cov=(fit.cov_params() if df == "kenward-roger" else fit.model_cov).to_numpy(),
        df=dfs,
        how=df,
        tau2=tau2,
        method=method,
        test="t",
        loglik=(logs - fit.criterion) / 2,
        restricted=fit.reml,
        said=said,
        fit=fit,
    )


def _levels_apart(formula: Formula, frame: pd.DataFrame) -> tuple[Formula, list[str]]:
    """The formula without levels that are those of another one, whose variances only add up, and that it was so."""
    kept, seen, said = [], dict[bytes, str](), []
    for term in formula.random:
        mark = matrices.partition(frame, term.group).tobytes() + term.columns.encode()
        if mark in seen:
            said.append(f"{term.name} has the levels of {seen[mark]}: one tau^2 stands for both, which nothing here tells apart")
            continue
        seen[mark] = term.name
        kept.append(term)
    return replace(formula, random=tuple(kept)), said


def contained(effects: Effects, terms: Sequence[matrices.Term]) -> np.ndarray:
    """(p,) degrees of freedom by containment, as metafor's: fewest levels within which a column of X is constant, less p."""
    k, p = effects.X.shape
    found = []
    for column in effects.X.T:
        values = pd.Series(column)
        sizes = [len(term.levels) for term in terms if values.groupby(term.codes).nunique().max() == 1]
        found.append(max(min([k, *sizes]) - p, 1))
    return np.array(found, float)


def _made(
    effects: Effects,
    *,
    beta: np.ndarray,
    cov: np.ndarray,
    df: np.ndarray,
    how: str,
    tau2: dict[str, float],
    method: str,
    test: str,
    loglik: float,
    restricted: bool,
    said: list[str],
    fit: "mixed.Fit | None" = None,
) -> Meta:
    k, p = effects.X.shape
    se = np.sqrt(np.diag(cov))
    estimates = t_table("term", effects.names, beta, se, df)[["term", "estimate", "se", "df", "low", "high", "p"]]
    q, total, vt = effects.rss(1 / effects.v), sum(tau2.values()), effects.typical
    if method == "FE":  # metafor's I^2 of a fixed-effect model is the one that Q implies
        i2 = {"": 100 * max((q - (k - p)) / q, 0.0) if q else 0.0}
    else:
        i2 = {level: 100 * value / (total + vt) for level, value in tau2.items()}
    prediction = None
    if method != "FE":
        x = effects.X.mean(0)
        half = float(quantile(df.min())) * np.sqrt(x @ cov @ x + total)
        prediction = (float(x @ beta - half), float(x @ beta + half))
        if p > 1:
            said = [*said, "the prediction interval is for a new true effect at the moderators' means"]
    return Meta(
        estimates,
        cov,
        tau2,
        method,
        test,
        how,
        q,
        k - p,
        float(stats.chi2.sf(q, k - p)),
        float(sum(i2.values())),
        i2,
        prediction,
        loglik,
        "restricted" if restricted else "full",
        effects,
        tuple(said),
        fit,
    )


def q_profile(found: Meta, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a single tau^2 (Viechtbauer 2007): where the generalised Q meets chi-square's quantiles."""
    if len(found.tau2) > 1:
        raise UserError("Q-profile intervals are for one tau^2; `mixed.profile` profiles several")
    df = found.q_df
    return (
        generalized_q(found.effects, stats.chi2.ppf((1 + level) / 2, df)),
        generalized_q(found.effects, stats.chi2.ppf((1 - level) / 2, df)),
    )


def robust(found: Meta, cluster: np.ndarray) -> pd.DataFrame:
    """Cluster-robust CR2 with Satterthwaite df (Pustejovsky & Tipton 2018): term, estimate, se, df, p, low, high.

    The working model is the fitted one: V = diag(v) + the random terms' covariances, block diagonal by cluster or not.
    """
    e, V = found.effects, working_covariance(found)
    codes = pd.factorize(np.asarray(cluster))[0]
    if (codes < 0).any():
        raise UserError(f"{int((codes < 0).sum())} effects have no cluster label; give each one, its own where it stands alone")
    if len(codes) != len(e.y):
        raise UserError(f"{len(codes)} cluster labels for {len(e.y)} effects")
    if codes.max() < 1:
        raise UserError("robust standard errors need at least two clusters")
    inverse = np.linalg.inv(V)
    M = np.linalg.inv(e.X.T @ inverse @ e.X)
    half = M @ e.X.T @ inverse  # (p, k): beta = half y
    beta = half @ e.y
    residual = e.y - e.X @ beta
    IH = np.eye(len(e.y)) - e.X @ half
    pieces = []  # (p, k) for each cluster: what it adds to beta's error
    for c in range(codes.max() + 1):
        here = np.flatnonzero(codes == c)
        D = np.linalg.cholesky(V[np.ix_(here, here)]).T  # V_c = D'D
        G = IH[here] @ V @ IH[here].T
        A = D.T @ _inverse_root(D @ G @ D.T) @ D
        pieces.append(half[:, here] @ A @ IH[here])
    scores = np.stack([piece @ e.y for piece in pieces])  # (clusters, p); IH y is the residual
    assert np.allclose(IH @ e.y, residual, atol=1e-8 * max(1.0, np.abs(e.y).max()))
    cov = scores.T @ scores
    df = np.empty(len(beta))
    for j in range(len(beta)):
        g = np.stack([piece[j] for piece in pieces])  # (clusters, k)
        B = g @ V @ g.T
        df[j] = np.trace(B) ** 2 / np.sum(B * B)
    se = np.sqrt(np.diag(cov))
    return t_table("term", e.names, beta, se, df)[["term", "estimate", "se", "df", "p", "low", "high"]]


def cut_terms(found: Meta, cluster: np.ndarray) -> list[str]:
    """Random terms with levels in several clusters: robust standard errors take clusters for independent of each other."""
    if found.fit is None:
        return []
    labels = pd.Series(np.asarray(cluster))
    return [term.name for term in found.fit.grid.design.terms if (labels.groupby(term.codes).nunique() > 1).any()]


def working_covariance(found: Meta) -> np.ndarray:
    """(k, k) marginal covariance of the effects under the fitted model."""
    e = found.effects
    if found.fit is None:
        return np.diag(e.v + found.tau2[""])
    V = np.diag(e.v)
    for term, tau2 in zip(found.fit.grid.design.terms, found.tau2.values(), strict=True):
        V += tau2 * (term.codes[:, None] == term.codes[None, :])
    return V


def _inverse_root(S: np.ndarray) -> np.ndarray:
    """Symmetric square root of the pseudo-inverse."""
    w, Q = np.linalg.eigh(S)
    keep = w > 1e-12 * w.max()
    return (Q[:, keep] / np.sqrt(w[keep])) @ Q[:, keep].T
