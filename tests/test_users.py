"""What a user may do wrong, and what must never be lost by it."""

import hashlib
import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from editable import Editable
from running import xlift
from typer.testing import CliRunner

from xlift import cli, running
from xlift.analysis.report import page
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.standing import standing
from xlift.registry.store import Store
from xlift.runners import machine, session
from xlift.runners.jobs import Outcome
from xlift.runners.progress import Ahead, _left

STUDY = Editable("""\
schema: xlift/1
id: mine
question: Are the results safe?
data: {source: local}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 200}}]
pretrain: {corpus: text, languages: [en, de], recipe: {steps: 2, batch: 4, max_length: 32}}
recipe: {lr: 1e-3, steps: 2, batch: 4, max_length: 32}
tasks:
  other: {kind: pair, labels: ["no", "yes"], languages: [en]}
  target: {kind: pair, labels: ["no", "yes"], languages: [de, en, fr], fields: {first: a, second: b}}
  text: {kind: mlm, files: "text/{language}.jsonl"}
matrix: {intermediate: [none, other], target: [target], seed: {count: 1, from: 1}}
""")


def written(folder: Path) -> Path:
    """A data folder that is whole."""
    texts = {"a": "first", "b": "second"}
    pairs = [{"first": f"a book {i}", "second": f"the river {i % 3}", "label": ["no", "yes"][i % 2]} for i in range(12)]
    named = [{**{column: row[role] for column, role in texts.items()}, "label": row["label"]} for row in pairs]
    files = {f"target/test.{code}": [row | {"b": f"{row['b']} {code}"} for row in named[:6]] for code in ("de", "en", "fr")}
    files |= {"target/train.en": named, "other/train.en": pairs, "other/test.en": pairs[:6]}
    files |= {f"text/{code}": [{"text": f"the {code} fox reads book number {i}"} for i in range(30)] for code in ("en", "de")}
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A local study that ran, with its report."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "study.yaml").write_text(STUDY)
    written(folder / "data")
    xlift("run", "study.yaml", "--data", "data", "--workers", 1, folder=folder)
    xlift("report", "study.yaml", "--data", "data", folder=folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with the study and its data, nothing run."""
    (tmp_path / "study.yaml").write_text(STUDY)
    written(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoked(*arguments: object) -> tuple[int, str]:
    """A verb in this process: its exit status and all that it says."""
    monkey = sys.argv
    sys.argv = ["xlift", *map(str, arguments)]
    runner = CliRunner()
    try:
        result = runner.invoke(cli.app, [*map(str, arguments)])
    finally:
        sys.argv = monkey
    said = result.output + (f"\n{result.exception}" if result.exception and not isinstance(result.exception, SystemExit) else "")
    return (2 if isinstance(result.exception, ValueError) else result.exit_code), said


def gains(folder: Path) -> int:
    return len((folder / "reports" / "mine" / "tables" / "gains.csv").read_text().splitlines()) - 1


# 3.1, 3.2: reading never loses anything


def test_a_typo_in_store_changes_no_byte_and_ends_with_status_2(finished):
    before = bytes_of(finished)
    for verb in (["report", "study.yaml"], ["report", "study.yaml", "--data", "data"], ["sync", "study.yaml", "--data", "data"]):
        assert "no store at typo" in xlift(*verb, "--store", "typo", folder=finished, check=2).stderr
    assert "no store at typo" in xlift("sql", "SELECT 1", "--store", "typo", folder=finished, check=2).stderr
    assert "no store at typo" in xlift("ui", "--store", "typo", folder=finished, check=2).stderr
    assert bytes_of(finished) == before and gains(finished) == 2


def test_a_store_that_does_not_know_the_study_is_refused(finished, tmp_path):
    (tmp_path / "other.yaml").write_text(STUDY.replace("id: mine", "id: another"))
    said = xlift("report", tmp_path / "other.yaml", "--store", finished / "store", folder=tmp_path, check=2).stderr
    assert "does not know study 'another' (it knows: mine)" in said and not (tmp_path / "reports").exists()


def test_forgetting_data_hides_no_result(finished):
    card = (finished / "store" / "studies" / "mine.json").read_bytes()
    xlift("report", "study.yaml", folder=finished)
    assert gains(finished) == 2
    said = xlift("run", "study.yaml", folder=finished, check=1).stderr
    assert "cannot run: no data: give --data DIR" in said
    assert (finished / "store" / "studies" / "mine.json").read_bytes() == card
    xlift("report", "study.yaml", folder=finished)
    assert gains(finished) == 2


def test_other_data_than_those_that_ran_are_refused(finished, tmp_path):
    data = shutil.copytree(finished / "data", tmp_path / "data")
    file = data / "target" / "test.fr.jsonl"
    file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    before = bytes_of(finished)
    said = xlift("report", "study.yaml", "--data", data, folder=finished, check=2).stderr
    assert "target (fr) differ" in said and bytes_of(finished) == before


def test_a_report_is_written_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    from xlift.analysis import facts

    store, out = Store(finished / "store"), tmp_path / "report"
    made = page.report(store.card("mine"), facts.connect(store, store.cards()))
    made.write(out)
    (out / "notes.txt").write_text("mine")
    before, draw, calls = bytes_of(tmp_path), page.plots.png, []

    def failing(figure):
        calls.append(figure)
        if len(calls) == len(made.figures):
            raise OSError("no space left on device")
        return draw(figure)

    monkeypatch.setattr(page.plots, "png", failing)
    with pytest.raises(OSError, match="no space left"):
        made.write(out)
    assert bytes_of(tmp_path) == before
    monkeypatch.setattr(page.plots, "png", draw)
    made.write(out)
    assert bytes_of(tmp_path).keys() == before.keys() and (out / "notes.txt").read_text() == "mine"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="holds something else than a report"):
        made.write(tmp_path / "own")


# 3.3: files are looked at before a GPU hour is spent


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("target/test.fr", None, r"study\.yaml:10:3: E501 target, test in fr: .*no such file"),
        ("target/train.en", None, r"study\.yaml:10:3: E501 target, train in en: .*no such file"),
        ("text/de", None, r"study\.yaml:11:3: E501 text, train in de: .*no such file"),
        ("target/test.de", ('"a":', '"A":'), r"E501 target, test in de: .*test\.de\.jsonl:1: no column 'a'"),
        ("target/test.de", ('"yes"', '"maybe"'), r"E501 target, test in de: .*:2: label 'maybe' is none of the labels"),
        ("target/test.de", ('"yes"', '"no"'), r"E502 target, test in de: the same label everywhere"),
        ("target/test.de", ("}\n", "\n"), r"E501 target, test in de: .*not JSON"),
        ("other/train.en", ('"first":', '"frist":'), r"study\.yaml:9:3: E501 other, train in en: .*no column 'first'"),
    ],
)
def test_a_file_that_is_not_whole_is_found_before_anything_trains(here, name, change, says):
    file = here / "data" / f"{name}.jsonl"
    if change is None:
        file.unlink()
    else:
        assert change[0] in file.read_text()
        file.write_text(file.read_text().replace(*change))
    for verb in (["check"], ["plan"], ["run"]):
        status, said = invoked(*verb, "study.yaml", "--data", "data")
        assert status == 2 and re.search(says, said), (verb, said)
    assert not (here / "store").exists()


def test_all_faults_of_files_are_said_at_once(here):
    (here / "data" / "target" / "test.fr.jsonl").unlink()
    (here / "data" / "target" / "test.en.jsonl").write_text('{"a": "x", "b": "y", "label": "no"}\n')
    file = here / "data" / "other" / "train.en.jsonl"
    file.write_text(file.read_text().replace("first", "frist"))
    status, said = invoked("check", "study.yaml", "--data", "data")
    assert status == 2 and re.findall(r" (E5\d\d) ", said) == ["E501", "E501", "E502"]
    assert "1 item, and a standard error needs two" in said
    assert invoked("check", "study.yaml")[0] == 0


def test_whole_files_are_no_finding(here):
    status, said = invoked("check", "study.yaml", "--data", "data")
    assert (status, said) == (0, "study.yaml: ok\n")


def test_what_the_manifest_declares_as_blocked_is_no_gap(here):
    assert invoked("plan", "study.yaml", "--data", "data")[0] == 0
    assert invoked("plan", "study.yaml")[0] == 1
    rule = "\n  exclude: [{when: \"intermediate == 'other'\", why: licence, as: blocked}]\n"
    study = STUDY.replace("matrix: {intermediate: [none, other], target: [target], seed: {count: 1, from: 1}}\n", "")
    (here / "study.yaml").write_text(
        study + "matrix:\n  intermediate: [none, other]\n  target: [target]\n  seed: {count: 1, from: 1}" + rule
    )
    (here / "data" / "other" / "train.en.jsonl").unlink()
    status, said = invoked("plan", "study.yaml", "--data", "data")
    assert status == 0 and "cannot run" not in said


# 3.4 to 3.9


@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:x", "tpu", "mps"])
def test_a_device_that_is_not_here_is_refused_at_once(here, device):
    status, said = invoked("run", "study.yaml", "--data", "data", "--device", device)
    assert status == 2 and "no device" in said and not (here / "store").exists()


def test_workers_are_as_many_as_the_cores_that_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    assert machine.cores() == 64
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cores() == 64
    (tmp_path / "cpu.max").write_text("350000 100000\n")
    assert machine.cores() == 3 and machine.device_and_workers("cpu", None) == ("cpu", 3)
    assert machine.device_and_workers("cpu", 7) == ("cpu", 7)


def test_only_runs_the_cells_that_a_condition_holds_for(here):
    status, said = invoked("run", "study.yaml", "--data", "data", "--only", "target == 'tarjet'")
    assert status == 2 and "--only: target is never 'tarjet'; write 'target'" in said
    study = load(here / "study.yaml")
    plan = expand(study, Inputs(study, here / "data"))
    chosen = plan.where(running._condition("intermediate == 'none'", plan))
    todo = standing(plan, Store(here / "store")).todo(chosen)
    assert [step.stage.data.task for step in todo] == ["text", "target", "target"] and len(
        standing(plan, Store(here / "store")).todo()
    ) > 3


def test_progress_has_step_loss_pace_and_time_left(here):
    study = load(here / "study.yaml")
    plan, store = expand(study, Inputs(study, here / "data")), Store(here / "store")
    steps = standing(plan, store).todo()
    ahead = Ahead(plan.study, steps, store)
    ahead.begun -= 100
    ahead.since[steps[0].stage.id] = time.monotonic() - 100
    folder = store.folder(steps[0].stage.id)
    folder.mkdir(parents=True)
    line = {"time": time.time() * 1000, "step": 50, "of": 200, "loss": 2.5, "tokens_per_second": 1234.5}
    (folder / "log.jsonl").write_text(json.dumps(line) + "\n" + '{"half a li')
    stage, whole = ahead.lines(Outcome(), [steps[0]])
    assert stage == "pretrain one text: step 50/200, loss 2.500, 1,234 tokens/s, about 5 min left"
    share = 0.25 * ahead.work[steps[0].stage.id] / sum(ahead.work.values())
    assert whole == f"study: {_left(100, share)}"
    assert _left(100, 0.0) == "time left not known yet" and _left(3600, 0.5) == "about 60 min left"


def test_without_a_terminal_a_plain_line_comes_at_intervals(here, monkeypatch, capsys):
    monkeypatch.setattr(session, "LINE", 0.0)
    study = load(here / "study.yaml")
    plan, store = expand(study, Inputs(study, here / "data")), Store(here / "store")

    shown = []

    def execute(queue, crew, tell, over):
        first, second, *_ = queue.waiting.values()
        shown.append(second.stage.data.task)
        for _ in range(2):
            tell(Outcome(done=[first.stage.id]), [second])

    monkeypatch.setattr(session.pool, "execute", execute)
    monkeypatch.setattr(session, "_mlflow", lambda *_: __import__("contextlib").nullcontext())
    session.run(plan, store, here / "data", workers=1, device="cpu")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("1/")]
    assert len(lines) == 2 and lines[0].startswith(f"1/6  train one {shown[0]}; study: ") and "\x1b" not in lines[0]


def test_checkpoints_that_nothing_needs_are_released_and_trained_again_where_they_are(here):
    def kept() -> list[str]:
        return sorted(path.parent.name for path in (here / "store" / "runs").glob("*/checkpoint.*"))

    options = ("--data", "data", "--no-mlflow", "--workers", "1")
    (here / "study.yaml").write_text(STUDY.replace("target: [target]", "target: [target, other]"))  # one training serves two
    study = load(here / "study.yaml")
    plan, store = expand(study, Inputs(study, here / "data")), Store(here / "store")
    trainings = {step.stage.id for step in plan.steps if step.stage.kind == "train"}
    some = next(iter(study.manifest.matrix.intermediate[1:]))
    assert invoked("run", "study.yaml", "--release", "--only", f"intermediate == '{some}'", *options)[0] == 0
    needed = {stage.id for step in standing(plan, store).todo() for stage in step.stage.lineage if store.usable(stage.id)}
    assert needed <= set(kept()) and not trainings & set(kept()) - needed
    assert invoked("run", "study.yaml", *options)[0] == 0
    assert trainings & set(kept())
    assert invoked("run", "study.yaml", "--release", *options)[0] == 0  # a finished study too
    assert not trainings & set(kept()) and not standing(plan, store).todo()
    scored = next(step for step in plan.steps if step.stage.kind == "evaluate" and step.stage.parent.id in trainings)
    (here / "store" / "runs" / scored.stage.id / "record.json").unlink()
    assert [step.stage.id for step in standing(plan, store).todo()][-2:] == [scored.stage.parent.id, scored.stage.id]
    assert invoked("run", "study.yaml", "--release", *options)[0] == 0
    assert not trainings & set(kept()) and not standing(plan, store).todo()


def test_ctrl_c_says_that_the_same_command_goes_on(here, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(session.pool, "execute", interrupted)
    monkeypatch.setattr(session, "_mlflow", lambda *_: __import__("contextlib").nullcontext())
    status, said = invoked("run", "study.yaml", "--data", "data")
    assert status == 130 and "the same command goes on from there" in said


def test_every_verb_answers_h_and_completion_is_on():
    verbs = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    assert len(verbs) >= 14
    for verb in verbs:
        status, said = invoked(verb, "-h")
        assert status == 0 and "Usage" in said
    assert "--install-completion" in invoked("-h")[1]


def test_show_prints_json_alone(here):
    done = xlift("show", "study.yaml", folder=here)
    assert json.loads(done.stdout)["id"] == "mine" and "outside embeddings" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says", "never"),
    [
        ("count: 1", "count: two", "do   write a whole number", "quotes"),
        ("count: 1", 'count: "2"', "do   remove the quotes", "write a"),
        ("id: mine", "id: My Study", "do   write 'my-study'", "letters, digits"),
        ("matrix: {", "analysis: {x: params}\nmatrix: {", "do   write 'params_total'", "letters, digits"),
        (
            "[none, other]",
            "[other]",
            "10:.*E402 no run has intermediate 'none'.*\n.*\n.*\n  do   add none to matrix.intermediate",
            "1:1",
        ),
        ("matrix: {", "matirx: {", "E101 unknown key 'matirx'", "E102"),
    ],
)
def test_hints_are_what_would_do(here, old, new, says, never):
    text = STUDY.replace(old, new)
    (here / "study.yaml").write_text(text)
    status, said = invoked("check", "study.yaml")
    says = says.replace("10:", r"study\.yaml:12:\d+: ")
    assert status == 2 and re.search(says, said), said
    assert never not in said
