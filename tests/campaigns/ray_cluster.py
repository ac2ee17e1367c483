"""A study on a real Ray cluster of two nodes, with a worker killed and a node removed: the scores are those of a local run, as text.

    pip install '.[ray]' && python tests/campaigns/ray_cluster.py [STUDY]

Both nodes are processes of this machine, behind token authentication; a class asks for a custom resource `slot`, of which each node
has two. Beside it: a class that no node can ever hold is refused before anything is submitted, and a driver that is killed leaves a
store on which the next one goes on.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.standing import left
from xlift.registry.store import Store

PROFILE = """\
schema: xlift-cluster/1
ray:
  address: "{address}"
  classes:
    - {{name: shared, gpus: 0, cpus: 0.5, resources: {{slot: {slots}}}}}
"""
PORT = 6399


def sh(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def node(folder: Path, head: bool) -> None:
    ray, slots = shutil.which("ray") or "ray", json.dumps({"slot": 0 if head else 2})
    where = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address=127.0.0.1:{PORT}"]
    common = [f"--num-cpus={0 if head else 2}", "--object-store-memory=80000000", f"--resources={slots}"]
    sh(ray, "start", *where, *common, *(["--temp-dir", str(folder / "ray")] if head else []), "--disable-usage-stats")


def xlift(*words: str, check: bool = True) -> str:
    return sh(sys.executable, "-m", "xlift", *words, check=check)


def scores(study: Path, folder: Path) -> dict[str, str]:
    loaded, store = load(study), Store(folder)
    return {
        step.stage.id: "\n".join(score.model_dump_json() for score in store.scores(step.stage.id))
        for step in expand(loaded, Inputs(loaded)).steps
        if step.stage.kind == "evaluate"
    }


def remaining(study: Path, folder: Path) -> int:
    loaded = load(study)
    return len(left(expand(loaded, Inputs(loaded)).steps, Store(folder)))


def holders(folder: Path) -> list[int]:
    found = []
    for path in folder.glob("runs/*/claim.*"):
        try:
            found.append(json.loads(path.read_text()).get("pid"))
        except (OSError, ValueError):
            continue
    return [pid for pid in found if pid]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=Path(__file__).parent / "cluster.yaml")
    parser.add_argument("--local", type=Path, help="the store of a local run of it; it is run here where absent")
    options = parser.parse_args()
    study = options.study.resolve()
    folder = Path(tempfile.mkdtemp(prefix="xlift-ray-"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else other work on this machine goes first
        "OMP_NUM_THREADS": "1",
    }
    node(folder, head=True)
    node(folder, head=False)
    node(folder, head=False)
    try:
        cluster(study, folder, options.local)
    finally:
        sh(shutil.which("ray") or "ray", "stop", "--force", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def cluster(study: Path, folder: Path, local: Path | None) -> None:
    store, begun = folder / "store", time.monotonic()
    for name, slots in (("large.yaml", 9), ("profile.yaml", 1)):
        (folder / name).write_text(PROFILE.format(address=f"127.0.0.1:{PORT}", slots=slots))
    send = ["run", str(study), "--store", str(store), "--on", "ray", "--no-mlflow", "--profile"]
    xlift(*send, str(folder / "large.yaml"))
    time.sleep(20)
    said = (store / "submissions" / load(study).id / "1" / "driver.log").read_text()
    print("refused beforehand:", said.strip().splitlines()[-1], flush=True)
    assert "no node of the cluster has that" in said
    xlift(*send, str(folder / "profile.yaml"))
    killed = removed = driver = False
    before = remaining(study, store)
    while count := remaining(study, store):
        time.sleep(2)
        pids = holders(store)
        if not killed and pids and count < before - 2:
            os.kill(pids[0], signal.SIGKILL)
            killed = True
            print(f"killed {pids[0]}, which held a stage; {count} of {before} stages left", flush=True)
        elif killed and not driver and count < before - 6:
            jobs = json.loads((store / "submissions" / load(study).id / "2" / "submission.json").read_text())["jobs"]
            os.kill(int(jobs[0].partition(":")[0]), signal.SIGKILL)
            driver = True
            print(f"killed the driver; {count} stages left", flush=True)
            time.sleep(5)
            xlift(*send, str(folder / "profile.yaml"))
        elif driver and not removed and count < before - 9:
            raylets = sh("pgrep", "-f", "raylet/raylet").split()
            os.kill(int(raylets[-1]), signal.SIGKILL)
            removed = True
            print(f"removed a node; {count} stages left", flush=True)
        if time.monotonic() - begun > 2400:
            raise SystemExit(f"{count} stages are left after 40 minutes")
    print(f"done in {time.monotonic() - begun:.0f} s: killed {killed}, driver {driver}, node removed {removed}", flush=True)
    local = local or folder / "local"
    xlift("run", str(study), "--store", str(local), "--no-mlflow", "--workers", "2")
    same = scores(study, store) == scores(study, local)
    print("scores equal those of a local run, as text:", same, f"({len(scores(study, store))} evaluations)")
    raise SystemExit(0 if same and killed and driver and removed else 1)


if __name__ == "__main__":
    main()
