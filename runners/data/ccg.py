"""CCGbank as it is published (Hockenmaier and Steedman 2007, LDC2005T13) becomes files of tags: `xlift data ccg`.

Derivations are below `data/AUTO`, a folder a section, a line of `ID=` before each. Sections 02 to 21 are trained on and 00 is
development data, as usual in supertagging. A word is a leaf: `(<L category POS POS word category>)`; its tag is its category.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError

LEAF = re.compile(r"\(<L (\S+) \S+ \S+ (\S+) \S+>\)")
SECTION = re.compile(r"^wsj_(\d\d)\d\d\.auto$")
TRAIN, DEV = range(2, 22), range(0, 1)
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LCB-": "{", "-RCB-": "}", "-LSB-": "[", "-RSB-": "]"}  # as the treebank writes them
LABELS = "labels.yaml"


def convert(published: Path, data: Path) -> dict[Path, int]:
    """Write `data`/ccg/train.en.jsonl, dev.en.jsonl and labels.yaml, which a manifest may extend; sentences by file.

    Raises:
        UserError: there is no CCGbank, or a derivation has no word; then nothing is written.
    """
    found: dict[str, list[str]] = {"train": [], "dev": []}
    labels: set[str] = set()
    for path in sorted(published.rglob("wsj_*.auto"), key=lambda path: path.name):
        name = SECTION.match(path.name)
        split = None if not name else "train" if int(name[1]) in TRAIN else "dev" if int(name[1]) in DEV else None
        for words, tags in _sentences(path) if split else ():
            found[str(split)].append(json.dumps({"tokens": words, "tags": tags}, ensure_ascii=False) + "\n")
            labels |= {*tags} if split == "train" else set()
    if not found["train"]:
        raise UserError(f"{published}: no wsj_0200.auto, nor another derivation of CCGbank", "give the folder of LDC2005T13")
    # categories that development data alone have cannot be learnt, and stand among the labels all the same
    labels |= {tag for line in found["dev"] for tag in json.loads(line)["tags"]}
    folder = data / "ccg"
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / f"{split}.en.jsonl": lines for split, lines in found.items() if lines}
    for path, lines in made.items():
        write_atomically(path, "".join(lines).encode())
    listed = "".join(f"      - {json.dumps(label)}\n" for label in sorted(labels))
    write_atomically(
        folder / LABELS, f"# Written by `xlift data ccg`: extends: [{LABELS}]\ntasks:\n  ccg:\n    labels:\n{listed}".encode()
    )
    return {path: len(lines) for path, lines in made.items()}


def _sentences(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip() or line.startswith("ID="):
            continue
        leaves = LEAF.findall(line)
        if not leaves:
            raise UserError(f"{path}:{number}: no word in this derivation", "copy the file again")
        yield [BRACKETS.get(word, word) for _, word in leaves], [category for category, _ in leaves]
