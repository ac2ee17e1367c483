"""What a manifest says and no stage of its plan reads: a finding for each (W307), since silence would look like obedience."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from xlift.registry.kinds import READ_BY
from xlift.registry.known.tasks import Task
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.sections import Manifest, TaskSection, texts
from xlift.registry.stage import Recipe, Scoring

Path = tuple[str | int, ...]


def check_unused(at: Complaints, tasks: Mapping[str, Task]) -> None:
    """Settings without effect; and targets without a language, which would be cells without a score (E308).

    All names of the manifest stand for something.
    """
    read = _Read(at.manifest, tasks)
    for path, message, hint in (*read.sections(), *read.fields()):
        at.complain("W307", path, message, hint)
    wanted = at.manifest.languages
    if wanted is not None:
        had = {language for target in read.targets for language in tasks[target].languages}
        for index, language in enumerate(wanted):
            if language not in had:
                at.complain("W307", ("languages", index), f"no target is tested in {language}", "remove it, or add a target")
        for target in sorted(read.targets):
            if not set(tasks[target].languages) & set(wanted):
                has = ", ".join(tasks[target].languages)
                targets = at.manifest.matrix.target
                where: Path = ("matrix", "target", targets.index(target)) if target in targets else ("matrix", "include")
                what = f"{target} is tested in none of the study's languages; it has {has}"
                at.complain("E308", where, what, "add one of them to languages, or remove the target")


class _Read:
    """Which tasks a study trains and tests, and so what it reads of its sections."""

    def __init__(self, manifest: Manifest, tasks: Mapping[str, Task]):
        self.manifest, self.tasks = manifest, tasks

    def _axis(self, axis: str) -> set[str]:
        matrix = self.manifest.matrix
        return set(getattr(matrix, axis)).union(*(getattr(rule, axis) or () for rule in matrix.include))

    @cached_property
    def targets(self) -> set[str]:
        return self._axis("target")

    @cached_property
    def intermediates(self) -> set[str]:
        return self._axis("intermediate") - {"none"}

    @cached_property
    def made(self) -> bool:
        return any(model.make for model in self.manifest.models)

    @cached_property
    def corpora(self) -> set[str]:
        """Whose texts are read, by pretraining or beside an intermediate task."""
        return ({self.manifest.pretrain.corpus} if self.manifest.pretrain and self.made else set()) | self.beside

    @cached_property
    def beside(self) -> set[str]:
        """Whose texts are read beside an intermediate task."""
        corpus, _ = texts(self.manifest)
        return {corpus} if corpus and "mlm" in self._axis("variant") else set()

    @cached_property
    def tuned(self) -> set[str]:
        """What the common recipe trains: pretraining has one of its own."""
        return self.intermediates | self.beside | {self.tasks[name].trains_on for name in self.targets} - {None}

    @cached_property
    def whole(self) -> set[str]:
        """What is trained by a recipe of its own: as intermediate, before a target, or as text alone."""
        return self.tuned | self.corpora

    @cached_property
    def trained(self) -> set[str]:
        """Whose training data are read: also those of the tasks of mixtures."""
        return self._parts(self.whole)

    @cached_property
    def tested(self) -> set[str]:
        """What is scored: targets, and in a tuned study what was trained, on development data."""
        return self.targets | (self.trained - self.corpora if self.manifest.tuning else set())

    def sections(self) -> Iterator[tuple[Path, str, str]]:
        """Sections, or parts of a task's section, that nothing reads."""
        manifest = self.manifest
        for name, section in manifest.tasks.items():
            used = self.trained | self.tested
            named = {other for task in used for other in (self.tasks[task].trains_on, *self.tasks[task].includes)}
            if name not in used | named:
                yield ("tasks", name), f"no stage reads task '{name}'", "name it in the matrix, or remove it"
            else:
                yield from self._task(name, section)
        for name in manifest.mixtures.keys() - self.intermediates:
            yield ("mixtures", name), f"no stage trains mixture '{name}'", "name it in matrix.intermediate, or remove it"
        if manifest.mlm and "mlm" not in self._axis("variant"):
            yield ("mlm",), "no stage reads mlm", "write variant: [plain, mlm], or remove it"
        if manifest.pretrain and not self.made and manifest.pretrain.corpus not in self.corpora:
            yield ("pretrain",), "no model is made here, so nothing is pretrained", "remove it"
        if manifest.recipe.model_fields_set and not self.tuned:
            yield ("recipe",), "nothing is trained by it: pretraining has a recipe of its own", "remove it"
        if manifest.data.limit.train and not self.trained:
            yield ("data", "limit", "train"), "nothing is trained, so this limits nothing", "remove it"
        if manifest.tuning and not self.trained - self.corpora:
            yield ("tuning",), "nothing is trained that could be tuned", "remove it"

    def _task(self, name: str, section: TaskSection) -> Iterator[tuple[Path, str, str]]:
        own = self.tasks[name].trains_on
        trains = f"{name} trains on {own}: write it there" if own not in (None, name) else "remove it"
        if section.recipe.model_fields_set and name not in self.whole:
            within = sorted(mixture for mixture in self.intermediates if name in self._of(mixture))
            hint = f"{name} is trained within {within[0]}, whose recipe counts: write it there" if within else trains
            yield ("tasks", name, "recipe"), f"nothing is trained by the recipe of {name}", hint
        if section.limit.train and name not in self.trained:
            yield ("tasks", name, "limit", "train"), f"the training data of {name} are not read, so this limits nothing", trains
        if name in self.tested:
            return
        for field in ("scoring", "metric", "normaliser"):
            value = getattr(section, field)
            if value.model_fields_set if isinstance(value, Scoring) else value:
                yield ("tasks", name, field), f"{name} is not tested, so no stage reads its {field}", "remove it"
        if section.limit.test:
            yield ("tasks", name, "limit", "test"), f"{name} is not tested, so this limits nothing", "remove it"

    def _parts(self, names: set[str]) -> set[str]:
        return {part for name in names for part in self._of(name)} | (names - self.manifest.mixtures.keys())

    def _of(self, mixture: str) -> Collection[str]:
        return self.manifest.mixtures[mixture].of if mixture in self.manifest.mixtures else ()

    def fields(self) -> Iterator[tuple[Path, str, str]]:
        """Fields of common recipes and scorings that the kinds of what is trained, or tested, do not read."""
        manifest = self.manifest
        trained: set[str] = {self.tasks[name].kind for name in self._parts(self.tuned)}
        tested: set[str] = {self.tasks[name].kind for name in self.tested}
        parts: dict[Path, tuple[Recipe | Scoring, set[str]]] = {
            ("recipe",): (manifest.recipe, trained),
            ("scoring",): (manifest.scoring, tested),
        }
        parts |= {("models", index, "scoring"): (model.scoring, tested) for index, model in enumerate(manifest.models)}
        parts |= {
            ("mixtures", name, "recipe"): (section.recipe, {self.tasks[task].kind for task in section.of} | {"mlm"})
            for name, section in manifest.mixtures.items()
            if name in self.intermediates
        }
        if manifest.pretrain and self.made:
            parts["pretrain", "recipe"] = (manifest.pretrain.recipe, {"mlm"})
        for path, (part, kinds) in parts.items():
            for field in sorted(part.model_fields_set & READ_BY.keys()):
                if kinds and not kinds & set(READ_BY[field]):
                    what = "tested" if isinstance(part, Scoring) else "trained"
                    yield (*path, field), f"nothing that is {what} reads {field}", f"it is read by {', '.join(READ_BY[field])}"
