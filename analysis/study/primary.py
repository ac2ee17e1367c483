"""The primary model of a target group: the declared formula, or the default, less the terms that its design cannot identify.

A term is left out where the gains cannot tell it from another one: one level, a level for each row, the levels of a term that
stays, or a space that the fixed effects span. What is left out is said.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xlift.analysis.mixed import formula as formulas
from xlift.analysis.mixed.crossproducts import Cells, cross_products
from xlift.analysis.mixed.formula import Formula, Random
from xlift.analysis.mixed.likelihood import Likelihood
from xlift.registry.card import Analysis

DEFAULT = (
    "gain ~ lp * treatment + family + (1 + lp | language) + (1 | target) + (1 | target:treatment) + (1 | model) + "
    "(1 | model:treatment) + (1 | intermediate_run) + (1 | treated_run) + (1 | baseline_run) + (1 | cell)"
)
SIZES = ("lp", "params_total", "params_non_embedding")  # columns that are constant within a model
SPARE_MODELS = 3  # models beyond one a family, without which a slope is refused
FEWEST = 3  # models on which a slope can still be computed, without a test
SAME = 1e-9  # of a component's own square: what is left of it where it is a combination of others
RANK = 1e-9  # of the largest singular value: what counts as zero


@dataclass(frozen=True, slots=True)
class Primary:
    """The model of one target group on the gains at hand."""

    group: str
    formula: str
    left_out: tuple[str, ...]  # a sentence each
    refused: str | None  # why there is no slope


def primary(group: str, rows: pd.DataFrame, analysis: Analysis, *, estimates_only: bool = False) -> Primary:
    """`rows` are the group's gains, or those that are planned; UserError where the declared formula is none for them.

    `estimates_only` keeps sizes in the formula where a slope could be computed, though not tested, and variances of which only
    the sum is known.
    """
    declared = formulas.parse(analysis.primary or default(rows))
    formulas.known([*formulas.read(declared.response).columns, *declared.keys], list(rows.columns))
    refused = slope_refused(rows, analysis.min_models)
    size = refused is None or (estimates_only and slope_refused(rows, FEWEST, spare=FEWEST - 1) is None)
    fixed, X, said = _fixed(declared, rows, size=size)
    random, more = _random(declared, X, rows, size=size)
    if not estimates_only:  # which a slope does not depend on, and which takes time
        random, more = _told_apart(fixed, random, rows, more)
    text = " + ".join([f"{declared.response} ~ {fixed}", *(f"({term.columns} | {term.name})" for term in random)])
    return Primary(group, text, (*said, *more), refused)


def default(rows: pd.DataFrame) -> str:
    """The default model; where gains are of several origins, with these as a factor."""
    return DEFAULT.replace("+ family", "+ family + origin") if "origin" in rows and rows["origin"].nunique() > 1 else DEFAULT


def slope_refused(rows: pd.DataFrame, min_models: int, spare: int = SPARE_MODELS) -> str | None:
    """Why no slope on size can be tested: it is a statement on models, and a family costs one."""
    models = rows.drop_duplicates("model")
    count, families = len(models), models["family"].nunique()
    if count < min_models:
        has = "1 model has" if count == 1 else f"{count} models have"
        return f"{has} gains and {min_models} are needed; more seeds or languages do not help"
    if count - families < spare:
        return f"{count} models of {families} families have gains: a slope needs {spare} models more than families"
    if models["lp"].nunique() < 3:
        return f"the {count} models have fewer than three different sizes"
    return None


def _fixed(formula: Formula, rows: pd.DataFrame, *, size: bool) -> tuple[str, np.ndarray, list[str]]:
    """The fixed part that these rows can tell apart, its matrix, and what was left out of it."""
    kept, said = [], []
    for piece in formula.fixed.split(" + "):  # as written, where all of it stays
        idle = {str(term): _idle(str(term), rows, size=size) for term in formulas.terms_of(f"0 + {piece}")}
        said += [f"{term}: {why}" for term, why in idle.items() if why]
        kept += [term for term, why in idle.items() if not why] if any(idle.values()) else [piece]
    X = formulas.Coding(" + ".join(kept) or "1", rows).learned
    while kept and _dependent(X):
        last = kept.pop()
        *simpler, product = [str(term) for term in formulas.terms_of(f"0 + {last}")]
        kept += simpler
        said.append(f"{product}: its effects cannot be told from those of the other fixed effects")
        X = formulas.Coding(" + ".join(kept) or "1", rows).learned
    return " + ".join(kept) or "1", X, said


def _idle(term: str, rows: pd.DataFrame, *, size: bool) -> str | None:
    """Why a product of columns cannot move: a column with one level, or a size where no slope is given."""
    for name in dict.fromkeys(name for factor in term.split(":") for name in formulas.variables(factor)):
        if name in SIZES and not size:
            return "no slope is given"
        if rows[name].nunique() == 1:
            return f"there is one {name}"
    return None


def _dependent(X: np.ndarray) -> bool:
    """Whether columns of a matrix depend on each other."""
    different = pd.DataFrame(X).drop_duplicates().to_numpy()
    return bool(np.linalg.matrix_rank(different, RANK * np.linalg.norm(different)) < X.shape[1])


def _random(formula: Formula, X: np.ndarray, rows: pd.DataFrame, *, size: bool) -> tuple[list[Random], list[str]]:
    """The random terms that these rows can tell apart, in the formula's order, and what was left out."""
    kept, said, seen = [], [], dict[bytes, str]()
    for term in formula.random:
        codes = formulas.partition(rows, term.group)
        own = f"({term.columns} | {term.name})"
        levels = codes.max() + 1
        columns = [str(c) for c in formulas.terms_of(term.columns)]
        still = [c for c in columns if c == "1" or not _idle(c, rows, size=size)] if levels > 2 else ["1"]
        partition = codes.tobytes() + repr(still).encode()
        if levels == 1:
            said.append(f"{own}: there is one {term.name}")
        elif levels * len(still) >= len(rows):
            said.append(f"{own}: every gain has its own, which is the residual")
        elif partition in seen:
            said.append(f"{own}: its levels are those of {seen[partition]}")
        elif _spanned(codes, X):
            said.append(f"{own}: the fixed effects say all about {term.name}")
        else:
            seen[partition] = term.name
            if len(still) < len(columns):
                lost = ", ".join(c for c in columns if c not in still)
                why = "no slope is given" if levels > 2 else f"{levels} levels do not tell it"
                said.append(f"{own}: without {lost}, since {why}")
                term = Random(" + ".join(still), term.group)
            kept.append(term)
    return kept, said


