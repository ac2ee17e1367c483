"""The tables of a study's design, of its gains and scores, and of what is missing."""

from collections.abc import Sequence

import pandas as pd

from xlift.analysis import facts
from xlift.analysis.estimates import LEVEL
from xlift.analysis.facts import Facts
from xlift.analysis.report.table import DASH, Table, count, interval, plain, points, signed, slugs
from xlift.analysis.study.best import best
from xlift.analysis.study.slope import mean_gain
from xlift.registry.card import MEAN, StudyCard
from xlift.registry.pairing import NONE

GAIN_NOTE = (
    "Gain = score with intermediate training minus score without, same model, target, language and seed, in points. "
    "Means weigh targets, languages and seeds equally. "
    f"[{LEVEL:.0%} interval]: mean of the model means, t on models − 1."
)


def gain_by_target(rows: pd.DataFrame) -> Table:
    """Intermediate x target, and the mean of each target group; never a mean over both groups."""
    rows = _with_its_group(rows)
    single, group = mean_gain(rows, ["treatment", "target"]), mean_gain(rows, ["treatment"])
    group = group.assign(target="mean, " + group["target_group"])
    table = pd.concat([single, group], ignore_index=True)
    order = [target for _, part in table.groupby("target_group", sort=True) for target in dict.fromkeys(part["target"])]
    marks = {key: _marks(part) for key, part in rows.groupby(["treatment", "target"])}
    grouped = rows.assign(target="mean, " + rows["target_group"]).groupby(["treatment", "target"])
    marks |= {key: _marks(part) for key, part in grouped}
    text = [
        f"{signed(row.mean)}{marks.get((row.treatment, row.target), '')} {interval(row.low, row.high)}".strip()
        for row in table.itertuples()
    ]
    shown = _wide(table.assign(text=text), "treatment", "target", order, "Intermediate")
    note = GAIN_NOTE + (
        " † the training sets overlap; ° half or more of the baselines are at chance; ‡ every gain is the same, such as 0 where "
        "both runs give one answer to everything."
    )
    return Table("gain-by-target", "Gain by intermediate and target", _in_points(table), shown, 1, note)


def _with_its_group(rows: pd.DataFrame) -> pd.DataFrame:
    """A target that stands in several groups, of encoders and of text to text, is called by its group too."""
    groups = rows.groupby("target")["target_group"].transform("nunique")
    return rows.assign(target=rows["target"].where(groups == 1, rows["target"] + ", " + rows["target_group"]))


def _marks(rows: pd.DataFrame) -> str:
    """What a reader has to know of a mean of these gains."""
    same, chance = rows["same_task"].any(), rows["at_chance"].mean() >= 0.5
    constant = len(rows) > 1 and rows["gain"].nunique() == 1
    return "†" * bool(same) + "°" * bool(chance) + "‡" * bool(constant)


def best_table(rows: pd.DataFrame) -> Table | None:
    """What the best intermediate of each target would have given; None where there is none to choose."""
    found = {str(name): best(part) for name, part in rows.groupby("target_group")}
    data = pd.concat([table.assign(target_group=name) for name, (table, _) in found.items()], ignore_index=True)
    if data.empty:
        return None
    told = data["gain"].notna()
    mark = data["over"].map({"seeds": "*"}).fillna("")
    gains = pd.Series([f"{signed(row.gain)} {interval(row.low, row.high)}".strip() for row in data.itertuples()])
    shown = pd.DataFrame(
        {
            "Targets": data["target_group"],
            "Target": data["target"],
            "Gain": (gains + mark).where(told, data["reason"]),
            "Same runs": [signed(value) if ok else DASH for value, ok in zip(data["same"], told, strict=True)],
            "Models": data["models"].astype(str),
            "Chosen, how often": data["chosen"].fillna("").replace("", DASH),
        }
    )
    numbers = {name: points(data[name].astype(float)) for name in ("gain", "low", "high", "same")}
    data = data.assign(**numbers, unit="points")
    hows = " or ".join(dict.fromkeys(how for _, how in found.values() if how))
    note = (
        f"For each model and target one intermediate is chosen {hows}; points [95 % interval over "
        "models, t on models − 1]. Same runs: where it is chosen on the very runs that it is scored on, which is too high."
        if hows
        else "None is chosen, since the same runs would choose and score it."
    )
    if mark.any():
        note += " * of one model: the interval is over its seeds, whose choices share runs, and says nothing of other models."
    return Table(
        "best",
        "The best intermediate for each target",
        data,
        shown,
        2,
        note,
        words=("Gain", "Chosen, how often"),
    )


