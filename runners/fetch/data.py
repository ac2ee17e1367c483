"""`xlift data fetch`: what a study, or a task, needs of the hub's data sets, as the files that tasks read."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from xlift.registry import files
from xlift.registry.findings import UserError, first_line
from xlift.registry.known.hub import HUB, Part, Published, Repository
from xlift.registry.known.tasks import TASKS
from xlift.runners.fetch import locked, remote
from xlift.runners.fetch.locked import DataLock, Made, Source
from xlift.runners.fetch.remote import Remote
from xlift.runners.fetch.rules import RULES, Counts, Row, Rule

ARCHIVES = {  # tasks whose data are in archives alone, and what makes files of them
    "bucc": "xlift data bucc FOLDER --data DIR makes it of the published archives",
    "udpos": "the hub's copy is not XTREME's data; xlift data udpos FOLDER --data DIR makes it of Universal Dependencies 2.5",
}
BATCH = 1000  # rows of a Parquet file that are read at once


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A file that a study needs."""

    task: str
    split: str
    language: str


@dataclass
class Fetched:
    """What became of the files that were wanted."""

    made: list[Made] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # that were there, as the lock has them
    own: list[str] = field(default_factory=list)  # that were there, and are in no lock: never written over
    lacking: dict[Wanted, str] = field(default_factory=dict)  # why there is none
    failed: dict[Wanted, str] = field(default_factory=dict)  # why one could not be had
    told: list[str] = field(default_factory=list)  # what is otherwise than it was known to be

    @contextlib.contextmanager
    def kept_apart(self, wanted: Wanted) -> Iterator[None]:
        """What goes wrong with one file is kept, and leaves the others to be made."""
        try:
            yield
        except UserError as error:
            self.failed[wanted] = str(error)


Tell = Callable[[str, int, int], None]  # what is under way, bytes so far, bytes in all


