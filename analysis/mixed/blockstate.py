"""The state of a model whose local effects are eliminated component by component; exact, and linear in the components.

For component c with factor T_c: M_c = T_c'A_cT_c + I = R_cR_c', H_c = R_c^-1 T_c'B_c. What is left on the global columns is the
Schur complement S = G - sum H_c'H_c = [Zg Q r]'V_l^-1[Zg Q r], V_l = I + Z_l L_lL_l'Z_l'. With E_c = R_c^-1 T_c'A_c,

    D_c = Z_c'V_l^-1 Z_c = A_c - E_c'E_c          F_c = Z_c'V_l^-1[Zg Q r] = B_c - E_c'H_c

and O = V_l^-1 - V_l^-1[Zg Q] K [Zg Q]'V_l^-1 is P where K is Henderson's inverse of the global columns and Q, and H^-1 where K is
that of the global columns alone. So Z'OZ is a block D_c less a low-rank F K F' between local effects, F(I - KS) from local to
global ones, and S - SKS between those: traces are sums over components and products with a side of global columns.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.blocks import Batch, Blocked, Local
from xlift.analysis.mixed.state import Direction, State


class BlockState(State):
    """One residual variance, whose direction follows from the others: W^-1 = H - sum of the random terms' parts."""

    def _factor(self) -> None:
        assert isinstance(self.model.cross, Blocked)
        self.cross, self.made = self.model.cross, dict[tuple[str, bool], np.ndarray]()
        self.qg = len(self.cross.G) - self.model.p - 1
        S, self.logdet = self.cross.G.copy(), 0.0
        self.parts = [_Part(batch, self.T) for batch in self.cross.batches]
        for part in self.parts:
            self.logdet += part.logdet
            part.subtract_squares(S)
        self.S, q, s = S, self.qg, self.qg + self.model.p
        M = self._times_factor(np.ascontiguousarray(self._times_factor(S).T))
        M[np.arange(q), np.arange(q)] += 1.0
        self.L = linalg.cholesky(M[:s, :s], lower=True, check_finite=False)
        self.half = linalg.solve_triangular(self.L, M[:s, -1], lower=True, check_finite=False)
        self.rss = float(S[-1, -1] - self.half @ self.half)
        self.logdet += 2 * float(np.log(np.diag(self.L)[:q]).sum())
        self.R, self.c = self.L[q:, q:], self.half[q:]

    @cached_property
    def places(self) -> dict[int, slice]:
        """The columns of G of each global term."""
        starts = np.cumsum([0, *(self.model.terms[t].size for t in self.cross.wide)])
        return {t: slice(*ends) for t, ends in zip(self.cross.wide, pairwise(starts), strict=True)}

    def _times_factor(self, M: np.ndarray, *, transposed: bool = False) -> np.ndarray:
        """blockdiag(Tg', I) M, or blockdiag(Tg, I) M."""
        out = M.copy()
        for t, rows in self.places.items():
            T, blocks = self.T[t] if transposed else self.T[t].T, M[rows].reshape(-1, len(self.T[t]), M.shape[1])
            out[rows] = (T[0, 0] * blocks if len(T) == 1 else np.matmul(T, blocks)).reshape(M[rows].shape)
        return out

    def kernel(self, *, projected: bool) -> np.ndarray:
        """K (d, d) of P, or of H^-1; zero in the rows of r, and for H^-1 in those of Q."""
        return self._once("kernel", projected, self._kernel)

    def rest(self, *, projected: bool) -> np.ndarray:
        """(d, qg) I - KS: what turns F into Z_l'OZ_g."""
        eye = np.eye(len(self.S), self.qg)
        return self._once("rest", projected, lambda projected: eye - self.kernel(projected=projected) @ self.S[:, : self.qg])

    def wide(self, *, projected: bool) -> np.ndarray:
        """(qg, qg) Zg'OZg."""
        return self._once("wide", projected, lambda projected: self.S[: self.qg] @ self.rest(projected=projected))

    def _once(self, name: str, projected: bool, make: Callable[[bool], np.ndarray]) -> np.ndarray:
        """Kept for the operator that it belongs to, without a circle of references: states are large, and have to go at once."""
        if (name, projected) not in self.made:
            self.made[name, projected] = make(projected)
        return self.made[name, projected]

    def _kernel(self, projected: bool) -> np.ndarray:
        size = len(self.L) if projected else self.qg
        lower = linalg.lapack.dpotri(self.L[:size, :size], lower=1)[0] if size else np.zeros((0, 0))
        K = np.zeros_like(self.S)
        K[:size, :size] = np.tril(lower) + np.tril(lower, -1).T  # (Lg'SLg + I)^-1, to stand between the factors
        half = self._times_factor(K, transposed=True)
        return self._times_factor(np.ascontiguousarray(half.T), transposed=True)

    @cached_property
    def ZPy(self) -> np.ndarray:
        back = linalg.solve_triangular(self.L, self.half, lower=True, trans="T", check_finite=False)
        rho = np.append(-self._times_factor(back[:, None], transposed=True), 1.0)[:, None]
        return self._full((self.S @ rho)[: self.qg], [part.F_times(rho) for part in self.parts])[:, 0]

    @cached_property
    def ZHQ(self) -> np.ndarray:
        q, s = self.qg, len(self.L)
        right = np.eye(len(self.S))[:, q:s] - self.kernel(projected=False) @ self.S[:, q:s]
        return self._full((self.S @ right)[:q], [part.F_times(right) for part in self.parts])

    def _full(self, wide: np.ndarray, local: list[np.ndarray]) -> np.ndarray:
        """(q, c) in the order of Z's columns, from rows of the global ones (qg, c) and of each part's (n, m, c)."""
        out = np.empty((self.model.q + 1, wide.shape[1]))
        for t, rows in self.places.items():
            out[self.model.slices[t]] = wide[rows]
        for part, values in zip(self.parts, local, strict=True):
            out[part.batch.rows] = values
        return out[:-1]

    def level_sums(self, *, projected: bool) -> list[np.ndarray]:
        found, size = [np.zeros_like(T) for T in self.T], len(self.L) if projected else self.qg
        if self.places:
            right = self._times_factor(self.S[:, : self.qg])[:size]
            B = linalg.solve_triangular(self.L[:size, :size], right, lower=True, check_finite=False)
            for t, rows in self.places.items():
                k, own = len(self.T[t]), B[:, rows].reshape(size, -1, len(self.T[t]))
                blocks = self.S[rows, rows].reshape(own.shape[1], k, own.shape[1], k)
                found[t] = np.einsum("iaib->ab", blocks) - np.tensordot(own, own, ((0, 1), (0, 1)))
        for part in self.parts:
            for local, sums in part.level_sums(self.kernel(projected=projected)):
                found[local.term] = found[local.term] + sums
        return found

    def traces(self, directions: list[Direction], *, projected: bool) -> np.ndarray:
        random = [a for a in directions if a.stratum is None]
        K, d, m = self.kernel(projected=projected), len(self.S), len(random)
        rest, wide = self.rest(projected=projected), self.wide(projected=projected)
        local = [i for i, a in enumerate(random) if a.term not in self.places]
        shared = [i for i, a in enumerate(random) if a.term in self.places]
        Phi = {i: np.zeros((d, d)) for i in local}  # sum over levels of F'D_aF
        out = np.zeros((m, m))
        for part in self.parts:
            part.add_squares(Phi, [random[i] for i in local], local)
            part.add_traces(out, K, [random[i] for i in local], local)
        KPhi = {i: K @ Phi[i] for i in local}
        DW = {j: self._times_wide(random[j], wide) for j in shared}
        for i in local:
            for j in local:
                out[i, j] += np.sum(KPhi[i] * KPhi[j].T)
            PhiN = Phi[i] @ rest
            for j in shared:
                columns = self.places[random[j].term]
                spread = rest[:, columns].reshape(d, -1, len(random[j].D)) @ random[j].D
                out[i, j] = out[j, i] = np.sum(PhiN[:, columns] * spread.reshape(d, -1))
        for i in shared:
            for j in shared:
                out[i, j] = np.sum(DW[i][:, self.places[random[j].term]] * DW[j][:, self.places[random[i].term]].T)
        return self._with_residual(out, random, directions, projected=projected)

    def _times_wide(self, a: Direction, M: np.ndarray) -> np.ndarray:
        """Rows of a global term of (I x D) M."""
        rows = M[self.places[a.term]]
        return np.matmul(a.D, rows.reshape(-1, len(a.D), rows.shape[1])).reshape(rows.shape)

    def _with_residual(
        self, out: np.ndarray, random: list[Direction], directions: list[Direction], *, projected: bool
    ) -> np.ndarray:
        """Traces with the residual's direction, which comes last, after all `components` of the random terms."""
        if len(random) == len(directions):
            return out
        sums = self.level_sums(projected=projected)
        own, weights = np.array([np.sum(sums[a.term] * a.D) for a in random]), self.amounts
        mixed = own - out @ weights
        last = self.cross.n - (self.model.p if projected else 0) - own @ weights - mixed @ weights
        return np.block([[out, mixed[:, None]], [mixed[None, :], np.array([[last]])]])

    def quadratics(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        first, second = self._sandwich(self.ZPy[:, None], directions, projected=True)
        return first[:, 0, 0], second[:, :, 0, 0]

    def forms(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        random = [a for a in directions if a.stratum is None]
        first, second = self._sandwich(self.ZHQ, random, projected=False)
        if len(random) == len(directions):
            return first, second
        weights = self.amounts
        mixed = first - np.einsum("r,raij->aij", weights, second)  # of the residual (first) and a
        alone = self.R @ self.R.T - np.einsum("r,rij->ij", weights, first)
        last = alone - np.einsum("r,rij->ij", weights, mixed)
        m = len(random)
        whole = np.empty((m + 1, m + 1, *last.shape))
        whole[:m, :m], whole[m, :m], whole[:m, m], whole[m, m] = second, mixed, mixed.transpose(0, 2, 1), last
        return np.concatenate([first, alone[None]]), whole

    def first_form(self, a: Direction) -> np.ndarray:
        return self.ZHQ[self.model.slices[a.term]].T @ self.times(a, self.ZHQ)

    def _sandwich(self, X: np.ndarray, directions: list[Direction], *, projected: bool) -> tuple[np.ndarray, np.ndarray]:
        """X'(I x D_a)X (m, c, c) and X'D_a Z'OZ D_b X (m, m, c, c), X (q, c)."""
        c, m, d = X.shape[1], len(directions), len(self.S)
        DX = [self.times(a, X) for a in directions]
        first = np.array([X[self.model.slices[a.term]].T @ D for a, D in zip(directions, DX, strict=True)]).reshape(m, c, c)
        local = [i for i, a in enumerate(directions) if a.term not in self.places]
        shared = [i for i, a in enumerate(directions) if a.term in self.places]
        second, Y = np.zeros((m, m, c, c)), {i: np.zeros((d, c)) for i in local}  # sum over levels of F'D_aX
        for part in self.parts:
            padded = {i: self._padded(directions[i], DX[i]) for i in local}
            part.add_sandwich(second, Y, padded, [directions[i] for i in local], local)
        K, rest, wide = self.kernel(projected=projected), self.rest(projected=projected), self.wide(projected=projected)
        for i in local:
            for j in local:
                second[i, j] -= Y[i].T @ K @ Y[j]
            for j in shared:
                second[i, j] = Y[i].T @ (rest[:, self.places[directions[j].term]] @ DX[j])
                second[j, i] = second[i, j].T
        for i in shared:
            for j in shared:
                second[i, j] = DX[i].T @ wide[self.places[directions[i].term], self.places[directions[j].term]] @ DX[j]
        return first, second

    def _padded(self, a: Direction, rows: np.ndarray) -> np.ndarray:
        """Rows of a's term (levels * k, c) among those of all effects, with zeros, and one row of zeros more for padding."""
        out = np.zeros((self.model.q + 1, rows.shape[1]))
        out[self.model.slices[a.term]] = rows
        return out

    def spread(self, A: np.ndarray) -> np.ndarray:
        q, own = self.model.q, np.vstack([A[: self.model.q], np.zeros((1, A.shape[1]))])
        rest = np.zeros((len(self.S), A.shape[1]))
        for t, rows in self.places.items():
            rest[rows] = A[self.model.slices[t]]
        rest[self.qg : -1] = A[q:]
        total = np.zeros(A.shape[1])
        for part in self.parts:
            x = part.root_times(own[part.batch.rows])
            total += np.sum(x**2, axis=(0, 1))
            rest -= part.batch.onto_columns(np.matmul(part.H.transpose(0, 2, 1), x))
        half = linalg.solve_triangular(self.L, self._times_factor(rest)[:-1], lower=True, check_finite=False)
        return total + np.sum(half**2, axis=0)

    def mode_variances(self) -> np.ndarray:
        K = self.kernel(projected=False)
        return self._full(np.diag(K)[: self.qg, None], [part.mode_variances(K)[:, :, None] for part in self.parts])[:, 0]


class _Part:
    """A batch at a point: everything about n components at once."""

    def __init__(self, batch: Batch, T: list[np.ndarray]) -> None:
        self.batch, self.T = batch, T
        m = batch.rows.shape[1]
        TA = self.scaled(batch.A)
        M = self.scaled(np.ascontiguousarray(TA.transpose(0, 2, 1)))
        M[:, np.arange(m), np.arange(m)] += 1.0
        R = np.linalg.cholesky(M)
        self.logdet = 2 * float(np.log(R[:, np.arange(m), np.arange(m)]).sum())
        self.root = np.linalg.inv(R) if m > 1 else 1 / R  # (n, m, m) R^-1
        self.TA, self.H = TA, np.matmul(self.root, self.scaled(batch.B))

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """T'X for X (n, m, c)."""
        out = np.empty_like(X)
        for local in self.batch.terms:
            T, rows = self.T[local.term], X[:, local.columns]
            if local.k == 1:
                np.multiply(rows, T[0, 0], out=out[:, local.columns])
            else:
                shape = (len(X), local.levels, local.k, X.shape[2])
                out[:, local.columns] = np.matmul(T.T, rows.reshape(shape)).reshape(rows.shape)
        return out

    @cached_property
    def E(self) -> np.ndarray:
        return np.matmul(self.root, self.TA)

    @cached_property
    def D(self) -> np.ndarray:
        """(n, m, m) Z'V_l^-1Z within a component."""
        return self.batch.A - np.matmul(self.E.transpose(0, 2, 1), self.E)

    @cached_property
    def F(self) -> np.ndarray:
        """(n, m, g) Z'V_l^-1[Zg Q r], in the columns touched."""
        return self.batch.B - np.matmul(self.E.transpose(0, 2, 1), self.H)

    def subtract_squares(self, S: np.ndarray) -> None:
        """S -= H'H, in the columns touched."""
        S -= self.batch.onto_square(self.H)

    def F_times(self, right: np.ndarray) -> np.ndarray:
        """(n, m, c) F right, right (d, c)."""
        return np.matmul(self.F, self.batch.touched(right))

    def kernel(self, K: np.ndarray) -> np.ndarray:
        """K (d, d) in the columns touched: (n, g, g), or K itself."""
        return K if self.batch.columns is None else np.pad(K, (0, 1)).ravel().take(self.batch.square)

    def level_sums(self, K: np.ndarray) -> list[tuple[Local, np.ndarray]]:
        FK, found = np.matmul(self.F, self.kernel(K)), []
        for local in self.batch.terms:
            rows, shape = local.columns, (-1, local.levels, local.k)
            D = self.D[:, rows, rows].reshape(*shape, local.levels, local.k)
            left, right = FK[:, rows].reshape(*shape, FK.shape[2]), self.F[:, rows].reshape(*shape, FK.shape[2])
            found.append((local, np.einsum("ciaib->ab", D) - np.tensordot(left, right, ((0, 1, 3), (0, 1, 3)))))
        return found

    def _local(self, a: Direction) -> Local:
        return next(local for local in self.batch.terms if local.term == a.term)

    def _times(self, a: Direction, X: np.ndarray) -> np.ndarray:
        """(n, levels * k, c) the rows of a's term of (I x D)X."""
        local = self._local(a)
        rows = X[:, local.columns]
        if local.k == 1:
            return a.D[0, 0] * rows
        return np.matmul(a.D, rows.reshape(len(X), local.levels, local.k, -1)).reshape(rows.shape)

    def add_squares(self, Phi: dict[int, np.ndarray], directions: list[Direction], numbers: list[int]) -> None:
        """Phi[a] += F'D_aF in the columns touched."""
        for a, i in zip(directions, numbers, strict=True):
            Phi[i] += self.batch.onto_square(self.F[:, self._local(a).columns], self._times(a, self.F))

    def add_traces(self, out: np.ndarray, K: np.ndarray, directions: list[Direction], numbers: list[int]) -> None:
        """out[a, b] += <D_a D_c D_b, D_c - 2 F K F'> over the components: all of the trace but the product of both low ranks."""
        V = np.matmul(np.matmul(self.F, self.kernel(K)), self.F.transpose(0, 2, 1))
        less = self.D - 2 * V
        left = [self._times(a, self.D) for a in directions]
        for i, a in enumerate(directions):
            for j, b in enumerate(directions):
                here, there = self._local(a), self._local(b)
                DD = left[i][:, :, there.columns]
                DDD = (DD.reshape(*DD.shape[:2], there.levels, there.k) @ b.D).reshape(DD.shape)
                out[numbers[i], numbers[j]] += np.sum(DDD * less[:, here.columns, there.columns])

    def add_sandwich(
        self,
        second: np.ndarray,
        Y: dict[int, np.ndarray],
        padded: dict[int, np.ndarray],
        directions: list[Direction],
        numbers: list[int],
    ) -> None:
        """second[a, b] += (D_aX)'D_c(D_bX), and Y[a] += F'D_aX."""
        own = {i: padded[i][self.batch.rows] for i in numbers}  # (n, m, c), zero outside a's term
        for j, b in zip(numbers, directions, strict=True):
            there = self._local(b).columns
            DDX = np.matmul(self.D[:, :, there], own[j][:, there])
            for i, a in zip(numbers, directions, strict=True):
                here = self._local(a).columns
                second[i, j] += np.tensordot(own[i][:, here], DDX[:, here], ((0, 1), (0, 1)))
            Y[j] += self.batch.onto_columns(np.matmul(self.F[:, there].transpose(0, 2, 1), own[j][:, there]))

    def root_times(self, x: np.ndarray) -> np.ndarray:
        """(n, m, c) R^-1 T'x."""
        return np.matmul(self.root, self.scaled(x))

    def mode_variances(self, K: np.ndarray) -> np.ndarray:
        """(n, m) diagonal of Henderson's inverse at the local effects, K being that of the global ones."""
        m = self.batch.rows.shape[1]
        X = self.root_times(np.tile(np.eye(m), (len(self.root), 1, 1)))  # R^-1 T'
        HX = np.matmul(self.H.transpose(0, 2, 1), X)  # (n, g, m)
        return np.sum(X**2, axis=1) + np.sum(HX * np.matmul(self.kernel(K), HX), axis=1)
