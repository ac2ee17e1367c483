"""Formulas come from strangers' manifests: no way in runs code, and none costs more than it may."""

import time

import numpy as np
import pandas as pd
import pytest

from xlift.analysis import meta, mixed
from xlift.analysis.mixed import contrasts
from xlift.analysis.mixed.expressions import MAX_TEXT, read
from xlift.analysis.mixed.formulas import parse, terms_of

RUN = "__import__('pathlib').Path('{}').touch()"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 120
    frame = pd.DataFrame(
        {"x": rng.uniform(1, 2, n), "z": rng.uniform(1, 2, n), "g": np.arange(n) % 10, "a": np.tile(list("pqr"), n // 3)}
    )
    return frame.assign(y=frame["x"] + rng.normal(size=n), v=0.1 + rng.uniform(size=n))


WAYS_IN = [
    "y ~ x + (I(0 and `#` or {} or 1 or `\n` + x) | g)",
    "y ~ I({}) + (1 | g)",
    "y ~ x + I(0 and `#` or {} or `\n` + x)",
    "y ~ `I({})` + x",
    "y ~ x:{{{}}} + (1 | g)",
    "y ~ C(a, {})",
    "y ~ C(a, Treatment({}))",
    "y ~ C(a, levels={})",
    "y ~ poly(x, {})",
    "y ~ poly(x, **{})",
    "y ~ {}(x)",
    "y ~ log(x).__class__.__base__",
    "y ~ (lambda: {})()",
    "y ~ I([{} for i in x])",
    "y ~ I(f'{{{}}}')",
    "I({}) ~ x",
    "y + `\n` + {} ~ x",
    "{} ~ x + (1 | g)",
    "y ~ x + (1 | {})",
    "y ~ x + (1 | `{}`)",
    "y ~ x + (1 + {} || g)",
]


@pytest.mark.parametrize("formula", WAYS_IN)
def test_a_formula_cannot_run_code(rows, tmp_path, formula):
    trap = tmp_path / "ran"
    text = formula.format(RUN.format(trap))
    with pytest.raises(ValueError):
        mixed.fit(text, rows)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["I({})", "{}", "log(x) or {}", "x\n{}", "C(a, {})", "a` + {} + `b"])
def test_a_column_named_like_code_is_a_column(rows, tmp_path, name):
    """As a predictor, in a function, as a group, as the response and as a meta-analysis' effect."""
    trap = tmp_path / "ran"
    odd = name.format(RUN.format(trap))
    if "`" not in odd:
        renamed = rows.rename(columns={"x": odd})
        plain = mixed.fit("y ~ x + log(x) + (1 | g)", rows)
        fit = mixed.fit(f"y ~ `{odd}` + log(`{odd}`) + (1 | g)", renamed)
        assert fit.criterion == pytest.approx(plain.criterion)
        assert mixed.fit(f"`{odd}` ~ z", renamed).nobs == 120
        assert contrasts.slopes(fit, f"`{odd}`").table()["estimate"].iloc[0] == pytest.approx(
            contrasts.slopes(plain, "x").table()["estimate"].iloc[0], rel=1e-6
        )
    found = meta.meta(rows.rename(columns={"y": odd}), odd, "v") if "`" not in odd else None
    assert found is None or np.isfinite(found.estimates["estimate"]).all()
    with pytest.raises(ValueError):
        mixed.fit(f"y ~ {odd}", rows.rename(columns={"x": odd}))
    assert not trap.exists()


def test_constraints_contrasts_and_moderators_cannot_run_code(rows, tmp_path):
    trap = tmp_path / "ran"
    code, fit = RUN.format(trap), mixed.fit("y ~ x + z + (1 | g)", rows)
    for text in (code, f"x = {code}", f"I({code}) = 0", f"`{code}` = 0", f"x + {{{code}}} = 0", "x = 9 ** 9 ** 9", "x = 1e999"):
        for ask in (fit.t_test, fit.f_test):
            with pytest.raises(ValueError):
                ask(text)
    for text in (code, f"I({code})", f"I(x or {code})"):
        with pytest.raises(ValueError):
            contrasts.slopes(fit, text)
        with pytest.raises(ValueError):
            meta.meta(rows, "y", "v", moderators=f"~ {text}")
        with pytest.raises(ValueError):
            meta.meta(rows, "y", "v", random=f"(1 | {text})")
        with pytest.raises(ValueError):
            meta.meta(rows, text, "v")
    assert not trap.exists()


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ I(9 ** 9 ** 9 ** 9 * x)",
        "y ~ I(x ** 9 ** 9 ** 9)",
        "y ~ " + "*".join(f"x{i}" for i in range(40)),
        "y ~ (x + z + a) ** 9999999",
        "y ~ " + "(" * 5000 + "x" + ")" * 5000,
        "y ~ I(" + "+".join(["x"] * 300) + ")",
        "y ~ I(" + "-" * 1500 + "x)",
        "y ~ " + "x" * (MAX_TEXT + 1),
        "y ~ poly(x, 1000000)",
        "y ~ bs(x, df=1000000)",
        "y ~ " + "(x + " * 40 + "z" + ")" * 40,
        "I(" + "9 ** " * 100 + "y) ~ x",
    ],
)
def test_what_a_formula_may_cost_is_bounded(rows, formula):
    start = time.process_time()
    with pytest.raises(ValueError):
        mixed.fit(formula, rows)
    assert time.process_time() - start < 5  # unbounded, any of these takes hours or all memory


