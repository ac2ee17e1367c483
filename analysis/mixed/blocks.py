"""Cross-products of a study's own model, split into many small components of local effects and a dense rest.

Cells and runs hang together only inside one (model, target, seed): with such local factors as nodes and rows as edges, their
graph falls into small components. A component keeps A = Z'WZ of its local effects and B = Z'W[Zg Q r] for those global columns
that it touches; the rest is one matrix G = [Zg Q r]'W[Zg Q r]. Nothing has a side of all effects.

Which factors are local is a matter of cost: factors are added, those with most levels first, and the cheapest
split is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from xlift.analysis.mixed.crossproducts import NO_RANK, Cells, Cross, Dense, Simulator, not_too_large, products, unseen
from xlift.analysis.mixed.matrices import Term

SMALL = 150  # effects and coefficients, below which one dense matrix is as fast
LARGEST_COMPONENT = 600  # local effects
CALL = 2e5  # floating-point operations that a call of a small routine costs
ROOMY = 8  # a batch's components are padded by up to one part in so many


@dataclass(frozen=True, slots=True)
class Local:
    """Where a local term stands in a batch: `levels` levels (padded) of `k` columns from column `start`."""

    term: int
    start: int
    levels: int
    k: int

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + self.levels * self.k)


@dataclass(frozen=True)
class Batch:
    """n components of one padded shape: m local effects, g global columns touched. What pads is zero and changes nothing.

    `rows` and `columns` number effects among all of Z's columns, and touched columns among those of [Zg Q r]; padding has the
    number one past the last. The last p + 1 touched columns are those of [Q r]. A wide batch touches all columns, in order.
    """

    terms: tuple[Local, ...]
    A: np.ndarray  # (n, m, m)
    B: np.ndarray  # (n, m, g)
    rows: np.ndarray  # (n, m)
    columns: np.ndarray | None  # (n, g); None where the batch is wide
    width: int  # columns of [Zg Q r], and the number of padding

    def touched(self, right: np.ndarray) -> np.ndarray:
        """(n, g, c) the rows of right (d, c) that belong to the columns touched; right itself where all are."""
        return right if self.columns is None else np.pad(right, ((0, 1), (0, 0)))[self.columns]

    def onto_columns(self, values: np.ndarray) -> np.ndarray:
        """(d, c) sums of values (n, g, c) over components, at the columns touched."""
        if self.columns is None:
            return values.sum(0)
        at = self.columns.ravel()
        return np.stack([np.bincount(at, column, self.width + 1) for column in values.reshape(-1, values.shape[2]).T], 1)[:-1]

    def onto_square(self, left: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
        """(d, d) sum over components of left'right, both (n, rows, g), at the columns touched."""
        right = left if right is None else right
        if self.columns is None:
            return left.reshape(-1, left.shape[2]).T @ right.reshape(-1, left.shape[2])
        side, blocks = self.width + 1, np.matmul(left.transpose(0, 2, 1), right)
        return np.bincount(self.square.ravel(), blocks.ravel(), side**2).reshape(side, side)[:-1, :-1]

    @cached_property
    def square(self) -> np.ndarray:
        """(n, g, g) where each pair of touched columns stands in a flat matrix of side width + 1."""
        return self.columns[:, :, None] * (self.width + 1) + self.columns[:, None, :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(Cross):
    """Cross-products by component."""

    wide: tuple[int, ...]  # the global terms, in order
    G: np.ndarray  # (d, d) [Zg Q r]'W[Zg Q r]
    batches: tuple[Batch, ...]

    @property
    def total(self) -> float:
        return float(self.G[-1, -1])

    def regressed(self, M: np.ndarray, **names: Any) -> "Blocked":
        p = self.p + 1

        def right(X: np.ndarray) -> np.ndarray:
            return np.concatenate([X[..., :-p], X[..., -p:] @ M], axis=-1)

        shift = M.shape[1] - p
        last = len(self.G) + shift
        batches = []
        for batch in self.batches:
            columns = batch.columns
            if columns is not None:  # padding has the number past the last, which moves with it
                kept = np.where(columns[:, :-p] == len(self.G), last, columns[:, :-p])
                own = np.broadcast_to(np.arange(last - M.shape[1], last), (len(columns), M.shape[1]))
                columns = np.concatenate([kept, own], axis=1)
            batches.append(replace(batch, B=right(batch.B), columns=columns, width=last))
        G = right(right(self.G).T)
        return replace(self, G=G, batches=tuple(batches), ZQ=self.ZQ @ M[:-1, :-1], **names)

    @property
    def order(self) -> np.ndarray:
        """(d,) where each column of [Zg Q r] stands among those of [Z Q r]."""
        wide = [np.arange(self.slices[t].start, self.slices[t].stop) for t in self.wide]
        return np.concatenate([*wide, np.arange(self.q, self.q + self.p + 1)]).astype(int)

    def as_dense(self) -> Dense:
        not_too_large(self.q, self.terms)
        N, order = np.zeros((self.q + self.p + 2,) * 2), np.append(self.order, self.q + self.p + 1)  # the last one is padding
        N[np.ix_(order[:-1], order[:-1])] = self.G
        for batch in self.batches:
            for c, rows in enumerate(np.where(batch.rows == self.q, len(N) - 1, batch.rows)):
                columns = order[:-1] if batch.columns is None else order[batch.columns[c]]
                N[np.ix_(rows, rows)] += batch.A[c]
                N[np.ix_(rows, columns)] += batch.B[c]
                N[np.ix_(columns, rows)] += batch.B[c].T
        kept = {field.name: getattr(self, field.name) for field in fields(Cross)}
        return Dense(N=N[None, :-1, :-1], **kept)

    def simulator(self) -> Simulator:
        """Component by component, and then what the global columns see beside their local ones."""
        parts, left = [], self.G[:-1, :-1].copy()
        for batch in self.batches:
            w, V = np.linalg.eigh(batch.A)
            seen = w > NO_RANK * w.max()
            root = np.where(seen, np.sqrt(np.abs(w)), 0.0)
            local = V * root[:, None, :]  # (n, m, m): local local' = A
            over = np.matmul((V * np.where(seen, 1 / np.where(seen, root, 1.0), 0.0)[:, None, :]).transpose(0, 2, 1), batch.B)
            over[:, :, -1] = 0.0  # (n, m, g): what the global columns are in a component's own basis
            left -= batch.onto_square(over)[:-1, :-1]
            parts.append((batch, seen, local, over))
        w, V = np.linalg.eigh(left)
        rest = V[:, w > NO_RANK * np.diag(self.G)[:-1].max()] * np.sqrt(w[w > NO_RANK * np.diag(self.G)[:-1].max()])
        rank = rest.shape[1] + sum(int(seen.sum()) for _, seen, _, _ in parts)

        def draw(effect: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> Blocked:
            wide, padded = np.append(effect[self.order[:-1]], 0.0)[:, None], np.append(effect[: self.q], 0.0)
            made = self.G.copy()
            along = rest.T @ wide[:-1, 0] + sigma[0] * rng.normal(size=rest.shape[1])
            column, squares, batches = np.append(rest @ along, 0.0), float(along @ along), []
            for batch, seen, local, over in parts:
                here = np.matmul(local.transpose(0, 2, 1), padded[batch.rows][:, :, None]) + np.matmul(over, batch.touched(wide))
                here = np.where(seen[:, :, None], here + sigma[0] * rng.normal(size=(*seen.shape, 1)), 0.0)
                B = batch.B.copy()
                B[:, :, -1:] = np.matmul(local, here)
                column += batch.onto_columns(np.matmul(over.transpose(0, 2, 1), here))[:, 0]
                squares += float(np.sum(here**2))
                batches.append(replace(batch, B=B))
            made[:-1, -1] = made[-1, :-1] = column[:-1]
            made[-1, -1] = squares + unseen(self.counts[0] - rank, sigma[0], rng)
            return replace(self, G=made, batches=tuple(batches))

        return draw


def blocked(terms: Sequence[Term], right: np.ndarray, cells: Cells, common: dict[str, Any]) -> Blocked | None:
    """The cross-products with right = [Q r], split where that is cheaper than one dense matrix; None where it is not."""
    local, label = _local(terms, right.shape[1] - 1)
    if not local:
        return None
    wide = [t for t in range(len(terms)) if t not in local]
    starts = np.cumsum([0, *(terms[t].size for t in wide)])
    not_too_large(int(starts[-1]), terms)
    G = products([terms[t] for t in wide], [slice(*ends) for ends in pairwise(starts)], right, cells)
    batches = tuple(_batches(terms, common["slices"], local, wide, label, right, cells, len(G)))
    return Blocked(
        wide=tuple(wide),
        G=G,
        batches=batches,
        **common,
    )


def _local(terms: Sequence[Term], p: int) -> tuple[list[int], np.ndarray]:
    """The terms to eliminate component by component, and each row's component; none where a dense matrix is cheaper."""
    q = sum(term.size for term in terms)
    best: tuple[list[int], np.ndarray] = [], np.zeros(0, int)
    cost = 2.0 * (q + p) ** 3
    if q + p < SMALL:
        return best
    chosen: list[int] = []
    for t in sorted(range(len(terms)), key=lambda t: -terms[t].size):
        chosen = [*chosen, t]
        label = _components([terms[u] for u in chosen])
        n = label.max() + 1
        sizes = np.zeros(n)
        for u in chosen:
            sizes += _levels_each(label, terms[u], n) * terms[u].k
        rest = [u for u in range(len(terms)) if u not in chosen]
        s = sum(terms[u].size for u in rest) + p
        if sizes.max() > LARGEST_COMPONENT or n == 1:
            break
        if 2.0 * s**3 >= cost:
            continue
        touched = np.full(n, p + 1.0)
        for u in rest:
            touched += _levels_each(label, terms[u], n) * terms[u].k
        now = 2.0 * s**3 + _flops(sizes, touched, s)
        if now < cost:
            best, cost = (list(chosen), label), now
    return best


def _flops(m: np.ndarray, g: np.ndarray, s: int) -> float:
    """What an evaluation with its gradient costs in the components: narrow, or wide."""
    narrow = np.sum(4 * m**3 + 6 * m**2 * g + 6 * m * g**2 + 2 * CALL)
    return min(narrow, np.sum(4 * m**3 + 6 * m**2 * s + 6.0 * m * s**2))


def _components(terms: Sequence[Term]) -> np.ndarray:
    """(rows,) component of each row: rows are edges between levels of consecutive terms."""
    starts = np.cumsum([0, *(len(term.levels) for term in terms)])
    if len(terms) == 1:
        return terms[0].codes
    ends = [(a.codes + i, b.codes + j) for a, b, i, j in zip(terms, terms[1:], starts, starts[1:], strict=False)]
    row, column = (np.concatenate(part) for part in zip(*ends, strict=True))
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(starts[-1],) * 2)
    return connected_components(graph, directed=False)[1][terms[0].codes]


def _pairs(label: np.ndarray, term: Term) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different (component, level) pairs: component and level of each, sorted, and each row's pair."""
    levels = len(term.levels)
    pairs, inverse = np.unique(label * levels + term.codes, return_inverse=True)
    return pairs // levels, pairs % levels, inverse


def _levels_each(label: np.ndarray, term: Term, n: int) -> np.ndarray:
    """(n,) how many levels of a term each component has."""
    return np.bincount(_pairs(label, term)[0], minlength=n)


def _batches(
    terms: Sequence[Term],
    slices: Sequence[slice],
    local: Sequence[int],
    wide: Sequence[int],
    label: np.ndarray,
    right: np.ndarray,
    cells: Cells,
    d: int,
) -> Iterator[Batch]:
    n = label.max() + 1
    pairs = {t: _pairs(label, terms[t]) for t in [*local, *wide]}
    counts = np.stack([_padded(np.bincount(pairs[t][0], minlength=n)) for t in local], 1)
    place = {t: _within(pairs[t][0], n)[pairs[t][2]] for t in pairs}  # of each row's level among those of its component
    for shape in np.unique(counts, axis=0):
        chosen = np.flatnonzero((counts == shape).all(1))
        number = np.full(n, -1)
        number[chosen] = np.arange(len(chosen))
        here = np.flatnonzero(number[label] >= 0)
        own = number[label[here]]
        starts = np.cumsum([0, *(size * terms[t].k for size, t in zip(shape, local, strict=True))])
        m = int(starts[-1])
        placed = [Local(t, int(start), int(size), terms[t].k) for t, start, size in zip(local, starts, shape, strict=False)]
        rows = np.full((len(chosen), m), slices[-1].stop)
        for part in placed:
            component, level, _ = pairs[part.term]
            at = _within(component, n)
            inside = number[component] >= 0
            for a in range(part.k):
                rows[number[component[inside]], part.start + at[inside] * part.k + a] = (
                    slices[part.term].start + level[inside] * part.k + a
                )
        columns, spots, g = _touched(terms, wide, pairs, place, number, here, right.shape[1], d, m)
        A, B = np.zeros((len(chosen), m, m)), np.zeros((len(chosen), m, g))
        w = cells.weight[here]
        for part in placed:
            for a in range(part.k):
                line = own * m + part.start + place[part.term][here] * part.k + a
                weighted = w * terms[part.term].columns[here, a]
                for other in placed:
                    for b in range(other.k):
                        at = other.start + place[other.term][here] * other.k + b
                        _add(A, line * m + at, weighted * terms[other.term].columns[here, b])
                for t, spot in spots.items():
                    for b in range(terms[t].k):
                        _add(B, line * g + spot + b, weighted * terms[t].columns[here, b])
                for j, column in enumerate(right[here].T, g - right.shape[1]):
                    B[:, :, j] += np.bincount(line, weighted * column, len(chosen) * m).reshape(-1, m)
        yield Batch(tuple(placed), A, B, rows, columns, d)


def _touched(
    terms: Sequence[Term],
    wide: Sequence[int],
    pairs: dict,
    place: dict,
    number: np.ndarray,
    here: np.ndarray,
    right: int,
    d: int,
    m: int,
) -> tuple[np.ndarray | None, dict[int, np.ndarray], int]:
    """Which global columns a batch's components touch (n, g), where each row's stand in its component's, and how many there are.

    None, and all of them, where that is cheaper than to gather and scatter.
    """
    n, starts = int((number >= 0).sum()), np.cumsum([0, *(terms[t].size for t in wide)])
    used = np.zeros(n, int)
    spots, listed = {}, []
    for t, start in zip(wide, starts, strict=False):
        component, level, inverse = pairs[t]
        inside = number[component] >= 0
        own, k = number[component[inside]], terms[t].k
        at = used[own] + _within(component, len(number))[inside] * k
        listed += [(own, at + a, start + level[inside] * k + a) for a in range(k)]
        whole = np.zeros(len(component), int)
        whole[inside] = at
        spots[t] = whole[inverse[here]]
        used = used + np.bincount(own, minlength=n) * k
    g = int(used.max(initial=0)) + right
    narrow = n * (6.0 * m * g**2 + 2 * CALL)
    if 6.0 * n * m * d**2 <= narrow:
        return None, {t: start + terms[t].codes[here] * terms[t].k for t, start in zip(wide, starts, strict=False)}, d
    columns = np.full((n, g), d)
    for own, at, column in listed:
        columns[own, at] = column
    columns[:, -right:] = np.arange(d - right, d)
    return columns, spots, g


def _within(component: np.ndarray, n: int) -> np.ndarray:
    """The place of each pair among those of its component, pairs being sorted by component."""
    counts = np.bincount(component, minlength=n)
    return np.arange(len(component)) - np.repeat(np.cumsum(counts) - counts, counts)


def _padded(counts: np.ndarray) -> np.ndarray:
    """Counts rounded up a little, so that components of nearly one shape share a batch."""
    step = 2 ** np.floor(np.log2(np.maximum(counts / ROOMY, 1))).astype(int)
    return -(-counts // step) * step


def _add(into: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """into[at] += values, at being flat."""
    into += np.bincount(at, values, into.size).reshape(into.shape)
