"""What is gathered of finished runs answers as a full reading does, row for row, whatever became of runs, cards and files since."""

import hashlib
import json
import os
import shutil
import warnings
from itertools import pairwise

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from xlift.analysis import facts, gathered
from xlift.registry import leases
from xlift.registry.card import Pairing, StudyCard
from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError
from xlift.registry.kept import NotRead
from xlift.registry.store import FileMark, Record, Store, part_name

from .planted import plant, rising, sized

GAINS = "SELECT * FROM gains ORDER BY ALL"
STATEMENTS = [
    *(f"SELECT * FROM {view} ORDER BY ALL" for view in facts.VIEWS),
    "SELECT target, count(*) AS gains FROM gains WHERE language = 'sw' GROUP BY target ORDER BY ALL",
    "SELECT count(*) AS n FROM query_table('stages')",
    "SELECT count(*) AS n FROM query('SELECT * FROM missing')",
    'SELECT count(*) AS n FROM memory.main."STAGES"',
    "WITH stages AS (SELECT 1 AS one) SELECT * FROM stages",
    "SELECT (SELECT count(*) FROM stages WHERE state = 'finished') AS n",
    "PIVOT stages ON kind IN ('train', 'evaluate') USING count(*) GROUP BY study ORDER BY study",
    "SELECT count(*) AS n FROM gains AS g JOIN missing AS m ON m.study = g.study",
]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(gathered, "MANY", 5)
    monkeypatch.setattr(gathered, "CHUNK", 7)
    monkeypatch.setattr(gathered, "SETTLED", 0)


def commit(store: Store, stage: str, rows: list, at: int = 1) -> None:
    """As a commit leaves it."""
    files = {}
    (store.folder(stage) / "scores").mkdir(parents=True, exist_ok=True)
    for language in {row.language for row in rows}:
        data = "".join(row.model_dump_json() + "\n" for row in rows if row.language == language).encode()
        name = part_name(language, "d").replace(".jsonl", f".{at}.jsonl")
        (store.folder(stage) / name).write_bytes(data)
        files[name] = FileMark(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    known = {"started": "2026-11-30T10:00:00.000+00:00", "seconds": 60.0, "host": "here"}
    write_atomically(store.folder(stage) / "record.json", Record(id=stage, files=files, **known).model_dump_json().encode())


class History:
    """A store to which things happen."""

    def __init__(self, folder, seed: int):
        self.rng, self.store, self.at = np.random.default_rng(seed), Store(folder), 1
        self.rows: dict[str, list] = {}
        (self.store.root / "runs").mkdir(parents=True)
        self.study(), self.runs(), self.runs()

    def study(self) -> None:
        """Another study, or one whose card changes; stages may be of several."""
        seeds, languages = range(1, self.rng.integers(2, 4)), ("en", "de", "sw")[: self.rng.integers(2, 4)]
        name = f"study-{self.rng.integers(3)}"
        card, shelf = plant(rising, models=sized(int(self.rng.integers(1, 4))), seeds=seeds, languages=languages, study=name)
        if self.rng.random() < 0.3:
            card = card.model_copy(update={"analysis": card.analysis.model_copy(update={"gain": Pairing(drop_languages=())})})
        self.store.save_card(card)
        self.rows |= {stage: shelf.rows.get(stage, []) for stage in (each.id for each in card.stages)}

    def runs(self) -> None:
        for stage in self.rng.permutation(list(self.rows))[: self.rng.integers(1, 30)]:
            commit(self.store, stage, self.rows[stage])

    def changed(self) -> None:
        self.at += 1
        for stage in self.rng.permutation(self.finished())[: self.rng.integers(1, 4)]:
            rows = [row.model_copy(update={"value": float(self.rng.uniform(0, 0.5))}) for row in self.rows[stage]]
            commit(self.store, stage, rows[: self.rng.integers(0, 4)], self.at)

    def gone(self) -> None:
        for stage in self.rng.permutation(self.finished())[: self.rng.integers(1, 4)]:
            shutil.rmtree(self.store.folder(stage))

    def many_gone(self) -> None:
        for stage in self.rng.permutation(self.finished())[3:]:
            shutil.rmtree(self.store.folder(stage))

    def damaged(self) -> None:
        """A run whose part is not what was committed, and whose record is new."""
        for stage in self.rng.permutation(self.finished())[:2]:
            commit(self.store, stage, self.rows[stage], self.at)
            for part in list(self.store.folder(stage).glob("scores/*.jsonl"))[:1]:
                part.write_bytes(part.read_bytes()[:-3])

    def foreign(self) -> None:
        (stage, *_) = self.rng.permutation(self.finished())
        path = self.store.folder(stage) / "record.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"form": 99}))

    def torn(self) -> None:
        paths = sorted((self.store.root / "facts").glob("*/*.parquet"))
        if paths:
            path = paths[self.rng.integers(len(paths))]
            data = bytearray(path.read_bytes())
            data[self.rng.integers(len(data))] ^= 255
            path.write_bytes(data)

    def lost(self) -> None:
        shutil.rmtree(self.store.root / "facts", ignore_errors=True)

    def finished(self) -> list[str]:
        return sorted(path.parent.name for path in self.store.root.glob("runs/*/record.json"))


def same(store: Store, statements=STATEMENTS) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotRead)
        connection = facts.connect(store, store.cards())
        for statement in statements:
            assert_frame_equal(gathered.ask(store, statement), facts.query(connection, statement))


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_a_full_reading(tmp_path, seed):
    history = History(tmp_path / "store", seed)
    events = ["study", "runs", "runs", "changed", "damaged", "gone", "many_gone", "foreign", "torn", "lost"]
    for event in ["runs", *history.rng.permutation(events * 2)]:
        getattr(history, event)()
        same(history.store, [STATEMENTS[history.rng.integers(len(STATEMENTS))], GAINS])
    same(history.store)


