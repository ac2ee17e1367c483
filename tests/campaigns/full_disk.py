"""A store on a disk that is full, then has room, then may only be read. Needs root, for a file system in memory.

    python tests/campaigns/full_disk.py

On 7 MB the study fails in words; with room, the same command ends it; read-only, `run` with nothing to do, `sql` and `report` work.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = """\
schema: xlift/1
id: small
question: What does a full disk cost?
data: {source: lab, world: {test_items: 60, train_items: 200, sentences: 300}}
models: [{id: one, make: {layers: 2, hidden: 128, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 3e-3, steps: 5, max_length: 48}}
recipe: {lr: 1e-3, steps: 5, max_length: 48}
matrix: {intermediate: [none, lab-paraphrase], target: [lab-entail], seed: {count: 1, from: 1}}
"""


def xlift(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "xlift", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, store = Path(place), Path(place) / "store"
        store.mkdir()
        (folder / "small.yaml").write_text(STUDY)
        mount(store, "size=7m")
        try:
            status, said = xlift(folder, "run", "small.yaml", "--workers", "2")
            print(f"full: exit {status}: " + "; ".join(line for line in said.splitlines() if "failed" in line)[:300])
            assert status == 1 and "No space left" in said
            left = [path for path in store.rglob(".*") if path.is_file()]
            assert not left, left
            mount(store, "remount,size=400m")
            status, said = xlift(folder, "run", "small.yaml", "--workers", "2")
            assert status == 0, said
            mount(store, "remount,ro")
            for command in (
                ["run", "small.yaml"],
                ["sql", "SELECT count(*) FROM scores"],
                ["report", "small.yaml"],
                ["plan", "small.yaml"],
            ):
                status, said = xlift(folder, *command)
                print(f"read-only: xlift {command[0]}: exit {status}")
                assert status == 0, said
            (folder / "small.yaml").write_text(STUDY.replace("count: 1", "count: 2"))
            status, said = xlift(folder, "run", "small.yaml")
            print(f"read-only, with work to do: exit {status}: {said.splitlines()[-1]}")
            assert status == 2 and "cannot be written" in said
        finally:
            subprocess.run(["umount", str(store)], check=True)


if __name__ == "__main__":
    main()
