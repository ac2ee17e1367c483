"""Stages that a tuner has others run: one file each, which whoever works on the study takes from, as from a plan.

tuning/<study>/orders/<id>.json     a stage, and what judges it while it trains
                      <id>.prune    its tuner's word that it need not go on
                      <id>.ended    a worker's word that it did not
tuning/<study>/askers/<name>/       the lease of a tuner that is there
"""

import contextlib
from pathlib import Path

from xlift.registry import kept, leases
from xlift.registry.builder import Step
from xlift.registry.kept import Kept, NotUnderstood
from xlift.registry.spec import Spec
from xlift.registry.stage import Stage
from xlift.registry.store import Store


class Ordered(Spec):
    """A step as a file holds it."""

    stage: Stage
    model: str
    tests: dict[str, str] = {}

    @property
    def step(self) -> Step:
        return Step(self.stage, self.model, self.tests)


def ordered(step: Step) -> Ordered:
    return Ordered(stage=step.stage, model=step.model, tests=step.tests)


class Order(Kept):
    """A stage to run, and, of a training that is watched, the evaluations that judge it and how often they look."""

    what: Ordered
    judges: tuple[Ordered, ...] = ()
    reports: int = 0


class Ended(Kept):
    """Why an order came to an end without a result."""

    state: str
    reason: str


class Orders:
    """The orders of a study, as its tuners and its workers see them."""

    def __init__(self, store: Store, study: str):
        self.folder = store.root / "tuning" / study / "orders"
        self.askers = store.root / "tuning" / study / "askers"

    def give(self, order: Order) -> None:
        self.drop(order.what.stage.id)
        kept.write(self.folder / f"{order.what.stage.id}.json", order)

    def ids(self) -> dict[str, int]:
        """The stages that are to run now, each with what tells its order from an earlier one of the same stage."""
        found, over = dict[str, int](), set[str]()
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if path.suffix == ".json" and not path.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        found[path.stem] = path.stat().st_mtime_ns
                elif path.suffix in (".prune", ".ended"):
                    over.add(path.stem)
        return {stage: mark for stage, mark in found.items() if stage not in over}

    def read(self, stage: str) -> Order | None:
        """An order; None where it is gone, or another version's."""
        with contextlib.suppress(NotUnderstood):
            return kept.read(Order, self.folder / f"{stage}.json")
        return None

    def prune(self, stage: str) -> None:
        (self.folder / f"{stage}.prune").touch()

    def pruned(self, stage: str) -> bool:
        """Whether its tuner said that a training need not go on, or is gone."""
        return (self.folder / f"{stage}.prune").exists() or not (self.folder / f"{stage}.json").exists()

    def end(self, stage: str, state: str, reason: str) -> None:
        with contextlib.suppress(OSError):
            if (self.folder / f"{stage}.json").exists():  # its tuner did not take it back meanwhile
                kept.write(self.folder / f"{stage}.ended", Ended(state=state, reason=reason))

    def ended(self, stage: str) -> Ended | None:
        return kept.read(Ended, self.folder / f"{stage}.ended")

    def drop(self, stage: str) -> None:
        for suffix in ("json", "prune", "ended"):
            (self.folder / f"{stage}.{suffix}").unlink(missing_ok=True)

    def open(self) -> bool:
        """Whether a tuner is there that may order more."""
        with contextlib.suppress(FileNotFoundError):
            return any(leases.alive(path) for path in self.askers.iterdir())
        return False

    def asker(self, name: str) -> Path:
        return self.askers / name
