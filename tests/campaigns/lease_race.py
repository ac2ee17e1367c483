"""Six processes fight for one lease for 20 s; no two of them may ever hold it at once.

    python tests/campaigns/lease_race.py [seconds] [processes]

Owners stall at random where a file system would (in fsync, between looking and linking). A witness that knows nothing of
leases, a file that only one process can create, counts overlaps. Exit status 1 if there is one.
"""

import os
import random
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from xlift.registry import leases


def fight(folder: Path, until: float, seed: int, results) -> None:
    draw, real = random.Random(seed), os.fsync
    held = overlaps = 0

    def stalling(file: int) -> None:
        real(file)
        time.sleep(draw.choice([0, 0, 0.001, 0.01, 0.03]))

    os.fsync = stalling
    while time.monotonic() < until:
        with leases.lease(folder) or _Nobody() as lease:
            if lease is None:
                continue
            held += 1
            try:
                os.close(os.open(folder / "witness", os.O_CREAT | os.O_EXCL))
                time.sleep(draw.choice([0, 0.001, 0.005]))
                (folder / "witness").unlink()
            except FileExistsError:
                overlaps += 1
    results.put((held, overlaps))


class _Nobody:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        pass


def main(seconds: float = 20.0, processes: int = 6) -> tuple[int, int]:
    """Leases held, and overlaps."""
    context = get_context("fork")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        until = time.monotonic() + seconds
        crew = [context.Process(target=fight, args=(Path(folder), until, seed, results)) for seed in range(processes)]
        for process in crew:
            process.start()
        counts = [results.get(timeout=seconds + 60) for _ in crew]
        for process in crew:
            process.join()
    return sum(held for held, _ in counts), sum(overlaps for _, overlaps in counts)


if __name__ == "__main__":
    held, overlaps = main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
    print(f"{held} leases held, {overlaps} overlaps")
    sys.exit(1 if overlaps or not held else 0)
