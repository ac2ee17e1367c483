"""Meta-analysis of effects with known sampling variances, and its forest plot."""

from xlift.analysis.meta.model import Meta, generalized_q, meta, q_profile, robust

__all__ = ["Meta", "generalized_q", "meta", "q_profile", "robust"]
