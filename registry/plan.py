"""Study -> Plan: the cells of the matrix, and the stages that answer them, each of them once."""

from dataclasses import dataclass, field, replace

from xlift.registry import carriers
from xlift.registry.builder import Builder, Step, seen
from xlift.registry.card import Cell, StageCard, StudyCard
from xlift.registry.findings import BadInput, Finding, UserError, relative
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.conditions import Condition
from xlift.registry.manifest.sections import PIN
from xlift.registry.matrix import combinations, left_out
from xlift.registry.stage import Weights
from xlift.registry.store import Store
from xlift.registry.study import Study


@dataclass(frozen=True)
class Plan:
    """Steps with parents before children and no id twice; cells; the cells that the manifest leaves out, by reason.

    `untuned` are the cells of a tuned study once more with the study's own recipe: beside the others, never among them.
    """

    study: Study
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    excluded: dict[str, int]
    untuned: tuple[Cell, ...] = ()
    builder: Builder | None = field(default=None, compare=False, repr=False)  # which makes the stages of trials

    def pinned(self) -> None:
        """BadInput where a model's weights are a draft's, whose commit is not known: runs are named by it."""
        study = self.study
        drafts = {step.model for step in self.steps if step.stage.weights.revision == PIN}
        findings = [
            Finding(
                "E227",
                study.place(("models", index, "revision")),
                f"model '{name}' is not pinned, so its runs have no name yet",
                f"xlift data pin {relative(study.path)}, or write the commit on the hub, 40 digits",
            )
            for index, name in enumerate(study.facts.models)
            if name in drafts
        ]
        if findings:
            raise BadInput(findings, study.sources)

    def where(self, condition: Condition) -> frozenset[str]:
        """The evaluations of the cells that a condition holds for."""
        assert self.builder is not None
        start, available = self.study.manifest.matrix.seed.start, self.builder.inputs.available
        return frozenset(
            cell.stage
            for cell in (*self.cells, *self.untuned)
            if cell.stage and condition({**cell.model_dump(), "seed.index": cell.seed - start}, available)
        )

    def gaps(self) -> dict[str, int]:
        """Cells that cannot run though the manifest does not say so, by reason."""
        found: dict[str, int] = {}
        for cell in self.cells:
            if cell.blocked and not cell.declared:
                found[cell.blocked] = found.get(cell.blocked, 0) + 1
        return found

    def languages(self, target: str) -> tuple[str, ...]:
        """In which a target is tested, whether or not the data are here."""
        return next((cell.languages for cell in self.cells if cell.target == target), ())

    def _begins(self) -> dict[str, str]:
        """The models that began with other weights that are known: as declared, or parts of the same ones."""
        sections = self.study.manifest.models
        weights = {model.id: (model.folder, model.hub, model.revision) for model in sections if not model.make}
        cut = {name: str(own[1] or own[0]) for name, own in weights.items() if list(weights.values()).count(own) > 1}
        return cut | {model.id: model.continues for model in sections if model.continues}

    def card(self) -> StudyCard:
        """What analysis needs to know of the study."""
        models, manifest = self.study.facts.models, self.study.manifest
        stages = tuple(
            StageCard(
                id=step.stage.id,
                kind=step.stage.kind,
                task=step.stage.data.task,
                seed=step.stage.effective_seed,
                parent=step.stage.parent.id if step.stage.parent else None,
                source=step.stage.data.source,
                **models[step.model].values,
            )
            for step in self.steps
        )
        return StudyCard(
            **manifest.for_card(),
            source_language=self.study.facts.source_language,
            outcomes={target: self.study.facts.tasks[target].metric for target in manifest.matrix.target},
            lineages=carriers.lineages(self._begins()),
            seen={name: known[1] for name in models if (known := seen(self.study, name))},
            left_out=tuple(f"{rule.kind}: {rule.when} ({rule.why})" for rule in manifest.matrix.exclude),
            cells=self.cells,
            untuned=self.untuned,
            stages=stages,
            searches=tuple(self.builder.search_card(search) for search in self.builder.searches) if self.builder else (),
        )


