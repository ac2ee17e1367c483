"""Figures: pure functions of tables and fits. They compute no statistics; colours, markers and signs all differ."""

import io
import re
from collections.abc import Hashable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter

from xlift.analysis.report.table import points, signed, size

INK, FAINT, DARK, LIGHT = "#23262d", "#d5d8de", "#15171b", "#fdfdfd"  # INK and FAINT follow the page where inlined
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a68c8", "#b8860b", "#56a0d3", "#8c564b")  # after Okabe and Ito
ROOM = 60  # letters of a name in a figure
LETTERS, LINE = 12, 0.21  # of a legend in an inch; inches that one of its lines takes
PANEL, LABEL = 190.0, 10.0  # height of a panel of the answer's figure and of a line's name in it, in points of the page
CLOSE = 0.1  # of an axis of sizes: ticks nearer than this are turned
DENSE, DPI = 1500, 160  # marks of a panel beyond which they are a picture within the figure; its dots an inch
PALE = 0.3  # of a tile's colour, where the interval holds zero
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")
NAMES = {"params_non_embedding": "parameters without embeddings", "params_total": "parameters, embeddings included"}
FIELDS = {"lr": "learning rate", "batch": "batch size", "epochs": "number of epochs", "steps": "number of steps"}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # names hold dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "xlift",
    "legend.frameon": False,
}


def scaling(parts: Sequence[tuple[str, str, pd.DataFrame, pd.DataFrame]], *, stacked: bool = False) -> Figure:
    """Gain against size, a panel a target group: (group, x, curve, dots) as `study.sizes` gives them.

    Dots are raw means of models with intervals over their runs, and stand a little beside each other. Lines are the primary
    model's: thin for a treatment, thick for all; the dark band is the interval of the mean, the dashed one a new model's.
    """
    treatments = sorted({name for _, _, _, dots in parts for name in dots["treatment"]})
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(parts), (4.8, 4.4), sharey=False, stacked=stacked)
        for axis, (group, x, curve, dots) in zip(axes, parts, strict=True):
            for treatment, own in dots.groupby("treatment"):
                _dots(axis, own, treatments.index(treatment), len(treatments), dots)
            for treatment, line in curve[curve["treatment"].notna()].groupby("treatment"):
                colour = COLOURS[treatments.index(treatment) % len(COLOURS)]
                axis.plot(line["params"], points(line["mean"]), color=colour, linewidth=1.2, alpha=0.8, zorder=2)
            lines = dict(iter(curve[curve["treatment"].isna()].groupby("family", dropna=False)))
            lifts = _lifts(axis, lines)
            for number, (family, line) in enumerate(lines.items()):
                _all(axis, line, family if isinstance(family, str) else None, lifts[family], labelled=number == 0)
            axis.axhline(0, color=INK, linewidth=0.9)
            axis.set_xscale("log")
            axis.set_xlabel(f"{NAMES[x]} (log scale)")
            axis.set_title(f"{group} targets", pad=12)
            _name_sizes(axis, dots.drop_duplicates("model").sort_values(["params", "model"]))
        for axis in axes if stacked else axes[:1]:
            axis.set_ylabel("gain (points)")
        _legend(figure, axes, across=1 if stacked else len(axes))
    return figure


def score_curves(scores: pd.DataFrame, x: str, *, stacked: bool = False) -> Figure:
    """Scores against size `x`, a panel a target: `scores` has target, family, language, score (fractions) and x."""
    targets, families = sorted(scores["target"].unique()), sorted(scores["family"].unique())
    across = 1 if stacked else min(3, len(targets))
    down = -(-len(targets) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * across, 2.9 * down), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, squeeze=False)
        axes = list(grid.ravel())
        for axis, target in zip(axes, targets, strict=False):
            for family, part in scores[scores["target"] == target].groupby("family"):
                number, means = families.index(family), part.groupby(x)["score"].mean()
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                each = part.groupby([x, "language"], as_index=False)["score"].mean()
                axis.plot(each[x], points(each["score"]), "_", color=colour, alpha=0.35, markersize=7)
                axis.plot(means.index, points(means), marker, ls="-", lw=1.2, ms=6, color=colour, label=_label(family))
            axis.set_xscale("log")
            for formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
                formatter(_Sizes())
            axis.set_title(_label(target))
        for axis in axes[len(targets) :]:
            axis.set_visible(False)
        for row in grid:
            row[0].set_ylabel("score (points)")
        for axis in grid[-1]:
            axis.set_xlabel(NAMES[x])
        _legend(figure, axes[: len(targets)], across=across)
    return figure


