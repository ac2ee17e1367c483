"""BUCC 2018 as it is published (Zweigenbaum et al. 2018) becomes files of the kind `mine`: `xlift data bucc`.

A language has six files, `de-en.sample.de`, `.en` and `.gold` and the same of `training`: a sentence a line after its id, and
pairs of ids. As in XTREME (Hu et al. 2020), on the sample the threshold is set, and the training set is scored.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError
from xlift.registry.known.tasks import TASKS

SPLITS = {"sample": "dev", "training": "test"}


def convert(published: Path, data: Path) -> dict[Path, int]:
    """Write `data`/bucc/test.<language>.jsonl of every language that lies anywhere below `published`; sentences by file.

    Raises:
        UserError: there is none, or one lacks a file, or a line is not what it should be; then nothing is written.
    """
    found: dict[Path, list[str]] = {}
    for language in TASKS["bucc"].languages:
        if folders := sorted({path.parent for path in published.rglob(f"{language}-en.*.{language}") if path.is_file()}):
            found[data / "bucc" / f"test.{language}.jsonl"] = [
                line for split in SPLITS for line in _rows(folders, language, split)
            ]
    if not found:
        raise UserError(f"{published}: no de-en.sample.de, nor another language of BUCC 2018", "unpack its archives there")
    for path, lines in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(lines).encode())
    return {path: len(lines) for path, lines in found.items()}


def _rows(folders: list[Path], language: str, split: str) -> Iterator[str]:
    foreign, pivot, gold = (_pairs(folders, f"{language}-en.{split}.{end}") for end in (language, "en", "gold"))
    names: dict[str, list[str]] = defaultdict(list)
    for one, other in gold:
        names[one].append(one)  # a pair is called as its sentence that is not English
        names[other].append(one)
    if lost := names.keys() - {name for name, _ in (*foreign, *pivot)}:
        raise UserError(f"{language}-en.{split}.gold names {min(lost)}, which is none of the sentences")
    for side, sentences in (("source", foreign), ("pivot", pivot)):
        for name, text in sentences:
            row = {"text": text, "side": side, "pairs": list(dict.fromkeys(names.get(name, ()))), "split": SPLITS[split]}
            yield json.dumps(row, ensure_ascii=False) + "\n"


def _pairs(folders: list[Path], name: str) -> list[tuple[str, str]]:
    """The two columns of a file, which has to be in one of `folders`."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folders[0]}: no {name}", "unpack both archives of the language, sample-gold and training-gold")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        first, tab, second = line.rstrip("\r").partition("\t")
        if tab and first and second.strip():
            rows.append((first, second.strip()))
        elif line.strip():
            raise UserError(f"{path}:{number}: not two columns with a tab between them")
    return rows
