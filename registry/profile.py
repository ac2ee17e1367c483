"""A profile of resources: how and where stages are run on a cluster, and never what they compute.

Classes are tried in order: a stage is of the first whose condition holds and whose memory it fits. Where its memory does not do
after all, it asks for the next class with more. No id rests on a profile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from xlift.registry.files import small
from xlift.registry.findings import BadInput, Finding, Place, relative, similar
from xlift.registry.known.memory import training_gb
from xlift.registry.manifest import conditions, document
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.models import Model
from xlift.registry.plan import Step
from xlift.registry.spec import Spec
from xlift.registry.stage import Positive

HINT = "see README.md, Many machines"
NUMBERS = ("memory", "params_total", "params_non_embedding")
KINDS = frozenset({"pretrain", "train", "evaluate"})
BYTES = {"fp32": 68, "bf16": 34}  # of a token's activations, a layer and a unit of width (Korthikanti et al. 2022, section 4.1)

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Line = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\n\r]*$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Hours = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[smhd]$", description="such as 8h, 90m or 1d")]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Class(Spec):
    """Resources of one worker, and the stages that are run with them."""

    name: Name
    when: Text | None = Field(None, description="of kind, memory, params_total, params_non_embedding; any stage where absent")
    memory_gb: float | None = Field(None, gt=0, description="of the device, 10^9 bytes; not asked where absent")
    gpus: float = Field(1, ge=0)
    cpus: Positive = 1
    workers: Positive = Field(1, description="at most so many at once")


class SlurmClass(Class):
    """What sbatch is asked for."""

    time: Hours = Field(description="limit of one job; work that is left then goes on in the next")
    partition: Line | None = None
    gres: Line | None = Field(None, description="such as gpu:a100:1; --gpus-per-task where absent")
    constraint: Line | None = None
    mem: Line | None = Field(None, description="of the host, such as 96G")
    container: Line | None = Field(None, description="an image, given to srun as --container-image")
    options: tuple[Line, ...] = Field((), description="more options of sbatch, such as --qos=long")
    prologue: tuple[Line, ...] = Field((), description="commands before the worker, behind those of all classes")


class RayClass(Class):
    """What a task of Ray asks for."""

    cpus: float = Field(1, ge=0)  # type: ignore[assignment]
    resources: dict[str, float] = Field({}, description="custom resources of the cluster")


class Slurm(Spec):
    """A cluster that Slurm runs."""

    account: Line | None = None
    partition: Line | None = None
    logs: Text | None = Field(None, description="a folder that all nodes see; beside the store where absent")
    prologue: tuple[Line, ...] = Field((), description="commands before the worker, such as module load cuda")
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Line] = {}
    grace: Positive = Field(120, description="seconds before its limit in which a worker is told to leave")
    max_array: Positive = Field(1000, description="tasks in an array: scontrol show config | grep MaxArraySize")
    python: Line | None = Field(None, description="the interpreter on the nodes; this one where absent")
    classes: tuple[SlurmClass, ...] = Field(min_length=1)


class Ray(Spec):
    """A cluster that Ray runs."""

    address: Line = "auto"
    retries: int = Field(3, ge=0, description="of a task whose node or process dies")
    classes: tuple[RayClass, ...] = Field(min_length=1)


class Profile(Spec):
    """What a file of resources holds."""

    form: Literal["xlift-cluster/1"] = Field(alias="schema")
    slurm: Slurm | None = None
    ray: Ray | None = None


@dataclass(frozen=True)
class Opened:
    """A checked profile, and where everything stands."""

    profile: Profile
    root: Node
    sources: dict[str, str]

    def section(self, engine: str) -> Slurm | Ray:
        """What it says of an engine. BadInput where it says nothing."""
        found: Slurm | Ray | None = getattr(self.profile, engine, None)
        if found is None:
            self.stop("E151", ("schema",), f"no section '{engine}'", f"add '{engine}: …'; {HINT}")
        return found

    def place(self, path: tuple[str | int, ...]) -> Place:
        return self.root.at(path).place

    def stop(self, code: str, path: tuple[str | int, ...], message: str, hint: str | None = None) -> None:
        """BadInput at a place of the file."""
        raise BadInput([Finding(code, self.place(path), message, hint)], self.sources)


@dataclass(frozen=True)
class Placed:
    """Stages by class: `of` has, for each, the classes that it may have, smallest first; what fits none is `nowhere`."""

    classes: tuple[str, ...]
    of: dict[str, tuple[int, ...]]
    nowhere: tuple[Step, ...]
    needs: dict[str, float]  # 10^9 bytes, by stage

    def first(self, index: int) -> list[str]:
        """The stages that are of a class."""
        return [id for id, classes in self.of.items() if classes[0] == index]


def read(path: Path) -> Opened:
    """A profile, its conditions checked. BadInput, with every finding and its place."""
    file = relative(path)
    try:
        data = small(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput([Finding("E130", Place(file), f"{file}: {reason.lower()}", "give --profile FILE")]) from None
    root, findings = document.read(data, file)
    sources = {file: data.decode("utf-8-sig")}
    try:
        profile = Profile.model_validate(root.plain(), strict=False)
    except ValidationError as errors:
        findings += [_finding(slip["loc"], slip["type"], slip["msg"], root) for slip in errors.errors(include_url=False)]
        raise BadInput(findings, sources) from None
    opened = Opened(profile, root, sources)
    findings += [finding for engine in ("slurm", "ray") for finding in _of_classes(opened, engine)]
    if any(finding.stops for finding in findings):
        raise BadInput(findings, sources)
    return opened


def _of_classes(opened: Opened, engine: str) -> Iterable[Finding]:
    """What is wrong with the conditions and the names of classes."""
    section, names = getattr(opened.profile, engine), set[str]()
    for index, each in enumerate(section.classes if section else ()):
        path = (engine, "classes", index)
        if each.name in names:
            yield Finding("E151", opened.place((*path, "name")), f"two classes are called '{each.name}'", "rename one")
        names.add(each.name)
        if isinstance(each, SlurmClass) and seconds(each.time) <= section.grace:
            what = f"the limit of {each.time} is no longer than the grace of {section.grace} s"
            yield Finding("E151", opened.place((*path, "time")), what, "give more time, or less grace")
        try:
            _condition(each)
        except conditions.BadCondition as error:
            yield Finding("E151", opened.place((*path, "when")), f"when: {error}", error.hint)


def _condition(each: Class) -> conditions.Condition | None:
    return conditions.parse(each.when, {"kind": KINDS}, NUMBERS, available=False) if each.when else None


def _finding(path: tuple[int | str, ...], kind: str, message: str, root: Node) -> Finding:
    """One of pydantic's errors in our words."""
    node, last = root.at(path), str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        above = root.at(path[:-1])
        forms: dict[str, type[Spec]] = {"slurm": Slurm, "ray": Ray}
        classes: dict[str, type[Spec]] = {"slurm": SlurmClass, "ray": RayClass}
        known = Profile if len(path) == 1 else classes[str(path[0])] if len(path) > 3 else forms[str(path[0])]
        names = [field.alias or name for name, field in known.model_fields.items()]
        return Finding("E151", (above.keys or {}).get(last, node.place), f"unknown key '{last}'", similar(last, names))
    if kind == "missing":
        return Finding("E151", root.at(path[:-1]).place, f"key '{last}' is missing", f"add '{last}: …'; {HINT}")
    return Finding("E151", node.place, f"{last}: {message[:1].lower()}{message[1:200]}", HINT)


