"""Study -> Plan: the cells of the matrix, and the stages that answer them, each of them once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from xlift.registry.card import Cell, StageCard, StudyCard
from xlift.registry.findings import BadInput, Finding
from xlift.registry.known.tasks import Task, computed, same_training_data
from xlift.registry.manifest.conditions import Condition
from xlift.registry.manifest.declared import Model
from xlift.registry.manifest.load import Study
from xlift.registry.manifest.sections import Exclude, Subset, TaskSection, merged, texts
from xlift.registry.sources import ABSENT, Sources
from xlift.registry.stage import Data, Mixing, Part, Recipe, Stage, Weights, as_read
from xlift.registry.store import Store


@dataclass(frozen=True)
class Step:
    """A stage in a plan: the model's name in this study, the test data of an evaluation, and why it cannot run."""

    stage: Stage
    model: str
    parts: dict[str, str]  # language -> digest of its test data
    blocked: str | None = None


@dataclass(frozen=True)
class Plan:
    """Steps with parents before children and no id twice; cells; the cells that the manifest leaves out, by reason."""

    study: Study
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    excluded: dict[str, int]

    def state(self, step: Step, store: Store) -> str:
        """run, finished, or blocked."""
        if step.blocked:
            return "blocked"
        if step.stage.kind == "evaluate":
            return "run" if store.missing(step.stage.id, step.parts) else "finished"
        return "finished" if store.record(step.stage.id) else "run"

    def todo(self, store: Store, only: frozenset[str] | None = None) -> tuple[Step, ...]:
        """What must run, parents first: unfinished evaluations (or those `only`), and the unfinished stages that they rest on."""
        states = {step.stage.id: self.state(step, store) for step in self.steps}
        needed = {
            ancestor.id
            for step in self.steps
            if step.stage.kind == "evaluate" and states[step.stage.id] == "run" and (only is None or step.stage.id in only)
            for ancestor in _unfinished(step.stage, states)
        }
        return tuple(step for step in self.steps if step.stage.id in needed)

    def where(self, condition: Condition) -> frozenset[str]:
        """The evaluations of the cells that a condition holds for."""
        start = self.study.manifest.matrix.seed.start
        return frozenset(
            cell.stage
            for cell in self.cells
            if cell.stage and condition({**cell.model_dump(), "seed.index": cell.seed - start}, lambda name: False)
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

    def card(self) -> StudyCard:
        """What analysis needs to know of the study."""
        models, manifest = self.study.facts.models, self.study.manifest
        stages = tuple(
            StageCard(
                id=step.stage.id,
                kind=step.stage.kind,
                model=step.model,
                task=step.stage.data.task,
                seed=step.stage.effective_seed,
                parent=step.stage.parent.id if step.stage.parent else None,
                source=step.stage.data.source,
                **_sizes(models[step.model]),
            )
            for step in self.steps
        )
        return StudyCard(
            study=manifest.id,
            question=manifest.question,
            source_language=self.study.facts.source_language,
            analysis=manifest.analysis,
            hypotheses=manifest.hypotheses,
            control=manifest.control,
            claims=manifest.claims,
            outcomes={target: self.study.facts.tasks[target].metric for target in manifest.matrix.target},
            left_out=tuple(f"{rule.kind}: {rule.when} ({rule.why})" for rule in manifest.matrix.exclude),
            cells=self.cells,
            stages=stages,
        )


def expand(study: Study, sources: Sources) -> Plan:
    """Every cell of the study's matrix with its chain of stages."""
    _no_twins(study, sources)
    builder, cells = _Builder(study, sources), []
    steps: dict[str, Step] = {}
    excluded: dict[str, int] = {}
    for cell in dict.fromkeys(_combinations(study, sources)):
        rule = _left_out(study, cell, sources)
        if rule and rule.kind == "excluded":
            excluded[rule.why] = excluded.get(rule.why, 0) + 1
            continue
        chain = builder.chain(*cell)
        blocked = f"{rule.kind}: {rule.why}" if rule else next((step.blocked for step in chain if step.blocked), None)
        for step in () if rule else chain:
            why = step.blocked or (blocked and _above(step, chain))
            steps.setdefault(step.stage.id, Step(step.stage, step.model, step.parts, why))
        cells.append(builder.cell(cell, None if blocked else chain[-1].stage.id, blocked, declared=rule is not None))
    return Plan(study, tuple(steps.values()), tuple(cells), excluded)


def _no_twins(study: Study, sources: Sources) -> None:
    """BadInput where two models have the same weights: copies would count as two in a slope."""
    seen: dict[Weights, str] = {}
    for index, (name, model) in enumerate(study.facts.models.items()):
        weights, missing = sources.weights(model)
        twin = None if weights.make or missing else seen.setdefault(weights, name)
        if twin not in (None, name):
            place = study.root.at(("models", index)).place
            raise BadInput([Finding("E219", place, f"models '{twin}' and '{name}' have the same weights", "keep one of them")])


class Combination(NamedTuple):
    """One point of the matrix."""

    model: str
    intermediate: str
    variant: str
    target: str
    replicate: int  # counted from 0


def _combinations(study: Study, sources: Sources) -> Iterator[Combination]:
    matrix, models = study.manifest.matrix, study.facts.models
    replicates = range(matrix.seed.count)
    yield from map(Combination._make, product(models, matrix.intermediate, matrix.variant, matrix.target, replicates))
    for condition, rule in study.facts.includes:
        points = product(
            rule.model or models,
            rule.intermediate or matrix.intermediate,
            rule.variant or matrix.variant,
            rule.target or matrix.target,
            replicates,
        )
        for cell in map(Combination._make, points):
            if condition is None or condition(_values(study, cell), sources.available):
                yield cell


def _values(study: Study, cell: Combination) -> dict[str, object]:
    return {
        **{axis: getattr(cell, axis) for axis in ("model", "intermediate", "variant", "target")},
        "seed": study.manifest.matrix.seed.start + cell.replicate,
        "seed.index": cell.replicate,
        **_sizes(study.facts.models[cell.model]),
    }


def _sizes(model: Model) -> dict[str, Any]:
    return {
        "family": model.family,
        "params_total": model.parameters.total,
        "params_non_embedding": model.parameters.non_embedding,
    }


def _left_out(study: Study, cell: Combination, sources: Sources) -> Exclude | None:
    """The rule of the manifest that leaves a cell out."""
    rules = (rule for condition, rule in study.facts.excludes if condition(_values(study, cell), sources.available))
    return next(rules, None)


def _above(step: Step, chain: tuple[Step, ...]) -> str | None:
    """Why a step cannot run: an ancestor cannot."""
    before = chain[: chain.index(step)]
    return next((f"waits for {other.stage.data.task}: {other.blocked}" for other in before if other.blocked), None)


def _unfinished(stage: Stage, states: dict[str, str]) -> Iterator[Stage]:
    """A stage and, below it, ancestors up to the first finished one."""
    for ancestor in reversed(stage.lineage):
        if states[ancestor.id] == "finished":
            return
        yield ancestor


def _fitting(part: Part, model: Model, *kinds: Any) -> Part:
    """A recipe or scoring with what `kinds` read, and with sequences no longer than a model's table of positions."""
    part, bound = as_read(part, *kinds), model.limits.positions
    return part.model_copy(update={"max_length": bound}) if bound and part.max_length > bound else part


class _Builder:
    """Stages of one study. Equal stages are made once."""

    def __init__(self, study: Study, sources: Sources):
        self.study, self.facts, self.sources = study, study.facts, sources
        self.train, self.root, self.parts = cache(self._train), cache(self._root), cache(self._parts)

    def chain(self, model: str, intermediate: str, variant: str, target: str, replicate: int) -> tuple[Step, ...]:
        """The steps of one cell, the first one first."""
        seed, chain = self.study.manifest.matrix.seed.start + replicate, []
        weights, missing, root = self.root(model)
        if root:
            chain.append(root)
        for name, beside in ((intermediate, variant), (self.facts.tasks[target].trains_on or "none", "plain")):
            if (name, beside) != ("none", "plain"):
                chain.append(self.train(model, name, beside, seed, chain[-1].stage if chain else None))
        chain.append(self._evaluate(model, target, chain[-1].stage if chain else None, weights))
        if missing:
            chain = [Step(step.stage, step.model, step.parts, step.blocked or missing) for step in chain]
        return tuple(chain)

    def cell(self, combination: Combination, stage: str | None, blocked: str | None, *, declared: bool) -> Cell:
        model, intermediate, variant, target, replicate = combination
        task = self.facts.tasks[target]
        same = intermediate != "none" and same_training_data(self.facts.tasks, intermediate, task.trains_on)
        return Cell(
            model=model,
            intermediate=intermediate,
            variant=variant,
            target=target,
            seed=self.study.manifest.matrix.seed.start + replicate,
            stage=stage,
            languages=self._languages(target),
            data=self.parts(target),
            same_task=same,
            retrieval=task.trains_on is None,
            blocked=blocked,
            declared=declared,
            **_sizes(self.facts.models[model]),
        )

    def _root(self, name: str) -> tuple[Weights, str | None, Step | None]:
        model, pretrain = self.facts.models[name], self.study.manifest.pretrain
        weights, missing = self.sources.weights(model)
        if not weights.make:
            return weights, missing, None
        data = self._texts(pretrain.corpus, pretrain.languages)
        stage = Stage(
            kind="pretrain",
            weights=weights,
            data=data,
            seed=model.section.seed,
            recipe=_fitting(merged(Recipe(), self._section(pretrain.corpus).recipe, pretrain.recipe), model, "mlm"),
        )
        return weights, None, Step(stage, name, {}, self._lacking(data))

    def _train(self, model: str, name: str, variant: str, seed: int, parent: Stage | None) -> Step:
        """Training on a task or a mixture, or on none, and in variant `mlm` on text beside it."""
        weights, _, _ = self.root(model)
        data, manifest = self._training(name, variant), self.study.manifest
        recipe = self.facts.recipes[data.task if name == "none" else name]
        if variant == "mlm" and manifest.mlm:
            recipe = merged(recipe, manifest.mlm.recipe)
        stage = Stage(
            kind="train",
            weights=weights,
            data=data,
            recipe=_fitting(recipe, self.facts.models[model], *(part.kind for part in data.parts)),
            seed=seed,
            parent=parent,
        )
        return Step(stage, model, {}, self._lacking(data))

    def _training(self, name: str, variant: str) -> Data:
        manifest = self.study.manifest
        mixture = manifest.mixtures.get(name)
        parts = [self._examples(task) for task in (mixture.of if mixture else () if name == "none" else (name,))]
        mixing = Mixing(**{field: getattr(mixture, field) for field in Mixing.model_fields}) if mixture else Mixing()
        if variant == "mlm":
            parts.append(self._texts(*texts(manifest)))
            if manifest.mlm and manifest.mlm.share:
                mixing = mixing.model_copy(update={"text": manifest.mlm.share})
            name = f"{name} + mlm"
        if len(parts) == 1:
            return parts[0]
        return Data(source=manifest.data.source, kind="mixture", task=name, of=tuple(parts), mixing=mixing)

    def _examples(self, name: str) -> Data:
        language = self.facts.source_language
        digest = self.sources.digest(name, "train", language)
        return self._data(self.facts.tasks[name], digest=digest or ABSENT, limit=self._kept(name, (language,)))

    def _kept(self, name: str, languages: tuple[str, ...]) -> int | None:
        """The limit of a training set; None where it leaves nothing out."""
        limit = self._limit(name).train
        whole = limit and all(self.sources.at_most(limit, name, language) for language in languages)
        return None if whole else limit

    def _texts(self, corpus: str, languages: tuple[str, ...] | None) -> Data:
        languages = languages or self.sources.world.languages
        digest = self.sources.texts(corpus, languages)
        return self._data(
            self.facts.tasks[corpus], digest=digest or ABSENT, languages=languages, limit=self._kept(corpus, languages)
        )

    def _lacking(self, data: Data) -> str | None:
        """Why a stage cannot train: what of its data is not here."""
        absent = [self.facts.tasks[part.task] for part in data.parts if part.digest == ABSENT]
        return "; ".join(self._absent(task, "train") for task in absent) or None

    def _evaluate(self, model: str, target: str, parent: Stage | None, weights: Weights) -> Step:
        task, parts = self.facts.tasks[target], self.parts(target)
        scoring = merged(self.facts.scorings[target], self.facts.models[model].section.scoring)
        stage = Stage(
            kind="evaluate",
            weights=weights,
            scoring=_fitting(scoring, self.facts.models[model], task.kind),
            parent=parent,
            data=self._data(
                task,
                limit=self._limit(target).test,
                metric=task.metric,
                normaliser=None if task.normaliser == "squad" else task.normaliser,
            ),
        )
        unknown = None if task.metric in computed(task.kind, task.labels) else f"{task.metric} is not computed by this version"
        return Step(stage, model, parts, unknown or (None if parts else self._absent(task, "test")))

    def _parts(self, target: str) -> dict[str, str]:
        found = {language: self.sources.digest(target, "test", language) for language in self._languages(target)}
        return {language: digest for language, digest in found.items() if digest}

    def _languages(self, target: str) -> tuple[str, ...]:
        task, wanted = self.facts.tasks[target], self.study.manifest.languages
        if self.study.manifest.data.source == "lab":
            wanted = wanted or self.sources.world.languages
        return tuple(language for language in task.languages if wanted is None or language in wanted)

    def _data(self, task: Task, **more: Any) -> Data:
        return Data(
            source=self.study.manifest.data.source, kind=task.kind, task=task.name, labels=task.labels, fields=task.fields, **more
        )

    def _section(self, name: str) -> TaskSection:
        return self.study.manifest.tasks.get(name, TaskSection())

    def _limit(self, name: str) -> Subset:
        own = self._section(name).limit
        common = self.study.manifest.data.limit
        return Subset(train=own.train or common.train, test=own.test or common.test)

    def _absent(self, task: Task, split: str) -> str:
        if task.licensed:
            return f"licence: bring {task.licensed}"
        if self.study.manifest.data.source == "local" and self.sources.data is None:
            return "no data: give --data DIR"
        if task.kind == "mlm":
            return f"no text of {task.name}"
        return f"no {split} data of {task.name}"


def describe(plan: Plan, store: Store) -> list[dict[str, object]]:
    """Every stage of a plan with its state: run, finished or blocked, and why."""
    return [
        {
            "id": step.stage.id,
            "kind": step.stage.kind,
            "model": step.model,
            "task": step.stage.data.task,
            "after": " > ".join(stage.data.task for stage in step.stage.lineage[:-1] if stage.kind == "train") or None,
            "seed": step.stage.effective_seed,
            "parent": step.stage.parent.id if step.stage.parent else None,
            "state": plan.state(step, store),
            "reason": step.blocked or store.failure(step.stage.id),
        }
        for step in plan.steps
    ]
