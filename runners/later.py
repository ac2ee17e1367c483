"""Modules that are imported when they are first used, so that what looks at data alone needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Later", "functional", "np", "torch"]


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
else:
    np = Later("numpy")
    torch = Later("torch")
    functional = Later("torch.nn.functional")
