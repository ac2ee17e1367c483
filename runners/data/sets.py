"""What a set of examples must be, beside what each of them must: known before a run is paid for, and asserted in it."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from xlift.registry.findings import UserError
from xlift.runners.data.examples import Choice, Example, Pair, Question, Sentence, Tagged

OTHER = {"source": "pivot", "pivot": "source"}


class Unfit(UserError):
    """What is wrong with a set; `at` is the index of the example that shows it, where one does."""

    def __init__(self, message: str, at: int | None = None):
        super().__init__(message if at is None else f"item {at + 1}: {message}")
        self.message, self.at = message, at


def check(examples: Sequence[Example], *, scored: bool) -> None:
    """Unfit where a set cannot be trained on, or scored."""
    number_of_choices([example for example in examples if isinstance(example, Choice)])
    if not scored:
        return
    if len(examples) < 2:
        raise Unfit(f"{len(examples)} item, and a standard error needs two")
    if sentences := [example for example in examples if isinstance(example, Sentence)]:
        translations(sentences)
    gold = labels(examples)
    if isinstance(examples[0], Question) and not gold[True]:
        raise Unfit("no question has an answer")
    if len(gold) == 1 and not isinstance(examples[0], Question):
        raise Unfit(f"the same label everywhere ({next(iter(gold))!r})")


def labels(examples: Sequence[Example]) -> Counter[object]:
    """How often each label is right, or whether questions have answers; empty where examples have no label."""
    gold: Counter[object] = Counter()
    for example in examples:
        match example:
            case Pair(label=label) | Choice(label=label):
                gold[label] += 1
            case Tagged(tags=tags):
                gold.update(tags)
            case Question(answers=answers):
                gold[bool(answers)] += 1
    return gold


def number_of_choices(examples: Sequence[Choice]) -> int:
    """How many choices every example has; Unfit where they differ, are fewer than two, or a label is none of them."""
    count = len(examples[0].choices) if examples else 0
    for at, example in enumerate(examples):
        if len(example.choices) != count:
            raise Unfit(f"{len(example.choices)} choices, where the first item has {count}; all must have the same number", at)
        if count < 2:
            raise Unfit(f"{count} choice, and at least two are needed", at)
        if not 0 <= example.label < count:
            raise Unfit(f"label {example.label} is none of its {count} choices, counted from 0", at)
    return count


def translations(examples: Sequence[Sentence]) -> list[set[int]]:
    """For each sentence the indices of those of the other side that translate it; Unfit where a split has none."""
    named: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for at, example in enumerate(examples):
        for name in example.pairs:
            named[name, example.side, example.tunes].append(at)
    found = [{at for name in e.pairs for at in named.get((name, OTHER[e.side], e.tunes), ())} for e in examples]
    for split in ("dev", "test"):
        if not any(pairs for e, pairs in zip(examples, found, strict=True) if e.tunes == (split == "dev")):
            raise Unfit(f"no two sentences of split {split} share a pair, so nothing can be found there")
    return found
