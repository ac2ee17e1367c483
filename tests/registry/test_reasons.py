"""Why a stage would run again."""

from datetime import UTC, datetime

import pytest

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.plan import expand
from xlift.registry.reasons import why
from xlift.registry.store import Store, part_name


def finish(store, step):
    """As a run would: a checkpoint, or scores in every language."""
    with store.lease(step.stage) as lease:
        names = [lease.named(part_name(*both)) for both in step.tests.items()] or [f"{lease.named('checkpoint')}/model"]
        for name in names:
            (lease.folder / name).parent.mkdir(exist_ok=True)
            (lease.folder / name).write_text("x")
        store.commit(lease, names, started=datetime.now(UTC), host="here", versions={})


@pytest.fixture
def planned(study):
    def make(text):
        loaded = study(text)
        return expand(loaded, Inputs(loaded))

    return make


@pytest.fixture
def done(planned, manifest, tmp_path):
    """A store in which the whole study is finished."""
    store = Store(tmp_path / "store")
    for step in planned(manifest).steps:
        finish(store, step)
    return store


def test_nothing_would_run_of_a_finished_study_and_one_stage_says_when_it_ran(planned, manifest, done):
    plan = planned(manifest)
    assert why(plan, done) == []
    (found,) = why(plan, done, plan.steps[0].stage.id[:8])
    assert "it is finished" in found.reason
    with pytest.raises(UserError, match="no stage 'zzz' in this plan"):
        why(plan, done, "zzz")


def test_a_changed_recipe_is_the_field_that_differs_and_what_is_below_follows(planned, manifest, done):
    before, after = (
        planned(manifest),
        planned(manifest.replace("lab-entail: {recipe: {batch: 16}}", "lab-entail: {recipe: {batch: 8}}")),
    )
    ids = {
        (s.model, s.stage.data.task, s.stage.seed, len(s.stage.lineage)): s.stage.id
        for s in before.steps
        if s.stage.kind == "train"
    }
    found = why(after, done)
    trained = [each for each in found if each.step.stage.kind == "train"]
    assert trained and {each.step.stage.data.task for each in trained} == {"lab-entail"}
    for each in trained:
        stage = each.step.stage
        assert each.nearest == ids[each.step.model, stage.data.task, stage.seed, len(stage.lineage)]
        assert each.differs == ("recipe.batch: 8, was 16",) and "never ran" in each.reason
    follows = [each for each in found if each.step.stage.kind == "evaluate"]
    assert follows and all(
        each.reason == f"it follows train {each.step.stage.parent.id} (lab-entail), which would run" for each in follows
    )
    assert all(each.differs == ("parent.recipe.batch: 8, was 16",) for each in follows)


def test_what_is_missing_failed_or_let_go_says_so(planned, manifest, done):
    plan = planned(manifest)
    scored = next(step for step in plan.steps if step.stage.kind == "evaluate")
    language = next(iter(scored.tests))
    next(done.folder(scored.stage.id).glob(f"scores/{language}.*")).unlink()
    (found,) = why(plan, done)
    assert found.reason == f"languages without a whole score: {language}"
    done.release(scored.stage.parent)
    assert [each.reason for each in why(plan, done)] == [
        "its checkpoint was released after tuning, and is needed again",
        f"languages without a whole score: {language}",
    ]
    pretrained = scored.stage.lineage[0]
    (done.folder(pretrained.id) / "record.json").unlink()
    with done.lease(pretrained) as lease:
        done.fail(lease, "Diverged: step 1", "…")
    assert why(plan, done)[0].reason == "its last try failed: Diverged: step 1"


def test_a_run_of_an_older_version_differs_in_its_numbers(planned, manifest, done, monkeypatch):
    monkeypatch.setattr("xlift.registry.stage.NUMBERS", 99)
    found = why(planned(manifest), done)
    assert found and all("numbers: 3, was before 3" in each.differs for each in found)


def test_what_waits_for_tuning_says_so(planned, manifest, done):
    plan = planned(manifest.replace("matrix:", "tuning: {trials: 2, space: {lr: [1.0e-3, 2.0e-3]}, beside: false}\nmatrix:"))
    waiting = next(step.stage.id for step in plan.steps if step.blocked)
    (found,) = why(plan, done, waiting)
    assert "it cannot run: not tuned yet: xlift tune" in found.reason
