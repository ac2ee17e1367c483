"""Files of a plan that are the same under two names: what trains and what tests, and tests of two languages or targets."""

from collections import defaultdict
from collections.abc import Iterator

from xlift.registry.findings import Finding
from xlift.registry.inputs import ABSENT
from xlift.registry.plan import Plan


def copies(plan: Plan) -> Iterator[Finding]:
    """Findings at the places of the tasks: equal training data (W318, told as same-task), tests that are trained on or stand
    twice in a target (E318), and equal tests of two targets (W319)."""
    trained: dict[str, dict[str, None]] = defaultdict(dict)
    for step in plan.steps:
        for part in step.stage.data.parts if step.stage.kind != "evaluate" else ():
            if part.digest not in (None, ABSENT):
                trained[part.digest][part.task] = None
    for first, *rest in trained.values():
        for other in rest:
            what = f"{first} and {other} have the same training data; cells with both count as same-task"
            yield Finding("W318", plan.study.place_of_task(other), what, "give each its own file, or name one of them alone")
    tests: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for cell in plan.cells:
        for language, mark in cell.data.items():
            tests[mark][cell.target, language] = None
    for mark, places in tests.items():
        (target, language), *others = places
        if mark in trained:
            what = f"the test data of {target} in {language} are the training data of {', '.join(trained[mark])}"
            yield Finding("E318", plan.study.place_of_task(target), what, "give a test file of its own")
        for task, other in others:
            if task == target:
                what = f"the test data of {target} in {language} and {other} are the same file"
                yield Finding("E318", plan.study.place_of_task(target), what, "give each language its own, or leave one out")
            else:
                what = f"the test data of {target} in {language} and of {task} in {other} are the same file: they count twice"
                yield Finding("W319", plan.study.place_of_task(task), what, "leave one of the targets out")
