"""Examples of any source, behind one function; how each is read is in the module of its name."""

from collections import defaultdict
from collections.abc import Hashable
from importlib import import_module

from xlift.registry.files import DataError
from xlift.registry.inputs import Inputs
from xlift.registry.spec import digest
from xlift.registry.stage import Data
from xlift.runners.kinds.example import Example

FILES = {"dev": "dev", "kept": "train", "held-out": "train"}  # where a part of the data is
HELD_OUT = 10  # one item of so many


def read(inputs: Inputs, data: Data, split: str, language: str) -> tuple[str | None, list[Example]]:
    """The digest of one split in one language, as it was read, and its examples in the order of the source.

    `data.split` goes before `split`: development data, or training data cut in two by `held_out`.
    """
    file = FILES[data.split] if data.split else split
    mark, examples = import_module(f"xlift.runners.data.{data.source}").read(inputs.source, data, file, language)
    examples = drawn(examples, data.limit)
    if data.split in ("kept", "held-out"):
        examples = [example for example in examples if held_out(example) == (data.split == "held-out")]
        if len(examples) < 2:
            raise DataError(f"{data.task}: the training data hold {len(examples)} items {data.split}", "add a file of dev data")
    return mark, examples


def drawn(examples: list[Example], limit: int | None) -> list[Example]:
    """`limit` of the examples in their order, or all; a smaller limit draws a part of what a larger one draws.

    Each label has its share, and which of its examples are drawn is hashed of where they stand: a period of the file does
    not show, and files that are parallel, as the languages of a benchmark, keep the same items.
    """
    if limit is None or limit >= len(examples):
        return examples
    strata: dict[Hashable, list[tuple[str, int]]] = defaultdict(list)
    for index, example in enumerate(examples):
        strata[example.stratum].append((digest([index]), index))
    ranked = [((rank + 0.5) / len(stratum), *key) for stratum in strata.values() for rank, key in enumerate(sorted(stratum))]
    return [examples[index] for index in sorted(index for _, _, index in sorted(ranked)[:limit])]


def held_out(example: Example) -> bool:
    """Whether an item is of the tenth that stands for development data: by the hash of its text, wherever it stands.

    Items on one text, such as questions on one context or hypotheses on one premise, fall on one side.
    """
    return int(digest(list(example.group))[:8], 16) % HELD_OUT == 0
