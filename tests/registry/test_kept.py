"""Files of a store that another version wrote, or that a disk spoilt: refused by name or said, and the rest goes on."""

import json
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xlift import cli, studies
from xlift.registry.card import Trial
from xlift.registry.findings import BadInput
from xlift.registry.kept import ASIDE, NotRead, NotUnderstood
from xlift.registry.manifest.lock import read_lock
from xlift.registry.plan import Plan
from xlift.registry.score import Score
from xlift.registry.standing import standing
from xlift.registry.store import Store, part_name

STUDY = """\
schema: xlift/1
id: {name}
question: What of another version's files?
data: {{source: lab, world: {{languages: [al1, bo1], test_items: 20, train_items: 30, sentences: 40}}}}
models: [{{id: one, make: {{layers: 1, hidden: 8, heads: 1, vocabulary: 80, positions: 48}}}}]
pretrain: {{recipe: {{lr: 3e-3, steps: 2, batch: 8, max_length: 48}}}}
recipe: {{lr: {rate}, steps: 2, batch: 8, max_length: 48}}
matrix: {{intermediate: [none, lab-paraphrase], target: [lab-entail], seed: {{count: 1, from: 1}}}}
"""
HARMS = {
    "a newer form": lambda text: json.dumps(json.loads(text) | {"form": 99}),
    "an unknown key": lambda text: json.dumps(json.loads(text) | {"colour": "blue"}),
    "another shape": lambda text: json.dumps({"form": 1}),
    "cut": lambda text: text[: len(text) // 2],
    "zeros": lambda text: "\0" * len(text),
}
WHOLE = ("a newer form", "an unknown key", "another shape")
VERSION = "use the version that wrote it"


def finish(plan: Plan, store: Store) -> None:
    """Every stage committed as a run commits it, with a made-up model and made-up scores."""
    for step in plan.steps:
        with store.lease(step.stage) as lease:
            names = [lease.named(part_name(language, mark)) for language, mark in step.tests.items()] or [
                lease.named("checkpoint") + "/model"
            ]
            for name, (language, mark) in zip(names, step.tests.items() or [("", "")], strict=True):
                path = lease.folder / name
                path.parent.mkdir(exist_ok=True)
                value = len(step.stage.lineage) / 8
                row = Score(language=language, metric="accuracy", value=value, primary=True, items=20, chance=0.3, data=mark)
                path.write_text(row.model_dump_json() + "\n" if language else "weights")
            store.commit(lease, names, started=datetime.now(UTC), host="h", versions={"xlift": "0.1.0"})
    store.save_card(plan.card())


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two studies, registered and run in one store, that share their pretraining."""
    monkeypatch.chdir(tmp_path)
    for name, rate in (("harmed", "1e-3"), ("other", "2e-3")):
        (tmp_path / f"{name}.yaml").write_text(STUDY.format(name=name, rate=rate))
        plan = plan_of(name)
        studies.register(plan.study, Store(tmp_path / "store"), None)
        finish(plan, Store(tmp_path / "store"))
    return tmp_path


def plan_of(name: str) -> Plan:
    return studies.plan_of(studies.load(Path(f"{name}.yaml")), None, [])


def verb(*arguments: str) -> str:
    """What a verb says, its warnings too."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = CliRunner().invoke(cli.app, [*arguments, "--store", "store"])
    if done.exception and not isinstance(done.exception, SystemExit | studies.UserError):
        raise done.exception
    return "\n".join([done.output, str(done.exception or ""), *(str(each.message) for each in said)])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "claim" not in path.name}


def spoilt(path: Path, harm: str) -> bytes:
    """A file after one of HARMS."""
    path.write_text(HARMS[harm](path.read_text()))
    return path.read_bytes()


def the_other_goes_on() -> None:
    assert "lab-entail" in verb("gains", "other.yaml", "--format", "csv")
    assert "other" in verb("sql", "SELECT DISTINCT study FROM scores")


