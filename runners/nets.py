"""Encoders with a tokenizer and a head: made, loaded, saved."""

import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING, MODEL_MAPPING

from xlift.registry import weights
from xlift.registry.findings import UserError, first_line
from xlift.registry.known.architectures import ARCHITECTURES
from xlift.registry.known.models import count
from xlift.registry.manifest.models import configuration
from xlift.registry.stage import Cutting, Lora, Recipe, Shape
from xlift.runners.kinds import tokens
from xlift.runners.kinds.base import Batch, Reading

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # ids 0 to 4, in XLM-R's order
ROLES = {  # special tokens, and what they are usually called where a folder does not say
    "bos_token": ("<s>", "<bos>"),
    "eos_token": ("</s>", "<eos>"),
    "unk_token": ("<unk>", "[UNK]"),
    "sep_token": ("</s>", "[SEP]"),
    "pad_token": ("<pad>", "[PAD]"),
    "cls_token": ("<s>", "[CLS]"),
    "mask_token": ("<mask>", "[MASK]"),
}


@dataclass
class Net:
    """An encoder, its tokenizer and the head that its last task trained; a mixture leaves one a task, by its place there."""

    encoder: nn.Module
    tokenizer: PreTrainedTokenizerFast
    head: nn.Module | None = None
    heads: dict[int, nn.Module] = field(default_factory=dict)

    @property
    def texts(self) -> bool:
        """Whether it is an encoder-decoder, which writes its answers."""
        return bool(getattr(self.encoder.config, "is_encoder_decoder", False))

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return ARCHITECTURES[self.encoder.config.model_type].causal

    @property
    def padding(self) -> int:
        return self.tokenizer.pad_token_id

    def reading(self, cutting: Cutting) -> Reading:
        return Reading(self.tokenizer, cutting, self.causal)

    def hidden(self, batch: Batch) -> Tensor:
        """The encoder's last hidden states (sequences, length, hidden)."""
        return self.encode(batch).last_hidden_state

    def encode(self, batch: Batch, **options: bool) -> Any:
        """The encoder's outputs; one with several types of token, as BERT, is told which text a token is of."""
        if batch.types is not None and (getattr(self.encoder.config, "type_vocab_size", 0) or 0) > 1:
            options["token_type_ids"] = batch.types
        if self.causal:
            options["use_cache"] = False
        reader = self.encoder.get_encoder() if self.texts else self.encoder
        return reader(input_ids=batch.ids, attention_mask=batch.mask.long(), **options)

    def forward(self, batch: Batch) -> Tensor:
        """The head's outputs for a batch."""
        return self.head(self.hidden(batch), batch)

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.encoder, self.head) if self.head is not None else (self.encoder,)


def make(shape: Shape, texts: Iterable[str], recipe: Recipe) -> Net:
    """An encoder with random weights (from torch's generator) and a tokenizer trained on `texts`."""
    config = AutoConfig.for_model(**configuration(shape))
    return Net(_build(config, recipe), train_tokenizer(texts, shape.vocabulary, shape.positions))


def load(
    source: Path | str,
    revision: str | None = None,
    recipe: Recipe | None = None,
    layers: int | None = None,
    form: Literal["text-to-text"] | None = None,
    like: str | None = None,
) -> Net:
    """An encoder from a transformers folder, or from the hub at a revision; weights in fp32, from safetensors only.

    Of its layers the first `layers` are taken, where that is given (Sajjad et al. 2023); of an encoder-decoder the encoder,
    unless it is text to text. It is read as a model of type `like`, or of its own. Nothing is opened but
    `registry.weights.opened`, by which its runs are named.
    """
    folder = folder_of(source, revision)
    config = configured(folder, layers, like)
    encoder = _build(config, recipe, folder, form)
    return Net(encoder, tokens.framed(read_tokenizer(folder), ARCHITECTURES[config.model_type].reads))