def power(curves: Sequence[tuple[str, np.ndarray, np.ndarray]], wanted: float) -> Figure:
    """The chance to find a slope, a line a design: (name, slopes in fractions, chances); a dashed line at the chance wanted."""
    dashes = [(0, ()), (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (8, 3, 1, 3, 1, 3))]
    with mpl.rc_context(STYLE):
        figure, (axis,) = _figure(1, (6.4, 4.2))
        for number, (name, slopes, chances) in enumerate(curves):
            colour, dash = COLOURS[number % len(COLOURS)], dashes[number % len(dashes)]
            axis.plot(points(slopes), 100 * chances, label=name, linewidth=1.8, color=colour, linestyle=dash)
        axis.axhline(100 * wanted, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.set_ylim(0, 101)
        axis.set_xlim(0, points(min(slopes[-1] for _, slopes, _ in curves) * 1.2))
        axis.set_xlabel("slope (points for ten times the parameters)")
        axis.set_ylabel("chance to find it (%)")
        _legend(figure, [axis], across=1)
    return figure


def _dots(axis: Axes, own: pd.DataFrame, place: int, places: int, every: pd.DataFrame) -> None:
    """One treatment's means, a little aside, with their intervals where they have any."""
    aside = 10 ** ((place - (places - 1) / 2) * 0.02 * max(np.ptp(np.log10(every["params"].astype(float))), 0.5))
    colour, x = COLOURS[place % len(COLOURS)], own["params"] * aside
    known = own["low"].notna()
    axis.vlines(
        x[known], points(own["low"][known]), points(own["high"][known]), color=colour, linewidth=0.9, alpha=0.55, zorder=2
    )
    name, marker = own["treatment"].iloc[0], MARKERS[place % len(MARKERS)]
    axis.plot(
        x, points(own["gain"]), marker, color=colour, markersize=6, alpha=0.95, linestyle="none", label=_label(name), zorder=4
    )
    middle = points(every["gain"])
    reach = max(np.ptp(middle), 1.0)
    low, high = axis.get_ylim() if place else (middle.min(), middle.max())
    axis.set_ylim(min(low, middle.min() - reach), max(high, middle.max() + reach))  # intervals on few runs may be far longer


def _lifts(axis: Axes, lines: Mapping[Hashable, pd.DataFrame]) -> dict[Hashable, float]:
    """How far the name of each line is raised above its end, in points of the page: no two are written over each other."""
    low, high = axis.get_ylim()
    ends = {name: (points(line["mean"].iloc[-1]) - low) / (high - low) * PANEL for name, line in lines.items()}
    found, above = dict[Hashable, float](), -np.inf
    for name in sorted(ends, key=lambda name: ends[name]):
        found[name] = max(0.0, above + LABEL - ends[name])
        above = ends[name] + found[name]
    return found


def _all(axis: Axes, line: pd.DataFrame, family: str | None, lift: float, *, labelled: bool) -> None:
    """The fitted mean of all treatments, its interval, and a new model's band; of a family, whose name stands at its end."""
    mean, low, high = (points(line[name]) for name in ("mean", "low", "high"))
    axis.plot(line["params"], mean, color=INK, linewidth=2.4, label="all, equally" if labelled else None, zorder=3)
    if family:
        end = (line["params"].iloc[-1], mean.iloc[-1])
        axis.annotate(_label(family), end, (3, 3 + lift), textcoords="offset points", color=INK, fontsize="small", zorder=4)
    label = "95 % interval of the mean" if labelled else None
    axis.fill_between(line["params"], low, high, color=INK, alpha=0.13, linewidth=0, zorder=1, label=label)
    for number, name in enumerate(("new_low", "new_high")):
        label = "95 % band of a new model" if labelled and not number else None
        axis.plot(line["params"], points(line[name]), color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label=label, zorder=1)


def caterpillar(slopes: pd.DataFrame, *, stacked: bool = False) -> Figure:
    """Slopes of each treatment at each target with their intervals, a panel a target group, largest on top.

    `slopes` has target_group, label, estimate, low, high (fractions) and sure, which fills a dot.
    """
    return _rows(slopes, stacked=stacked)


def choices(rows: pd.DataFrame, *, stacked: bool = False) -> Figure:
    """The headline slope under other choices, in the order of the table; estimates without a test are hollow and have no bar."""
    return _rows(rows, stacked=stacked, ordered=True)


def _rows(rows: pd.DataFrame, *, stacked: bool, ordered: bool = False) -> Figure:
    """A dot and a bar a row: target_group, label, estimate, low, high, sure."""
    groups = list(dict.fromkeys(rows["target_group"]))
    tallest = rows.groupby("target_group").size().max()
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(groups), (5.2, 1.5 + 0.25 * tallest), sharey=False, stacked=stacked)
        for number, (axis, group) in enumerate(zip(axes, groups, strict=True)):
            part = rows[rows["target_group"] == group]
            part = part.iloc[::-1].reset_index(drop=True) if ordered else part.sort_values("estimate", ignore_index=True)
            place, known, colour = np.arange(len(part)), part["low"].notna(), COLOURS[number]
            axis.hlines(place[known], points(part["low"][known]), points(part["high"][known]), color=colour, linewidth=1.8)
            for sure, face in ((True, colour), (False, "white")):
                own = part["sure"].astype(bool) == sure
                axis.plot(
                    points(part["estimate"][own]), place[own], MARKERS[number], color=colour, markerfacecolor=face, markersize=6
                )
            axis.axvline(0, color=INK, linewidth=0.9)
            axis.set_yticks(place, map(_label, part["label"]), fontsize=8.5)
            axis.set_ylim(-0.7, tallest - 0.3)
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
            axis.set_xlabel("slope (points for\nten times the parameters)")  # in one line it leaves a narrow figure
            axis.set_title(f"{group} targets")
    return figure


