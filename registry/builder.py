"""The stages that answer a point of the matrix or make a trial of a search, from a manifest and what lies on this machine."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from xlift.registry.card import Cell, Scalar, SearchCard
from xlift.registry.findings import relative
from xlift.registry.inputs import ABSENT, Inputs
from xlift.registry.kinds import CORPORA, KINDS
from xlift.registry.known.pretraining import pretraining
from xlift.registry.known.tasks import Task, same_training_data
from xlift.registry.manifest.models import Model
from xlift.registry.manifest.sections import Subset, TaskSection, merged, texts
from xlift.registry.matrix import Combination, combinations, left_out
from xlift.registry.pairing import untreated
from xlift.registry.spec import digest
from xlift.registry.stage import Data, Mixing, Part, Recipe, Scoring, Split, Stage, Weights, as_read
from xlift.registry.study import Study
from xlift.registry.tuning import Search, Treated, Values, as_recipe, basis, search_of


@dataclass(frozen=True)
class Step:
    """A stage in a plan: the model's name in this study, the test data of an evaluation, and why it cannot run."""

    stage: Stage
    model: str
    tests: dict[str, str]  # language -> digest of its test data
    blocked: str | None = None

    @property
    def mark(self) -> str:
        """Which test data an evaluation reads; nothing for a training."""
        return digest(self.tests)[:16] if self.tests else ""


