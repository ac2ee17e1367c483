"""What the front door does with a study before a verb goes on: plan it, read it from a store, check what it declares."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xlift.registry.card import StudyCard
from xlift.registry.changes import changes
from xlift.registry.findings import BadInput, Finding, UserError
from xlift.registry.manifest.load import load, read_manifest
from xlift.registry.study import Study
from xlift.registry.table import Table, TableStudy, read_csv

if TYPE_CHECKING:
    from xlift.analysis.report.page import Report
    from xlift.analysis.study.power import Power
    from xlift.analysis.study.primary import Primary
    from xlift.registry.plan import Plan, Step
    from xlift.registry.registration import Registration
    from xlift.registry.store import Store


Anything = TypeVar("Anything", Study, TableStudy, Study | TableStudy)


@dataclass(frozen=True)
class Read:
    """A study whose results are read: the store, its card, and its plan, where it is one that runs here, as it is now."""

    store: "Store"
    card: StudyCard
    plan: "Plan | None" = None
    changed: tuple[str, ...] = ()  # what the manifest says otherwise than when the study was run


def planned(path: Path, data: Path | None, *, models: bool = False) -> "Plan":
    """The plan of a manifest, its files and analysis looked at, and its models; with its warnings on standard error."""
    return plan_of(warned(load(path)), data, models=models)


def warned(study: Anything) -> Anything:
    """The study, its warnings on standard error."""
    for finding in study.warnings:
        _print(finding, study)
    return study


def plan_of(study: Study, data: Path | None, said: list[Finding] | None = None, *, models: bool = False) -> "Plan":
    """The plan of a loaded study; BadInput with every finding about its files and its analysis, where one stops.

    Warnings go into `said`, or to standard error. With `models` their folders are looked at too, which imports torch.
    """
    from xlift.registry.copies import copies
    from xlift.registry.inputs import Inputs
    from xlift.registry.plan import expand
    from xlift.runners.data.preflight import look

    if data is not None and not data.is_dir():
        raise UserError(f"--data {data}: no such folder; give the folder that holds the tasks' files")
    inputs = Inputs(study, data.resolve() if data else None)
    plan = expand(study, inputs)
    found = [*look(plan, inputs), *copies(plan), *analysis_findings(study, plan.card)]
    if models and any(model.folder for model in study.facts.models.values()):
        from xlift.runners.look import look as look_at_models

        found += look_at_models(plan)
    if any(finding.stops for finding in found):
        raise BadInput([*study.warnings, *found], study.sources)
    if said is not None:
        said += found
    else:
        for finding in found:
            _print(finding, study)
    return plan


def steps_of(study: Study, kept: "Store", data: Path | None, *, keep: bool = False) -> tuple["Step", ...]:
    """The steps of a study that can run: from the plan that is in the store, or else planned here, and then kept if asked."""
    from xlift.registry import sheet
    from xlift.registry.plan import remember

    found = sheet.read(study, kept)
    if found is None:
        named(study, data)
        plan = plan_of(study, data, models=keep)
        if keep:
            plan.pinned()
            remember(plan, kept)
            sheet.save(plan, kept)
        return tuple(step for step in plan.steps if not step.blocked)
    return found


def _print(finding: Finding, study: Study | TableStudy) -> None:
    print(finding.render(study.sources.get(finding.place.file)), file=sys.stderr)


def analysed(study: Study | TableStudy) -> bool:
    """Whether a manifest says anything of its analysis that has to be read."""
    manifest = study.manifest
    return bool(manifest.analysis.primary or manifest.hypotheses or manifest.claims)


def existing(root: Path) -> "Store":
    """A store that is there: verbs that read make nothing up."""
    kept = store_at(root)
    if not (root / "studies").is_dir():
        raise UserError(f"no store at {root}; give --store DIR, or make one with xlift run STUDY")
    return kept


def store_at(root: Path) -> "Store":
    from xlift.registry.store import Store

    if root.exists() and not root.is_dir():
        raise UserError(f"--store {root} is no folder")
    return Store(root)


def known(kept: "Store", study: str) -> StudyCard:
    """The store's card of a study."""
    card = kept.card(study)
    if card is None:
        names = ", ".join(card.study for card in kept.cards()) or "none"
        raise UserError(
            f"the store {kept.root} does not know study '{study}' (it knows: {names}); give --store DIR, or run the study"
        )
    return card


