"""What this machine has: processor cores, and the devices that torch sees."""

import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from xlift.registry.findings import UserError

QUOTA = Path("/sys/fs/cgroup/cpu.max")


class NoDevice(UserError):
    """The device that was asked for is not on this machine."""


def cores() -> int:
    """The processor cores that this process may use: its affinity, its container's quota and its job's share, not the machine."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("SLURM_CPUS_PER_TASK", "")  # which Slurm does not bind everywhere
    count = min(count, int(share)) if share.isdigit() and int(share) else count
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups, or no quota
        return count


@cache
def versions() -> dict[str, str]:
    """What computes here; nothing of it is imported."""
    names = ("xlift", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def devices(device: str, workers: int) -> tuple[str, ...]:
    """A device for each worker; several GPUs, where any will do, are handed out in turn."""
    if device != "cuda":
        return (device,) * workers
    import torch

    return tuple(f"cuda:{i % torch.cuda.device_count()}" for i in range(workers))


def device_and_workers(device: str, workers: int | None) -> tuple[str, int]:
    """What `auto` is here, and how many workers: one a core, or one a GPU.

    Raises:
        NoDevice: there is no such device, in words.
    """
    if device == "auto" and not Path("/dev/nvidiactl").exists():
        device = "cpu"
    if device == "cpu":  # torch, which takes seconds, need not be asked
        return device, workers or cores()
    import torch

    gpu = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if gpu else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise NoDevice(f"no device '{device}'; there are auto, cpu, cuda, cuda:N and mps")
    if kind == "cuda" and (not gpu or int(number or 0) >= torch.cuda.device_count()):
        raise NoDevice(f"no device '{device}' here: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise NoDevice("no device 'mps' here")
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    return device, workers or (cores() if kind == "cpu" else gpus)
