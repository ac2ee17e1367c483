"""Optuna's own figures of the searches of a study."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlift.registry.plan import Plan
from xlift.registry.store import Store
from xlift.runners.tuning.search import storage

if TYPE_CHECKING:
    import optuna


def draw(plan: Plan, store: Store, folder: Path, url: str | None = None) -> list[Path]:
    """Optuna's own figures of each search, as PNG in `folder`/tuning/<search>, without those that its trials are too few for."""
    import matplotlib
    import optuna
    from optuna.visualization import matplotlib as figures

    matplotlib.use("Agg")
    said: dict[str, Any] = {"target_name": "score on development data"}
    kinds: dict[str, Callable[..., Any]] = {
        "history": partial(figures.plot_optimization_history, **said),
        "importances": partial(figures.plot_param_importances, **said),
        "slices": partial(figures.plot_slice, **said),
        "parallel-coordinates": partial(figures.plot_parallel_coordinate, **said),
    }
    if plan.study.manifest.tuning.pruner != "none":
        kinds["looks"] = figures.plot_intermediate_values
    optunas, made = storage(store, plan.study.id, url), list[Path]()
    size = (5 + 3 * len(plan.study.manifest.tuning.space), 4.5)
    for search in plan.builder.searches:
        with suppress(KeyError):  # a search that never began
            study = optuna.load_study(study_name=plan.builder.folder(search), storage=optunas)
            for name, plot in kinds.items():
                path = folder / "tuning" / search.name.replace("/", ",") / f"{name}.png"
                made += [path] if _drawn(plot, study, search.name, size, path) else []
    return made


def _drawn(plot: "Callable[..., Any]", study: "optuna.Study", name: str, size: tuple[float, float], path: Path) -> bool:
    """Draw one figure into a file; False where there are too few trials, or too equal ones, for it."""
    import warnings

    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental in Optuna
        try:
            plot(study)
            figure = pyplot.gcf()
            figure.set_size_inches(*size)
            figure.suptitle(name, y=1.02)
            for axis in (part for axes in figure.axes for part in (axes.xaxis, axes.yaxis)):
                axis.set_minor_formatter(NullFormatter())  # of logarithms, which would overlap
            figure.savefig(path, dpi=100, bbox_inches="tight")
        except (ValueError, RuntimeError, ZeroDivisionError):
            return False
        finally:
            pyplot.close("all")
    return True
