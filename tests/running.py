"""The verbs as a user runs them: a process of its own, in a folder, with none of our settings."""

import os
import subprocess
import sys
from pathlib import Path


def xlift(
    *arguments: object, folder: Path, check: int | None = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """One verb to its end, without MLflow; never a traceback, and the exit status that is expected."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-m", "xlift", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={"XLIFT_MLFLOW": "no", **kept, "OMP_NUM_THREADS": "1", **(environment or {})},
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert check is None or done.returncode == check, (done.returncode, done.stderr + done.stdout)
    return done
