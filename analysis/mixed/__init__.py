"""Linear mixed models for small samples: start reading at `model`."""

from xlift.analysis.mixed.inference import METHODS
from xlift.analysis.mixed.model import Fit, NotConverged, fit

__all__ = ["METHODS", "Fit", "NotConverged", "fit"]
