"""What `tuning` declares: its findings, the lock, and what of both is in the ids of stages."""

from dataclasses import replace

import pytest

from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.lock import Lock, Winner, lock_path, read_lock, write_lock
from xlift.registry.plan import expand
from xlift.registry.tuning import Search

SPACE = "{lr: {log: [1.0e-4, 1.0e-2]}, steps: [5, 10]}"


@pytest.fixture
def tuned(manifest):
    return manifest.replace("matrix:", f"tuning: {{trials: 4, space: {SPACE}}}\nmatrix:")


def winner(plan, search: Search, **recipe) -> Winner:
    return Winner(
        **search._asdict(),
        recipe=recipe or {"lr": 2e-3, "steps": 10},
        trial=1,
        trials=4,
        seed=0,
        score=0.5,
        basis=plan.builder.basis(search),
    )


def locked(study, plan, **recipe):
    """The study with a lock that has the same values for all of its searches."""
    return replace(
        study,
        lock=Lock(
            schema="xlift-lock/1",
            study=study.id,
            winners=tuple(winner(plan, search, **recipe) for search in plan.builder.searches),
        ),
    )


def planned(study):
    return expand(study, Inputs(study))


@pytest.mark.parametrize(
    ("old", "new", "code", "column"),
    [
        ("trials: 4, ", "", "E310", 1),
        ("trials: 4", "trials: 0", "E105", 18),
        ("trials: 4", "trials: 4, sampler: cmaes", "E103", 30),
        ("trials: 4", "trials: 4, sampler: grid", "E312", None),
        ("trials: 4", "trials: 4, per: [intermediate]", "E314", None),
        ("trials: 4", "trials: 4, roles: [target]", None, None),
        ("trials: 4, ", "hours: 1, across: halving, ", "E310", None),
        ("lr:", "lrr:", "E311", None),
        ("[1.0e-4, 1.0e-2]", "[1.0e-2, 1.0e-4]", "E312", None),
        ("[1.0e-4, 1.0e-2]", "[0, 1.0e-4]", "E312", None),
        ("{log: [1.0e-4, 1.0e-2]}", "{log: [1.0e-4, 1.0e-2], uniform: [0.1, 0.2]}", "E312", None),
        ("steps: [5, 10]", "steps: [5, 5]", "E312", None),
        ("steps: [5, 10]", "steps: [0, 5]", "E312", None),
        ("steps: [5, 10]", "steps: []", "E312", None),
        ("steps: [5, 10]", "steps: [5], epochs: [1]", "E312", None),
        ("steps: [5, 10]", "mask: [0.1, 0.2]", "E306", None),
        ("trials: 4", "trials: 4, objective: {split: test}", "E315", None),
        ("trials: 4", "trials: 4, objective: {language: al2}", "E315", None),
        ("trials: 4", "trials: 4, objective: {split: development}", "E315", None),
        ("trials: 4", "trials: 4, seed: 8", "W316", None),
    ],
)
def test_bad_searches_are_findings_with_places(study, old, new, code, column, tuned):
    text = tuned.replace(old, new)
    try:
        found = study(text).warnings
    except BadInput as error:
        found = error.findings
    found = [finding for finding in found if finding.code == code] if code else list(found)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if row.startswith("tuning:"))
    assert [finding.place.line for finding in found] == ([line] * len(found) if code else [])
    assert bool(found) == bool(code) and all(finding.hint or finding.code == "E105" for finding in found)
    assert column is None or column in {finding.place.column for finding in found}


def test_there_is_a_search_for_each_model_and_intermediate_the_small_models_first(study, tuned):
    found = planned(study(tuned)).builder.searches
    assert [search.name for search in found] == [f"{name}/lab-paraphrase" for name in ("one", "two", "three", "four")]
    both = planned(study(tuned.replace("trials: 4", "trials: 4, roles: [intermediate, target]"))).builder.searches
    names = [search.name for search in both]
    assert names[:4] == [search.name for search in found]
    assert {"one/none/lab-entail", "one/lab-paraphrase/lab-entail"} <= set(names[4:])  # a baseline has the same budget
    assert not any("lab-pairs" in name for name in names)  # which is not trained
    shared = planned(study(tuned.replace("trials: 4", "trials: 4, per: [model]"))).builder.searches
    assert [search.name for search in shared] == ["one/*", "two/*", "three/*", "four/*"]


def test_cells_wait_for_their_search_and_the_study_s_own_recipe_does_not(study, tuned):
    plan = planned(study(tuned))
    waiting = {cell.intermediate for cell in plan.cells if cell.blocked and not cell.declared}
    assert waiting == {"lab-paraphrase"} and all("xlift tune" in why for why in plan.gaps())
    assert not any(cell.blocked for cell in plan.untuned if not cell.declared)
    alone = planned(study(tuned.replace("trials: 4", "trials: 4, beside: false")))
    assert not alone.untuned and {step.stage.data.task for step in alone.steps if step.blocked} >= {"lab-paraphrase"}


