"""How transformers' architectures are read here. Every `model_type` whose parameters are counted has its row."""

from dataclasses import dataclass
from typing import Literal

Reads = Literal["first", "mean", "last"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where the state of a whole text is taken from, and whether the model can be trained by masked language modelling.

    first: the first token, as BERT classifies (Devlin et al. 2019). mean: the mean over real tokens, better than the first
    token in an encoder that was never trained to put a summary there (Ni et al. 2022, section 5). last: the last token, the
    only one that has seen the whole text in a causal decoder (Radford et al. 2018, section 3.2).
    """

    reads: Reads
    masked: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of task that it runs on."""
        return ("pair", "tag", "span", "choice", "retrieve", *(("mlm",) if self.masked else ()))

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return self.reads == "last"


_ENCODER, _HALF, _DECODER = Architecture("first", True), Architecture("mean", False), Architecture("last", False)

ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(("bert", "roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "distilbert", "electra"), _ENCODER),
    **dict.fromkeys(("rembert", "deberta-v2", "modernbert", "eurobert"), _ENCODER),
    "mt5": _HALF,  # its encoder
    **dict.fromkeys(("bloom", "xglm", "qwen2", "qwen3"), _DECODER),
}

LANGUAGE_HEADS = (  # names of a masked language model's own head -> those of ours, XLM-R's family, BERT's, ELECTRA's
    {"lm_head.dense": "dense", "lm_head.layer_norm": "norm", "lm_head.bias": "bias"},
    {"cls.predictions.transform.dense": "dense", "cls.predictions.transform.LayerNorm": "norm", "cls.predictions.bias": "bias"},
    {"generator_predictions.dense": "dense", "generator_predictions.LayerNorm": "norm", "generator_lm_head.bias": "bias"},
)
