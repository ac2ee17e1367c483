"""A hub on loopback that speaks its protocol as far as it is used: refs, listings, pages, resolved files; with planted faults.

Below ROOT, a folder a commit: `datasets/<owner>/<name>/<commit>/...` or `models/...`, and beside the commits `refs.json`, which
says what a branch stands for: {"main": commit, "refs/convert/parquet": commit}.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".parquet", ".safetensors", ".bin")  # kept apart by the hub, and named by their sha-256


def entry(folder: Path, path: Path) -> dict:
    """A line of a listing."""
    data, name = path.read_bytes(), path.relative_to(folder).as_posix()
    small = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    about = {"type": "file", "path": name, "size": len(data), "oid": small}
    if path.suffix in LARGE:
        about["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return about


@dataclass
class Hub:
    root: Path
    faults: dict[str, str] = field(default_factory=dict)  # end of a path -> cut, flip or once (flipped, and then whole)
    gated: dict[str, str] = field(default_factory=dict)  # repository -> the token that opens it
    asked: list[str] = field(default_factory=list)  # paths, in order
    page: int = 1000  # entries of a listing in one answer
    address: str = ""

    @contextmanager
    def open(self) -> Iterator["Hub"]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                hub.answer(self)

            def do_GET(self):
                hub.answer(self)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def environment(self, cache: Path) -> dict[str, str]:
        """Of a process that asks this hub and no other."""
        off = {
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "XLIFT_MLFLOW": "no",
        }
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(cache), **off}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        self.asked.append(url.path)
        steps = [unquote(step) for step in url.path.strip("/").split("/")]
        api = steps[0] == "api"
        kind, *steps = steps[1:] if api else steps if steps[0] == "datasets" else ["models", *steps]
        name, rest = "/".join(steps[:2]), steps[2:]
        folder = self.root / kind / name
        if not (folder / "refs.json").is_file():
            return self.refused(request, 401, "RepoNotFound")
        refs = json.loads((folder / "refs.json").read_text())
        if api and rest == ["refs"]:
            named = [{"name": ref.split("/")[-1], "ref": ref, "targetCommit": commit} for ref, commit in refs.items()]
            split = {
                "branches": [ref for ref in named if "/" not in ref["ref"]],
                "converts": [ref for ref in named if "/" in ref["ref"]],
            }
            return self.sent(request, json.dumps(split | {"tags": []}).encode())
        verb, *rest = rest or ["revision", "main"]
        ref = "/".join(rest[:3]) if rest[0] == "refs" else rest[0]
        path = "/".join(rest[3 if rest[0] == "refs" else 1 :])
        commit = refs.get(ref, ref)
        here = folder / commit
        if not here.is_dir():
            return self.refused(request, 404, "RevisionNotFound")
        if verb == "revision":
            files = [{"rfilename": each.relative_to(here).as_posix()} for each in sorted(here.rglob("*")) if each.is_file()]
            return self.sent(request, json.dumps({"id": name, "sha": commit, "siblings": files, "private": False}).encode())
        if verb == "tree":
            every = [entry(here, each) for each in sorted(here.rglob("*")) if each.is_file()]
            start = int(parse_qs(url.query).get("cursor", ["0"])[0])
            more = f'<{self.address}{url.path}?recursive=True&cursor={start + self.page}>; rel="next"'
            links = {"Link": more} if start + self.page < len(every) else {}
            return self.sent(request, json.dumps(every[start : start + self.page]).encode(), links)
        if name in self.gated and request.headers.get("Authorization") != f"Bearer {self.gated[name]}":
            return self.refused(request, 401, "GatedRepo")
        file = here / path
        if not file.is_file():
            return self.refused(request, 404, "EntryNotFound", {"X-Repo-Commit": commit})
        about = entry(here, file)
        etag = about["lfs"]["oid"] if "lfs" in about else about["oid"]
        body, headers = self.spoilt(path, file.read_bytes(), request), {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        return self.sent(request, body, headers, whole=about["size"])

    def spoilt(self, path: str, data: bytes, request: BaseHTTPRequestHandler) -> bytes:
        end = next((end for end in self.faults if path.endswith(end)), None)
        if end is None or request.command == "HEAD":
            return data
        fault = self.faults[end]
        if fault == "once":
            del self.faults[end]
        if fault == "cut":
            request.close_connection = True
            return data[: len(data) // 2]
        at = len(data) // 3
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def sent(
        self, request, body: bytes, headers: dict[str, str] | None = None, status: int = 200, whole: int | None = None
    ) -> None:
        request.send_response(status)
        about = {"Content-Type": "application/json", "Content-Length": str(whole or len(body)), "Accept-Ranges": "none"}
        for key, value in (about | (headers or {})).items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def refused(self, request, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.sent(request, b"{}", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})}, status)
