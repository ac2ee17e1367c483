"""The MLflow server on loopback, over the database in the store. It runs as a program of its own: mlflow is not imported."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.request import urlopen

from xlift.registry.findings import UserError
from xlift.registry.store import Store
from xlift.runners.tracking.shared import KEY

PORT = 5055
PATIENCE = 180.0  # seconds for the server to start: up to 100 were measured on busy cores
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that only generative tracing needs
}


class TrackingError(UserError):
    """MLflow cannot be written or shown. No run depends on it; a UserError, so that verbs print it without a traceback."""


def address(store: Store) -> str:
    """Where MLflow keeps its runs: MLFLOW_TRACKING_URI, or a database in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_database(store)


def own_database(store: Store) -> str:
    return f"sqlite:///{store.root.resolve() / 'mlflow.db'}"


def artifacts(store: Store) -> str:
    """The folder of MLflow's artifacts, as an address."""
    return (store.root.resolve() / "mlartifacts").as_uri()


def remote(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def page(uri: str, experiment: str, port: int = PORT) -> str:
    """The page of an experiment's training runs, in the study's own view; the UI starts in its mode for generative apps."""
    base = uri.rstrip("/") if remote(uri) else f"http://127.0.0.1:{port}"
    return f"{base}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"


def serve(store: Store, port: int = PORT) -> None:
    """Show the MLflow UI on loopback until Ctrl-C; a server elsewhere is only named."""
    uri = address(store)
    if remote(uri):
        print(f"MLflow is at {uri}")
        return
    if uri == own_database(store) and not (store.root / "mlflow.db").exists():
        raise TrackingError(f"no MLflow database in {store.root}; `xlift run` or `xlift sync` makes one")
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise TrackingError(f"port {port} is in use; give another --port")
    with contextlib.suppress(KeyboardInterrupt), _server(store, uri, port) as server:
        print(f"MLflow starts on http://127.0.0.1:{port} …", flush=True)
        _wait(server, port)
        for name, experiment in _studies(uri):
            print(f"{name}: {page(uri, experiment, port)}", flush=True)
        print("Ctrl-C ends it", flush=True)
        server.wait()


@contextlib.contextmanager
def _server(store: Store, uri: str, port: int) -> Iterator[subprocess.Popen]:
    """The server, in a process group of its own that ends with us."""
    environment = SETTINGS | os.environ | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_ARTIFACTS_DESTINATION": artifacts(store)}
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = subprocess.Popen([sys.executable, "-m", "mlflow", "server", *options], env=environment, start_new_session=True)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):  # what is left of the group
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        signal.signal(signal.SIGTERM, before)


def _wait(server: subprocess.Popen, port: int) -> None:
    """Until the server answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if server.poll() is not None:
            raise TrackingError(
                f"the MLflow server ended at once (exit status {server.returncode}); is 'xlift[track]' installed?"
            )
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.5)
    raise TrackingError(f"the MLflow server does not answer after {PATIENCE:.0f} s")


def _studies(uri: str) -> list[tuple[str, str]]:
    """Name and number of the experiments that studies made; none where the database is not SQLite."""
    if not uri.startswith("sqlite:///"):
        return []
    query = """SELECT experiments.name, experiments.experiment_id FROM experiments JOIN experiment_tags USING (experiment_id)
               WHERE experiments.lifecycle_stage = 'active' AND experiment_tags.key = 'mlflow.experimentKind' ORDER BY 1"""
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return [(name, str(number)) for name, number in connection.execute(query)]
