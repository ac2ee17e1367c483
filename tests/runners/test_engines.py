"""One suite for every engine: what it starts computes a study to the same scores, is asked to leave, and goes on."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_queue import computed

from xlift.registry import profile, submission
from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store
from xlift.runners import engines, status

HERE = Path(__file__).parent
STUDY = """\
schema: xlift/1
id: engines
question: Does every engine compute the same?
data: {source: lab, world: {test_items: 10, train_items: 40, sentences: 100}}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 200, batch: 8, max_length: 48}}
recipe: {lr: 1e-3, steps: 4, batch: 8, max_length: 64, dropout: 0.1}
matrix: {intermediate: [none, lab-span], target: [lab-pos], seed: {count: 1, from: 1}}
"""
PROFILE = """\
schema: xlift-cluster/1
slurm:
  partition: low
  grace: 60
  classes:
    - {name: any, gpus: 0, time: 1h, workers: 2}
ray:
  classes:
    - {name: any, gpus: 0, cpus: 1}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A study, and a machine where each engine is."""
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "profile.yaml").write_text(PROFILE)
    bin_, state = tmp_path / "bin", tmp_path / "slurm"
    bin_.mkdir()
    state.mkdir()
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        (bin_ / name).symlink_to(HERE / "stand_ins" / "slurm.py")
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(state))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE / "stand_ins"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def xlift(*words: str, status: int | None = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "xlift", *words], capture_output=True, text=True, timeout=300)
    assert status is None or done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(here: Path):
    study = load(here / "study.yaml")
    return expand(study, Inputs(study))


def told(here: Path) -> dict:
    """What `xlift status --json` prints, without a process of its own."""
    store, plan = Store(here / "store"), planned(here)
    sent = submission.newest(store, "engines")
    now = status.now(plan.study, plan.steps, store, sent.names() if sent else None)
    return {**now.as_json(), "jobs": engines.engine(sent.engine).states(sent.jobs) if sent else {}}


def until(here: Path, what, seconds: float = 240) -> dict:
    """The first status that fulfils a condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = told(here)
        if what(now):
            return now
        time.sleep(0.3)
    logs = "\n".join(path.read_text() for path in here.glob("store/submissions/**/*.log"))
    raise AssertionError(f"{now}\n{logs}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The scores that a local run gives, as text."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "study.yaml").write_text(STUDY)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xlift", "run", "study.yaml", "--workers", "1", "--no-mlflow"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return scores(folder)


def scores(folder: Path) -> dict[str, str]:
    store = Store(folder / "store")
    return {
        step.stage.id: "\n".join(score.model_dump_json() for score in store.scores(step.stage.id))
        for step in planned(folder).steps
        if step.stage.kind == "evaluate"
    }


def disturb(engine: str, here: Path) -> None:
    """End what computes the pretraining, as the engine's own way of preemption does, or by a kill."""
    (holder,) = [
        json.loads(path.read_text())
        for path in here.glob("store/runs/*/claim.*")
        if "pid" in path.read_text()
    ]  # fmt: skip
    if engine == "slurm":  # the step, as in a preemption's grace
        steps = [int(path.read_text()) for path in (here / "slurm").glob("*/step")]
        owner = next(pid for pid in steps if str(pid) in ancestors(holder["pid"]))
        os.kill(owner, signal.SIGTERM)
    elif engine == "local":
        os.kill(holder["pid"], signal.SIGTERM)  # its worker goes on with it


def ancestors(pid: int) -> list[str]:
    found = []
    while pid > 1:
        found.append(str(pid))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


@pytest.mark.parametrize("engine", engines.NAMES)
def test_every_engine_computes_the_scores_of_a_local_run(here, undisturbed, engine):
    """Disturbed in the middle of its first training, where the engine has processes of its own."""
    xlift("run", "study.yaml", "--on", engine, "--profile", "profile.yaml", "--workers", "2", "--no-mlflow")
    if engine != "ray":
        now = until(here, lambda now: any("step" in stage["said"] for stage in now["stages"] if stage["state"] == "running"))
        assert now["jobs"] and [stage["kind"] for stage in now["stages"] if stage["state"] == "running"] == ["pretrain"]
        disturb(engine, here)
    until(here, lambda now: now["share"] == 1.0)
    assert scores(here) == undisturbed
    store = Store(here / "store")
    assert not any(store.failed(step.stage.id) for step in planned(here).steps)
    if engine == "slurm":
        assert [path.read_text() for path in (here / "slurm").glob("*/restarts")] == ["1"]
    until(here, lambda now: not now["jobs"])  # nobody waits for ever
    if engine == "local":
        assert not heavy("worker", "study.yaml") and not heavy("status", "study.yaml")
    assert "nothing is left" in xlift("run", "study.yaml", "--on", engine, "--profile", "profile.yaml", "--no-mlflow")


