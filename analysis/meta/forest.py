"""Forest and funnel plots: pure functions of a meta-analysis; they compute no statistics but each effect's own interval."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from xlift.analysis.meta.model import LEVEL, Meta
from xlift.analysis.report.plots import COLOURS, INK, STYLE
from xlift.registry.findings import UserError


def forest(found: Meta, labels: Sequence[str] | None = None) -> Figure:
    """Effects with 95 % intervals, squares by weight; the mean as a diamond, and the prediction interval as a line below it."""
    y, v = found.effects.y, found.effects.v
    labels = [str(i + 1) for i in range(len(y))] if labels is None else list(labels)
    if len(labels) != len(y):
        raise UserError(f"{len(labels)} labels for {len(y)} effects")
    half = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(v)
    share = 1 / (v + sum(found.tau2.values()))
    rows = np.arange(len(y), 0, -1)
    with mpl.rc_context(STYLE):
        figure = Figure((6.4, 1.4 + 0.26 * (len(y) + 3)), layout="constrained")
        axis = figure.add_subplot()
        axis.hlines(rows, y - half, y + half, color=INK, linewidth=1)
        axis.scatter(y, rows, s=20 + 80 * share / share.max(), marker="s", color=COLOURS[0], zorder=3)
        ticks, names = [float(row) for row in rows], labels
        if len(found.estimates) == 1:
            mean = found.estimates.iloc[0]
            axis.fill([mean.low, mean.estimate, mean.high, mean.estimate], [-0.5, -0.2, -0.5, -0.8], color=COLOURS[1])
            ticks, names = [*ticks, -0.5], [*names, f"mean, {found.method}"]
            if found.prediction:
                axis.hlines(-1.5, *found.prediction, color=COLOURS[1], linewidth=2.5)
                ticks, names = [*ticks, -1.5], [*names, "a new effect"]
        axis.axvline(0, color=INK, linewidth=0.9)
        axis.set_yticks(ticks, names)
        axis.set_xlabel(f"effect, {LEVEL:.0%} interval")
    return figure


def funnel(found: Meta) -> Figure:
    """Residuals from the fixed part against standard errors, the most precise on top, in a funnel of 95 % for no heterogeneity.

    Where small effects with large errors lack on one side, results may have been left unpublished, or small studies differ.
    """
    y, se = found.effects.y, np.sqrt(found.effects.v)
    rest = y - found.effects.X @ found.estimates["estimate"].to_numpy()
    wide = stats.norm.ppf((1 + LEVEL) / 2) * se.max() * 1.05
    with mpl.rc_context(STYLE):
        figure = Figure((5.2, 4.0), layout="constrained")
        axis = figure.add_subplot()
        axis.plot([-wide, 0, wide], [se.max() * 1.05, 0, se.max() * 1.05], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.axvline(0, color=INK, linewidth=0.9)
        axis.plot(rest, se, "o", color=COLOURS[0], markersize=6, alpha=0.85)
        axis.set_ylim(se.max() * 1.05, 0)
        axis.set_xlabel("effect less its expectation")
        axis.set_ylabel("standard error")
    return figure
