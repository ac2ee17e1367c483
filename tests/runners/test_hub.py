"""Pinning: commits are asked of a hub, here one that a test serves, and written where `pin` stands."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from running import xlift

from xlift.registry.findings import BadInput
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.sources import Sources

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
    plan = expand(load(study), Sources(load(study)))
    with pytest.raises(BadInput, match="is not pinned"):
        plan.pinned()
