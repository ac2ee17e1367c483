"""The models that a manifest declares, with what their configurations say of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlift.registry import weights
from xlift.registry.files import small
from xlift.registry.findings import similar
from xlift.registry.known.architectures import ARCHITECTURES, Architecture
from xlift.registry.known.models import MODELS, Parameters, count
from xlift.registry.known.parameters import Capacity, cut, limits
from xlift.registry.manifest.complaints import Complaints
from xlift.registry.manifest.sections import ModelSection
from xlift.registry.stage import Shape
from xlift.registry.weights import WeightsError


@dataclass(frozen=True)
class Model:
    """A declared model with its parameters, counted from its configuration."""

    section: ModelSection
    family: str
    folder: Path | None
    model_type: str  # transformers'
    parameters: Parameters
    limits: Capacity
    layers: int | None = None  # the first so many, where they are not all

    @property
    def id(self) -> str:
        return self.section.id

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.model_type]

    @property
    def values(self) -> dict[str, Any]:
        """What a condition may ask of it, and analysis too."""
        return {
            "model": self.id,
            "family": self.family,
            "params_total": self.parameters.total,
            "params_non_embedding": self.parameters.non_embedding,
        }


CHANGING = {  # what a configuration may ask of transformers that would change what is loaded
    "transformers_weights": f"name the files in {weights.INDEX}, and remove it",
    "quantization_config": "give a folder with whole weights, in fp32, bf16 or fp16",
    "is_decoder": "give an encoder, or write false",
    "add_cross_attention": "write false",
    "pruned_heads": "give a folder of whole weights",
}


def declared_models(at: Complaints) -> dict[str, Model]:
    """The declared models by id, each with its parameters."""
    models: dict[str, Model] = {}
    for index, section in enumerate(at.manifest.models):
        if section.id in models:
            at.complain("E210", ("models", index, "id"), f"model '{section.id}' stands twice", "give each an id of its own")
        twin = next((m.id for m in models.values() if _same(m.section, section)), None)
        if twin:
            at.complain(
                "E219",
                ("models", index),
                f"models '{twin}' and '{section.id}' are one",
                "give another seed, shape, folder or number of layers",
            )
        model = _model(at, section, ("models", index))
        other = model and next((m for m in models.values() if m.family == model.family and m.section.form != section.form), None)
        if other:
            at.complain(
                "E228",
                ("models", index),
                f"'{other.id}' and '{section.id}' are an encoder and a text-to-text model of one family, {model.family}",
                "give them different families: they are not sizes of one model",
            )
        if model:
            models[section.id] = model
    if any(section.make for section in at.manifest.models) and at.manifest.pretrain is None:
        at.complain("E211", ("models",), "models are made from scratch, but not how", "add 'pretrain: {recipe: …}'")
    return models


def _same(one: ModelSection, other: ModelSection) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("make", "folder", "hub", "revision", "layers", "form", "like", "seed")
    )


def _model(at: Complaints, section: ModelSection, path: tuple[str | int, ...]) -> Model | None:
    if not _has_weights(at, section, path):
        return None
    known = MODELS.get(section.hub or "")
    family = section.family or (known.family if known else "made" if section.make else None)
    if family is None:
        at.complain("E102", path, "key 'family' is missing", "add 'family: …'")
        return None
    if section.form and not section.family:
        family += "-text"  # another model than the encoder: never one family, and so never one line in a fit
    folder = (at.folder / section.folder) if section.folder else None
    config = _configuration(at, section, folder, path)
    sized = config is not None and _sized(at, section, config, path)
    if not sized or (folder and not _whole(at, section, folder, path)):
        return None
    return Model(section, family, folder, *sized)


def _has_weights(at: Complaints, section: ModelSection, path: tuple[str | int, ...]) -> bool:
    """Whether it is said where a model's weights come from."""
    given = [name for name in ("make", "folder", "hub") if getattr(section, name) is not None]
    if given not in (["make"], ["folder"], ["hub"], ["folder", "hub"]):
        at.complain(
            "E213", path, f"model '{section.id}' has {' and '.join(given) or 'no weights'}", "give one of make, folder, hub"
        )
        return False
    if given == ["hub"] and section.hub not in MODELS:
        at.complain("E214", (*path, "hub"), f"unknown model '{section.hub}'", f"{similar(section.hub, MODELS)}, or give a folder")
        return False
    if given == ["hub"] and not section.revision:
        at.complain(
            "E215",
            path,
            f"model '{section.id}' is not pinned",
            "add 'revision: <40 digits>', the commit on the hub, or 'revision: pin' to a draft",
        )
    if section.like and not section.folder:
        at.complain("E232", (*path, "like"), "only a folder's model is read like another", "remove it, or give the folder")
    if section.make and section.make.hidden % section.make.heads:
        at.complain(
            "E216",
            (*path, "make", "hidden"),
            f"hidden {section.make.hidden} is not a multiple of {section.make.heads} heads",
            f"write hidden: {-(-section.make.hidden // section.make.heads) * section.make.heads}",
        )
    return True