class Fetch:
    """One run: listings are asked for once, and every file of the hub once."""

    def __init__(
        self,
        folder: Path,
        patterns: Callable[[str], str],
        lock: Path,
        tell: Tell = lambda *_: None,
        texts: Mapping[str, Published] | None = None,  # of corpora, as a manifest declares them
    ):
        self.folder, self.patterns, self.path, self.tell, self.known = folder, patterns, lock, tell, HUB | dict(texts or {})
        self.lock = locked.read(lock)
        self.commits: dict[tuple[str, str], str] = {}
        self.listings: dict[tuple[str, str], list[Remote]] = {}
        self.places: dict[Remote, Path] = {}
        self.whole = 0  # bytes that there are to have

    def run(self, wanted: Iterable[Wanted]) -> Fetched:
        """Fetch and make what is not there; the lock is written after every file, so that an interrupted run goes on."""
        found, todo = Fetched(), dict[Wanted, list[tuple[Part, list[Remote]]]]()
        for each in sorted(set(wanted)):
            name, parts = self._name(each), self._parts(each)
            if isinstance(parts, str):
                if not files.path(self.folder, each.task, each.split, each.language, self.patterns(each.task)):
                    found.lacking[each] = parts
                continue
            state = self._state(name)
            if state == "own":
                found.own.append(name)
            elif state == "whole" and self.lock.by_file[name].rules == _rules(parts):
                found.kept.append(name)
            else:
                with found.kept_apart(each):
                    todo[each] = [(part, self._files(part, config, name)) for part, config in parts]
        certain = (file for sources in todo.values() for part, own in sources for file in (own[:1] if part.first else own))
        self.whole = sum({file: file.size for file in certain}.values())
        for each, sources in todo.items():
            with found.kept_apart(each):
                made = self._make(each, sources, found.told)
                self.lock = self.lock.having(made)
                locked.write(self.lock, self.path)
                found.made.append(made)
        if todo:
            self.tell("", self.whole, self.whole)
        return found

    def _parts(self, wanted: Wanted) -> list[tuple[Part, str]] | str:
        """The parts of the hub that make a file; why there are none."""
        if licensed := TASKS[wanted.task].licensed if wanted.task in TASKS else None:
            return f"licence: bring {licensed}"
        if wanted.task in ARCHIVES:
            return ARCHIVES[wanted.task]
        if wanted.task not in self.known:
            return "it is not known where it is; give its files below the data folder"
        parts = list(self.known[wanted.task].parts(wanted.split, wanted.language))
        return parts or f"the hub has no {wanted.split} data of it in {wanted.language}"

    def _name(self, wanted: Wanted) -> str:
        pattern = self.patterns(wanted.task)
        if not pattern.endswith(".jsonl"):
            raise UserError(f"files of {wanted.task} are called '{pattern}', and JSON lines are written", "end it in .jsonl")
        path = files.named(self.folder, wanted.task, wanted.split, wanted.language, pattern)
        return path.relative_to(self.folder).as_posix()

    def _state(self, name: str) -> str:
        """absent, own (somebody's), whole (as the lock has it), or other (ours, and changed since)."""
        path = self.folder / name
        if not path.is_file():
            return "own" if path.with_name(path.name + ".gz").is_file() else "absent"
        known = self.lock.by_file.get(name)
        if known is None:
            return "own"
        return "whole" if remote.digest(path) == known.sha256 else "other"

    def _files(self, part: Part, config: str, name: str) -> list[Remote]:
        """A part's files on the hub; those of the lock where they are of the same commit, so that no listing is needed."""
        repository = part.repository
        commit = self._commit(repository)
        known = self.lock.by_file.get(name)
        old = [Remote(**source.model_dump()) for source in known.sources if source.repository == repository.id] if known else []
        if old and all(file.commit == commit for file in old):
            with contextlib.suppress(UserError):
                return remote.parquet(old, config, part.split)
        key = repository.id, commit
        if key not in self.listings:
            self.listings[key] = remote.listed(*key, "dataset")
        return remote.parquet(self.listings[key], config, part.split)

    def _commit(self, repository: Repository) -> str:
        """The commit that is declared, or that of the lock, or that which is known, or today's."""
        key = repository.id, repository.branch
        if key not in self.commits:
            locked = None if repository.declared else self.lock.commits().get(repository.id)
            self.commits[key] = locked or repository.commit or remote.commit_of(*key, "dataset")
        return self.commits[key]

    def _place(self, file: Remote) -> Path:
        """Where a file is, which is fetched when it is first asked for."""
        if file not in self.places:
            so_far = sum(each.size for each in self.places)
            self.tell(file.place, so_far, max(self.whole, so_far + file.size))
            self.places[file] = remote.fetched(file)
        return self.places[file]

    def _make(self, wanted: Wanted, sources: Sequence[tuple[Part, Sequence[Remote]]], told: list[str]) -> Made:
        """One file of a task, whole or not at all."""
        name, counts, used = self._name(wanted), Counts(), list[Remote]()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        state = hashlib.sha256()
        try:
            with open(temporary, "wb") as out:
                for part, own in sources:
                    read, rule = 0, RULES[part.rule]
                    rule = replace(rule, columns=(part.column,)) if part.column else rule
                    for file in own:
                        if part.first and counts.kept >= part.first:
                            break
                        rows = rule.rows(self._rows(file, wanted, rule), wanted.language, counts)
                        for row in islice(rows, part.first - counts.kept) if part.first else rows:
                            line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
                            state.update(line)
                            out.write(line)
                        read += _count(self.places[file])
                        used.append(file)
                    if part.rows not in (None, read):
                        told.append(f"{own[0].place}: {read:,} rows, where {part.rows:,} were known of")
                out.flush()
                os.fsync(out.fileno())
            if self._state(name) == "other":
                aside = path.with_name(path.name + ".changed")
                os.replace(path, aside)
                told.append(f"{name} was changed since it was fetched: what it was is in {aside.name}")
            if not counts.kept:
                raise UserError(f"{wanted.task}, {wanted.split} in {wanted.language}: no row of {sources[0][1][0].place} is kept")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        licences = dict.fromkeys(part.repository.licence for part, _ in sources)
        return Made(
            file=name,
            task=wanted.task,
            split=wanted.split,
            language=wanted.language,
            sha256=state.hexdigest(),
            rows=counts.kept,
            repaired=counts.repaired,
            dropped=counts.dropped,
            rules=_rules([(part, "") for part, _ in sources]),
            licence="; ".join(licences),
            sources=tuple(Source(**remote.as_dict(file)) for file in used),
        )

    def _rows(self, file: Remote, wanted: Wanted, rule: Rule) -> Iterator[Row]:
        """Rows of a Parquet file with the columns that a rule reads, labels by their names, -1 as None."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(self._place(file))
            lacks = [column for column in rule.columns if column not in table.schema_arrow.names]
            if lacks:
                has = ", ".join(table.schema_arrow.names)
                raise UserError(f"{file.place} has no column {', '.join(lacks)}; it has {has}", "take the commit that is known")
            names = _names(table, rule.named, file, wanted) if rule.named else ()
            for batch in table.iter_batches(BATCH, columns=list(rule.columns)):
                for row in batch.to_pylist():
                    yield {**row, rule.named: _named(row[rule.named], names)} if rule.named else row
        except pa.ArrowInvalid as error:
            raise UserError(f"{file.place} is no Parquet file ({first_line(error)})", "take another commit") from error


def _rules(parts: Iterable[tuple[Part, str]]) -> tuple[str, ...]:
    """What made a file, by which it is known whether another would come out."""
    return tuple(dict.fromkeys(f"{part.rule}/{RULES[part.rule].version}{_declared(part)}" for part, _ in parts))


def _declared(part: Part) -> str:
    of = part.repository
    return f" of {of.id} at {of.commit}, {part.config}, {part.split}, {part.column}, first {part.first}" if of.declared else ""


def _count(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows)


def _names(table: Any, column: str, file: Remote, wanted: Wanted) -> Sequence[str]:
    """The names of a ClassLabel, which `datasets` wrote into the file, as far as they are the task's own labels."""
    told = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = _class_names(told.get(column))
    known = TASKS[wanted.task].labels
    if names is None:
        raise UserError(f"{file.place} does not name the labels of {column}", "take the commit that is known")
    if set(names) != set(known):
        what = f"{file.place} has the labels {', '.join(names)}, and {wanted.task} has {', '.join(known)}"
        raise UserError(what, "take the commit that is known")
    return names


def _class_names(feature: Any) -> Sequence[str] | None:
    """Of a feature, or of what a list of them holds."""
    if isinstance(feature, list):
        return _class_names(feature[0]) if feature else None
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") == "ClassLabel":
        return list(feature.get("names", ()))
    return _class_names(feature.get("feature"))


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return None if value is None or value < 0 else names[value]


def verified(lock: DataLock, folder: Path) -> Iterator[str]:
    """What of a folder is not as a lock has it, a sentence each."""
    for made in lock.files:
        path = folder / made.file
        if not path.is_file():
            yield f"{made.file} is not there"
        elif remote.digest(path) != made.sha256:
            yield f"{made.file} is not what was fetched"
