"""The tasks that a manifest may name: those known, as it changes them, and its own."""

import dataclasses
import re
from pathlib import Path

from xlift.registry.findings import similar
from xlift.registry.kinds import CORPORA, KINDS, RETRIEVAL
from xlift.registry.known.tasks import MLQA_LANGUAGES, Task
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.sections import Mixture, TaskSection


def check_patterns(at: Complaints) -> None:
    """A file pattern names the split and the language, and stays below the data folder."""
    common = at.manifest.data.pattern
    patterns: dict[tuple[str | int, ...], tuple[str, str | None]] = {("data", "files"): (common, None)} if common else {}
    patterns |= {
        ("tasks", name, "files"): (section.files, section.kind) for name, section in at.manifest.tasks.items() if section.files
    }
    for path, (pattern, kind) in patterns.items():
        bare = re.sub(r"\{(task|split|language)\}", "x", pattern)
        needed = ("{language}",) if kind in CORPORA else ("{split}", "{language}")
        if set(bare) & set("{}") or not all(name in pattern for name in needed) or not _below(bare):
            at.complain(
                "E207",
                path,
                f"'{pattern}' is no pattern of files below the data folder",
                "write a relative path with {task}, {split} and {language}, such as {task}/{split}.{language}.jsonl",
            )


def _below(path: str) -> bool:
    return not path.startswith("/") and ".." not in Path(path).parts and "\0" not in path


def declared_tasks(at: Complaints) -> dict[str, Task]:
    """Known tasks with the manifest's changes, and the user's own."""
    tasks = dict(at.manifest.data.tasks)
    for name, section in at.manifest.tasks.items():
        known = tasks.get(name)
        if not at.manifest.data.own_tasks and (
            known is None or section.labels or section.fields or section.kind or section.files or section.hub
        ):
            at.complain(
                "E208",
                ("tasks", name),
                f"'{name}': the {at.manifest.data.source} makes its own tasks",
                "write source: local for tasks of your own",
            )
            continue
        if known is None and section.kind is None:
            at.complain(
                "E201",
                ("tasks", name),
                f"unknown task '{name}'",
                f"{similar(name, tasks)}, or give its kind to declare your own",
            )
            continue
        task = _override(at, name, known, section)
        if task:
            tasks[name] = task
    for name, mixture in at.manifest.mixtures.items():
        if name in tasks or name == "none":
            at.complain("E220", ("mixtures", name), f"'{name}' is a task already", "give the mixture a name of its own")
        else:
            tasks[name] = _mixture(at, name, mixture, tasks)
    for name, section in at.manifest.tasks.items():
        named: dict[tuple[str | int, ...], str | None] = {("trains_on",): section.trains_on}
        named |= {("includes", i): other for i, other in enumerate(section.includes or ())}
        for path, other in named.items():
            if other and other not in tasks:
                at.complain("E201", ("tasks", name, *path), f"unknown task '{other}'", similar(other, tasks))
    return tasks


def _mixture(at: Complaints, name: str, section: Mixture, tasks: dict[str, Task]) -> Task:
    for index, other in enumerate(section.of):
        path, task = ("mixtures", name, "of", index), tasks.get(other)
        if task is None:
            at.complain("E201", path, f"unknown task '{other}'", similar(other, tasks))
        elif task.kind in RETRIEVAL:
            at.complain("E302", path, f"{other} is retrieval, which is not trained", "remove it")
        elif task.kind in (*CORPORA, "mixture"):
            hint = "write variant: [plain, mlm] to go on with the text" if task.kind in CORPORA else "name its tasks"
            at.complain("E302", path, f"{other} is no task that a mixture can hold", hint)
        elif other in section.of[:index]:
            at.complain("E301", path, f"'{other}' stands twice", "keep one")
    return Task(name, "mixture", "", "declared in the manifest", name, includes=section.of)


def _override(at: Complaints, name: str, known: Task | None, section: TaskSection) -> Task | None:
    kind = section.kind or known.kind
    if known and section.kind not in (None, known.kind):
        at.complain(
            "E202", ("tasks", name, "kind"), f"task '{name}' is known as {known.kind}", "give your own task a name of its own"
        )
        return None
    trains = section.trains_on or (known.trains_on if known else None if kind in RETRIEVAL else name)
    base = known or Task(
        name,
        kind,
        KINDS[kind].usual(section.labels or ()),
        "declared in the manifest",
        trains,
        fields={role: role for role in KINDS[kind].roles if role not in KINDS[kind].optional},
    )
    changes = {
        key: getattr(section, key)
        for key in ("labels", "metric", "normaliser", "languages", "includes", "source")
        if getattr(section, key) is not None
    }
    task = dataclasses.replace(base, trains_on=trains, fields={**base.fields, **(section.fields or {})}, **changes)
    for role in sorted(set(task.fields) - set(KINDS[kind].roles)):
        at.complain(
            "E203", ("tasks", name, "fields", role), f"kind {kind} has no role '{role}'", similar(role, KINDS[kind].roles)
        )
    metrics = KINDS[kind].computed(task.labels)
    if metrics and task.metric not in metrics and (section.metric or section.labels):
        at.complain(
            "E203",
            ("tasks", name, "metric" if section.metric else "labels"),
            f"kind {kind} with these labels has no metric '{task.metric}'",
            next((each.hint for each in KINDS[kind].metrics if each.name == task.metric), "") or similar(task.metric, metrics),
        )
    if section.limit.test and not KINDS[kind].divisible:
        at.complain("E203", ("tasks", name, "limit"), "a limit would part sentences from their translations", "remove it")
    if section.hub and kind not in CORPORA:
        at.complain("E203", ("tasks", name, "hub"), f"kind {kind} is no text", "known tasks are fetched by their names")
    if section.normaliser and not KINDS[kind].compared:
        at.complain("E203", ("tasks", name, "normaliser"), f"kind {kind} compares no answers", "remove it")
    elif task.normaliser == "mlqa" and (others := sorted(set(task.languages) - set(MLQA_LANGUAGES))):
        at.complain(
            "E203",
            ("tasks", name, "normaliser" if section.normaliser else "languages"),
            f"mlqa does not compare answers in {', '.join(others)}",
            f"write normaliser: squad, or keep to {', '.join(MLQA_LANGUAGES)}",
        )
    if KINDS[kind].labels == "needed" and len(task.labels) < 2:
        at.complain("E204", ("tasks", name), f"task '{name}' needs its labels", "add 'labels: [..., ...]'")
    if len(set(task.labels)) < len(task.labels):
        at.complain("E204", ("tasks", name, "labels"), "a label stands twice", "keep one")
    return task
