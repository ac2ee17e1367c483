"""The run store on disk: the truth about what was computed. Only ordinary file operations, no server.

runs/<id>/stage.json         what the run is
          claim.<n>          who works on it
          log.jsonl          its progress, a line a step
          checkpoint.<n>/…   a model (train and pretrain)
          resume.<n>         a training under way, kept to go on with; no result, and gone when there is one
          scores/<language>.<digest of its test data>.<n>.jsonl   one part a language (evaluate)
          record.json        written last, by rename: what counts is what it names and whose checksums hold
          failure.json       why tries failed, until one succeeds
registrations/<id>.json      what a study committed itself to (`registry.registration.Registration`), written once
tuning/<search>/trial-<n>.json   a trial of a search (`registry.card.Trial`), written once; beside them the optimiser's journal
studies/<id>.json            a study's cells and stages (`registry.card.StudyCard`), derived from its manifest
tables/<digest>.parquet      the rows of a table of scores that were computed elsewhere, whole, under the digest of their content
facts/                       what `analysis` gathered of finished runs; made again where it is deleted

<n> is the number of the lease under which a file was written: an owner that was taken over while it slept, and goes on,
never touches what its successor committed. Every .json but stage.json carries a form number (`registry.kept`): what another
version wrote is neither read, nor written over, nor computed again.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from xlift.registry import kept, leases
from xlift.registry.card import StudyCard, Trial
from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError, first_line
from xlift.registry.kept import Kept, NotUnderstood
from xlift.registry.leases import Lease
from xlift.registry.registration import Registration
from xlift.registry.score import Score
from xlift.registry.spec import Spec
from xlift.registry.stage import Stage

TRIES, LOST = 2, 5  # of a run that fails, on all hosts together; whose workers vanish
State = Literal["pending", "running", "finished", "failed", "foreign"]


class FileMark(Spec):
    """The size in bytes and sha-256 of a file that counts."""

    size: int
    sha256: str


class Record(Kept):
    """What a run committed: file marks by path relative to the run's folder, and how it came about."""

    id: str
    started: str
    seconds: float
    host: str
    versions: dict[str, str] = {}
    files: dict[str, FileMark]
    released: bool = False

    def parts(self) -> tuple[str, ...]:
        """The names of the score parts."""
        return tuple(sorted(name for name in self.files if name.startswith("scores/")))


class Attempt(Spec):
    """A try of a run that failed, on whatever host."""

    kind: Literal["failed", "memory", "diverged", "died", "device", "lost"]
    reason: str
    host: str
    versions: dict[str, str]
    at: str
    tests: str = Field("", description="which test data an evaluation was to read: others are another try's")


class Failure(Kept):
    """Why the last try of a run failed, and all of them."""

    reason: str
    detail: str
    at: str
    attempts: tuple[Attempt, ...] = ()
    forgiven: int = Field(0, description="so many of the first attempts count no more: --retry-failed")

    def counted(self, tests: str = "") -> list[Attempt]:
        """The attempts that count, on test data of one digest."""
        return [attempt for attempt in self.attempts[self.forgiven :] if attempt.tests == tests]

    def final(self, tests: str = "") -> bool:
        """Whether nobody tries it again: what diverged would diverge again, and anything else is tried twice in all.

        That all of a worker is lost is mostly not the run's doing: it may happen LOST times, as long as nothing was kept between.
        """
        kinds = Counter(attempt.kind for attempt in self.counted(tests))
        return kinds["diverged"] > 0 or kinds["lost"] >= LOST or kinds.total() - kinds["lost"] >= TRIES

    def told(self) -> str:
        """The reason, and how often it was tried where."""
        hosts = ", ".join(dict.fromkeys(attempt.host for attempt in self.attempts))
        return f"{self.reason} (tried {len(self.attempts)} times, on {hosts})" if len(self.attempts) > 1 else self.reason


def part_name(language: str, data: str) -> str:
    """What the scores in one language, on test data of one digest, are called."""
    return f"scores/{language}.{data[:16]}.jsonl"


def unnumbered(name: str) -> str:
    """What a file holds, whoever wrote it: its name without the number of the lease."""
    return re.sub(r"\.\d+(?=/|\.jsonl$)", "", name)


class Damaged(RuntimeError):
    """A file of a finished run is missing or is not what was committed."""