def opened(path: Path) -> Study | TableStudy:
    """A checked manifest, and the table that it names."""
    return read_manifest(path, table_at)


def table_at(path: Path) -> Table:
    """A table of scores, .csv or .parquet."""
    if path.suffix != ".parquet":
        return read_csv(path)
    from xlift.analysis.facts import Relation
    from xlift.registry.findings import relative

    if not path.is_file():
        raise UserError(f"{path.name} cannot be read: no such file")
    frame = Relation.parquet(path).select("*")
    texts = frame.astype(object).where(frame.notna(), "").astype(str)
    rows = tuple(enumerate(texts.to_dict("records"), 1))
    return Table(relative(path), tuple(texts.columns), rows)


def read(study: Study | TableStudy, store: Path, data: Path | None) -> Read:
    """A study's results: its card as it was run, or, in the lab and with data, as it is made now; a table is imported first."""
    if isinstance(study, TableStudy):
        kept = store_at(store)
        imported(study, kept)
        return Read(kept, study.card())
    plan, kept = plan_of(study, data), existing(store)
    card, now = known(kept, study.id), plan.card()
    changed = changes(card, now)
    for line in changed:
        print(f"xlift: {study.id} has changed since it was run: {line}", file=sys.stderr)
    if unnamed(study, data):
        return Read(kept, card, changed=changed)
    return Read(kept, _same_data(now, card), plan, changed)


def unnamed(study: Study, data: Path | None) -> bool:
    """Whether the ids of a study's runs are not known here: those of a study of files rest on its data."""
    return study.manifest.data.brought and data is None


def named(study: Study, data: Path | None) -> None:
    """UserError where the ids of a study's runs are not known here: what is run or seen could not be told."""
    if unnamed(study, data):
        raise UserError("the ids of a local study rest on its data: give --data DIR")


def imported(study: TableStudy, kept: "Store") -> bool:
    """Take a table into a store; whether it was not there yet. What its analysis declares is checked before."""

    from xlift.analysis import tabled

    found = analysis_findings(study, study.card) if analysed(study) else []
    if found := [finding for finding in found if finding.stops]:
        raise BadInput([*study.warnings, *found], study.sources)
    before, card = kept.card(study.id), study.card()
    if before and {cell.origin for cell in before.cells} - {cell.origin for cell in card.cells}:
        raise UserError(f"the store {kept.root} knows a study '{study.id}' of another origin; give this one another id")
    new = not kept.table(study.digest).exists() or tabled.read(kept.table(study.digest)) is None
    if new:
        kept.save_table(study.digest, tabled.encoded(study.columns()))
    if before != card:
        kept.save_card(card)
    return new


def card_of(study: Study | TableStudy, data: Path | None) -> StudyCard:
    """A study's card as it is now."""
    return study.card() if isinstance(study, TableStudy) else plan_of(study, data).card()


def analysis_findings(study: Study | TableStudy, card: Callable[[], StudyCard]) -> list[Finding]:
    """What a study's design cannot tell, and what it declares of its analysis and cannot be done."""
    if not analysed(study):  # the default model: counts alone tell, and nothing heavy is imported
        from xlift.registry import carriers

        return carriers.findings(card(), study.place)
    from xlift.analysis.study import counted

    if (told := counted.findings(card(), study.place)) is not None:
        return told
    from xlift.analysis.study import check

    return check.findings(card(), study.place)


def _same_data(now: StudyCard, ran: StudyCard) -> StudyCard:
    """The card that the data at hand make; UserError where they are not those that the study ran on."""
    before = {(cell.model, cell.target, name): mark for cell in ran.cells for name, mark in cell.data.items()}
    marks = {(cell.model, cell.target, name): mark for cell in now.cells for name, mark in cell.data.items()}
    changed = sorted({f"{key[1]} ({key[2]})" for key, mark in marks.items() if before.get(key, mark) != mark})
    if changed:
        raise UserError(
            f"the data are not those that the study ran on: {', '.join(changed[:8])} differ; leave --data out to report what was "
            "run, or run the study on these"
        )
    return now


