"""How transformers' architectures are read here: a row for every `model_type`, which is all that a new one needs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xlift.registry.kinds import CORPORA, KINDS
from xlift.registry.known import formulas
from xlift.registry.known.formulas import Formula

Reads = Literal["first", "mean", "last"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """How models of one `model_type` are counted and read.

    first: the first token, as BERT classifies (Devlin et al. 2019). mean: the mean over real tokens, better than the first
    token in an encoder that was never trained to put a summary there (Ni et al. 2022, section 5). last: the last token, the
    only one that has seen the whole text in a causal decoder (Radford et al. 2018, section 3.2).

    language_head: the names of that head's parts -> those of ours (`kinds.mlm`). Empty where its form is not known here, so
    that a new one is drawn; None for a model that has not learnt masked language modelling.
    """

    count: Formula  # of an encoder-decoder: of its encoder
    fields: frozenset[str]  # of its config.json that are read; all others are nobody's choice here: dropouts are the recipe's
    reads: Reads
    language_head: Mapping[str, str] | None
    dropouts: tuple[str, ...]  # of its configuration, which the recipe's `dropout` stands for
    attention_dropouts: tuple[str, ...]  # and its `attention_dropout`
    from_padding: bool = False  # positions are numbered from the padding token on
    whole: Formula | None = None  # of an encoder-decoder, with its decoder and an output matrix of its own
    classes: tuple[str, str] | None = None  # of transformers: its encoder, and the whole; those of `AutoModel` where absent

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of task that it runs on."""
        return tuple(name for name in KINDS if name not in CORPORA or self.masked)

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

_COMMON = "vocab_size initializer_range pad_token_id bos_token_id eos_token_id tie_word_embeddings"
_SIZES = "hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act max_position_embeddings"
_LLAMA = f"{_SIZES} num_key_value_heads head_dim rms_norm_eps attention_bias mlp_bias rope_parameters rope_theta rope_scaling"
_WINDOWS = "layer_types sliding_window use_sliding_window max_window_layers"
_BERTS = f"{_SIZES} type_vocab_size layer_norm_eps"
_DISTIL = (
    "dim n_layers n_heads hidden_dim activation max_position_embeddings sinusoidal_pos_embds "
    "hidden_size num_hidden_layers num_attention_heads"
)
_DEBERTA = (
    f"{_BERTS} relative_attention max_relative_positions position_buckets position_biased_input pos_att_type "
    "share_att_key norm_rel_ebd embedding_size conv_kernel_size conv_groups conv_act legacy"
)
_MODERNBERT = (
    f"{_SIZES} hidden_activation norm_eps norm_bias attention_bias mlp_bias layer_types local_attention "
    "global_attn_every_n_layers rope_parameters rope_theta rope_scaling global_rope_theta local_rope_theta "
    "initializer_cutoff_factor decoder_bias cls_token_id sep_token_id"
)
_T5 = (
    "d_model d_kv d_ff num_layers num_decoder_layers num_heads relative_attention_num_buckets "
    "relative_attention_max_distance layer_norm_epsilon initializer_factor feed_forward_proj decoder_start_token_id "
    "hidden_size num_hidden_layers num_attention_heads"
)
_BLOOM = (
    "hidden_size n_embed n_layer n_head num_hidden_layers num_attention_heads layer_norm_epsilon "
    "apply_residual_connection_post_layernorm"
)
_XGLM = (
    "d_model num_layers attention_heads ffn_dim activation_function max_position_embeddings scale_embedding init_std "
    "decoder_start_token_id hidden_size num_hidden_layers num_attention_heads"
)


def _row(count: Formula, fields: str, reads: Reads, language_head: Mapping[str, str] | None, **more: Any) -> Architecture:
    more = {"dropouts": ("hidden_dropout_prob",), "attention_dropouts": ("attention_probs_dropout_prob",)} | more
    return Architecture(count, frozenset(f"{_COMMON} {fields}".split()), reads, language_head, **more)


_PLAIN: dict[str, Any] = {"dropouts": ("dropout",), "attention_dropouts": ("attention_dropout",)}
_ATTENTION: dict[str, Any] = {"dropouts": (), "attention_dropouts": ("attention_dropout",)}
ARCHITECTURES: dict[str, Architecture] = {
    "bert": _row(formulas.bert, _BERTS, "first", _BERT),
    **dict.fromkeys(
        ("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl"),
        _row(formulas.bert, _BERTS, "first", _ROBERTA, from_padding=True),
    ),
    "rembert": _row(formulas.rembert, f"{_BERTS} input_embedding_size output_embedding_size", "first", {}),
    "electra": _row(formulas.electra, f"{_BERTS} embedding_size", "first", _GENERATOR),
    "distilbert": _row(formulas.distilbert, _DISTIL, "first", _DISTILLED, **_PLAIN),
    "deberta-v2": _row(formulas.deberta, _DEBERTA, "first", _BERT),
    "modernbert": _row(
        formulas.modernbert,
        _MODERNBERT,
        "first",
        _MODERN,
        dropouts=("embedding_dropout", "mlp_dropout"),
        attention_dropouts=("attention_dropout",),
    ),
    "eurobert": _row(formulas.eurobert, f"{_LLAMA} mask_token_id", "first", _MATRIX, **_ATTENTION),
    "mt5": _row(
        formulas.mt5_encoder,
        _T5,
        "mean",
        None,
        dropouts=("dropout_rate",),
        attention_dropouts=(),
        whole=formulas.mt5,
        classes=("MT5EncoderModel", "MT5ForConditionalGeneration"),
    ),
    "bloom": _row(formulas.bloom, _BLOOM, "last", None, dropouts=("hidden_dropout",), attention_dropouts=("attention_dropout",)),
    "xglm": _row(formulas.xglm, _XGLM, "last", None, **_PLAIN),
    "qwen2": _row(formulas.qwen2, f"{_LLAMA} {_WINDOWS}", "last", None, **_ATTENTION),
    "qwen3": _row(formulas.qwen3, f"{_LLAMA} {_WINDOWS}", "last", None, **_ATTENTION),
}
