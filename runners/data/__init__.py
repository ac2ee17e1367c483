"""Sources of examples, behind one function."""

from xlift.registry.sources import Sources
from xlift.registry.stage import Data
from xlift.runners.data import lab, local
from xlift.runners.data.examples import Example


def read(sources: Sources, data: Data, split: str, language: str) -> tuple[str | None, list[Example]]:
    """The digest of one split in one language, as it was read, and its examples in the order of the source."""
    if data.source == "lab":
        return sources.digest(data.task, split, language), lab.read(sources.world, data, split, language)
    return local.read(sources.data, data, split, language, sources.pattern(data.task))
