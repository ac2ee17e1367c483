"""Whatever comes in: a place and words, or the right value; never another exception, never another id."""

import ast
import re
import string
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlift.analysis.mixed import formulas, matrices
from xlift.analysis.mixed.expressions import read
from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest import conditions
from xlift.registry.manifest.conditions import BadCondition
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.stage import Data, Recipe, Shape, Stage, Weights

ROOT = Path(__file__).parents[1]
STUDY = (ROOT / "experiments" / "quickstart.yaml").read_text()
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def loaded(text: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        return load(path)


# Manifests


@st.composite
def damaged(draw) -> str:
    """A good manifest with one to three edits of any kind."""
    text = STUDY
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text) - 1))
        stop = min(len(text), start + draw(st.integers(0, 12)))
        other = draw(
            st.one_of(
                st.text(max_size=8),
                st.sampled_from(["{", "}", "[", "]", ":", "- ", "'", "&a ", "*a", "!!python/x ", "\t", "\0", "1e999"]),
            )
        )
        text = text[:start] + other + text[stop:]
    return text


@QUICK
@given(damaged())
def test_a_damaged_manifest_is_a_study_or_findings_with_places(text):
    try:
        study = loaded(text)
    except BadInput as error:
        assert error.findings
        for finding in error.findings:
            assert finding.place.line >= 1 and finding.place.column >= 1 and re.fullmatch(r"[EW]\d{3}", finding.code)
            assert str(finding.place) in str(error) and finding.message
    else:
        assert expand(study, Inputs(study)).cells


# Conditions

NAMES = {"seed": 3, "params_total": 4e8, "params_non_embedding": 2e8}
TEXTS = {"model": "m", "family": "f", "variant": "plain"}
AXES = {"model": frozenset("mn"), "family": frozenset("fg"), "variant": frozenset(["plain", "mlm"])}
NUMBER = st.one_of(st.sampled_from(sorted(NAMES)), st.integers(0, 10**9).map(str), st.sampled_from(["1e9", "2.5", "-1"]))
COMPARED = st.one_of(
    st.tuples(NUMBER, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBER).map(" ".join),
    st.sampled_from(sorted(TEXTS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(["==", "!="]), st.sampled_from(sorted(AXES[name])).map(repr)).map(
            " ".join
        )
    ),
    st.tuples(NUMBER, st.sampled_from(["in", "not in"]), st.lists(st.integers(0, 5), min_size=1, max_size=3).map(str)).map(
        " ".join
    ),
    st.sampled_from(["true", "available('x')"]).map(lambda text: text.replace("true", "1 == 1")),
)
CONDITION = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=5,
)


@QUICK
@given(CONDITION)
def test_a_condition_means_what_python_s_grammar_says(text):
    values = {**NAMES, **TEXTS}
    expected = bool(
        eval(text, {"__builtins__": {}}, {**values, "available": lambda name: True})
    )  # the reference, on texts from here
    if len(text) <= conditions.LONGEST:
        assert conditions.parse(text, AXES)(values, lambda name: True) is expected


@QUICK
@given(st.one_of(st.text(max_size=60), st.text(alphabet=string.printable, max_size=60)))
def test_any_text_is_a_condition_or_is_refused_in_words(text):
    try:
        condition = conditions.parse(text, AXES)
    except BadCondition as error:
        assert str(error) and error.column >= 0
    else:
        assert condition({**NAMES, **TEXTS, "seed.index": 0}, lambda name: False) in (True, False)


# Formulas

LEAF = st.one_of(st.sampled_from(["x", "z", "`a b`"]), st.floats(0.1, 9).map(lambda v: f"{v:.3f}"), st.integers(1, 9).map(str))
ARITHMETIC = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", " * "]), inner).map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"exp(-abs({text}))"),
        inner.map(lambda text: f"log(1 + abs({text}))"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"sqrt(abs({text}))"),
    ),
    max_leaves=6,
)


@QUICK
@given(ARITHMETIC)
def test_arithmetic_in_a_formula_is_numpy_s(text):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.uniform(0.5, 3, 7) for name in ("x", "z", "a b")})
    if not read(text).columns:
        return
    space = {"x": frame["x"], "z": frame["z"], "ab": frame["a b"], "exp": np.exp, "log": np.log, "abs": np.abs, "sqrt": np.sqrt}
    expected = eval(text.replace("`a b`", "ab"), {"__builtins__": {}}, space)  # the reference, on texts from here
    assert matrices.evaluate(text, frame) == pytest.approx(np.asarray(expected, float), rel=1e-9, abs=1e-9)


@QUICK
@given(st.one_of(st.text(max_size=60), st.text(alphabet="xyzg ~+*:/|()`'#-1230^%.,[]{}=<>C", max_size=60)))
def test_any_text_is_a_formula_or_is_refused_in_words(text):
    try:
        found = formulas.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert found.response and all(isinstance(read(expression).tree, ast.expr) for expression in found.expressions)


# Ids

RECIPE = st.builds(
    Recipe,
    lr=st.floats(1e-7, 1),
    batch=st.integers(1, 512),
    epochs=st.floats(0.1, 9),
    dropout=st.floats(0, 0.9),
    max_length=st.integers(1, 512),
)
STAGE = st.builds(
    Stage,
    kind=st.just("train"),
    weights=st.builds(Weights, make=st.builds(Shape, layers=st.integers(1, 9), hidden=st.integers(1, 64), heads=st.just(1))),
    data=st.builds(Data, source=st.just("lab"), kind=st.just("pair"), task=st.text(min_size=1, max_size=5), digest=st.just("d")),
    recipe=RECIPE,
    seed=st.integers(0, 2**40),
)


@QUICK
@given(STAGE, STAGE)
def test_equal_stages_have_one_id_and_others_have_others(one, other):
    assert re.fullmatch("[0-9a-f]{16}", one.id)
    again = Stage.model_validate_json(one.json())
    assert again == one and again.id == one.id and again.entropy(again.data) == one.entropy(one.data)
    assert (one == other) == (one.id == other.id)
    child = one.model_copy(update={"parent": other})
    assert child.id != one.id and Stage.model_validate_json(child.json()).id == child.id
    moved = one.model_copy(update={"seed": one.seed + 1})
    assert moved.id != one.id and moved.entropy(one.data) != one.entropy(one.data)
