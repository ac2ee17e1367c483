"""The lab's generator: meanings (`meaning`), their words in each language (`lexicon`, `realise`), and tasks made of them
(`pairs`, `questions`, `tasks`)."""

from xlift.runners.data.lab.tasks import read

__all__ = ["read"]
