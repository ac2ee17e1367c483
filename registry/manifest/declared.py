"""What a manifest declares or changes: its tasks and its models."""

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from xlift.registry import weights
from xlift.registry.findings import Finding, Place, similar
from xlift.registry.known import lab
from xlift.registry.known.architectures import ARCHITECTURES, Architecture
from xlift.registry.known.models import MODELS, Parameters, count
from xlift.registry.known.parameters import Capacity, cut, limits
from xlift.registry.known.tasks import METRICS, MLQA_LANGUAGES, ROLES, TASKS, Task, computed
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import Declared, Mixture, ModelSection, TaskSection
from xlift.registry.stage import Shape
from xlift.registry.weights import WeightsError

Form = TypeVar("Form", bound=Declared)


@dataclass(frozen=True)
class Model:
    """A declared model with its parameters, counted from its configuration."""

    section: ModelSection
    family: str
    parameters: Parameters
    limits: Capacity
    folder: Path | None

    kind: str  # transformers' `model_type`
    layers: int | None = None  # the first so many, where they are not all

    @property
    def id(self) -> str:
        return self.section.id

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.kind]

    @property
    def values(self) -> dict[str, Any]:
        """What a condition may ask of it, and analysis too."""
        return {
            "model": self.id,
            "family": self.family,
            "params_total": self.parameters.total,
            "params_non_embedding": self.parameters.non_embedding,
        }


class Complaints(Generic[Form]):
    """One pass over a parsed manifest."""

    def __init__(self, manifest: Form, root: Node, folder: Path, findings: list[Finding]):
        self.manifest, self.root, self.folder, self.findings = manifest, root, folder, findings

    def complain(
        self,
        code: str,
        path: tuple[str | int, ...],
        message: str,
        hint: str | None = None,
        *,
        column: int = 0,
        about: Iterable[str] = (),
    ) -> None:
        """A finding at a path. It speaks of the text there, of a task or mixture on the way, and of `about`."""
        place, value = self.root.at(path).place, self.root.at(path).value
        if path and not column:
            keys = self.root.at(path[:-1]).keys or {}
            place = keys.get(str(path[-1]), place) if isinstance(self.root.at(path).value, dict) else place
        if column:
            place = Place(place.file, place.line, place.column + column, 1, place.via)
        names = {*about, *([value] if isinstance(value, str) else ())}
        names |= {str(value["id"].value)} if isinstance(value, dict) and "id" in value else set()
        names |= {str(path[1])} if len(path) > 1 and path[0] in ("tasks", "mixtures") else set()
        self.findings.append(Finding(code, place, message, hint, frozenset(names)))


def check_patterns(at: Complaints) -> None:
    """A file pattern names the split and the language, and stays below the data folder."""
    patterns: dict[tuple[str | int, ...], tuple[str, str | None]] = {("data", "files"): (at.manifest.data.files, None)}
    patterns |= {
        ("tasks", name, "files"): (section.files, section.kind) for name, section in at.manifest.tasks.items() if section.files
    }
    for path, (pattern, kind) in patterns.items():
        bare = re.sub(r"\{(task|split|language)\}", "x", pattern)
        needed = ("{language}",) if kind == "mlm" else ("{split}", "{language}")
        if set(bare) & set("{}") or not all(name in pattern for name in needed) or not _below(bare):
            at.complain(
                "E207",
                path,
                f"'{pattern}' is no pattern of files below the data folder",
                "write a relative path with {task}, {split} and {language}, such as {task}/{split}.{language}.jsonl",
            )


def _below(path: str) -> bool:
    return not path.startswith("/") and ".." not in Path(path).parts and "\0" not in path


def declared_tasks(at: Complaints) -> dict[str, Task]:
    """Known tasks with the manifest's changes, and the user's own."""
    tasks = dict(lab.TASKS if at.manifest.data.source == "lab" else TASKS)
    for name, section in at.manifest.tasks.items():
        known = tasks.get(name)
        if at.manifest.data.source == "lab" and (known is None or section.labels or section.fields or section.kind):
            at.complain(
                "E208", ("tasks", name), f"'{name}': the lab makes its own tasks", "write source: local for tasks of your own"
            )
            continue
        if known is None and section.kind is None:
            at.complain(
                "E201",
                ("tasks", name),
                f"unknown task '{name}'",
                f"{similar(name, tasks)}, or give its kind to declare your own",
            )
            continue
        task = _override(at, name, known, section)
        if task:
            tasks[name] = task
    for name, mixture in at.manifest.mixtures.items():
        if name in tasks or name == "none":
            at.complain("E220", ("mixtures", name), f"'{name}' is a task already", "give the mixture a name of its own")
        else:
            tasks[name] = _mixture(at, name, mixture, tasks)
    for name, section in at.manifest.tasks.items():
        named: dict[tuple[str | int, ...], str | None] = {("trains_on",): section.trains_on}
        named |= {("includes", i): other for i, other in enumerate(section.includes or ())}
        for path, other in named.items():
            if other and other not in tasks:
                at.complain("E201", ("tasks", name, *path), f"unknown task '{other}'", similar(other, tasks))
    return tasks


