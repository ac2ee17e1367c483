"""Meta-analysis of effects with known sampling variances, and its forest plot."""

from xlift.analysis.meta.model import Meta, cut_terms, generalized_q, meta, q_profile, robust

__all__ = ["Meta", "cut_terms", "generalized_q", "meta", "q_profile", "robust"]