def gain_by_language(rows: pd.DataFrame) -> Table:
    """Language x intermediate, by target group; `mean` is over the intermediates."""
    single, pooled = mean_gain(rows, ["language", "treatment"]), mean_gain(rows, ["language"]).assign(treatment=MEAN)
    several = rows["treatment"].nunique() > 1
    table = pd.concat([single, pooled], ignore_index=True) if several else single
    order = sorted(rows["treatment"].unique()) + ([MEAN] if several else [])
    text = [f"{signed(row.mean)} {interval(row.low, row.high)}".strip() for row in table.itertuples()]
    shown = _wide(table.assign(text=text), ["target_group", "language"], "treatment", order, ["Targets", "Language"])
    return Table("gain-by-language", "Gain by language", _in_points(table), shown, 2, GAIN_NOTE)


def published_table(card: StudyCard, rows: pd.DataFrame) -> Table | None:
    """Scores without intermediate training beside those of papers; a difference only where both are of as many languages."""
    if not card.published:
        return None
    alone = rows[rows["treatment"] == NONE]
    found = []
    for each in card.published:
        own = alone[(alone["target"] == each.target) & (alone["model"] == each.model)]
        seeds = own.groupby("seed").agg(score=("score", "mean"), languages=("language", "nunique"))
        whole = seeds[seeds["languages"] == each.languages]["score"]
        told = {"target": each.target, "model": each.model, "published": each.score / 100, "languages": each.languages}
        ours = {"own": whole.mean(), "sd": whole.std(), "seeds": len(whole), "own_languages": own["language"].nunique()}
        found.append(told | ours | {"difference": whole.mean() - each.score / 100, "source": each.source})
    data = pd.DataFrame(found)
    scores = ["published", "own", "sd", "difference"]
    shown = pd.DataFrame(
        {
            "Target": data["target"],
            "Model": data["model"],
            "Published": data["published"].map(plain),
            "This study": [DASH if pd.isna(value) else plain(value) for value in data["own"]],
            "Difference": [DASH if pd.isna(value) else signed(value) for value in data["difference"]],
            "Seeds": data["seeds"].astype(str),
            "Languages": [f"{row.own_languages} of {row.languages}" for row in data.itertuples()],
            "Source": data["source"],
        }
    )
    data = data.assign(**{name: points(data[name]) for name in scores}, unit="points")
    note = (
        "Without intermediate training, means over languages, the source language too, and seeds that have them all, in points."
    )
    return Table("published", "Beside published scores", data, shown, 2, note, view="scores", words=("Source",))


def score_tables(rows: pd.DataFrame) -> tuple[Table, ...]:
    """One table a target: model and intermediate x language, the primary metric, mean over seeds, in points."""
    files = slugs(rows["target"].unique())
    return tuple(_score_table(target, part, files[target]) for target, part in rows.groupby("target", sort=True))


def _score_table(target: str, rows: pd.DataFrame, file: str) -> Table:
    keys = ["params_total", "model", "treatment", "language"]
    means = rows.groupby(keys, as_index=False).agg(score=("score", "mean"), seeds=("seed", "nunique"))
    sorted_by = ["params_total", "model", "treated", "treatment"]
    table = means.assign(text=means["score"].map(plain), treated=means["treatment"] != NONE)
    shown = _wide(table, sorted_by, "language", sorted(rows["language"].unique()), ["", "Model", "", "Intermediate"])
    shown = shown.iloc[:, [1, *range(3, len(shown.columns))]]
    note = f"{rows['metric'].iloc[0]} in points, mean over seeds; chance is {plain(rows['chance'].mean())}."
    data = means.drop(columns="params_total").assign(score=points(means["score"]), unit="points")
    return Table(f"scores-{file}", f"Scores on {target}", data, shown, 2, note, view="scores", target=target)