def diagnostics(parts: Sequence[tuple[str, pd.DataFrame]], *, stacked: bool = False) -> Figure:
    """Residuals against fitted gains, and against normal quantiles: two panels a target group."""
    from scipy import stats

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 3.3 * 2 * len(parts)) if stacked else (8.8, 3.3 * len(parts)), layout="constrained")
        axes = figure.subplots(2 * len(parts) if stacked else len(parts), 1 if stacked else 2, squeeze=False).ravel()
        for number, (group, table) in enumerate(parts):
            left, right = axes[2 * number : 2 * number + 2]
            residual, dense = points(table["residual"]), len(table) > DENSE
            look = {
                "color": COLOURS[number],
                "markersize": 2 if dense else 3.5,
                "alpha": 0.25 if dense else 0.6,
                "rasterized": dense,
            }
            left.plot(points(table["fitted"]), residual, MARKERS[number], **look)
            left.axhline(0, color=INK, linewidth=0.9)
            left.set(xlabel="fitted gain (points)", ylabel="residual (points)", title=f"{group} targets")
            (theory, sample), (slope, intercept, _) = stats.probplot(residual)
            right.plot(theory, sample, MARKERS[number], **look)
            right.plot(theory, intercept + slope * theory, color=INK, linewidth=1)
            right.set(xlabel="normal quantile", ylabel="residual (points)")
    return figure


