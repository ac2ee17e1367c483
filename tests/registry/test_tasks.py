import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from xlift.registry.known.languages import LANGUAGES
from xlift.registry.known.tasks import ROLES, TASKS, same_training_data
from xlift.registry.stage import Kind

DATA = Path(__file__).parents[3] / "shared" / "data" / "xtreme-mini"
INTERMEDIATE = "anli mnli qqp squad1 squad2 hellaswag ccg cosmosqa commonsenseqa".split()
TARGETS = "xnli pawsx udpos panx xquad mlqa tydiqa bucc tatoeba".split()
FOLDERS = {
    "xnli": "xnli",
    "pawsx": "pawsx",
    "panx": "panx",
    "udpos": "udpos",
    "tydiqa": "qa",
    "xquad": "qa",
    "xcopa": "xcopa",
    "tatoeba": "tatoeba",
    "sick": "sick",
}
real = pytest.mark.skipif(not DATA.is_dir(), reason="the shared development data is not here")


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_nine_intermediate_tasks_the_nine_targets_and_two_more_are_there():
    assert set(TASKS) == {*INTERMEDIATE, *TARGETS, "xcopa", "sick"}
    assert all(name == task.name for name, task in TASKS.items())


def test_every_kind_has_roles():
    assert set(ROLES) == set(get_args(Kind))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_fields_name_the_roles_of_the_kind_and_only_parts_of_a_choice_may_lack(task):
    missing = set(ROLES[task.kind]) - set(task.fields)
    assert set(task.fields) <= set(ROLES[task.kind])
    lacking = {"commonsenseqa": {"context", "stem"}, "hellaswag": {"question"}}
    assert missing == lacking.get(task.name, {"stem"} if task.kind == "choice" else set())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_labels_are_there_for_pairs_and_tags_alone(task):
    assert bool(task.labels) == (task.kind in ("pair", "tag") and task.licensed is None)
    assert len(set(task.labels)) == len(task.labels)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_training_sets_are_those_of_known_tasks(task):
    assert task.source
    assert task.trains_on in TASKS or (task.trains_on is None and task.kind == "retrieve")
    assert set(task.includes) <= set(TASKS)
    assert task.trains_on is None or TASKS[task.trains_on].train_items == task.train_items


def test_the_targets_have_as_many_languages_as_the_benchmark_says():
    assert {name: len(TASKS[name].languages) for name in TARGETS} == {
        "xnli": 15,
        "pawsx": 7,
        "udpos": 33,
        "panx": 40,
        "xquad": 11,
        "mlqa": 7,
        "tydiqa": 9,
        "bucc": 4,
        "tatoeba": 36,
    }
    assert all(set(task.languages) <= set(LANGUAGES) for task in TASKS.values())
    assert not any(TASKS[name].languages for name in INTERMEDIATE)


def test_cells_with_shared_training_data_are_those_of_the_literature():
    same = {
        (source, target)
        for source in INTERMEDIATE
        for target in TARGETS
        if same_training_data(TASKS, source, TASKS[target].trains_on)
    }
    assert same == {
        ("mnli", "xnli"),
        ("anli", "xnli"),
        ("squad1", "xquad"),
        ("squad1", "mlqa"),
        ("squad2", "xquad"),
        ("squad2", "mlqa"),
    }


def test_overlap_does_not_depend_on_which_of_the_two_is_larger():
    assert same_training_data(TASKS, "squad1", "squad2") and same_training_data(TASKS, "squad2", "squad1")
    assert not same_training_data(TASKS, "anli", "squad1")


def test_a_target_that_is_not_trained_overlaps_nothing_and_an_unknown_training_set_only_itself():
    assert not any(same_training_data(TASKS, name, None) for name in TASKS)
    assert not same_training_data(TASKS, "mnli", "my-own")


def test_what_a_declared_task_includes_counts():
    mine = replace(TASKS["sick"], name="mine", trains_on="mine", includes=("squad1",))
    assert same_training_data({**TASKS, "mine": mine}, "mine", "squad2")


@real
@pytest.mark.parametrize("name", FOLDERS)
def test_the_columns_of_the_real_files_are_the_ones_named(name):
    task = TASKS[name]
    paths = list((DATA / FOLDERS[name]).glob("test.*.jsonl.gz"))
    assert paths
    for path in paths:
        first = rows(path)[0]
        assert {column for columns in task.fields.values() for column in columns.split()} <= set(first), path.name


@real
@pytest.mark.parametrize("name", ["xnli", "pawsx", "sick", "panx", "udpos"])
def test_the_labels_of_the_real_files_are_the_ones_named(name):
    task = TASKS[name]
    column = task.fields["tags" if task.kind == "tag" else "label"]
    for path in (DATA / FOLDERS[name]).glob("*.en.jsonl.gz"):
        values = [row[column] for row in rows(path)]
        found = {tag for tags in values for tag in tags} if task.kind == "tag" else {str(value) for value in values}
        assert found == set(task.labels), path.name


@real
@pytest.mark.parametrize("name", ["xnli", "pawsx", "panx", "udpos", "tatoeba", "xcopa"])
def test_the_languages_of_the_real_files_belong_to_the_task(name):
    found = {path.name.split(".")[1] for path in (DATA / FOLDERS[name]).glob("test.*.jsonl.gz")}
    assert found and found <= set(TASKS[name].languages)