def test_a_fixed_part_too_large_for_memory_is_refused_before_it_is_made():
    wide = pd.DataFrame({name: [f"{name}{i}" for i in range(20_000)] for name in "ab"}).assign(y=range(20_000))
    with pytest.raises(ValueError, match="columns on 20,000 different rows"):
        mixed.fit("y ~ a * b", wide)


def test_the_response_is_one_expression(rows):
    direct = mixed.fit("d ~ x + (1 | g)", rows.assign(d=rows["y"] - rows["z"]))
    fit = mixed.fit("y - z ~ x + (1 | g)", rows)
    assert fit.params.to_numpy() == pytest.approx(direct.params.to_numpy()) and fit.criterion == pytest.approx(direct.criterion)
    both = rows.assign(s=rows["y"] + rows["z"], q=rows["y"] / rows["z"], p=rows["y"] ** 2, m=-rows["y"], t=2 * rows["y"])
    for text, column in (("y + z", "s"), ("y / z", "q"), ("y ** 2", "p"), ("-y", "m"), ("2 * y", "t"), ("I(y)", "y")):
        assert mixed.fit(f"{text} ~ x", both).params.to_numpy() == pytest.approx(
            mixed.fit(f"{column} ~ x", both).params.to_numpy()
        )
    assert mixed.fit("log(x) - log(z) ~ a", both).params.to_numpy() == pytest.approx(
        mixed.fit("w ~ a", both.assign(w=np.log(both["x"] / both["z"]))).params.to_numpy()
    )
    for text in ("C(y)", "C(a)", "y, z", "poly(y, 2)", "a", "a + y", "3"):
        with pytest.raises(ValueError):
            mixed.fit(f"{text} ~ x", rows)


def test_columns_of_any_name_stand_in_backticks(rows, tmp_path):
    odd = rows.rename(columns={"x": "a-b", "y": "Sepal.Width", "g": "the | (group", "z": "Sum", "a": "u:v"}).assign(w=rows["z"])
    text = "Sepal.Width ~ `a-b` + log(Sum) + `u:v` : w + (1 + `a-b` || `the | (group`)"
    fit = mixed.fit(text, odd)
    plain = mixed.fit("y ~ x + log(z) + a : z + (1 + x || g)", rows)
    assert fit.criterion == pytest.approx(plain.criterion)
    assert list(fit.params.index) == ["Intercept", "`a-b`", "log(Sum)", "`u:v`[p]:w", "`u:v`[q]:w", "`u:v`[r]:w"] or len(
        set(fit.params.index)
    ) == len(fit.params)
    assert float(fit.t_test("`a-b` = 0").pvalue.item()) == pytest.approx(fit.pvalues["`a-b`"])
    odd.to_parquet(tmp_path / "odd.parquet")
    assert mixed.fit(text, tmp_path / "odd.parquet").criterion == pytest.approx(plain.criterion)
    products = rows.assign(**{"u:v": rows["x"], "w": rows["z"], "u": rows["x"] ** 2, "v:w": rows["z"] ** 2})
    names = list(mixed.fit("y ~ `u:v`:w + u:`v:w`", products).params.index)
    assert len(set(names)) == 3


def test_levels_that_the_fit_has_not_seen_are_refused(rows):
    fit = mixed.fit("y ~ a + C(g) + x", rows)
    new = rows.head(3)
    assert np.isfinite(fit.predict(new)).all()
    with pytest.raises(ValueError, match="'a' has levels that the fit has not seen: new"):
        fit.predict(new.assign(a="new"))
    with pytest.raises(ValueError, match=r"'C\(g\)' has levels that the fit has not seen: 77"):
        fit.predict(new.assign(g=77))
    with pytest.raises(ValueError, match="lacks q, r"):
        mixed.fit("y ~ C(a, levels=['p', 'o'])", rows)
    with pytest.raises(ValueError, match="no column 'x'"):
        fit.predict(new.drop(columns="x"))


def test_functions_remember_the_rows_that_they_were_fitted_on(rows):
    fit = mixed.fit("y ~ center(x) + bs(z, df=4) + poly(v, 2)", rows)
    assert fit.predict(rows.tail(5)).to_numpy() == pytest.approx(fit.predict(rows).tail(5).to_numpy())
    exp = mixed.fit("y ~ exp10(x)", rows)
    assert exp.predict(rows).to_numpy() == pytest.approx(
        mixed.fit("y ~ e", rows.assign(e=10.0 ** rows["x"])).predict(rows.assign(e=10.0 ** rows["x"]))
    )


def test_the_algebra_of_terms_is_formulaic_s():
    import formulaic

    for part in ("a * b", "a / b", "(a + b + c) ** 2", "0 + a:b", "a - 1", "a * b * c - a:b:c", "a %in% b", "2:a + b"):
        assert [str(term) for term in terms_of(part)] == [str(term) for term in formulaic.Formula(part)], part


def test_dotted_names_are_columns_and_calls_are_read():
    assert read("log(Sepal.Width + `a b`)").columns == ("Sepal.Width", "a b")
    assert parse("y ~ C(a, Sum) + Diff + (1 | a)").keys == ("a", "Diff")
