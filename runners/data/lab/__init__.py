"""The lab's generator: meanings (`meaning`), their words in each language (`lexicon`, `realise`), and tasks made of them
(`pairs`, `questions`, `tasks`)."""

from xlift.registry.sources.lab import Lab
from xlift.registry.stage import Data
from xlift.runners.data.lab import tasks
from xlift.runners.kinds.example import Example


def read(source: Lab, data: Data, split: str, language: str) -> tuple[str | None, list[Example]]:
    """The digest of what makes one split in one language, and its examples."""
    return source.digest(data.task, split, language), tasks.read(source.world, data, split, language)
