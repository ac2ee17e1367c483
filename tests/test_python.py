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
STUDY = """
schema: xlift/1
id: python
question: Does Python see what the command line sees?
data: {source: lab, world: {languages: [al1, al2, bo1], train_items: 60, test_items: 30, sentences: 120}}
models:
  - {id: m0, make: {layers: 1, hidden: 16, heads: 2}}
  - {id: m1, make: {layers: 1, hidden: 24, heads: 2}}
  - {id: m2, make: {layers: 1, hidden: 32, heads: 2}}
  - {id: m3, make: {layers: 1, hidden: 48, heads: 2}}
pretrain: {recipe: {steps: 4, batch: 8, max_length: 24}}
recipe: {lr: 1e-3, batch: 8, steps: 4, max_length: 32}
matrix: {intermediate: [none, lab-paraphrase, lab-span], target: [lab-pos], seed: {count: 1, from: 1}}
hypotheses:
  falls: {contrast: slope, direction: negative}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a study that ran."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "study.yaml").write_text(STUDY)
    outcome = xlift.run(folder / "study.yaml", store=folder / "store", workers=1)
    assert outcome["failed"] == outcome["skipped"] == 0 and outcome["done"] == len(xlift.plan(folder / "study.yaml").steps)
    return folder


def ran(*arguments: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLIFT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "xlift", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_and_the_command_line_see_the_same_gains(place):
    ours = xlift.gains(place / "study.yaml", store=place / "store", group="fine-tuned")
    ran("gains", "study.yaml", "--format", "parquet", "--out", "gains.parquet", folder=place)
    theirs = pd.read_parquet(place / "gains.parquet")
    assert len(ours) == 4 * 2 * 2
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


def test_report_and_fit_give_the_verdict_digit_for_digit(place):
    """The formula that `show` prints, on the gains that are exported, is the report's own headline."""
    page = xlift.report(place / "study.yaml", place / "report", store=place / "store")
    formula = next(
        line.partition("targets: ")[2]
        for line in subprocess.run(
            [sys.executable, "-m", "xlift", "show", "study.yaml"], cwd=place, capture_output=True, text=True, timeout=300
        ).stderr.splitlines()
        if line.startswith("primary model of fine-tuned")
    )
    ran("gains", "study.yaml", "--group", "fine-tuned", "--format", "csv", "--out", "gains.csv", folder=place)
    fitted = json.loads(ran("fit", "--data", "gains.csv", "--formula", formula, "--slopes", "lp", "--json", folder=place))
    table = pd.read_csv(page.parent / "tables" / "slope.csv").iloc[0]
    slope = fitted["slopes"][0]
    for name in ("estimate", "se", "low", "high"):
        assert f"{table[f'{name}_points']:.10g}" == f"{100 * slope[name]:.10g}"
    assert f"{table['p']:.10g}" == f"{slope['p']:.10g}" and f"{table['df']:.8g}" == f"{slope['df']:.8g}"
    verdicts = pd.read_csv(page.parent / "tables" / "hypotheses.csv").iloc[0]
    assert f"{verdicts['p']:.10g}" == f"{slope['p']:.10g}" and verdicts["verdict"] in ("supported", "refuted", "undecided")


def test_a_study_is_registered_once_and_its_report_says_so(place):
    assert "exploratory: 12 evaluations had scores" in ran("register", "study.yaml", folder=place)
    assert "sha-256" in ran("register", "study.yaml", folder=place)  # again: what stands
    page = xlift.report(place / "study.yaml", place / "report", store=place / "store").read_text()
    assert "Exploratory: registered on" in page and "Deviation from" not in page
    (place / "study.yaml").write_text(STUDY.replace("negative", "positive"))
    try:
        with pytest.raises(UserError, match="which stands; it differs in: hypotheses.falls"):
            from xlift import studies

            studies.register(xlift.plan(place / "study.yaml"), studies.existing(place / "store"))
        assert (
            "Deviation from the registration: hypotheses.falls"
            in xlift.report(place / "study.yaml", place / "report", store=place / "store").read_text()
        )
    finally:
        (place / "study.yaml").write_text(STUDY)


def test_a_fit_in_python_is_named_as_in_statsmodels(place):
    rows = xlift.gains(place / "study.yaml", store=place / "store")
    fit = xlift.fit("gain ~ lp + (1 | treated_run) + (1 | cell)", rows)
    assert list(fit.params.index) == ["Intercept", "lp"] and fit.df_method == "kenward-roger"


def test_mistakes_are_said_in_python_too(place):
    with pytest.raises(UserError, match="no store at"):
        xlift.gains(place / "study.yaml", store=place / "nowhere")
    with pytest.raises(UserError, match="unknown key 'questoin'"):
        (place / "bad.yaml").write_text(STUDY.replace("question", "questoin"))
        xlift.load(place / "bad.yaml")


def test_the_tour_runs(tmp_path):
    """Every cell of the notebook, in its order, in one namespace."""
    cells = json.loads((ROOT / "experiments" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert source.count("xlift.") >= 6
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "tour" / "report.html").is_file()