def folder_of(source: Path | str, revision: str | None) -> Path:
    """The folder of a model: itself, or what of one on the hub is read, in the hub's cache."""
    if revision is None:
        return Path(source)
    from xlift.runners import hub

    return hub.folder(str(source), revision)


def configured(folder: Path, layers: int | None = None, like: str | None = None) -> Any:
    """The configuration in a model's folder, field by field: of those that its architecture names, and no others."""
    raw = json.loads((folder / weights.CONFIG).read_bytes())
    model_type = like or raw["model_type"]
    config = AutoConfig.for_model(model_type, **{name: raw[name] for name in ARCHITECTURES[model_type].fields if name in raw})
    if layers:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of tokenizer.json as that file has it, without its truncation and padding, and its special tokens' names.

    Raises:
        UserError: it is no whole tokenizer.
    """
    try:
        backend = Tokenizer.from_buffer((folder / weights.TOKENIZER).read_bytes())
    except Exception as error:  # the boundary: the library raises plain exceptions
        raise UserError(f"its {weights.TOKENIZER} is no tokenizer ({first_line(error)})", "copy it again") from error
    backend.no_truncation()
    backend.no_padding()
    named: dict[str, str | None] = {}
    for file in reversed(weights.TOKENS):
        if (folder / file).is_file():
            try:
                told = json.loads((folder / file).read_bytes())
                named |= {role: _content(told[role]) for role in ROLES if role in told}
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"its {file} names no special tokens ({first_line(error)})", "copy it again") from error
    for role, usual in ROLES.items():
        named.setdefault(role, next((token for token in usual if backend.token_to_id(token) is not None), None))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{role: token for role, token in named.items() if token})


def _content(token: Any) -> str | None:
    text = token["content"] if isinstance(token, dict) else token
    if not isinstance(text, str | None):
        raise ValueError(f"{text!r} is no token")
    return text


def state_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model's folder, from the files that its index names, or its only one."""
    state: dict[str, Tensor] = {}
    for path, names in weights.parts(folder).items():
        with safe_open(path, framework="pt") as file:
            state |= {name: file.get_tensor(name) for name in names}
    return state


def continued(head: nn.Module, source: Path | str, revision: str | None, like: str | None = None) -> nn.Module:
    """A head of masked language modelling with the weights of the model's own, where it has one of a form known here.

    A bias that it does not have, as in ModernBERT's, begins at 0.
    """
    folder = folder_of(source, revision)
    config = configured(folder, like=like)
    architecture = ARCHITECTURES[config.model_type]
    if not architecture.language_head:
        return head
    whole, told = filled(MODEL_FOR_MASKED_LM_MAPPING[type(config)], config, state_of(folder))
    state = whole.state_dict()
    if architecture.brings_language_head(state.keys() - told["missing_keys"]):
        theirs = {
            new + name.removeprefix(old): tensor
            for old, new in architecture.language_head.items()
            for name, tensor in state.items()
            if name == old or name.startswith(old + ".")
        }
        plain = {name: torch.zeros_like(own) for name, own in head.state_dict().items() if name.endswith(".bias")}
        head.load_state_dict(plain | theirs)
    return head


def filled(kind: Any, config: Any, state: dict[str, Tensor], **options: Any) -> tuple[Any, dict[str, Any]]:
    """A model of transformers with these weights, in fp32, and what it says of their names; no file is opened."""
    return kind.from_pretrained(None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True, **options)


