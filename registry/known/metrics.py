"""Facts about metrics: whether more is better, and between what values a score can lie."""

import re
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score can be, as a fraction (1 is all right, or all wrong), and which way is better."""

    better: Better = "higher"
    low: float = 0.0
    high: float = 1.0

    def inside(self, score: float) -> bool:
        """Whether a score lies between the ends, and at neither."""
        return self.low < score < self.high


SHARE = Metric()
CORRELATION = Metric(low=-1.0)
RATE = Metric("lower", high=inf)
EDITS = frozenset("wer cer ter mer edit_distance".split())  # to words of the reference, of which there may be more than one each
# By the names that harnesses print; a metric of this kind may go on after its name, as acc_norm and rouge_l do.
KNOWN: dict[str, Metric] = {
    **dict.fromkeys(
        "accuracy acc f1 exact_match exact em precision recall entity_f1 f1_xtreme macro_f1 micro_f1 bleu sacrebleu chrf rouge "
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
