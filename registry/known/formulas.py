"""Numbers of parameters of embeddings and body, from a configuration: a formula for each form of model (no torch).

Embeddings are the word, position and type tables. Not counted: poolers, and output matrices other than mT5's, which
its published sizes include. Relative position tables (mT5, DeBERTa) belong to the body. The formulas follow the
modules of transformers 5.23; a test compares every one with the modules themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

from xlift.registry.findings import UserError

Config = Mapping[str, Any]
Formula = Callable[[Config], tuple[int, int]]


def size(config: Config, *names: str, least: int = 1) -> int:
    """The whole number under the first of `names` that is there; the others are its older spellings."""
    for name in names:
        if config.get(name) is not None:
            value = config[name]
            if type(value) is not int or value < least:
                raise UserError(
                    f"configuration of type {config['model_type']!r}: {name!r} is {value!r}; "
                    f"a whole number of at least {least} would do"
                )
            return value
    raise UserError(f"configuration of type {config['model_type']!r} has no {' or '.join(map(repr, names))}")


def _sizes(config: Config, *names: str) -> tuple[int, ...]:
    return tuple(size(config, name) for name in names)


def _switch(config: Config, name: str, default: bool) -> bool:
    """A yes or no; `default` is that of transformers."""
    value = config.get(name, default)
    if type(value) is not bool:
        raise UserError(f"configuration of type {config['model_type']!r}: {name!r} is {value!r}; true or false would do")
    return value


def _linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + bias * outputs


def _norm(width: int, bias: bool = True) -> int:
    return width + bias * width


def _block(hidden: int, inner: int) -> int:
    """One transformer block with biases: four projections, two feed-forward maps, two normalisations."""
    return 4 * _linear(hidden, hidden) + _linear(hidden, inner) + _linear(inner, hidden) + 2 * _norm(hidden)


def bert(config: Config) -> tuple[int, int]:
    """BERT and RoBERTa; XLM-R XL has its one extra normalisation after the blocks instead of before them."""
    hidden = size(config, "hidden_size")
    rows = sum(_sizes(config, "vocab_size", "max_position_embeddings", "type_vocab_size"))
    blocks = size(config, "num_hidden_layers") * _block(hidden, size(config, "intermediate_size"))
    return rows * hidden, _norm(hidden) + blocks


def rembert(config: Config) -> tuple[int, int]:
    """BERT with narrow input embeddings (Chung et al. 2021)."""
    hidden, narrow = _sizes(config, "hidden_size", "input_embedding_size")
    rows = sum(_sizes(config, "vocab_size", "max_position_embeddings", "type_vocab_size"))
    blocks = size(config, "num_hidden_layers") * _block(hidden, size(config, "intermediate_size"))
    return rows * narrow, _norm(narrow) + _linear(narrow, hidden) + blocks


def distilbert(config: Config) -> tuple[int, int]:
    """DistilBERT: BERT without types, under its own names of sizes (Sanh et al. 2019)."""
    hidden = size(config, "dim", "hidden_size")
    rows = sum(_sizes(config, "vocab_size", "max_position_embeddings"))
    layers = size(config, "n_layers", "num_hidden_layers")
    return rows * hidden, _norm(hidden) + layers * _block(hidden, size(config, "hidden_dim"))


def electra(config: Config) -> tuple[int, int]:
    """ELECTRA: BERT whose embeddings may be narrower than its blocks (Clark et al. 2020)."""
    hidden, narrow = _sizes(config, "hidden_size", "embedding_size")
    rows = sum(_sizes(config, "vocab_size", "max_position_embeddings", "type_vocab_size"))
    blocks = size(config, "num_hidden_layers") * _block(hidden, size(config, "intermediate_size"))
    return rows * narrow, _norm(narrow) + (_linear(narrow, hidden) if narrow != hidden else 0) + blocks


def deberta(config: Config) -> tuple[int, int]:
    """DeBERTa v2 and v3: disentangled attention (He et al. 2021), optionally a convolution beside the first block."""
    hidden, layers = _sizes(config, "hidden_size", "num_hidden_layers")
    narrow = size(config, "embedding_size") if config.get("embedding_size") else hidden
    rows = size(config, "vocab_size") + size(config, "type_vocab_size", least=0)
    if _switch(config, "position_biased_input", True):
        rows += size(config, "max_position_embeddings")
    body = _norm(hidden) + layers * _block(hidden, size(config, "intermediate_size"))
    if narrow != hidden:
        body += _linear(narrow, hidden, bias=False)
    if _switch(config, "relative_attention", False):
        body += _deberta_distances(config) * hidden
        if not _switch(config, "share_att_key", False):
            kinds = config.get("pos_att_type") or ()
            body += layers * sum(kind in kinds for kind in ("c2p", "p2c")) * _linear(hidden, hidden)
    if "layer_norm" in (config.get("norm_rel_ebd") or "none").lower():
        body += _norm(hidden)
    if config.get("conv_kernel_size"):
        groups = size(config, "conv_groups") if "conv_groups" in config else 1
        body += _linear(hidden * size(config, "conv_kernel_size") // groups, hidden) + _norm(hidden)
    return rows * narrow, body


def _deberta_distances(config: Config) -> int:
    """Rows of the table of relative positions, both directions."""
    for name in ("position_buckets", "max_relative_positions"):  # -1 stands for absent
        if (config.get(name) or -1) > 0:
            return 2 * size(config, name)
    return 2 * size(config, "max_position_embeddings")


def modernbert(config: Config) -> tuple[int, int]:
    """ModernBERT: gated feed-forward, no normalisation before the first attention (Warner et al. 2024)."""
    hidden, inner, layers = _sizes(config, "hidden_size", "intermediate_size", "num_hidden_layers")
    bias, mlp_bias = _switch(config, "attention_bias", False), _switch(config, "mlp_bias", False)
    norm = _norm(hidden, _switch(config, "norm_bias", False))
    attention = _linear(hidden, 3 * hidden, bias) + _linear(hidden, hidden, bias)
    feed = _linear(hidden, 2 * inner, mlp_bias) + _linear(inner, hidden, mlp_bias)
    return size(config, "vocab_size") * hidden, layers * (attention + feed + 2 * norm) + norm


def bloom(config: Config) -> tuple[int, int]:
    """BLOOM: ALiBi, so no table of positions; a normalisation after the embeddings."""
    hidden = size(config, "n_embed", "hidden_size")
    layers = size(config, "n_layer", "num_hidden_layers")
    return size(config, "vocab_size") * hidden, layers * _block(hidden, 4 * hidden) + 2 * _norm(hidden)


def xglm(config: Config) -> tuple[int, int]:
    """XGLM: sinusoidal positions have no weights."""
    hidden = size(config, "d_model", "hidden_size")
    layers = size(config, "num_layers", "num_hidden_layers")
    return size(config, "vocab_size") * hidden, layers * _block(hidden, size(config, "ffn_dim")) + _norm(hidden)


def _gated(config: Config, *, head: int, bias: bool, output_bias: bool, mlp_bias: bool, head_norms: bool) -> tuple[int, int]:
    """Llama's block: grouped queries, gated feed-forward, RMS normalisation. `head` is the width of one head."""
    hidden, inner, layers = _sizes(config, "hidden_size", "intermediate_size", "num_hidden_layers")
    if "num_key_value_heads" not in config:  # present and null, it is the number of heads; absent, Qwen takes 32
        raise UserError(f"configuration of type {config['model_type']!r} has no 'num_key_value_heads'")
    query = size(config, "num_attention_heads") * head
    key = size(config, "num_key_value_heads", "num_attention_heads") * head
    attention = _linear(hidden, query, bias) + 2 * _linear(hidden, key, bias) + _linear(query, hidden, output_bias)
    feed = 2 * _linear(hidden, inner, mlp_bias) + _linear(inner, hidden, mlp_bias)
    block = attention + feed + 2 * hidden + head_norms * 2 * head
    return size(config, "vocab_size") * hidden, layers * block + hidden


