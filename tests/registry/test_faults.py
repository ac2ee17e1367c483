"""File systems fail: what a lease, a write and a reader do then. The long race is in tests/campaigns/lease_race.py."""

import errno
import json
import os
import sys
import time
from pathlib import Path

import pytest

from xlift.registry import leases
from xlift.registry.stage import Data, Scoring, Stage, Weights
from xlift.registry.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "campaigns"))
import lease_race

STAGE = Stage(
    kind="evaluate", weights=Weights(folder="f" * 64), scoring=Scoring(), data=Data(source="local", kind="retrieve", task="t")
)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_of_six_processes_no_two_ever_hold_a_claim():
    held, overlaps = lease_race.main(4.0, 6)
    assert held > 20 and overlaps == 0


def test_a_claimer_that_slept_does_not_link_an_old_number_anew(store, monkeypatch):
    """It looked at lease 1; meanwhile owners 2 and 3 came and went, and the last of them deleted what is below its own."""
    folder = store.folder(STAGE.id)
    with store.lease(STAGE):
        pass
    link, once = os.link, []

    def slow(source, target):
        if not once:
            once.append(target)
            for _ in range(2):
                with leases.lease(folder):
                    pass
        link(source, target)

    monkeypatch.setattr(os, "link", slow)
    assert leases.lease(folder) is None
    assert [path.name for path in folder.glob("claim.*")] == ["claim.3"] and not list(folder.glob(".claim*"))
    assert leases.lease(folder) is not None


def test_a_heart_beats_on_after_its_file_system_failed_once(store, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.02)
    utime, failures = os.utime, []

    def stale(path, *rest):
        if len(failures) < 3:
            failures.append(path)
            raise OSError(errno.ESTALE, "stale file handle")
        utime(path, *rest)

    monkeypatch.setattr(os, "utime", stale)
    with store.lease(STAGE) as lease:
        path = lease.folder / f"claim.{lease.number}"
        os.utime = utime
        os.utime(path, (0, 0))
        os.utime = stale
        until = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(failures) == 3 and path.stat().st_mtime > 0


def test_a_process_that_may_not_be_looked_at_is_alive_while_its_heart_beats(store, monkeypatch, tmp_path):
    """hidepid=2 hides other users' processes from /proc; a signal to one is then refused, not lost."""
    lease = store.lease(STAGE)
    path = lease.folder / f"claim.{lease.number}"
    owner = json.loads(path.read_bytes())
    path.write_text(json.dumps({**owner, "pid": 1, "started": "7"}))
    monkeypatch.setattr(leases, "PROC", tmp_path)

    def refused(pid, signal):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "kill", refused)
    assert leases.alive(lease.folder)
    os.utime(path, (0, time.time() - leases.PATIENCE - 5))
    assert not leases.alive(lease.folder)

    def gone(pid, signal):
        raise ProcessLookupError

    os.utime(path)
    monkeypatch.setattr(os, "kill", gone)
    assert not leases.alive(lease.folder)


def full(path, *_, **__):
    raise OSError(errno.ENOSPC, "no space left on device")


def test_a_full_disk_leaves_no_half_written_file_and_no_lease_for_ever(store, monkeypatch):
    folder = store.folder(STAGE.id)
    with store.lease(STAGE) as lease:
        before = sorted(path.name for path in folder.iterdir())
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            store.fail(lease, "reason", "detail")
        assert sorted(path.name for path in folder.iterdir()) == before
    assert not leases.alive(folder) and not list(folder.glob("claim.*"))
    with pytest.raises(OSError, match="no space"):
        leases.lease(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    assert store.lease(STAGE) is not None


def test_a_store_that_may_only_be_read_is_read_beside_a_foreign_dead_claim(store, monkeypatch):
    lease = store.lease(STAGE)
    path = lease.folder / f"claim.{lease.number}"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "host": "elsewhere"}))
    monkeypatch.setattr(leases, "open", lambda path, mode: full(path) if mode == "xb" else open(path, mode), raising=False)  # noqa: SIM115
    assert store.state(STAGE.id) == "running"
    os.utime(path, (0, time.time() - leases.PATIENCE - 5))
    assert store.state(STAGE.id) == "pending"


def test_a_failure_older_than_what_was_committed_is_not_shown(store):
    folder = store.folder(STAGE.id)
    with store.lease(STAGE) as lease:
        store.fail(lease, "out of memory", "trace")
    assert store.failure(STAGE.id) == "out of memory"
    old = (folder / "failure.json").read_bytes()
    from datetime import UTC, datetime

    with store.lease(STAGE) as lease:
        store.commit(lease, [], started=datetime.now(UTC), host="here", versions={})
    assert store.failure(STAGE.id) is None
    (folder / "failure.json").write_bytes(old)  # as a slow copy of a folder would bring it back, with its old time
    os.utime(folder / "failure.json", (0, 0))
    assert store.failure(STAGE.id) is None


def test_a_file_that_others_replace_on_a_network_s_file_system_is_read_anew(store, monkeypatch):
    """NFS says ESTALE of a file that was replaced between two looks: a claim was superseded, and a record is there again."""
    lease = store.lease(STAGE)
    assert lease is not None
    stale = OSError(errno.ESTALE, "stale file handle")

    def replaced(path, mode):
        raise stale

    monkeypatch.setattr(leases, "open", replaced, raising=False)
    assert leases.alive(lease.folder) and store.busy(STAGE.id) and leases.holder(lease.folder) is None
    monkeypatch.undo()
    with store.lease(STAGE) or lease:
        store.fail(lease, "once", "trace")
    read, times = Path.read_bytes, []

    def once(path):
        times.append(path.name)
        if path.name == "failure.json" and times.count("failure.json") < 3:
            raise stale
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", once)
    assert store.failure(STAGE.id) == "once"
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(stale))
    assert "cannot be read" in store.failure(STAGE.id)