def tuning(optima: pd.DataFrame, changes: pd.DataFrame, name: str, x: str, *, stacked: bool = False) -> Figure:
    """Values found against size (`study.tuned.optima`), and what they changed in the gain (`by_model`), if anything."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(2 if len(changes) else 1, (4.8, 4.2), sharey=False, stacked=stacked)
        left = axes[0]
        for number, (search, own) in enumerate(optima.groupby("search")):
            own, colour = own.sort_values("params"), COLOURS[number % len(COLOURS)]
            left.vlines(own["params"], own["low"], own["high"], color=colour, linewidth=4, alpha=0.25)
            left.plot(
                own["params"],
                own["best"],
                MARKERS[number % len(MARKERS)],
                linestyle="-",
                color=colour,
                linewidth=1,
                label=_label(search),
            )
        for value in optima["own"].dropna().unique():
            left.axhline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        if (optima[["best", "low", "high"]] > 0).all(axis=None):
            left.set_yscale("log")
            left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            left.yaxis.set_minor_formatter(NullFormatter())
        left.set_ylabel(FIELDS.get(name, name))
        left.set_title(f"{FIELDS.get(name, name)} found", pad=12)
        for number, (group, own) in enumerate(changes.groupby("target_group") if len(changes) else ()):
            colour, aside = COLOURS[number], 10 ** (0.02 * number)
            axes[1].vlines(own["params"] * aside, points(own["low"]), points(own["high"]), color=colour, linewidth=1.2, alpha=0.6)
            axes[1].plot(
                own["params"] * aside, points(own["gain"]), MARKERS[number], color=colour, markersize=6, label=f"{group} targets"
            )
        for axis, rows in zip(axes, (optima, changes), strict=False):
            axis.set_xscale("log")
            axis.set_xlabel(f"{NAMES[x]} (log scale)")
            _name_sizes(axis, rows.drop_duplicates("model").sort_values(["params", "model"]))
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=9)
        if len(changes):
            axes[1].axhline(0, color=INK, linewidth=0.9)
            axes[1].set_ylabel("change of the gain (points)")
            axes[1].set_title("tuned − own recipe", pad=12)
    return figure


def heatmap(means: pd.DataFrame, marked: Sequence[tuple[str, str]] = ()) -> Figure:
    """Mean gain by intermediate and target in points, centred on zero; a column block a target group.

    `means` has treatment, target, target_group, mean, low and high (fractions); `marked` pairs overlap in their training
    sets. A tile is pale where its interval holds zero or is not there, so that noise does not shout.
    """
    order = ["target_group", "target"]
    columns = list(means[order].drop_duplicates().sort_values(order).itertuples(index=False))
    rows = sorted(means["treatment"].unique())
    grid = means.pivot(index="treatment", columns=order, values="mean")
    sure = means.assign(sure=(means["low"] > 0) | (means["high"] < 0)).pivot(index="treatment", columns=order, values="sure")
    extent = max(float(np.nanmax(np.abs(points(grid.to_numpy(float))))), 1.0)  # points: gains of a fraction of a point stay pale
    group_of = [column.target_group for column in columns]
    left = np.cumsum([0.35 * (i > 0 and group_of[i] != group_of[i - 1]) + (i > 0) for i in range(len(columns))])
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, (axis,) = _figure(1, (2.6 + 0.85 * (left[-1] + 1), 1.7 + 0.5 * len(rows)))
        norm, colours = TwoSlopeNorm(0, -extent, extent), mpl.colormaps["RdBu"]
        for i, row in enumerate(rows):
            for x, column in zip(left, columns, strict=True):
                value = grid.loc[row, tuple(column)]
                colour = colours(norm(points(value))) if pd.notna(value) else None
                if colour is not None and not sure.loc[row, tuple(column)]:
                    colour = tuple(1 - PALE * (1 - part) for part in colour[:3])
                _tile(axis, x, i, value, colour, (row, column.target) in marked)
        _heatmap_axes(axis, left, columns, rows)
        bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axis, label="gain (points)", fraction=0.04, pad=0.02)
        bar.outline.set_visible(False)
    return figure


def languages(means: pd.DataFrame, overall: dict[str, float], *, stacked: bool = False) -> Figure:
    """Gain by language with its 95 % interval, a panel a target group, largest gain on top; a dashed line at the mean of all.

    `means` has target_group, language, mean, low and high, `overall` the mean of each group; fractions.
    """
    groups = sorted(means["target_group"].unique())
    tallest = means.groupby("target_group").size().max()
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(groups), (4.6, 1.5 + 0.24 * tallest), sharey=False, stacked=stacked)
        for number, (axis, group) in enumerate(zip(axes, groups, strict=True)):
            part = means[means["target_group"] == group].sort_values("mean", ignore_index=True)
            place, known = np.arange(len(part)), part["low"].notna()
            axis.hlines(place[known], points(part["low"][known]), points(part["high"][known]), color=COLOURS[number], linewidth=2)
            axis.plot(points(part["mean"]), place, MARKERS[number], color=COLOURS[number], markersize=6)
            axis.axvline(0, color=INK, linewidth=0.9)
            axis.axvline(points(overall[group]), color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axis.set_yticks(place, map(_label, part["language"]))
            axis.set_ylim(-0.7, tallest - 0.3)
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
            axis.set_xlabel("gain (points)")
            axis.set_title(f"{group} targets")
    return figure


def png(figure: Figure) -> bytes:
    """On white, 100 dots an inch, for slides and for eyes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=100, facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """A file of its own: letters as outlines, no date, equal figures give equal text."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        if engine := figure.get_layout_engine():  # once, and by itself: a figure that is saved draws twice to find its layout
            engine.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None})
    return buffer.getvalue()


def inline(text: str, name: str, label: str) -> str:
    """An SVG file's text for HTML: no header, no addresses, ids of its own, and ink that follows the page, light or dark."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    width = float(re.search(r'viewBox="\S+ \S+ (\S+)', text)[1]) * 4 / 3  # points to pixels: never drawn larger than meant
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        rf'<svg \1 role="img" aria-label="{label}" style="max-width:{width:.0f}px">',
        text,
        count=1,
    )


