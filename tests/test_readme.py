"""What README says is true: every command of it runs, in its order; its manifest checks; its tree is that of the repository."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from xlift import cli
from xlift.registry.manifest.load import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.partition(" #")[0].strip() for line in re.findall(r"^    (xlift .+)$", README, re.MULTILINE)]
ROOMS = ("xlift", "experiments", "registry", "runners", "analysis", "tests")
FAST = {"train_items": 120, "test_items": 40, "sentences": 200, "languages": ["al1", "al2", "bo1"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which README's commands run one after the other."""
    folder = tmp_path_factory.mktemp("readme")
    rows = [f"{study},{study}{i},{0.1 * i + 0.05 * j},{0.02 + 0.01 * i}" for j, study in enumerate("abcdef") for i in range(4)]
    (folder / "tuned.yaml").write_text(
        re.search(r"```yaml\n# tuned.yaml\n(.*?)```", README, re.DOTALL)[1].replace("trials: 6", "trials: 1")
    )
    (folder / "effects.csv").write_text("study,effect,yi,vi\n" + "\n".join(rows) + "\n")
    return folder


def ran(command: str, folder: Path) -> subprocess.CompletedProcess:
    """A command line of README, redirection included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLIFT_", "MLFLOW_"))}
    line = command.replace("xlift ", f"{shlex.quote(sys.executable)} -m xlift ", 1)
    return subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, timeout=500, env={**environment, "OMP_NUM_THREADS": "1"}
    )


def test_every_command_runs_in_its_order(place):
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        if command == "xlift ui":
            _served(place)
            continue
        if command.startswith("xlift sync"):
            continue
        done = ran(command, place)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        if command.startswith("xlift init"):
            _smaller(place / command.split()[-1])


def _smaller(study: Path) -> None:
    """The study that `init` wrote, in less time."""
    text = study.read_text()
    for old, new in (
        ("{source: lab}", json.dumps({"source": "lab", "world": FAST})),
        ("steps: 600", "steps: 4"),
        ("epochs: 2", "steps: 4"),
        ("{count: 2, from: 1}", "{count: 1, from: 1}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    study.write_text(text)


def _served(folder: Path) -> None:
    """`xlift ui` answers, and ends with Ctrl-C; whatever happens here, it does not outlive the test."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "xlift", "ui", "--port", str(port)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # some ways to run tests ignore it, and so would the UI
    )
    try:
        until, said = time.monotonic() + 120, ""
        while "Ctrl-C ends it" not in said and time.monotonic() < until and server.poll() is None:
            said += server.stdout.readline()
        assert f"study: http://127.0.0.1:{port}/#/experiments/" in said
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
    finally:
        with suppress(subprocess.TimeoutExpired):  # on SIGTERM it ends what it started
            server.terminate()
            server.wait(timeout=30)
        server.kill()
        server.wait()


def test_every_verb_stands_in_the_readme_and_runs_in_a_test(tmp_path, monkeypatch):
    """Those that no command of README calls are called here."""
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert all(f"xlift {verb}" in README for verb in verbs)
    called = {command.split()[1] for command in COMMANDS}
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    for verb in sorted(verbs - called - {"sync", "ui", "logs", "cancel"}):  # which test_engines.py runs
        arguments = {"show": [str(ROOT / "experiments" / "quickstart.yaml")]}.get(verb, [])
        result = runner.invoke(cli.app, [verb, *arguments])
        assert result.exit_code == 0 and len(result.output) > 100, (verb, result.output)


def test_sync_is_repeatable(place):
    said = [ran("xlift sync study.yaml", place) for _ in range(2)]
    assert all(done.returncode == 0 for done in said) and re.search(r"MLflow: \d+ runs, 0 new", said[1].stdout)


def test_the_manifest_of_the_readme_checks(tmp_path):
    folder = tmp_path / "models" / "multilingual-e5-small"
    folder.mkdir(parents=True)
    shape = {
        "num_hidden_layers": 12,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "vocab_size": 250037,
    }
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2, **shape})
    )
    (manifest,) = re.findall(r"```yaml\n(schema.*?)```", README, re.DOTALL)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "study.yaml").write_text(manifest)
    study = load(tmp_path / "studies" / "study.yaml")
    assert study.id == "quickstart" and len(study.facts.models) == 2


def test_the_task_of_one_s_own_in_the_readme_checks(tmp_path):
    (task,) = re.findall(r"`(ours: \{kind: pair.*?\})`", README)
    text = f"""\
schema: xlift/1
id: own
question: q
data: {{source: local}}
models: [{{id: tiny, make: {{layers: 1, hidden: 32, heads: 2}}}}]
pretrain: {{corpus: text, languages: [en]}}
tasks:
  {task}
  text: {{kind: mlm, files: "text/{{language}}.jsonl"}}
matrix: {{intermediate: [none], target: [ours], seed: {{count: 1, from: 1}}}}
"""
    (tmp_path / "study.yaml").write_text(text)
    assert load(tmp_path / "study.yaml").facts.tasks["ours"].labels == ("no", "yes")


def test_the_columns_of_the_views_are_those_of_the_readme(place):
    for view, columns in re.findall(r"`(stages|scores|gains)\(([^)]*)\)`", README.replace("\n", " ")):
        named = [column.strip() for column in columns.split(",")]
        done = ran(f'xlift sql "SELECT * FROM {view} LIMIT 1" --format csv', place)
        assert done.stdout.splitlines()[0].split(",")[: len(named)] == named, view


def test_the_tree_of_the_readme_names_every_file_of_the_rooms():
    (tree,) = re.findall(r"## The house\n\n```\n(.*?)```", README, re.DOTALL)
    for room in ("registry", "runners", "analysis"):
        for path in (ROOT / room).rglob("*.py"):
            inside = path.relative_to(ROOT / room)
            if path.stem != "__init__" and "lab" not in inside.parts:
                assert re.search(rf"\b{path.stem}\b", tree), f"{path.relative_to(ROOT)} is not in README's tree"
    for name in set(re.findall(r"(?<![\w-])([\w-]+\.(?:py|yaml|toml))\b", tree)):
        places = [ROOT / name, *(path for room in ROOMS for path in (ROOT / room).rglob(name))]
        assert any(path.exists() for path in places), f"README's tree names {name}, which is not there"
