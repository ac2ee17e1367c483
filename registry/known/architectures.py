"""How transformers' architectures are read here. Every `model_type` whose parameters are counted has its row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from xlift.registry.kinds import CORPORA, KINDS

Reads = Literal["first", "mean", "last"]


_COMMON = "vocab_size initializer_range pad_token_id bos_token_id eos_token_id tie_word_embeddings"
_SIZES = "hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act max_position_embeddings"
_LLAMA = f"{_SIZES} num_key_value_heads head_dim rms_norm_eps attention_bias mlp_bias rope_parameters rope_theta rope_scaling"
_WINDOWS = "layer_types sliding_window use_sliding_window max_window_layers"
_BERTS = f"{_SIZES} type_vocab_size layer_norm_eps"
_FIELDS = {
    **dict.fromkeys(("bert", "roberta", "camembert", "xlm-roberta", "xlm-roberta-xl"), _BERTS),
    "rembert": f"{_BERTS} input_embedding_size output_embedding_size",
    "electra": f"{_BERTS} embedding_size",
    "distilbert": "dim n_layers n_heads hidden_dim activation max_position_embeddings sinusoidal_pos_embds "
    "hidden_size num_hidden_layers num_attention_heads",
    "deberta-v2": f"{_BERTS} relative_attention max_relative_positions position_buckets position_biased_input pos_att_type "
    "share_att_key norm_rel_ebd embedding_size conv_kernel_size conv_groups conv_act legacy",
    "modernbert": f"{_SIZES} hidden_activation norm_eps norm_bias attention_bias mlp_bias layer_types local_attention "
    "global_attn_every_n_layers rope_parameters rope_theta rope_scaling global_rope_theta local_rope_theta "
    "initializer_cutoff_factor decoder_bias cls_token_id sep_token_id",
    "eurobert": f"{_LLAMA} mask_token_id",
    "mt5": "d_model d_kv d_ff num_layers num_decoder_layers num_heads relative_attention_num_buckets "
    "relative_attention_max_distance layer_norm_epsilon initializer_factor feed_forward_proj decoder_start_token_id "
    "hidden_size num_hidden_layers num_attention_heads",
    "bloom": "hidden_size n_embed n_layer n_head num_hidden_layers num_attention_heads layer_norm_epsilon "
    "apply_residual_connection_post_layernorm",
    "xglm": "d_model num_layers attention_heads ffn_dim activation_function max_position_embeddings scale_embedding init_std "
    "decoder_start_token_id hidden_size num_hidden_layers num_attention_heads",
    **dict.fromkeys(("qwen2", "qwen3"), f"{_LLAMA} {_WINDOWS}"),
}
# The fields of a config.json that are read, by model_type. All others are nobody's choice here: dropouts are the recipe's.
FIELDS: dict[str, frozenset[str]] = {kind: frozenset(f"{_COMMON} {names}".split()) for kind, names in _FIELDS.items()}


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
