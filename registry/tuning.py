"""Tuning as a study declares it: which searches there are, and what each is made under."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xlift.registry.card import Scalar
from xlift.registry.manifest.sections import Tuning
from xlift.registry.spec import digest
from xlift.registry.stage import Recipe

ALL = "*"  # in the place of an intermediate: all of them share one search
Treated = tuple[str, str]  # intermediate and variant
Values = tuple[tuple[str, Scalar], ...]  # of fields of a recipe, by name


def told(values: Mapping[str, Scalar]) -> str:
    """Values of a recipe in a few words."""
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


class Search(NamedTuple):
    """One search: of an intermediate training, or, with a target, of the training on that task."""

    model: str
    intermediate: str
    variant: str = "plain"
    target: str | None = None  # the task that is trained

    @property
    def name(self) -> str:
        """Such as 'tiny/lab-span', 'tiny/lab-span+mlm' or 'tiny/none/lab-pos'."""
        treated = self.intermediate + ("" if self.variant == "plain" else f"+{self.variant}")
        return "/".join(filter(None, (self.model, treated, self.target)))


def as_recipe(values: Values) -> Recipe:
    """Values as what they change in a recipe."""
    return Recipe.model_validate(dict(values))


def search_of(tuning: Tuning, model: str, intermediate: str, variant: str, target: str | None = None) -> Search | None:
    """The search whose winner gives a training its values; None where it is not tuned. Text alone has no score to be tuned by."""
    if ("target" if target else "intermediate") not in tuning.roles or (target is None and intermediate == "none"):
        return None
    return Search(model, intermediate, variant, target) if "intermediate" in tuning.per else Search(model, ALL, target=target)


def basis(tuning: Tuning, stages: Sequence[tuple[str, dict[str, str]]], *, budget: bool = True) -> str:
    """A digest of a section of the manifest, its budget or not, and of the stages that it stands on: their ids, and the digests
    of the data that they are scored on."""
    loose = {"beside", "roles", "per"} | (set() if budget else {"trials", "hours"})
    return digest([tuning.model_dump(mode="json", exclude=loose), stages])[:16]
