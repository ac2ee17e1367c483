"""Linear mixed models with crossed random effects, for small samples: start reading here.

    fit("gain ~ lp * inter + (1 + lp | lang) + (1 | target) + (1 | model)", rows)

formula -> cells -> cross-products -> the criterion's minimum -> degrees of freedom -> `Fit`, a value. REML is the default
and Kenward-Roger its inference; z tests of a mixed model are not offered, because they are wrong 10-60 % of the time
where five models carry a slope.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from xlift.analysis.estimates import LEVEL, t_table
from xlift.analysis.mixed import formulas, gathering, matrices
from xlift.analysis.mixed.assemble import cross_products
from xlift.analysis.mixed.cautions import Caution, cautions
from xlift.analysis.mixed.crossproducts import Cross
from xlift.analysis.mixed.expressions import MAX_TEXT, words
from xlift.analysis.mixed.formulas import Formula
from xlift.analysis.mixed.gathering import Columns, Data
from xlift.analysis.mixed.inference import METHODS, KenwardRoger, Satterthwaite
from xlift.analysis.mixed.likelihood import Likelihood
from xlift.analysis.mixed.matrices import Design
from xlift.analysis.mixed.optimise import NotConverged, minimise, scales, singular_terms
from xlift.analysis.mixed.state import State
from xlift.analysis.mixed.threads import one_thread
from xlift.registry.findings import UserError

__all__ = ["Fit", "NotConverged", "fit"]

Df = Literal["kenward-roger", "satterthwaite"]
SPANNED = 1e-9  # of a column's length: what the fixed effects leave of one that they span


@one_thread
def fit(
    formula: str | Formula,
    data: Data,
    *,
    reml: bool = True,
    df: Df = "kenward-roger",
    weights: str | None = None,
    variances: str | None = None,
    residual_by: str | None = None,
    missing: str = "raise",
    aliased: str = "raise",
    near: "Fit | None" = None,
) -> "Fit":
    """Fit by REML (or ML) and test with Kenward-Roger (or Satterthwaite) degrees of freedom.

    data         a frame, the path of a .csv, .tsv or .parquet file, or a `facts.Relation`
    weights      column w: Var(e) = sigma^2 / w             variances  column v: Var(e) = v, known (meta-analysis)
    residual_by  column with one residual variance a value  missing    "raise", or "drop" rows and say so
    aliased      "raise" where fixed effects depend on each other, or "drop" those that depend on the ones before them: what
                 the data tell is then given as ever, and what they do not tell is missing (NaN)
    near         the same model's fit of most of the same rows, from which the search starts
    UserError for bad input, in words; NotConverged where the criterion has no minimum that can be found.
    """
    if df not in METHODS:
        raise UserError(f"no degrees of freedom '{df}'{formulas.did_you_mean(df, METHODS)}; there are {', '.join(METHODS)}")
    if df == "kenward-roger" and not reml:
        raise UserError("Kenward-Roger needs REML: with ML give df='satterthwaite' (--df satterthwaite)")
    if aliased not in ("raise", "drop"):
        raise UserError(f"aliased is 'raise' or 'drop', not '{aliased}'")
    parsed = formulas.parse(formula) if isinstance(formula, str) else formula
    columns = Columns(weights, variances, residual_by)
    data = gathering.opened(data)
    gathered = gathering.gather(parsed, data, columns, missing=missing)
    design = matrices.build(parsed, gathered.frame, aliased=aliased)
    _identifiable(design, int(gathered.cells.count.sum()), known=bool(variances))
    cross = cross_products(design, gathered.cells, known=bool(variances))
    _not_spanned(cross)
    start = near.state.point if near and str(near.formula) == str(parsed) else None
    state = minimise(Likelihood(cross, reml=reml, known=bool(variances)), start)
    shared = gathering.shared(parsed, data)
    return Fit(parsed, state, METHODS[df](state), Grid.of(design, gathered), columns, gathered.dropped, shared)


@one_thread
def refit(model: "Fit", cross: Cross) -> "Fit":
    """The same model on other cross-products, such as a bootstrap sample's."""
    old = model.state.model
    state = minimise(Likelihood(cross, reml=old.reml, known=old.known))
    return Fit(model.formula, state, type(model.inference)(state), model.grid, model.columns, model.dropped)


