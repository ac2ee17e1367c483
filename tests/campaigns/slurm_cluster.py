"""A study on a real two-node Slurm, with preemptions, a limit shorter than its longest stage, and a node that dies.

    sudo sh tests/campaigns/slurm.sh && sudo python tests/campaigns/slurm_cluster.py [STUDY]

The cluster is this machine: munge, slurmctld and two slurmd of Debian's packages (22.05), with a partition `low` that is preempted by
`high`. Scores are those of a local run, as text. Then a study is cancelled in the middle, and an order that can never start is told.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ray_cluster import remaining, scores

from xlift.registry.manifest.load import load

CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=10
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MaxArraySize=1001
SlurmdTimeout=30
NodeName=toy1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=4000 State=UNKNOWN
NodeName=toy2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes=toy1,toy2 Default=YES MaxTime=01:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP
PartitionName=high Nodes=toy1,toy2 MaxTime=01:00:00 PriorityTier=10 PreemptMode=OFF State=UP
"""
PROFILE = """\
schema: xlift-cluster/1
slurm:
  partition: low
  grace: 15
  env: {{OMP_NUM_THREADS: "1"}}
  classes:
    - {{name: any, gpus: 0, time: {limit}, workers: 2, mem: 1500M{more}}}
"""


def sh(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def up(root: Path) -> None:
    """munge, the controller and two nodes; idle after some seconds."""
    for name in ("state", "spool/toy1", "spool/toy2"):
        (root / name).mkdir(parents=True)
    (root / "slurm.conf").write_text(CONF.format(root=root, host=socket.gethostname()))
    os.environ["SLURM_CONF"] = str(root / "slurm.conf")
    key = root / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = [f"--{name}-file={root}/munge.{name}" for name in ("pid", "log", "seed")]
    sh("munged", "--force", f"--key-file={key}", f"--socket={root}/munge.socket", *files)
    sh("slurmctld", "-f", str(root / "slurm.conf"))
    node("toy1")
    node("toy2")
    while "idle" not in sh("sinfo", "--noheader"):
        time.sleep(1)


def node(name: str) -> None:
    sh("slurmd", "-f", os.environ["SLURM_CONF"], "-N", name)


def down(root: Path) -> None:
    for path in [*root.glob("slurmd.*.pid"), root / "slurmctld.pid", root / "munge.pid"]:
        if path.exists():
            try:
                os.kill(int(path.read_text()), signal.SIGTERM)
            except ProcessLookupError:
                continue


def xlift(*words: str, check: bool = True) -> str:
    return sh(sys.executable, "-m", "xlift", *words, check=check)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=Path(__file__).parent / "cluster.yaml")
    parser.add_argument("--local", type=Path, help="the store of a local run of it; it is run here where absent")
    parser.add_argument("--limit", default="180s", help="of a job; with its longest stage in less, nothing is shown")
    parser.add_argument("--preemptions", type=int, default=2)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="xlift-slurm-"))
    up(root)
    try:
        disturbed(options.study.resolve(), root, options.local, options.limit, options.preemptions)
    finally:
        sh("scancel", "--user=root", check=False)
        time.sleep(3)
        down(root)
        shutil.rmtree(root, ignore_errors=True)


def disturbed(study: Path, root: Path, local: Path | None, limit: str, preemptions: int) -> None:
    store, profile, begun = root / "store", root / "profile.yaml", time.monotonic()
    send = ["run", str(study), "--store", str(store), "--on", "slurm", "--profile", str(profile), "--no-mlflow"]
    profile.write_text(PROFILE.format(limit=limit, more=", constraint: none-such"))
    print("never starts:", xlift(*send, check=False).strip().splitlines()[-1], flush=True)
    profile.write_text(PROFILE.format(limit=limit, more=""))
    xlift(*send)
    done, killed, before = 0, False, remaining(study, store)
    while count := remaining(study, store):
        time.sleep(10)
        running = [line for line in sh("squeue", "--noheader", "--format=%i %T %P %N").splitlines() if "RUNNING low" in line]
        if running and done < preemptions:
            where = running[0].split()[-1]
            sh("sbatch", "--partition=high", f"--nodelist={where}", "--output=/dev/null", "--wrap=sleep 5")
            done += 1
            print(f"{time.monotonic() - begun:4.0f} s: preempted {running[0].split()[0]} on {where}; {count} left", flush=True)
        elif done == preemptions and not killed and len(running) > 1:
            os.kill(int((root / "slurmd.toy2.pid").read_text()), signal.SIGKILL)
            for job in sh("squeue", "--noheader", "--nodelist=toy2", "--format=%A").split():  # its steps, and not its sister's
                sh("pkill", "-9", "-f", rf"slurmstepd: \[{job}\.", check=False)
            killed = True
            print(f"{time.monotonic() - begun:4.0f} s: a node died; {count} left", flush=True)
            time.sleep(5)
            node("toy2")
        if time.monotonic() - begun > 2400:
            raise SystemExit(f"{count} stages are left after 40 minutes")
    logs = "".join(path.read_text() for path in (store / "submissions").rglob("*.log"))
    told = f"{logs.count('it was asked to leave')} times asked to leave, {logs.count('its time is over')} times over"
    print(f"{before} stages in {time.monotonic() - begun:.0f} s, node died {killed}: {told}", flush=True)
    local = local or root / "local"
    xlift("run", str(study), "--store", str(local), "--no-mlflow", "--workers", "2")
    same = scores(study, store) == scores(study, local)
    print("scores equal those of a local run, as text:", same, f"({len(scores(study, store))} evaluations)", flush=True)
    cancelled(study, root, send)
    raise SystemExit(0 if same and killed and done == preemptions else 1)


def cancelled(study: Path, root: Path, send: list[str]) -> None:
    """Cancelled in the middle: no job is left, and what is finished is kept."""
    other = root / "again"
    send = [word.replace(str(root / "store"), str(other)) for word in send]
    xlift(*send)
    whole = remaining(study, other)
    while remaining(study, other) == whole:
        time.sleep(3)
    print(xlift("cancel", str(study), "--store", str(other)).strip())
    for _ in range(30):
        if not (jobs := sh("squeue", "--noheader", "--format=%i %j").count(load(study).id)):
            break
        time.sleep(2)
    print(f"cancelled with {remaining(study, other)} of {whole} stages left; {jobs} jobs are there still", flush=True)


if __name__ == "__main__":
    main()