def class_of(config: Any, form: Literal["text-to-text"] | None) -> tuple[Any, dict[str, bool]]:
    """The class of transformers that is trained, and what it is made with."""
    halves = ARCHITECTURES[config.model_type].classes
    kind = getattr(transformers, halves[form is not None]) if halves else MODEL_MAPPING[type(config)]
    return kind, {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def _build(
    config: Any, recipe: Recipe | None, folder: Path | None = None, form: Literal["text-to-text"] | None = None
) -> nn.Module:
    architecture = ARCHITECTURES[config.model_type]
    for name in architecture.dropouts:
        setattr(config, name, recipe.dropout if recipe else 0.0)
    for name in architecture.attention_dropouts:
        setattr(config, name, recipe.attention_dropout if recipe else 0.0)
    kind, options = class_of(config, form)
    if folder is None:
        encoder = kind(config, **options)
    else:
        encoder, told = filled(kind, config, state_of(folder), **options)
        if told["missing_keys"]:
            raise UserError(f"{folder}: its weights lack {some(told['missing_keys'])}, which would be drawn at random")
    real, counted = (
        sum(p.numel() for p in encoder.parameters()),
        count(config.to_dict(), encoder_only=form is None, tied=True).total,
    )
    if real != counted:
        raise UserError(
            f"the model has {real:,} parameters, its configuration says {counted:,}: the x of the analysis would be wrong"
        )
    return encoder


Masters = dict[str, Tensor]  # fp32 weights in the host's memory, by the name of their linear map


def adapt(net: Net, lora: Lora, entropy: int, *, halved: bool = False) -> Masters:
    """Freeze the model's weights and put thin matrices beside every linear map, drawn from `entropy`.

    `halved`: linear maps hold their weights in bf16, into which autocast would turn them for every product, so that
    nothing else changes; what is returned are those weights in fp32, for `merge`. A halved model computes under autocast alone.

    Raises:
        UserError: there is no peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("the recipe asks for LoRA, which needs peft: pip install 'xlift[lora]'") from error
    torch.manual_seed(entropy)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear")
    inject_adapter_in_model(config, net.encoder)
    masters: Masters = {}
    embeddings = {id(module.weight) for module in net.encoder.modules() if isinstance(module, nn.Embedding)}
    for name, module in _adapted(net.encoder) if halved else ():
        base = module.get_base_layer()
        if isinstance(base, nn.Linear) and id(base.weight) not in embeddings:
            masters[name] = base.weight.data
            base.weight.data = base.weight.data.bfloat16()
    return masters


def _adapted(encoder: nn.Module) -> list[tuple[str, Any]]:
    """The linear maps that have thin matrices, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in encoder.named_modules() if isinstance(module, BaseTunerLayer)]


def merge(net: Net, masters: Masters) -> None:
    """Add what thin matrices have learnt to the weights, in fp32 and in the host's memory, and take the matrices away."""
    net.encoder.to("cpu")
    for name, module in _adapted(net.encoder):
        if name in masters:
            module.get_base_layer().weight.data = masters[name]
        module.merge(safe_merge=True)
        net.encoder.set_submodule(name, module.get_base_layer())
    net.encoder.requires_grad_(True)


def some(names: Iterable[str]) -> str:
    """The first of several names, and how many there are."""
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def train_tokenizer(texts: Iterable[str], vocabulary: int, positions: int) -> PreTrainedTokenizerFast:
    """Byte-pair pieces of words (Sennrich et al. 2016), with XLM-R's special tokens; at most `vocabulary` pieces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    room = max(1, vocabulary - len(SPECIAL))  # the trainer keeps every character that it may, beyond its vocabulary
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, limit_alphabet=room, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=positions,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def save(net: Net, folder: Path) -> list[str]:
    """Write a transformers folder, with the heads beside the encoder; the names of its files."""
    net.encoder.save_pretrained(folder)
    net.tokenizer.save_pretrained(folder)
    heads = {head_file(place): head for place, head in net.heads.items()} | ({head_file(): net.head} if net.head else {})
    for name, head in heads.items():
        save_file({part: tensor.contiguous() for part, tensor in head.state_dict().items()}, folder / name)
    return sorted(path.name for path in folder.iterdir())


def head_file(place: int | None = None) -> str:
    """The name of the file of the only head, or of that of one task of a mixture."""
    return "head.safetensors" if place is None else f"head-{place}.safetensors"


def load_head(head: nn.Module, folder: Path, place: int | None = None) -> nn.Module:
    """A head with the weights that were saved in a checkpoint: the only one, or that of one task of a mixture."""
    head.load_state_dict(load_file(folder / head_file(place)))
    return head