def _mixture(at: Complaints, name: str, section: Mixture, tasks: dict[str, Task]) -> Task:
    for index, other in enumerate(section.of):
        path, task = ("mixtures", name, "of", index), tasks.get(other)
        if task is None:
            at.complain("E201", path, f"unknown task '{other}'", similar(other, tasks))
        elif task.kind == "retrieve":
            at.complain("E302", path, f"{other} is retrieval, which is not trained", "remove it")
        elif task.kind in ("mlm", "mixture"):
            hint = "write variant: [plain, mlm] to go on with the text" if task.kind == "mlm" else "name its tasks"
            at.complain("E302", path, f"{other} is no task that a mixture can hold", hint)
        elif other in section.of[:index]:
            at.complain("E301", path, f"'{other}' stands twice", "keep one")
    return Task(name, "mixture", "", "declared in the manifest", name, includes=section.of)


def _override(at: Complaints, name: str, known: Task | None, section: TaskSection) -> Task | None:
    kind = section.kind or known.kind
    if known and section.kind not in (None, known.kind):
        at.complain(
            "E202", ("tasks", name, "kind"), f"task '{name}' is known as {known.kind}", "give your own task a name of its own"
        )
        return None
    trains = section.trains_on or (known.trains_on if known else None if kind == "retrieve" else name)
    base = known or Task(
        name,
        kind,
        _usual_metric(kind, section.labels or ()),
        "declared in the manifest",
        trains,
        fields={role: role for role in ROLES[kind]},
    )
    changes = {
        key: getattr(section, key)
        for key in ("labels", "metric", "normaliser", "languages", "includes", "source")
        if getattr(section, key) is not None
    }
    task = dataclasses.replace(base, trains_on=trains, fields={**base.fields, **(section.fields or {})}, **changes)
    for role in sorted(set(task.fields) - set(ROLES[kind])):
        at.complain("E203", ("tasks", name, "fields", role), f"kind {kind} has no role '{role}'", similar(role, ROLES[kind]))
    metrics = computed(kind, task.labels)
    if metrics and task.metric not in metrics and (section.metric or section.labels):
        at.complain(
            "E203",
            ("tasks", name, "metric" if section.metric else "labels"),
            f"kind {kind} with these labels has no metric '{task.metric}'",
            similar(task.metric, metrics),
        )
    if section.normaliser and kind != "span":
        at.complain("E203", ("tasks", name, "normaliser"), f"kind {kind} compares no answers", "remove it")
    elif task.normaliser == "mlqa" and (others := sorted(set(task.languages) - set(MLQA_LANGUAGES))):
        at.complain(
            "E203",
            ("tasks", name, "normaliser" if section.normaliser else "languages"),
            f"mlqa does not compare answers in {', '.join(others)}",
            f"write normaliser: squad, or keep to {', '.join(MLQA_LANGUAGES)}",
        )
    if kind in ("pair", "tag") and len(task.labels) < 2:
        at.complain("E204", ("tasks", name), f"task '{name}' needs its labels", "add 'labels: [..., ...]'")
    if len(set(task.labels)) < len(task.labels):
        at.complain("E204", ("tasks", name, "labels"), "a label stands twice", "keep one")
    return task


def _usual_metric(kind: str, labels: tuple[str, ...]) -> str:
    """Entities where labels begin and continue spans, otherwise accuracy; F1 for answers."""
    if kind == "tag":
        return "entity_f1" if any(label.startswith("B-") for label in labels) else "accuracy"
    return next(iter(METRICS[kind]), "")


def declared_models(at: Complaints) -> dict[str, Model]:
    """The declared models by id, each with its parameters."""
    models: dict[str, Model] = {}
    for index, section in enumerate(at.manifest.models):
        if section.id in models:
            at.complain("E210", ("models", index, "id"), f"model '{section.id}' stands twice", "give each an id of its own")
        twin = next((m.id for m in models.values() if _same(m.section, section)), None)
        if twin:
            at.complain(
                "E219",
                ("models", index),
                f"models '{twin}' and '{section.id}' are one",
                "give another seed, shape, folder or number of layers",
            )
        model = _model(at, section, ("models", index))
        other = model and next((m for m in models.values() if m.family == model.family and m.section.form != section.form), None)
        if other:
            at.complain(
                "E228",
                ("models", index),
                f"'{other.id}' and '{section.id}' are an encoder and a text-to-text model of one family, {model.family}",
                "give them different families: they are not sizes of one model",
            )
        if model:
            models[section.id] = model
    if any(section.make for section in at.manifest.models) and at.manifest.pretrain is None:
        at.complain("E211", ("models",), "models are made from scratch, but not how", "add 'pretrain: {recipe: …}'")
    if at.manifest.data.source == "local" and at.manifest.data.world:
        at.complain("E212", ("data", "world"), "a world belongs to the lab", "write 'source: lab', or remove it")
    return models


