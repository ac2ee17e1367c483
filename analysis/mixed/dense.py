"""The state of a model from one dense matrix of all random effects: for small models, residual groups, and as the reference.

H^-1 and P are both O = D^-1 - D^-1 B K B'D^-1, with B = Z and K = L (L'Z'D^-1ZL + I)^-1 L' for H^-1, and with B = [Z Q] and
Henderson's inverse for P. Nothing here has a side of length n.
"""

from functools import cached_property

import numpy as np
from scipy import linalg

from xlift.analysis.mixed.crossproducts import Dense
from xlift.analysis.mixed.state import Direction, State


class DenseState(State):
    """Columns of [Z Q r], in this order."""

    def _factor(self) -> None:
        model = self.model
        assert isinstance(model.cross, Dense)
        self.cross = model.cross
        self.N = np.tensordot(1 / self.delta, self.cross.N, 1) if model.G > 1 else self.cross.N[0]
        q, s = model.q, model.q + model.p
        M = self.times_factor(np.ascontiguousarray(self.times_factor(self.N).T))
        M[np.arange(q), np.arange(q)] += 1.0
        self.L = linalg.cholesky(M[:s, :s], lower=True, check_finite=False)  # of [L'Z'D^-1ZL + I, …; …, Q'D^-1Q]
        self.half = linalg.solve_triangular(self.L, M[:s, -1], lower=True, check_finite=False)
        self.rss = float(self.N[-1, -1] - self.half @ self.half)
        self.logdet = 2 * float(np.log(np.diag(self.L)[:q]).sum())
        self.R, self.c = self.L[q:, q:], self.half[q:]

    def times_factor(self, M: np.ndarray) -> np.ndarray:
        """blockdiag(L', I) M: rows of Z's columns times the factors, the others as they are."""
        out = M.copy()
        for term, rows, T in zip(self.model.terms, self.model.slices, self.T, strict=True):
            blocks = M[rows].reshape(len(term.levels), term.k, -1)
            out[rows] = (T[0, 0] * blocks if term.k == 1 else np.matmul(T.T, blocks)).reshape(M[rows].shape)
        return out

    @cached_property
    def J(self) -> np.ndarray:
        """(s, s) L^-1 blockdiag(L', I): J'J is Henderson's inverse, the basis of every projection."""
        return linalg.solve_triangular(self.L, self.times_factor(np.eye(len(self.L))), lower=True, check_finite=False)

    @cached_property
    def B(self) -> np.ndarray:
        """(s, s) J [Z Q]'D^-1[Z Q]; its last p rows carry what estimating beta takes away."""
        s = len(self.L)
        return linalg.solve_triangular(self.L, self.times_factor(self.N[:s, :s]), lower=True, check_finite=False)

    @cached_property
    def ZHQ(self) -> np.ndarray:
        q = self.model.q
        return self.N[:q, q:-1] - self.B[:q, :q].T @ self.B[:q, q:]

    @cached_property
    def ZHZ(self) -> np.ndarray:
        """(q, q) Z'H^-1Z."""
        q = self.model.q
        return self.N[:q, :q] - self.B[:q, :q].T @ self.B[:q, :q]

    @cached_property
    def ZPZ(self) -> np.ndarray:
        """(q, q) Z'PZ."""
        q = self.model.q
        return self.N[:q, :q] - self.B[:, :q].T @ self.B[:, :q]

    @cached_property
    def ZPy(self) -> np.ndarray:
        q = self.model.q
        return self.N[:q, -1] - self.B[:, :q].T @ self.half

    @cached_property
    def rho(self) -> np.ndarray:
        """(d,) Py = D^-1 [Z Q r] rho: the conditional residual's coefficients."""
        return np.append(-self.J.T @ self.half, 1.0)

    def level_sums(self, *, projected: bool) -> list[np.ndarray]:
        return [self._level_sum(t, self.ZPZ if projected else self.ZHZ) for t in range(len(self.T))]

    def _level_sum(self, t: int, M: np.ndarray) -> np.ndarray:
        """(k, k) sum over the levels of term t of the diagonal blocks of M (q, q)."""
        term, rows = self.model.terms[t], self.model.slices[t]
        return np.einsum("iaib->ab", M[rows, rows].reshape(len(term.levels), term.k, len(term.levels), term.k))

    def _residual_slope(self, g: int) -> float:
        N, J = self.cross.N[g], self.J if self.model.reml else self.J[: self.model.q]
        s = len(self.L)
        trace = self.model.cross.counts[g] / self.delta[g] - np.sum(J @ N[:s, :s] * J) / self.delta[g] ** 2
        return float(trace - self.rho @ N @ self.rho / self.delta[g] ** 2 / self.sigma2)

    def traces(self, directions: list[Direction], *, projected: bool) -> np.ndarray:
        m, q, size = len(directions), self.model.q, len(self.L) if projected else self.model.q
        ZOZ, K = self.ZPZ if projected else self.ZHZ, self.J[:size, :size].T @ self.J[:size, :size]
        OZ = np.eye(size, q) - K @ self.N[:size, :q]  # (size, q): O Z = D^-1 B OZ
        rows = [self.model.slices[d.term] if d.stratum is None else None for d in directions]
        DS = [self.times(d, ZOZ) if d.stratum is None else None for d in directions]
        strata = {d.stratum: self.cross.N[d.stratum, :size, :size] for d in directions if d.stratum is not None}
        inner = {g: OZ.T @ N @ OZ / self.delta[g] ** 2 for g, N in strata.items()}  # Z'O W^-1 O Z over a group's rows
        KN = {g: K @ N / self.delta[g] ** 2 for g, N in strata.items()}
        out = np.empty((m, m))
        for i, a in enumerate(directions):
            for j, b in enumerate(directions[: i + 1]):
                if a.stratum is None and b.stratum is None:
                    value = np.sum(DS[i][:, rows[j]] * DS[j][:, rows[i]].T)
                elif a.stratum is None or b.stratum is None:
                    random, other = (a, b) if a.stratum is None else (b, a)
                    value = np.sum(self._level_sum(random.term, inner[other.stratum]) * random.D)
                else:
                    value = np.sum(KN[a.stratum] * KN[b.stratum].T)
                    if a.stratum == b.stratum:
                        delta = self.delta[a.stratum]
                        value += self.model.cross.counts[a.stratum] / delta**2 - 2 * np.trace(KN[a.stratum]) / delta
                out[i, j] = out[j, i] = value
        return out

    def quadratics(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        model, s, v = self.model, len(self.L), self.ZPy[:, None]
        first, along = [], []  # `along` is [Z Q]'-coordinates: H_a P y = Z (…) for random terms, W^-1 D^-1 e for residuals
        for a in directions:
            if a.stratum is None:
                Dv = self.times(a, v)[:, 0]
                first.append(v[model.slices[a.term], 0] @ Dv)
                along.append(Dv)
            else:
                Ne = self.cross.N[a.stratum] @ self.rho / self.delta[a.stratum] ** 2
                first.append(self.rho @ Ne)
                along.append(Ne[:s])
        second, m = np.empty((len(directions),) * 2), len(directions)
        BP = self.J.T @ self.J if model.G > 1 else None  # Henderson's inverse
        for i in range(m):
            for j in range(i + 1):
                a, b = directions[i], directions[j]
                if a.stratum is None and b.stratum is None:
                    value = along[i] @ self.ZPZ[model.slices[a.term], model.slices[b.term]] @ along[j]
                elif a.stratum is not None and b.stratum is not None:
                    value = -along[i] @ BP @ along[j]
                    if a.stratum == b.stratum:
                        value += first[i] / self.delta[a.stratum]
                else:
                    (random, left), (_, right) = (
                        ((a, along[i]), (b, along[j])) if a.stratum is None else ((b, along[j]), (a, along[i]))
                    )
                    rows = model.slices[random.term]
                    value = left @ (right[rows] - self.N[:s, rows].T @ (BP @ right))
                second[i, j] = second[j, i] = value
        return np.array(first), second

    def forms(self, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
        model, a, q = self.model, directions, self.model.q
        K = self.J[:q, :q].T @ self.J[:q, :q]
        first, second = np.array([self.first_form(d) for d in a]), np.empty((len(a), len(a), model.p, model.p))
        DU = [self.times(d, self.ZHQ) if d.stratum is None else None for d in a]
        WU = {d.stratum: self._WHQ(d.stratum) for d in a if d.stratum is not None}
        for i in range(len(a)):
            for j in range(len(a)):
                if a[i].stratum is None and a[j].stratum is None:
                    second[i, j] = DU[i].T @ self.ZHZ[model.slices[a[i].term], model.slices[a[j].term]] @ DU[j]
                elif a[i].stratum is not None and a[j].stratum is not None:
                    second[i, j] = -WU[a[i].stratum][:q].T @ K @ WU[a[j].stratum][:q]
                    if a[i].stratum == a[j].stratum:
                        second[i, j] += first[i] / self.delta[a[i].stratum]
                else:
                    random, stratum = (i, a[j].stratum) if a[i].stratum is None else (j, a[i].stratum)
                    columns = model.slices[a[random].term]
                    ZHW = WU[stratum][columns] - self.N[:q, columns].T @ (K @ WU[stratum][:q])  # Z'H^-1 W^-1 H^-1 Q
                    second[i, j] = DU[random].T @ ZHW if random == i else ZHW.T @ DU[random]
        return first, second

    def first_form(self, a: Direction) -> np.ndarray:
        if a.stratum is None:
            return self.ZHQ[self.model.slices[a.term]].T @ self.times(a, self.ZHQ)
        return self._HQ.T @ self._WHQ(a.stratum)

    @cached_property
    def _HQ(self) -> np.ndarray:
        """(s, p): H^-1 Q = D^-1 [Z Q] HQ."""
        q = self.model.q
        K = self.J[:q, :q].T @ self.J[:q, :q]
        return np.concatenate([-K @ self.N[:q, q:-1], np.eye(self.model.p)])

    def _WHQ(self, g: int) -> np.ndarray:
        """(s, p) [Z Q]'D^-1 W^-1 H^-1 Q over residual group g."""
        return self.cross.N[g, : len(self.L), : len(self.L)] @ self._HQ / self.delta[g] ** 2

    def spread(self, A: np.ndarray) -> np.ndarray:
        return np.sum((self.J @ A) ** 2, axis=0)

    def mode_variances(self) -> np.ndarray:
        q = self.model.q
        return np.einsum("ij,ij->j", self.J[:q, :q], self.J[:q, :q])
