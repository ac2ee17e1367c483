"""MLflow, where people look: `Mirror` makes it equal to the store. The only file that imports mlflow, and only when needed.

Live tracking is `update` every few seconds, `xlift sync` is `update` once. All that is sent has its time from the store's
files, and MLflow keeps equal points once, so sending again changes nothing. Nothing that decides ever asks MLflow.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xlift.registry.plan import Plan
from xlift.registry.spec import digest
from xlift.registry.store import Store
from xlift.runners.tracking.runs import RunView, documents, front, views
from xlift.runners.tracking.server import SETTINGS, TrackingError, address, artifacts, own_database, page, remote, serve
from xlift.runners.tracking.shared import TAG, shared_view
from xlift.runners.tracking.status import (
    Point,
    StageStatus,
    curve_points,
    mean_points,
    score_points,
    standing,
    status_of,
    tags_of,
)
from xlift.runners.tracking.trials import SearchView, searches, times

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Mirror", "TrackingError", "logged", "migrate", "serve"]

FORM = 2  # of what is sent; a new one sends finished runs again
PAGE = 1000  # runs read at once
METRICS, ENTITIES = 1000, 100  # in a batch: metrics; params or tags
ATTACHED = {"report": ("report.html", "tables/*", "figures/*"), "tuning": ("tuning/*/*.png",)}
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass
class _MlflowRun:
    """A run as MLflow has it, and what it got from this Mirror."""

    id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    offset: int = 0  # bytes of the log
    mark: str | None = None  # of the record whose scores it has
    means: tuple[str, ...] = ()  # targets
    described: bool = False


def _translating(method: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever MLflow and the files under it raise becomes a `TrackingError`."""

    @functools.wraps(method)
    def guarded(*args: Any, **options: Any) -> Any:
        try:
            errors = _load()
        except ImportError as error:
            raise TrackingError(f"MLflow cannot be imported ({error}); pip install 'xlift[track]'") from None
        try:
            return method(*args, **options)
        except errors as error:
            raise TrackingError(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error

    return guarded


class Mirror:
    """MLflow's picture of one study. Several may work on one store: each update is alone and knows of the others' runs."""

    def __init__(self, plan: Plan, store: Store, uri: str | None = None):
        self.plan, self.store, self.uri = plan, store, uri or address(store)
        self.views = views(plan)
        self._cells: dict[str, dict[str, list[RunView]]] = {}  # key of a parent -> target -> its cells
        for view in self.views:
            if view.cell:
                for above in (
                    view.parent,
                    *(("study",) if view.baseline and not view.own else ()),
                ):  # the study has the means of what is treated
                    self._cells.setdefault(above, {}).setdefault(view.cell.target, []).append(view)
        self._searches = searches(plan)
        self._sent: dict[str, set[int]] = {search.key: set() for search in self._searches}  # trials that MLflow has
        self._client: MlflowClient | None = None
        self._experiment: str | None = None
        self._documents: dict[str, str] = {}
        self._shown: dict[str, _MlflowRun] = {}  # by key
        self._complete: dict[str, str | None] = {}  # key of a view that needs nothing more -> its parent's run
        self._statuses: dict[str, StageStatus] = {}
        self._generation: str | None = None  # of the set of runs, as this Mirror knows it
        self._lock: IO[str] | None = None
        self._new = 0

    @_translating
    def update(self) -> str:
        """Bring everything up to date; one line that says how much there is."""
        with self._alone():
            self._new = 0
            self._look()
            for view in self.views:
                self._show(view)
            for search in self._searches:
                self._show_trials(search)
            return f"MLflow: {len(self._shown)} runs, {self._new} new"

    @_translating
    def attach(self, folder: Path, metrics: dict[str, float] | None = None, what: str = "report") -> None:
        """Put a report and what it found, or the figures of `tuning`, on the run `study`; what is equal is not sent again."""
        files = [path for part in ATTACHED[what] for path in sorted(folder.glob(part)) if path.is_file()]
        mark = digest({str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
        with self._alone():
            self._look()
            self._show(self.views[0])
            for search in self._searches:
                self._show_trials(search)
            shown = self._shown.get("study")
            if shown is None or shown.tags.get(f"xlift.{what}") == mark:
                return
            for path in files:
                below = path.relative_to(folder).parent.as_posix()
                self._client.log_artifact(shown.id, str(path), None if below == "." else below)
            now = round(time.time() * 1000)
            self._plot(shown, ((name, value, now, 0) for name, value in (metrics or {}).items()))
            self._tag(shown, {f"xlift.{what}": mark})

    def link(self) -> str | None:
        """Where the study's runs are in the UI (on loopback: while `xlift ui` runs); None before the first update."""
        return page(self.uri, self._experiment) if self._experiment else None

    def _look(self) -> None:
        """How every stage stands; what is finished stays so."""
        for step in self.plan.steps:
            known = self._statuses.get(step.stage.id)
            if known is None or known.state != "finished":
                self._statuses[step.stage.id] = status_of(step, self.store)

    def _show(self, view: RunView) -> None:
        """Make one run equal to the store."""
        statuses = [self._statuses[step.stage.id] for step in view.steps]
        status, parent = standing(statuses), self._shown[view.parent].id if view.parent in self._shown else None
        if view.kind == "study" and status is None and any(self.store.trials(search.folder) for search in self._searches):
            status = "SCHEDULED"  # it was tuned, and nothing of it ran yet
        if status is None or self._complete.get(view.key, "") == parent:
            return
        tags, shown = tags_of(view, statuses, parent, self.plan.study.id, self.store), self._shown.get(view.key)
        texts = self._documents if view.kind == "study" else {}
        marks = [seen.mark for seen in statuses]
        if view.baseline:
            marks.append(self._statuses[view.baseline.stage.id].mark)
        done = digest([FORM, tags, view.params, marks, texts])
        if shown is None or status != "FINISHED" or (shown.status, shown.tags.get("xlift.done")) != (status, done):
            shown = self._current(view, tags, min((seen.started for seen in statuses if seen.started), default=None))
            self._describe(view, shown, tags, texts)
            self._measure(view, shown)
            self._end(view, shown, status, statuses)
            if status == "FINISHED":
                self._tag(shown, {"xlift.done": done})
        if status == "FINISHED" and not (view.baseline and self._statuses[view.baseline.stage.id].state != "finished"):
            self._complete[view.key] = parent

    def _show_trials(self, search: SearchView) -> None:
        """The run of a search, and one below it for each trial that ended: each in three calls, since it never changes."""
        from mlflow.entities import Metric, Param

        sent = self._sent[search.key]
        new = self.store.trials(search.folder, sent)
        if not new:
            return
        above = self._shown.get(search.key)
        above = above or self._made(search.key, search.name, search.tags(self.plan.study.id), times(new[0])[0])
        for trial in new:
            key, tags = search.key_of(trial), search.tags_of(trial, self.plan.study.id, above.id)
            shown = self._shown.get(key)
            if shown and shown.status not in ENDED:  # it was not sent whole
                self._client.delete_run(shown.id)
            if not shown or shown.status not in ENDED:
                begun, ended = times(trial)
                shown = self._made(key, search.name_of(trial), tags, begun)
                points = [Metric(*point) for point in search.points(trial, self.store)]
                self._client.log_batch(shown.id, metrics=points[:METRICS], params=[Param(*pair) for pair in search.params(trial)])
                for part in _batches(points[METRICS:], METRICS):
                    self._client.log_batch(shown.id, metrics=part)
                shown.status = "FINISHED" if trial.state == "complete" else "FAILED" if trial.state == "failed" else "KILLED"
                self._client.set_terminated(shown.id, shown.status, ended)
            sent.add(trial.number)
        best = max(
            (t.score for t in self.store.trials(search.folder) if t.state == "complete" and t.score is not None), default=None
        )
        if best is not None:
            self._plot(above, [("score", best, times(new[-1])[1], len(sent))])
        above.status = "FINISHED"
        self._client.set_terminated(above.id, above.status, max(times(trial)[1] for trial in new))

    def _made(self, key: str, name: str, tags: dict[str, str], begun: int | None) -> _MlflowRun:
        """A new run under a key."""
        self._announce()
        run = self._client.create_run(self._experiment, start_time=begun, tags=tags, run_name=name)
        self._new += 1
        self._shown[key] = _MlflowRun(run.info.run_id, "RUNNING", dict(tags), {})
        return self._shown[key]

    def _current(self, view: RunView, tags: dict[str, str], started: int | None) -> _MlflowRun:
        """The run of a view. One of another recipe or an earlier try, whose points would mix, goes to MLflow's bin."""
        shown = self._shown.get(view.key)
        if shown:
            same = [shown.params.get(name, value) == value for name, value in view.params.items()]
            same += [shown.tags.get(name, tags[name]) == tags[name] for name in ("xlift.stage", "xlift.try") if name in tags]
            if all(same):
                return shown
        if shown:
            self._announce()
            self._client.delete_run(shown.id)
        return self._made(view.key, view.name, tags, started)

    def _describe(self, view: RunView, shown: _MlflowRun, tags: dict[str, str], texts: dict[str, str]) -> None:
        """Tags, the study's documents, and once the params and the data sets."""
        self._tag(shown, tags)
        if "failure" in shown.tags and "failure" not in tags:
            self._client.delete_tag(shown.id, "failure")
            del shown.tags["failure"]
        if not shown.described:
            self._fill(view, shown)
            shown.params, shown.described = shown.params | view.params, True
        if texts and shown.tags.get("xlift.documents") != digest(texts):
            for name, text in texts.items():
                self._client.log_text(shown.id, text, name)
            self._tag(shown, {"xlift.documents": digest(texts)})

    def _fill(self, view: RunView, shown: _MlflowRun) -> None:
        """Params and data sets."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        params = [Param(*pair) for pair in view.params.items() if pair[0] not in shown.params]
        for part in _batches(params, ENTITIES):
            self._client.log_batch(shown.id, params=part)
        rows = [
            DatasetInput(Dataset(name, mark, source, json.dumps({"source": source})), [InputTag("mlflow.data.context", context)])
            for name, mark, source, context in view.inputs()
        ]
        if rows:
            self._client.log_inputs(shown.id, rows)

    def _measure(self, view: RunView, shown: _MlflowRun) -> None:
        """New points of the curves; the scores of a record not yet sent; the means of targets whose cells are all finished."""
        points, offset = curve_points(view, self.store, shown.offset)
        self._plot(shown, points)
        shown.offset = offset
        if view.cell:
            own = self._statuses[view.cell.stage]
            base = self._statuses[view.baseline.stage.id].mark if view.baseline else None
            if (mark := f"{own.mark} {base}") != shown.mark and own.mark:
                self._plot(shown, score_points(view, self.store))
                self._plot(shown, mean_points([view], self.store, self.plan, own.ended, name=""))
                shown.mark = mark
        for target, cells in self._cells.get(view.key, {}).items():
            stages = [cell.cell.stage for cell in cells] + [cell.baseline.stage.id for cell in cells if cell.baseline]
            statuses = [self._statuses[stage] for stage in stages]
            if target not in shown.means and standing(statuses) == "FINISHED":
                self._plot(shown, mean_points(cells, self.store, self.plan, max(seen.ended for seen in statuses)))
                shown.means += (target,)

    def _end(self, view: RunView, shown: _MlflowRun, status: str, statuses: list[StageStatus]) -> None:
        """The status, with the true time of the end; what the stages are and how they came about, once they are finished."""
        if status == "FINISHED" and view.leaf:
            for step in view.steps:
                for name in ("stage.json", "record.json"):
                    self._client.log_artifact(shown.id, str(self.store.folder(step.stage.id) / name), step.stage.kind)
        if status in ENDED and status != shown.status:
            self._client.set_terminated(shown.id, status, max((seen.ended for seen in statuses if seen.ended), default=None))
        elif status != shown.status:
            self._client.update_run(shown.id, status=status)
        shown.status = status

    def _tag(self, shown: _MlflowRun, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        changed = {name: value for name, value in tags.items() if shown.tags.get(name) != value}
        for part in _batches([RunTag(*pair) for pair in changed.items()], ENTITIES):
            self._client.log_batch(shown.id, tags=part)
        shown.tags |= changed

    def _plot(self, shown: _MlflowRun, points: Iterable[Point]) -> None:
        """A value that is not finite is no score and no point, and is left out."""
        from mlflow.entities import Metric

        for part in _batches([Metric(*point) for point in points if math.isfinite(point[1])], METRICS):
            self._client.log_batch(shown.id, metrics=part)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One Mirror of a study at a time; runs are read anew when another one made some."""
        with _locked(self.store.root / f"mlflow-{self.plan.study.id}.lock") as self._lock:
            if self._experiment is None:
                self._client, self._documents = connect(self.store, self.uri), documents(self.plan)
                self._experiment = self._opened()
            self._lock.seek(0)
            generation = self._lock.read()
            if generation != self._generation:
                self._read()
                self._generation = generation
            yield

    def _announce(self) -> None:
        """Tell other Mirrors, before the set of runs changes, that there is something to read."""
        self._generation = secrets.token_hex(8)
        self._lock.truncate(0)
        self._lock.write(self._generation)
        self._lock.flush()

    def _read(self) -> None:
        """All runs of the experiment, in pages; of two with one key the oldest is kept."""
        runs = list(page := self._client.search_runs([self._experiment], max_results=PAGE))
        while page.token:
            runs += (page := self._client.search_runs([self._experiment], max_results=PAGE, page_token=page.token))
        before, self._shown = {shown.id: shown for shown in self._shown.values()}, {}
        for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
            key, run_id = run.data.tags.get("xlift.key"), run.info.run_id
            if key in self._shown:
                self._client.delete_run(run_id)
            elif key:
                new = _MlflowRun(run_id, run.info.status, dict(run.data.tags), dict(run.data.params))
                self._shown[key] = before.get(run_id, new)
        self._complete = {key: parent for key, parent in self._complete.items() if key in self._shown}

    def _opened(self) -> str:
        """The study's experiment, made where there is none; its kind makes the UI open on training runs."""
        note = front(self.plan, self._documents["manifest.yaml"])
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": note, TAG: shared_view(self.plan)}
        found = self._client.get_experiment_by_name(self.plan.study.id)
        if found is None:
            place = None if remote(self.uri) else artifacts(self.store)
            return self._client.create_experiment(self.plan.study.id, artifact_location=place, tags=tags)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        for key, value in tags.items():
            if found.tags.get(key) != value:
                self._client.set_experiment_tag(found.experiment_id, key, value)
        return found.experiment_id


def connect(store: Store, uri: str) -> "MlflowClient":
    """A client. The store's own database is made first, by one process and in one piece: two that migrate it break it."""
    from mlflow import MlflowClient

    if uri == own_database(store):
        with _locked(store.root / "mlflow.lock"):
            if not (store.root / "mlflow.db").exists():
                migrate(store.root.resolve() / "mlflow.db")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def migrate(database: Path) -> None:
    """Make an empty MLflow database with a write-ahead log, which halves the time of writes (on a local disk)."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = database.with_name(f".{database.name}.new")
    new.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{new}", (database.parent / "mlartifacts").as_uri()).engine.dispose()
    with contextlib.closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    os.replace(new, database)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@_translating
def logged(experiment: str, store: Store) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Every last metric of every finished run of an experiment, whoever logged it, and how many others have which status.

    A row has the run's params and tags (but MLflow's own), `run`, `run_name`, `status`, `metric` and `value`; of a param and
    a tag of one name, the param.

    Raises:
        TrackingError: there is no such experiment, or MLflow cannot be read.
    """
    from mlflow import MlflowClient

    client = MlflowClient(address(store))
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = ", ".join(sorted(each.name for each in client.search_experiments())) or "none"
        raise TrackingError(f"MLflow at {address(store)} has no experiment '{experiment}'; it has {names}")
    rows, others, token = [], Counter[str](), None
    while token != "":
        some = client.search_runs([found.experiment_id], max_results=PAGE, page_token=token, order_by=["attributes.start_time"])
        for run in some:
            if run.info.status != "FINISHED":
                others[run.info.status] += 1
                continue
            tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
            own = {"run": run.info.run_id, "run_name": run.info.run_name or "", "status": run.info.status}
            own = {**tags, **run.data.params, **own}
            rows += [{**own, "metric": name, "value": repr(value)} for name, value in sorted(run.data.metrics.items())]
        token = some.token or ""
    return rows, dict(others)


def _load() -> tuple[type[Exception], ...]:
    """Import mlflow, quietly; what it and the database layer under it raise (which a thin client lacks)."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)  # after the import, which sets them
    with contextlib.suppress(ImportError):
        from alembic.util import CommandError
        from sqlalchemy.exc import SQLAlchemyError

        return (MlflowException, OSError, sqlite3.Error, SQLAlchemyError, CommandError)
    return (MlflowException, OSError, sqlite3.Error)


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
