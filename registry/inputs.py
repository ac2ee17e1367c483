"""What a study finds on this machine: the digests of its data and weights, which stage ids rest on."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from xlift.registry import files, weights
from xlift.registry.manifest.models import Model
from xlift.registry.sources import Source
from xlift.registry.spec import digest
from xlift.registry.stage import Weights
from xlift.registry.study import Study

ABSENT = "absent"  # stands for the digest of what is not here; such a stage is blocked, so its id names no run


@dataclass(frozen=True)
class Inputs:
    """The data of a study, and the weights of its models."""

    study: Study
    data: Path | None = None

    @cached_property
    def source(self) -> Source:
        """The source of examples, with the data folder."""
        manifest = self.study.manifest
        return manifest.data.opened(self.data, {name: task.files for name, task in manifest.tasks.items() if task.files})

    def digest(self, task: str, split: str, language: str) -> str | None:
        """Sha-256 of the examples of one split and language; None where there are none."""
        return self.source.digest(task, split, language)

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
            mark = folder_digest(model.folder)
            return Weights(folder=mark, layers=model.layers, form=section.form, like=section.like), None
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
def _raw_digest(path: Path, _changed: int) -> str:
    return files.raw_digest(path)
