"""Facts about metrics by the names that harnesses print: whether more is better, and between what values a score can lie."""

import re
from functools import cache

from xlift.registry.kinds import CORRELATION, COUNTED, KINDS, RATE, SHARE, Metric

EDITS = frozenset("wer cer ter mer edit_distance".split())  # to words of the reference, of which there may be more than one each
# By the names that harnesses print; a metric of this kind may go on after its name, as acc_norm and rouge_l do.
KNOWN: dict[str, Metric] = {
    **{each.name: each.metric for kind in KINDS.values() for each in kind.metrics},
    **dict.fromkeys("accuracy acc exact_match".split(), COUNTED),  # of tags it is of words, but a table does not say so
    **dict.fromkeys(
        "exact em precision recall macro_f1 micro_f1 bleu sacrebleu chrf rouge "
        "meteor map mrr ndcg auc auroc hits uas las score win_rate pass".split(),
        SHARE,
    ),
    **dict.fromkeys("mcc matthews matthews_correlation pearson spearman kendall kappa cohen_kappa r2".split(), CORRELATION),
    **dict.fromkeys(EDITS, RATE),
    **dict.fromkeys("error error_rate".split(), Metric("lower")),
    **dict.fromkeys("loss nll perplexity ppl word_perplexity byte_perplexity bits_per_byte brier mse rmse mae".split(), RATE),
}
AFTER = ("accuracy", "acc", "f1", "exact_match", "precision", "recall", "rouge", "bleu", "ndcg", "hits", "pass")


@cache
def known(name: str) -> Metric | None:
    """The facts of a metric by its name, as harnesses write it ("acc_norm,none", "eval_f1", "ndcg@10"); None if not known."""
    plain = _plain(name)
    found = KNOWN.get(plain)
    return found or next((KNOWN[start] for start in AFTER if plain.startswith(f"{start}_")), None)


@cache
def edits(name: str) -> bool:
    """Whether a metric is a rate of edits: a fraction above 1 can be, and one far above it is a percentage."""
    return _plain(name) in EDITS


@cache
def spread(name: str) -> bool:
    """Whether a name is of how far scores scatter, which harnesses print as a metric of its own: acc_stderr, f1_std."""
    return bool(re.search(r"(^|_)(stderr|std|sd|se|ci|var|variance)$", _plain(name)))


def _plain(name: str) -> str:
    plain = re.sub(r"^(test|eval|dev|val|validation)[_/]", "", name.strip().casefold()).split(",")[0]
    return re.sub(r"[@ -].*", "", plain)
