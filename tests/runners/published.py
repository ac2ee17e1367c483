"""Small repositories in the layout of the hub's own, with the columns, label names and faults that those data sets have."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from xlift.registry.known.hub import CONVERTED, HUB, TYDIQA, Part
from xlift.registry.known.tasks import TASKS

TEXT, WHOLE = {"dtype": "string", "_type": "Value"}, {"dtype": "int32", "_type": "Value"}
NLI = ["entailment", "neutral", "contradiction"]
WORDS = "river house letter garden winter bread stone music paper light water horse".split()


def classes(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def sentence(language: str, number: int, length: int = 6) -> str:
    return f"{language} " + " ".join(f"{WORDS[(number * 5 + at) % len(WORDS)]}{number}" for at in range(length))


def answered(language: str, number: int, prefix: str = "") -> dict[str, Any]:
    """Every third answer stands where a stripped blank or two would have left it; every seventh question has none."""
    context = sentence(language, number, 12)
    text = context.split()[4]
    start = context.index(text) + (number % 3 == 1) * (1 + number % 2)
    some = number % 7 != 6 or bool(prefix)
    answers = {"text": [text] if some else [], "answer_start": [start] if some else []}
    return {
        "id": f"{prefix}{number}",
        "title": "T",
        "context": context,
        "question": sentence(language, number + 500),
        "answers": answers,
    }


def rows(task: str, part: Part, language: str, count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of a part, and the features that `datasets` writes beside them."""
    numbers, base = range(count), 1000 * (crc32(f"{part.repository.id} {part.split}".encode()) % 1000)  # no two have one text

    def text(number: int, length: int = 6) -> str:
        return sentence(language, base + number, length)

    match part.rule:
        case "nli":
            hidden = part.repository.id.endswith("snli")  # of whose items some have no label
            return [
                {
                    "premise": text(n),
                    "hypothesis": text(n + 99),
                    "label": -1 if hidden and n % 10 == 9 else n % 3,
                    "idx": n,
                }
                for n in numbers
            ], {"premise": TEXT, "hypothesis": TEXT, "label": classes(*NLI), "idx": WHOLE}
        case "qqp" | "paraphrases":
            one, two = ("question1", "question2") if part.rule == "qqp" else ("sentence1", "sentence2")
            names = TASKS[task].labels
            made = [{one: text(n), two: text(n + 99), "label": n % 2, "idx": n} for n in numbers]
            return made, {one: TEXT, two: TEXT, "label": classes(*names), "idx": WHOLE}
        case "answers":
            return [answered(language, base + n) for n in numbers], {}
        case "tydiqa":
            return [answered(code, base + n, f"{name}-") for code, name in TYDIQA.items() for n in numbers], {}
        case "hellaswag":
            return [
                {
                    "ind": n,
                    "ctx_a": text(n),
                    "ctx_b": "" if n % 2 else "she",
                    "ctx": "",
                    "endings": [text(100 * n + at) for at in range(4)],
                    "label": str(n % 4),
                }
                for n in numbers
            ], {}
        case "cosmosqa":
            answers = [{f"answer{at}": text(100 * n + at) for at in range(4)} for n in numbers]
            return [
                {
                    "id": str(n),
                    "context": text(n),
                    "question": text(n + 50),
                    **answers[n],
                    "label": n % 4,
                }
                for n in numbers
            ], {"label": WHOLE}
        case "commonsenseqa":
            return [
                {
                    "id": str(n),
                    "question": text(n),
                    "question_concept": "x",
                    "choices": {"label": list("ABCDE"), "text": [f"{WORDS[at]}{n}" for at in range(5)]},
                    "answerKey": "ABCDE"[n % 5],
                }
                for n in numbers
            ], {}
        case "names":
            tags = TASKS[task].labels
            return [
                {
                    "tokens": [f"{language}{WORDS[at]}{base + n}" + " " * (at == 1) for at in range(4)],
                    "ner_tags": [0, 1, 2, 0] if n % 2 else [5, 0, 0, 3],
                    "langs": [language] * 4,
                }
                for n in numbers
            ], {"tokens": [TEXT], "ner_tags": {"feature": classes(*tags), "_type": "Sequence"}}
        case "translations":
            return [
                {
                    "source_sentence": text(n) + "\n",
                    "target_sentence": sentence("en", base + n) + "\n",
                    "source_lang": "x",
                    "target_lang": "eng",
                }
                for n in numbers
            ], {}
        case "copa":
            return [
                {
                    "premise": text(n),
                    "choice1": text(n + 50),
                    "choice2": text(n + 99),
                    "question": ("cause", "effect")[n % 2],
                    "label": n % 2,
                    "idx": n,
                }
                for n in numbers
            ], {"label": WHOLE}
    raise AssertionError(part.rule)


def commit(part: Part) -> str:
    return part.repository.commit or "f" * 40


def folder_of(root: Path, part: Part, config: str) -> tuple[Path, str]:
    """Where a part's Parquet is, and the beginning of its files' names."""
    base = root / "datasets" / part.repository.id / commit(part)
    if part.repository.branch == CONVERTED:
        return base / config / part.split, ""
    return base / ("data" if config == "default" else config), f"{part.split}-"


def publish(root: Path, tasks: Iterable[str], languages: Iterable[str], *, count: int = 24, shards: int = 1) -> None:
    """All that the hub has of some tasks, in some languages: so many rows a file."""
    for task in tasks:
        known = HUB[task]
        for split in known.splits:
            for language in ("en",) if split == "train" else languages:
                for part, config in known.parts(split, language):
                    _write(root, task, part, config, language, count, shards)


def _write(root: Path, task: str, part: Part, config: str, language: str, count: int, shards: int) -> None:
    made, features = rows(task, part, language, count)
    folder, begin = folder_of(root, part, config)
    folder.mkdir(parents=True, exist_ok=True)
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    size = -(-len(made) // shards)
    for shard in range(shards):
        table = pa.Table.from_pylist(made[shard * size : (shard + 1) * size])
        name = f"{begin}{shard:05d}-of-{shards:05d}.parquet" if begin else f"{shard:04d}.parquet"
        pq.write_table(table.replace_schema_metadata(told), folder / name)
    repository = root / "datasets" / part.repository.id
    refs = {"main": commit(part)} if part.repository.branch != CONVERTED else {"main": "c" * 40, CONVERTED: commit(part)}
    if part.repository.branch == CONVERTED:  # main has a script, which nobody runs
        (repository / ("c" * 40)).mkdir(exist_ok=True)
        (repository / ("c" * 40) / "script.py").write_text("raise SystemExit('code of a repository ran')\n")
    (repository / "refs.json").write_text(json.dumps(refs))