def _identifiable(design: Design, n: int, *, known: bool) -> None:
    """UserError where a term's effects cannot be told from the residual, as in lme4."""
    for term in design.terms:
        if not known and term.size >= n:
            raise UserError(
                f"({', '.join(term.names)} | {term.name}) has {term.size} random effects for {n} rows: they cannot be "
                "told from the residual; drop the term, or give known variances"
            )


def _not_spanned(cross: Cross) -> None:
    """UserError where the fixed part holds all that a random term could vary: its variance does not exist then."""
    squares = cross.squares
    left = squares - np.sum(cross.ZQ**2, axis=1)  # of each column of Z, what X leaves
    for term, rows in zip(cross.terms, cross.slices, strict=True):
        if (left[rows] <= SPANNED * squares[rows]).all():
            raise UserError(
                f"the fixed effects span every column of ({', '.join(term.names)} | {term.name}): drop the random term, or "
                f"what stands for {term.name} in the fixed part"
            )


@dataclass(frozen=True, slots=True)
class Grid:
    """What later questions need of the data: how rows are coded, and the values of the predictors."""

    design: Design
    numbers: dict[str, float]  # mean of each numeric predictor over rows
    spreads: dict[str, float]  # standard deviation of each of these
    levels: dict[str, tuple]  # levels of each other predictor, in order

    @classmethod
    def of(cls, design: Design, gathered: gathering.Gathered) -> "Grid":
        names = dict.fromkeys(
            n
            for term in formulas.terms_of(design.formula.fixed)
            for f in formulas.factors_of(term)
            for n in formulas.variables(f)
            if n in gathered.frame
        )
        weight, numbers, spreads, levels = gathered.cells.count, {}, {}, {}
        for name in names:
            column = gathered.frame[name]
            if pd.api.types.is_numeric_dtype(column) and not _coded(design.formula, name):
                values = column.to_numpy(float)
                numbers[name] = float(np.average(values, weights=weight))
                spreads[name] = float(np.sqrt(np.average((values - numbers[name]) ** 2, weights=weight)))
            else:
                levels[name] = tuple(sorted(column.unique()))
        return cls(Design(design.formula, design.X[:0], design.names, design.terms, design.coding), numbers, spreads, levels)


def _coded(formula: Formula, name: str) -> bool:
    """Whether C(name) makes levels of numbers."""
    return any(formulas.read(expression).levels_of == name for expression in formula.expressions)


