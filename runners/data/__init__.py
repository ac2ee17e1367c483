"""Sources of examples, behind one function."""

from collections.abc import Iterator

from xlift.registry.files import DataError
from xlift.registry.sources import Sources
from xlift.registry.spec import digest
from xlift.registry.stage import Data
from xlift.runners.data import lab, local
from xlift.runners.data.examples import Choice, Example, Pair, Parallel, Question, Tagged, Text

FILES = {"dev": "dev", "kept": "train", "held-out": "train"}  # where a part of the data is
HELD_OUT = 10  # one item of so many


def read(sources: Sources, data: Data, split: str, language: str) -> tuple[str | None, list[Example]]:
    """The digest of one split in one language, as it was read, and its examples in the order of the source.

    `data.split` goes before `split`: development data, or training data cut in two by `held_out`.
    """
    file = FILES[data.split] if data.split else split
    if data.source == "lab":
        mark, examples = sources.digest(data.task, file, language), lab.read(sources.world, data, file, language)
    else:
        mark, examples = local.read(sources.data, data, file, language, sources.pattern(data.task))
    if data.split in ("kept", "held-out"):
        examples = [example for example in examples if held_out(example) == (data.split == "held-out")]
        if len(examples) < 2:
            raise DataError(f"{data.task}: the training data hold {len(examples)} items {data.split}; add a file of dev data")
    return mark, examples


def held_out(example: Example) -> bool:
    """Whether an item is of the tenth that stands for development data: by the hash of its text, wherever it stands.

    Items on one text, such as questions on one context or hypotheses on one premise, fall on one side.
    """
    return int(digest(list(_text(example)))[:8], 16) % HELD_OUT == 0


def _text(example: Example) -> Iterator[str]:
    match example:
        case Pair(first=text) | Text(text=text) | Parallel(pivot=text) | Question(context=text):
            yield text
        case Tagged(tokens=tokens):
            yield from tokens
        case Choice():
            yield from (example.context, example.stem) if example.context or example.stem else (example.question,)
