"""xlift: a declarative experiment registry with a statistical meta-analysis layer.

In Python as on the command line: `load`, `plan` and `run` a study, take its `gains` as a data frame, `fit` a mixed model, write a
`report`. A study is the path of its manifest, or what `load` returned.
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # heavy packages are imported by what needs them
    import pandas as pd

    from xlift.analysis.mixed import Fit
    from xlift.registry.plan import Plan
    from xlift.registry.study import Study
    from xlift.registry.table import TableStudy

__all__ = ["fit", "gains", "load", "plan", "report", "run"]

# The rooms stand beside this folder in a checkout: of two checkouts in one environment each has its own.
_checkout = Path(__file__).parents[1]
if not (Path(__file__).parent / "registry").exists() and (_checkout / "registry" / "__init__.py").exists():
    __path__.append(str(_checkout))

AnyStudy: TypeAlias = "Study | TableStudy | str | PathLike[str]"
Folder: TypeAlias = str | PathLike[str]


def load(path: Folder) -> "Study | TableStudy":
    """Read and check a manifest, and the table that it names. `BadInput`, with every finding, if any of them stops."""
    from xlift import studies

    return studies.opened(Path(path))


def plan(study: AnyStudy, *, data: Folder | None = None) -> "Plan":
    """What a study would run: `steps`, each stage once, and `cells`. `data` is the folder of the files, for 'source: local'.

    `BadInput` for files that are missing or not as their task wants them, and for analyses that cannot be carried out.
    """
    from xlift import studies
    from xlift.registry.manifest.load import running

    return studies.plan_of(running(_loaded(study)), _path(data))


def run(
    study: AnyStudy,
    *,
    store: Folder = "store",
    data: Folder | None = None,
    workers: int | None = None,
    device: str = "auto",
    mlflow: bool = True,
    release: bool = False,
    retry_failed: bool = False,
) -> dict[str, int]:
    """Run what is missing of a study; again: runs nothing. Counts of stages: done, failed, skipped (an ancestor failed).

    With `release` checkpoints are deleted that nothing left to run needs; with `retry_failed` what failed is tried again.
    """
    from xlift import studies
    from xlift.registry.manifest.load import running
    from xlift.registry.store import Store
    from xlift.runners import machine, session

    made = studies.plan_of(running(_loaded(study)), _path(data), models=True)
    device, count = machine.device_and_workers(device, workers)
    outcome = session.run(
        made,
        Store(Path(store)),
        _path(data),
        workers=count,
        device=device,
        mlflow=mlflow,
        release=release,
        retry=retry_failed,
    )
    return {"done": len(outcome.done), "failed": len(outcome.failed), "skipped": len(outcome.skipped)}


def gains(study: AnyStudy, *, store: Folder = "store", data: Folder | None = None, group: str | None = None) -> "pd.DataFrame":
    """Every paired gain, a row each, or those of one target group: fractions, with `lp`, runs and all that formulas group by."""
    from xlift import studies
    from xlift.analysis import facts, paired

    found = studies.read(_loaded(study), Path(store), _path(data))
    return paired.gains(facts.connect(found.store, [found.card]), found.card.study, group)


def fit(formula: str, data: Any, **options: Any) -> "Fit":
    """A linear mixed model by REML with Kenward–Roger degrees of freedom; `xlift.analysis.mixed.fit` says what the options are.

    `data` is a data frame, or the path of a .csv, .tsv or .parquet file. The result is named as in statsmodels.
    """
    from xlift.analysis import mixed

    return mixed.fit(formula, data, **options)


def report(study: AnyStudy, out: Folder | None = None, *, store: Folder = "store", data: Folder | None = None) -> Path:
    """Write tables, figures and the HTML page into `out` (reports/<study> where absent); the path of the page."""
    from xlift import studies

    found = studies.read(_loaded(study), Path(store), _path(data))
    return studies.report_of(found.card, found.store, found.changed).write(_path(out) or Path("reports") / found.card.study)


def _loaded(study: AnyStudy) -> "Study | TableStudy":
    return load(study) if isinstance(study, str | PathLike) else study


def _path(folder: Folder | None) -> Path | None:
    return Path(folder) if folder is not None else None