def _spanned(codes: np.ndarray, X: np.ndarray) -> bool:
    """Whether the fixed effects span a factor's columns, so that its variance does not exist."""
    levels = codes.max() + 1
    if levels > X.shape[1]:
        return False
    both = pd.DataFrame(np.column_stack([X, np.eye(levels)[codes]])).drop_duplicates().to_numpy()
    rank = [int(np.linalg.matrix_rank(part, RANK * np.linalg.norm(part))) for part in (both[:, : X.shape[1]], both)]
    return rank[0] == rank[1]


def _told_apart(fixed: str, terms: list[Random], rows: pd.DataFrame, said: list[str]) -> tuple[list[Random], list[str]]:
    """The terms whose variances are no combination of those before them, once the fixed effects are taken out.

    M = I - X(X'X)^-1X' and V_a, what one unit of component a adds to V: variances can be told apart where the matrix of
    tr(M V_a M V_b), residual included, has full rank (Rao 1971, MINQUE at the origin).
    """
    if not terms:
        return terms, said
    text = " + ".join([f"y ~ {fixed}", *(f"({term.columns} | {term.name})" for term in terms)])
    design = formulas.build(formulas.parse(text), rows)
    model = Likelihood(cross_products(design, Cells.of_rows(np.random.default_rng(0).normal(size=len(rows)))))
    state = model.at(np.zeros(model.r))
    traces = state.traces(state.components, projected=True)
    unit = 1 / np.sqrt(np.diag(traces))
    owners = [-1, *(t for t, _, _ in state.model.entries)]
    order = [len(owners) - 1, *range(len(owners) - 1)]  # the residual first
    gram = (unit[:, None] * traces * unit)[np.ix_(order, order)]
    kept: list[int] = [0]
    out: dict[int, str] = {}
    for number in range(1, len(owners)):
        share = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept, number])
        if gram[number, number] - share @ gram[kept, number] > SAME:
            kept.append(number)
            continue
        same = [k for k, s in zip(kept, share, strict=True) if abs(s) > 1e-6]
        others = dict.fromkeys("the residual" if owners[k] < 0 else terms[owners[k]].name for k in same)
        out.setdefault(owners[number], ", ".join(others))
    said += [
        f"({terms[t].columns} | {terms[t].name}): beside the fixed effects its variance is that of {which}"
        for t, which in out.items()
    ]
    return [term for t, term in enumerate(terms) if t not in out], said
