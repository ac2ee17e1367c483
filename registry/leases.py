"""Leases on runs: who may work in a run's folder.

A lease is a numbered file, called `claim.1`, `claim.2`, ... in every store there is; the highest number owns the run. It is
made by a hard link, which either makes the whole file or fails, so two processes never hold one number. A lease is free to
be taken over when its owner released it, when its process on this host is gone, or when its heartbeat (the file's time of
change) is older than `PATIENCE`. An owner that was taken over while it slept finds a higher number and may not commit.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Set
from functools import cache
from pathlib import Path
from typing import Any

from xlift.registry.files import write_atomically, written

HEARTBEAT = 5.0  # seconds between heartbeats
PROC = Path("/proc")
HIDDEN = "hidden"
PATIENCE = 60.0  # seconds without a heartbeat after which an owner on another host is taken for dead


class Lost(RuntimeError):
    """The lease was taken over: its work must not be committed."""


class Lease:
    """The right to write into one run's folder; a context manager that releases it."""

    def __init__(self, folder: Path, number: int, *, inherited: bool = False):
        self.folder, self.number = folder, number
        self.inherited = inherited  # from an owner that ended without a word
        self._path = folder / f"claim.{number}"
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name=f"heartbeat {folder.name}")

    def __enter__(self) -> "Lease":
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._heart.join()
        if latest(self.folder) == self.number:
            try:
                write_atomically(self._path, json.dumps({"released": True}).encode())
            except OSError:  # a full disk has no room for a release, and room for none at all
                self._path.unlink(missing_ok=True)
        for path in self.folder.glob("claim.*"):  # only those below our own: they are history
            if numbered(path) < self.number:
                path.unlink(missing_ok=True)

    def named(self, name: str) -> str:
        """The name under which this lease writes what is called `name`: `scores/de.jsonl` is `scores/de.3.jsonl`."""
        stem, dot, suffix = name.partition(".jsonl")
        return f"{stem}.{self.number}{dot}{suffix}"

    def sweep(self, kept: Set[str]) -> None:
        """Delete what earlier leases wrote and does not count."""
        for path in (*self.folder.glob("resume.*"), *self.folder.glob(".resume.*")):
            path.unlink(missing_ok=True)  # of a training that is finished
        for path in (*self.folder.glob("checkpoint.*"), *self.folder.glob("scores/*.jsonl")):
            number = numbered(path.with_suffix("") if path.suffix == ".jsonl" else path)
            if number < self.number and str(path.relative_to(self.folder)) not in kept:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `Lost` if somebody took the run over."""
        if latest(self.folder) != self.number:
            raise Lost(f"{self.folder.name}: another process took this run over")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a network's file system may fail for a while, and the next beat counts again
                if latest(self.folder) == self.number:
                    os.utime(self._path)


def lease(folder: Path) -> Lease | None:
    """The lease on a run's folder, or None while a living process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    number = latest(folder)
    if number and alive(folder):
        return None
    return _take(folder, number + 1, inherited=holder(folder) is not None)


def alive(folder: Path, clock: Callable[[], float] | None = None) -> bool:
    """Whether a living process holds the newest lease on the folder; `clock` tells the file system's time where it is known."""
    number = latest(folder)
    if not number:
        return False
    try:
        owner, beat = _owner(folder / f"claim.{number}")
    except OSError as error:  # superseded between the two looks, which a network's file system calls stale: somebody is at work
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return True
    if not owner or owner.get("released"):
        return False
    if owner["host"] == _host() and (since := started(owner["pid"])) != HIDDEN:
        return since == owner["started"]
    return (clock or Clock(folder))() - beat < PATIENCE


def holder(folder: Path) -> tuple[str, int, float] | None:
    """Host and process that hold the newest lease or held it last, and since when; None where it was released, or never taken."""
    with contextlib.suppress(OSError):
        owner, _ = _owner(folder / f"claim.{latest(folder)}")
        if "host" in owner:
            return owner["host"].partition(" ")[0], owner["pid"], owner["since"]
    return None


def _owner(path: Path) -> tuple[dict[str, Any], float]:
    """Who took a lease, and its last heartbeat; nobody where a crash of the machine tore the file."""
    with open(path, "rb") as file:
        data, beat = file.read(), os.fstat(file.fileno()).st_mtime
    try:
        return json.loads(data), beat
    except ValueError:
        return {}, beat


def latest(folder: Path) -> int:
    """The highest lease number in the folder, 0 if there is none."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return 0
    return max((int(name[6:]) for name in names if name.startswith("claim.") and name[6:].isdigit()), default=0)


def _take(folder: Path, number: int, *, inherited: bool = False) -> Lease | None:
    owner = {"host": _host(), "pid": os.getpid(), "started": started(os.getpid()), "since": time.time()}
    temporary, path = folder / f".claim.{secrets.token_hex(6)}", folder / f"claim.{number}"
    try:
        written(temporary, json.dumps(owner).encode())
        os.link(temporary, path)
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    if latest(folder) != number:  # we slept: owners came and went, and the last of them deleted the number that we linked anew
        path.unlink(missing_ok=True)
        return None
    return Lease(folder, number, inherited=inherited)


@cache
def _host() -> str:
    """Where process ids mean this process: the machine, since its start, and the name space of processes (containers)."""
    name = [socket.gethostname()]
    with contextlib.suppress(OSError):  # no /proc: the name must do
        name += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(name)


def numbered(path: Path) -> int:
    """The number of the lease under which a file was written, which its name ends with; 0 where it has none."""
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0


def started(pid: int) -> str | None:
    """When a process of this host started, in the kernel's own words; None if it does not run (or is a zombie).

    HIDDEN where another user's process runs and this one may not look at it (`hidepid`).
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return HIDDEN
        return None if PROC.exists() else "running"  # it died between the two looks; or there is no /proc
    return None if fields[0] == "Z" else fields[19]


class Clock:
    """The file system's own time, so that hosts with different clocks agree: asked once, and where it is needed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._now: float | None = None

    def __call__(self) -> float:
        if self._now is None:
            self._now = self._ask()
        return self._now

    def _ask(self) -> float:
        probe = self.folder / f".clock.{secrets.token_hex(6)}"
        try:
            with open(probe, "xb") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # a store that may only be read: this host's clock has to do
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
