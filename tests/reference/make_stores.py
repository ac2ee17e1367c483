"""Make the stores that tests read: one as this version writes it, and the same in a form that is not known yet (99).

python tests/reference/make_stores.py      # writes store-form-1 and store-form-99, from the manifests of store-form-0
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from xlift.analysis import facts
from xlift.registry.kept import FORM
from xlift.registry.store import Store

HERE = Path(__file__).parent
MANIFESTS = ("study.yaml", "diverges.yaml", "table.yaml", "scores.csv")
SAYS = "without form numbers still read?", "with form numbers still read?"
VERBS = (
    "register study.yaml",
    "tune study.yaml --no-mlflow",
    "run study.yaml --no-mlflow",
    "run diverges.yaml --no-mlflow",
    "import scores.csv table.yaml",
    "register table.yaml",
)
SCORES = "study, model, intermediate, target, language, seed, metric, score, items, chance, se"
GAINS = "study, model, treatment, target, language, seed, gain"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in MANIFESTS:
            (place / name).write_text((HERE / "store-form-0" / name).read_text().replace(*SAYS))
        for verb in VERBS:
            command = [sys.executable, "-m", "xlift", *verb.split(), "--store", "store"]
            subprocess.run(command, cwd=place, check="diverges" not in verb)
        store = Store(place / "store")
        connection = facts.connect(store, store.cards())
        for view, columns in (("scores", SCORES), ("gains", GAINS)):
            rows = facts.query(connection, f"SELECT {columns} FROM {view} ORDER BY ALL")
            rows.to_csv(place / f"then-{view}.csv", index=False)
        for path in sorted((place / "store").rglob("checkpoint.*"))[1:]:
            shutil.rmtree(path)  # one is enough
        kept(place, HERE / f"store-form-{FORM}", *MANIFESTS, "study.lock.yaml", "then-scores.csv", "then-gains.csv")
        for path in (place / "store").rglob("checkpoint.*"):
            shutil.rmtree(path)
        for path in (place / "store").rglob("*.json"):
            if path.name != "stage.json":
                path.write_text(json.dumps(json.loads(path.read_text()) | {"form": 99}))
        for path in (place / "store").rglob("*.parquet"):
            pq.write_table(pq.read_table(path).replace_schema_metadata({b"xlift": json.dumps({"form": 99})}), path)
        lock = place / "study.lock.yaml"
        lock.write_text(lock.read_text().replace("xlift-lock/1", "xlift-lock/99"))
        kept(place, HERE / "store-form-99", *MANIFESTS, "study.lock.yaml")


def kept(place: Path, out: Path, *names: str) -> None:
    out.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(place / name, out / name)
    with tarfile.open(out / "store.tar.gz", "w:gz") as archive:
        archive.add(place / "store", "store")


if __name__ == "__main__":
    main()