def _head(config: Config) -> int:
    """Width of one head where the configuration may leave it out."""
    if config.get("head_dim") is not None:
        return size(config, "head_dim")
    return size(config, "hidden_size") // size(config, "num_attention_heads")


def qwen2(config: Config) -> tuple[int, int]:
    return _gated(config, head=_head(config), bias=True, output_bias=False, mlp_bias=False, head_norms=False)


def qwen3(config: Config) -> tuple[int, int]:
    bias = _switch(config, "attention_bias", False)
    return _gated(config, head=size(config, "head_dim"), bias=bias, output_bias=bias, mlp_bias=False, head_norms=True)


def eurobert(config: Config) -> tuple[int, int]:
    bias, mlp_bias = _switch(config, "attention_bias", False), _switch(config, "mlp_bias", False)
    return _gated(config, head=_head(config), bias=bias, output_bias=bias, mlp_bias=mlp_bias, head_norms=False)


def _mt5_side(config: Config, layers: int, attentions: int) -> int:
    """One side of mT5: blocks of `attentions` attentions and a feed-forward, no biases; distances in the first block."""
    hidden, heads = size(config, "d_model", "hidden_size"), size(config, "num_heads", "num_attention_heads")
    gated = str(config.get("feed_forward_proj", "gated-gelu")).startswith("gated")
    attention = 4 * hidden * heads * size(config, "d_kv") + hidden
    feed = (2 + gated) * hidden * size(config, "d_ff") + hidden
    return layers * (attentions * attention + feed) + hidden + size(config, "relative_attention_num_buckets") * heads


def mt5_encoder(config: Config) -> tuple[int, int]:
    table = size(config, "vocab_size") * size(config, "d_model", "hidden_size")
    return table, _mt5_side(config, size(config, "num_layers", "num_hidden_layers"), attentions=1)


def mt5(config: Config) -> tuple[int, int]:
    table, encoder = mt5_encoder(config)
    layers = size(config, "num_decoder_layers", "num_layers", "num_hidden_layers")
    return 2 * table, encoder + _mt5_side(config, layers, attentions=2)
