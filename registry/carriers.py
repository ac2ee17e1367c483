"""Which models carry a slope on size: the counts, told before anything runs and again when gains are there.

A slope is a statement on models: more seeds or languages do not help, and a family costs one. `analysis.study.bases` asks the
same of the gains at hand, and whether the primary model tells size from its other effects.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from xlift.registry.card import Cell, StudyCard, target_group
from xlift.registry.findings import Finding, Place
from xlift.registry.known.languages import same_language
from xlift.registry.pairing import is_baseline, treatment

SPARE_MODELS = 3  # models beyond one a family, without which a slope is refused
FEWEST_SIZES = 3
FEWEST_TARGETS = 5  # on which a slope for targets like these rests

MODELS = "add models of other sizes in the same families"

Models = Mapping[str, tuple[str, float]]  # model -> family, size
Level = tuple[tuple[str, object], ...]  # what a slope is of: a factor and its level, such as a treatment or a target
Placed = Callable[[tuple[str | int, ...]], Place]  # where a path of the manifest stands


def refused(models: Models, min_models: int, spare: int = SPARE_MODELS, what: str = "gains") -> str | None:
    """Why these models carry no slope on size; None where they do, as far as their numbers tell."""
    count, families = len(models), len({family for family, _ in models.values()})
    if count < min_models:
        has = "1 model has" if count == 1 else f"{count} models have"
        return f"{has} {what} and {min_models} are needed; more seeds or languages do not help"
    if count - families < spare:
        return f"{count} models of {families} families have {what}: a slope needs {spare} models more than families"
    if len({size for _, size in models.values()}) < FEWEST_SIZES:
        return f"the {count} models have fewer than three different sizes"
    return None


def too_few_targets(count: int) -> str:
    has = "1 target does" if count == 1 else f"{count} targets do"
    return f"{has} not tell of targets like these: it takes {FEWEST_TARGETS}; analysis: {{targets: these}} speaks of them alone"


def confounded(which: str) -> str:
    return f"size cannot be told from {which}: a slope needs models of different sizes that have the same {which}"


def findings(card: StudyCard, place: Placed) -> list[Finding]:
    """What a study's plan cannot tell of size under the default model, and which of its models are not independent."""
    return [*untold(left_out(card), place), *lineage_findings(card, place)]


def lineage_findings(card: StudyCard, place: Placed) -> list[Finding]:
    return [Finding("W412", place(("models",)), text, "name it where the slope is told") for text in told_lineages(card)]


def left_out(card: StudyCard) -> Iterator[tuple[str, Level | None, str]]:
    """Target group, treatment or target (None: all of them) and why a study's plan has no slope of it under the default model."""
    least = card.analysis.min_models
    for group, axes in models_of(card).items():
        every = {name: facts for own in axes["treatment"].values() for name, facts in own.items()}
        if len(every) == 1:
            continue
        if card.analysis.targets == "like these" and len(axes["target"]) < FEWEST_TARGETS:
            yield group, None, _refused(every, least) or too_few_targets(len(axes["target"]))
            continue
        moving = ("treatment", "target") if card.analysis.targets == "these" else ("treatment",)
        why = {axis: {name: _refused(own, least) for name, own in axes[axis].items()} for axis in moving}
        if lost := next((levels for levels in why.values() if all(levels.values())), None):
            yield group, None, _refused(every, least) or "; ".join(f"{name}: {text}" for name, text in lost.items())
        else:
            yield from ((group, ((axis, name),), text) for axis in why for name, text in why[axis].items() if text)


def lineages(begins: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The models that began with the same weights: each with what it began with, a model or another name, where that is known."""
    roots: dict[str, list[str]] = {}
    for model in begins:
        root, before = model, set[str]()
        while root in begins and root not in before:
            before.add(root)
            root = begins[root]
        root = min(before) if root in before else root  # each began with the other
        roots.setdefault(root, []).append(model)
    for root, models in roots.items():
        models += [root] if root not in models else []
    return tuple(tuple(models) for models in roots.values() if len(models) > 1)


def told_lineages(card: StudyCard) -> Iterator[str]:
    """What a reader has to know of models that are not independent of each other."""
    there = {cell.model for cell in card.cells}
    for models in card.lineages:
        own = [model for model in models if model in there]
        if len(own) > 1:
            yield f"{', '.join(own)} began with the same weights: a slope is tested as if they were independent of each other"


def untold(left: Iterable[tuple[str, Level | None, str]], place: Placed) -> list[Finding]:
    """What no run of a design can tell of size, said before one is paid for; levels without a slope for one reason at once.

    `left`: target group, treatment or target (None: all of them) and why there is no slope of it.
    """
    gathered: dict[tuple[str, str | None, str], list[str]] = {}
    for group, level, why in left:
        axis = None if level is None else "target" if level[0][0] == "target" else "intermediate"
        gathered.setdefault((group, axis, why), []).append(", ".join(str(name) for _, name in level or ()))
    found = []
    for (group, axis, why), names in gathered.items():
        if axis is None:
            found.append(Finding("W403", place(("models",)), f"{group} targets: no slope on size: {why}", MODELS))
            continue
        have = "has no slope, and no part" if len(names) == 1 else "have no slope, and no parts"
        said = f"{group} targets: {', '.join(names)} {have} in that of all: {why}"
        found.append(Finding("W411", place(("matrix", axis)), said, MODELS))
    return found


def _refused(models: Models, min_models: int) -> str | None:
    sizes: dict[str, set[float]] = {}
    for family, size in models.values():
        sizes.setdefault(family, set()).add(size)
    alone = len(sizes) > 1 and all(len(own) == 1 for own in sizes.values())
    return refused(models, min_models) or (confounded("family") if alone else None)


def models_of(card: StudyCard) -> dict[str, dict[str, dict[str, dict[str, tuple[str, float]]]]]:
    """Target group -> treatment, target, and pair of both -> level -> the models that are planned to have gains."""
    rule, found = card.analysis.gain, dict[str, dict[str, dict[str, dict[str, tuple[str, float]]]]]()
    cells = [cell for cell in card.cells if not cell.declared and _transfers(cell.languages, card)]
    match = [name for name in rule.match if name in Cell.model_fields]

    def baseline(cell: Cell) -> bool:
        return is_baseline(cell, rule)

    pairs = {tuple(getattr(cell, name) for name in match) for cell in cells if baseline(cell)}
    for cell in cells:
        if not baseline(cell) and tuple(getattr(cell, name) for name in match) in pairs:
            axes = found.setdefault(target_group(cell, card.analysis.apart), {"treatment": {}, "target": {}, "pair": {}})
            own = treatment(cell.intermediate, cell.variant)
            for axis, level in (("treatment", own), ("target", cell.target), ("pair", f"{own}\0{cell.target}")):
                axes[axis].setdefault(level, {})[cell.model] = (cell.family, getattr(cell, card.analysis.x))
    return found


def _transfers(languages: Iterable[str], card: StudyCard) -> bool:
    """Whether gains are told of one of some languages."""
    dropped = card.analysis.gain.drop_languages
    return any(
        name not in dropped if dropped is not None else not same_language(name, card.source_language) for name in languages
    )
