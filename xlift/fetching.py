"""What `xlift data fetch` and `xlift data verify` do: files of studies and of tasks, their locks, and how it is told."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xlift import studies
from xlift.registry.findings import UserError, relative, similar
from xlift.registry.sources.local import Local, LocalFiles

if TYPE_CHECKING:
    from xlift.runners.fetch.data import Fetched, Wanted

LOCK = "data.lock.yaml"  # in the data folder, of tasks that were fetched without a study


def fetch(names: Sequence[str], data: Path) -> None:
    """Fetch what studies (paths of manifests) and tasks (by name) need, into `data`."""
    from xlift.runners.fetch import locked

    data.mkdir(parents=True, exist_ok=True)
    manifests = [name for name in names if Path(name).suffix in (".yaml", ".yml")]
    if tasks := [name for name in names if name not in manifests]:
        _report(_run(_of_tasks(tasks), data, LocalFiles(data, Local(source="local").files, {}), data / LOCK), data / LOCK)
    for name in manifests:
        study = studies.warned(studies.load(Path(name)))
        if not isinstance(study.manifest.data, Local):
            raise UserError(f"{name} reads no files: its source is {study.manifest.data.source}")
        from xlift.registry.inputs import Inputs
        from xlift.registry.plan import expand

        inputs = Inputs(study, data.resolve())
        source, lock = inputs.source, locked.path_beside(Path(name))
        assert isinstance(source, LocalFiles)
        _report(_run(_of_study(expand(study, inputs)), data, source, lock), lock)


def verify(study: Path | None, data: Path | None) -> int:
    """1 where a folder is not as its lock has it, with a line for each file; otherwise 0."""
    from xlift.runners.fetch import locked
    from xlift.runners.fetch.data import verified

    if data is None:
        raise UserError("which folder?", "give --data DIR")
    path = locked.path_beside(study) if study else data / LOCK
    if not path.is_file():
        raise UserError(f"there is no {relative(path)}", "xlift data fetch writes it")
    lock = locked.read(path)
    wrong = list(verified(lock, data))
    print("\n".join([*wrong, f"{len(lock.files) - len(wrong)} of {len(lock.files)} files are as {relative(path)} has them"]))
    return 1 if wrong else 0


def _of_tasks(names: Sequence[str]) -> "Iterator[Wanted]":
    """All that the hub has of some tasks, training and development data in English."""
    from xlift.registry.known.hub import HUB
    from xlift.registry.known.tasks import TASKS
    from xlift.runners.fetch.data import Wanted

    for name in names:
        if name not in TASKS:
            raise UserError(f"unknown task '{name}'", similar(name, TASKS))
        task, splits = TASKS[name], HUB[name].splits if name in HUB else {"train": ()}
        for split in splits:
            for language in task.languages if split == "test" else ("en",):
                yield Wanted(name, split, language)


def _of_study(plan: "studies.Plan") -> "Iterator[Wanted]":
    """What a plan reads, and the development data that judge its searches, where the hub has some."""
    from xlift.registry.known.hub import HUB
    from xlift.runners.data.preflight import wanted
    from xlift.runners.fetch.data import Wanted

    judged = {judge.stage.data.task for judge in (plan.builder.tried if plan.builder else ()) if judge.stage.kind == "evaluate"}
    for task, split, language in wanted(plan):
        yield Wanted(task, "train" if split in ("kept", "held-out") else split, language)
    for task in judged:
        if task in HUB and "dev" in HUB[task].splits and plan.study.manifest.tuning.objective.split != "held-out":
            yield Wanted(task, "dev", plan.study.facts.source_language)


def _run(wanted: "Iterator[Wanted]", data: Path, source: LocalFiles, lock: Path) -> "Fetched":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from xlift.runners.fetch.data import Fetch

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as progress:
        bar = progress.add_task("asking the hub", total=None)
        begun = False

        def tell(what: str, so_far: int, whole: int) -> None:
            nonlocal begun
            if not begun:
                begun = True
                console.print(f"{whole / 1e6:,.1f} MB to have, less what the hub's cache has", highlight=False)
            progress.update(bar, description=what, completed=so_far, total=whole)

        return Fetch(data, source.pattern, lock, tell).run(wanted)


def _report(found: "Fetched", lock: Path) -> None:
    for made in found.made:
        less = [f"{made.repaired:,} repaired"] if made.repaired else []
        less += [f"{count:,} dropped: {reason}" for reason, count in made.dropped.items()]
        print(f"{made.rows:>9,}  {made.file}" + (f"  ({'; '.join(less)})" if less else ""))
    for text in found.told:
        print(f"xlift: {text}", file=sys.stderr)
    for name in found.own:
        print(f"xlift: {name} was there and is in no lock: it is left as it is", file=sys.stderr)
    for wanted, why in found.lacking.items():
        print(f"xlift: {wanted.task}, {wanted.split} in {wanted.language}: {why}", file=sys.stderr)
    print(f"{len(found.made)} files made, {len(found.kept)} there already, {len(found.lacking)} not on the hub; {relative(lock)}")