@pytest.mark.parametrize("engine", ["local", "slurm"])
def test_what_is_cancelled_in_the_middle_ends_and_goes_on_where_it_was(here, engine):
    xlift("run", "study.yaml", "--on", engine, "--profile", "profile.yaml", "--workers", "1", "--no-mlflow")
    until(here, lambda now: any("step" in stage["said"] for stage in now["stages"] if stage["state"] == "running"))
    assert json.loads(xlift("status", "study.yaml", "--json"))["jobs"] and "jobs of" in xlift("cancel", "study.yaml")
    now = until(here, lambda now: not now["jobs"] and not [s for s in now["stages"] if s["state"] == "running"], 60)
    assert now["share"] < 1 and "waits for a worker" in json.dumps(now)
    stage = next(stage for stage in now["stages"] if stage["kind"] == "pretrain")
    assert "step" in xlift("logs", "study.yaml", stage["id"][:8])
    log = here / "store" / "runs" / stage["id"] / "log.jsonl"
    reached = len(log.read_text().splitlines())
    assert reached > 1 or engine == "slurm"


def heavy(*words: str) -> set[str]:
    """What a verb imports of that which a login node, or a worker without work, can do without."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "xlift", *words], capture_output=True, text=True, timeout=120
    )
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert "xlift" in names and done.returncode == 0, done.stderr[-2000:]
    return names & {"torch", "transformers", "mlflow", "duckdb", "pandas", "optuna"}


def test_a_login_node_needs_no_torch(here):
    assert not heavy("run", "study.yaml", "--on", "slurm", "--profile", "profile.yaml", "--dry-run")


def dry(here: Path, text: str, engine: str = "slurm", status: int = 0) -> str:
    (here / "profile.yaml").write_text(text)
    return xlift("run", "study.yaml", "--on", engine, "--profile", "profile.yaml", "--dry-run", status=status)


def test_a_dry_run_prints_scripts_that_a_shell_reads_and_sends_nothing(here):
    text = PROFILE.replace(
        "{name: any, gpus: 0, time: 1h, workers: 2}",
        "{name: small, when: \"kind == 'evaluate'\", gpus: 0, time: 30m, workers: 9}\n"
        "    - {name: large, gres: 'gpu:a100:1', time: 1.5d, workers: 3000, cpus: 8, mem: 96G, container: '/images/a b.sqsh',"
        " options: [--qos=long], prologue: [module load cuda]}",
    ).replace("grace: 60", "grace: 60\n  env: {HF_HOME: /a b/c}\n  max_array: 2")
    said = dry(here, text)
    scripts = re.split(r"^--- .*$", said, flags=re.MULTILINE)[1:]
    large = next(script for script in scripts if "xlift:engines:large" in script)
    assert (
        "--array=0-1" in large and "--time=1-12:00:00" in large and "--gres=gpu:a100:1" in large and "#SBATCH --qos=long" in large
    )
    assert "module load cuda\nexport HF_HOME='/a b/c'\n" in large and "--container-image='/images/a b.sqsh'" in large
    assert "--for 129540s" in large and "--class large@NUMBER" in large
    for script in scripts:
        body = script.partition("\n\n")[0]
        subprocess.run(["bash", "-n"], input=body, text=True, check=True)
        worker = next(line for line in body.splitlines() if line.startswith("srun"))
        assert shlex.split(worker)[-3:-1] != ["", ""]
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()[:1] in (["small"], ["large"])}
    assert rows["small"][0] == "2" and rows["large"][0] == "4" and rows["small"][-1] == "2"
    assert not (here / "store").exists() or not list((here / "store").rglob("*.sbatch"))


@pytest.mark.parametrize(
    ("change", "line", "code", "says"),
    [
        (("partition: low", "partiton: low"), 3, "E151", "write 'partition'"),
        (("time: 1h, ", ""), 6, "E151", "'time' is missing"),
        (("time: 1h", "time: soon"), 6, "E151", "time"),
        (("gpus: 0, time", "when: \"knd == 'train'\", gpus: 0, time"), 6, "E151", "write 'kind'"),
        (("gpus: 0, time", "when: \"kind == 'rtain'\", gpus: 0, time"), 6, "E151", "never 'rtain'"),
        (("gpus: 0, time", "when: \"kind == 'train'\", gpus: 0, time"), 6, "E152", "fit no class"),
        (("gpus: 0, time", "memory_gb: 0.0001, gpus: 0, time"), 6, "E153", "can hold nothing"),
        (("workers: 2}\n", "workers: 2}\n    - {name: any, time: 1h}\n"), 7, "E151", "two classes are called 'any'"),
        (("schema: xlift-cluster/1", "schema: xlift-cluster/9"), 1, "E151", "schema"),
        (("slurm:", "slrm:"), 2, "E151", "write 'slurm'"),
        (("time: 1h", "time: 30s"), 6, "E151", "grace"),
    ],
)
def test_a_profile_s_mistakes_are_findings_with_places(here, change, line, code, says):
    assert PROFILE.count(change[0])
    said = dry(here, PROFILE.replace(*change), status=2)
    assert re.search(rf"profile.yaml:{line}:\d+: {code}", said) and says in said and "Traceback" not in said


def test_an_engine_that_is_not_here_is_named_at_its_place(here, monkeypatch):
    for name in ("sbatch", "scancel"):
        (here / "bin" / name).unlink()
    monkeypatch.setenv("PATH", str(here / "bin"))
    said = xlift("run", "study.yaml", "--on", "slurm", "--profile", "profile.yaml", status=2)
    assert re.search(r"profile.yaml:\d+:\d+: E154 no sbatch, scancel", said)
    assert "no engine 'slrum'; write 'slurm'" in xlift("run", "study.yaml", "--on", "slrum", status=2)
    assert "needs --profile" in xlift("run", "study.yaml", "--on", "slurm", status=2)
    assert "E130" in xlift("run", "study.yaml", "--on", "slurm", "--profile", "gone.yaml", status=2)


def test_what_an_engine_refuses_is_said_in_its_words(here):
    (here / "profile.yaml").write_text(PROFILE.replace("workers: 2}", "workers: 2, options: [--qos=refused]}"))
    said = xlift("run", "study.yaml", "--on", "slurm", "--profile", "profile.yaml", "--no-mlflow", status=2)
    assert "Invalid qos specification" in said and "Traceback" not in said


def test_a_stage_is_of_the_first_class_that_holds_it_and_of_larger_ones_after_that(here):
    plan = planned(here)
    classes = [
        profile.Class(name="tiny", memory_gb=1e-9),
        profile.Class(name="scores", when="kind == 'evaluate'", memory_gb=1.0),
        profile.Class(name="some", memory_gb=2.0),
        profile.Class(name="less", memory_gb=1.5),
        profile.Class(name="more", memory_gb=80.0),
    ]
    placed = profile.place(plan.steps, plan.study.facts.models, classes, {})
    by_kind = {step.stage.kind: placed.of[step.stage.id] for step in plan.steps}
    assert by_kind == {"pretrain": (2, 4), "train": (2, 4), "evaluate": (1, 2, 4)} and not placed.nowhere
    heavy = plan.steps[0].stage.id
    assert profile.place(plan.steps, plan.study.facts.models, classes, {heavy: 3.0}).of[heavy] == (4,)
    nowhere = profile.place(plan.steps, plan.study.facts.models, classes, {heavy: 99.0}).nowhere
    assert [step.stage.id for step in nowhere] == [heavy]


def test_a_profile_that_cannot_be_read_is_one_finding(tmp_path):
    for data in (
        b"",
        b"\xff\xfe",
        b"- 1",
        b"schema: xlift-cluster/1\nslurm: 3\n",
        b"schema: xlift-cluster/1\nray: {classes: []}\n",
    ):
        (tmp_path / "p.yaml").write_bytes(data)
        with pytest.raises(BadInput) as raised:
            profile.read(tmp_path / "p.yaml")
        assert all(finding.place.file.endswith("p.yaml") for finding in raised.value.findings)


@pytest.fixture
def files(here):
    """A study of files: its data are a folder."""
    rows = [{"first": f"a {i}", "second": f"b {i % 3}", "label": "no" if i % 2 else "yes"} for i in range(16)]
    for name in ("train.en", "test.en", "test.de"):
        path = here / "data" / "ours" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({**row, "second": f"{row['second']} {name}"}) + "\n" for row in rows))
    (here / "study.yaml").write_text(FILES)
    return here


FILES = """\
schema: xlift/1
id: engines
question: Are the data here?
data: {source: local}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 300}}, {id: two, make: {layers: 1, hidden: 32, heads: 2, vocabulary: 300}}]
pretrain: {corpus: text, languages: [en], recipe: {steps: 2, batch: 4}}
recipe: {steps: 2, batch: 4, max_length: 32}
tasks:
  ours: {kind: pair, labels: ["no", "yes"], fields: {first: first, second: second, label: label}, languages: [en, de]}
  text: {kind: mlm, languages: [en]}
