"""The primary model of a target group: the declared formula, or the default, less the terms that its design cannot identify.

Fixed effects stay, but those that have one level and those of size where no slope is told (`bases`): which of them a design
tells is decided for contrasts, not for terms. A random term is left out where the gains cannot tell it from another one: one
level, a level for each row, the levels of a term that stays, or a space that the fixed effects span. What is left out is said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.assemble import cross_products
from xlift.analysis.mixed.crossproducts import Cells
from xlift.analysis.mixed.formulas import Formula, Random
from xlift.analysis.mixed.likelihood import Likelihood
from xlift.analysis.study.bases import FEWEST, SIZES, Basis, Key, bases, movers, named, projected, refused
from xlift.registry.card import Analysis, Targets
from xlift.registry.carriers import FEWEST_TARGETS, too_few_targets

RUNS = "(1 | intermediate_run) + (1 | treated_run) + (1 | baseline_run) + (1 | cell)"
OF_MODELS = "(1 | target:treatment) + (1 | model) + (1 | model:treatment) + (1 | model:target)"
DEFAULT = {  # by what a slope is to speak for
    "these": f"gain ~ lp * treatment + target + lp:target + family + (1 + lp | language) + {OF_MODELS} + {RUNS}",
    "like these": f"gain ~ lp * treatment + family + (1 + lp | language) + (1 + lp | target) + {OF_MODELS} + {RUNS}",
}
SHOWN = 4  # of the columns that a design tells by others
SAME = 1e-9  # of a component's own square: what is left of it where it is a combination of others
RANK = 1e-9  # of the largest singular value: what counts as zero


@dataclass(frozen=True, slots=True)
class Primary:
    """The model of one target group on the gains at hand."""

    group: str
    formula: str
    left_out: tuple[str, ...]  # a sentence each
    refused: str | None  # why there is no slope
    movers: tuple[str, ...]  # factors whose levels have slopes of their own
    bases: dict[Key, Basis]  # what each slope rests on, by their levels; those that are told have no reason against

    @property
    def slopes(self) -> tuple[str, ...]:
        """Why there is no slope, or on how many models each one rests."""
        if self.refused:
            return (f"no slope: {self.refused}",)
        told = {named(key): basis for key, basis in self.bases.items()}
        return tuple(f"slope of {name}: {b.refused or f'on {len(b.models)} models'}" for name, b in told.items())


def primary(
    group: str,
    rows: pd.DataFrame,
    analysis: Analysis,
    *,
    beside: Sequence[str] = (),
    estimates_only: bool = False,
    told_apart: bool = True,
) -> Primary:
    """`rows` are the group's gains, or those that are planned; UserError where the declared formula is none for them.

    `beside` are factors that the default model has as fixed effects too (`default`).
    `estimates_only` keeps sizes in the formula where a slope could be computed, though not tested. `told_apart` leaves out
    variances of which only the sum is known, which takes time: a formula that was told apart on more gains can do without.
    """
    declared = formulas.parse(analysis.primary or default(rows, analysis.targets, beside))
    formulas.known([*formulas.read(declared.response).columns, *declared.keys], list(rows.columns))
    varying, said = _varying(declared.fixed, rows)
    found = bases(varying, rows, analysis.min_models)
    why = refused(found, rows, analysis.min_models, varying) or _too_few(rows, analysis)
    size = why is None
    if why and estimates_only:
        found = bases(varying, rows, FEWEST, spare=FEWEST - 1)
        size = refused(found, rows, FEWEST, varying) is None
    fixed, X, more = _fixed(varying, rows, size=size)
    random, lost = _random(declared, X, rows, size=size)
    if told_apart:
        random, lost = _told_apart(fixed, random, rows, lost)
    text = " + ".join([f"{declared.response} ~ {fixed}", *(f"({term.columns} | {term.name})" for term in random)])
    by = movers(varying, rows)
    left = tuple(name for name in by if name in formulas.columns_named(fixed))
    return Primary(group, text, (*said, *more, *lost), why, left, found if left == by else projected(found, left))


def factored(rows: pd.DataFrame) -> pd.DataFrame:
    """Gains with truths as levels, 'true' and 'false', as fixed effects take them, and texts as Python's (faster)."""
    rows = rows.astype({name: object for name in rows if isinstance(rows[name].dtype, pd.StringDtype)})
    if "seen" not in rows:
        return rows
    return rows.assign(seen=rows["seen"].astype(object).map({True: "true", False: "false"} | {"true": "true", "false": "false"}))


def _too_few(rows: pd.DataFrame, analysis: Analysis) -> str | None:
    """Why these targets do not tell of others like them."""
    count = rows["target"].nunique()
    if analysis.primary or analysis.targets == "these" or count >= FEWEST_TARGETS:
        return None
    return too_few_targets(count)