def needed_gb(step: Step, model: Model) -> float:
    """10^9 bytes that a stage needs at least: weights and what trains them, and one sequence's activations.

    Micro-batches are halved where a device is full, so one sequence is what has to fit.
    """
    stage, part = step.stage, step.stage.recipe or step.stage.scoring
    precision = part.precision if part else "fp32"
    width, layers = model.limits.width, model.layers or model.limits.layers
    tokens = part.max_length if part else 0
    activations = BYTES[precision] * width * layers * tokens / 1e9
    if stage.recipe is None:
        return (2 if precision == "bf16" else 4) * model.parameters.total / 1e9 + activations / layers
    return training_gb(model.parameters, "lora" if stage.recipe.lora else precision) + activations


def place(steps: Sequence[Step], models: Mapping[str, Model], classes: Sequence[Class], measured: Mapping[str, float]) -> Placed:
    """Which class each stage is of. `measured`: 10^9 bytes that stages alike took, by stage, where that is known."""
    rules = [_condition(each) for each in classes]
    of, nowhere, needs = dict[str, tuple[int, ...]](), list[Step](), dict[str, float]()
    for step in steps:
        id, model = step.stage.id, models[step.model]
        needs[id] = measured.get(id) or needed_gb(step, model)
        values = {"kind": step.stage.kind, "memory": needs[id], **model.values}
        fits = [
            index
            for index, (each, rule) in enumerate(zip(classes, rules, strict=True))
            if (rule is None or rule(values)) and (each.memory_gb is None or each.memory_gb >= needs[id])
        ]
        if fits:
            of[id] = tuple(_larger(fits, classes))
        else:
            nowhere.append(step)
    return Placed(tuple(each.name for each in classes), of, tuple(nowhere), needs)


def _larger(fits: Sequence[int], classes: Sequence[Class]) -> Iterable[int]:
    """The first class, and then each with more memory than the one before."""
    most: float | None = None
    for index in fits:
        memory = classes[index].memory_gb
        if most is None or memory is None or memory > most:
            yield index
            most = memory if memory is not None else most or 0.0


def unplaced(placed: Placed, opened: Opened, engine: str) -> list[Finding]:
    """Findings of what fits nowhere, by model and kind, and of classes that can never hold what they are for."""
    groups: dict[tuple[str, str], list[float]] = {}
    for step in placed.nowhere:
        groups.setdefault((step.model, step.stage.kind), []).append(placed.needs[step.stage.id])
    place_, most = opened.place((engine, "classes")), "add a class whose condition holds, with memory_gb of at least {:.1f}"
    found = [
        Finding("E152", place_, f"{len(needs)} stages ({kind} {model}) fit no class: they need {max(needs):.1f} GB",
                most.format(max(needs)))
        for (model, kind), needs in groups.items()
    ]  # fmt: skip
    for index, each in enumerate(opened.section(engine).classes):
        used = any(index in classes for classes in placed.of.values())
        if not used and each.memory_gb is not None and (least := min(placed.needs.values(), default=0.0)) > each.memory_gb:
            where = opened.place((engine, "classes", index, "memory_gb"))
            what = f"class '{each.name}' can hold nothing of this study: the smallest stage needs {least:.1f} GB"
            found.append(Finding("E153", where, what, "remove it, or give more memory"))
    return found


def seconds(text: str) -> float:
    """'8h' as seconds. ValueError where it is none."""
    try:
        return float(text[:-1]) * UNITS[text[-1:]]
    except KeyError:
        raise ValueError(text) from None
