"""A small valid manifest that tests change, and a table."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tabled
from editable import Editable

from xlift.registry.manifest.load import load, read_manifest
from xlift.registry.study import Study
from xlift.registry.table import TableStudy

MANIFEST = Editable("""\
schema: xlift/1
id: example
question: Does it grow?
data: {source: lab, world: {test_items: 60, train_items: 200, sentences: 300}}
models:
  - {id: one, make: {layers: 1, hidden: 16, heads: 2}}
  - {id: two, make: {layers: 1, hidden: 32, heads: 2}}
  - {id: three, make: {layers: 2, hidden: 32, heads: 2}}
  - {id: four, make: {layers: 2, hidden: 48, heads: 2}}
pretrain:
  recipe: {lr: 3e-3, steps: 5, max_length: 48}
recipe: {lr: 1e-3, steps: 5, max_length: 48}
tasks:
  lab-entail: {recipe: {batch: 16}}
matrix:
  intermediate: [none, lab-paraphrase]
  target: [lab-entail, lab-pairs]
  seed: {count: 2, from: 7}
  exclude:
    - {when: "model == 'four' and seed.index >= 1", why: budget}
""")


@pytest.fixture
def manifest() -> str:
    return MANIFEST


@pytest.fixture
def study(tmp_path: Path):
    """A function from manifest text to a loaded study."""

    def make(text: str = MANIFEST, name: str = "study.yaml") -> Study:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load(path)

    return make


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., TableStudy]:
    """A function from rows, or a table's text, and a manifest to a loaded study."""

    def make(rows: tabled.Rows | str | None = None, manifest: str = tabled.MANIFEST) -> TableStudy:
        text = rows if isinstance(rows, str) else tabled.text_of(rows or tabled.table())
        (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
        (tmp_path / "study.yaml").write_text(manifest, encoding="utf-8")
        study = read_manifest(tmp_path / "study.yaml")
        assert isinstance(study, TableStudy)
        return study

    return make
