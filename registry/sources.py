"""What a study finds on this machine: the digests of its data and weights, which stage ids rest on."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xlift.registry import files, weights
from xlift.registry.known import lab
from xlift.registry.manifest.load import Study
from xlift.registry.manifest.models import Model
from xlift.registry.spec import digest
from xlift.registry.stage import Weights

ABSENT = "absent"  # stands for the digest of what is not here; such a stage is blocked, so its id names no run


@dataclass(frozen=True)
class Sources:
    """The data folder (`local`), or the lab's world, of a study."""

    study: Study
    data: Path | None = None

    @property
    def world(self) -> lab.World:
        return self.study.manifest.data.world or lab.World()

    def pattern(self, task: str) -> str:
        """Where a task's files are below the data folder."""
        section = self.study.manifest.tasks.get(task)
        return section.files if section and section.files else self.study.manifest.data.files

    def digest(self, task: str, split: str, language: str) -> str | None:
        """Sha-256 of the examples of one split and language; None where there are none."""
        if self.study.manifest.data.source == "lab":
            if language not in self.world.languages:
                return None
            return lab.fingerprint(self.world, task, split, language)
        path = files.path(self.data, task, split, language, self.pattern(task)) if self.data else None
        return _file_digest(path, path.stat().st_mtime_ns) if path else None

    def at_most(self, limit: int, task: str, language: str) -> bool:
        """Whether the training set has no more items than `limit`, as far as its bytes tell without parsing it."""
        if self.study.manifest.data.source == "lab":
            return lab.items(self.world, task, "train", language) <= limit
        path = files.path(self.data, task, "train", language, self.pattern(task)) if self.data else None
        return path is not None and _most_items(path, path.stat().st_mtime_ns) <= limit

    def texts(self, corpus: str, languages: tuple[str, ...]) -> str | None:
        """Sha-256 of a corpus in several languages, in reading order; None where one is not there."""
        parts = [[language, self.digest(corpus, "train", language)] for language in languages]
        return None if any(found is None for _, found in parts) else digest(parts)

    def weights(self, model: Model) -> tuple[Weights, str | None]:
        """What a model starts from, and why it cannot."""
        section = model.section
        if section.make:
            return Weights(make=section.make.plain()), None
        if model.folder and weights.files(model.folder):
            return Weights(folder=folder_digest(model.folder), layers=model.layers, form=section.form), None
        if section.revision:
            return Weights(hub=section.hub, revision=section.revision, layers=model.layers, form=section.form), None
        return Weights(folder=ABSENT), f"no model.safetensors in {section.folder}"

    def available(self, name: str) -> bool:
        """Whether a licensed data set is here: a folder of its name below the data folder."""
        return self.data is not None and (self.data / name).is_dir()


def folder_digest(folder: Path) -> str:
    """Sha-256 over the files that are read of a model's folder. Raises `WeightsError` where it cannot be used."""
    return digest({name: _raw_digest(folder / name, (folder / name).stat().st_mtime_ns) for name in weights.opened(folder)})


@cache
def _file_digest(path: Path, _changed: int) -> str:
    return files.digest(path)


@cache
def _most_items(path: Path, _changed: int) -> int:
    """No file holds more items than line ends (of any kind), or in an array of objects than braces that open."""
    array = path.name.removesuffix(".gz").endswith(".json")
    return sum(piece.count(sign) for piece in files.chunks(path) for sign in ((b"{",) if array else (b"\n", b"\r"))) + (not array)


@cache
def _raw_digest(path: Path, _changed: int) -> str:
    return files.raw_digest(path)
