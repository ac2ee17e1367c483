"""What a manifest's names stand for: tasks, models and conditions, with a finding for each that stands for nothing."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import conditions, lab
from registry.conditions import BadCondition, Condition
from registry.document import Node
from registry.findings import Finding, Place, similar
from registry.languages import LANGUAGES
from registry.models import MODELS, Parameters, count
from registry.score import Analysis
from registry.stage import Make, Recipe, Scoring
from registry.study import Exclude, Include, Manifest, ModelSection, TaskSection, merged
from registry.tasks import ROLES, TASKS, Task

METRICS = {
    "pair": ("accuracy",),
    "choice": ("accuracy",),
    "retrieve": ("accuracy",),
    "mlm": (),
    "tag": ("entity_f1", "f1_xtreme", "accuracy"),
    "span": ("f1", "exact_match"),
}
AXES = ("model", "family", "intermediate", "variant", "target")


@dataclass(frozen=True)
class Model:
    """A declared model with its parameters, counted from its configuration."""

    section: ModelSection
    family: str
    parameters: Parameters
    folder: Path | None

    @property
    def id(self) -> str:
        return self.section.id


@dataclass(frozen=True)
class Resolved:
    """What the names of a manifest stand for."""

    models: dict[str, Model]
    tasks: dict[str, Task]
    recipes: dict[str, Recipe]
    scorings: dict[str, Scoring]
    source_language: str
    excludes: tuple[tuple[Condition, Exclude], ...]
    includes: tuple[tuple[Condition | None, Include], ...]


def resolve(manifest: Manifest, root: Node, folder: Path, findings: list[Finding]) -> Resolved:
    """The facts behind a manifest's names; what is wrong with them is added to `findings`."""
    check = _Check(manifest, root, folder, findings)
    tasks, models = check.tasks(), check.models()
    check.matrix(tasks)
    check.analysis(models)
    known = {
        "model": models,
        "family": {model.family for model in models.values()},
        "intermediate": manifest.matrix.intermediate,
        "variant": manifest.matrix.variant,
        "target": manifest.matrix.target,
    }
    axes = {name: frozenset(values) for name, values in known.items()}
    excludes = tuple(
        (condition, rule)
        for index, rule in enumerate(manifest.matrix.exclude)
        if (condition := check.condition(rule.when, ("matrix", "exclude", index, "when"), axes))
    )
    includes = tuple(
        (check.condition(rule.when, ("matrix", "include", index, "when"), axes) if rule.when else None, rule)
        for index, rule in enumerate(manifest.matrix.include)
    )
    for index, rule in enumerate(manifest.matrix.include):
        check.include(rule, ("matrix", "include", index), tasks, models)
    return Resolved(
        models,
        tasks,
        {name: merged(manifest.recipe, _section(manifest, name).recipe) for name in tasks},
        {name: merged(manifest.scoring, _section(manifest, name).scoring) for name in tasks},
        lab.PIVOT if manifest.data.source == "lab" else "en",
        excludes,
        includes,
    )