def whole(tmp_path, **how) -> tuple[Store, StudyCard]:
    card, shelf = plant(rising, models=sized(3), **how)
    store = Store(tmp_path / "store")
    store.save_card(card)
    for stage in card.stages:
        commit(store, stage.id, shelf.rows.get(stage.id, []))
    return store, card


def test_what_is_gathered_is_not_read_again(tmp_path, monkeypatch):
    store, _ = whole(tmp_path)
    first = gathered.ask(store, GAINS)
    read: list[str] = []
    monkeypatch.setattr(Store, "scores", lambda self, stage: read.append(stage) or [])
    monkeypatch.setattr(Store, "whole", lambda self, stage: read.append(stage) or [])
    monkeypatch.setattr(Store, "card", lambda self, study: read.append(study))
    assert_frame_equal(gathered.ask(store, GAINS), first)
    assert not read and len(first)


def test_of_a_few_new_runs_only_these_are_read_and_many_are_gathered(tmp_path, monkeypatch):
    store, card = whole(tmp_path, seeds=(1, 2, 3))
    gathered.ask(store, GAINS)
    read = list[str]()
    scores, rows = Store.scores, {cell.stage: store.scores(cell.stage) for cell in card.cells}
    monkeypatch.setattr(Store, "scores", lambda self, stage: read.append(stage) or scores(self, stage))
    for stage in list(rows)[:3]:
        commit(store, stage, rows[stage], 2)
    gathered.ask(store, GAINS)
    assert sorted(read) == sorted(list(rows)[:3]) and len(gathered.Gathered(store).unseen) == 3
    for stage in list(rows)[:9]:
        commit(store, stage, rows[stage], 3)
    gathered.ask(store, GAINS)
    now = gathered.Gathered(store)
    assert not now.unseen
    sizes = [part.rows for part in now.index.runs]
    assert all(2 * later < earlier for earlier, later in pairwise(sizes))


def test_who_may_not_write_or_is_not_the_first_answers_alike(tmp_path, monkeypatch):
    store, _ = whole(tmp_path)
    folder = gathered.Gathered(store).folder
    with leases.lease(folder):
        same(store)
        assert not list(folder.glob("*.parquet"))
    monkeypatch.setattr(gathered.Gathered, "_part", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    same(store)
    monkeypatch.undo()
    for index in ('{"form": 99}', '{"form": 1, "runs": [{"name": "../../runs.parquet", "sha256": "", "rows": 1}]}'):
        path = gathered.Gathered(store).folder / "index.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(index)
        monkeypatch.setattr(gathered, "MANY", 5)
        same(store)
        assert path.read_text() == index


def test_a_card_in_a_file_of_another_name_is_read_as_ever_and_two_of_one_study_are_refused(tmp_path):
    store, card = whole(tmp_path)
    first = gathered.ask(store, GAINS)
    path = store.root / "studies" / f"{card.study}.json"
    path.rename(path.with_name("renamed.json"))
    same(store)
    assert_frame_equal(gathered.ask(store, GAINS), first)
    shutil.copy(path.with_name("renamed.json"), path)
    for statement in STATEMENTS[:2]:
        with pytest.raises(UserError, match="two cards for one study"):
            gathered.ask(store, statement)


def test_what_other_code_gathered_counts_for_nothing(tmp_path, monkeypatch):
    store, _ = whole(tmp_path)
    gathered.ask(store, GAINS)
    before = gathered.Gathered(store).folder
    with monkeypatch.context() as other:
        other.setattr(gathered, "made_by", lambda: "other")
        assert len(gathered.Gathered(store).unseen) == len(list(store.root.glob("runs/*")))
        same(store)
    assert not gathered.Gathered(store).unseen and before.is_dir()  # each has its own
    os.utime(before.parent / "other", (0, 0))
    for path in store.root.glob("runs/*/record.json"):
        path.write_bytes(path.read_bytes() + b" ")
    same(store)
    assert [path.name for path in before.parent.iterdir()] == [before.name]


def test_a_query_reads_no_file_and_runs_no_other_statement(tmp_path):
    store, _ = whole(tmp_path)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for statement in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        "SET enable_external_access = true",
        "DROP VIEW gains",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"SELECT * FROM read_blob('{store.root}/studies/planted.json')",
    ):
        with pytest.raises(UserError):
            gathered.ask(store, statement)
    assert not (tmp_path / "out.csv").exists()


def test_what_counts_no_more_is_deleted_when_nobody_reads_it(tmp_path, monkeypatch):
    store, _ = whole(tmp_path)
    gathered.ask(store, GAINS)
    monkeypatch.setattr(gathered, "HOUR", -1.0)
    (gathered.Gathered(store).folder / "runs.left-by-a-kill.parquet").write_bytes(b"x")
    for stage in sorted(path.name for path in store.root.glob("runs/*"))[:9]:
        (store.folder(stage) / "record.json").write_bytes((store.folder(stage) / "record.json").read_bytes() + b" ")
    gathered.ask(store, GAINS)
    counts = {part.name for part in gathered.Gathered(store).index.parts}
    assert {path.name for path in gathered.Gathered(store).folder.glob("*.parquet")} == counts