matrix: {intermediate: [none], target: [ours], seed: {count: 3, from: 1}}
"""


def test_a_worker_whose_data_are_others_fails_no_stage_for_the_rest(files):
    """What is wrong with a machine is no failure of a stage."""
    (files / "data" / "text").mkdir()
    (files / "data" / "text" / "train.en.jsonl").write_text("".join(json.dumps({"text": f"a b c {i}"}) + "\n" for i in range(30)))
    assert "--data" in xlift("worker", "study.yaml", status=2)  # without, nothing is tried
    assert "no such folder" in xlift("worker", "study.yaml", "--data", "gone", status=2)
    assert "write a number" in xlift("worker", "study.yaml", "--data", "data", "--for", "-1h", status=2)
    assert "no such class" in xlift("worker", "study.yaml", "--data", "data", "--class", "any", status=2)
    from xlift.registry import sheet
    from xlift.registry.plan import remember

    study, store = load(files / "study.yaml"), Store(files / "store")
    plan = expand(study, Inputs(study, files / "data"))
    remember(plan, store)
    sheet.save(plan, store)
    other = files / "other"
    subprocess.run(["cp", "-r", str(files / "data"), str(other)], check=True)
    path = other / "text" / "train.en.jsonl"
    path.write_text(path.read_text() + json.dumps({"text": "one more"}) + "\n")
    said = xlift("worker", "study.yaml", "--data", "other", status=1)
    assert "changed after the plan was made" in said and not any(store.failed(step.stage.id) for step in plan.steps)
    xlift("worker", "study.yaml", "--data", "data")
    now = status.now(study, plan.steps, store)
    assert now.share == 1.0 and not now.of("failed")


def test_looking_writes_nothing(here):
    Store(here / "store").root.mkdir()
    (here / "store" / "studies").mkdir()
    before = sorted(here.rglob("*"))
    assert "0% of the work is done" in xlift("status", "study.yaml")
    assert "begin with 'ffff'" in xlift("logs", "study.yaml", "ffff", status=2)
    assert sorted(here.rglob("*")) == before


def test_workers_of_an_order_run_what_was_chosen_and_no_more(here):
    """Also when another order was sent since, with other classes."""
    (here / "study.yaml").write_text(
        STUDY.replace("target: [lab-pos]", "target: [lab-pos, lab-names]").replace("steps: 200", "steps: 2")
    )
    plan, store = planned(here), Store(here / "store")
    xlift("run", "study.yaml", "--on", "local", "--only", "target == 'lab-pos'", "--workers", "1", "--no-mlflow")
    xlift(
        "run",
        "study.yaml",
        "--on",
        "slurm",
        "--profile",
        "profile.yaml",
        "--no-mlflow",
        "--only",
        "target == 'none-such'",
        status=2,
    )
    (here / "profile.yaml").write_text(PROFILE.replace("name: any", "name: other"))
    until(here, lambda now: not now["jobs"])
    done = {step.stage.data.task for step in plan.steps if step.stage.kind == "evaluate" and store.record(step.stage.id)}
    trained = {step.stage.data.task for step in plan.steps if step.stage.kind == "train" and store.record(step.stage.id)}
    assert done == {"lab-pos"} and trained == {"lab-pos", "lab-span"}
    sent = submission.newest(store, "engines")
    assert sent.number == 1 and sent.only
    submission.save(store, sent.model_copy(update={"number": 2, "classes": ("other",)}))
    assert "no such class" in xlift("worker", "study.yaml", "--class", "local", status=2)
    xlift("worker", "study.yaml", "--class", "local@1")


def test_memory_that_was_measured_corrects_what_was_computed(here):
    plan, store = planned(here), Store(here / "store")
    computed(plan.steps[0], store)
    (store.folder(plan.steps[0].stage.id) / "log.jsonl").write_text(json.dumps({"time": 0, "step": 1, "memory_gb": 7.0}) + "\n")
    step = next(step for step in plan.steps if step.stage.kind == "train")
    assert computed(step, store)
    (store.folder(step.stage.id) / "log.jsonl").write_text(json.dumps({"time": 0, "step": 1, "memory_gb": 9.5}) + "\n")
    rows = xlift("run", "study.yaml", "--on", "local", "--dry-run")
    alike = [other for other in plan.steps if (other.stage.kind, other.stage.recipe) == ("train", step.stage.recipe)]
    assert len(alike) > 1 and re.search(r"^local +\d+ +\S+ +9\.50 ", rows, re.MULTILINE)
