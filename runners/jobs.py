"""What is handed to workers, and what they report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xlift.registry.inputs import Inputs
from xlift.registry.plan import Step

MINUTES = 10.0  # between two times that a training is kept
GRACE = 60  # seconds in which a training has to be kept, once its process is asked to leave, unless said


@dataclass(frozen=True)
class Env:
    """How stages are run: nothing here changes what they compute, up to rounding and, with dropout, its draws."""

    store: Path
    inputs: Inputs
    device: str = "cpu"
    threads: int = 1
    budget: int = 8192  # tokens in a micro-batch, padding included
    minutes: float = MINUTES  # between two times that a training is kept, to go on with
    grace: int = GRACE
    models: Path | None = None  # the folder of fetched weights; what is not there is asked of the hub's cache, and of the hub


@dataclass
class Outcome:
    """What became of the steps: ids of those that ran, and reasons of those that failed or could not start."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)  # finished by others meanwhile
    foreign: dict[str, str] = field(default_factory=dict)  # what another version wrote, neither read nor run


@dataclass(frozen=True)
class Job:
    """A step to run, and, of a training that is watched, the evaluations that judge it and how often they look."""

    step: Step
    judges: tuple[Step, ...] = ()
    reports: int = 0


@dataclass(frozen=True)
class Ending:
    """What became of a job, and why.

    done; held: another process has it; left: its worker was asked to leave; damaged: what it rests on has to be made again;
    pruned; or, as an attempt of the store, failed, diverged, memory, device or died.
    """

    job: Job
    state: str
    reason: str = ""


class Pruned(Exception):
    """A watched training that was told to end, since others are further."""


@dataclass(frozen=True)
class Watched:
    """Looks at a training under way: the mean score of its `judges` at `reports` - 1 even points, and whether it goes on."""

    judges: tuple[Step, ...]
    reports: int
    go_on: Callable[[int, float], bool]  # number of the look, from 1; score
