"""xlift in Python: the same study, gains, fits and reports as on the command line; and the notebook that shows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import xlift
from xlift.registry.findings import UserError

ROOT = Path(__file__).parents[1]
STUDY, KEPT = "tour.yaml", "store"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which the notebook ran, cell by cell, in one namespace: with its study, store and report."""
    folder = tmp_path_factory.mktemp("tour")
    cells = json.loads((ROOT / "experiments" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert source.count("xlift.") >= 6
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLIFT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_tour_ends_with_a_report(place):
    assert "Does the gain" in (place / "reports" / "tour" / "report.html").read_text()
    assert xlift.run(place / STUDY, store=place / KEPT) == {"done": 0, "failed": 0, "skipped": 0}
    assert len(xlift.plan(place / STUDY).steps) == 68


def ran(*arguments: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLIFT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "xlift", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_and_the_command_line_see_the_same_gains(place):
    ours = xlift.gains(place / STUDY, store=place / KEPT, group="fine-tuned")
    ran("gains", STUDY, "--format", "parquet", "--out", "gains.parquet", folder=place)
    theirs = pd.read_parquet(place / "gains.parquet")
    assert len(ours) == 4 * 2 * 3 * 2  # models, treatments, languages without the source's, seeds
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


def test_report_and_fit_give_the_verdict_digit_for_digit(place):
    """The formula that `show` prints, on the gains that are exported, is the report's own headline."""
    shown = subprocess.run([sys.executable, "-m", "xlift", "show", STUDY], cwd=place, capture_output=True, text=True, timeout=300)
    formula = next(
        line.partition("targets: ")[2] for line in shown.stderr.splitlines() if line.startswith("primary model of fine-tuned")
    )
    ran("gains", STUDY, "--group", "fine-tuned", "--format", "csv", "--out", "gains.csv", folder=place)
    fitted = json.loads(ran("fit", "--data", "gains.csv", "--formula", formula, "--slopes", "lp", "--json", folder=place))
    tables = place / "reports" / "tour" / "tables"
    table, slope = pd.read_csv(tables / "slope.csv").iloc[0], fitted["slopes"][0]
    for name in ("estimate", "se", "low", "high"):
        assert f"{table[f'{name}_points']:.10g}" == f"{100 * slope[name]:.10g}"
    assert f"{table['p']:.10g}" == f"{slope['p']:.10g}" and f"{table['df']:.8g}" == f"{slope['df']:.8g}"
    verdict = pd.read_csv(tables / "hypotheses.csv").iloc[0]
    assert f"{verdict['p']:.10g}" == f"{slope['p']:.10g}" and verdict["verdict"] in ("supported", "refuted", "undecided")


def test_an_export_that_is_imported_elsewhere_gives_the_same_gains_and_the_same_fit(place, tmp_path):
    rows = ran("sql", "SELECT * FROM scores JOIN stages ON id = stage", "--format", "csv", folder=place)
    (tmp_path / "scores.csv").write_text(rows)
    (tmp_path / "copy.yaml").write_text("""\
schema: xlift/1
id: copy
question: Does a copy say the same?
data: {source: table, file: scores.csv, origin: own, language: al1}
""")
    axes = ["model", "treatment", "target", "language", "seed"]
    ours, theirs = (
        made.sort_values(axes, ignore_index=True)
        for made in (xlift.gains(place / STUDY, store=place / KEPT), xlift.gains(tmp_path / "copy.yaml", store=tmp_path / KEPT))
    )
    same = [*axes, "family", "params_total", "lp", "target_group", "gain", "baseline", "same_task", "at_chance"]
    pd.testing.assert_frame_equal(ours[same], theirs[same], check_exact=True)
    for run in ("intermediate_run", "treated_run", "baseline_run", "cell"):  # other names, and the same rows share them
        assert (pd.factorize(ours[run])[0] == pd.factorize(theirs[run])[0]).all(), run
    formula = "gain ~ lp * treatment + (1 | language) + (1 | model) + (1 | treated_run) + (1 | baseline_run) + (1 | cell)"
    fits = [xlift.fit(formula, rows[rows["target_group"] == "fine-tuned"]) for rows in (ours, theirs)]
    for name in ("params", "bse", "pvalues"):
        pd.testing.assert_series_equal(getattr(fits[0], name), getattr(fits[1], name), rtol=1e-6)  # sums in another order


def test_a_study_is_registered_once_and_its_report_says_so(place):
    from xlift import studies
    from xlift.analysis.report.notes import registered

    assert "exploratory: 24 evaluations had scores" in ran("register", STUDY, folder=place)
    assert "sha-256" in ran("register", STUDY, folder=place)  # again: what stands
    text = (place / STUDY).read_text()
    store = studies.existing(place / KEPT)
    stands = store.registration("tour")
    (said,) = registered(xlift.plan(place / STUDY).card(), stands)
    assert said.startswith("Exploratory: registered on")
    try:
        assert text.count("direction: negative") == 1
        (place / STUDY).write_text(text.replace("direction: negative", "direction: positive"))
        changed = xlift.plan(place / STUDY)
        with pytest.raises(UserError, match="which stands; it differs in: hypotheses.falls"):
            studies.register(changed.study, store, None)
        assert "Deviation from the registration: hypotheses.falls" in list(registered(changed.card(), stands))[1]
    finally:
        (place / STUDY).write_text(text)


def test_a_fit_in_python_is_named_as_in_statsmodels(place):
    rows = xlift.gains(place / STUDY, store=place / KEPT)
    fit = xlift.fit("gain ~ lp + (1 | treated_run) + (1 | cell)", rows)
    assert list(fit.params.index) == ["Intercept", "lp"] and fit.df_method == "kenward-roger"


def test_mistakes_are_said_in_python_too(place):
    with pytest.raises(UserError, match="no store at"):
        xlift.gains(place / STUDY, store=place / "nowhere")
    with pytest.raises(UserError, match="unknown key 'questoin'"):
        (place / "bad.yaml").write_text((place / STUDY).read_text().replace("question", "questoin"))
        xlift.load(place / "bad.yaml")
