"""The lab's generator: meanings first (`meaning`), then languages (`language`, `realise`), then tasks (`tasks`)."""

from runners.data.lab.tasks import read

__all__ = ["read"]
