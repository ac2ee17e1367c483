"""What a manifest's names stand for: tasks, models and conditions, with a finding for each that stands for nothing."""

from collections.abc import Collection, Iterable, Mapping
from itertools import product
from pathlib import Path

from xlift.registry import weights
from xlift.registry.card import MEAN, POOLED, Analysis
from xlift.registry.findings import Finding, similar
from xlift.registry.kinds import CORPORA, READ_BY, RETRIEVAL
from xlift.registry.known.languages import base_language
from xlift.registry.known.tasks import Task
from xlift.registry.manifest import conditions
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.conditions import BadCondition, Condition
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.models import Model, declared_models
from xlift.registry.manifest.sections import Include, Manifest, TaskSection, merged, texts
from xlift.registry.manifest.tasks import check_patterns, declared_tasks
from xlift.registry.manifest.tuned import check_tuning
from xlift.registry.stage import Recipe, Scoring
from xlift.registry.study import Resolved


def resolve(manifest: Manifest, root: Node, folder: Path, findings: list[Finding]) -> Resolved:
    """The facts behind a manifest's names; what is wrong with them is added to `findings`."""
    at = Complaints(manifest, root, folder, findings)
    tasks, models = declared_tasks(at), declared_models(at)
    check_patterns(at)
    _matrix(at, tasks)
    _unread(at, tasks)
    _limits(at, models)
    matrix = manifest.matrix
    check_analysis(
        at,
        {axis: getattr(matrix, axis) for axis in ("intermediate", "variant", "target")},
        set(manifest.data.languages),
        matrix.seed.count,
        {name: getattr(model.parameters, manifest.analysis.x.removeprefix("params_")) for name, model in models.items()},
    )
    check_tuning(at, tasks, manifest.data.pivot)
    axes = axes_of(manifest, models)
    excludes = tuple(
        (condition, rule)
        for index, rule in enumerate(manifest.matrix.exclude)
        if (condition := _condition(at, rule.when, ("matrix", "exclude", index, "when"), axes))
    )
    includes = tuple(
        (_condition(at, rule.when, ("matrix", "include", index, "when"), axes) if rule.when else None, rule)
        for index, rule in enumerate(manifest.matrix.include)
    )
    for index, rule in enumerate(manifest.matrix.include):
        _include(at, rule, ("matrix", "include", index), tasks, models)
    _unmasked(at, tasks, models, axes, tuple(condition for condition, _ in excludes))
    return Resolved(
        models,
        tasks,
        {name: merged(manifest.recipe, *_own_recipe(manifest, name)) for name in tasks},
        {name: merged(manifest.scoring, _section(manifest, name).scoring) for name in tasks},
        manifest.data.pivot,
        excludes,
        includes,
    )


def _own_recipe(manifest: Manifest, name: str) -> tuple[Recipe, ...]:
    return tuple(section[name].recipe for section in (manifest.tasks, manifest.mixtures) if name in section)


def _section(manifest: Manifest, task: str) -> TaskSection:
    return manifest.tasks.get(task, TaskSection())


def _matrix(at: Complaints, tasks: Mapping[str, Task]) -> None:
    """Names on the axes, and languages."""
    matrix = at.manifest.matrix
    for axis in ("intermediate", "variant", "target"):
        values = getattr(matrix, axis)
        for index, name in enumerate(values):
            path = ("matrix", axis, index)
            if name in values[:index]:
                at.complain("E301", path, f"'{name}' stands twice in {axis}", "keep one")
            if axis != "variant":
                _axis_task(at, axis, name, path, tasks)
    known, of_texts = set(at.manifest.data.languages), at.manifest.data.texts
    _languages(at, at.manifest.languages or (), ("languages",), known)
    for index, model in enumerate(at.manifest.models):
        _languages(at, model.languages or (), ("models", index, "languages"), known)
    for name, section in at.manifest.tasks.items():
        _languages(at, section.languages or (), ("tasks", name, "languages"), known)
    for key, part in (("pretrain", at.manifest.pretrain), ("mlm", at.manifest.mlm)):
        if part and of_texts is not None:
            _languages(at, part.languages or (), (key, "languages"), set(of_texts))
    _corpora(at, tasks)
    _published(at)
    if at.manifest.analysis.sampling == "known":
        at.complain("E543", ("analysis", "sampling"), "no gain_se is told of gains that are measured here", "write estimated")