def report_of(card: StudyCard, kept: "Store", changed: tuple[str, ...] = ()) -> "Report":
    """The report of a study, from its store; `changed`: what its manifest says otherwise than when it was run."""
    from xlift.analysis import facts, paired
    from xlift.analysis.report.page import report
    from xlift.analysis.study.tuned import Tuned

    tuned = None
    if card.searches:
        own = card.model_copy(update={"cells": card.untuned})
        rows = paired.gains(facts.connect(kept, [own]), card.study) if own.cells else None
        tuned = Tuned(card, {search.folder: kept.trials(search.folder) for search in card.searches}, rows)
    return report(card, facts.connect(kept, [card]), kept.registration(card.study), tuned, changed)


def primary_models(card: StudyCard) -> Iterator["Primary"]:
    """Of each target group of the gains that a study plans."""
    from xlift.analysis.study.check import planned_groups
    from xlift.analysis.study.primary import primary

    for group, rows in planned_groups(card).items():
        yield primary(group, rows, card.analysis)


def variance_components(
    source: Path, file: Path | None, group: str | None, store: Path, data: Path | None
) -> tuple[dict[str, float], str]:
    """Standard deviations by component, fractions, and what they are of: a report's table, or a study's fitted primary model."""
    if file:
        table = table_at(file)
        if lacks := {"component", "sd_points"} - set(table.columns):
            raise UserError(f"{file} has no column {' and no column '.join(sorted(lacks))}; a report's components.csv has both")
        rows = [row for _, row in table.rows if group is None or row.get("target_group", group) == group]
        names = [row["component"] for row in rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"{file} tells {', '.join(twice)} twice; give --group")
        try:
            known = {row["component"]: float(row["sd_points"]) / 100 for row in rows}
        except ValueError as error:
            raise UserError(f"{file}: sd_points: {error}") from None
        return known, str(file)
    from xlift.analysis import facts, paired
    from xlift.analysis.study.groups import fitted
    from xlift.analysis.study.power import components

    found = read(warned(opened(source)), store, data)
    groups = fitted(paired.gains(facts.connect(found.store, [found.card]), found.card.study), found.card.analysis)
    wanted = group or "fine-tuned"
    chosen = next((each for each in groups if each.name == wanted), groups[0] if len(groups) == 1 else None)
    if chosen is None or chosen.fit is None:
        why = (
            "has no gains"
            if not groups
            else chosen.failed
            if chosen
            else f"has {', '.join(each.name for each in groups)} targets"
        )
        raise UserError(f"{source} {why}: give --group, or --from a study with gains, or --components FILE")
    return components(chosen), f"{found.card.study}, {chosen.name} targets"


def simulated(
    card: StudyCard, known: dict[str, float], group: str | None, samples: int, seed: int
) -> tuple[list["Power"], tuple[str, ...]]:
    """The power of a study's design, and of those with more of each axis; and the components that nothing is known of."""
    from numpy.random import default_rng

    from xlift.analysis.study.check import planned_groups
    from xlift.analysis.study.power import MORE, Design, simulated

    groups = planned_groups(card)
    name = group or ("fine-tuned" if "fine-tuned" in groups else next(iter(groups), ""))
    if name not in groups:
        raise UserError(f"study '{card.study}' plans no gains of {name or 'any'} targets; it has {', '.join(groups) or 'none'}")
    declared = Design("as declared", groups[name])
    found, unknown = list["Power"](), dict[str, None]()
    for design in (declared, *(declared.with_more(axis) for axis in MORE)):
        power, lacks = simulated(design, known, card.analysis, samples, default_rng([seed, len(found)]))
        found.append(power)
        unknown |= dict.fromkeys(lacks)
    return found, tuple(unknown)


def register(study: Study | TableStudy, kept: "Store", data: Path | None) -> "Registration":
    """Freeze a study's hypotheses, outcomes, exclusions and formulas; UserError where another registration stands."""
    from xlift.registry import registration, seen

    plan = None if isinstance(study, TableStudy) else plan_of(study, data)
    if plan:
        named(plan.study, data)
    card = plan.card() if plan else card_of(study, data)
    models = {model.group: model.formula for model in primary_models(card)}
    old = kept.registration(card.study)
    if old is None:
        twins = seen.twins(card, kept, [step.stage for step in plan.steps] if plan else ())
        made = registration.register(card, models, seen.scored(card, kept), twins)
        kept.register(made)
        return made
    if said := registration.deviations(old, card, models):
        raise UserError(
            f"study '{card.study}' was registered on {old.at}, which stands; it differs in: {'; '.join(said)}. A report "
            "prints these; for other hypotheses give the study another id"
        )
    return old
