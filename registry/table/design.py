"""What the rows of a table say of each other: sizes, seconds of a score, protocols, languages, baselines that lack."""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from xlift.registry.card import Pairing
from xlift.registry.known.languages import base_language, is_mean, same_language
from xlift.registry.known.tasks import Task
from xlift.registry.pairing import is_baseline, left_out, pair
from xlift.registry.table.reading import ENOUGH, Reading
from xlift.registry.table.runs import Row

NONE = frozenset("nan na n/a null no - base baseline untreated without".split())  # how people write of no intermediate task
OTHER = ("model", "target", "language")  # a row that differs in these is another experiment
TELLING = 3  # scores that two seeds have in common by copying, hardly by chance


def check(reading: Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    """What rows say of each other: models with two sizes, two scores for one thing, protocols mixed, baselines that lack."""
    models: dict[str, Row] = {}
    protocols: dict[str, Row] = {}
    cells: dict[tuple[str, str, str, str, int, str], Row] = {}
    seen: dict[tuple, Row] = {}
    treatments: dict[str | None, Row] = {}
    for row in rows:
        first = treatments.setdefault(row.treated, row)
        if (first.intermediate, first.variant) != (row.intermediate, row.variant):
            message = f"intermediate {row.intermediate} and variant {row.variant} make '{row.treated}', as do those of line"
            reading.complain("E526", row.line, f"{message} {first.line}", "give one of the two another name")
        first = models.setdefault(row.model, row)
        for what in ("parameters", "non_embedding", "family"):
            one, other = getattr(first, what), getattr(row, what)
            if one != other:
                message = f"{row.model} has {what.replace('_', ' ')} {other} here and {one} in line {first.line}"
                reading.complain("E526", row.line, message, "a model has one size and one family; give two models two names")
        twin = seen.setdefault((*row.cell, row.language, row.metric), row)
        if twin is not row:
            differs = _differing(reading, twin, row)
            told = f"line {twin.line} differs in {' and '.join(differs)}" if differs else f"line {twin.line} is the same"
            what = f"{row.model}, {row.treated or 'untreated'}, {row.target} in {row.language}"
            hint = "keep one, by 'where'; or give replicates a column of seeds"
            reading.complain("E527", row.line, f"a second score of {what}: {told}", hint)
        if row.origin != rows[0].origin and not reading.manifest.data.mixed:
            message = f"this row is {row.origin}, and line {rows[0].line} is {rows[0].origin}"
            reading.complain(
                "E534", row.line, message, "choose one by 'where'; or write data: {mixed: true}, and origin is a factor"
            )
        first = cells.setdefault(row.cell, row)
        if first.source != row.source:
            message = f"{row.target} of this run was scored by '{row.source}' here and by '{first.source}' in line {first.line}"
            reading.complain(
                "E532", row.line, message, "a run has one source; choose one by 'where', or give it another model's name"
            )
        first = protocols.setdefault(row.target, row)
        if first.protocol != row.protocol:
            message = f"{row.target} was scored as '{row.protocol}' here and as '{first.protocol}' in line {first.line}"
            reading.complain("E528", row.line, message, "scores of different protocols make no gain; choose one by 'where'")
    _alike(reading, rows)
    _languages(reading, rows)
    _copies(reading, rows, tasks)
    _pairs(reading, rows, tasks)
    _sampling(reading, rows, tasks)


def _sampling(reading: Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    """Standard errors of gains, which a fit takes as known: every gain has one, and no baseline."""
    if first := next((row for row in rows if row.treated is None and row.gain_se is not None), None):
        reading.complain("W543", first.line, "a baseline has no gain, and its gain_se is not read", "leave the field empty")
    if reading.manifest.analysis.sampling != "known":
        return
    source = reading.manifest.data.language
    gains = [row for row in rows if row.treated and row.metric == tasks[row.target].metric]
    lacking = [row for row in gains if not ((row.gain_se or 0) ** 2) and not same_language(row.language, source)]
    if lacking:
        more = f", as in {len(lacking) - 1:,} rows more" if len(lacking) > 1 else ""
        message = f"sampling is known, and a gain here has no gain_se above 0{more}"
        reading.complain("E543", lacking[0].line, message, "give a column of them, or write analysis: {sampling: estimated}")


def _alike(reading: Reading, rows: list[Row]) -> None:
    """Names that a reader takes for one, and that are two here."""
    for axis in ("model", "family", "intermediate", "variant", "target", "metric", "source", "protocol"):
        first: dict[str | None, Row] = {getattr(row, axis): row for row in reversed(rows)}
        alike: dict[str, str] = {}
        for name, row in reversed(first.items()):
            if name is None:
                continue
            twin = alike.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), name)
            if twin != name:
                column = reading.columns.get(axis, axis)
                message = f"column '{column}': '{name}' and '{twin}' in line {first[twin].line} look alike, and are two here"
                reading.complain(
                    "W542", row.line, message, "write one name in one way, or two that a reader can tell apart", name
                )


def _languages(reading: Reading, rows: list[Row]) -> None:
    """Labels that look like one language, and labels of the source language that are not its code."""
    source, alike, first = reading.manifest.data.language, dict[str, str](), dict[str, Row]()
    for row in rows:
        first.setdefault(row.language, row)
    for label, row in first.items():
        base = base_language(label)
        if is_mean(label) and len(first) > 1:
            column = reading.columns.get("language", "language")
            message = f"'{label}' looks like a mean over languages, and is one more language here"
            reading.complain("W541", row.line, message, f"write data: {{where: \"{column} != '{label}'\"}}", label)
        twin = alike.setdefault(base, label)
        if label != source and same_language(label, source):
            message = f"'{label}' is taken for {source}, the language of training: it is no target of transfer"
            hint = f"write data: {{language: {label}}}, or another name if it is none"
            reading.complain("W535", row.line, message, hint, label)
        elif twin != label and base != "zh" and not same_language(label, source):
            message = f"'{label}' looks like the language '{twin}' of line {first[twin].line}, and is another one here"
            reading.complain("W536", row.line, message, "give one language one name", label)


