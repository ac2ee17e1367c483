"""Tables and figures of a tuned study: what was searched within what budget, and what it changed."""

from collections.abc import Iterator

import pandas as pd

from xlift.analysis.report import effects, plots
from xlift.analysis.report.effects import number
from xlift.analysis.report.sections import Part, Plate, Section
from xlift.analysis.report.table import DASH, Table, interval, plain, points, probability, signed, size
from xlift.analysis.study.tuned import Tuned
from xlift.registry.pairing import treatment
from xlift.registry.tuning import told

WHAT = {"tuned": "tuned", "own": "the study's own recipe", "change": "tuned − own"}


def section(tuned: Tuned, gains: pd.DataFrame) -> Section:
    """What was searched, and, where there are gains, what it changed in them."""
    parts: list[Part] = list(_plate(tuned, gains))
    if len(gains) and tuned.own is not None:
        parts += [table for table in (slope_table(tuned, gains), change_table(tuned, gains)) if len(table.shown)]
    return Section("tuning", "Tuning", [*parts, search_table(tuned)])


def search_table(tuned: Tuned) -> Table:
    """One row a search: its budget, what it spent, and what it found."""
    data, shown = [], []
    for search in tuned.card.searches:
        trials = tuned.trials[search.folder]
        states = {
            state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "infeasible", "failed")
        }
        hours, own = sum(trial.seconds for trial in trials) / 3600, tuned.own_score(search)
        trained = search.target or treatment(search.intermediate, search.variant)
        after = search.intermediate if search.target and search.intermediate != "none" else None
        budget = [f"{search.trials} trials"] if search.trials else []
        budget += [f"{search.hours:g} h"] if search.hours else []
        data.append(
            {
                "model": search.model,
                "intermediate": search.intermediate,
                "variant": search.variant,
                "target": search.target,
                "budget_trials": search.trials,
                "budget_hours": search.hours,
                **states,
                "hours": hours,
                "own_score_points": None if own is None else points(own),
                "score_points": None if search.score is None else points(search.score),
                **{f"found_{name}": value for name, value in (search.found or {}).items()},
                **{f"own_{name}": value for name, value in search.own.items()},
            }
        )
        ended = [
            f"{states['complete']}",
            *(f"{count} {state}" for state, count in states.items() if count and state != "complete"),
        ]
        shown.append(
            {
                "Model": search.model,
                "Training": trained + (f" after {after}" if after else ""),
                "Budget": ", ".join(budget) or "the grid",
                "Complete": ", ".join(ended),
                "Hours": f"{hours:.2f}",
                "Found": told(search.found) if search.found else "nothing yet",
                "Score": DASH if search.score is None else plain(search.score),
                "Own recipe's": DASH if own is None else plain(own),
            }
        )
    tasks = sorted({task for search in tuned.card.searches for task in search.tasks})
    note = (
        f"Score: the task's own metric on development data in {tuned.card.source_language}, which no search may leave "
        f"({', '.join(tasks)}); points. Own recipe: {told(tuned.card.searches[0].own) or DASH}, the first trial of a search. "
        "Baselines have no intermediate training; they are tuned, with the same budget, where targets are."
    )
    columns = ["Model", "Training", "Budget", "Complete", "Hours", "Found", "Score", "Own recipe's"]
    shown_ = pd.DataFrame(shown, columns=columns)
    return Table(
        "searches", "Searches, and what each was allowed", pd.DataFrame(data), shown_, 2, note, view="", words=("Found",)
    )


def change_table(tuned: Tuned, gains: pd.DataFrame) -> Table:
    """The gain with tuned recipes and with the study's own, at each scale."""
    rows = tuned.by_model(gains)
    shown = pd.DataFrame(
        [
            {
                "Targets": row.target_group,
                "Model": row.model,
                "Parameters": size(row.params),
                "Tuned": signed(row.tuned),
                "Own recipe": signed(row.own),
                "Change": f"{signed(row.gain)} {interval(row.low, row.high)}".strip(),
            }
            for row in rows.itertuples()
        ],
        columns=["Targets", "Model", "Parameters", "Tuned", "Own recipe", "Change"],
    )
    scaled = rows.assign(**{f"{name}_points": points(rows[name]) for name in ("tuned", "own", "gain", "low", "high")})
    note = "Mean gains in points, on the same targets, languages and seeds; [95% interval]: t over the model's runs."
    return Table("tuning", "What tuning changed in the gain", scaled.drop(columns=["treatment"]), shown, 3, note)


def slope_table(tuned: Tuned, gains: pd.DataFrame) -> Table:
    """The slope on size with tuned recipes, with the study's own, and that of the difference."""
    data, shown = [], []
    for name, what, group in tuned.slopes(gains):
        row = group.slopes.iloc[0] if group.tested and len(group.slopes) else None
        numbers = {k: None if row is None else points(row[k]) for k in ("estimate", "se", "low", "high")}
        tests = {k: None if row is None else row[k] for k in ("df", "t", "p")}
        data.append({"target_group": name, "gains": what} | {f"{k}_points": v for k, v in numbers.items()} | tests)
        shown.append(
            {
                "Targets": name,
                "Gains": WHAT[what],
                "Slope": group.refused if row is None else f"{signed(row.estimate, 2)} {interval(row.low, row.high, 2)}",
                "df": DASH if row is None else number(row.df),
                "p": DASH if row is None else probability(row.p),
            }
        )
    order = sorted(range(len(data)), key=lambda place: data[place]["target_group"])
    note = (
        f"{effects.PER.capitalize()}, of all intermediates equally, by the primary model; the last is the same model of the "
        "differences: an interval that leaves out zero says that the slope depends on tuning."
    )
    numbers_of, words = (pd.DataFrame([rows[place] for place in order]) for rows in (data, shown))
    return Table("tuning-slope", "Is the slope one of tuning?", numbers_of, words, 2, note)


def _plate(tuned: Tuned, gains: pd.DataFrame) -> Iterator[Plate]:
    """Values found against size, and what tuning changed at each size."""
    optima, changes = tuned.optima(), tuned.by_model(gains) if len(gains) and tuned.own is not None else pd.DataFrame()
    if not len(optima):
        return
    name = tuned.searched or ""
    caption = (
        f"Left: the {plots.FIELDS.get(name, name)} that each search found, against size; bars reach over trials within one point "
        "of the best score on development data, and the dashed line is the study's own recipe. "
        + ("Right: what tuning changed in the mean gain at each size, with a 95 % t interval over runs." if len(changes) else "")
    ).strip()
    drawn = [plots.tuning(optima, changes, name, tuned.card.analysis.x, stacked=down) for down in (False, True)]
    yield Plate("tuning", caption, *drawn)
