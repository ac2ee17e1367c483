"""What kinds of task are made of, imported when it is used: heads, tokens, metrics."""

from typing import TYPE_CHECKING

from xlift.runners.later import Later

__all__ = ["heads", "metrics", "tokens"]

if TYPE_CHECKING:
    from xlift.runners import metrics
    from xlift.runners.kinds import heads, tokens
else:
    metrics = Later("xlift.runners.metrics")
    heads = Later("xlift.runners.kinds.heads")
    tokens = Later("xlift.runners.kinds.tokens")