def missing_table(rows: pd.DataFrame) -> Table:
    """What is missing, with targets, languages and seeds gathered; the CSV has every row."""

    def gathered(column: str) -> tuple:
        return column, lambda values: " ".join(map(str, sorted(set(values))))

    groups = rows.groupby(["lacks", "reason", "model", "treatment"], as_index=False).agg(
        targets=gathered("target"), languages=gathered("language"), seeds=gathered("seed"), results=("language", "size")
    )
    shown = groups.assign(results=groups["results"].map(str)).set_axis(
        ["Lacks", "Reason", "Model", "Intermediate", "Targets", "Languages", "Seeds", "Results"], axis=1
    )
    return Table("missing", "What is missing, and why", rows.drop(columns="treatment"), shown, 7, view="missing")


def design_table(card: StudyCard) -> Table:
    """The axes of the matrix and their levels."""
    axes = {"models": "model", "intermediates": "intermediate", "variants": "variant", "targets": "target", "seeds": "seed"}
    levels = {name: list(dict.fromkeys(str(getattr(cell, axis)) for cell in card.cells)) for name, axis in axes.items()}
    levels["languages"] = sorted({language for cell in card.cells for language in cell.languages})
    frame = pd.DataFrame([{"Axis": name, "Levels": len(values), "Names": ", ".join(values)} for name, values in levels.items()])
    note = f"{count(len(card.cells), 'cell')}, answered by {count(len(card.stages), 'stage')}."
    return Table("design", "The matrix", frame, frame.astype(str), 3, note, view="")


def model_table(card: StudyCard) -> Table:
    """Models by size."""
    seen = {cell.model: (cell.params_total, cell.params_non_embedding, cell.family) for cell in card.cells}
    data = pd.DataFrame(
        [
            {"model": name, "family": facts[2], "params_total": facts[0], "params_non_embedding": facts[1]}
            for name, facts in sorted(seen.items(), key=lambda item: (item[1], item[0]))
        ]
    )
    shown = pd.DataFrame(
        [
            {
                "Model": row.model,
                "Family": row.family,
                "Parameters": f"{row.params_total:,}",
                "Without embeddings": DASH if pd.isna(row.params_non_embedding) else f"{row.params_non_embedding:,.0f}",
            }
            for row in data.itertuples()
        ]
    )
    return Table("models", "Models", data, shown, 2, view="")


def coverage_table(connection: Facts, study: str) -> Table:
    """Stages by kind and state."""
    data = facts.query(
        connection,
        "SELECT kind, state, count(*) AS stages, sum(seconds) / 3600 AS hours FROM stages "
        "WHERE study = ? GROUP BY kind, state ORDER BY kind, state",
        [study],
    )
    shown = pd.DataFrame(
        [
            {
                "Stage": row.kind,
                "State": row.state,
                "Stages": f"{row.stages:,}",
                "Hours": DASH if pd.isna(row.hours) else f"{row.hours:,.2f}",
            }
            for row in data.itertuples()
        ],
        columns=["Stage", "State", "Stages", "Hours"],
    )
    return Table("coverage", "Runs", data, shown, 2, view="stages")


def runs_table(rows: pd.DataFrame) -> Table:
    """Every run behind the gains, and what it is there: only for files."""
    roles = ("treated", "baseline", "intermediate")
    parts = [rows[["target_group", f"{role}_run"]].set_axis(["target_group", "run"], axis=1).assign(role=role) for role in roles]
    data = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
    return Table("runs", "Every run", data, pd.DataFrame({"Runs": [f"{data['run'].nunique():,}, in the CSV file"]}))


def gains_table(rows: pd.DataFrame) -> Table:
    """Every gain with the ids of its two stages: only for files, as fractions."""
    return Table("gains", "Every gain", rows, pd.DataFrame({"Gains": [f"{len(rows):,}, in the CSV file"]}))


def _in_points(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{column: points(table[column].astype(float)) for column in ("mean", "low", "high")}, unit="points")


def _wide(table: pd.DataFrame, index, columns: str, order: Sequence[str], head) -> pd.DataFrame:
    """`text` in a grid, rows sorted, columns in `order`, a dash where there is nothing."""
    wide = table.pivot(index=index, columns=columns, values="text").reindex(columns=list(order)).fillna(DASH)
    wide = wide.reset_index(allow_duplicates=True)  # a level may be called as a column is
    return wide.set_axis([*([head] if isinstance(head, str) else head), *order], axis=1)
