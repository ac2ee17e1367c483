"""Pinning: commits are asked of a hub, here one that a test serves, and written where `pin` stands."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from running import xlift
from test_families import written
from test_model_folder import sharded

from xlift.registry import weights
from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand

COMMITS = {"FacebookAI/xlm-roberta-base": "a1" * 20, "Qwen/Qwen3-0.6B-Base": "b2" * 20}
BASE = """\
schema: xlift/1
id: draft
question: Can it be pinned?   # a comment that stays
data: {source: local}
models:
  - {id: xlmr, hub: FacebookAI/xlm-roberta-base, revision: pin, layers: 6}
  - {id: half, hub: FacebookAI/xlm-roberta-base, revision: "pin"}
  - id: qwen
    hub: Qwen/Qwen3-0.6B-Base
    revision: pin   # until it is known
  - {id: known, hub: google/rembert, revision: cccccccccccccccccccccccccccccccccccccccc}
matrix: {intermediate: [none, mnli], target: [xnli], seed: {count: 1, from: 1}}
"""


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/api/models/").split("?")[0]
        found = COMMITS.get(name)
        body = json.dumps({"id": name, "sha": found} if found else {"error": "Repository not found"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_TELEMETRY": "1"}
    server.shutdown()


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "study.yaml").write_text(BASE)
    return tmp_path / "study.yaml"


def test_commits_stand_where_pin_stood_and_nothing_else_changes(study, hub):
    done = xlift("data", "pin", study, folder=study.parent, environment=hub)
    wanted = BASE.replace("base, revision: pin", f"base, revision: {'a1' * 20}").replace('"pin"', "a1" * 20)
    assert study.read_text() == wanted.replace("revision: pin ", f"revision: {'b2' * 20} ")
    assert done.stdout.splitlines() == [f"{commit}  {name}" for name, commit in COMMITS.items()]
    assert {model.revision for model in load(study).manifest.models} == {"a1" * 20, "b2" * 20, "c" * 40}
    assert not xlift("data", "pin", study, folder=study.parent, environment={"HF_ENDPOINT": "http://127.0.0.1:9"}).stdout


def test_a_word_in_another_file_is_pinned_there(study, hub):
    over = study.parent / "over.yaml"
    over.write_text("schema: xlift/1\nid: over\nextends: [study.yaml]\nquestion: And from here?\n")
    xlift("data", "pin", over, folder=study.parent, environment=hub)
    assert "pin" not in over.read_text() and "revision: pin" not in study.read_text()


@pytest.mark.parametrize("how", ["unreachable", "unknown"])
def test_without_every_commit_no_file_is_touched(study, hub, how, monkeypatch):
    if how == "unknown":
        monkeypatch.delitem(COMMITS, "Qwen/Qwen3-0.6B-Base")
    at = hub if how == "unknown" else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = xlift("data", "pin", study, folder=study.parent, environment=at, check=2)
    assert "the hub does not tell the commit of" in done.stderr and "nothing was written" in done.stderr
    assert study.read_text() == BASE


def test_a_draft_is_checked_and_planned_and_not_run(study, tmp_path):
    xlift("check", study, folder=tmp_path)
    planned = xlift("plan", study, "--json", folder=tmp_path, check=None)
    assert planned.returncode in (0, 1) and json.loads(planned.stdout)["cells"] == 8
    done = xlift("run", study, "--no-mlflow", folder=tmp_path, check=2)
    assert done.stderr.count("E227") == 3 and "study.yaml:6:" in done.stderr and "xlift data pin study.yaml" in done.stderr
    assert not (tmp_path / "store").exists()
    plan = expand(load(study), Inputs(load(study)))
    with pytest.raises(BadInput, match="is not pinned"):
        plan.pinned()


class Files(BaseHTTPRequestHandler):
    """A hub that serves one folder at one commit, and remembers what it was asked for."""

    folder: Path
    commit = "d" * 40
    asked: set[str] = set()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        _, _, name = self.path.partition(f"/tiny/xlmr/resolve/{self.commit}/")
        path = self.folder / (name or "nothing")
        self.asked |= {name} if name else set()
        found = path.is_file()
        body = path.read_bytes() if found else b"no entry"
        self.send_response(200 if found else 404)
        more = {"ETag": f'"{hash(body)}"'} if found else {"X-Error-Code": "EntryNotFound"}
        for key, value in ({"Content-Length": str(len(body)), "X-Repo-Commit": self.commit} | more).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


LOAD = """
import sys
from xlift.registry import weights
from xlift.registry.inputs import folder_digest
from xlift.runners import nets
net = nets.load(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
folder = nets.folder_of(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
print(folder_digest(folder), sum(float(p.sum()) for p in net.encoder.parameters()))
"""


@pytest.mark.parametrize("parts", [False, True])
def test_of_a_model_on_the_hub_the_files_are_asked_for_that_are_read_and_no_others(tmp_path, parts):
    folder = written("xlmr", tmp_path / "served")
    folder = sharded(folder) if parts else folder
    for name in ("generation_config.json", "pytorch_model.bin", "README.md"):
        (folder / name).write_text("{}")
    Files.folder, Files.asked = folder, set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    here = subprocess.run([sys.executable, "-c", LOAD, folder], capture_output=True, text=True, check=True)
    arguments = [sys.executable, "-c", LOAD, "tiny/xlmr", Files.commit]
    done = subprocess.run(arguments, env=os.environ | address, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == here.stdout, done.stderr[-2000:]
    assert Files.asked - {"model.safetensors", *weights.TOKENS} == set(weights.opened(folder)) - {
        "model.safetensors",
        *weights.TOKENS,
    }
    server.shutdown()
    again = subprocess.run(arguments, env=os.environ | address | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert again.stdout == here.stdout, again.stderr[-2000:]  # from its cache
