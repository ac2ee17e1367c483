"""Runs as people look at them, in MLflow: written from the store, and complete again after `xlift sync`."""

from xlift.runners.tracking.live import followed
from xlift.runners.tracking.mirror import Mirror, logged
from xlift.runners.tracking.server import TrackingError, serve

__all__ = ["Mirror", "TrackingError", "followed", "logged", "serve"]
