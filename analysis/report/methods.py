"""A methods paragraph: what was done with these gains, in sentences that a paper can take over."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from xlift.analysis.report.table import count
from xlift.analysis.study.groups import GroupFit
from xlift.registry.card import StudyCard
from xlift.registry.known.languages import same_language

CONTROLS = {"holm": "Holm", "bonferroni": "Bonferroni", "bh": "Benjamini and Hochberg", "by": "Benjamini and Yekutieli"}


def methods(card: StudyCard, groups: Sequence[GroupFit]) -> Iterator[str]:
    """A paragraph each: the gains, the model of each group, the tests, the versions."""
    yield _gains(card, groups)
    yield from (_model(group) for group in groups)
    if text := _seen(card):
        yield text
    control = CONTROLS.get(card.control)
    yield (
        "Fixed effects were tested with Kenward and Roger's (1997) covariance and degrees of freedom; the slope on size weighs "
        "intermediates equally, and targets where each has its own, and stands beside a two-stage analysis of one mean a model, "
        "beside the same factors of models. That slopes of targets, families and intermediates are equal was put to F tests, "
        "adjusted by Holm's method within a group of targets. Limits of variance components are profile likelihood's."
        + (
            f" Hypotheses declared in the manifest ({len(card.hypotheses)}) were adjusted as one family ({control})."
            if card.hypotheses and control
            else ""
        )
    )
    if card.searches:
        allowed = sorted(
            {
                f"{search.trials} trials" if search.trials else f"{search.hours:g} hours" if search.hours else "a grid"
                for search in card.searches
            }
        )
        yield (
            f"Recipes were tuned by searches ({len(card.searches):,}), {' or '.join(allowed)} each, judged on development data "
            f"in {card.source_language} alone; gains with the study's own recipe stand beside, in tables of their own."
        )
    used = ", ".join(f"{name} {version(name)}" for name in ("xlift", "duckdb", "numpy", "scipy", "statsmodels"))
    yield f"Software: {used}."


def _gains(card: StudyCard, groups: Sequence[GroupFit]) -> str:
    baseline = " and ".join(f"{axis} {level}" for axis, level in card.analysis.gain.baseline.items())
    metrics = ", ".join(f"{metric} on {target}" for target, metric in card.outcomes.items())
    less = f" Of {' and '.join(card.lower)} less is better: there a gain is what was taken away." if card.lower else ""
    rows = sum(len(group.rows) for group in groups)
    tested = {language for cell in card.cells for language in cell.languages}
    if card.analysis.gain.drop_languages is None and any(same_language(language, card.source_language) for language in tested):
        less += f" Scores in {card.source_language}, the language of training, give no gain here."
    return (
        f"A gain is the score of a run with intermediate training minus that of the run with {baseline}, of the same "
        f"{', '.join(card.analysis.gain.match)} and on the same test data"
        + (f" ({metrics})" if metrics else "")
        + f". There are {count(rows, 'gain')} of {count(len({row for g in groups for row in g.rows['model']}), 'model')}; "
        f"gains without a baseline, and failed runs, are listed as missing and were not imputed.{less}"
    )


def _model(group: GroupFit) -> str:
    if group.fit is None:
        return f"{group.name} targets: no model was fitted ({group.failed})."
    left = (
        f" Left out, since the design cannot identify them: {'; '.join(group.primary.left_out)}."
        if group.primary.left_out
        else ""
    )
    lp = f"log10 of the {group.x.replace('_', ' ').replace('params', 'parameters')}, centred"
    known = " beside the known sampling variance of each gain," if group.variances else ""
    return (
        f"{group.name} targets: {count(len(group.rows), 'gain')} were modelled as {group.primary.formula},{known} by restricted "
        f"maximum likelihood, lp being {lp}.{left}"
    )


def _seen(card: StudyCard) -> str | None:
    """Where it is told which languages pretraining saw."""
    told: dict[str, list[str]] = {}
    for model, source in card.seen.items():
        if source != "made here":
            told.setdefault(source, []).append(model)
    if not told:
        return None
    unknown = sorted({cell.model for cell in card.cells} - card.seen.keys())
    return (
        "Which languages pretraining saw is taken "
        + "; ".join(f"for {', '.join(models)} from {source}" for source, models in told.items())
        + (f". It is not known for {', '.join(unknown)}." if unknown else ".")
    )
