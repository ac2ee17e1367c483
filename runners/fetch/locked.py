"""The lock of fetched data: which bytes of the hub each file was made of, by which rule, and what became of the rows.

It stands beside the manifest, is written by `xlift data fetch`, reviewed and committed; `xlift data verify` holds a folder
against it without a network. No token and no path of a machine is in it.
"""

from io import StringIO
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError, first_line
from xlift.registry.spec import Spec

FORM = "xlift-data/1"
HEAD = "# Written by `xlift data fetch`. Commit it: `xlift data verify` compares a folder with it, and needs no network.\n"


class Source(Spec):
    """A file of the hub at a commit; its digest is the hub's own: sha-256, or git's sha-1 of a small file."""

    repository: str
    commit: str
    path: str
    size: int
    digest: str


class Made(Spec):
    """A file that was made of rows of the hub."""

    file: str  # below the data folder, with /
    task: str
    split: str
    language: str
    sha256: str  # of its content
    rows: int
    repaired: int = 0
    dropped: dict[str, int] = {}  # reason -> rows
    rules: tuple[str, ...]  # name/version
    licence: str
    sources: tuple[Source, ...]


class Loaded(Spec):
    """The files of a model on the hub, at a commit."""

    hub: str
    revision: str
    sources: tuple[Source, ...]
    converted: dict[str, str] = {}  # file -> sha-256: what pickles and SentencePiece's file were made into


class DataLock(Spec):
    """What was fetched for a study, or into a folder."""

    form: Literal["xlift-data/1"] = Field("xlift-data/1", alias="schema")
    files: tuple[Made, ...] = ()
    models: tuple[Loaded, ...] = ()

    @property
    def by_file(self) -> dict[str, Made]:
        return {made.file: made for made in self.files}

    def having(self, made: Made) -> "DataLock":
        """The same with a file, in the order of their names."""
        kept = self.by_file | {made.file: made}
        return self.model_copy(update={"files": tuple(kept[name] for name in sorted(kept))})

    def loading(self, loaded: Loaded) -> "DataLock":
        """The same with a model."""
        kept = {model.hub: model for model in self.models} | {loaded.hub: loaded}
        return self.model_copy(update={"models": tuple(kept[name] for name in sorted(kept))})

    def commits(self) -> dict[str, str]:
        """The commit of each repository."""
        return {source.repository: source.commit for made in self.files for source in made.sources}


def path_beside(manifest: Path) -> Path:
    return manifest.with_name(f"{manifest.stem}.data.lock.yaml")


def read(path: Path) -> DataLock:
    """The lock of a path; an empty one where there is none. UserError where it is no such lock."""
    if not path.exists():
        return DataLock()
    try:
        return DataLock.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")), strict=False)
    except (ValidationError, YAMLError, UnicodeDecodeError) as error:
        do = "correct it, or delete it and run `xlift data fetch`, which makes it again"
        raise UserError(f"{path} is no lock of data of form {FORM} ({first_line(error)})", do) from None


def write(lock: DataLock, path: Path) -> None:
    yaml, buffer = YAML(), StringIO()
    yaml.width = 200
    yaml.dump(lock.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"schema": FORM}, buffer)
    write_atomically(path, (HEAD + buffer.getvalue()).encode())
