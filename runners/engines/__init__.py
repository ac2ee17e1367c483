"""Where workers are started: an engine says with what resources, how many, and for how long, and starts `xlift worker`.

Stages are claimed from the store, so an engine hands out none; what it starts may die at any time. One file each:

    <name>.py has ENGINE, which does what `base.Engine` says; what it asks of a profile is a section of `registry.profile`
"""

from importlib import import_module
from pathlib import Path

from xlift.registry.findings import UserError, similar
from xlift.runners.engines.base import Engine

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "base")))


def engine(name: str) -> Engine:
    """The engine of a name, one of NAMES. UserError where it is none."""
    if name not in NAMES:
        raise UserError(f"no engine '{name}'", similar(name, NAMES))
    return import_module(f"xlift.runners.engines.{name}").ENGINE
