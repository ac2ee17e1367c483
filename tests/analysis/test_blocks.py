"""Local effects eliminated component by component: the same numbers as one dense matrix gives, in every question to a fit."""

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import mixed
from xlift.analysis.mixed import blocks, bootstrap, contrasts, formulas, matrices, model, prediction, profile
from xlift.analysis.mixed.assemble import cross_products
from xlift.analysis.mixed.blocks import Blocked
from xlift.analysis.mixed.crossproducts import Cells, Dense
from xlift.analysis.mixed.inference import KenwardRoger, Satterthwaite
from xlift.analysis.mixed.likelihood import Likelihood

from .registries import study

FORMULAS = {
    "primary": "gain ~ lp * treatment + (1 + lp | language) + (1 | target) + (1 | model) + (1 | treated_run) + (1 | baseline_run) + (1 | cell)",
    "slopes in components": "gain ~ lp * treatment + (1 + lp | treated_run) + (1 | language) + (1 | cell)",
    "one local factor": "gain ~ lp + (1 | cell)",
}


@pytest.fixture(params=["narrow", "wide"])
def form(request, monkeypatch):
    """Components that gather what they touch, or that touch everything."""
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.setattr(blocks, "CALL", 0.0 if request.param == "narrow" else 1e9)
    return request.param


def both(formula: str, rows: pd.DataFrame, weights: np.ndarray | None = None) -> tuple[Dense, Blocked]:
    design = matrices.build(formulas.parse(formula), rows)
    cells = Cells.of_rows(rows["gain"].to_numpy(), weights)
    dense, blocked = cross_products(design, cells, dense=True), cross_products(design, cells)
    assert isinstance(dense, Dense) and isinstance(blocked, Blocked)
    return dense, blocked


def close(a, b, tolerance: float = 1e-9) -> None:
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-3)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
@pytest.mark.parametrize("lost", [0.0, 0.2])
@pytest.mark.parametrize("reml", [True, False])
def test_every_piece_of_a_state_is_that_of_the_dense_matrix(form, formula, lost, reml):
    rows = study(models=4, treatments=3, targets=2, languages=5, seeds=2, lost=lost)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(rows))
    dense, blocked = both(formula, rows, weights)
    if formula == FORMULAS["primary"]:
        assert any(batch.columns is not None for batch in blocked.batches) == (form == "narrow")
    a, b = (Likelihood(cross, reml=reml) for cross in (dense, blocked))
    point = np.where(a.diagonal, 0.7, 0.2) * np.random.default_rng(2).uniform(0.5, 1.5, a.r)
    a, b = a.at(point), b.at(point)
    close(b.criterion, a.criterion)
    for name in ("gradient", "ZPy", "ZHQ", "gamma", "C", "sigma2"):
        close(getattr(b, name), getattr(a, name))
    close(b.hessian, a.hessian)
    close(b.mode_variances(), a.mode_variances())
    v = np.random.default_rng(3).normal(size=(dense.q + dense.p, 3))
    close(b.spread(v), a.spread(v))
    close(Satterthwaite(b).jacobian, Satterthwaite(a).jacobian)
    if reml:
        close(KenwardRoger(b).cov, KenwardRoger(a).cov)
        close(KenwardRoger(b).W, KenwardRoger(a).W, 1e-8)


def test_known_variances_have_no_residual_component(form):
    rows = study(models=4, treatments=3, targets=2, languages=5, seeds=2)
    dense, blocked = both(FORMULAS["primary"], rows, np.full(len(rows), 4.0))
    a, b = (KenwardRoger(Likelihood(cross, known=True).at(np.full(9, 0.6))) for cross in (dense, blocked))
    close(b.cov, a.cov)


def test_blocks_can_be_joined_to_the_dense_matrix(form):
    dense, blocked = both(FORMULAS["primary"], study(models=4, treatments=3, targets=2, languages=5, seeds=2, lost=0.2))
    close(blocked.as_dense().N, dense.N)


def test_every_question_to_a_fit_has_the_dense_answer(form):
    rows = study(models=5, treatments=3, targets=2, languages=4, seeds=2, lost=0.1)
    fit = mixed.fit(FORMULAS["primary"], rows)
    assert isinstance(fit.cross, Blocked)
    other = model.refit(fit, fit.cross.as_dense())
    close(fit.criterion, other.criterion, 1e-11)
    close(fit.effects[["estimate", "se", "df"]], other.effects[["estimate", "se", "df"]], 1e-6)
    close(fit.random_effects[["mode", "sd"]], other.random_effects[["mode", "sd"]], 1e-5)
    close(contrasts.means(fit, "treatment").table()["df"], contrasts.means(other, "treatment").table()["df"], 1e-6)
    new = pd.DataFrame({"lp": [0.1, 0.9], "treatment": ["i1", "i2"], "model": ["m1", "new"], "language": ["l0", "l1"]})
    close(prediction.predict(fit, new)[["estimate", "se", "df"]], prediction.predict(other, new)[["estimate", "se", "df"]], 1e-5)
    names = ["sd (Intercept | treated_run)", "lp"]
    close(profile.profile(fit, names)[["low", "high"]], profile.profile(other, names)[["low", "high"]], 1e-5)


def test_samples_of_blocks_have_the_moments_of_the_model(form):
    """Means and squares of Z'y over samples, against what the model says of them, and the same refits as rows give."""
    rows = study(models=4, treatments=2, targets=2, languages=3, seeds=1, lost=0.1)
    _, blocked = both(FORMULAS["primary"], rows)
    draw, rng = blocked.simulator(), np.random.default_rng(5)
    effect = rng.normal(size=blocked.q + blocked.p)
    samples = np.array([draw(effect, np.array([0.5]), rng).as_dense().N[0, :, -1] for _ in range(4000)])
    N = blocked.as_dense().N[0]
    mean, sd = N[:-1, :-1] @ effect, 0.5 * np.sqrt(np.diag(N)[:-1])
    assert (np.abs(samples[:, :-1].mean(0) - mean) < 5 * sd / np.sqrt(4000) + 1e-9).all()
    assert np.abs(samples[:, :-1].std(0) / sd - 1).max() < 0.08
    whole = effect @ N[:-1, :-1] @ effect + 0.25 * len(rows)
    assert samples[:, -1].mean() == pytest.approx(whole, rel=0.02)


def test_a_bootstrap_of_blocks_covers_what_was_fitted(form):
    fit = mixed.fit(FORMULAS["primary"], study(models=5, treatments=2, targets=2, languages=3, seeds=2))
    made = bootstrap.bootstrap(fit, lambda one: one.params, 60, np.random.default_rng(3))
    spread = (made["lp"].std(), float(np.sqrt(fit.model_cov.loc["lp", "lp"])))
    assert abs(made["lp"].mean() - fit.params["lp"]) < 4 * spread[1] / np.sqrt(60) and 0.6 < spread[0] / spread[1] < 1.5


def test_small_models_stay_dense():
    fit = mixed.fit("gain ~ lp + (1 | model)", study(models=5, treatments=2, targets=2, languages=3, seeds=1))
    assert isinstance(fit.cross, Dense)


def test_the_split_leaves_what_hangs_together_to_one_matrix():
    """Cells and runs hang together in one (model, target, seed); languages and models touch everything."""
    rows = study(models=4, treatments=4, targets=3, languages=8, seeds=2)
    _, blocked = both(FORMULAS["primary"], rows)
    names = [blocked.terms[t].name for t in blocked.wide]
    assert names == ["language", "target", "model"]
    assert sum(len(batch.A) for batch in blocked.batches) == 4 * 3 * 2