class Store:
    """Runs by stage id, under one folder. Opening it creates nothing."""

    def __init__(self, root: Path):
        self.root = Path(root)

    def folder(self, stage_id: str) -> Path:
        return self.root / "runs" / stage_id

    def record(self, stage_id: str) -> Record | None:
        """What the run committed, or None if it committed nothing. Raises `NotUnderstood`: see `foreign`."""
        return kept.read(Record, self.folder(stage_id) / "record.json")

    def foreign(self, stage_id: str) -> str | None:
        """Why a run may neither be read nor computed here: another version wrote it."""
        try:
            if not self.record(stage_id):
                self.failed(stage_id)
        except NotUnderstood as error:
            return str(error)
        return None

    def stage(self, stage_id: str) -> Stage:
        """The stage of a run. Raises FileNotFoundError if there is none."""
        return Stage.model_validate_json((self.folder(stage_id) / "stage.json").read_bytes())

    def finished(self) -> Iterator[tuple[str, Stage]]:
        """The runs that have a record, in the order of their ids, with their stages: also those that an older version named."""
        for path in sorted((self.root / "runs").glob("*/record.json")):
            try:
                yield path.parent.name, self.stage(path.parent.name)
            except (OSError, ValueError) as error:
                what = f"{path.parent}/stage.json is damaged ({first_line(error)}), and its run is compared with nothing"
                warnings.warn(what, kept.NotRead, stacklevel=2)

    def state(self, stage_id: str) -> State:
        """`finished` as soon as something is committed; see `missing` for the parts of an evaluation."""
        folder = self.folder(stage_id)
        try:
            if self.record(stage_id):
                return "finished"
            self.failed(stage_id)
        except NotUnderstood:
            return "foreign"
        if leases.alive(folder):
            return "running"
        return "failed" if (folder / "failure.json").exists() else "pending"

    def missing(self, stage_id: str, parts: dict[str, str]) -> tuple[str, ...]:
        """The languages of `parts` (language -> digest of its test data) that have no whole score from that data."""
        return self.missing_of(self.record(stage_id), stage_id, parts)

    def missing_of(self, record: Record | None, stage_id: str, parts: dict[str, str], *, read: bool = True) -> tuple[str, ...]:
        """`missing`, of a record that was read already; without `read` by the sizes of files alone, not by their checksums."""
        folder, names = str(self.folder(stage_id)), record.parts() if record else ()
        whole = {unnumbered(name) for name in names if _holds(f"{folder}/{name}", record.files[name], read=read)}
        return tuple(language for language, data in parts.items() if part_name(language, data) not in whole)

    def written(self, stage_id: str, what: str) -> int | None:
        """When the file that holds `what`, such as a `part`, was written, in milliseconds since 1970; None if it is not there."""
        record = self.record(stage_id)
        names = [name for name in (record.files if record else ()) if unnumbered(name) == what]
        try:
            return round((self.folder(stage_id) / names[0]).stat().st_mtime * 1000) if names else None
        except FileNotFoundError:
            return None

    def busy(self, stage_id: str, clock: Callable[[], float] | None = None) -> bool:
        """Whether a living process works on the run."""
        return leases.alive(self.folder(stage_id), clock)

    def disown(self, stage: Stage, parts: Container[str]) -> None:
        """Take damaged parts (`part_name`) out of a record, so that whoever looks at it next finds them missing."""
        with self.lease(stage) or nullcontext() as lease:
            record = self.record(stage.id) if lease else None
            if lease and record:
                left = {name: mark for name, mark in record.files.items() if unnumbered(name) not in parts}
                kept.write(lease.folder / "record.json", record.model_copy(update={"files": left}))

    def scores(self, stage_id: str) -> list[Score]:
        """The rows of every part that the record names and whose checksum holds."""
        record = self.record(stage_id)
        return [score for part in self._parts(record, stage_id) for score in part or ()] if record else []

    def whole(self, stage_id: str) -> list[Score] | None:
        """The rows of every part, if the run is finished and all are there as they were committed; else None."""
        try:
            record = self.record(stage_id)
            parts = list(self._parts(record, stage_id)) if record else [None]
        except NotUnderstood:
            return None
        return None if None in parts else [score for part in parts for score in part or ()]

    def checkpoint(self, stage_id: str) -> Path:
        """The folder of a finished run's checkpoint, its checksums verified. Raises `Damaged`."""
        record, folder = self.record(stage_id), self.folder(stage_id)
        names = [name for name in (record.files if record else {}) if name.startswith("checkpoint.")]
        if not names:
            raise Damaged(f"{stage_id}: no checkpoint; run the study again to make it")
        for name in names:
            if not _holds(folder / name, record.files[name]):
                with leases.lease(folder) or nullcontext() as lease:
                    if lease and self.record(stage_id) == record:
                        (folder / "record.json").unlink(missing_ok=True)  # so that the next plan computes it again
                raise Damaged(f"{stage_id}: {name} is not what was committed; run the study again to make it")
        return folder / names[0].partition("/")[0]

    def usable(self, stage_id: str) -> bool:
        """Whether a training is finished and its checkpoint was not released."""
        record = self.record(stage_id)
        return record is not None and not record.released

    def release(self, stage: Stage) -> None:
        """Delete the checkpoint of a finished training that nothing needs; it stays finished, and is trained again if need be.

        Without a lease: nobody trains what is finished, and two that release write the same.
        """
        folder, record = self.folder(stage.id), self.record(stage.id)
        if record and not leases.alive(folder):
            files = {name: mark for name, mark in record.files.items() if not name.startswith("checkpoint.")}
            released = record.model_copy(update={"files": files, "released": True})
            kept.write(folder / "record.json", released)
            for checkpoint in {name.partition("/")[0] for name in record.files.keys() - files.keys()}:
                shutil.rmtree(folder / checkpoint, ignore_errors=True)

    def lease(self, stage: Stage) -> Lease | None:
        """The right to compute a stage, or None while a living process has it. Raises `NotUnderstood`: see `foreign`."""
        if reason := self.foreign(stage.id):
            raise NotUnderstood(reason)
        lease, path = leases.lease(self.folder(stage.id)), self.folder(stage.id) / "stage.json"
        if lease and not path.exists():  # an id has one content
            write_atomically(path, stage.json().encode())
        return lease

    def commit(self, lease: Lease, files: Iterable[str], *, started: datetime, host: str, versions: dict[str, str]) -> None:
        """Make `files` (named by `lease.named`, whole on disk) count, beside those that count already and hold something else."""
        folder, before = lease.folder, self.record(lease.folder.name)
        marks = {name: _mark(folder / name, sync=True) for name in files}
        new = {unnumbered(name) for name in marks}
        stays = {name: mark for name, mark in (before.files if before else {}).items() if unnumbered(name) not in new}
        seconds = (datetime.now(UTC) - started).total_seconds() + (before.seconds if before else 0)
        record = Record(
            id=folder.name,
            started=before.started if before else started.isoformat(timespec="milliseconds"),
            seconds=seconds,
            host=host,
            versions=versions,
            files=stays | marks,
        )
        lease.check()
        kept.write(folder / "record.json", record)
        (folder / "failure.json").unlink(missing_ok=True)
        if (folder / f"record.json{kept.ASIDE}").exists():
            return  # of what a damaged record named nothing is deleted
        lease.sweep({name.partition("/")[0] if name.startswith("checkpoint.") else name for name in record.files})

    def fail(
        self,
        lease: Lease,
        reason: str,
        detail: str,
        kind: str = "failed",
        tests: str = "",
        versions: dict[str, str] | None = None,
    ) -> None:
        """Note why a run failed, beside why it failed before."""
        at, host = datetime.now(UTC).isoformat(timespec="milliseconds"), socket.gethostname()
        tried = {"kind": kind, "reason": reason, "host": host, "versions": versions or {}, "at": at, "tests": tests}
        before = self.failed(lease.folder.name)
        attempts = (*(before.attempts if before else ()), Attempt.model_validate(tried))
        forgiven = before.forgiven if before else 0
        kept.write(
            lease.folder / "failure.json", Failure(reason=reason, detail=detail, at=at, attempts=attempts, forgiven=forgiven)
        )

    def forgive(self, stage: Stage) -> bool:
        """Have a run that failed tried again, whatever the number of its attempts; False if it is under way."""
        with self.lease(stage) or nullcontext() as lease:
            failure = self.failed(stage.id)
            if lease and failure:
                forgiven = failure.model_copy(update={"forgiven": len(failure.attempts)})
                kept.write(lease.folder / "failure.json", forgiven)
        return lease is not None

    def failure(self, stage_id: str) -> str | None:
        """The reason of the last failure, if nothing was committed since."""
        try:
            failure = self.failed(stage_id)
        except NotUnderstood as error:
            return str(error)
        return failure.reason if failure else None

    def failed(self, stage_id: str) -> Failure | None:
        """The last failure, if nothing was committed since. Raises `NotUnderstood`."""
        path, record = (self.folder(stage_id) / name for name in ("failure.json", "record.json"))
        found = kept.read(Failure, path)
        try:
            return None if found and record.stat().st_mtime_ns > path.stat().st_mtime_ns else found
        except FileNotFoundError:  # nothing is committed, or something was between the two looks
            return found

    def log(self, stage_id: str, offset: int = 0) -> tuple[list[dict[str, float]], int]:
        """Whole lines of a run's log from a byte offset on, and the offset after them; an unfinished line waits.

        ValueError where a line after an offset above 0 is none: the log is another one.
        """
        try:
            with open(self.folder(stage_id) / "log.jsonl", "rb") as file:
                file.seek(offset)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return [], offset
        lines = whole.splitlines()  # from an offset on, a broken one says that a new try is writing over the log
        rows = [json.loads(line) for line in lines] if offset else self._logged(stage_id, lines)
        return rows, offset + len(whole) + bool(whole)

    def last(self, stage_id: str) -> dict[str, float] | None:
        """The last whole line of a run's log; None where there is none."""
        try:
            with open(self.folder(stage_id) / "log.jsonl", "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                lines = file.read().rpartition(b"\n")[0].splitlines()
        except FileNotFoundError:
            return None
        return next(iter(self._logged(stage_id, lines[-1:])), None)

    def _logged(self, stage_id: str, lines: list[bytes]) -> list[dict[str, float]]:
        """Lines of a log as rows; what is damaged is said, and left out."""
        rows = []
        for line in lines:
            with contextlib.suppress(ValueError):
                if isinstance(row := json.loads(line), dict):
                    rows.append(row)
        if lost := len(lines) - len(rows):
            what = f"{self.folder(stage_id)}/log.jsonl: {lost} of {len(lines)} lines are damaged, and left out"
            warnings.warn(what, kept.NotRead, stacklevel=3)
        return rows

    def save_card(self, card: StudyCard) -> None:
        """Keep what is known of a study. Raises `NotUnderstood` where another version's card of it stands."""
        kept.write(self.root / "studies" / f"{card.study}.json", card)

    def card(self, study: str) -> StudyCard | None:
        """What the store knows of a study; None where it never ran here. Raises `NotUnderstood`."""
        return kept.read(StudyCard, self.root / "studies" / f"{study}.json")

    def save_trial(self, folder: str, trial: Trial) -> None:
        kept.write(self.root / "tuning" / folder / f"trial-{trial.number}.json", trial)

    def trials(self, folder: str, known: Container[int] = ()) -> list[Trial]:
        """The trials of a search that came to an end, by number, without those that are `known`. Raises `NotUnderstood`."""
        paths = {int(path.stem.removeprefix("trial-")): path for path in (self.root / "tuning" / folder).glob("trial-*.json")}
        read = (kept.read(Trial, paths[number]) for number in sorted(paths) if number not in known)
        return [trial for trial in read if trial]

    def register(self, registration: Registration) -> None:
        """Keep a registration; FileExistsError where there is one."""
        path = self.root / "registrations" / f"{registration.study}.json"
        if path.exists():
            raise FileExistsError(path)
        kept.write(path, registration)

    def registration(self, study: str) -> Registration | None:
        """What a study committed itself to; None where nothing was registered. Raises `NotUnderstood`."""
        path = self.root / "registrations" / f"{study}.json"
        found = kept.read(Registration, path)
        if found is None and path.exists():
            raise UserError(f"{path} is damaged: what study '{study}' committed itself to is not known; bring a copy of it back")
        return found

    def cards(self, names: Container[str] | None = None) -> list[StudyCard]:
        """The studies that ran on this store, or those of `names`; with a warning, without those that another version wrote."""
        found = []
        for path in sorted((self.root / "studies").glob("*.json")):
            try:
                if names is None or path.stem in names:
                    found.append(self.card(path.stem))
            except NotUnderstood as error:
                warnings.warn(str(error), kept.NotRead, stacklevel=2)
        return [card for card in found if card]

    def table(self, digest: str) -> Path:
        """Where the rows of a table are, or will be."""
        return self.root / "tables" / f"{digest}.parquet"

    def save_table(self, digest: str, data: bytes) -> None:
        """Keep a table whole; one that is there is the same."""
        path = self.table(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def _parts(self, record: Record, stage_id: str) -> Iterator[list[Score] | None]:
        """The rows of each part of a record, None where it is not what was committed."""
        folder = str(self.folder(stage_id))
        for name in record.parts():
            try:
                with open(f"{folder}/{name}", "rb") as file:
                    data = file.read()
                whole = FileMark(size=len(data), sha256=hashlib.sha256(data).hexdigest()) == record.files[name]
                yield [Score.model_validate_json(line) for line in data.splitlines()] if whole else None
            except FileNotFoundError:
                yield None
            except ValidationError as error:
                slip = error.errors()[0]["msg"].lower()
                raise NotUnderstood(f"{folder}/{name} is not understood ({slip})") from None


def _mark(path: Path | str, *, sync: bool = False) -> FileMark:
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
        return FileMark(size=os.fstat(file.fileno()).st_size, sha256=checksum)


def _holds(path: Path | str, mark: FileMark, *, read: bool = True) -> bool:
    try:
        return os.stat(path).st_size == mark.size and (not read or _mark(path).sha256 == mark.sha256)
    except FileNotFoundError:
        return False
