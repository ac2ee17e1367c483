"""Slurm: an array of workers for each class of resources, as long as there is parallelism, never a job a stage.

What was found by running it (Slurm 22.05): in a preemption's grace only steps of `srun` get SIGTERM, and a job that then ends by
itself is FAILED and does not come back, so the script asks for it (`scontrol requeue`), by its place in the array: the job id of
one task is that of the whole array, and would take the others with it. Slurm may signal up to 60 s early.
"""

import re
import shutil
import subprocess

from xlift.registry.findings import UserError
from xlift.registry.profile import Slurm as Section
from xlift.registry.profile import SlurmClass, seconds
from xlift.runners.engines.base import Order, Script, shell

AGAIN = (75, 143, 138)  # of a worker: work is left; SIGTERM or SIGUSR1 came before it could say so
TEMPLATE = """\
#!/bin/bash
# {head}; made by `xlift run --on slurm`
{options}
set -eu
{prologue}export PYTHONUNBUFFERED=1
# Only what srun started is signalled in a preemption's grace. A job that then ended would not come back, so it asks for that.
srun --ntasks=1 --kill-on-bad-exit=1 {container}{command} && exit 0
code=$?
case $code in {again}) scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID" && sleep 300 ;; esac
exit $code
"""


class Slurm:
    def missing(self) -> str | None:
        lacks = [name for name in ("sbatch", "squeue", "scancel") if not shutil.which(name)]
        return f"no {', '.join(lacks)} on this machine's PATH: it is no login node of a Slurm cluster" if lacks else None

    def scripts(self, order: Order) -> list[Script]:
        assert isinstance(order.section, Section)
        found = []
        for index, each in enumerate(order.classes):
            assert isinstance(each, SlurmClass)
            count, most = order.count(index), order.section.max_array
            for part, start in enumerate(range(0, count, most)):
                name = each.name if count <= most else f"{each.name}-{part + 1}"
                found.append(Script(name, _script(order, order.section, index, each, min(most, count - start))))
        return found

    def submit(self, order: Order, scripts: list[Script]) -> list[str]:
        jobs: list[str] = []
        for script in scripts:
            path = order.folder / f"{script.name}.sbatch"
            path.write_text(script.text, encoding="utf-8")
            try:
                said = _run("sbatch", "--parsable", str(path))
            except UserError as error:
                if jobs:
                    self.cancel(tuple(jobs))
                raise UserError(f"{path.name}: {error}") from None
            jobs.append(said.partition(";")[0].strip())
        return jobs

    def states(self, jobs: tuple[str, ...]) -> dict[str, str]:
        found = {}
        for job in jobs:
            try:
                lines = _run("squeue", "--noheader", "--array", f"--jobs={job}", "--format=%i|%T|%r|%N").splitlines()
            except UserError:  # it has forgotten the job
                continue
            for line in lines:
                name, state, reason, nodes = (line.split("|") + [""] * 3)[:4]
                why = nodes if state == "RUNNING" else reason
                found[name] = state.lower() + (f" ({why})" if why not in ("", "None", "(null)") else "")
        return found

    def cancel(self, jobs: tuple[str, ...]) -> None:
        if jobs:
            _run("scancel", *jobs)


def _script(order: Order, section: Section, index: int, each: SlurmClass, count: int) -> str:
    limit = seconds(each.time)
    options = {
        "--job-name": f"xlift:{order.name}:{each.name}",
        "--account": section.account,
        "--partition": each.partition or section.partition,
        "--nodes": 1,
        "--ntasks": 1,
        "--cpus-per-task": each.cpus,
        "--gres": each.gres,
        "--gpus-per-task": None if each.gres or not each.gpus else f"{each.gpus:g}",
        "--constraint": each.constraint,
        "--mem": each.mem,
        "--time": _time(limit),
        "--array": f"0-{count - 1}",
        "--signal": f"USR1@{section.grace}",
        "--open-mode": "append",
        "--output": f"{order.logs}/%A_%a.log",
    }
    lines = [f"{name}={_quoted(str(value))}" for name, value in options.items() if value is not None]
    prologue = [f"export {name}={shell([value])}" for name, value in section.env.items()]
    command = order.worker(index, seconds=limit - section.grace, grace=section.grace, python=section.python)
    return TEMPLATE.format(
        head=order.head(index),
        options="\n".join(f"#SBATCH {line}" for line in [*lines, "--requeue", *each.options]),
        prologue="".join(f"{line}\n" for line in [*section.prologue, *each.prologue, *prologue]),
        container=f"--container-image={shell([each.container])} " if each.container else "",
        command=shell(command),
        again="|".join(map(str, AGAIN)),
    )


def _quoted(value: str) -> str:
    """A value as sbatch reads it in a line of options."""
    return f'"{value}"' if " " in value else value


def _time(limit: float) -> str:
    """D-HH:MM:SS, as sbatch reads it."""
    minutes, rest = divmod(round(limit), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02d}:{minutes:02d}:{rest:02d}"


def _run(*words: str) -> str:
    """What a command of Slurm's prints. UserError in its own words."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{words[0]}: {error}") from None
    if done.returncode:
        raise UserError(
            f"{words[0]}: {re.sub(r'^(sbatch|squeue|scancel): (error: )?', '', done.stderr.strip()) or done.returncode}"
        )
    return done.stdout


ENGINE = Slurm()
