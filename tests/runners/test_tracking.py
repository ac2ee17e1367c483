"""The Mirror on planted stores: what MLflow shows is what the store says, however often it is told."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xlift.registry import leases, submission
from xlift.registry.card import Trial
from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.manifest.lock import Lock, Winner
from xlift.registry.plan import Plan, Step, expand
from xlift.registry.score import Score
from xlift.registry.store import Store, part_name
from xlift.runners import tracking
from xlift.runners.tracking import mirror, server
from xlift.runners.tracking.runs import front, views
from xlift.runners.tracking.status import StageStatus, standing

mlflow = pytest.importorskip("mlflow")

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STUDY = """
schema: xlift/1
id: small
question: Does MLflow show what the store says?
extends: [{quickstart}]
models: [{{id: tiny, make: {{layers: 1, hidden: 32, heads: 2}}}}]
matrix: {{intermediate: [none, lab-paraphrase], target: [lab-entail, lab-pairs], seed: {{count: 2, from: 1}}}}
recipe: {{lr: {lr}}}
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A migrated, empty MLflow database: migrations take seconds."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mirror._load()
    mirror.migrate(database)
    return database


@pytest.fixture
def planned(tmp_path) -> Callable[..., Plan]:
    def build(lr: float = 1e-3) -> Plan:
        path = tmp_path / "small.yaml"
        path.write_text(STUDY.format(quickstart=QUICKSTART, lr=lr))
        study = load(path)
        return expand(study, Inputs(study))

    return build


@pytest.fixture
def plan(planned) -> Plan:
    return planned()


