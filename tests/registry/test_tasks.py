from dataclasses import replace
from typing import get_args

import pytest

from xlift.registry.kinds import KINDS, RETRIEVAL
from xlift.registry.known.languages import LANGUAGES
from xlift.registry.known.tasks import TASKS, same_training_data
from xlift.registry.stage import KindName

INTERMEDIATE = "anli mnli qqp squad1 squad2 hellaswag ccg cosmosqa commonsenseqa".split()
TARGETS = "xnli pawsx udpos panx xquad mlqa tydiqa bucc tatoeba".split()


def test_the_nine_intermediate_tasks_the_nine_targets_and_two_more_are_there():
    assert set(TASKS) == {*INTERMEDIATE, *TARGETS, "xcopa", "sick"}
    assert all(name == task.name for name, task in TASKS.items())


def test_every_kind_has_roles():
    assert tuple(KINDS) == get_args(KindName)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_fields_name_the_roles_of_the_kind_and_only_parts_of_a_choice_may_lack(task):
    missing = set(KINDS[task.kind].roles) - set(task.fields)
    assert set(task.fields) <= set(KINDS[task.kind].roles)
    lacking = {"commonsenseqa": {"context", "stem"}, "hellaswag": {"question"}}
    assert missing == lacking.get(task.name, {"stem"} if task.kind == "choice" else set())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_labels_are_there_for_pairs_and_tags_alone(task):
    assert bool(task.labels) == (task.kind in ("pair", "tag") and task.licensed is None)
    assert len(set(task.labels)) == len(task.labels)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_training_sets_are_those_of_known_tasks(task):
    assert task.source
    assert task.trains_on in TASKS or (task.trains_on is None and task.kind in RETRIEVAL)
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
