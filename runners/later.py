"""Modules that are imported when they are first used, so that what looks at data alone needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Later", "functional", "heads", "metrics", "np", "tokens", "torch"]


class Later:
    """Stands for a module; its names are those of the module."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.nn import functional

    from xlift.runners import metrics
    from xlift.runners.kinds import heads, tokens
else:  # what the kinds of task are written with
    np = Later("numpy")
    torch = Later("torch")
    functional = Later("torch.nn.functional")
    metrics = Later("xlift.runners.metrics")
    heads = Later("xlift.runners.kinds.heads")
    tokens = Later("xlift.runners.kinds.tokens")
