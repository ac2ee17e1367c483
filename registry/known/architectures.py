"""How transformers' architectures are read here. Every `model_type` whose parameters are counted has its row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Reads = Literal["first", "mean", "last"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where the state of a whole text is taken from, and what its own head of masked language modelling is called.

    first: the first token, as BERT classifies (Devlin et al. 2019). mean: the mean over real tokens, better than the first
    token in an encoder that was never trained to put a summary there (Ni et al. 2022, section 5). last: the last token, the
    only one that has seen the whole text in a causal decoder (Radford et al. 2018, section 3.2).

    language_head: the names of that head's parts -> those of ours (`kinds.mlm`). Empty where its form is not known here, so
    that a new one is drawn; None for a model that has not learnt masked language modelling.
    """

    reads: Reads
    language_head: Mapping[str, str] | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of task that it runs on."""
        return ("pair", "tag", "span", "choice", "retrieve", "mine", *(("mlm",) if self.masked else ()))

    @property
    def masked(self) -> bool:
        """Whether it can be trained by masked language modelling."""
        return self.language_head is not None

    def brings_language_head(self, tensors: Collection[str]) -> bool:
        """Whether weights of these names have that head, whole."""
        parts = {name.rsplit(".", 1)[0] for name in tensors} | set(tensors)
        return bool(self.language_head) and set(self.language_head) <= parts

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return self.reads == "last"


_HALF, _DECODER = Architecture("mean", None), Architecture("last", None)
_BERT = {
    "cls.predictions.transform.dense": "dense",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions.bias": "bias",
}
_ROBERTA = {"lm_head.dense": "dense", "lm_head.layer_norm": "norm", "lm_head.bias": "bias"}
_DISTILLED = {"vocab_transform": "dense", "vocab_layer_norm": "norm", "vocab_projector.bias": "bias"}
_GENERATOR = {"generator_predictions.dense": "dense", "generator_predictions.LayerNorm": "norm", "generator_lm_head.bias": "bias"}
_MODERN = {"head.dense": "dense", "head.norm": "norm", "decoder.bias": "bias"}
_MATRIX = {"lm_head": "matrix"}  # one map onto the vocabulary, and nothing before it

ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(("bert", "deberta-v2"), Architecture("first", _BERT)),
    **dict.fromkeys(("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl"), Architecture("first", _ROBERTA)),
    "distilbert": Architecture("first", _DISTILLED),
    "electra": Architecture("first", _GENERATOR),
    "modernbert": Architecture("first", _MODERN),
    "eurobert": Architecture("first", _MATRIX),
    "rembert": Architecture("first", {}),
    "mt5": _HALF,  # its encoder
    **dict.fromkeys(("bloom", "xglm", "qwen2", "qwen3"), _DECODER),
}