def configuration(make: Make) -> dict[str, Any]:
    """The transformers configuration of an encoder made from scratch (XLM-R's architecture)."""
    return {
        "model_type": "xlm-roberta",
        "num_hidden_layers": make.layers,
        "hidden_size": make.hidden,
        "num_attention_heads": make.heads,
        "intermediate_size": make.inner or 4 * make.hidden,
        "vocab_size": make.vocabulary,
        "max_position_embeddings": make.positions + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def _section(manifest: Manifest, task: str) -> TaskSection:
    return manifest.tasks.get(task, TaskSection())


class _Check:
    """One pass over a parsed manifest."""

    def __init__(self, manifest: Manifest, root: Node, folder: Path, findings: list[Finding]):
        self.manifest, self.root, self.folder, self.findings = manifest, root, folder, findings
        self.known = lab.TASKS if manifest.data.source == "lab" else TASKS

    def complain(self, code: str, path: tuple[str | int, ...], message: str, hint: str | None = None, column: int = 0) -> None:
        place = self.root.at(path).place
        if path and not column:
            keys = self.root.at(path[:-1]).keys or {}
            place = keys.get(str(path[-1]), place) if isinstance(self.root.at(path).value, dict) else place
        if column:
            place = Place(place.file, place.line, place.column + column, 1, place.via)
        self.findings.append(Finding(code, place, message, hint))

    # --- tasks ---------------------------------------------------------------------------------------------------

    def tasks(self) -> dict[str, Task]:
        """Known tasks with the manifest's changes, and the user's own."""
        tasks = dict(self.known)
        for name, section in self.manifest.tasks.items():
            known = tasks.get(name)
            if known is None and section.kind is None:
                self.complain(
                    "E201",
                    ("tasks", name),
                    f"unknown task '{name}'",
                    f"{similar(name, tasks)}, or give its kind to declare your own",
                )
                continue
            task = self._override(name, known, section)
            if task:
                tasks[name] = task
        for name, section in self.manifest.tasks.items():
            if section.trains_on and section.trains_on not in tasks:
                self.complain(
                    "E201", ("tasks", name, "trains_on"), f"unknown task '{section.trains_on}'", similar(section.trains_on, tasks)
                )
        return tasks

    def _override(self, name: str, known: Task | None, section: TaskSection) -> Task | None:
        kind = section.kind or known.kind
        if known and section.kind not in (None, known.kind):
            self.complain(
                "E202", ("tasks", name, "kind"), f"task '{name}' is known as {known.kind}", "give your own task a name of its own"
            )
            return None
        trains = section.trains_on or (known.trains_on if known else None if kind == "retrieve" else name)
        base = known or Task(
            name,
            kind,
            (METRICS[kind] or ("",))[0],
            "declared in the manifest",
            trains,
            fields={role: role for role in ROLES[kind]},
        )
        changes = {
            key: getattr(section, key)
            for key in ("labels", "metric", "languages", "includes", "source")
            if getattr(section, key) is not None
        }
        task = dataclasses.replace(base, trains_on=trains, fields={**base.fields, **(section.fields or {})}, **changes)
        for role in sorted(set(task.fields) - set(ROLES[kind])):
            self.complain(
                "E203", ("tasks", name, "fields", role), f"kind {kind} has no role '{role}'", similar(role, ROLES[kind])
            )
        if METRICS[kind] and task.metric not in METRICS[kind]:
            self.complain(
                "E203",
                ("tasks", name, "metric"),
                f"kind {kind} has no metric '{task.metric}'",
                similar(task.metric, METRICS[kind]),
            )
        if kind in ("pair", "tag") and len(task.labels) < 2:
            self.complain("E204", ("tasks", name), f"task '{name}' needs its labels", "add 'labels: [..., ...]'")
        if len(set(task.labels)) < len(task.labels):
            self.complain("E204", ("tasks", name, "labels"), "a label stands twice", "keep one")
        return task

    # --- models --------------------------------------------------------------------------------------------------

    def models(self) -> dict[str, Model]:
        """The declared models by id, each with its parameters."""
        models: dict[str, Model] = {}
        for index, section in enumerate(self.manifest.models):
            if section.id in models:
                self.complain("E210", ("models", index, "id"), f"model '{section.id}' stands twice", "give each an id of its own")
            model = self._model(section, ("models", index))
            if model:
                models[section.id] = model
        if any(section.make for section in self.manifest.models) and self.manifest.pretrain is None:
            self.complain("E211", ("models",), "models are made from scratch, but not how", "add 'pretrain: {recipe: …}'")
        if self.manifest.data.source == "local" and self.manifest.data.world:
            self.complain("E212", ("data", "world"), "a world belongs to the lab", "write 'source: lab', or remove it")
        return models

    def _model(self, section: ModelSection, path: tuple[str | int, ...]) -> Model | None:
        given = [name for name in ("make", "folder", "hub") if getattr(section, name) is not None]
        if given not in (["make"], ["folder"], ["hub"], ["folder", "hub"]):
            self.complain(
                "E213", path, f"model '{section.id}' has {' and '.join(given) or 'no weights'}", "give one of make, folder, hub"
            )
            return None
        known = MODELS.get(section.hub or "")
        if section.hub and not known and not section.folder:
            self.complain(
                "E214", (*path, "hub"), f"unknown model '{section.hub}'", f"{similar(section.hub, MODELS)}, or give a folder"
            )
            return None
        if section.hub and not section.folder and not section.revision:
            self.complain(
                "E215", path, f"model '{section.id}' is not pinned", "add 'revision: <40 digits>', the commit on the hub"
            )
        if section.make and section.make.hidden % section.make.heads:
            self.complain(
                "E216",
                (*path, "make", "hidden"),
                f"hidden {section.make.hidden} is not a multiple of {section.make.heads} heads",
                f"write hidden: {-(-section.make.hidden // section.make.heads) * section.make.heads}",
            )
        family = section.family or (known.family if known else "made" if section.make else None)
        if family is None:
            self.complain("E102", path, "key 'family' is missing", "add 'family: …'")
            return None
        folder = (self.folder / section.folder) if section.folder else None
        parameters = self._parameters(section, folder, path)
        return Model(section, family, parameters, folder) if parameters else None

    def _parameters(self, section: ModelSection, folder: Path | None, path: tuple[str | int, ...]) -> Parameters | None:
        try:
            if section.make:
                return count(configuration(section.make))
            if folder and (folder / "config.json").exists():
                return count(json.loads((folder / "config.json").read_bytes()))
            if section.hub in MODELS:
                return MODELS[section.hub].parameters()
        except (ValueError, OSError) as error:
            self.complain(
                "E217", (*path, "folder"), f"config.json of '{section.id}': {error}", "give a folder that transformers saved"
            )
            return None
        self.complain(
            "E218",
            (*path, "folder"),
            f"no {section.folder}/config.json",
            "put the model there, or name its hub id beside the folder",
        )
        return None

    # --- design --------------------------------------------------------------------------------------------------

    def matrix(self, tasks: Mapping[str, Task]) -> None:
        """Names on the axes, and languages."""
        matrix = self.manifest.matrix
        for axis in ("intermediate", "variant", "target"):
            values = getattr(matrix, axis)
            for index, name in enumerate(values):
                path = ("matrix", axis, index)
                if name in values[:index]:
                    self.complain("E301", path, f"'{name}' stands twice in {axis}", "keep one")
                if axis != "variant":
                    self._axis_task(axis, name, path, tasks)
        world = (self.manifest.data.world or lab.World()).languages
        known = set(world) if self.manifest.data.source == "lab" else set(LANGUAGES)
        self._languages(self.manifest.languages or (), ("languages",), known)
        for name, section in self.manifest.tasks.items():
            self._languages(section.languages or (), ("tasks", name, "languages"), known)
        if self.manifest.data.source == "lab" and self.manifest.pretrain:
            self._languages(self.manifest.pretrain.languages or (), ("pretrain", "languages"), known)
        self._pretrain(tasks)

    def _pretrain(self, tasks: Mapping[str, Task]) -> None:
        if not self.manifest.pretrain:
            return
        corpus = tasks.get(self.manifest.pretrain.corpus)
        if corpus is None or corpus.kind != "mlm":
            texts = [task.name for task in tasks.values() if task.kind == "mlm"]
            self.complain(
                "E201",
                ("pretrain", "corpus"),
                f"no corpus '{self.manifest.pretrain.corpus}'",
                similar(self.manifest.pretrain.corpus, texts),
            )
        elif self.manifest.data.source == "local" and not self.manifest.pretrain.languages:
            self.complain("E102", ("pretrain",), "key 'languages' is missing", "name the languages of the corpus")

    def _axis_task(self, axis: str, name: str, path: tuple[str | int, ...], tasks: Mapping[str, Task]) -> None:
        if axis == "intermediate" and name == "none":
            return
        task = tasks.get(name)
        if task is None:
            choices = [*tasks, "none"] if axis == "intermediate" else [*tasks]
            self.complain("E201", path, f"unknown task '{name}'", similar(name, choices))
        elif axis == "intermediate" and task.kind == "retrieve":
            self.complain("E302", path, f"{name} is retrieval, which is not trained", "use it as a target")
        elif axis == "target" and (task.kind == "mlm" or not task.languages):
            self.complain("E302", path, f"{name} has no tests", "use it as an intermediate task, or give its languages")
        elif axis == "target" and task.trains_on and task.trains_on not in tasks:
            self.complain("E201", path, f"{name} trains on unknown task '{task.trains_on}'", similar(task.trains_on, tasks))

    def _languages(self, names: Iterable[str], path: tuple[str | int, ...], known: set[str]) -> None:
        for index, name in enumerate(names):
            if name not in known:
                self.complain("E205", (*path, index), f"unknown language '{name}'", similar(name, known))

    def include(self, rule: Include, path: tuple[str | int, ...], tasks: Mapping[str, Task], models: Mapping[str, Model]) -> None:
        for axis in ("intermediate", "target"):
            for index, name in enumerate(getattr(rule, axis) or ()):
                self._axis_task(axis, name, (*path, axis, index), tasks)
        for index, name in enumerate(rule.model or ()):
            if name not in models:
                self.complain("E206", (*path, "model", index), f"unknown model '{name}'", similar(name, models))

    def condition(self, text: str, path: tuple[str | int, ...], axes: Mapping[str, frozenset[str]]) -> Condition | None:
        try:
            return conditions.parse(text, axes)
        except BadCondition as error:
            quoted = bool(self.root.at(path).place.width > len(text))
            self.complain("E303", path, str(error), error.hint, column=error.column + quoted)
            return None

    # --- analysis ------------------------------------------------------------------------------------------------

    def analysis(self, models: Mapping[str, Model]) -> None:
        analysis: Analysis = self.manifest.analysis
        names = {**dict.fromkeys(("intermediate", "variant"))}
        for axis, value in analysis.gain.baseline.items():
            if axis not in names:
                self.complain(
                    "E401", ("analysis", "gain", "baseline", axis), f"'{axis}' is no axis of a baseline", similar(axis, names)
                )
            elif value not in getattr(self.manifest.matrix, axis):
                self.complain(
                    "E402",
                    ("analysis", "gain", "baseline", axis),
                    f"no run has {axis} '{value}'",
                    similar(value, getattr(self.manifest.matrix, axis)),
                )
        for index, axis in enumerate(analysis.gain.match):
            if axis not in ("model", "target", "language", "seed"):
                self.complain(
                    "E401",
                    ("analysis", "gain", "match", index),
                    f"gains do not match on '{axis}'",
                    similar(axis, ("model", "target", "language", "seed")),
                )
        for index, target in enumerate(analysis.apart or ()):
            if target not in self.manifest.matrix.target:
                self.complain(
                    "E402",
                    ("analysis", "apart", index),
                    f"'{target}' is no target of this study",
                    similar(target, self.manifest.matrix.target),
                )
        sizes = {getattr(model.parameters, analysis.x.removeprefix("params_")) for model in models.values()}
        if 1 < len(sizes) < analysis.min_models:
            self.complain(
                "W403",
                ("models",),
                f"a slope needs {analysis.min_models} models, {len(models)} are declared",
                "add models; more seeds do not help",
            )
