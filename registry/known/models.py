"""Multilingual models on the hub, and what is known of their shapes."""

from dataclasses import dataclass
from typing import Any

from xlift.registry.known.architectures import ARCHITECTURES, Architecture
from xlift.registry.known.formulas import Config
from xlift.registry.known.parameters import Parameters, count

__all__ = ["MODELS", "Config", "Model", "Parameters", "count"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model on the hub: the part of its config.json that `count` reads, and where that was taken from.

    `verified` says that layers, width, heads and vocabulary were read somewhere; otherwise they are recalled, and it
    is only known that the number of parameters they give is near the published one. The runner, which has the
    configuration itself, asserts the number.
    """

    hub: str
    family: str
    config: dict[str, Any]
    source: str
    verified: bool

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.config["model_type"]]

    def parameters(self, *, encoder_only: bool = False) -> Parameters:
        return count(self.config, encoder_only=encoder_only)


_READ = "shape read in code, data card or paper; inner sizes recalled, number of parameters near the published one"
_COPY = "shape read in copies of config.json in public repositories; number of parameters near the published one"
_CODE = "shape read in transformers 5.23: its defaults, documented as this model's; number of parameters near the published one"
_RECALLED = "shape recalled; number of parameters near the published one"


def _row(hub: str, family: str, model_type: str, source: str = _READ, **shape: Any) -> Model:
    return Model(hub, family, {"model_type": model_type, **shape}, source, verified=source is not _RECALLED)


def _encoder(
    hub: str,
    layers: int,
    hidden: int,
    heads: int,
    vocabulary: int,
    source: str = _READ,
    *,
    family: str = "xlmr",
    model_type: str = "xlm-roberta",
    positions: int = 514,
    types: int = 1,
    **more: Any,
) -> Model:
    """A row with BERT's names of sizes; the feed-forward width is four times the hidden one."""
    return _row(
        hub,
        family,
        model_type,
        source,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        type_vocab_size=types,
        **more,
    )


def _mt5(size: str, layers: int, hidden: int, heads: int, inner: int, source: str = _RECALLED) -> Model:
    return _row(
        f"google/mt5-{size}",
        "mt5",
        "mt5",
        source,
        num_layers=layers,
        num_decoder_layers=layers,
        d_model=hidden,
        num_heads=heads,
        d_kv=64,
        d_ff=inner,
        vocab_size=250112,
        relative_attention_num_buckets=32,
        feed_forward_proj="gated-gelu",
    )


def _bloom(size: str, layers: int, hidden: int, heads: int, source: str = _READ) -> Model:
    return _row(
        f"bigscience/bloom-{size}", "bloom", "bloom", source, n_layer=layers, hidden_size=hidden, n_head=heads, vocab_size=250880
    )


def _xglm(size: str, layers: int, hidden: int, heads: int, inner: int, source: str = _READ) -> Model:
    return _row(
        f"facebook/xglm-{size}",
        "xglm",
        "xglm",
        source,
        num_layers=layers,
        d_model=hidden,
        attention_heads=heads,
        ffn_dim=inner,
        vocab_size=256008,
    )


def _llama(
    hub: str,
    family: str,
    model_type: str,
    layers: int,
    hidden: int,
    heads: int,
    groups: int,
    inner: int,
    vocabulary: int,
    source: str = _READ,
    **more: Any,
) -> Model:
    """A row with Llama's names of sizes; `groups` is the number of key and value heads."""
    return _row(
        hub,
        family,
        model_type,
        source,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=vocabulary,
        **more,
    )


def _qwen3(size: str, *shape: Any, source: str = _READ) -> Model:
    return _llama(f"Qwen/Qwen3-{size}-Base", "qwen3", "qwen3", *(*shape, 151936, source), head_dim=128)


def _qwen25(size: str, *shape: Any, source: str = _READ) -> Model:
    return _llama(f"Qwen/Qwen2.5-{size}", "qwen2.5", "qwen2", *(*shape, source))


def _eurobert(size: str, *shape: Any, source: str = _READ) -> Model:
    return _llama(f"EuroBERT/EuroBERT-{size}", "eurobert", "eurobert", *(*shape, 128256, source))


def _mmbert(size: str, hidden: int, heads: int) -> Model:
    return _row(
        f"jhu-clsp/mmBERT-{size}",
        "mmbert",
        "modernbert",
        num_hidden_layers=22,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=1152,
        vocab_size=256000,
    )


_ROWS = (
    _encoder("FacebookAI/xlm-roberta-base", 12, 768, 12, 250002),
    _encoder("FacebookAI/xlm-roberta-large", 24, 1024, 16, 250002),
    _encoder("facebook/xlm-roberta-xl", 36, 2560, 32, 250880, model_type="xlm-roberta-xl"),
    _encoder("facebook/xlm-roberta-xxl", 48, 4096, 32, 250880, _RECALLED, model_type="xlm-roberta-xl"),
    _mt5("small", 8, 512, 6, 1024, _CODE),
    _mt5("base", 12, 768, 12, 2048),
    _mt5("large", 24, 1024, 16, 2816),
    _mt5("xl", 24, 2048, 32, 5120),
    _mt5("xxl", 24, 4096, 64, 10240),
    _bloom("560m", 24, 1024, 16),
    _bloom("1b1", 24, 1536, 16, _RECALLED),
    _bloom("1b7", 24, 2048, 16),
    _bloom("3b", 30, 2560, 32, _RECALLED),
    _bloom("7b1", 30, 4096, 32),
    _xglm("564M", 24, 1024, 16, 4096),
    _xglm("1.7B", 24, 2048, 16, 8192),
    _xglm("2.9B", 48, 2048, 16, 8192, _RECALLED),
    _xglm("4.5B", 48, 2048, 16, 16384, _RECALLED),  # 134 languages; its siblings have 30
    _xglm("7.5B", 32, 4096, 32, 16384),
    _qwen3("0.6B", 28, 1024, 16, 8, 3072),
    _qwen3("1.7B", 28, 2048, 16, 8, 6144, source=_COPY),
    _qwen3("4B", 36, 2560, 32, 8, 9728),
    _qwen3("8B", 36, 4096, 32, 8, 12288),
    _qwen25("0.5B", 24, 896, 14, 2, 4864, 151936),
    _qwen25("1.5B", 28, 1536, 12, 2, 8960, 151936),
    _qwen25("3B", 36, 2048, 16, 2, 11008, 151936, source=_COPY),
    _qwen25("7B", 28, 3584, 28, 4, 18944, 152064),
    _eurobert("210m", 12, 768, 12, 12, 3072),
    _eurobert("610m", 26, 1152, 18, 6, 4096, source=_RECALLED),
    _eurobert("2.1B", 32, 2304, 18, 6, 6144, source=_RECALLED),
    _mmbert("small", 384, 6),
    _mmbert("base", 768, 12),
    _encoder(
        "microsoft/mdeberta-v3-base",
        12,
        768,
        12,
        251000,
        _RECALLED,
        family="mdeberta",
        model_type="deberta-v2",
        positions=512,
        types=0,
        position_biased_input=False,
        relative_attention=True,
        position_buckets=256,
        share_att_key=True,
        pos_att_type="p2c|c2p",
        norm_rel_ebd="layer_norm",
    ),
    _encoder("facebook/xlm-v-base", 12, 768, 12, 901629, _RECALLED, family="xlmv"),
    _encoder(
        "intfloat/multilingual-e5-small", 12, 384, 12, 250037, _COPY, family="e5", model_type="bert", positions=512, types=2
    ),
    _encoder(
        "google/rembert",
        32,
        1152,
        18,
        250300,
        _CODE,
        family="rembert",
        model_type="rembert",
        positions=512,
        types=2,
        input_embedding_size=256,
    ),
)

MODELS: dict[str, Model] = {model.hub: model for model in _ROWS}
