"""Sources of examples, behind one function."""

from xlift.registry.sources import Sources
from xlift.registry.stage import Data
from xlift.runners.data import lab, local
from xlift.runners.data.examples import Example

READERS = {
    "lab": lambda sources, data, split, language: lab.read(sources.world, data, split, language),
    "local": lambda sources, data, split, language: local.read(sources.data, data, split, language, sources.pattern(data.task)),
}


def read(sources: Sources, data: Data, split: str, language: str) -> list[Example]:
    """The examples of one split in one language, in the order of the source."""
    return READERS[data.source](sources, data, split, language)
