"""What `xlift data fetch` and `xlift data verify` do: files of studies and of tasks, their locks, and how it is told."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xlift import studies
from xlift.registry.files import small
from xlift.registry.findings import UserError, relative, similar
from xlift.registry.known.hub import Part, Published, Repository
from xlift.registry.known.models import MODELS, count
from xlift.registry.manifest.sections import Manifest, ModelSection
from xlift.registry.sources.local import Local, LocalFiles
from xlift.registry.weights import CONFIG

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
        _pin(Path(name), "data")
        study = studies.warned(studies.load(Path(name)))
        if not isinstance(study.manifest.data, Local):
            raise UserError(f"{name} reads no files: its source is {study.manifest.data.source}")
        from xlift.registry.inputs import Inputs
        from xlift.registry.plan import expand

        inputs = Inputs(study, data.resolve())
        source, lock = inputs.source, locked.path_beside(Path(name))
        assert isinstance(source, LocalFiles)
        _report(_run(_of_study(expand(study, inputs)), data, source, lock, _texts(study.manifest)), lock)


def fetch_models(manifest: Path, models: Path | None) -> None:
    """Fetch the weights of a study's models on the hub: into their folders, or into `models`; drafts are pinned first."""
    from xlift.registry.manifest.load import declared
    from xlift.runners.fetch import locked
    from xlift.runners.fetch.models import fetch, folder_of

    _pin(manifest, "models")
    path, made = locked.path_beside(manifest), 0
    wanted = [section for section in declared(manifest)[0].models if section.hub and section.revision]
    if models is None and any(section.folder is None for section in wanted):
        raise UserError("which folder?", "give --models DIR, or the folder of each model in the manifest")
    failed = list[str]()  # one that cannot be had leaves the others to be fetched
    with _progress() as tell:
        for section in wanted:
            hub_name, revision = str(section.hub), str(section.revision)
            into = manifest.parent / section.folder if section.folder else folder_of(Path(str(models)), hub_name, revision)
            try:
                loaded = fetch(hub_name, revision, into, tell)
                _of_its_size(section, into)
            except UserError as error:
                failed.append(str(error))
                continue
            if loaded:
                made += 1
                locked.write(locked.read(path).loading(loaded), path)
            print(f"{sum(file.stat().st_size for file in into.iterdir()) / 1e6:>9,.1f} MB  {hub_name}")
    there = len(wanted) - made - len(failed)
    print(f"{made} models fetched, {there} there already; {relative(path)}")
    if failed:
        raise UserError("\n".join([f"{len(failed)} of {len(wanted)} models were not fetched:", *failed]))


def _pin(manifest: Path, *what: str) -> None:
    """The hub's commits of today in place of every `pin` of a draft's models, or data."""
    from xlift.registry.manifest.load import declared
    from xlift.runners import hub

    for name, commit in hub.pin(*declared(manifest), *what).items():
        print(f"{commit}  {name}")


def _texts(manifest: Manifest) -> dict[str, Published]:
    """The corpora that a manifest has from the hub."""
    found = {}
    for name, section in manifest.tasks.items():
        if of := section.hub:
            repository = Repository(of.dataset, of.revision, f"see the page of {of.dataset}", declared=True)
            config = of.config.replace("{language}", "{code}")
            found[name] = Published({"train": (Part(repository, config, of.split, "texts", None, of.column, of.rows),)})
    return found


def _of_its_size(section: ModelSection, folder: Path) -> None:
    """UserError where a model's configuration tells of another size than was known: the x of an analysis would be wrong."""
    known = MODELS.get(str(section.hub))
    if known is None or section.folder:
        return
    config = json.loads(small(folder / CONFIG))
    real, told = (count(each, encoder_only=section.form is None, tied=True) for each in (config, known.config))
    if real != told:
        what = f"{section.hub} has {real.total:,} parameters by its configuration, and {told.total:,} were known of"
        raise UserError(what, f"name its folder in the manifest, beside hub: {folder}")


def verify(study: Path | None, data: Path | None, models: Path | None) -> int:
    """1 where a folder is not as its lock has it, with a line for each file; otherwise 0."""
    from xlift.registry.manifest.load import declared
    from xlift.runners.fetch import locked
    from xlift.runners.fetch import models as weights
    from xlift.runners.fetch.data import verified

    if study is None and data is None:
        raise UserError("which folder?", "give --data DIR, or a study")
    path = locked.path_beside(study) if study else Path(str(data)) / LOCK
    if not path.is_file():
        raise UserError(f"there is no {relative(path)}", "xlift data fetch writes it")
    lock, wrong, held = locked.read(path), list[str](), list[str]()
    if data is not None:
        wrong += verified(lock, data)
        held.append(f"{len(lock.files)} files")
    if study is not None and lock.models:
        places = {str(each.hub): study.parent / each.folder for each in declared(study)[0].models if each.hub and each.folder}
        if models is None and any(model.hub not in places for model in lock.models):
            raise UserError("which folder of models?", "give --models DIR")
        for model in lock.models:
            wrong += weights.verified(
                model, places.get(model.hub) or weights.folder_of(Path(str(models)), model.hub, model.revision)
            )
        held.append(f"{len(lock.models)} models")
    print("\n".join(wrong) or f"{' and '.join(held)} are as {relative(path)} has them")
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


def _run(
    wanted: "Iterator[Wanted]", data: Path, source: LocalFiles, lock: Path, texts: Mapping[str, Published] | None = None
) -> "Fetched":
    from xlift.runners.fetch.data import Fetch

    with _progress() as tell:
        return Fetch(data, source.pattern, lock, tell, texts).run(wanted)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Bytes and time left on a terminal; before the first byte, how many there will be."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("asking the hub", total=None)

        def tell(what: str, so_far: int, whole: int) -> None:
            if so_far == 0 and what:
                console.print(f"{whole / 1e6:,.1f} MB to have, less what is here already", highlight=False)
            progress.update(bar, description=what, completed=so_far, total=whole)

        yield tell


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
    if found.failed:
        raise UserError("\n".join([f"{len(found.failed)} files were not made:", *dict.fromkeys(found.failed.values())]))