@pytest.mark.parametrize("kind", ["evaluate", "train"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_record_of_another_version_is_never_computed_again(folder, harm, kind):
    plan, store = plan_of("harmed"), Store(folder / "store")
    stage = next(step.stage for step in plan.steps if step.stage.kind == kind)
    path = store.folder(stage.id) / "record.json"
    spoilt(path, harm)
    before = contents(path.parent)
    assert "record.json" in verb("report", "harmed.yaml", "--no-mlflow")
    if harm in WHOLE:
        assert VERSION in verb("plan", "harmed.yaml") and VERSION in verb("why", "harmed.yaml", stage.id)
        assert (
            store.state(stage.id) == "foreign" and not standing(plan, store).todo() and stage.id in standing(plan, store).foreign
        )
        with pytest.raises(NotUnderstood, match=VERSION):
            store.lease(stage)
        if kind == "train":  # nor what rests on it
            below = next(step.stage for step in plan.steps if step.stage.parent and step.stage.parent.id == stage.id)
            (store.folder(below.id) / "record.json").unlink()
            assert not standing(plan, store).todo()
        assert contents(path.parent) == before
    elif kind == "evaluate":
        with pytest.warns(NotRead, match="is damaged"):
            assert [step.stage.id for step in standing(plan, store).todo()] == [stage.id]
        finish(plan, store)
        assert (path.parent / f"record.json{ASIDE}").read_bytes() == before[path] and json.loads(path.read_text())["form"] == 1
        assert before.keys() - {path} <= contents(path.parent).keys()  # of what a damaged record named nothing is deleted
    the_other_goes_on()


def test_a_record_that_cannot_be_read_is_not_taken_for_none(folder):
    plan, store = plan_of("harmed"), Store(folder / "store")
    stage = plan.steps[-1].stage
    path = store.folder(stage.id) / "record.json"
    path.unlink()
    path.mkdir()
    assert not standing(plan, store).todo() and "cannot be read" in verb("report", "harmed.yaml", "--no-mlflow")
    with pytest.raises(NotUnderstood, match="cannot be read"):
        store.lease(stage)
    the_other_goes_on()


@pytest.mark.parametrize("harm", HARMS)
def test_a_failure(folder, harm):
    plan, store = plan_of("harmed"), Store(folder / "store")
    stage = next(step.stage for step in plan.steps if step.stage.kind == "evaluate")
    path = store.folder(stage.id) / "failure.json"
    (path.parent / "record.json").unlink()
    with store.lease(stage) as lease:
        store.fail(lease, "Diverged: at once", "…")
    assert "Diverged: at once" in verb("plan", "harmed.yaml")
    spoilt(path, harm)
    assert "failure.json" in verb("plan", "harmed.yaml")
    assert bool(standing(plan, store).todo()) == (harm not in WHOLE)
    the_other_goes_on()


@pytest.mark.parametrize("harm", HARMS)
def test_a_card(folder, harm):
    path = folder / "store" / "studies" / "harmed.json"
    harmed = spoilt(path, harm)
    assert "harmed.json" in verb("report", "harmed.yaml", "--no-mlflow")
    assert "harmed.json" in verb("sql", "SELECT DISTINCT study FROM scores")
    if harm in WHOLE:
        with pytest.raises(NotUnderstood, match=VERSION):
            Store(folder / "store").save_card(plan_of("harmed").card())
        assert path.read_bytes() == harmed
    else:
        Store(folder / "store").save_card(plan_of("harmed").card())
        assert path.with_name(path.name + ASIDE).read_bytes() == harmed
    the_other_goes_on()


@pytest.mark.parametrize("harm", HARMS)
def test_a_registration_is_never_taken_for_none(folder, harm):
    path = folder / "store" / "registrations" / "harmed.json"
    harmed = spoilt(path, harm)
    for name in ("report", "register"):
        assert "registrations/harmed.json" in verb(name, "harmed.yaml", *(["--no-mlflow"] if name == "report" else []))
    assert path.read_bytes() == harmed
    the_other_goes_on()


@pytest.mark.parametrize("harm", HARMS)
def test_a_trial(folder, harm):
    store = Store(folder / "store")
    for number in (0, 1):
        told = {"number": number, "values": {}, "origin": "own", "state": "complete", "stages": (), "judges": ()}
        store.save_trial("s/one", Trial(**told, started="2026-11-29", seconds=1.0))
    path = folder / "store" / "tuning" / "s" / "one" / "trial-0.json"
    spoilt(path, harm)
    if harm in WHOLE:
        with pytest.raises(NotUnderstood, match=r"trial-0\.json"):
            store.trials("s/one")
    else:
        with pytest.warns(NotRead, match=r"trial-0\.json"):
            assert [trial.number for trial in store.trials("s/one")] == [1]


def test_a_lock_of_a_newer_form_is_not_to_be_deleted(folder):
    Path("harmed.lock.yaml").write_text("schema: xlift-lock/99\nstudy: harmed\nwinners: []\n")
    with pytest.raises(BadInput, match=f"(?s)xlift-lock/99.*{VERSION}") as error:
        read_lock(Path("harmed.yaml"), "harmed")
    assert "delete" not in str(error.value)


def test_damaged_logs_and_stages_are_said_and_the_rest_goes_on(folder):
    store = Store(folder / "store")
    trained = next(name for name, stage in store.finished() if stage.kind == "train")
    whole = '{"step": 1, "loss": 2.5}\n'
    (store.folder(trained) / "log.jsonl").write_text(whole + "\0\0\0\n[1]\n" + whole + '{"step": 3, "lo')
    with pytest.warns(NotRead, match="2 of 4 lines are damaged"):
        assert store.log(trained)[0] == [{"step": 1, "loss": 2.5}] * 2
    assert store.last(trained) == {"step": 1, "loss": 2.5}
    runs = len(list(store.finished()))
    (store.folder(trained) / "stage.json").write_text("{")
    with pytest.warns(NotRead, match="stage.json is damaged"):
        assert len(list(store.finished())) == runs - 1
    assert "6 finished" in verb("plan", "other.yaml") and verb("why", "other.yaml") and verb("gains", "harmed.yaml")
