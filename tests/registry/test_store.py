import json
import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xlift.registry import leases
from xlift.registry.score import Score
from xlift.registry.stage import Data, Scoring, Shape, Stage, Weights
from xlift.registry.store import Damaged, Store, part_name

STAGE = Stage(
    kind="evaluate",
    weights=Weights(make=Shape(layers=1, hidden=8, heads=1)),
    scoring=Scoring(),
    data=Data(source="lab", kind="pair", task="t"),
)


def rows(language: str, value: float = 0.5, data: str = "d") -> bytes:
    row = Score(language=language, metric="accuracy", value=value, primary=True, items=10, chance=0.5, se=0.1, data=data)
    return row.model_dump_json().encode() + b"\n"


def commit(store: Store, language: str, **more) -> Path:
    with store.lease(STAGE) as lease:
        name = lease.named(part_name(language, more.get("data", "d")))
        path = lease.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rows(language, **more))
        store.commit(lease, [name], started=datetime.now(UTC), host="h", versions={})
    return path


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_looking_at_a_store_creates_nothing(store):
    assert store.state(STAGE.id) == "pending" and store.cards() == [] and not store.root.exists()


def test_a_lease_excludes_others_until_it_is_released(store):
    with store.lease(STAGE):
        assert store.lease(STAGE) is None and store.state(STAGE.id) == "running"
    assert store.state(STAGE.id) == "pending"
    with store.lease(STAGE) as again:
        assert again.number == 2


def test_parts_are_added_one_by_one_and_a_new_language_leaves_the_others(store):
    commit(store, "de")
    commit(store, "fr", value=0.75)
    assert [(s.language, s.value) for s in store.scores(STAGE.id)] == [("de", 0.5), ("fr", 0.75)]
    assert store.missing(STAGE.id, {"de": "d", "fr": "d", "ru": "d"}) == ("ru",)


def test_scores_from_other_test_data_do_not_count(store):
    commit(store, "de", data="old")
    assert store.missing(STAGE.id, {"de": "new"}) == ("de",)


def test_scores_on_other_test_data_stand_beside_each_other(store):
    commit(store, "de", data="old", value=0.25)
    commit(store, "de", data="new", value=0.75)
    assert store.missing(STAGE.id, {"de": "old"}) == store.missing(STAGE.id, {"de": "new"}) == ()
    assert {(score.data, score.value) for score in store.scores(STAGE.id)} == {("old", 0.25), ("new", 0.75)}


def test_a_lease_torn_by_a_crash_is_taken_over(store):
    with store.lease(STAGE) as lease:
        folder = lease.folder
    (folder / "claim.2").write_bytes(b"")
    with store.lease(STAGE) as lease:
        assert lease.number == 3


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b.replace(b"0.5", b"0.9", 1), lambda b: b + b"\n", lambda b: b""])
def test_a_part_that_is_not_what_was_committed_is_not_read(store, damage):
    path = commit(store, "de")
    path.write_bytes(damage(path.read_bytes()))
    assert store.scores(STAGE.id) == [] and store.missing(STAGE.id, {"de": "d"}) == ("de",)


def test_a_torn_record_counts_as_nothing(store):
    commit(store, "de")
    record = store.folder(STAGE.id) / "record.json"
    record.write_bytes(record.read_bytes()[:-20])
    assert store.record(STAGE.id) is None and store.state(STAGE.id) == "pending"


def test_a_damaged_checkpoint_is_refused_and_computed_again(store):
    with store.lease(STAGE) as lease:
        save(store, lease)
    assert store.checkpoint(STAGE.id).name == "checkpoint.1"
    (store.checkpoint(STAGE.id) / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(Damaged, match="is not what was committed"):
        store.checkpoint(STAGE.id)
    assert store.state(STAGE.id) == "pending"


def save(store: Store, lease: leases.Lease, weights: bytes = b"weights") -> None:
    name = f"{lease.named('checkpoint')}/model.safetensors"
    (lease.folder / name).parent.mkdir()
    (lease.folder / name).write_bytes(weights)
    store.commit(lease, [name], started=datetime.now(UTC), host="h", versions={})


def test_an_owner_that_wakes_after_it_was_taken_over_leaves_what_its_successor_committed(store):
    with store.lease(STAGE) as sleeper:
        successor = leases._take(sleeper.folder, sleeper.number + 1)
        save(store, successor, b"the successor's")
        with pytest.raises(leases.Lost):
            save(store, sleeper, b"late")
    assert (store.checkpoint(STAGE.id) / "model.safetensors").read_bytes() == b"the successor's"


def test_what_a_killed_owner_left_is_removed_by_the_next_commit(store):
    with store.lease(STAGE) as lease:
        (lease.folder / lease.named("checkpoint")).mkdir()
    with store.lease(STAGE) as lease:
        save(store, lease)
        assert [path.name for path in lease.folder.glob("checkpoint.*")] == ["checkpoint.2"]


def test_a_damaged_part_that_is_computed_again_stands_once(store):
    commit(store, "de").write_bytes(b"torn")
    commit(store, "de", value=0.75)
    assert [score.value for score in store.scores(STAGE.id)] == [0.75]
    assert len(list((store.folder(STAGE.id) / "scores").iterdir())) == 1


def test_a_run_with_one_part_is_busy_while_another_process_adds_the_next(store):
    commit(store, "de")
    with store.lease(STAGE):
        assert store.state(STAGE.id) == "finished" and store.busy(STAGE.id)
    assert not store.busy(STAGE.id)


def test_an_owner_that_was_taken_over_may_not_commit(store):
    with store.lease(STAGE) as lease:
        leases._take(lease.folder, lease.number + 1)
        with pytest.raises(leases.Lost):
            store.commit(lease, [], started=datetime.now(UTC), host="h", versions={})
    assert store.record(STAGE.id) is None


def test_a_lease_of_another_host_is_dead_without_a_heartbeat(store):
    with store.lease(STAGE) as lease:
        path = lease.folder / f"claim.{lease.number}"
        path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere", "pid": 1}))
        assert leases.alive(lease.folder)
        os.utime(path, (0, time.time() - leases.PATIENCE - 5))
        assert not leases.alive(lease.folder)


def test_a_log_is_read_from_an_offset_in_whole_lines(store):
    with store.lease(STAGE) as lease:
        log = lease.folder / "log.jsonl"
        log.write_text('{"step": 1}\n{"step": 2}\n{"st')
        lines, offset = store.log(STAGE.id)
        assert [line["step"] for line in lines] == [1, 2]
        log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
        assert store.log(STAGE.id, offset)[0] == [{"step": 3}]


def _hold(root: Path, ready) -> None:
    with Store(root).lease(STAGE):
        ready.set()
        time.sleep(60)


def test_the_lease_of_a_killed_process_is_taken_over_at_once(store):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(store.root, ready))
    process.start()
    assert ready.wait(30) and store.lease(STAGE) is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with store.lease(STAGE) as lease:
        assert lease.number == 2


def _race(root: Path, start, wins) -> None:
    start.wait()
    lease = Store(root).lease(STAGE)
    if lease:
        with lease:
            wins.put(os.getpid())
            time.sleep(1)


def test_of_many_processes_one_gets_the_claim(store):
    context = multiprocessing.get_context("spawn")
    start, wins = context.Event(), context.Queue()
    racers = [context.Process(target=_race, args=(store.root, start, wins)) for _ in range(4)]
    for racer in racers:
        racer.start()
    time.sleep(2)
    start.set()
    winner = wins.get(timeout=30)
    time.sleep(0.5)
    assert winner and wins.empty()
    for racer in racers:
        racer.join()