def test_the_values_of_the_lock_are_in_the_ids_of_the_stages_that_they_train_and_of_no_others(study, tuned, manifest):
    bare = study(tuned)
    plan = planned(bare)
    found, other = planned(locked(bare, plan)), planned(locked(bare, plan, lr=3e-3, steps=10))
    assert not found.gaps()

    def stages(plan):
        return {(c.model, c.intermediate, c.target, c.seed): c.stage for c in plan.cells if c.stage}

    for key, stage in stages(found).items():
        assert (stage != stages(other)[key]) == (key[1] == "lab-paraphrase"), key
    plain = planned(study(manifest))
    assert stages(plain) == {(c.model, c.intermediate, c.target, c.seed): c.stage for c in found.untuned if c.stage}
    recipes = {s.stage.recipe.lr: s.stage.recipe.steps for s in found.steps if s.stage.data.task == "lab-paraphrase"}
    assert recipes == {1e-3: 5, 2e-3: 10}


@pytest.mark.parametrize(
    "change", [("trials: 4", "trials: 5"), ("1.0e-2", "2.0e-2"), ("lr: 1e-3, steps: 5", "lr: 2e-3, steps: 5")]
)
def test_a_lock_of_another_search_or_another_recipe_is_not_used(study, change, tuned):
    bare = study(tuned)
    held = locked(bare, planned(bare)).lock
    changed = replace(study(tuned.replace(*change)), lock=held)
    assert any("another search" in why for why in planned(changed).gaps())


def test_a_lock_is_read_back_and_written_the_same(study, tuned):
    bare = study(tuned)
    lock = locked(bare, planned(bare)).lock
    path = lock_path(bare.path)
    path.write_bytes(write_lock(lock))
    assert read_lock(bare.path, bare.id) == lock == study(tuned).lock
    assert write_lock(read_lock(bare.path, bare.id)) == path.read_bytes()
    assert "recipe: {lr: 0.002, steps: 10}" in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("lr: 0.002", "lr: -1", "E141"),
        ("lr: 0.002", "lrr: 0.002", "E141"),
        ("  trial: 1\n", "", "E141"),
        ("study: example", "study: other", "E142"),
        ("schema: xlift-lock/1", "schema: xlift-lock/1\nschema: x", "E1"),
        ("winners:", "winners: ][", "E1"),
    ],
)
def test_a_bad_lock_is_a_finding_in_its_own_file(study, old, new, code, tuned):
    bare = study(tuned)
    text = write_lock(locked(bare, planned(bare)).lock).decode()
    assert old in text
    lock_path(bare.path).write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        study(tuned)
    assert all(f.code.startswith(code) and f.place.file.endswith("study.lock.yaml") for f in caught.value.findings)


def mine(folder, tuned, **files):
    """The text of a study on a task of one's own, whose files are written."""
    (folder / "mine").mkdir(exist_ok=True)
    for name, rows in files.items():
        lines = [f'{{"first": "a {i}", "second": "b {i}", "label": "{i % 2}"}}\n' for i in rows]
        (folder / "mine" / f"{name.replace('_', '.')}.jsonl").write_text("".join(lines))
    text = tuned.replace("source: lab, world: {test_items: 60, train_items: 200, sentences: 300}", "source: local")
    text = text.replace(
        "tasks:\n  lab-entail: {recipe: {batch: 16}}", "tasks: {mine: {kind: pair, labels: ['0', '1'], languages: [en, de]}}"
    )
    text = text.replace("[none, lab-paraphrase]", "[none, mine]").replace("[lab-entail, lab-pairs]", "[mine]")
    text = text.replace("recipe: {lr: 3e-3", "corpus: texts\n  languages: [en]\n  recipe: {lr: 3e-3")
    return text.replace("tasks: {", "tasks: {texts: {kind: mlm}, ")


def test_other_development_data_are_another_search(tmp_path, study, tuned):
    """Scores on the file before and on the file now are not of one search: another folder, and a lock that is not used."""
    found = {}
    for name, rows in (("before", range(40, 60)), ("now", range(41, 61))):
        loaded = study(mine(tmp_path, tuned, train_en=range(20), dev_en=rows, test_en=range(60, 80), test_de=range(60, 80)))
        builder = expand(loaded, Inputs(loaded, tmp_path)).builder
        search = next(iter(builder.searches))
        found[name] = (builder.basis(search), builder.folder(search), builder.trials(search)[0][0].stage.id)
    (basis, folder, training), (other, beside, same) = found.values()
    assert training == same and basis != other and folder != beside


def test_development_data_that_are_test_data_leak(tmp_path, study, tuned):
    """Under any name: what is compared is what the files hold."""
    text = mine(tmp_path, tuned, train_en=range(20), test_en=range(7), test_de=range(8), dev_en=range(8))
    with pytest.raises(BadInput, match="E315 the objective leaks: the development data of mine are the test data of mine in de"):
        loaded = study(text)
        expand(loaded, Inputs(loaded, tmp_path))
    loaded = study(text.replace("trials: 4", "trials: 4, objective: {split: held-out}"))
    plan = expand(loaded, Inputs(loaded, tmp_path))
    training, (judge,) = plan.builder.trial(next(iter(plan.builder.searches)), ("mine", "plain"), ())
    assert (training.stage.data.split, judge.stage.data.split) == ("kept", "held-out") and set(judge.tests) == {"en"}
