"""What counts alone tell of a study's hypotheses, without a matrix: where nothing stands against any slope.

Under the default model (`primary.DEFAULT`: lp * treatment + family), where each treatment of a target group is planned on the
same models, and these carry a slope, every coefficient is told, and so is whatever is asked of treatments. All other designs
and questions are for `check`, to which this is equal where it answers at all.
"""

from collections.abc import Iterator, Mapping

from xlift.analysis.study import estimands
from xlift.analysis.study.estimands import Estimand, Mean
from xlift.registry import carriers
from xlift.registry.card import Cell, Hypothesis, StudyCard
from xlift.registry.carriers import Placed
from xlift.registry.findings import Finding, UserError
from xlift.registry.pairing import treatment

OF_TREATMENTS = {"intermediate", "variant", "treatment"}
Levels = dict[str, list[dict[str, str]]]  # target group -> treatments, by what conditions may choose them by


def findings(card: StudyCard, place: Placed) -> list[Finding] | None:
    """What cannot be analysed as declared, if that can be told by counts; None where it takes the model."""
    levels = _levels(card)
    if levels is None or card.analysis.primary or card.claims:
        return None
    if any(not _told(hypothesis, levels) for hypothesis in card.hypotheses.values()):
        return None
    return carriers.findings(card, place)


def _levels(card: StudyCard) -> Levels | None:
    """The treatments of each target group; None where a slope is not told, or treatments are of different models."""
    planned, cells = carriers.models_of(card), {treatment(cell.intermediate, cell.variant): cell for cell in card.cells}
    whole = all(len({frozenset(own) for own in models.values()}) == 1 for models in planned.values())
    sized = all(len({name for own in models.values() for name in own}) > 1 for models in planned.values())
    if not whole or not sized or any(True for _ in carriers.left_out(card)) or len({cell.origin for cell in card.cells}) > 1:
        return None
    return {group: [_named(name, cells[name]) for name in models] for group, models in planned.items()}


def _named(name: str, cell: Cell) -> dict[str, str]:
    return {"treatment": name, "intermediate": cell.intermediate, "variant": cell.variant}


def _told(hypothesis: Hypothesis, levels: Levels) -> bool:
    """Whether nothing is to be said of a hypothesis."""
    group = hypothesis.group or (next(iter(levels)) if len(levels) == 1 else "")
    if group not in levels:
        return False
    try:
        asked = estimands.parse(hypothesis.asked)
        sides = [_chosen(mean, levels[group]) for mean in _means(asked)]
    except UserError:
        return False
    slopes = asked.is_slope and hypothesis.predict
    apart = len(sides) == 1 or sides[0] != sides[1]
    return bool(all(sides) and apart and not slopes and not (hypothesis.predict and asked.second))


def _means(asked: Estimand) -> Iterator[Mean]:
    yield asked.first
    if asked.second:
        yield asked.second


def _chosen(mean: Mean, treatments: list[dict[str, str]]) -> list[str]:
    """The treatments that a mean is over; none where its condition speaks of something else."""
    if not mean.condition:
        return [own["treatment"] for own in treatments]
    if not estimands.named(mean) <= OF_TREATMENTS:
        return []
    known: Mapping[str, frozenset[str]] = {name: frozenset(own[name] for own in treatments) for name in sorted(OF_TREATMENTS)}
    holds = estimands.condition(mean.condition, known)
    return [own["treatment"] for own in treatments if holds(own)]