def _figure(panels: int, each: tuple[float, float], *, sharey: bool = True, stacked: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels beside each other, or below each other, as a phone has room for them."""
    down, across = (panels, 1) if stacked else (1, panels)
    figure = Figure(figsize=(each[0] * across, each[1] * down), layout="constrained")
    return figure, list(figure.subplots(down, across, sharey=sharey, squeeze=False).ravel())


def _name_sizes(axis: Axes, means: pd.DataFrame) -> None:
    """A tick at each model's size, with the names of models above; sizes too close to tell share one tick."""
    logs = np.log10(means["params"].astype(float))
    low, high = logs.min(), logs.max()
    margin = max(0.08 * (high - low), 0.25)
    axis.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    ticks: list[tuple[float, list[str]]] = []
    for place, model in zip(logs, means["model"], strict=True):
        if ticks and place - ticks[-1][0] < 0.055 * (high - low + 2 * margin):
            ticks[-1][1].append(model)
        else:
            ticks.append((place, [model]))
    places = [10**place for place, _ in ticks]
    tight = min(np.diff([place for place, _ in ticks]), default=np.inf) < CLOSE * (high - low + 2 * margin)
    axis.set_xticks(places, map(size, places), rotation=35 if len(ticks) > 6 or tight else 0)
    axis.minorticks_off()
    top = axis.secondary_xaxis("top")
    top.set_xticks(places, ["\n".join(map(_label, models)) for _, models in ticks], fontsize=8)
    top.minorticks_off()
    top.tick_params(length=0, rotation=35 if max(len(model) for model in means["model"]) * len(ticks) > 40 else 0)
    top.spines["top"].set_visible(False)


def _legend(figure: Figure, axes: Sequence[Axes], *, across: int) -> None:
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if len(named) > 1:
        room = int(figure.get_figwidth() * LETTERS / (max(map(len, named)) + 5))
        columns = max(1, min(len(named), 3 * across if across > 1 else 2, room))
        figure.set_figheight(figure.get_figheight() + LINE * max(0, -(-len(named) // columns) - 3))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)


class _Sizes(LogFormatter):
    """Numbers of parameters, where a logarithmic scale has room for them."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return size(x) if super().__call__(x, pos) else ""


def _label(name: str) -> str:
    """A name as figures have room for it; matplotlib leaves out of a legend what begins with '_'."""
    name = name if len(name) <= ROOM else f"{name[: ROOM // 2]}…{name[-ROOM // 3 :]}"
    return f" {name}" if name.startswith("_") else name


def _tile(axis: Axes, x: float, y: int, value: float, colour: tuple | None, marked: bool) -> None:
    if colour is None:
        axis.text(x, y, "–", ha="center", va="center")
        return
    axis.add_patch(mpl.patches.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0))
    bright = np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.5
    axis.text(x, y, signed(value) + ("†" if marked else ""), ha="center", va="center", color=DARK if bright else LIGHT)


def _heatmap_axes(axis: Axes, left: np.ndarray, columns: Sequence, rows: Sequence[str]) -> None:
    axis.set_xlim(-0.55, left[-1] + 0.55)
    axis.set_ylim(len(rows) - 0.45, -0.55)
    axis.set_xticks(left, [_label(column.target) for column in columns], rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(rows)), map(_label, rows))
    axis.set_ylabel("intermediate task")
    axis.set_xlabel("target task")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for group in dict.fromkeys(column.target_group for column in columns):
        first = next(x for x, column in zip(left, columns, strict=True) if column.target_group == group)
        axis.text(first - 0.48, -0.6, group, ha="left", va="bottom", fontweight="bold", fontsize=9)