def remember(plan: Plan, store: Store) -> bool:
    """Keep the study's card; False where the store has one on which more can run: data that are not here today hide no result.

    UserError where the store cannot be written.
    """
    card, known = plan.card(), store.card(plan.study.id)
    if known == card:
        return True
    if known and plan.gaps() and sum(c.blocked is None for c in known.cells) > sum(c.blocked is None for c in card.cells):
        return False
    try:
        store.save_card(card)
    except OSError as error:
        raise UserError(f"the store {store.root} cannot be written: {error.strerror or error}") from None
    return True


def expand(study: Study, inputs: Inputs) -> Plan:
    """Every cell of the study's matrix with its chain of stages."""
    _no_twins(study, inputs)
    tuning = study.manifest.tuning
    builder = Builder(study, inputs)
    if tuning is None:
        return _expanded(builder, {}, tuned=False)
    beside = _expanded(builder, {}, tuned=False) if tuning.beside else None
    steps = {step.stage.id: step for step in beside.steps} if beside else {}  # first, since they wait for no search
    plan = _expanded(builder, steps, tuned=True)
    _no_leak(plan)
    return replace(plan, untuned=beside.cells if beside else ())


def _expanded(builder: Builder, steps: dict[str, Step], *, tuned: bool) -> Plan:
    """The cells and their steps beside those that are known; `tuned`: with what the searches found."""
    study, inputs, cells = builder.study, builder.inputs, []
    excluded: dict[str, int] = {}
    for cell in dict.fromkeys(combinations(study, inputs)):
        rule = left_out(study, cell, inputs)
        if rule and rule.kind == "excluded":
            excluded[rule.why] = excluded.get(rule.why, 0) + 1
            continue
        chain = builder.chain(*cell, tuned=tuned)
        blocked = f"{rule.kind}: {rule.why}" if rule else next((step.blocked for step in chain if step.blocked), None)
        for step in () if rule else chain:
            why = step.blocked or (blocked and _above(step, chain))
            steps.setdefault(step.stage.id, Step(step.stage, step.model, step.tests, why))
        cells.append(builder.cell(cell, None if blocked else chain[-1].stage.id, blocked, declared=rule is not None))
    return Plan(study, tuple(steps.values()), tuple(cells), excluded, builder=builder)


def _no_twins(study: Study, inputs: Inputs) -> None:
    """BadInput where two models have the same weights: copies would count as two in a slope."""
    seen: dict[Weights, str] = {}
    for index, (name, model) in enumerate(study.facts.models.items()):
        weights, missing = inputs.weights(model)
        twin = None if weights.make or missing else seen.setdefault(weights, name)
        if twin not in (None, name):
            place = study.root.at(("models", index)).place
            raise BadInput([Finding("E219", place, f"models '{twin}' and '{name}' have the same weights", "keep one of them")])


def _no_leak(plan: Plan) -> None:
    """BadInput where development data are the test data of a target under another name."""
    builder = plan.builder
    tested = {mark: (cell.target, language) for cell in plan.cells for language, mark in cell.data.items()}
    for search in builder.searches:
        for judge in (judge for _, judges in builder.trials(search) for judge in judges):
            leak = next((tested[mark] for mark in judge.tests.values() if mark in tested), None)
            if leak:
                task = judge.stage.data.task
                message = f"the objective leaks: the development data of {task} are the test data of {leak[0]} in {leak[1]}"
                place = plan.study.place(("tuning", "objective"))
                raise BadInput(
                    [Finding("E315", place, message, "write objective: {split: held-out}, or give a dev file of its own")]
                )


def _above(step: Step, chain: tuple[Step, ...]) -> str | None:
    """Why a step cannot run: an ancestor cannot."""
    before = chain[: chain.index(step)]
    return next((f"waits for {other.stage.data.task}: {other.blocked}" for other in before if other.blocked), None)
