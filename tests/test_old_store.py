"""Stores that older versions wrote are read by this one: their runs, scores, cards and checkpoints."""

import io
import shlex
import shutil
import tarfile
import warnings
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from xlift import cli
from xlift.analysis import facts, paired
from xlift.analysis.report import page
from xlift.registry.findings import UserError
from xlift.registry.kept import NotRead
from xlift.registry.stage import Stage
from xlift.registry.store import Damaged, Store

OLD = Path(__file__).parent / "reference" / "store-0.1"
QUERY = "SELECT model, intermediate, target, language, seed, metric, score, items, chance, se FROM scores ORDER BY ALL"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(shutil.copytree(OLD, tmp_path / "old"))


def test_its_scores_are_those_that_it_gave_then(store):
    connection = facts.connect(store, store.cards())
    found, then = facts.query(connection, QUERY), pd.read_csv(OLD / "scores.csv")
    assert len(then) == 20
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(found.to_csv(index=False))), then, check_exact=True)
    assert len(paired.gains(connection, "small")) == 8 and paired.missing(connection, "small").empty


def test_its_runs_are_finished_and_their_stages_are_read(store):
    ids = [path.name for path in (store.root / "runs").iterdir()]
    assert len(ids) == 16 and {store.state(name) for name in ids} == {"finished"}
    for name in ids:
        stage = store.stage(name)
        assert Stage.model_validate_json(stage.json()) == stage and store.record(name).id == name
        assert stage.kind == "evaluate" or store.log(name)[0]


def test_its_checkpoints_are_read_where_they_are(store):
    kept = next(path.parent.name for path in (store.root / "runs").glob("*/checkpoint.*"))
    assert (store.checkpoint(kept) / "model.safetensors").exists()
    gone = next(name for name in (card.id for card in store.card("small").stages if card.kind == "train") if name != kept)
    with pytest.raises(Damaged, match="run the study again"):
        store.checkpoint(gone)


def test_its_report_is_made(store, tmp_path):
    card = store.card("small")
    made = page.report(card, facts.connect(store, [card])).write(tmp_path / "report")
    assert "Is a store of version 0.1 still read?" in made.read_text(encoding="utf-8")


FORMS = Path(__file__).parent / "reference"


def unpacked(form: int, folder: Path) -> Path:
    """A store, and the manifests beside it."""
    shutil.copytree(FORMS / f"store-form-{form}", folder, dirs_exist_ok=True)
    with tarfile.open(folder / "store.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("form", [0, 1])  # 0: before files had a form number, and tables were imported as runs
def test_a_store_of_another_form_is_read_whole(form, tmp_path, recwarn):
    """Its runs, trials, registrations, failures, and a table."""
    unpacked(form, tmp_path)
    store = Store(tmp_path / "store")
    assert {card.study for card in store.cards()} == {"small", "reported", "diverges"}
    connection = facts.connect(store, store.cards())
    for view, columns in (("scores", SCORES), ("gains", GAINS)):
        found = facts.query(connection, f"SELECT {columns} FROM {view} ORDER BY ALL")
        then = pd.read_csv(tmp_path / f"then-{view}.csv")
        pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(found.to_csv(index=False))), then, check_exact=True)
    failed = facts.query(connection, "SELECT DISTINCT reason FROM missing WHERE study = 'diverges'")["reason"]
    assert len(failed) and failed.str.contains("Diverged: step 2 of 3").all()
    assert store.registration("small").confirmatory and store.registration("reported").scored == 4
    assert [len(store.trials(search.folder)) for search in store.card("small").searches] == [2, 2]
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, NotRead)]


SCORES = "study, model, intermediate, target, language, seed, metric, score, items, chance, se"
GAINS = "study, model, treatment, target, language, seed, gain"


VERBS = (
    "plan study.yaml",
    "why study.yaml",
    "run study.yaml --no-mlflow --device cpu",
    "run diverges.yaml --no-mlflow --device cpu",
    "tune study.yaml --no-mlflow --device cpu",
    "register study.yaml",
    "register table.yaml",
    "report study.yaml --no-mlflow",
    "report table.yaml --no-mlflow",
    "gains study.yaml",
    "gains table.yaml",
    "import scores.csv table.yaml",
    "sync study.yaml",
    "sql 'SELECT * FROM scores'",
)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("locked", [True, False])
def test_a_store_of_a_form_that_is_not_known_is_named_and_left_as_it_is(tmp_path, monkeypatch, verb, locked):
    monkeypatch.chdir(unpacked(99, tmp_path))
    if not locked:
        (tmp_path / "study.lock.yaml").unlink()

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}

    before, said = files(), ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        done = CliRunner().invoke(cli.app, [*shlex.split(verb), "--store", "store"])
    said = " ".join([done.output, str(done.exception), *(str(each.message) for each in warned)])
    assert done.exception is None or isinstance(done.exception, SystemExit | UserError), done.exception
    assert "form 99" in said or "xlift-lock/99" in said, said
    assert before == {path: data for path, data in files().items() if path in before}
