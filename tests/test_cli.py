"""The verbs as a user runs them, on a small study in the lab."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from editable import Editable
from running import xlift

ROOT = Path(__file__).parents[1]
SMALL = Editable("""\
schema: xlift/1
id: small
question: Does it run?
data: {source: lab, world: {test_items: 60, train_items: 200, sentences: 300}}
models:
  - {id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}
  - {id: two, make: {layers: 1, hidden: 32, heads: 2, vocabulary: 400}}
pretrain: {recipe: {lr: 3e-3, steps: 30, max_length: 48}}
recipe: {lr: 1e-3, steps: 20, max_length: 48}
matrix:
  intermediate: [none, lab-paraphrase]
  target: [lab-entail, lab-pairs]
  seed: {count: 1, from: 1}
""")


SCORES = "SELECT model, intermediate, target, language, seed, metric, score, items, chance, se FROM scores ORDER BY ALL"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a study that ran to its end."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(SMALL)
    xlift("run", "small.yaml", "--workers", 2, folder=folder)
    return folder


def test_a_study_runs_to_scores_and_gains(finished):
    scores = json.loads(xlift("sql", "SELECT * FROM scores", "--format", "json", folder=finished).stdout)
    # per model and intermediate: entailment in 4 languages, retrieval in 3
    assert len(scores) == 2 * 2 * (4 + 3) and all(0 <= row["score"] <= 1 and row["items"] == 60 for row in scores)
    gains = json.loads(xlift("sql", "SELECT * FROM gains", "--format", "json", folder=finished).stdout)
    assert len(gains) == 2 * (3 + 3)
    byname = {(r["model"], r["intermediate"], r["target"], r["language"]): r["score"] for r in scores}
    for gain in gains:
        treated, baseline = (
            byname[gain["model"], name, gain["target"], gain["language"]] for name in (gain["intermediate"], "none")
        )
        assert gain["gain"] == pytest.approx(treated - baseline, abs=1e-12)


def test_the_stages_that_ran_are_the_distinct_stages_of_the_plan(finished):
    stages = json.loads(xlift("plan", "small.yaml", "--json", folder=finished).stdout)["stages"]
    assert {stage["state"] for stage in stages} == {"finished"}
    ids = [stage["id"] for stage in stages]
    assert len(set(ids)) == len(ids) == len(list((finished / "store" / "runs").iterdir()))
    assert set(stages[0]) >= {"id", "kind", "model", "task", "seed", "parent", "state"}


def test_the_same_command_again_trains_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "store" / "runs").rglob("record.json")}
    start = time.monotonic()
    assert "0 to run" in xlift("run", "small.yaml", folder=finished).stderr
    assert time.monotonic() - start < 60
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "store" / "runs").rglob("record.json")}


def test_without_mlflow_nothing_of_it_is_there(finished):
    assert not list(finished.rglob("mlflow*")) and not list(finished.rglob("mlruns"))


def test_a_report_has_tables_figures_and_one_page(finished):
    said = xlift("report", "small.yaml", folder=finished).stdout
    page = finished / re.search(r"report: (.+report\.html)", said)[1]
    assert "slope" in page.read_text(encoding="utf-8").lower()
    endings = {path.suffix for path in page.parent.rglob("*") if path.is_file()}
    assert endings >= {".html", ".md", ".tex", ".csv", ".svg"}


def test_a_language_more_computes_that_part_alone(finished, tmp_path):
    small = SMALL.replace("data:", "languages: [al1, al2]\ndata:")
    (tmp_path / "small.yaml").write_text(small)
    one = ("--workers", 1, "--only", "model == 'one' and intermediate == 'none'")
    xlift("run", "small.yaml", *one, folder=tmp_path)
    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    (tmp_path / "small.yaml").write_text(SMALL)
    xlift("run", "small.yaml", *one, folder=tmp_path)
    assert checkpoints and checkpoints == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    scores = SCORES.replace("FROM scores", "FROM scores WHERE model = 'one' AND intermediate = 'none'")
    assert scores != SCORES
    assert (
        xlift("sql", scores, "--format", "csv", folder=tmp_path).stdout
        == xlift("sql", scores, "--format", "csv", folder=finished).stdout
    )


def test_a_worker_killed_in_the_middle_changes_nothing(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    command = [sys.executable, "-m", "xlift", "run", "small.yaml", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    victims = _workers_at_work(process.pid, tmp_path / "store")
    os.kill(victims[0], signal.SIGKILL)  # one worker: the scheduler starts another
    time.sleep(3)
    for pid in [process.pid, *_descendants(process.pid)]:  # then everything
        os.kill(pid, signal.SIGKILL)
    process.wait()
    xlift("run", "small.yaml", "--workers", 2, folder=tmp_path)
    assert (
        xlift("sql", SCORES, "--format", "csv", folder=tmp_path).stdout
        == xlift("sql", SCORES, "--format", "csv", folder=finished).stdout
    )


def _descendants(pid: int) -> list[int]:
    """The scheduler's processes, down to the workers, which are forked off a process between."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [*children, *(below for child in children for below in _descendants(child))]


def _workers_at_work(pid: int, store: Path) -> list[int]:
    """The owners of claims, as soon as there is one that has begun to log."""
    for _ in range(600):
        for claim in store.glob("runs/*/claim.*"):
            owner = json.loads(claim.read_bytes())
            if "pid" in owner and (claim.parent / "log.jsonl").exists():
                return [owner["pid"]]
        time.sleep(0.1)
    raise AssertionError(f"no worker of {pid} began")