class Builder:
    """Stages of one study. Equal stages are made once."""

    def __init__(self, study: Study, inputs: Inputs):
        self.study, self.facts, self.inputs = study, study.facts, inputs
        self.train, self.root, self.parts = cache(self._train), cache(self._root), cache(self._parts)
        self.found, self.dev, self.training = cache(self._found), cache(self._dev), cache(self._training)

    @cached_property
    def searches(self) -> dict[Search, tuple[Treated, ...]]:
        """What is tuned, and the trainings that share it: intermediate ones before those of targets, smaller models first."""
        study, found = self.study, dict[Search, dict[Treated, None]]()
        tuning, models = study.manifest.tuning, study.facts.models
        for cell in combinations(study, self.inputs) if tuning else ():
            trained = study.facts.tasks[cell.target].trains_on
            for target in () if left_out(study, cell, self.inputs) else (None, *([trained] if trained else [])):
                search = search_of(tuning, cell.model, cell.intermediate, cell.variant, target)
                if search:
                    found.setdefault(search, {})[cell.intermediate, cell.variant] = None
        ordered = sorted(found, key=lambda search: (search.target is not None, models[search.model].parameters.non_embedding))
        return {search: tuple(found[search]) for search in ordered}

    def folder(self, search: Search) -> str:
        """Where the trials of a search are, below the store's `tuning`: one folder for what can be compared with each other."""
        return f"{self.study.id}/{search.name.replace('/', ',')},{self.basis(search, budget=False)[:8]}"

    def own(self, search: Search) -> dict[str, Scalar]:
        """What the study's own recipe has for the fields that are searched; of the first training, where several share them."""
        recipe = self.trials(search)[0][0].stage.recipe
        return {name: getattr(recipe, name) for name in self.study.manifest.tuning.space if getattr(recipe, name) is not None}

    def search_card(self, search: Search) -> SearchCard:
        """What analysis needs to know of a search."""
        tuning, lock = self.study.manifest.tuning, self.study.lock
        winner = lock.by_search.get(search) if lock else None
        judges = [judge for _, judges in self.trials(search) for judge in judges]
        return SearchCard(
            **search._asdict(),
            tasks=tuple(dict.fromkeys(judge.stage.data.task for judge in judges)),
            trials=tuning.trials,
            hours=tuning.hours,
            folder=self.folder(search),
            own=self.own(search),
            found=winner.recipe if winner else None,
            score=winner.score if winner else None,
        )

    def basis(self, search: Search, *, budget: bool = True) -> str:
        """What a search is made under: the manifest's section, its budget or not, the stages of the study's own recipe, and
        the data that judge them."""
        steps = [step for training, judges in self.trials(search) for step in (training, *judges)]
        return basis(self.study.manifest.tuning, [(step.stage.id, step.tests) for step in steps], budget=budget)

    def chain(self, model: str, intermediate: str, variant: str, target: str, replicate: int, *, tuned: bool) -> tuple[Step, ...]:
        """The steps of one cell, the first one first; `tuned`: with the values that searches found."""
        seed, chain = self.study.manifest.matrix.seed.start + replicate, []
        weights, missing, root = self.root(model)
        if root:
            chain.append(root)
        trained = self.facts.tasks[target].trains_on
        for name, beside, task in ((intermediate, variant, None), (trained or "none", "plain", trained)):
            if not untreated(name, beside):
                values, waits = self.found(model, intermediate, variant, task) if tuned else ((), None)
                step = self.train(model, name, beside, seed, chain[-1].stage if chain else None, values)
                chain.append(replace(step, blocked=step.blocked or waits))
        chain.append(self._evaluate(model, target, chain[-1].stage if chain else None, weights))
        if missing:
            chain = [Step(step.stage, step.model, step.tests, step.blocked or missing) for step in chain]
        return tuple(chain)

    def cell(self, combination: Combination, stage: str | None, blocked: str | None, *, declared: bool) -> Cell:
        model, intermediate, variant, target, replicate = combination
        task = self.facts.tasks[target]
        same = intermediate != "none" and (
            same_training_data(self.facts.tasks, intermediate, task.trains_on) or self._same_files(intermediate, task.trains_on)
        )
        return Cell(
            intermediate=intermediate,
            variant=variant,
            target=target,
            seed=self.study.manifest.matrix.seed.start + replicate,
            stage=stage,
            languages=self._languages(target),
            data=self.parts(target),
            seen=self._seen(model, target),
            same_task=same,
            retrieval=task.trains_on is None,
            written=self.facts.models[model].section.form is not None,
            blocked=blocked,
            declared=declared,
            **self.facts.models[model].values,
        )

    def _same_files(self, intermediate: str, trained: str | None) -> bool:
        """Whether an intermediate task's training data are those of a target, under another name."""
        mark = self.inputs.digest(trained, "train", self.facts.source_language) if trained else None
        return mark is not None and any(part.digest == mark for part in self.training(intermediate, "plain", False).parts)

    def _seen(self, name: str, target: str) -> tuple[str, ...] | None:
        """The languages of a target that a model's pretraining saw, where that is known."""
        known = seen(self.study, name)
        return known and tuple(language for language in self._languages(target) if language in known[0])

    def _root(self, name: str) -> tuple[Weights, str | None, Step | None]:
        model, pretrain = self.facts.models[name], self.study.manifest.pretrain
        weights, missing = self.inputs.weights(model)
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

    def _found(self, model: str, intermediate: str, variant: str, target: str | None) -> tuple[Values, str | None]:
        """What tuning found for a training, and why there is nothing yet; no values where it is not tuned."""
        tuning, lock = self.study.manifest.tuning, self.study.lock
        search = search_of(tuning, model, intermediate, variant, target) if tuning else None
        if search is None:
            return (), None
        winner = lock.by_search.get(search) if lock else None
        if winner is None:
            return (), f"not tuned yet: xlift tune {relative(self.study.path)}"
        if winner.basis != self.basis(search):
            return (), f"tuned with another search or on other data: xlift tune {relative(self.study.path)}"
        return winner.values, None

    @property
    def tried(self) -> Iterator[Step]:
        """Trainings of every search as the study's own recipe would be tried, and what judges them."""
        for search in self.searches:
            for training, judges in self.trials(search):
                yield from (training, *judges)

    def trials(self, search: Search, values: Values = ()) -> list[tuple[Step, tuple[Step, ...]]]:
        """The trainings that share a search, each with its evaluations; without values by the study's own recipe."""
        return [self.trial(search, treated, values) for treated in self.searches[search]]

    def trial(self, search: Search, treated: tuple[str, str], values: Values) -> tuple[Step, tuple[Step, ...]]:
        """A training with `values` in its recipe, after what comes before it, and its evaluations on development data."""
        seed = self.study.manifest.tuning.seed
        _, missing, root = self.root(search.model)
        before, waits = root, missing
        if search.target and not untreated(*treated):
            own, waits = self.found(search.model, *treated, None)
            before = self.train(search.model, *treated, seed, root.stage if root else None, own)
        name, beside = (search.target, "plain") if search.target else treated
        make = self._train if values else self.train  # trials are many, and each is made once
        step = make(search.model, name, beside, seed, before.stage if before else None, values, cut=True)
        step = replace(step, blocked=step.blocked or waits or (before and before.blocked) or missing)
        parts = [part for part in step.stage.data.parts if part.kind not in CORPORA]
        return step, tuple(self._judge(search.model, part, step) for part in parts)

    def _judge(self, model: str, part: Data, training: Step) -> Step:
        """The evaluation of a training on one task's development data in the source language."""
        task = self.facts.tasks[part.task]
        split, digest = self.dev(task.name)
        data = self._data(
            task,
            split=split,
            limit=self._limit(task.name).train if split == "held-out" else self._limit(task.name).test,
            metric=task.metric,
            normaliser=None if task.normaliser == "squad" else task.normaliser,
        )
        scoring = _fitting(
            merged(self.facts.scorings[task.name], self.facts.models[model].section.scoring), self.facts.models[model], task.kind
        )
        stage = Stage(kind="evaluate", weights=training.stage.weights, scoring=scoring, parent=training.stage, data=data)
        blocked = training.blocked or (None if digest else f"no development data of {task.name}")
        return Step(stage, model, {self.facts.source_language: digest or ABSENT}, blocked)

    def _dev(self, name: str) -> tuple[Split, str | None]:
        """Where the development data of a task are, and their digest: a file of them, or a tenth of its training data."""
        wanted, language = self.study.manifest.tuning.objective.split, self.facts.source_language
        digest = None if wanted == "held-out" else self.inputs.digest(name, "dev", language)
        if digest or wanted == "dev":
            return "dev", digest
        return "held-out", self.inputs.digest(name, "train", language)

    def _train(
        self, model: str, name: str, variant: str, seed: int, parent: Stage | None, values: Values = (), cut: bool = False
    ) -> Step:
        """Training on a task or a mixture, or on none, and in variant `mlm` on text beside it.

        `values` stand before those of the recipe; `cut`: without what is held out as development data.
        """
        weights, _, _ = self.root(model)
        data, manifest = self.training(name, variant, cut), self.study.manifest
        recipe = self.facts.recipes[data.task if name == "none" else name]
        if variant == "mlm" and manifest.mlm:
            recipe = merged(recipe, manifest.mlm.recipe)
        recipe = merged(recipe, as_recipe(values))
        stage = Stage(
            kind="train",
            weights=weights,
            data=data,
            recipe=_fitting(recipe, self.facts.models[model], *(part.kind for part in data.parts)),
            seed=seed,
            parent=parent,
        )
        return Step(stage, model, {}, self._lacking(data))

    def _training(self, name: str, variant: str, cut: bool) -> Data:
        manifest = self.study.manifest
        mixture = manifest.mixtures.get(name)
        parts = [self._examples(task, cut) for task in (mixture.of if mixture else () if name == "none" else (name,))]
        mixing = Mixing(**{field: getattr(mixture, field) for field in Mixing.model_fields}) if mixture else Mixing()
        if variant == "mlm":
            parts.append(self._texts(*texts(manifest)))
            if manifest.mlm and manifest.mlm.share:
                mixing = mixing.model_copy(update={"text": manifest.mlm.share})
            name = f"{name} + mlm"
        if len(parts) == 1:
            return parts[0]
        return Data(source=manifest.data.source, kind="mixture", task=name, of=tuple(parts), mixing=mixing)

    def _examples(self, name: str, cut: bool) -> Data:
        language = self.facts.source_language
        split: Split | None = "kept" if cut and self.dev(name)[0] == "held-out" else None
        digest = self.inputs.digest(name, "train", language)
        return self._data(self.facts.tasks[name], digest=digest or ABSENT, limit=self._kept(name, (language,)), split=split)

    def _kept(self, name: str, languages: tuple[str, ...]) -> int | None:
        """The limit of a training set; None where it leaves nothing out."""
        limit = self._limit(name).train
        whole = limit and all(self.inputs.source.at_most(limit, name, language) for language in languages)
        return None if whole else limit

    def _texts(self, corpus: str, languages: tuple[str, ...] | None) -> Data:
        languages = languages or self.study.manifest.data.texts or ()
        digest = self.inputs.texts(corpus, languages)
        return self._data(
            self.facts.tasks[corpus], digest=digest or ABSENT, languages=languages, limit=self._kept(corpus, languages)
        )

    def _lacking(self, data: Data) -> str | None:
        """Why a stage cannot train: what of its data is not here."""
        absent = [self.facts.tasks[part.task] for part in data.parts if part.digest == ABSENT]
        return "; ".join(dict.fromkeys(self._absent(task, "train") for task in absent)) or None

    def _evaluate(self, model: str, target: str, parent: Stage | None, weights: Weights) -> Step:
        task, parts = self.facts.tasks[target], self.parts(target)
        scoring = merged(self.facts.scorings[target], self.facts.models[model].section.scoring)
        dev = self._threshold_data(task, _fitting(scoring, self.facts.models[model], task.kind))
        stage = Stage(
            kind="evaluate",
            weights=weights,
            scoring=_fitting(scoring, self.facts.models[model], task.kind),
            parent=parent,
            data=self._data(
                task,
                limit=self._limit(target).test if KINDS[task.kind].divisible else None,
                metric=task.metric,
                normaliser=None if task.normaliser == "squad" else task.normaliser,
                dev=dev,
            ),
        )
        lacks = [self._absent(task, "test")] * (not parts) + [self._absent(task, "dev")] * (
            dev is not None and dev.digest == ABSENT
        )
        return Step(stage, model, parts, "; ".join(lacks) or None)

    def _threshold_data(self, task: Task, scoring: Scoring) -> Data | None:
        """The development data, of what a target trains on, on which its null threshold is set."""
        if scoring.null_threshold != "dev" or task.trains_on is None:
            return None
        trained, language = self.facts.tasks[task.trains_on], self.facts.source_language
        return self._data(trained, split="dev", digest=self.inputs.digest(trained.name, "dev", language) or ABSENT)

    def _parts(self, target: str) -> dict[str, str]:
        found = {language: self.inputs.digest(target, "test", language) for language in self._languages(target)}
        return {language: digest for language, digest in found.items() if digest}

    def _languages(self, target: str) -> tuple[str, ...]:
        task, wanted = self.facts.tasks[target], self.study.manifest.languages
        wanted = self.study.manifest.data.languages if wanted is None else wanted
        return tuple(language for language in task.languages if language in wanted)

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
        return self.inputs.source.why_absent(task, split)


def _fitting(part: Part, model: Model, *kinds: Any) -> Part:
    """A recipe or scoring with what `kinds` read, and with sequences no longer than a model's table of positions."""
    part, bound = as_read(part, *kinds), model.limits.positions
    return part.model_copy(update={"max_length": bound}) if bound and part.max_length > bound else part


def seen(study: Study, name: str) -> tuple[Container[str], str] | None:
    """The languages that a model's pretraining saw, and where that is told; None where it is not known."""
    section, pretrain = study.facts.models[name].section, study.manifest.pretrain
    if section.make and pretrain:
        return pretrain.languages or study.manifest.data.texts or (), "made here"
    if section.languages is not None:
        return section.languages, "the manifest"
    known = pretraining(section.hub)
    return (known.languages, known.told) if known else None
