"""What finished runs say, gathered into Parquet files beside them, so that an answer does not read every run again.

Never the truth: `facts/` below a store may be deleted at any time, and is made again. What counts is what `index.json` in the
folder of the code that made it names, and whose checksums hold; of that, the rows of runs whose record is the file that it was
when it was gathered. Whoever asks reads the few runs beside those itself, and gathers them, under a lease, where they are many;
nobody waits for anybody.

runs.<…>.parquet     a row a finished run: its record as a file, and the number n under which it was gathered
scores.<…>.parquet   their scores, as `facts` has them in `score_rows`, with n
cells.<…>.parquet    of one study: `cell_rows`, as its card says it
gains.<…>.parquet    of one study: the view `gains`, of runs that were gathered by then
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from xlift.analysis import facts
from xlift.analysis.facts import Facts
from xlift.analysis.tabled import SCORES
from xlift.registry import card, kept, leases, pairing
from xlift.registry.files import raw_digest
from xlift.registry.kept import Kept, NotUnderstood
from xlift.registry.known import languages
from xlift.registry.leases import Lease
from xlift.registry.spec import Spec
from xlift.registry.store import Store

MANY = 256  # runs that are worth gathering
CHUNK = 4096  # runs in memory at a time
SETTLED = 2 * 10**9  # nanoseconds after which a file that changes has another time
PARTS = 8  # of the gains of one study, at most
MONTH = 30 * 24 * 3600.0  # for which what other code gathered stays
HOUR = 3600.0  # for which files that count no more stay, for those who read them
LARGEST = 2**63 - 1  # of a column
Stamp = tuple[int, int, int]  # of a file: when it was written, in nanoseconds, its size, its inode

RUNS = pa.schema([("id", pa.string()), *((name, pa.int64()) for name in ("written", "size", "inode", "n"))])
SCORED = SCORES.append(pa.field("n", pa.int64()))
IDS, STALE = pa.schema([("id", pa.string())]), pa.schema([("id", pa.string()), ("n", pa.int64())])
STATES = {"stages", "missing", "stage_rows"}  # which need the state of every stage


class Part(Spec):
    """A file that counts."""

    name: str = Field(pattern=r"^(runs|scores|cells|gains)\.[0-9a-f]{16}\.parquet$")
    sha256: str
    rows: int


class Studied(Spec):
    """What is gathered of one study."""

    card: Stamp
    cells: Part
    table: str | None = None
    gains: tuple[Part, ...] = ()
    through: int = 0  # gains are of runs that were gathered under numbers up to this one


class Index(Kept):
    """What counts."""

    number: int = 0
    runs: tuple[Part, ...] = ()
    scores: tuple[Part, ...] = ()
    studies: dict[str, Studied] = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.runs, *self.scores, *(part for own in self.studies.values() for part in (own.cells, *own.gains)))


@cache
def made_by() -> str:
    """The code that rows and views come from: what other code gathered counts for nothing."""
    texts = [Path(module.__file__).read_bytes() for module in (facts, pairing, card, languages)]
    texts += [Path(__file__).read_bytes(), version("duckdb").encode(), *(facts.sql(view).encode() for view in facts.VIEWS)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def ask(store: Store, statement: str) -> pd.DataFrame:
    """The rows that one SELECT over all studies of a store returns, as `facts.query` does."""
    if not _many(store.root / "runs"):
        return facts.query(facts.connect(store, store.cards()), statement)
    names = facts.named(statement)
    gathered = Gathered(store)
    if len(gathered.unseen) >= MANY or gathered.outdated:
        gathered.gather()
    if any(
        each.study not in gathered.beside for each in store.cards(gathered.beside)
    ):  # files under other names than their cards'
        return facts.query(facts.connect(store, store.cards()), statement)
    return facts.query(gathered.connect(names), statement)


def _many(runs: Path) -> bool:
    return runs.is_dir() and sum(1 for _ in islice(os.scandir(runs), MANY)) >= MANY


def _stamps(folder: Path, name: Callable[[str], str]) -> Iterator[tuple[str, Stamp]]:
    """The files of a folder that are there, one an entry."""
    for entry in os.listdir(folder) if folder.is_dir() else ():
        try:
            found = os.stat(f"{folder}/{name(entry)}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield entry, (found.st_mtime_ns, found.st_size, found.st_ino & LARGEST)


class Gathered:
    """What is gathered of a store, and what of it holds."""

    def __init__(self, store: Store):
        self.store, self.folder = store, store.root / "facts" / made_by()[:12]
        self.index, self.writable = self._read()
        self._look()

    def _read(self) -> tuple[Index, bool]:
        """What counts, if every file of it is there; whether this version may write."""
        try:
            index = kept.read(Index, self.folder / "index.json", say=False)
        except NotUnderstood:
            return Index(), False
        return (index if index and all(map(self._holds, index.parts)) else Index()), True

    def _holds(self, part: Part) -> bool:
        try:
            return raw_digest(self.folder / part.name) == part.sha256
        except OSError:
            return False

    def _look(self) -> None:
        """Compare what is gathered with what is there."""
        runs, studies = self.store.root / "runs", self.store.root / "studies"
        disk = dict(_stamps(runs, lambda entry: f"{entry}/record.json"))
        self.cards = {name[:-5]: stamp for name, stamp in _stamps(studies, str) if name.endswith(".json")}
        self.known: dict[str, int] = {}  # runs whose rows hold, and their numbers
        self.stale: list[tuple[str, int]] = []  # rows that do not
        for part in self.index.runs:
            rows = pq.read_table(self.folder / part.name).to_pydict()
            for id, n, *stamp in zip(rows["id"], rows["n"], *(rows[name] for name in ("written", "size", "inode")), strict=True):
                if disk.get(id) == tuple(stamp):
                    self.known[id] = n
                else:
                    self.stale.append((id, n))
        self.unseen = {id: disk[id] for id in sorted(disk.keys() - self.known.keys())}
        self.outdated = [name for name in self.beside if _settled(self.cards[name])]

    def _of(self, study: str) -> Studied | None:
        """What is gathered of a study whose card is still the same."""
        own = self.index.studies.get(study)
        return own if own and own.card == self.cards.get(study) else None

    @property
    def beside(self) -> Set[str]:
        """The studies of which nothing is gathered, or whose card changed since."""
        return {name for name in self.cards if self._of(name) is None}

    def _since(self, through: int) -> tuple[set[str], set[str]]:
        """Runs whose rows of before changed or are gone since a number; and runs whose rows are newer, or not gathered."""
        new = {*self.unseen, *(id for id, n in self.known.items() if n > through)}
        return {id for id, n in self.stale if n <= through and (id in new or id not in self.known)}, new

    # -- reading

    def connect(self, asked: Set[str]) -> Facts:
        """Facts of all studies; of what takes long, only what is `asked` for by the names of tables and views."""
        connection = facts.memory()
        cards = self.store.cards(self.cards) if asked & STATES else []
        tables = {each.table: facts.table(self.store, each.table) for each in cards if each.table}
        rows = (row for each in cards for row in facts.stage_rows(self.store, each, tables))
        facts.fill(connection, "stage_rows", facts.STAGES, rows)
        self._base(connection, self.unseen)
        facts.viewed(connection, [view for view in facts.VIEWS if view != "gains" or "gains" not in asked])
        if "gains" in asked:
            self._gains(connection)
        connection.execute(f"SET allowed_paths = {_texts(self._path(part) for part in self.index.parts)}")
        return facts.locked(connection)

    def _base(self, connection: Facts, beside: Iterable[str]) -> None:
        """`cell_rows`, `score_rows` and `language_rows`, of what is gathered and of runs `beside` it."""
        facts.fill(connection, "language_rows", facts.LANGUAGE_ROWS, facts.language_rows())
        gathered = {name: own for name in self.cards if (own := self._of(name))}
        cards = self.store.cards(self.beside)
        facts.fill(connection, "cell_beside", facts.CELLS, (row for each in cards for row in facts.cell_rows(each)))
        digests = [digest for digest in (*(own.table for own in gathered.values()), *(each.table for each in cards)) if digest]
        tables = [table for digest in digests if isinstance(table := facts.table(self.store, digest), pa.Table)]
        scored = (row for id in beside for row in facts.score_rows(self.store, id))
        facts.fill(connection, "score_beside", SCORES, scored, tables)
        facts.fill(connection, "stale", STALE, self.stale)
        _union(connection, "cell_rows", "cell_beside", self._files([own.cells for own in gathered.values()]))
        holds = " WHERE (stage, n) NOT IN (SELECT (id, n) FROM stale)" if self.stale else ""
        _union(connection, "score_rows", "score_beside", self._files(self.index.scores, ", ".join(SCORES.names), holds))

    def _path(self, part: Part) -> str:
        return str((self.folder / part.name).absolute())

    def _files(self, parts: Sequence[Part], columns: str = "*", where: str = "") -> list[str]:
        """A query of the rows of some files, if there are any."""
        return [f"SELECT {columns} FROM read_parquet({_texts(map(self._path, parts))}){where}"] if parts else []

    def _gains(self, connection: Facts) -> None:
        """The view `gains`: what is gathered and holds, and the gains of runs that are not gathered or were changed since."""
        found, empty = list[str](), _paired(connection, "", ())
        for at, study in enumerate(self.cards):
            own = self._of(study)
            if own is None or not own.through:
                found.append(f"SELECT * FROM {_paired(connection, study, None)}")
                continue
            stale, new = self._since(own.through)
            where = ""
            if stale:
                facts.fill(connection, f"stale_{at}", IDS, [(id,) for id in stale])
                ids = f"(SELECT id FROM stale_{at})"
                where = f" WHERE treated_stage NOT IN {ids} AND baseline_stage NOT IN {ids}"
            found += self._files(own.gains, where=where)
            if new:
                found.append(f"SELECT * FROM {_paired(connection, study, new)}")
        _union(connection, "gains", empty, found)

    # -- gathering

    def gather(self) -> None:
        """Gather what is not, as far as nobody else does and the store may be written to."""
        if not self.writable:
            return
        with contextlib.suppress(leases.Lost, OSError), leases.lease(self.folder) or contextlib.nullcontext() as lease:
            if lease:  # somebody may take over, or there is no room: what was gathered by then counts
                self.index, self.writable = self._read()  # as the one before left it
                self._look()
                if len(self.stale) > max(MANY, len(self.known) // 2):
                    self._save(lease, Index(number=self.index.number))
                    self._look()
                unseen = iter(list(self.unseen.items()))
                while chunk := list(islice(unseen, CHUNK)):
                    self._runs(lease, chunk)
                self._merge(lease)
                for study in self.cards:
                    self._study(lease, study)
                self._sweep()
        self._look()

    def _save(self, lease: Lease, index: Index) -> None:
        lease.check()
        kept.write(self.folder / "index.json", index)
        self.index = index

    def _part(self, kind: str, write: Callable[[str], int]) -> Part:
        path = self.folder / f"{kind}.{secrets.token_hex(8)}.parquet"
        rows = write(str(path))
        return Part(name=path.name, sha256=raw_digest(path), rows=rows)

    def _runs(self, lease: Lease, unseen: Iterable[tuple[str, Stamp]]) -> None:
        """Gather those runs that are whole and settled."""
        n, runs, scores = self.index.number + 1, list[tuple](), list[tuple]()
        for id, stamp in unseen:
            if _settled(stamp) and (found := self.store.whole(id)) is not None:
                runs.append((id, *stamp, n))
                scores += [(*row, n) for row in facts.rows_of(id, found)]
        if runs:
            own = {"runs": self._part("runs", _rows(RUNS, runs)), "scores": self._part("scores", _rows(SCORED, scores))}
            grown = {name: (*getattr(self.index, name), part) for name, part in own.items()}
            self._save(lease, self.index.model_copy(update={"number": n, **grown}))
            for id, *_ in runs:
                self.known[id] = n
                del self.unseen[id]

    def _merge(self, lease: Lease) -> None:
        """Join the last files into one, as many as are together not much smaller than the one before them: so there are few."""
        parts, count = self.index.runs, 1
        while count < len(parts) and 2 * sum(part.rows for part in parts[-count:]) >= parts[-count - 1].rows:
            count += 1
        if count > 1:
            joined = {}
            for kind in ("runs", "scores"):
                every = getattr(self.index, kind)
                rows = f"SELECT * FROM read_parquet({_texts(map(self._path, every[-count:]))})"
                joined[kind] = (*every[:-count], self._part(kind, _copied(facts.memory(), rows)))
            self._save(lease, self.index.model_copy(update=joined))

    def _study(self, lease: Lease, study: str) -> None:
        """Gather the cells of a study, and its gains; those of a table are read where they are."""
        own, card = self._of(study), None
        if own is None:
            card = next((each for each in self.store.cards([study]) if each.study == study and _settled(self.cards[study])), None)
            if card is None:
                return
            cells = self._part("cells", _rows(facts.CELLS, facts.cell_rows(card)))
            own = Studied(card=self.cards[study], cells=cells, table=card.table)
        stale, new = self._since(own.through)
        whole = not own.through or len(own.gains) >= PARTS or bool(stale)
        new -= self.unseen.keys()
        if not own.table and (whole or new):
            studies = {**self.index.studies, study: own}
            self.index = self.index.model_copy(update={"studies": studies})
            connection = facts.memory()
            self._base(connection, ())  # what is not gathered will be in gains that are, when it is
            paired = _paired(connection, study, None if whole else new)
            rows = f"SELECT * FROM {paired} ORDER BY target, intermediate, variant, model, language, seed"
            part = self._part("gains", _copied(connection, rows))
            gains = (part,) if whole else (*own.gains, *([part] if part.rows else []))
            own = own.model_copy(update={"gains": gains, "through": self.index.number})
        if own != self.index.studies.get(study) or card:
            self._save(lease, self.index.model_copy(update={"studies": {**self.index.studies, study: own}}))

    def _sweep(self) -> None:
        """Delete what counted once, when nobody reads it any more, and what somebody left who was killed."""
        counts = {part.name for part in self.index.parts}
        for path in self.folder.glob("*.parquet"):
            if path.name not in counts and time.time() - path.stat().st_mtime > HOUR:
                path.unlink(missing_ok=True)
        for other in self.folder.parent.iterdir():
            if other != self.folder and time.time() - other.stat().st_mtime > MONTH:
                shutil.rmtree(other, ignore_errors=True)


def _settled(stamp: Stamp) -> bool:
    """Whether a file that is written now would have another time."""
    return time.time_ns() - stamp[0] > SETTLED


def _texts(values: Iterable[str]) -> str:
    """A list of texts in SQL."""
    return f"[{', '.join(map(facts.text, values))}]"


def _union(connection: Facts, name: str, table: str, more: Sequence[str]) -> None:
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL '.join([f'SELECT * FROM {table}', *more])}")


def _rows(schema: pa.Schema, rows: Iterable[tuple]) -> Callable[[str], int]:
    """What writes rows into a file, and counts them."""

    def write(path: str) -> int:
        table = facts.arrow(schema, rows)
        pq.write_table(table, path, compression="zstd")
        return len(table)

    return write


def _copied(connection: Facts, rows: str) -> Callable[[str], int]:
    """What writes the rows of a query into a file, and counts them."""

    def write(path: str) -> int:
        return connection.execute(f"COPY ({rows}) TO {facts.text(path)} (FORMAT parquet, COMPRESSION zstd)").fetchone()[0]

    return write


def _paired(connection: Facts, study: str, runs: Iterable[str] | None) -> str:
    """A table of the gains of a study, of which one of `runs` is a half, or of all.

    They are what the view gives that stands on the cells and scores of these runs and of what they are paired with.
    """
    name = f"near_{connection.execute('SELECT count(*) FROM duckdb_schemas()').fetchone()[0]}"
    connection.execute(f"CREATE SCHEMA {name}")
    connection.execute(f"USE {name}")
    own = f"(SELECT * FROM main.cell_rows WHERE study = {facts.text(study)})"
    if runs is None:
        near = half = "true"
    else:
        facts.fill(connection, "runs", IDS, [(id,) for id in runs])
        connection.execute(f"""CREATE TABLE near AS SELECT DISTINCT stage FROM {own}
            WHERE pair IN (SELECT pair FROM {own} WHERE stage IN (SELECT id FROM runs))""")
        near = "stage IN (SELECT stage FROM near)"
        half = "treated_stage IN (SELECT id FROM runs) OR baseline_stage IN (SELECT id FROM runs)"
    connection.execute(f"CREATE TABLE cell_rows AS SELECT * FROM {own} WHERE {near}")
    scored = "is_primary AND stage IN (SELECT stage FROM cell_rows)"
    connection.execute(f"CREATE TABLE score_rows AS SELECT * FROM main.score_rows WHERE {scored}")
    connection.execute("CREATE VIEW language_rows AS SELECT * FROM main.language_rows")
    facts.viewed(connection, ["planned", "gains"])
    connection.execute(f"CREATE TABLE gains_here AS SELECT * FROM gains WHERE {half}")
    connection.execute("USE memory.main")
    return f"{name}.gains_here"