def test_sigterm_releases_the_claims(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL.replace("steps: 30", "steps: 20000"))
    command = [sys.executable, "-m", "xlift", "run", "small.yaml", "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    _workers_at_work(process.pid, tmp_path / "store")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    claims = [json.loads(path.read_bytes()) for path in tmp_path.rglob("claim.*")]
    assert claims and all(claim.get("released") for claim in claims)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "absent.yaml"], "E130 absent.yaml: no such file"),
        (["run", "bad.yaml"], "bad.yaml:3:1: E101 unknown key 'questoin'"),
        (["plan", "bad.yaml", "--json"], "E101"),
        (["sql", "SELECT nonsense FROM scores", "--store", "STORE"], "nonsense"),
        (["check", "bad.yaml", "--json"], '"line": 3'),
        (["report", "small.yaml", "--data", "nowhere"], "no such folder"),
        (["sql", "DROP VIEW scores", "--store", "STORE"], "SELECT"),
    ],
)
def test_bad_input_ends_with_status_2_and_words(finished, tmp_path, arguments, words):
    arguments = [str(finished / "store") if argument == "STORE" else argument for argument in arguments]
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "bad.yaml").write_text(SMALL.replace("question", "questoin"))
    done = xlift(*arguments, folder=tmp_path, check=2)
    assert words in done.stderr + done.stdout


def test_init_writes_a_study_that_checks(tmp_path):
    xlift("init", "mine.yaml", folder=tmp_path)
    assert "mine.yaml: ok" in xlift("check", "mine.yaml", folder=tmp_path).stdout
    xlift("init", "mine.yaml", folder=tmp_path, check=2)


def test_the_committed_studies_check():
    studies = [path for path in sorted((ROOT / "experiments").glob("*.yaml")) if "\nmodels:" in path.read_text()]
    assert len(studies) >= 3
    xlift("check", *studies, folder=ROOT)


def test_claims_of_a_paper_are_extended_by_a_study_and_read_against_its_axes(tmp_path):
    claims = ROOT / "experiments" / "claims-phang2020.yaml"
    study = f"""
schema: xlift/1
id: claims
question: Do the paper's sentences hold here?
extends: [{claims}]
data: {{source: local}}
models: [{{id: tiny, make: {{layers: 1, hidden: 32, heads: 2}}}}]
pretrain: {{corpus: text, languages: [en]}}
mlm: {{corpus: text, languages: [en]}}
tasks: {{text: {{kind: mlm, files: "text/{{language}}.jsonl"}}}}
mixtures: {{multi: {{of: [mnli, qqp]}}}}
matrix:
  intermediate: [none, mnli, squad1, hellaswag, qqp, multi]
  variant: [plain, mlm]
  target: [xnli, tatoeba]
  seed: {{count: 1, from: 1}}
"""
    (tmp_path / "study.yaml").write_text(study)
    assert "study.yaml: ok" in xlift("check", "study.yaml", folder=tmp_path).stdout
    (tmp_path / "study.yaml").write_text(study.replace("hellaswag, qqp", "qqp"))
    said = xlift("check", "study.yaml", folder=tmp_path, check=2).stdout
    assert "E408" in said and "intermediate is never 'hellaswag'" in said and "claims-phang2020.yaml" in said


def test_the_readme_names_every_verb():
    verbs = re.findall(r"^  (\w+)  ", xlift("--help", folder=ROOT).stdout.partition("Commands:")[2], re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(verbs) > 8 and all(f"xlift {verb}" in readme for verb in verbs)


def test_models_tells_what_runs_in_what_memory_and_which_languages_were_seen(tmp_path):
    told = {row["model"]: row for row in json.loads(xlift("models", "--json", folder=tmp_path).stdout)}
    assert told["facebook/xlm-roberta-xxl"]["fp32 GB"] == 171.1 and "mlm" in told["facebook/xlm-roberta-xxl"]["kinds"]
    qwen = told["Qwen/Qwen3-8B-Base"]
    assert "mlm" not in qwen["kinds"] and qwen["lora GB"] < 0.4 * qwen["fp32 GB"]
    assert "yo" not in qwen["seen"] and "(recalled)" in qwen["languages' source"]
    table = xlift("models", folder=tmp_path).stdout
    assert all(name in table for name in told)


def test_models_convert_names_what_it_wrote_and_says_why_it_cannot(tmp_path):
    done = xlift("models", "convert", ".", folder=tmp_path, check=2)
    assert "no pytorch_model.bin" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_named_as_the_package_hides_nothing_from_workers(tmp_path):
    """As in a clone, for one whose installation is not editable: here a copy among the packages of a new environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    shutil.copytree(ROOT / "xlift", packages / "xlift")
    for room in ("registry", "runners", "analysis"):
        shutil.copytree(ROOT / room, packages / "xlift" / room)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "command.py").write_text("from xlift.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    (tmp_path / "here" / "xlift").mkdir(parents=True)
    (tmp_path / "here" / "xlift" / "__init__.py").write_text("")
    (tmp_path / "here" / "small.yaml").write_text(SMALL)
    command = [tmp_path / "venv" / "bin" / "python", tmp_path / "bin" / "command.py", "run", "small.yaml", "--no-mlflow"]
    only = ["--only", "model == 'one' and target == 'lab-pairs'"]
    done = subprocess.run([*command, *only], cwd=tmp_path / "here", capture_output=True, text=True, timeout=400)
    assert done.returncode in (0, 1) and "failed" not in done.stderr and "not run" not in done.stderr, done.stderr