def _published(at: Complaints) -> None:
    """Scores of papers are of this study's models and targets."""
    names = {"target": {*at.manifest.matrix.target}, "model": {model.id for model in at.manifest.models}}
    for index, each in enumerate(at.manifest.published):
        for axis, known in names.items():
            if (name := getattr(each, axis)) not in known:
                at.complain(
                    "E209", ("published", index, axis), f"'{name}' is no {axis} of this study", similar(name, sorted(known))
                )


def _corpora(at: Complaints, tasks: Mapping[str, Task]) -> None:
    """The texts of pretraining, and those with which the variant `mlm` goes on."""
    pretrain, matrix = at.manifest.pretrain, at.manifest.matrix
    if pretrain and pretrain.recipe.lora:
        at.complain(
            "E226", ("pretrain", "recipe", "lora"), "a model made here has no weights yet that LoRA could adapt", "remove it"
        )
    if pretrain:
        _corpus(at, "pretrain", pretrain.corpus, pretrain.languages, tasks)
    rules = [("matrix", "variant"), *(("matrix", "include", index, "variant") for index in range(len(matrix.include)))]
    wanted = next((path for path in rules if "mlm" in (at.root.at(path).plain() or ())), None)
    corpus, languages = texts(at.manifest)
    if wanted and corpus is None:
        at.complain("E221", wanted, "variant mlm has no corpus", "add 'mlm: {corpus: …, languages: […]}'")
    elif at.manifest.mlm and corpus:
        _corpus(at, "mlm", corpus, languages, tasks)


def _corpus(at: Complaints, section: str, name: str, languages: tuple[str, ...] | None, tasks: Mapping[str, Task]) -> None:
    if name not in tasks or tasks[name].kind not in CORPORA:
        corpora = [task.name for task in tasks.values() if task.kind in CORPORA]
        at.complain("E201", (section, "corpus"), f"no corpus '{name}'", similar(name, corpora))
    elif at.manifest.data.texts is None and not languages:
        at.complain("E102", (section,), "key 'languages' is missing", "name the languages of the corpus")
    elif (hub := _section(at.manifest, name).hub) and len(languages or ()) > 1 and "{language}" not in hub.config:
        what = f"one configuration would give {len(languages or ())} languages the same text"
        at.complain("E203", ("tasks", name, "hub"), what, "write {language} into its config, where a language's name stands")


def _axis_task(at: Complaints, axis: str, name: str, path: tuple[str | int, ...], tasks: Mapping[str, Task]) -> None:
    if axis == "intermediate" and name == "none":
        return
    task = tasks.get(name)
    if task is None:
        choices = [*tasks, "none"] if axis == "intermediate" else [*tasks]
        at.complain("E201", path, f"unknown task '{name}'", similar(name, choices))
    elif axis == "intermediate" and task.kind in RETRIEVAL:
        at.complain("E302", path, f"{name} is retrieval, which is not trained", "use it as a target")
    elif axis == "target" and (task.kind in CORPORA or not task.languages):
        at.complain("E302", path, f"{name} has no tests", "use it as an intermediate task, or give its languages")
    elif axis == "target" and task.trains_on and (trained := tasks.get(task.trains_on)):
        if task.kind in RETRIEVAL:
            at.complain("E304", path, f"{name} is retrieval, which is not trained", "remove its trains_on")
        elif (trained.kind, trained.labels) != (task.kind, task.labels):
            at.complain(
                "E304",
                path,
                f"{name} trains on {trained.name}, whose kind or labels differ",
                "give both the same labels, in order",
            )
    elif axis == "target" and task.trains_on:
        at.complain("E201", path, f"{name} trains on unknown task '{task.trains_on}'", similar(task.trains_on, tasks))