def _same(one: ModelSection, other: ModelSection) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in ("make", "folder", "hub", "revision", "layers", "form", "seed")
    )


def _model(at: Complaints, section: ModelSection, path: tuple[str | int, ...]) -> Model | None:
    given = [name for name in ("make", "folder", "hub") if getattr(section, name) is not None]
    if given not in (["make"], ["folder"], ["hub"], ["folder", "hub"]):
        at.complain(
            "E213", path, f"model '{section.id}' has {' and '.join(given) or 'no weights'}", "give one of make, folder, hub"
        )
        return None
    known = MODELS.get(section.hub or "")
    if section.hub and not known and not section.folder:
        at.complain("E214", (*path, "hub"), f"unknown model '{section.hub}'", f"{similar(section.hub, MODELS)}, or give a folder")
        return None
    if section.hub and not section.folder and not section.revision:
        at.complain(
            "E215",
            path,
            f"model '{section.id}' is not pinned",
            "add 'revision: <40 digits>', the commit on the hub, or 'revision: pin' to a draft",
        )
    if section.make and section.make.hidden % section.make.heads:
        at.complain(
            "E216",
            (*path, "make", "hidden"),
            f"hidden {section.make.hidden} is not a multiple of {section.make.heads} heads",
            f"write hidden: {-(-section.make.hidden // section.make.heads) * section.make.heads}",
        )
    family = section.family or (known.family if known else "made" if section.make else None)
    if section.form and family and not section.family:
        family += "-text"  # another model than the encoder: never one family, and so never one line in a fit
    if family is None:
        at.complain("E102", path, "key 'family' is missing", "add 'family: …'")
        return None
    folder = (at.folder / section.folder) if section.folder else None
    config = _configuration(at, section, folder, path)
    if config is None:
        return None
    if section.layers and section.make:
        at.complain("E223", (*path, "layers"), "a model made here is not cut", f"write make: {{layers: {section.layers}, …}}")
        return None
    try:
        whole = limits(config)
        if section.layers and section.layers > whole.layers:
            at.complain(
                "E223", (*path, "layers"), f"{section.id} has {whole.layers} layers", f"write layers: {whole.layers}, or less"
            )
            return None
        config = cut(config, section.layers) if section.layers else config
        layers = section.layers if section.layers != whole.layers else None
        parameters, bounds = count(config, encoder_only=section.form is None, tied=True), limits(config)
    except (ValueError, TypeError, AttributeError) as error:  # a configuration may be anything
        at.complain("E217", (*path, "folder"), f"config.json of '{section.id}': {error}", "give a folder that transformers saved")
        return None
    if section.form and config["model_type"] != "mt5":
        at.complain("E228", (*path, "form"), f"{config['model_type']} is no encoder-decoder", "remove it, or take an mT5")
        return None
    if section.form and layers:
        at.complain("E228", (*path, "layers"), "an encoder-decoder is not cut", "remove layers, or form for its encoder alone")
        return None
    if folder and not _whole(at, section, folder, path):
        return None
    return Model(section, family, parameters, bounds, folder, config["model_type"], layers)


def _whole(at: Complaints, section: ModelSection, folder: Path, path: tuple[str | int, ...]) -> bool:
    """Whether a folder's weights can be used, as far as their headers tell; so too where there are none yet."""
    try:
        weights.tensors(folder)
    except WeightsError as error:
        at.complain("E224", (*path, "folder"), f"weights of '{section.id}': {error.message}", error.hint)
        return False
    return True


def _configuration(at: Complaints, section: ModelSection, folder: Path | None, path: tuple[str | int, ...]) -> Any:
    """The model's configuration: that of its shape, its folder, or of the hub's model that the folder is a copy of."""
    if section.make:
        return configuration(section.make)
    if folder and (folder / "config.json").exists():
        try:
            return json.loads((folder / "config.json").read_bytes()) or {}
        except (ValueError, RecursionError, OSError) as error:
            at.complain(
                "E217", (*path, "folder"), f"config.json of '{section.id}': {error}", "give a folder that transformers saved"
            )
            return None
    if section.hub in MODELS:
        return MODELS[section.hub].config
    at.complain(
        "E218",
        (*path, "folder"),
        f"no {section.folder}/config.json",
        "put the model there, or name its hub id beside the folder",
    )
    return None


def configuration(make: Shape) -> dict[str, Any]:
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