def _sized(
    at: Complaints, section: ModelSection, config: Mapping[str, Any], path: tuple[str | int, ...]
) -> tuple[str, Parameters, Capacity, int | None] | None:
    """What the configuration says of the model, cut where it is to be: its kind, its size, and its layers where not all."""
    if section.layers and section.make:
        at.complain("E223", (*path, "layers"), "a model made here is not cut", f"write make: {{layers: {section.layers}, …}}")
        return None
    try:
        whole = limits(config)
        if section.layers and section.layers > whole.layers:
            at.complain(
                "E223", (*path, "layers"), f"{section.id} has {whole.layers} layers", f"write layers: {whole.layers}, or less"
            )
            return None
        config = cut(config, section.layers) if section.layers else config
        layers = section.layers if section.layers != whole.layers else None
        parameters, bounds = count(config, encoder_only=section.form is None, tied=True), limits(config)
    except (ValueError, TypeError, AttributeError) as error:  # a configuration may be anything
        foreign = not section.like and str(config.get("model_type")) not in ARCHITECTURES
        other = "; where it is one of these under another name, add 'like: <that>'" if foreign else ""
        do = f"give a folder that transformers saved{other}"
        at.complain("E217", (*path, "folder"), f"config.json of '{section.id}': {error}", do)
        return None
    if section.form and not ARCHITECTURES[config["model_type"]].whole:
        pairs = ", ".join(name for name, row in ARCHITECTURES.items() if row.whole)
        at.complain(
            "E228", (*path, "form"), f"{config['model_type']} is no encoder-decoder", f"remove it, or take one of {pairs}"
        )
        return None
    if section.form and layers:
        at.complain("E228", (*path, "layers"), "an encoder-decoder is not cut", "remove layers, or form for its encoder alone")
        return None
    return config["model_type"], parameters, bounds, layers


def _whole(at: Complaints, section: ModelSection, folder: Path, path: tuple[str | int, ...]) -> bool:
    """Whether a folder's weights can be used, as far as their headers tell; so too where there are none yet."""
    try:
        if weights.tensors(folder):
            weights.opened(folder)
    except WeightsError as error:
        at.complain("E224", (*path, "folder"), f"weights of '{section.id}': {error.message}", error.hint)
        return False
    return True


def _configuration(at: Complaints, section: ModelSection, folder: Path | None, path: tuple[str | int, ...]) -> Any:
    """The model's configuration: that of its shape, its folder, or of the hub's model that the folder is a copy of."""
    if section.make:
        return configuration(section.make)
    if folder and (folder / "config.json").exists():
        try:
            found = json.loads(small(folder / "config.json")) or {}
            if not isinstance(found, dict):
                raise ValueError(f"it holds a {type(found).__name__}, and no object")
            for name in (name for name in CHANGING if found.get(name)):
                at.complain(
                    "E217", (*path, "folder"), f"config.json of '{section.id}' has {name}, which is not read", CHANGING[name]
                )
            return _alike(at, section, found, path)
        except (ValueError, RecursionError, OSError) as error:
            at.complain(
                "E217", (*path, "folder"), f"config.json of '{section.id}': {error}", "give a folder that transformers saved"
            )
            return None
    if section.hub in MODELS:
        return MODELS[section.hub].config
    at.complain(
        "E218",
        (*path, "folder"),
        f"no {section.folder}/config.json",
        "put the model there, or name its hub id beside the folder",
    )
    return None


def _alike(at: Complaints, section: ModelSection, config: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    """A configuration as it is read: under its own type, or under that of `like`; None where that is not known."""
    if not section.like:
        return config
    own = config.get("model_type")
    if section.like not in ARCHITECTURES:
        at.complain("E232", (*path, "like"), f"unknown model_type '{section.like}'", similar(section.like, ARCHITECTURES))
        return None
    if own in ARCHITECTURES:
        at.complain("E232", (*path, "like"), f"config.json of '{section.id}' is of type {own}, which is known", "remove it")
    return {**config, "model_type": section.like}


def configuration(make: Shape) -> dict[str, Any]:
    """The transformers configuration of an encoder made from scratch (XLM-R's architecture)."""
    return {
        "model_type": "xlm-roberta",
        "num_hidden_layers": make.layers,
        "hidden_size": make.hidden,
        "num_attention_heads": make.heads,
        "intermediate_size": make.inner or 4 * make.hidden,
        "vocab_size": make.vocabulary,
        "max_position_embeddings": make.positions + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
