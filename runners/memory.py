"""The largest memory that a training took: of the device where it has its own, else of the process."""

import contextlib
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start(device: str) -> None:
    """Count from here on."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # no such file outside Linux: the process's largest since its start will do
            RESET.write_text("5")


def peak_gb(device: str) -> float | None:
    """10^9 bytes at most since the start; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024 / 1e9
