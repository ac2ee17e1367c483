"""Inputs that once got a false answer, and the right ones: tests/reference/cases."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from xlift import cli, studies
from xlift.analysis import mixed
from xlift.registry.findings import UserError
from xlift.registry.store import Store

CASES = Path(__file__).parent / "reference" / "cases"
ANSWERS = YAML(typ="safe").load((CASES / "answers.yaml").read_text(encoding="utf-8"))
STUDIES = [answer for answer in ANSWERS if "study" in answer]
METAS = [answer for answer in ANSWERS if "meta" in answer]
SHOWN = 0.0051  # points: answers have two digits


def reported(answer: dict, folder: Path):
    """A study's report, after each of the tables that were imported under one name."""
    shutil.copytree(CASES, folder, dirs_exist_ok=True)
    path, store = folder / f"{answer['study']}.yaml", folder / "store"
    for number in range(max(map(len, answer.get("tables", {}).values()), default=1)):
        for name, tables in answer.get("tables", {}).items():
            shutil.copy(folder / tables[number], folder / name)
        read = studies.read(studies.opened(path), store, None)
    return studies.report_of(read.card, Store(store))


@pytest.mark.parametrize("answer", STUDIES, ids=lambda answer: answer["study"])
def test_a_study_says_what_is_right(answer, tmp_path):
    report = reported(answer, tmp_path)
    page = report.html()
    for text in answer.get("says", ()):
        assert text in page, text
    for text in answer.get("not", ()):
        assert text not in page, text
    verdicts = {row["name"]: row["verdict"] for row in rows(report, "hypotheses")}
    assert answer.get("verdicts", {}).items() <= verdicts.items()
    if "none" in answer:
        assert answer["none"] in page and "slope" not in report.tables
    if "slope" in answer:
        first = rows(report, "slope")[0]
        found = [first[f"{name}_points"] for name in ("estimate", "low", "high")]
        assert found == pytest.approx(answer["slope"], abs=SHOWN) and first["models"] == answer["models"]
    if "refused" in answer:
        assert all(answer["refused"] in row["refused"] and pd.isna(row["estimate_points"]) for row in rows(report, "slope"))
    if "two_stage_p" in answer:
        assert all(pd.isna(row["two_stage_p"]) for row in rows(report, "slope"))
    if "curve" in answer:
        found = {row["term"]: row for row in rows(report, "curve")}
        if answer["curve"] is None:
            assert "lp" not in found and "Intercept" in found
        else:
            assert [found["lp"][f"{name}_points"] for name in ("estimate", "low", "high")] == pytest.approx(
                answer["curve"], abs=SHOWN
            )
            assert found["lp"]["p"] == pytest.approx(answer.get("p", found["lp"]["p"]), rel=2e-3)


def rows(report, name: str) -> list[dict]:
    return report.tables[name].data.to_dict("records") if name in report.tables else []


@pytest.mark.parametrize("answer", METAS, ids=lambda answer: " ".join(map(str, answer.values()))[:60])
def test_a_meta_analysis_says_what_is_right(answer):
    options = ["--data", str(CASES / f"{answer['meta']}.csv"), "--effect", "yi", "--variance", "vi", "--json"]
    for name in ("random", "df"):
        options += [f"--{name}", answer[name]] if name in answer else []
    options += ["--knapp-hartung"] if answer.get("knapp_hartung") else []
    if "error" in answer:
        with pytest.raises(UserError, match=answer["error"]):
            CliRunner().invoke(cli.app, ["meta", *options], catch_exceptions=False)
        return
    done = CliRunner().invoke(cli.app, ["meta", *options], catch_exceptions=False)
    found = json.loads(done.stdout)
    (mean,) = found["estimates"]
    numbers = [np.inf if mean[name] is None else mean[name] for name in ("estimate", "se", "df", "p")]
    said = " ".join(found["warnings"])
    assert all(text in said for text in answer.get("warns", ())), said
    assert not any(text in said for text in answer.get("not", ())), said
    if "as_fit" in answer:
        data = pd.read_csv(CASES / f"{answer['meta']}.csv")
        fit = mixed.fit(answer["as_fit"], data, variances="vi", df=answer["df"]).effects.iloc[0]
        answer["mean"] = [fit["estimate"], fit["se"], fit["df"], fit["p"]]
    assert numbers == pytest.approx(answer["mean"], rel=1e-5)