@dataclass(frozen=True)
class Fit:
    """A fitted model: estimates, small-sample inference, variance components, and warnings in words.

    Named as in statsmodels where it has the notion: params, bse, tvalues, pvalues, conf_int, t_test, wald_test, summary,
    predict, llf, nobs. `criterion` is -2 log (restricted) likelihood in lme4's convention.
    """

    formula: Formula
    state: State = field(repr=False)
    inference: Satterthwaite | KenwardRoger = field(repr=False)
    grid: Grid = field(repr=False)
    columns: Columns = field(default_factory=Columns)
    dropped: int = 0
    shared: tuple[str, ...] = ()  # columns that tell dependent rows, for which the formula has no term

    @property
    def cross(self) -> Cross:
        return self.state.model.cross

    @property
    def reml(self) -> bool:
        return self.state.model.reml

    @property
    def df_method(self) -> str:
        return self.inference.name

    @property
    def nobs(self) -> int:
        return self.cross.n

    @property
    def criterion(self) -> float:
        return self.state.criterion

    @property
    def llf(self) -> float:
        """Log likelihood, restricted for REML."""
        return -self.criterion / 2

    @property
    def parameters(self) -> int:
        """How many are estimated: coefficients, entries of covariance factors, residual variances."""
        model = self.state.model
        return model.p + model.r + (0 if model.known else model.G)

    @property
    def aic(self) -> float:
        return self.criterion + 2 * self.parameters

    @property
    def bic(self) -> float:
        return self.criterion + float(np.log(self.nobs)) * self.parameters

    @cached_property
    def params(self) -> pd.Series:
        """Coefficients of the columns that are fitted; with aliased ones the choice of columns is in them."""
        return pd.Series(self.cross.coefficients(self.state.gamma), self.cross.names)

    def cov_params(self) -> pd.DataFrame:
        """Covariance of the coefficients; the adjusted one under Kenward-Roger."""
        return pd.DataFrame(self.cross.covariance(self.inference.cov), self.cross.names, self.cross.names)

    @cached_property
    def model_cov(self) -> pd.DataFrame:
        """Covariance of the coefficients without adjustment, as lme4's vcov."""
        return pd.DataFrame(self.cross.covariance(self.state.sigma2 * self.state.C), self.cross.names, self.cross.names)

    @cached_property
    def bse(self) -> pd.Series:
        return self.effects.set_index("term")["se"].rename(None)

    @cached_property
    def df(self) -> pd.Series:
        return self.effects.set_index("term")["df"].rename(None)

    @property
    def tvalues(self) -> pd.Series:
        return self.effects.set_index("term")["t"].rename(None)

    @property
    def pvalues(self) -> pd.Series:
        return self.effects.set_index("term")["p"].rename(None)

    def conf_int(self, alpha: float = 1 - LEVEL) -> pd.DataFrame:
        half = self.bse * stats.t.ppf(1 - alpha / 2, self.df)
        return pd.DataFrame({0: self.params - half, 1: self.params + half})

    @cached_property
    def effects(self) -> pd.DataFrame:
        """term, estimate, se, df, t, p, low, high: one row a coefficient, 95 % limits; missing where the data do not tell it."""
        return self.contrasts(self.coefficients, list(self.cross.names)).rename(columns={"contrast": "term"})

    @property
    def coefficients(self) -> np.ndarray:
        """(p, columns) each fitted coefficient as a contrast."""
        return np.eye(len(self.grid.design.coding.names))[self.grid.design.coding.kept]

    def contrasts(self, L: np.ndarray, names: list[str], *, null: float = 0.0, level: float = LEVEL) -> pd.DataFrame:
        """Estimates, intervals and t tests of L beta (r, columns of `Design.rows`), a row each; none is adjusted for the others.

        All of a row is NaN where the data do not tell it.
        """
        L = np.atleast_2d(np.asarray(L, float))
        told, L = self.grid.design.told(L), self.grid.design.reduced(L)
        estimate, inner = L @ self.params.to_numpy(), self.cross.contrast(L)
        se = np.sqrt(np.sum((inner @ self.inference.cov) * inner, axis=1))
        df = np.array([self.inference.df(row) if known else np.nan for row, known in zip(inner, told, strict=True)])
        estimate, se = np.where(told, estimate, np.nan), np.where(told, se, np.nan)
        return t_table("contrast", names, estimate, se, df, null=null, level=level)

    def f_test(self, r_matrix: Any) -> Any:
        """F test of L beta = c, as statsmodels' ContrastResults; text such as "lp = 0, lp:inter[T.b] = 0" will do."""
        from statsmodels.stats.contrast import ContrastResults

        F, r, df = self.f_statistic(*self._constraints(r_matrix))
        return ContrastResults(F=F, df_denom=df, df_num=r, statistic=F)

    wald_test = f_test

    def f_statistic(self, L: np.ndarray, c: np.ndarray | float = 0.0) -> tuple[float, int, float]:
        """F, numerator and denominator degrees of freedom of L beta = c; UserError where L lacks full rank, or is not told."""
        if not self.grid.design.told(L).all():
            raise UserError("the data do not tell what this F test asks")
        inner = self.cross.contrast(self.grid.design.reduced(L))
        if np.linalg.matrix_rank(inner) < len(inner):
            raise UserError("the rows of this F test are not independent of each other")
        c = np.broadcast_to(np.asarray(c, float), len(inner))
        particular = np.linalg.lstsq(inner, c, rcond=None)[0]
        start = self.cross.R @ (self.params.to_numpy())
        return self.inference.f_test(inner, start - particular)

    def t_test(self, r_matrix: Any) -> Any:
        """t tests of the rows of L beta = c, each with its own degrees of freedom, as statsmodels' ContrastResults."""
        from statsmodels.stats.contrast import ContrastResults

        L, c = self._constraints(r_matrix)
        rows = self.contrasts(L, [f"c{i}" for i in range(len(L))])
        effect, sd = rows["estimate"].to_numpy(), rows["se"].to_numpy()
        t = (effect - c) / sd
        return ContrastResults(effect=effect, t=t, statistic=t, sd=sd, df_denom=rows["df"].to_numpy())

    def _constraints(self, r_matrix: Any) -> tuple[np.ndarray, np.ndarray]:
        from formulaic.utils.constraints import LinearConstraints

        if isinstance(r_matrix, str):
            if len(r_matrix) > MAX_TEXT:
                raise UserError(f"constraints have at most {MAX_TEXT:,} characters")
            names = {name: f"b{i}" for i, name in enumerate(self.cross.names)}  # formulaic sees these alone
            coefficient = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
            text = re.sub(rf"(?<![\w`.\]])(?:{coefficient})(?![\w`.\[(])", lambda name: names[name.group()], r_matrix)
            try:
                found = LinearConstraints.from_spec(text, variable_names=list(names.values()))
                matrix, values = np.asarray(found.constraint_matrix, float), np.asarray(found.constraint_values, float)
            except Exception as error:  # formulaic raises many kinds here, all of them about the text
                raise UserError(f"'{r_matrix}' is no constraint on {', '.join(names)}: {words(error)}") from None
            if not (np.isfinite(matrix).all() and np.isfinite(values).all()):
                raise UserError(f"'{r_matrix}' has numbers that are not finite")
            return matrix @ self.coefficients, values
        L = np.atleast_2d(np.asarray(r_matrix, float))
        if L.shape[1] != len(self.params):
            raise UserError(f"a contrast has {len(self.params)} numbers, one a coefficient, not {L.shape[1]}")
        return L @ self.coefficients, np.zeros(len(L))

    def predict(self, exog: pd.DataFrame) -> pd.Series:
        """Means of new rows with every random effect at 0, NaN where not told; `prediction` has levels and intervals."""
        design, rows = self.grid.design, self.grid.design.rows(exog)
        return pd.Series(np.where(design.told(rows), design.reduced(rows) @ self.params.to_numpy(), np.nan), exog.index)

    @cached_property
    def covariances(self) -> dict[str, np.ndarray]:
        """Covariance (k, k) of each random term, by "columns | group"."""
        return {
            f"{' + '.join(term.names)} | {term.name}": self.state.sigma2 * T @ T.T
            for term, T in zip(self.state.model.terms, self.state.T, strict=True)
        }

    @cached_property
    def residual_variances(self) -> dict[str, float]:
        """sigma^2 of each residual group ("" where there is one); none where the variances are known."""
        return {} if self.state.model.known else dict(zip(self.cross.strata, self.state.sigma2 * self.state.delta, strict=True))

    @cached_property
    def variance_components(self) -> pd.DataFrame:
        """group, name1, name2, value: a variance where name2 is missing, otherwise a covariance; residuals last."""
        rows: list[tuple] = []
        for term, D in zip(self.state.model.terms, self.covariances.values(), strict=True):
            rows += [(term.name, name, None, D[i, i]) for i, name in enumerate(term.names)]
            rows += [(term.name, term.names[j], term.names[i], D[i, j]) for i in range(term.k) for j in range(i)]
        rows += [("Residual", part or None, None, value) for part, value in self.residual_variances.items()]
        return pd.DataFrame(rows, columns=["group", "name1", "name2", "value"], dtype=object).astype({"value": float})

    @property
    def theta(self) -> np.ndarray:
        """Relative covariance factors, lower triangles by column, term after term, as lme4 has them."""
        return self.state.point[: self.state.model.r]

    @cached_property
    def random_effects(self) -> pd.DataFrame:
        """group, level, term, mode, sd: conditional modes and their deviations, given theta and beta."""
        state, rows = self.state, []
        sd = np.sqrt(state.sigma2 * state.mode_variances())
        for t, term in enumerate(state.model.terms):
            rows += [
                (term.name, level, name, mode, spread)
                for level, values, spreads in zip(term.levels, state.modes(t), state.by_level(t, sd), strict=True)
                for name, mode, spread in zip(term.names, values, spreads, strict=True)
            ]
        return pd.DataFrame(rows, columns=["group", "level", "term", "mode", "sd"])

    @cached_property
    def singular_terms(self) -> tuple[str, ...]:
        found = singular_terms(self.state, scales(self.state.model))
        return tuple(list(self.covariances)[t] for t in found)

    @property
    def singular(self) -> bool:
        return bool(self.singular_terms)

    @cached_property
    def cautions(self) -> tuple[Caution, ...]:
        return cautions(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The cautions, in words."""
        return tuple(caution.text for caution in self.cautions)

    def summary(self) -> Any:
        """statsmodels' Summary: the head, the coefficients, the variance components, the warnings."""
        from xlift.analysis.mixed.summary import summary

        return summary(self)
