"""The tables of gains, of scores, and of what is missing."""

from collections.abc import Sequence

import pandas as pd

from xlift.analysis.estimates import LEVEL
from xlift.analysis.report.table import DASH, Table, interval, plain, points, signed, slugs
from xlift.analysis.study.slope import mean_gain
from xlift.registry.card import MEAN
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


def gain_by_language(rows: pd.DataFrame) -> Table:
    """Language x intermediate, by target group; `mean` is over the intermediates."""
    single, pooled = mean_gain(rows, ["language", "treatment"]), mean_gain(rows, ["language"]).assign(treatment=MEAN)
    several = rows["treatment"].nunique() > 1
    table = pd.concat([single, pooled], ignore_index=True) if several else single
    order = sorted(rows["treatment"].unique()) + ([MEAN] if several else [])
    text = [f"{signed(row.mean)} {interval(row.low, row.high)}".strip() for row in table.itertuples()]
    shown = _wide(table.assign(text=text), ["target_group", "language"], "treatment", order, ["Targets", "Language"])
    return Table("gain-by-language", "Gain by language", _in_points(table), shown, 2, GAIN_NOTE)


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
    return Table(f"scores-{file}", f"Scores on {target}", data, shown, 2, note, target=target)


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
    return Table("missing", "What is missing, and why", rows.drop(columns="treatment"), shown, 7)


def _in_points(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{column: points(table[column].astype(float)) for column in ("mean", "low", "high")}, unit="points")


def _wide(table: pd.DataFrame, index, columns: str, order: Sequence[str], head) -> pd.DataFrame:
    """`text` in a grid, rows sorted, columns in `order`, a dash where there is nothing."""
    wide = table.pivot(index=index, columns=columns, values="text").reindex(columns=list(order)).fillna(DASH)
    wide = wide.reset_index(allow_duplicates=True)  # a level may be called as a column is
    return wide.set_axis([*([head] if isinstance(head, str) else head), *order], axis=1)
