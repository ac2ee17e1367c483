#!/usr/bin/env python3
"""What xlift asks of Slurm, on this machine: under the names sbatch, srun, squeue, scontrol and scancel.

A task of an array is a supervised process: it is started again where the script asked for that, as Slurm does. State is files
below $STAND_IN: <job>_<task>/{script,pid,restarts,requeue,ended}.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["STAND_IN"])


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    if "refused" in text:
        sys.exit("sbatch: error: Batch job submission failed: Invalid qos specification")
    (first, last), job = re.search(r"--array=(\d+)-(\d+)", text).groups(), len(list(ROOT.glob("*_0"))) + 1
    output = re.search(r"--output=(\S+)", text)[1]
    for task in range(int(first), int(last) + 1):
        folder = ROOT / f"{job}_{task}"
        folder.mkdir(parents=True)
        (folder / "script").write_text(text)
        with open(output.replace("%A", str(job)).replace("%a", str(task)), "ab") as log:
            subprocess.Popen(
                [sys.executable, __file__, "supervise", str(folder)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
    print(job)


def supervise(folder: str) -> None:
    here, restarts = Path(folder), 0
    job, task = here.name.split("_")
    while True:
        environment = os.environ | {"SLURM_JOB_ID": job, "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": task}
        process = subprocess.Popen(["bash", here / "script"], env=environment, start_new_session=True)
        (here / "pid").write_text(str(process.pid))
        while process.poll() is None:
            time.sleep(0.05)
            if (here / "requeue").exists() or (here / "cancel").exists():
                with_group(process.pid, signal.SIGKILL)
        (here / "pid").unlink()
        if not (here / "requeue").exists():
            break
        (here / "requeue").unlink()
        restarts += 1
        (here / "restarts").write_text(str(restarts))
    (here / "ended").write_text(str(process.returncode))


def srun(*words: str) -> None:
    command = list(words)
    while command[0].startswith("--"):
        command.pop(0)
    (ROOT / f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}" / "step").write_text(str(os.getpid()))
    os.execvp(command[0], command)


def squeue(*words: str) -> None:
    job = next(word.partition("=")[2] for word in words if word.startswith("--jobs="))
    for folder in sorted(ROOT.glob(f"{job}_*")):
        if not (folder / "ended").exists():
            print(f"{folder.name}|{'RUNNING|None|here' if (folder / 'pid').exists() else 'PENDING|Resources|'}")


def scontrol(verb: str, name: str) -> None:
    assert verb == "requeue" and "_" in name, "the whole array would go"
    (ROOT / name / "requeue").touch()


def scancel(*jobs: str) -> None:
    for job in jobs:
        for folder in ROOT.glob(f"{job}_*"):
            (folder / "cancel").touch()


def with_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    if sys.argv[1:2] == ["supervise"]:
        supervise(sys.argv[2])
    else:
        words = [word for word in sys.argv[1:] if word != "--parsable"]
        {"sbatch": sbatch, "srun": srun, "squeue": squeue, "scontrol": scontrol, "scancel": scancel}[name](*words)