def default(rows: pd.DataFrame, targets: Targets = "these", beside: Sequence[str] = ()) -> str:
    """The default model; where gains are of several origins, with these as a factor.

    A factor beside them moves gains and slopes, and a model may have its own deviation at each of its levels, as at a target.
    """
    several = "origin" in rows and rows["origin"].nunique() > 1
    more = "".join(f" + {name} + lp:{name}" for name in beside)
    found = DEFAULT[targets].replace("+ family", f"+ family{' + origin' if several else ''}{more}", 1)
    return found.replace(RUNS, "".join(f"(1 | model:{name}) + " for name in beside) + RUNS)


def _varying(fixed: str, rows: pd.DataFrame) -> tuple[str, list[str]]:
    """The fixed part without products of a column that has one level, as written where all of it stays; and what is left out."""
    twins = {"target"} if "treatment" in formulas.columns_named(fixed) and _same_levels(rows, "target", "treatment") else set()

    def why(name: str) -> str | None:
        return (
            f"there is one {name}"
            if rows[name].nunique() == 1
            else "its levels are those of treatment"
            if name in twins
            else None
        )

    return _without(fixed, why)


def _same_levels(rows: pd.DataFrame, *names: str) -> bool:
    """Whether each level of one factor goes with one of the other."""
    return {rows[name].nunique() for name in names} == {len(rows[list(names)].drop_duplicates())}


def _fixed(fixed: str, rows: pd.DataFrame, *, size: bool) -> tuple[str, np.ndarray, list[str]]:
    """The fixed part, without sizes where no slope is told, a basis of its matrix, and what was left out of it."""
    fixed, said = _without(fixed, lambda name: "no slope is given" if name in SIZES and not size else None)
    coding = matrices.Coding(fixed, rows)
    coding.reduce()
    if lost := [name for j, name in enumerate(coding.names) if j not in coding.kept]:
        shown = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
        said.append(f"{shown}: told by the other fixed effects; what is said does not depend on which of them is left out")
    return fixed, coding.learned[:, coding.kept], said


def _without(fixed: str, why: Callable[[str], str | None]) -> tuple[str, list[str]]:
    """A fixed part without the products of a column that there is something against."""
    kept, said = [], []
    for piece in fixed.split(" + "):  # as written, where all of it stays
        idle = {str(term): _first(str(term), why) for term in formulas.terms_of(f"0 + {piece}")}
        said += [f"{term}: {text}" for term, text in idle.items() if text]
        kept += [term for term, text in idle.items() if not text] if any(idle.values()) else [piece]
    return " + ".join(kept) or "1", said


def _first(term: str, why: Callable[[str], str | None]) -> str | None:
    names = dict.fromkeys(name for factor in term.split(":") for name in formulas.variables(factor))
    return next(filter(None, map(why, names)), None)


def _random(formula: Formula, X: np.ndarray, rows: pd.DataFrame, *, size: bool) -> tuple[list[Random], list[str]]:
    """The random terms that these rows can tell apart, in the formula's order, and what was left out."""
    kept, said, seen = [], [], dict[bytes, tuple[str, list[str]]]()
    for term in formula.random:
        own = f"({term.columns} | {term.name})"
        group = tuple(name for name in term.group if rows[name].nunique() > 1)  # one level parts nothing
        if not group:
            said.append(f"{own}: there is one {term.name}")
            continue
        codes = matrices.partition(rows, group)
        levels = int(codes.max()) + 1
        name, before = seen.get(codes.tobytes(), (term.name, []))
        columns = [str(column) for column in formulas.terms_of(term.columns)]
        moving = [c for c in columns if c == "1" or not _first(c, lambda n: _still(n, rows, size=size))] if levels > 2 else ["1"]
        while len(moving) > 1 and levels * len(moving) >= len(rows):
            moving.pop()
        new = [column for column in moving if column not in before]
        if levels >= len(rows):
            said.append(f"{own}: every gain has its own, which is the residual")
        elif not new:
            said.append(f"{own}: its levels are those of {name}")
        elif _spanned(codes, X):
            said.append(f"{own}: the fixed effects say all about {term.name}")
        else:
            seen[codes.tobytes()] = (name, [*before, *new])
            if lost := ", ".join(column for column in columns if column not in new):
                why = f"that of {name}" if before else "no slope is given" if not size else f"{levels} levels do not tell it"
                said.append(f"{own}: without {lost}, since {why}")
            kept.append(Random(" + ".join(new if "1" in new else ["0", *new]), group))
    return kept, said


def _still(name: str, rows: pd.DataFrame, *, size: bool) -> str | None:
    """Why a column cannot move: it has one value, or is a size where no slope is given."""
    return "no slope is given" if name in SIZES and not size else f"there is one {name}" if rows[name].nunique() == 1 else None


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
    design = matrices.build(formulas.parse(text), rows, aliased="drop")
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
