"""What counts alone tell of a study's hypotheses, without a matrix: where nothing stands against any slope.

Under the default model (`primary.DEFAULT`), where all treatments of a group are planned on all its targets and the same models,
and these carry a slope, every coefficient is told, and so is whatever is asked of treatments. All other designs
and questions are for `check`, to which this is equal where it answers at all.
"""

from collections.abc import Mapping

from xlift.analysis.study import estimands
from xlift.analysis.study.estimands import Mean
from xlift.registry import carriers
from xlift.registry.card import Cell, Hypothesis, StudyCard
from xlift.registry.carriers import Placed
from xlift.registry.findings import Finding, UserError
from xlift.registry.pairing import treatment

Levels = dict[str, list[dict[str, str]]]  # target group -> treatments at targets, by what conditions may choose them by


def findings(card: StudyCard, place: Placed) -> list[Finding] | None:
    """What cannot be analysed as declared, if that can be told by counts; None where it takes the model."""
    levels = _levels(card)
    if levels is None or card.analysis.primary or card.claims:
        return None
    if any(not _told(hypothesis, levels) for hypothesis in card.hypotheses.values()):
        return None
    return carriers.findings(card, place)


def _levels(card: StudyCard) -> Levels | None:
    """The treatments of each target group, at each target; None where a slope is not told, or they are of different models."""
    planned, cells = carriers.models_of(card), {treatment(cell.intermediate, cell.variant): cell for cell in card.cells}
    sets = {group: {frozenset(own) for levels in axes.values() for own in levels.values()} for group, axes in planned.items()}
    whole = all(
        len(sets[group]) == 1 and len(axes["pair"]) == len(axes["treatment"]) * len(axes["target"])
        for group, axes in planned.items()
    )
    sized = all(len(models) > 1 for own in sets.values() for models in own)
    if not whole or not sized or any(True for _ in carriers.left_out(card)) or len({cell.origin for cell in card.cells}) > 1:
        return None
    these = card.analysis.targets == "these"
    return {
        group: [
            _named(name, cells[name]) | ({"target": target} if these else {})
            for name in axes["treatment"]
            for target in (axes["target"] if these else [""])
        ]
        for group, axes in planned.items()
    }


def _named(name: str, cell: Cell) -> dict[str, str]:
    return {"treatment": name, "intermediate": cell.intermediate, "variant": cell.variant}


def _told(hypothesis: Hypothesis, levels: Levels) -> bool:
    """Whether nothing is to be said of a hypothesis."""
    group = hypothesis.group or (next(iter(levels)) if len(levels) == 1 else "")
    if group not in levels:
        return False
    try:
        asked = estimands.parse(hypothesis.asked)
        sides = [_chosen(mean, levels[group]) for mean in asked.means]
    except UserError:
        return False
    slopes = asked.is_slope and hypothesis.predict
    apart = len(sides) == 1 or (sides[0] != sides[1] and "target" not in asked.spoken)
    return bool(all(sides) and apart and not slopes and not (hypothesis.predict and asked.second))


def _chosen(mean: Mean, treatments: list[dict[str, str]]) -> list[int]:
    """Which treatments a mean is over; none where its condition speaks of something else."""
    if not mean.condition:
        return [*range(len(treatments))]
    if not estimands.spoken_of(mean) <= {*treatments[0]}:
        return []
    known: Mapping[str, frozenset[str]] = {name: frozenset(own[name] for own in treatments) for name in treatments[0]}
    holds = estimands.condition(mean.condition, known)
    return [at for at, own in enumerate(treatments) if holds(own)]
