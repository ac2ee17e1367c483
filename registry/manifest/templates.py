"""What `xlift init` and `xlift import` write."""

import json
import os
import re
from pathlib import Path

from xlift.registry.table import NEEDED, Table, number

STUDY = """\
# yaml-language-server: $schema=manifest.schema.json   (xlift schema > manifest.schema.json)
schema: xlift/1
id: NAME
question: Does the gain from intermediate training change with model size?
data: {source: lab}                       # or: local, with --data DIR
models:                                   # parameters are computed from these shapes, never typed
  - {id: tiny,   make: {layers: 1, hidden: 48,  heads: 3}}
  - {id: small,  make: {layers: 2, hidden: 64,  heads: 4}}
  - {id: medium, make: {layers: 2, hidden: 96,  heads: 4}}
  - {id: large,  make: {layers: 3, hidden: 128, heads: 4}}
pretrain:
  recipe: {lr: 4e-3, batch: 32, steps: 600, max_length: 48, mask: 0.3, dropout: 0, head_dropout: 0}
recipe: {lr: 1e-3, batch: 32, epochs: 2, max_length: 64, dropout: 0, head_dropout: 0}
matrix:
  intermediate: [none, lab-span]
  target: [lab-pos, lab-pairs]
  seed: {count: 2, from: 1}
analysis:
  x: params_non_embedding
"""

TABLE = """\
schema: xlift/1
id: NAME
question: Does the gain from intermediate training change with model size?
data:
  source: table
  file: FILE
  origin: imported                        # or: own, published
  unit: UNIT                              # or: UNLIKE
  columns:                                # what the table's columns are; see that these guesses are right
COLUMNS
  # where: "split == 'test'"              # which rows, over the table's columns
analysis: {x: params_total}
"""
GUESSES = {  # role -> beginnings of names that its column may have
    "model": ("model", "name"),
    "parameters": ("param", "size"),
    "family": ("family", "model_family"),
    "intermediate": ("intermediate", "treatment", "pretask"),
    "target": ("target", "task", "dataset"),
    "language": ("language", "lang"),
    "seed": ("seed",),
    "metric": ("metric",),
    "score": ("score", "value", "accuracy", "f1", "result"),
    "items": ("items", "examples"),
    "chance": ("chance",),
    "source": ("source", "paper"),
    "protocol": ("protocol", "table"),
}


def of_the_lab(study: Path) -> str:
    """A small study in the lab to start from."""
    return STUDY.replace("NAME", named_by(study))


def named_by(study: Path) -> str:
    """The id that a manifest's file name makes."""
    return re.sub("[^a-z0-9]+", "-", study.stem.lower()).strip("-") or "study"


def of_table(table: Table, path: Path, study: Path) -> str:
    """A manifest to start from: each column by the role that its name may mean; a column that is none is named too."""
    free, found = list(table.columns), dict[str, str]()
    for role, names in GUESSES.items():
        for begin in names:
            near = next((name for name in free if name.lower().startswith(begin)), None)
            if near and role not in found:
                found[role] = near
                free.remove(near)
    scores = [text for _, texts in table.rows if (text := texts.get(found.get("score", ""), ""))]
    percent = any((number(text) or 0) > 1 for text in scores)
    lines = [f"    {role}: {json.dumps(name, ensure_ascii=False)}" for role, name in found.items()]
    lines += [f"    {role}: …" for role in NEEDED if role not in found]
    lines += [f"    # of no use so far: {', '.join(free)}"] if free else []
    words = {
        "NAME": named_by(study),
        "FILE": json.dumps(os.path.relpath(path, study.parent), ensure_ascii=False),
        "UNIT": "percent " if percent else "fraction",
        "UNLIKE": "fraction" if percent else "percent",
        "COLUMNS": "\n".join(lines),
    }
    return re.sub("|".join(words), lambda match: words[match[0]], TABLE)
