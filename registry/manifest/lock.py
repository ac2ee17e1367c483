"""The lock of a tuned study: what its searches found.

`study.lock.yaml` stands beside `study.yaml`, is written by `xlift tune`, reviewed and committed. Its values are in the ids
of the stages that they train; dates, hosts and the other trials stay in the store.
"""

from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from xlift.registry.card import Scalar
from xlift.registry.files import small
from xlift.registry.findings import BadInput, Finding, Place, relative
from xlift.registry.manifest import document
from xlift.registry.spec import Spec
from xlift.registry.stage import Positive
from xlift.registry.tuning import Search, Values, as_recipe

FORM = "xlift-lock/1"
HEAD = """\
# Written by `xlift tune`: what it found on development data in the source language. Review it and commit it.
# The values are in the ids of the stages that they train; scores are fractions.
"""


class Winner(Spec):
    """What one search found. `basis` is a digest of what it was found under: another basis asks for another search."""

    model: str
    intermediate: str
    variant: str = "plain"
    target: str | None = None
    recipe: dict[str, Scalar]
    trial: int
    trials: Positive
    seed: int
    score: float
    basis: str

    @property
    def search(self) -> Search:
        return Search(self.model, self.intermediate, self.variant, self.target)

    @property
    def values(self) -> Values:
        return tuple(sorted(self.recipe.items()))


class Lock(Spec):
    """The winners of a study."""

    form: Literal["xlift-lock/1"] = Field(alias="schema")
    study: str
    winners: tuple[Winner, ...]

    @cached_property
    def by_search(self) -> dict[Search, Winner]:
        return {winner.search: winner for winner in self.winners}


def lock_path(manifest: Path) -> Path:
    return manifest.with_name(f"{manifest.stem}.lock.yaml")


def read_lock(manifest: Path, study: str) -> Lock | None:
    """The lock beside a manifest; None where there is none. BadInput, with places, where it is not one of this study."""
    path = lock_path(manifest)
    file = relative(path)
    try:
        data = small(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput([Finding("E130", Place(file), f"{file} {(error.strerror or str(error)).lower()}", "delete it")]) from None
    node, findings = document.read(data, file)
    sources = {file: data.decode("utf-8-sig")}
    again = "correct it, or delete it and run `xlift tune`, which finds it again from the store"
    if any(finding.stops for finding in findings):
        raise BadInput(findings, sources)
    form = node.at(("schema",))
    if isinstance(form.value, str) and form.value.startswith("xlift-lock/") and form.value != FORM:
        version_of = f"this version reads {FORM}; use the version that wrote it"
        raise BadInput([Finding("E141", form.place, f"the lock is of form {form.value}", version_of)], sources)
    try:
        lock = Lock.model_validate(node.plain(), strict=False)
    except ValidationError as errors:
        findings += [
            Finding("E141", node.at(slip["loc"]).place, f"{slip['loc'][-1]}: {slip['msg']}", again) for slip in errors.errors()
        ]
        raise BadInput(findings, sources) from None
    if lock.study != study:
        raise BadInput([Finding("E142", node.at(("study",)).place, f"this is the lock of study '{lock.study}'", again)])
    for index, winner in enumerate(lock.winners):
        try:
            as_recipe(winner.values)
        except ValidationError as errors:
            place = node.at(("winners", index, "recipe", *errors.errors()[0]["loc"])).place
            raise BadInput([Finding("E141", place, f"recipe: {errors.errors()[0]['msg']}", again)]) from None
    return lock


def write_lock(lock: Lock) -> bytes:
    """The text of a lock; equal locks give equal bytes."""
    yaml = YAML()
    yaml.default_flow_style = None  # mappings of plain values in one line
    yaml.width = 200
    buffer = StringIO()
    yaml.dump(lock.model_dump(mode="json", by_alias=True, exclude_defaults=True), buffer)
    return (HEAD + buffer.getvalue()).encode()