def _differing(reading: Reading, one: Row, other: Row) -> list[str]:
    """Columns of the table, whether they have a role or none, in which two rows differ, and the score for its own sake."""
    texts, others = reading.texts[one.line], reading.texts[other.line]
    own = {reading.columns[role] for role in ("score", "se") if role in reading.columns}
    return [f"'{name}'" for name in texts if texts[name] != others[name] and name not in own]


def _copies(reading: Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    """Seeds with the very scores of another are no replicates; what is neither treated nor trained is one evaluation."""
    scores: dict[tuple, dict[int, dict[tuple[str, str], float]]] = {}
    first: dict[tuple, Row] = {}
    for row in rows:
        if row.treated or tasks[row.target].trains_on is not None:
            key = (row.model, row.treated, row.target, row.origin)
            scores.setdefault(key, {}).setdefault(row.seed, {})[row.language, row.metric] = row.score
            first.setdefault((*key, row.seed), row)
    copies = []
    for key, seeds in scores.items():
        seen: dict[tuple, int] = {}
        for seed, values in seeds.items():
            if (twin := seen.setdefault(tuple(sorted(values.items())), seed)) != seed and len(values) >= TELLING:
                copies.append((first[(*key, seed)], twin, len(values)))
    if copies:
        row, twin, count = copies[0]
        message = (
            f"seed {row.seed} of {row.model}, {row.treated or 'untreated'}, {row.target} has all {count} scores of seed {twin}"
        )
        message += f", and so {len(copies) - 1} runs more" if copies[1:] else ""
        hint = "copies are no replicates, nor are runs that answer everything alike: keep one of them, by 'where'"
        reading.complain("W540", row.line, message, hint)


def _pairs(reading: Reading, rows: list[Row], tasks: Mapping[str, Task]) -> None:
    rule = reading.manifest.analysis.gain
    if set(rule.baseline) - {"intermediate", "variant"}:
        return  # which check_analysis says
    rule = rule.model_copy(update={"match": tuple(name for name in rule.match if name in Row.__dataclass_fields__)})

    def key(row: Row) -> tuple:
        return pair(row, row.language, rule)

    baselines: dict[tuple, Row] = {}
    mine = [row for row in rows if row.metric == tasks[row.target].metric]
    treated = []
    for row in mine:
        if is_baseline(row, rule):
            baselines.setdefault(key(row), row)
        elif not left_out(row.language, rule, reading.manifest.data.language):
            treated.append(row)
    alone = [row for row in treated if key(row) not in baselines]
    if treated and len(alone) == len(treated):
        message = f"no row has the baseline of {alone[0].model} in {alone[0].target}, {alone[0].language}, nor of any other"
        usual = f"a baseline has {', '.join(f'{axis} {value}' for axis, value in rule.baseline.items())}"
        nearest = _nearest(alone[0], mine, rule)
        hint = f"{usual}; {nearest}" if nearest else f"{usual}; see analysis.gain.baseline"
        reading.complain("E531", alone[0].line, message, hint)
        return
    untreated = list(baselines.values())
    for number, row in enumerate(alone):
        message = f"no baseline for {row.model}, {row.target} in {row.language}: it makes no gain"
        reading.complain("W531", row.line, message, _nearest(row, untreated, rule) if number < ENOUGH else None)
    for row in treated:
        other = baselines.get(key(row))
        if other and other.source != row.source:
            message = f"its baseline is of another source: '{other.source}', in line {other.line}"
            reading.complain("W532", row.line, message, "a gain within one paper is safer; choose by 'where'")
        if other and other.items != row.items:
            reading.complain(
                "W533", row.line, f"{row.items} items, and its baseline in line {other.line} has {other.items}: no gain"
            )


def _nearest(row: Row, rows: list[Row], rule: Pairing) -> str | None:
    """What comes nearest to a row's baseline, in words that name each axis in which it differs; None where nothing does."""
    wanted = {"origin": row.origin, **{name: getattr(row, name) for name in rule.match}, **rule.baseline}

    def differing(other: Row) -> dict[str, str]:
        pairs = {name: (getattr(other, name), value) for name, value in wanted.items()}
        return {name: _form(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}

    def distance(other: Row) -> tuple[int, bool, int]:
        found = differing(other)
        return sum(not form for form in found.values()), other is row, len(found)

    nearest = min(rows, key=distance, default=row)
    found = differing(nearest)
    if not found or any(name in OTHER and not form for name, form in found.items()):
        return None
    told = (f"{name} '{getattr(nearest, name)}', not '{wanted[name]}'{form}" for name, form in found.items())
    return f"line {nearest.line} is nearest, and has {' and '.join(told)}"


@lru_cache(maxsize=4096)
def _form(one: object, other: object) -> str:
    """In what two names that mean the same differ."""
    if str(one).casefold() == str(other).casefold():
        return " (upper and lower case)"
    if unicodedata.normalize("NFKC", str(one)).casefold() == unicodedata.normalize("NFKC", str(other)).casefold():
        return " (the same name in another Unicode form)"
    return " (which may mean the same)" if other == "none" and str(one).casefold() in NONE else ""
