"""Where workers are started: an engine says with what resources, how many, and for how long, and starts `xlift worker`.

Stages are claimed from the store, so an engine hands out none; what it starts may die at any time. One file each:

    ENGINES["name"] is a module with MISSING() -> why it cannot be used here, scripts, submit, states and cancel (`base.Engine`).
"""

from importlib import import_module

from xlift.runners.engines.base import Engine

NAMES = ("local", "slurm", "ray")


def engine(name: str) -> Engine:
    """The engine of a name, one of NAMES."""
    return import_module(f"xlift.runners.engines.{name}").ENGINE
