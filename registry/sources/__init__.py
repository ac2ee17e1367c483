"""Sources of examples: one module each, whose section a manifest may give as `data`."""

from typing import Annotated, get_args

from pydantic import Field

from xlift.registry.sources.base import Section, Source, Subset
from xlift.registry.sources.lab import Lab
from xlift.registry.sources.local import Local

__all__ = ["SOURCES", "DataSection", "Section", "Source", "Subset"]

DataSection = Annotated[Lab | Local, Field(discriminator="source")]
SOURCES: dict[str, type[Section]] = {
    get_args(section.model_fields["source"].annotation)[0]: section for section in get_args(get_args(DataSection)[0])
}
