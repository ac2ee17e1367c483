"""Files of the store that carry a form number: read as what they are, or refused by naming it; never guessed, never written over.

A file that is whole and not understood is another version's, and stays as it is. One that is not even JSON is damaged: it counts
as nothing, which is said, and what is written in its place sets it aside.
"""

import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from xlift.registry.files import whole, write_atomically
from xlift.registry.findings import UserError
from xlift.registry.spec import Spec

FORM = 1  # of all that is kept; raised when a file's content changes in a way that an older version would misread
ASIDE = ".unreadable"  # behind the name of a damaged file that another was written in place of
K = TypeVar("K", bound="Kept")


class NotUnderstood(UserError):
    """A whole file that another version wrote."""


class NotRead(UserWarning):
    """A file that counts as nothing: damaged, or another version's."""


class Kept(Spec):
    """What stands in a file of its own. Version 0.1.0 first wrote no form number; its files are read as form 1."""

    form: int = Field(FORM, description="of the file")


def read(kind: type[K], path: Path, *, say: bool = True) -> K | None:
    """What a file holds; None where there is none, or, with a warning, where it is damaged.

    Raises:
        NotUnderstood: it is whole, and another version's; or it cannot be read at all.
    """
    try:
        found = json.loads(data := whole(path))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotUnderstood(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        if say:
            warnings.warn(f"{path} is damaged ({error}), and counts as nothing", NotRead, stacklevel=2)
        return None
    form = found.get("form", 1)
    if not isinstance(form, int) or not 0 < form <= FORM:
        raise NotUnderstood(f"{path} is of form {form}, and {_reads()}; use the version that wrote it")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        slip = error.errors()[0]
        where = ".".join(map(str, slip["loc"]))
        raise NotUnderstood(
            f"{path} is not understood ({where}: {slip['msg'].lower()}), and {_reads()}; use the version that wrote it"
        ) from None


def _reads() -> str:
    return f"xlift {version('xlift')} reads form {FORM}"


def write(path: Path, content: Kept) -> None:
    """Write a file whole or not at all, and set a damaged one in its place aside.

    Raises:
        NotUnderstood: another version's file stands there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and read(type(content), path, say=False) is None:
        os.replace(path, path.with_name(path.name + ASIDE))
    write_atomically(path, content.model_dump_json(indent=1).encode())
