"""Four tuners on one study, one of them killed in the middle: no trial is lost, and none is doubled.

python tests/campaigns/tuning_kill.py                         # the journal, about three minutes
apt-get install postgresql && pip install 'psycopg[binary]'   # and with an empty database:
python tests/campaigns/tuning_kill.py --storage postgresql://USER@HOST/DATABASE
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store
from xlift.runners import tuning

TRIALS = 8
STUDY = f"""\
schema: xlift/1
id: killed
question: Is a trial lost?
data: {{source: lab, world: {{languages: [al1, al2], test_items: 40, train_items: 200, sentences: 300}}}}
models:
  - {{id: one, make: {{layers: 1, hidden: 32, heads: 2, vocabulary: 400}}}}
  - {{id: two, make: {{layers: 2, hidden: 32, heads: 2, vocabulary: 400}}}}
pretrain: {{recipe: {{lr: 4e-3, steps: 10, batch: 16, max_length: 48}}}}
recipe: {{lr: 1e-3, steps: 60, batch: 16, max_length: 48}}
tuning: {{trials: {TRIALS}, space: {{lr: {{log: [1.0e-4, 1.0e-2]}}, steps: [60, 120]}}, beside: false}}
matrix: {{intermediate: [none, lab-pos], target: [lab-names], seed: {{count: 1, from: 1}}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage")
    url = parser.parse_args().storage
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(STUDY)
        command = [sys.executable, "-m", "xlift", "tune", "study.yaml", "--workers", "1", *(["--storage", url] if url else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        tuners = [
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            for _ in range(4)
        ]
        victim = tuners[0]
        store, study = Store(folder / "store"), load(folder / "study.yaml")
        plan = expand(study, Inputs(study))
        killed, optunas = None, None
        while not killed and all(tuner.poll() is None for tuner in tuners):
            time.sleep(0.3)
            if (store.root / "tuning" / "killed").exists() and list(store.root.glob("tuning/killed/*,*/trial-0.json")):
                optunas = optunas or tuning.storage(store, plan.study.id, url)
                killed = running(plan, optunas)
        assert killed, "no three tuners had a trial at once; try again on a quieter machine"
        os.killpg(victim.pid, signal.SIGKILL)  # the tuner and its worker
        print("killed one of four, with trials under way:", killed)
        for tuner in tuners[1:]:
            out, err = tuner.communicate(timeout=600)
            assert tuner.returncode == 0, out + err
        check(plan, store, url)
        print("no trial lost, none doubled")


def running(plan, optunas) -> list[str] | None:
    """The tuners with a trial under way, once they are three."""
    busy: set[str] = set()
    for search in plan.builder.searches:
        trials = optuna.load_study(study_name=plan.builder.folder(search), storage=optunas).trials
        busy |= {trial.user_attrs["tuner"] for trial in trials if trial.state.name == "RUNNING" and "tuner" in trial.user_attrs}
    return sorted(busy) if len(busy) >= 3 else None


def check(plan, store: Store, url: str | None) -> None:
    """Each search has as many ended trials as its budget; a lost one was tried again, once; files and Optuna say the same."""
    optunas = tuning.storage(store, plan.study.id, url)
    for search in plan.builder.searches:
        folder = plan.builder.folder(search)
        told, ended = optuna.load_study(study_name=folder, storage=optunas).trials, store.trials(folder)
        assert len(ended) == TRIALS and {trial.state for trial in ended} == {"complete"}, (search, ended)
        complete = [trial.number for trial in told if trial.state.name == "COMPLETE"]
        assert complete == [trial.number for trial in ended], (complete, ended)
        lost = [t.number for t in told if t.state.name == "FAIL" and "surplus" not in t.user_attrs]
        again = [trial.user_attrs["retry_of"] for trial in told if "retry_of" in trial.user_attrs]
        assert sorted(lost) == sorted(again) and len(set(again)) == len(again), (lost, again)
        surplus = sum("surplus" in trial.user_attrs for trial in told)
        print(f"{search.name}: {len(ended)} trials; lost and tried again: {lost}; given back: {surplus}")


if __name__ == "__main__":
    main()
