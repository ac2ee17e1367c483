"""A training under way, kept now and then, so that it goes on where it was after its process ended, however it ended.

One file in the run's folder, `resume.<number of the lease>`, whole or not there; no result, and gone when one is committed. It
holds what the next step depends on and the stage does not tell: what is trained, the optimizer, the schedule, how many batches
were taken, and every generator's state. A training that goes on ends with the weights of one that was never disturbed, bit for
bit on the same machine, up to rounding on another; a file of another torch, or for another kind of device, is not read.
"""

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Self

import torch

from xlift.registry.kept import NotRead
from xlift.registry.leases import Lease, Lost, numbered
from xlift.runners.jobs import GRACE

FORM = 2
NAME = "resume"

State = dict[str, Any]


class Keeper:
    """What keeps one training: a context, within which a signal to leave waits for the end of a step."""

    current: "Keeper | None" = None  # of this process

    def __init__(self, lease: Lease, device: str, seconds: float, grace: int = GRACE):
        self.lease, self.every, self.grace = lease, seconds, grace
        self.where = {
            "form": FORM,
            "device": torch.device(device).type,
            **{name: version(name) for name in ("torch", "transformers")},
        }
        self.asked = False
        found = self._read()
        self.step: int = found["step"] if found else 0  # that it goes on after
        self.before: float = found["seconds"] if found else 0.0  # that it took until then
        self.found: State | None = found["state"] if found else None
        self._began = self._last = time.monotonic()
        self._writing: threading.Thread | None = None

    def __enter__(self) -> Self:
        Keeper.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Keeper.current = None
        if self._writing:
            self._writing.join()

    def after(self, step: int, state: Callable[[], State]) -> None:
        """Called after a step that is not the last: keep it, if it is time, or if the process is to leave, which it does then.

        Raises:
            Lost: the run was taken over.
            SystemExit: the process was asked to leave, and the step is kept.
        """
        if not self.asked and (time.monotonic() - self._last < self.every or (self._writing and self._writing.is_alive())):
            return
        self.lease.check()
        seconds = self.before + time.monotonic() - self._began
        kept = {**self.where, "step": step, "seconds": seconds, "state": copied(state())}
        if self._writing:
            self._writing.join()
        self._writing = threading.Thread(target=self._write, args=(kept,), daemon=True, name=f"keep {self.lease.folder.name}")
        self._writing.start()
        self._last = time.monotonic()
        if self.asked:
            self._writing.join()
            sys.exit(128 + signal.SIGTERM)

    def forget(self) -> None:
        """Delete what is kept of a training that is at an end."""
        if self._writing:
            self._writing.join()
        self.lease.check()
        for path in self.lease.folder.glob(f"{NAME}.*"):
            path.unlink(missing_ok=True)

    def _write(self, kept: State) -> None:
        """Whole or not at all; a disk without room for it, or a network's file system that fails for a while, is no failure."""
        folder, name = self.lease.folder, f"{NAME}.{self.lease.number}"
        temporary = folder / f".{name}.{secrets.token_hex(6)}"
        with contextlib.suppress(OSError, RuntimeError, Lost):  # torch says RuntimeError of a disk that is full
            with open(temporary, "wb") as file:
                torch.save(kept, file)
                file.flush()
                os.fsync(file.fileno())
            self.lease.check()
            os.replace(temporary, folder / name)
            for path in folder.glob(f"{NAME}.*"):
                if path.name != name and numbered(path) < self.lease.number:
                    path.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)

    def _read(self) -> State | None:
        """What the newest owner kept of this training; None where nothing is or, with a warning, nothing that goes on here."""
        paths = sorted(self.lease.folder.glob(f"{NAME}.*"), key=numbered, reverse=True)
        for path in paths:
            with contextlib.suppress(Exception):  # damaged, in whatever way: it is a help, and no result
                found = torch.load(path, map_location="cpu", weights_only=True)
                if {name: found[name] for name in self.where} == self.where:
                    return found
        if paths:
            what = "is damaged, or of another torch, transformers or kind of device: the training begins anew"
            warnings.warn(f"{paths[0]} {what}", NotRead, stacklevel=3)
        return None


def leave(*_: object) -> None:
    """What a worker does when it is asked to leave: at once, or when its training is kept, within its grace."""
    if Keeper.current is None:
        sys.exit(128 + signal.SIGTERM)
    if not Keeper.current.asked:  # an engine asks all processes of a worker, and then each asks those below it
        Keeper.current.asked = True
        signal.alarm(Keeper.current.grace)


def copied(value: Any) -> Any:
    """The same on the CPU, which no later step changes."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    return type(value)(map(copied, value)) if isinstance(value, list | tuple) else value
