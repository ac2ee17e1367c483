"""What gathers finished runs is killed at random moments, and four do it at once: no answer changes, and no run is lost.

    python tests/campaigns/gather_kills.py [--kills 50] [--runs 1200] [--seed 0]

After each kill runs are added or changed, and all gains and scores are compared with a full reading, row for row; nothing of `facts/`
is kept but by what a kill left. In every fifth round four processes ask at once, beside one that commits.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pandas.testing import assert_frame_equal

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import facts as registries

from xlift.analysis import facts, gathered
from xlift.registry.store import Store

ASKS = "\n".join(
    (
        "import sys; from pathlib import Path; from xlift.analysis import gathered; from xlift.registry.store import Store",
        "gathered.MANY, gathered.CHUNK, gathered.SETTLED = 16, 64, 0",
        "print('ready', flush=True)",
        "print(len(gathered.ask(Store(Path(sys.argv[1])), 'SELECT * FROM gains')))",
    )
)
STATEMENTS = [f"SELECT * FROM {view} ORDER BY ALL" for view in ("gains", "scores", "missing")]


def asking(store: Store) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", ASKS, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def same(store: Store) -> int:
    connection = facts.connect(store, store.cards())
    for statement in STATEMENTS:
        assert_frame_equal(gathered.ask(store, statement), facts.query(connection, statement))
    return len(facts.query(connection, STATEMENTS[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    gathered.MANY, gathered.CHUNK, gathered.SETTLED = 16, 64, 0
    rng, kills, left = np.random.default_rng(options.seed), 0, set[str]()
    with tempfile.TemporaryDirectory() as folder:
        store = registries.made(Path(folder) / "store", options.runs, 3, 1, 2)
        whole = asking(store)
        begun = time.monotonic()
        whole.wait()
        longest, round_ = time.monotonic() - begun, 0
        while kills < options.kills:
            round_ += 1
            runs = sorted(path.parent for path in store.root.glob("runs/*/record.json"))
            for run in rng.permutation(runs)[: rng.integers(20, 200)]:  # as if committed again
                record = Path(run) / "record.json"
                data = record.read_bytes()
                record.unlink()
                record.write_bytes(data + b" ")
            anew = rng.random() < 0.3
            if anew:
                shutil.rmtree(store.root / "facts", ignore_errors=True)
            process = asking(store)
            time.sleep(float(rng.uniform(0, longest if anew else longest / 4)))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
                left |= {path.name.split(".")[0] for path in (store.root / "facts").glob("*/*.parquet")}
            process.wait()
            if round_ % 5 == 0:
                several = [asking(store) for _ in range(4)]
                done = options.runs // 2 + 100 * (round_ // 5 - 1)
                grown = registries.card("study-0", done + 100, 3)
                store.save_card(grown)
                registries.write(store, grown, 1, slice(done, None))
                assert all(other.wait() == 0 for other in several)
            gains = same(store)
            print(f"round {round_}: {kills} kills, {gains} gains, equal", flush=True)
    print(f"{kills} kills, {round_ // 5} times four at once: all answers equal; what kills left: {', '.join(sorted(left))}")


if __name__ == "__main__":
    main()
