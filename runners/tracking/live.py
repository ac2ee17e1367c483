"""MLflow beside a run."""

import threading
import time

from rich.console import Console

from xlift.registry import leases
from xlift.registry.findings import UserError
from xlift.registry.plan import Plan
from xlift.registry.store import Store
from xlift.registry.submission import Cancelled
from xlift.runners.status import now
from xlift.runners.tracking.mirror import Mirror

EVERY = 5.0  # seconds between updates
FOLLOWED = 30.0  # and where the runs are elsewhere


class Mirrored:
    """MLflow kept up to date from a thread; what goes wrong there is said once and stops no run."""

    def __init__(self, plan: Plan, store: Store, console: Console):
        self.plan, self.store, self.console = plan, store, console
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="mlflow")

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _follow(self) -> None:
        mirror, trouble = Mirror(self.plan, self.store), ""
        last = False
        while not last:
            last = self.stop.wait(EVERY)
            try:
                said, trouble = mirror.update(), ""
            except Exception as error:  # the boundary: whatever goes wrong in MLflow is said, and stops no run
                said = f"MLflow: {error or type(error).__name__}; the runs are safe, and `xlift sync` completes it later"
                if said == trouble and not last:
                    continue
                trouble = said
            if trouble or last:
                self.console.print(said, style="yellow" if trouble else None, highlight=False, soft_wrap=True)


def followed(mirror: Mirror) -> str:
    """Keep MLflow up to date from the store until nothing of the study is left to run, or it is cancelled; what was done last.

    Raises:
        UserError: another process does so already.
    """
    plan, store = mirror.plan, mirror.store
    cancelled = Cancelled(store, plan.study.id)
    lease = leases.lease(store.root / "followers" / plan.study.id)
    if lease is None:
        raise UserError(f"study '{plan.study.id}' is followed by another process already")
    runnable = [step for step in plan.steps if not step.blocked]
    with lease:
        while True:
            open_ = now(plan.study, runnable, store).of("running", "ready", "waiting")
            said = mirror.update()
            if not open_ or cancelled():
                return said
            time.sleep(FOLLOWED)