@pytest.fixture
def store(tmp_path, template, monkeypatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "store"
    root.mkdir()
    shutil.copy(template, root / "mlflow.db")
    return Store(root)


def write_log(folder: Path, steps: int, first: int = 0, started: int = 1_767_323_045_000) -> None:
    lines = [{"time": started + 1000 * i, "step": i + 1, "of": 3, "loss": 2.0 / (i + 1), "lr": 1e-3} for i in range(first, steps)]
    with open(folder / "log.jsonl", "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def value(step: Step, language: str) -> float:
    """A score that differs by language and stage."""
    return (int(step.stage.id[:4], 16) % 500 + sum(map(ord, language)) % 100) / 1000


def plant(store: Store, step: Step, languages: list[str] | None = None) -> None:
    """Commit a step as the runner does."""
    with store.lease(step.stage) as lease:
        files = []
        if step.stage.kind == "evaluate":
            (lease.folder / "scores").mkdir(exist_ok=True)
            for language in languages or step.tests:
                common = {"language": language, "items": 100, "se": 0.01, "data": step.tests[language]}
                own = Score(metric="accuracy", value=value(step, language), primary=True, chance=0.5, **common)
                other = Score(metric="f1", value=0.25, primary=False, chance=0.0, **common)
                name = lease.named(part_name(language, step.tests[language]))
                (lease.folder / name).write_text(f"{own.model_dump_json()}\n{other.model_dump_json()}\n")
                files.append(name)
        else:
            write_log(lease.folder, 3)
        store.commit(lease, files, started=datetime.now(UTC) - timedelta(seconds=90), host="here", versions={})


def plant_all(store: Store, plan: Plan) -> None:
    for step in plan.steps:
        plant(store, step)


def client(store: Store):
    return mlflow.MlflowClient(tracking_uri=server.own_database(store))


def runs(store: Store) -> dict[str, object]:
    """Every run of the experiment by its key."""
    found = client(store).search_runs([client(store).get_experiment_by_name("small").experiment_id])
    assert len({run.data.tags["xlift.key"] for run in found}) == len(found)
    return {run.data.tags["xlift.key"]: run for run in found}


def step_of(plan: Plan, key: str, kind: str) -> Step:
    view = next(view for view in views(plan) if view.key == key)
    return next(step for step in view.steps if step.stage.kind == kind)


CHILD = "child:tiny:lab-paraphrase:plain:lab-entail:1"
TRAIN = "train:tiny:lab-paraphrase:plain:1"
PARENT = "parent:tiny:lab-paraphrase:plain"


def test_a_finished_study_has_a_run_for_the_study_each_parent_and_each_child(plan, store):
    plant_all(store, plan)
    line = tracking.Mirror(plan, store).update()
    shown = runs(store)
    assert set(shown) == {view.key for view in views(plan)}
    assert line == f"MLflow: {len(shown)} runs, {len(shown)} new"
    assert len(shown) == 1 + 2 + 1 + 2 + 8
    assert {run.info.status for run in shown.values()} == {"FINISHED"}
    names = {shown[CHILD].info.run_name, shown[PARENT].info.run_name, shown[TRAIN].info.run_name}
    assert names == {
        "tiny / lab-paraphrase > lab-entail / seed 1",
        "tiny / lab-paraphrase",
        "tiny / train lab-paraphrase / seed 1",
    }
    assert shown[CHILD].data.tags["mlflow.parentRunId"] == shown[PARENT].info.run_id
    assert shown["pretrain:tiny"].data.tags["mlflow.parentRunId"] == shown["parent:tiny:none:plain"].info.run_id


def test_a_child_shows_its_scores_its_curve_its_axes_its_data_and_its_documents(plan, store):
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    run, evaluation = runs(store)[CHILD], step_of(plan, CHILD, "evaluate")
    language = next(iter(evaluation.tests))
    assert run.data.metrics[f"accuracy/lab-entail/{language}"] == pytest.approx(value(evaluation, language))
    assert run.data.metrics[f"f1/lab-entail/{language}"] == 0.25
    assert run.data.metrics["chance/lab-entail"] == 0.5
    curve = client(store).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert {"train/time", "train/step", "train/of"}.isdisjoint(run.data.metrics)
    assert run.data.params["target"] == "lab-entail" and run.data.params["recipe.lr"] == "0.001"
    assert run.data.tags["xlift.stage"].split()[-1] == evaluation.stage.id
    contexts = [entry.tags[0].value for entry in run.inputs.dataset_inputs]
    assert contexts.count("train") == 1 and contexts.count("test") == len(evaluation.tests)
    assert {file.path for file in client(store).list_artifacts(run.info.run_id, "evaluate")} == {
        "evaluate/stage.json",
        "evaluate/record.json",
    }
    record = store.record(evaluation.stage.id)
    ended = datetime.fromisoformat(record.started) + timedelta(seconds=record.seconds)
    assert run.info.end_time == pytest.approx(ended.timestamp() * 1000, abs=2)


def test_a_parent_shows_the_mean_over_seeds_and_languages_without_the_source_language(plan, store):
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    source = plan.study.facts.source_language
    steps = [step_of(plan, CHILD[:-1] + seed, "evaluate") for seed in "12"]
    assert source in steps[0].tests
    values = [value(step, language) for step in steps for language in step.tests if language != source]
    assert runs(store)[PARENT].data.metrics["score/lab-entail"] == pytest.approx(sum(values) / len(values))


def test_a_second_mirror_sends_nothing_about_what_is_complete(plan, store, monkeypatch):
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    for name in ("log_batch", "create_run", "log_artifact", "log_inputs", "set_terminated", "log_text", "update_run"):
        monkeypatch.setattr(mlflow.MlflowClient, name, lambda *_, **__: pytest.fail("something was sent"))
    assert tracking.Mirror(plan, store).update().endswith(", 0 new")


def test_sending_everything_again_adds_no_point(plan, store, monkeypatch):
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    monkeypatch.setattr("xlift.runners.tracking.mirror.FORM", 99)
    assert tracking.Mirror(plan, store).update().endswith(", 0 new")
    run = runs(store)[CHILD]
    for name in run.data.metrics:
        points = client(store).get_metric_history(run.info.run_id, name)
        assert len(points) == (3 if name.startswith("train/") else 1), name


def test_nothing_is_shown_before_something_starts_and_a_running_curve_grows(plan, store):
    mirror = tracking.Mirror(plan, store)
    assert mirror.update() == "MLflow: 0 runs, 0 new"
    plant(store, step_of(plan, "pretrain:tiny", "pretrain"))
    with store.lease(step_of(plan, TRAIN, "train").stage) as lease:
        write_log(lease.folder, 1)
        mirror.update()
        shown = runs(store)
        assert {"study", PARENT, TRAIN, "pretrain:tiny"} <= set(shown) and CHILD not in shown
        assert shown[TRAIN].info.status == shown[PARENT].info.status == shown["study"].info.status == "RUNNING"
        assert shown["pretrain:tiny"].info.status == "FINISHED"
        write_log(lease.folder, 3, first=1)
        mirror.update()
    curve = client(store).get_metric_history(runs(store)[TRAIN].info.run_id, "train/loss")
    assert [point.step for point in curve] == [1, 2, 3]


def test_a_trained_target_that_waits_for_its_evaluation_is_scheduled_then_finished(plan, store):
    mirror = tracking.Mirror(plan, store)
    plant(store, step_of(plan, CHILD, "train"))
    mirror.update()
    assert runs(store)[CHILD].info.status == "SCHEDULED"
    plant(store, step_of(plan, CHILD, "evaluate"))
    mirror.update()
    assert runs(store)[CHILD].info.status == "FINISHED"


def test_a_language_that_comes_later_is_added_to_the_same_run(plan, store):
    evaluation = step_of(plan, CHILD, "evaluate")
    first, *rest = evaluation.tests
    plant(store, step_of(plan, CHILD, "train"))
    plant(store, evaluation, [first])
    tracking.Mirror(plan, store).update()
    before = runs(store)[CHILD]
    assert before.info.status == "SCHEDULED" and f"accuracy/lab-entail/{first}" in before.data.metrics
    plant(store, evaluation, rest)
    tracking.Mirror(plan, store).update()
    after = runs(store)[CHILD]
    assert after.info.run_id == before.info.run_id and after.info.status == "FINISHED"
    assert sum(name.startswith("accuracy/") for name in after.data.metrics) == len(evaluation.tests)


def test_a_failed_stage_fails_its_run_with_the_reason_and_a_new_try_replaces_it(plan, store):
    train = step_of(plan, TRAIN, "train")
    with store.lease(train.stage) as lease:
        write_log(lease.folder, 2)
        store.fail(lease, "Diverged: step 2", "trace")
    mirror = tracking.Mirror(plan, store)
    mirror.update()
    failed = runs(store)[TRAIN]
    assert failed.info.status == "FAILED" and failed.data.tags["failure"] == "Diverged: step 2"
    assert runs(store)[PARENT].info.status == "FAILED"
    (store.folder(train.stage.id) / "log.jsonl").unlink()
    with store.lease(train.stage) as lease:
        write_log(lease.folder, 3, started=1_767_400_000_000)
        store.commit(lease, [], started=START, host="here", versions={})
    mirror.update()
    shown = runs(store)[TRAIN]
    assert shown.info.status == "FINISHED" and "failure" not in shown.data.tags
    curve = client(store).get_metric_history(shown.info.run_id, "train/loss")
    assert [point.timestamp for point in curve] == [1_767_400_000_000 + 1000 * i for i in range(3)]


def test_a_run_whose_lease_died_is_killed(plan, store):
    train = step_of(plan, TRAIN, "train")
    lease = store.lease(train.stage)
    write_log(lease.folder, 1)
    mirror = tracking.Mirror(plan, store)
    mirror.update()
    assert runs(store)[TRAIN].info.status == "RUNNING"
    path = lease.folder / "claim.1"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": 2**22 + 1}))
    mirror.update()
    assert runs(store)[TRAIN].info.status == "KILLED"


def test_another_recipe_takes_the_place_of_the_run_and_its_parent_keeps_it(planned, store):
    plan = planned()
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    before, other = runs(store), planned(lr=2e-3)
    plant(store, step_of(other, CHILD, "train"))
    plant(store, step_of(other, CHILD, "evaluate"))
    tracking.Mirror(other, store).update()
    after = runs(store)
    assert after[CHILD].info.run_id != before[CHILD].info.run_id and after[CHILD].data.params["recipe.lr"] == "0.002"
    assert after[CHILD].data.tags["mlflow.parentRunId"] == after[PARENT].info.run_id == before[PARENT].info.run_id


def test_two_mirrors_of_a_study_share_their_runs_and_of_two_equal_ones_the_oldest_stays(plan, store):
    one, two = tracking.Mirror(plan, store), tracking.Mirror(plan, store)
    one.update(), two.update()
    plant_all(store, plan)
    one.update()
    assert two.update().endswith(", 0 new")
    first = runs(store)[CHILD]
    client(store).create_run(first.info.experiment_id, tags={"xlift.key": CHILD})
    tracking.Mirror(plan, store).update()
    assert runs(store)[CHILD].info.run_id == first.info.run_id


def test_a_report_is_attached_to_the_study_once(plan, store, tmp_path, monkeypatch):
    plant_all(store, plan)
    folder = tmp_path / "report"
    (folder / "tables").mkdir(parents=True)
    (folder / "report.html").write_text("<p>page</p>")
    (folder / "tables" / "effects.md").write_text("| a |")
    tracking.Mirror(plan, store).attach(folder, {"slope/fine-tuned": -1.5})
    run = runs(store)["study"]
    assert run.data.metrics["slope/fine-tuned"] == -1.5
    names = {file.path for file in client(store).list_artifacts(run.info.run_id)}
    assert names == {"report.html", "tables", "manifest.yaml", "card.json"}
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", lambda *_: pytest.fail("sent again"))
    tracking.Mirror(plan, store).attach(folder)


def test_the_experiment_opens_on_training_runs_and_shows_the_question_and_the_manifest(plan, store):
    mirror = tracking.Mirror(plan, store)
    assert mirror.link() is None
    mirror.update()
    experiment = client(store).get_experiment_by_name("small")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    note = experiment.tags["mlflow.note.content"]
    assert "Does MLflow show what the store says?" in note and "schema: xlift/1" in note
    assert (
        mirror.link()
        == f"http://127.0.0.1:5055/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=xlift"
    )
    assert server._studies(server.own_database(store)) == [("small", experiment.experiment_id)]
    assert len(front(plan, "x" * 100_000)) <= 5000


def test_the_shared_view_shows_gains_and_all_languages_of_a_target_in_one_chart(plan, store):
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    view = json.loads(client(store).get_experiment_by_name("small").tags["mlflow.sharedViewState.xlift"])
    columns = {name.partition(".")[2].strip("`") for name in view["selectedColumns"]}
    found = runs(store)
    cell = next(run for run in found.values() if run.data.tags["xlift.kind"] == "cell" and "gain" in run.data.metrics)
    assert columns == {"model", "intermediate", "target", "seed", "score", "gain"}
    assert columns <= {*cell.data.params, *cell.data.metrics}
    shown = {name for chart in view["compareRunCharts"] for name in chart["selectedMetrics"]}
    assert shown and shown <= {name for run in found.values() for name in run.data.metrics}


def test_the_database_is_made_whole_and_with_a_write_ahead_log(template):
    import sqlite3

    assert sqlite3.connect(template).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not list(template.parent.glob(".*"))


def test_what_goes_wrong_is_a_tracking_error(plan, store, monkeypatch):
    (store.root / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(tracking.TrackingError, match="not a database"):
        tracking.Mirror(plan, store).update()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(tracking.TrackingError, match="MlflowException"):
        tracking.Mirror(plan, store, "http://127.0.0.1:9").update()
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", None)
    with pytest.raises(tracking.TrackingError, match="pip install"):
        tracking.Mirror(plan, store).update()


def test_a_status_is_that_of_the_most_urgent_stage():
    def status(*states: str) -> str | None:
        return standing([StageStatus(state) for state in states])

    assert status("waiting", "waiting") is None
    assert status("finished", "failed", "running") == "RUNNING"
    assert status("finished", "failed", "stopped") == "FAILED"
    assert status("stopped", "finished") == "KILLED"
    assert status("finished", "waiting") == status("partial") == "SCHEDULED"
    assert status("finished", "finished") == "FINISHED"


def test_the_module_is_imported_without_mlflow():
    code = "import sys; from xlift.runners import tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_a_server_elsewhere_is_named_and_a_store_without_runs_is_said(store, monkeypatch, capsys, tmp_path):
    with pytest.raises(tracking.TrackingError, match="no MLflow database"):
        tracking.serve(Store(tmp_path / "empty"), 5999)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    tracking.serve(store)
    assert "http://tracking.example:5000" in capsys.readouterr().out


def test_gains_stand_on_the_treated_run_on_its_parent_and_on_the_study(plan, store):
    """A gain is the mean over languages but the source of score less the baseline's, as the report has it."""
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    shown = runs(store)
    treated = step_of(plan, CHILD, "evaluate")
    base = step_of(plan, CHILD.replace("lab-paraphrase", "none"), "evaluate")
    away = [language for language in treated.tests if language != plan.study.facts.source_language]
    gain = sum(value(treated, language) - value(base, language) for language in away) / len(away)
    assert shown[CHILD].data.metrics["gain"] == pytest.approx(gain)
    assert shown[CHILD].data.metrics["score"] == pytest.approx(sum(value(treated, language) for language in away) / len(away))
    assert "gain" not in shown[CHILD.replace("lab-paraphrase", "none")].data.metrics
    assert "gain/lab-entail" in shown[PARENT].data.metrics and "gain/lab-entail" in shown["study"].data.metrics
    names = [run.info.run_name for run in shown.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("dropped", [[], ["bo1"]])
def test_means_leave_out_the_languages_that_the_study_does(planned, store, tmp_path, dropped):
    """Whatever is declared: with none left out, the source language counts too."""
    planned()
    path = tmp_path / "small.yaml"
    path.write_text(path.read_text() + f"analysis: {{gain: {{drop_languages: {dropped}}}}}\n")
    study = load(path)
    plan = expand(study, Inputs(study))
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    treated, base = (step_of(plan, key, "evaluate") for key in (CHILD, CHILD.replace("lab-paraphrase", "none")))
    kept = [language for language in treated.tests if language not in dropped]
    gain = sum(value(treated, language) - value(base, language) for language in kept) / len(kept)
    assert runs(store)[CHILD].data.metrics["gain"] == pytest.approx(gain)
    assert study.facts.source_language in kept and len(kept) == len(treated.tests) - len(dropped)


def test_a_gain_waits_for_its_baseline(plan, store):
    for step in plan.steps:
        if step.stage.id != step_of(plan, CHILD.replace("lab-paraphrase", "none"), "evaluate").stage.id:
            plant(store, step)
    mirror = tracking.Mirror(plan, store)
    mirror.update()
    assert "score" in runs(store)[CHILD].data.metrics and "gain" not in runs(store)[CHILD].data.metrics
    plant(store, step_of(plan, CHILD.replace("lab-paraphrase", "none"), "evaluate"))
    mirror.update()
    assert "gain" in runs(store)[CHILD].data.metrics


def trial_of(plan: Plan, number: int, state: str = "complete") -> Trial:
    search = next(iter(plan.builder.searches))
    training, (judge,) = plan.builder.trial(search, ("lab-paraphrase", "plain"), (("lr", 1e-3 * (number + 1)),))
    return Trial(
        number=number,
        values={"lr": 1e-3 * (number + 1)},
        origin="searched",
        state=state,
        score=0.5 + 0.1 * number if state == "complete" else None,
        reason=None if state == "complete" else "Diverged: step 1",
        stages=(training.stage.id,),
        judges=(judge.stage.id,),
        started="2026-01-02T03:04:05.000+00:00",
        seconds=60.0,
    )


def test_each_trial_is_a_child_of_its_search_and_is_sent_once(tmp_path, store):
    text = STUDY.format(quickstart=QUICKSTART, lr=1e-3) + "tuning: {trials: 3, space: {lr: {log: [1.0e-4, 1.0e-1]}}}\n"
    (tmp_path / "small.yaml").write_text(text)
    study = load(tmp_path / "small.yaml")
    plan = expand(study, Inputs(study))
    folder = plan.builder.folder(next(iter(plan.builder.searches)))
    first = trial_of(plan, 0)
    (store.folder(first.stages[0])).mkdir(parents=True)
    write_log(store.folder(first.stages[0]), 3)
    store.save_trial(folder, first)
    store.save_trial(folder, trial_of(plan, 1, "infeasible"))
    mirror_ = tracking.Mirror(plan, store)
    mirror_.update()
    shown = runs(store)
    above = shown[f"search:{folder}"]
    assert above.info.end_time - above.info.start_time == 60_000
    assert above.info.run_name == "tiny / lab-paraphrase / tuning" and above.data.metrics == {"score": 0.5}
    one, two = (shown[f"trial:{folder}:{number}"] for number in range(2))
    assert {run.data.tags["mlflow.parentRunId"] for run in (one, two)} == {above.info.run_id}
    assert (one.info.status, two.info.status) == ("FINISHED", "KILLED") and two.data.tags["failure"] == "Diverged: step 1"
    assert one.data.params["recipe.lr"] == "0.001" and one.data.metrics["score"] == 0.5
    assert one.info.end_time - one.info.start_time == 60_000
    assert [point.value for point in client(store).get_metric_history(one.info.run_id, "train/loss")] == [2.0, 1.0, 2 / 3]
    store.save_trial(folder, trial_of(plan, 2))
    mirror_.update()
    assert tracking.Mirror(plan, store).update().endswith(", 0 new")
    assert runs(store)[f"search:{folder}"].data.metrics == {"score": 0.7}
    figures = tmp_path / "figures"
    (figures / "tuning" / "tiny,lab-paraphrase").mkdir(parents=True)
    (figures / "tuning" / "tiny,lab-paraphrase" / "history.png").write_bytes(b"x")
    tracking.Mirror(plan, store).attach(figures, what="tuning")
    study_run = runs(store)["study"]
    assert [f.path for f in client(store).list_artifacts(study_run.info.run_id, "tuning")] == ["tuning/tiny,lab-paraphrase"]


def test_cells_with_the_study_s_own_recipe_stand_beside_those_that_are_tuned(tmp_path, store):
    """A baseline is the same run in both, and is shown once."""
    text = STUDY.format(quickstart=QUICKSTART, lr=1e-3) + "tuning: {trials: 3, space: {lr: {log: [1.0e-4, 1.0e-1]}}}\n"
    (tmp_path / "small.yaml").write_text(text)
    study = load(tmp_path / "small.yaml")
    plan = expand(study, Inputs(study))
    winners = tuple(
        Winner(**search._asdict(), recipe={"lr": 0.01}, trial=0, trials=3, seed=0, score=0.5, basis=plan.builder.basis(search))
        for search in plan.builder.searches
    )
    study = replace(study, lock=Lock(schema="xlift-lock/1", study=study.id, winners=winners))
    plan = expand(study, Inputs(study))
    keys = {view.key: view for view in views(plan)}
    assert keys[CHILD].params["recipe.lr"] == keys[f"own:{CHILD}"].params["recipe.lr"]  # of the target
    assert keys[TRAIN].params["recipe.lr"] == "0.01" and keys[f"own:{TRAIN}"].params["recipe.lr"] != "0.01"
    assert keys[f"own:{CHILD}"].parent == f"own:{PARENT}" and keys[f"own:{CHILD}"].axes["recipe"] == "own"
    assert not any(key.startswith("own:") and ":none:" in key for key in keys)
    plant_all(store, plan)
    tracking.Mirror(plan, store).update()
    shown = runs(store)
    assert shown[f"own:{CHILD}"].data.metrics["gain"] != shown[CHILD].data.metrics["gain"]
    own = [shown[key].data.metrics["gain"] for key in shown if key.startswith("own:child") and "lab-entail" in key]
    tuned = [
        shown[key.removeprefix("own:")].data.metrics["gain"]
        for key in shown
        if key.startswith("own:child") and "lab-entail" in key
    ]
    assert (
        shown["study"].data.metrics["gain/lab-entail"]
        == pytest.approx(sum(tuned) / len(tuned))
        != pytest.approx(sum(own) / len(own))
    )


def test_a_follower_is_alone_and_ends_when_nothing_is_left_to_run_or_it_is_cancelled(plan, store, monkeypatch):
    from xlift.runners.tracking import live

    monkeypatch.setattr(live, "FOLLOWED", 0.05)
    said = []
    thread = threading.Thread(target=lambda: said.append(tracking.followed(tracking.Mirror(plan, store))))
    thread.start()
    lease = store.root / "followers" / plan.study.id
    while not leases.alive(lease):
        time.sleep(0.02)
    with pytest.raises(UserError, match="followed by another process already"):
        tracking.followed(tracking.Mirror(plan, store))
    assert thread.is_alive()
    plant_all(store, plan)
    thread.join(timeout=120)
    assert not thread.is_alive() and said and runs(store)[CHILD].info.status == "FINISHED"
    (store.folder(step_of(plan, CHILD, "evaluate").stage.id) / "record.json").unlink()
    thread = threading.Thread(target=lambda: said.append(tracking.followed(tracking.Mirror(plan, store))))
    thread.start()
    while not leases.alive(lease):
        time.sleep(0.02)
    time.sleep(0.2)
    submission.cancel(store, plan.study.id)
    thread.join(timeout=120)
    assert not thread.is_alive() and len(said) == 2