def _languages(at: Complaints, names: Iterable[str], path: tuple[str | int, ...], known: set[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name not in known:
            base = base_language(name)  # a code of three letters is not a slip of another's two
            hint = f"write '{base}'" if base in known else f"known: {', '.join(sorted(known))}"
            at.complain("E205", (*path, index), f"unknown language '{name}'", hint)
        elif name in seen:
            at.complain("E301", (*path, index), f"'{name}' stands twice", "keep one")
        seen.add(name)


def _include(
    at: Complaints, rule: Include, path: tuple[str | int, ...], tasks: Mapping[str, Task], models: Mapping[str, Model]
) -> None:
    for axis in ("intermediate", "target"):
        for index, name in enumerate(getattr(rule, axis) or ()):
            _axis_task(at, axis, name, (*path, axis, index), tasks)
    for index, name in enumerate(rule.model or ()):
        if name not in models:
            at.complain("E206", (*path, "model", index), f"unknown model '{name}'", similar(name, models))


def axes_of(manifest: Manifest, models: Mapping[str, Model]) -> dict[str, frozenset[str]]:
    """What a condition may compare each name with."""
    axes = {"model": frozenset(models), "family": frozenset(model.family for model in models.values())}
    for axis in ("intermediate", "variant", "target"):
        rules = (getattr(rule, axis) or () for rule in manifest.matrix.include)
        axes[axis] = frozenset(getattr(manifest.matrix, axis)).union(*rules)
    return axes


def _unmasked(
    at: Complaints,
    tasks: Mapping[str, Task],
    models: Mapping[str, Model],
    axes: Mapping[str, frozenset[str]],
    excludes: tuple[Condition, ...],
) -> None:
    """Masked language modelling is for models that have learnt it: not for decoders, and not for half an encoder-decoder.

    It goes on with the head that a model's weights bring, in one of the forms known here.
    """
    texts = {name for name in axes["intermediate"] if name in tasks and tasks[name].kind in CORPORA}
    for index, section in enumerate(at.manifest.models):
        model = models.get(section.id)
        held = weights.tensors(model.folder) if model and model.folder else {}
        if model is None or (model.architecture.masked and (not held or model.architecture.brings_language_head(held))):
            continue
        points = product(axes["intermediate"], axes["variant"], axes["target"])
        wanted = (
            {"intermediate": intermediate, "variant": variant, "target": target}
            for intermediate, variant, target in points
            if variant == "mlm" or intermediate in texts
        )
        seed = {"seed": at.manifest.matrix.seed.start, "seed.index": 0}
        if all(any(out(point | model.values | seed) for out in excludes) for point in wanted):
            continue
        if model.architecture.masked:
            at.complain(
                "W225",
                ("models", index),
                f"the weights of {section.id} have no head of masked language modelling that is known here; a new one is drawn",
                "bring the weights of its pretraining, or leave variant mlm out for it",
            )
        else:
            at.complain(
                "E222",
                ("models", index),
                f"{section.id} is a {model.model_type} model, which has not learnt masked language modelling",
                f"""add to matrix.exclude: {{when: "family == '{model.family}' and variant == 'mlm'", why: …}}""",
            )


def _condition(at: Complaints, text: str, path: tuple[str | int, ...], axes: Mapping[str, frozenset[str]]) -> Condition | None:
    try:
        return conditions.parse(text, axes)
    except BadCondition as error:
        quoted = bool(at.root.at(path).place.width > len(text))
        at.complain("E303", path, str(error), error.hint, column=error.column + quoted, about=error.names)
        return None


def _unread(at: Complaints, tasks: Mapping[str, Task]) -> None:
    """What a task's section says and the task's kind does not read."""
    for name, section in at.manifest.tasks.items():
        for part in ("recipe", "scoring"):
            for field in sorted(getattr(section, part).model_fields_set & READ_BY.keys()):
                if name in tasks and tasks[name].kind not in READ_BY[field]:
                    at.complain(
                        "E306",
                        ("tasks", name, part, field),
                        f"{name} is of kind {tasks[name].kind}, which reads no {field}",
                        f"remove it; it is read by {', '.join(READ_BY[field])}",
                    )


def _limits(at: Complaints, models: Mapping[str, Model]) -> None:
    """What is asked of a model must be within its table of positions and its layers."""
    manifest = at.manifest
    common: dict[tuple[str | int, ...], Recipe | Scoring] = {("recipe",): manifest.recipe, ("scoring",): manifest.scoring}
    for name, section in manifest.tasks.items():
        common |= {("tasks", name, "recipe"): section.recipe, ("tasks", name, "scoring"): section.scoring}
    common |= {("mixtures", name, "recipe"): section.recipe for name, section in manifest.mixtures.items()}
    common |= {(name, "recipe"): part.recipe for name in ("pretrain", "mlm") if (part := getattr(manifest, name))}
    own = {("models", index, "scoring"): section.scoring for index, section in enumerate(manifest.models)}
    for path, part in (common | own).items():
        for field, limit in (("max_length", "positions"), ("layer", "layers")):
            value = getattr(part, field, None)
            if field not in part.model_fields_set or not isinstance(value, int):
                continue
            bounds = {
                model.id: bound
                for model in models.values()
                if (bound := getattr(model.limits, limit))
                and (model.section.scoring is part if path in own else field not in _own(model, part))
            }
            least = min(bounds, key=bounds.__getitem__, default=None)
            if least and value > bounds[least]:
                at.complain(
                    "E305", (*path, field), f"{least} has {bounds[least]} {limit}", f"write {field}: {bounds[least]}, or less"
                )


def _own(model: Model, part: Recipe | Scoring) -> set[str]:
    """The fields of a part that a model has its own values for."""
    return model.section.scoring.model_fields_set if isinstance(part, Scoring) else set()


ASKED = {"contrast": ("direction", "sides"), "equivalence": ("bounds",), "predict": ("interval", "check", "direction")}


def check_analysis(
    at: Complaints, axes: Mapping[str, Collection[str]], languages: set[str], seeds: int, sizes: Mapping[str, int]
) -> None:
    """What the analysis names must be there: `axes` are intermediate, variant and target, `sizes` those of the models."""
    analysis: Analysis = at.manifest.analysis
    for name in sorted({POOLED, MEAN} & {*axes["intermediate"]}):
        message = f"'{name}' is what the tables call the mean over all intermediate tasks"
        at.complain("E230", ("matrix", "intermediate"), message, f"give it another name, such as {name}-tasks")
    names = {**dict.fromkeys(("intermediate", "variant"))}
    for axis, value in analysis.gain.baseline.items():
        if axis not in names:
            at.complain(
                "E401", ("analysis", "gain", "baseline", axis), f"'{axis}' is no axis of a baseline", similar(axis, names)
            )
        elif value not in axes[axis]:
            said = ("analysis", "gain", "baseline", axis)
            at.complain(
                "E402",
                said if at.root.steps(said) == said else ("matrix", axis),
                f"no run has {axis} '{value}', which gains are compared with",
                f"add {value} to matrix.{axis}, or name another baseline in analysis.gain.baseline",
            )
    for index, axis in enumerate(analysis.gain.match):
        if axis not in ("model", "target", "language", "seed"):
            at.complain(
                "E401",
                ("analysis", "gain", "match", index),
                f"gains do not match on '{axis}'",
                similar(axis, ("model", "target", "language", "seed")),
            )
    for index, target in enumerate(analysis.apart or ()):
        if target not in axes["target"]:
            at.complain(
                "E402",
                ("analysis", "apart", index),
                f"'{target}' is no target of this study",
                similar(target, axes["target"]),
            )
    _languages(at, analysis.gain.drop_languages or (), ("analysis", "gain", "drop_languages"), languages)
    if "seed" not in analysis.gain.match and seeds > 1:
        at.complain("E404", ("analysis", "gain", "match"), "gains of several seeds match on no seed", "add seed to the list")
    _hypotheses(at)


def _hypotheses(at: Complaints) -> None:
    """What the form alone tells: one question each, and what belongs to it. `analysis.study.check` reads the questions."""
    for name, hypothesis in at.manifest.hypotheses.items():
        path, asked = ("hypotheses", name), [kind for kind in ASKED if getattr(hypothesis, kind)]
        if len(asked) != 1:
            at.complain("E406", path, f"{name} asks {len(asked)} questions", f"give one of {', '.join(ASKED)}")
            continue
        (kind,) = asked
        needed = {"contrast": "direction", "equivalence": "bounds"}.get(kind)
        if needed and getattr(hypothesis, needed) is None:
            do = "add direction: positive or negative" if needed == "direction" else "add bounds: [-0.5, 0.5], in points"
            at.complain("E406", path, f"{name} lacks its {needed}", do)
        article = "an" if kind[0] in "aeiou" else "a"
        for field in sorted(hypothesis.model_fields_set - {kind, "group", *ASKED[kind]}):
            at.complain(
                "E406",
                (*path, field),
                f"{field} says nothing of {article} {kind}",
                f"remove it; {article} {kind} has {_listed(ASKED[kind])}",
            )
        if hypothesis.bounds and hypothesis.bounds[0] >= hypothesis.bounds[1]:
            at.complain("E406", (*path, "bounds"), "the first bound is not below the second", "write [low, high], in points")


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
