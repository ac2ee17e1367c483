"""Worker processes: each has a device of its own, one whose device fails is replaced, and a dead device gets no more work."""

from multiprocessing import Pipe

import pytest
import torch
from test_queue import alike, plan  # noqa: F401

from xlift.registry.inputs import Inputs
from xlift.registry.store import Store
from xlift.runners import machine, pool
from xlift.runners.jobs import Env, Job, Outcome
from xlift.runners.queue import Queue


class Process:
    """A worker that reports what it is told to."""

    exitcode = 0

    def join(self, timeout=None):
        pass

    def is_alive(self):
        return False

    def terminate(self):
        pass


@pytest.fixture
def started(monkeypatch):
    """The device of every worker that is started, and how each answers a job."""
    found, answers = [], {}

    def start(env, device):
        here, there = Pipe()
        worker = pool._Worker(Process(), here, device)
        found.append(device)

        class Answering:
            def send(self, job):
                there.send(answers.get(device, ("done", "")))

            def __getattr__(self, name):
                return getattr(here, name)

        worker.pipe = Answering()
        return worker

    monkeypatch.setattr(pool, "_start", start)
    monkeypatch.setattr(pool, "wait", lambda pipes, timeout: [pipe for pipe in pipes if pipe.poll()])
    return found, answers


def test_several_gpus_are_handed_out_one_to_a_worker(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert machine.devices("cuda", 3) == ("cuda:0", "cuda:1", "cuda:2")
    assert machine.devices("cuda", 4) == ("cuda:0", "cuda:1", "cuda:2", "cuda:0")
    assert machine.devices("cuda:1", 2) == ("cuda:1", "cuda:1") and machine.devices("cpu", 2) == ("cpu", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.device_and_workers("cuda", None) == ("cuda", 3) and machine.device_and_workers("cuda:2", None) == ("cuda:2", 1)


def test_workers_are_started_on_free_devices(plan, tmp_path, started):  # noqa: F811
    devices, _ = started
    crew = pool.Crew(Env(tmp_path, Inputs(plan.study)), ("cuda:0", "cuda:1", "cuda:0"))
    for step in plan.steps[:3]:
        crew.give(Job(step))
    assert sorted(devices) == ["cuda:0", "cuda:0", "cuda:1"] and crew.free == 0


def test_a_worker_whose_device_fails_is_replaced_and_a_device_that_fails_again_gets_no_more(plan, tmp_path, started):  # noqa: F811
    devices, answers = started
    crew = pool.Crew(Env(tmp_path, Inputs(plan.study)), ("cuda:0", "cuda:1"))
    answers["cuda:1"] = ("device", "RuntimeError: CUDA error: an illegal memory access was encountered")
    endings = []
    steps = iter(plan.steps)
    for _ in range(4):
        while crew.free > 0:
            crew.give(Job(next(steps)))
        endings += crew.collect()
    assert crew.devices == ["cuda:0"] and devices.count("cuda:1") == 2 and devices.count("cuda:0") == 1
    assert [ending.state for ending in endings].count("device") == 2


def test_where_no_device_is_left_a_run_ends_in_words(plan, tmp_path, started):  # noqa: F811
    _, answers = started
    answers["cuda:0"] = ("device", "RuntimeError: CUDA error: device-side assert triggered")
    crew = pool.Crew(Env(tmp_path, Inputs(plan.study)), ("cuda:0",))
    queue = Queue(plan.steps, Store(tmp_path), alike, Outcome())
    with pytest.raises(machine.NoDevice, match="no device is left that works"):
        pool.execute(queue, crew, lambda *_: None, lambda: False)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (MemoryError(), "memory"),
        (ValueError("no"), "failed"),
    ],
)
def test_errors_are_told_apart(error, kind):
    from xlift.runners.run import kind_of_failure

    assert kind_of_failure(error) == kind
