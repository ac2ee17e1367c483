"""What is read of a model's folder is hashed, and what is hashed is read; what cannot be used is found before a run is paid for."""

import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_families import FAMILIES, KIN
from transformers import AutoConfig, PreTrainedConfig

from xlift.registry import weights
from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs, folder_digest
from xlift.registry.known.architectures import ARCHITECTURES
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.stage import Data
from xlift.runners import nets
from xlift.runners.kinds import kind_of
from xlift.runners.look import finite, look

# Fields of transformers' configurations that nobody but us chooses: dropouts are the recipe's, heads our own, the rest is how.
OURS = {"is_decoder", "add_cross_attention", "use_cache", "pretraining_tp", "slow_but_exact", "layerdrop", "pooler_hidden_act"}
OURS |= {"sparse_prediction", "sparse_pred_ignore_index", "deterministic_flash_attn"}
STUDY = """\
schema: xlift/1
id: folders
question: What is read?
data: {source: local}
models:
  - {id: own, family: ours, folder: model}
matrix: {intermediate: [none], target: [xnli], seed: {count: 1, from: 1}}
"""
TEXTS = Data(source="local", kind="mlm", task="texts")
opened: list[str] = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)


def looked(path: Path):
    study = load(path)
    return look(expand(study, Inputs(study)))


def sharded(folder: Path) -> Path:
    """The same weights in two files of a stranger's names, each with a tensor that the index takes from the other."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    halves = {"weights_0.safetensors": names[: len(names) // 2], "weights_1.safetensors": names[len(names) // 2 :]}
    for file, held in halves.items():
        other = next(name for name in names if name not in held)
        extra = {other: torch.full_like(state[other], 7.0)}
        save_file({name: state[name] for name in held} | extra, folder / file, metadata={"format": "pt"})
    places = {name: file for file, held in halves.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("family", FAMILIES | KIN)
def test_what_is_opened_is_what_is_hashed(family, parts, folders, tmp_path):
    folder = shutil.copytree(folders(family), tmp_path / "model")
    folder = sharded(folder) if parts else folder
    whole = nets.load(folders(family))
    opened.clear()
    net = nets.load(folder)
    if ARCHITECTURES[net.encoder.config.model_type].masked:
        nets.continued(kind_of("mlm").head(net.encoder, TEXTS, 0.0), folder, None)
    assert {Path(name).name for name in opened if name.startswith(str(folder))} == set(weights.opened(folder))
    for one, other in zip(whole.encoder.state_dict().values(), net.encoder.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    before = folder_digest(folder)
    for name in weights.opened(folder):
        path = folder / name
        kept = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(kept + b" ")
        else:
            path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert folder_digest(folder) != before, name
        path.write_bytes(kept)


DECOYS = {
    "generation_config.json": {"no_repeat_ngram_size": 1, "repetition_penalty": 1.5, "min_length": 20},
    "added_tokens.json": {"the": 3},
    "model.safetensors.index.json.old": {},
    "configuration_own.py": "raise RuntimeError('remote code ran')",
    "chat_template.jinja": "{{ 1 }}",
    "pytorch_model.bin": "no pickle",
    "tokenizer.model": "",
}
CHOSEN = {  # by somebody, in a configuration
    "auto_map": {"AutoModel": "modeling_own.Own", "AutoConfig": "configuration_own.OwnConfig"},
    "attn_implementation": "eager",
    "_attn_implementation": "nonesuch",
    "output_attentions": True,
    "dtype": "float16",
    "max_length": 3,
    "repetition_penalty": 9.0,
    "attention_probs_dropout_prob": 0.9,
}


@pytest.mark.parametrize("family", ["xlmr", "mt5", "qwen3"])
def test_what_is_not_read_changes_nothing(family, folders, tmp_path):
    folder = shutil.copytree(folders(family), tmp_path / "model")
    form = "text-to-text" if family == "mt5" else None
    before, plain = folder_digest(folder), nets.load(folder, form=form).encoder
    for name, content in DECOYS.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert folder_digest(folder) == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | CHOSEN))
    again = nets.load(folder, form=form).encoder
    assert plain.config.to_dict() == again.config.to_dict()
    assert plain.config._attn_implementation == again.config._attn_implementation
    if form:
        assert plain.generation_config.to_dict() == again.generation_config.to_dict()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_field_of_a_configuration_is_read_or_is_ours(kind):
    theirs = {field.name for field in fields(type(AutoConfig.for_model(kind)))} - {
        field.name for field in fields(PreTrainedConfig)
    }
    assert {
        name
        for name in theirs - ARCHITECTURES[kind].fields
        if "dropout" not in name and "classifier" not in name and "summary" not in name
    } <= OURS


def edited(folder: Path, name: str, **changes) -> None:
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({key: value for key, value in (told | changes).items() if value is not ...}))


def resized(folder: Path) -> None:
    edited(folder, "config.json", vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"] + 4)


def spoilt(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = sorted(state)[0]
    state[name].view(-1)[-1] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def lacking(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state[next(name for name in state if "word_embeddings" in name)]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def extended(folder: Path) -> None:
    tokenizer = nets.read_tokenizer(folder)
    tokenizer.add_tokens(["Berlin", "<extra>"])
    tokenizer.save_pretrained(folder)


FAULTS = {  # review A2.9 and A2.10
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "E224", "there is no tokenizer.json"),
    "a pointer for a tokenizer": (lambda f: (f / "tokenizer.json").write_text("version https://git-lfs"), "E229", "no tokenizer"),
    "an empty tokenizer": (lambda f: (f / "tokenizer.json").write_text(""), "E229", "no tokenizer"),
    "ids beyond the rows": (extended, "E229", "rows of embeddings"),
    "another vocabulary": (resized, "E229", "in its weights and"),
    "heads that do not divide": (lambda f: edited(f, "config.json", num_attention_heads=5), "E229", "5"),
    "an activation that nobody has": (lambda f: edited(f, "config.json", hidden_act="swigluuu"), "E229", "swigluuu"),
    "no padding": (lambda f: edited(f, "config.json", pad_token_id=None), "E229", "pad_token_id"),
    "no number": (spoilt, "E229", "holds what is no number"),
    "a tensor that is not there": (lacking, "E229", "would be drawn at random"),
    "weights of other names": (lambda f: edited(f, "config.json", transformers_weights="x.safetensors"), "E217", "not read"),
    "quantised": (lambda f: edited(f, "config.json", quantization_config={"load_in_8bit": True}), "E217", "not read"),
    "a decoder": (lambda f: edited(f, "config.json", is_decoder=True), "E217", "is_decoder"),
    "a list for a configuration": (lambda f: (f / "config.json").write_text("[1]"), "E217", "no object"),
    "no names of tokens": (
        lambda f: (f / "tokenizer_config.json").write_text("<!DOCTYPE html>"),
        "E229",
        "tokenizer_config.json",
    ),
    "a list of names": (lambda f: (f / "tokenizer_config.json").write_text('["bos_token"]'), "E229", "tokenizer_config.json"),
    "a number for a token": (lambda f: edited(f, "tokenizer_config.json", pad_token=7), "E229", "tokenizer_config.json"),
    "a token without text": (
        lambda f: edited(f, "tokenizer_config.json", pad_token={"lstrip": True}),
        "E229",
        "tokenizer_config",
    ),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "E224", "adapter"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_would_be_worse_in_training_is_found_before(fault, folders, tmp_path):
    harm, code, words = FAULTS[fault]
    shutil.copytree(folders("xlmr"), tmp_path / "model")
    (tmp_path / "study.yaml").write_text(STUDY)
    assert not looked(tmp_path / "study.yaml")
    harm(tmp_path / "model")
    try:
        found = looked(tmp_path / "study.yaml")
    except BadInput as error:
        found = error.findings
    assert [finding.code for finding in found] == [code] and words in f"{found[0].message} {found[0].hint}", found
    assert found[0].place.line == 6


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        looked(path)
    (finding,) = caught.value.findings
    return finding.code, f"{finding.message} {finding.hint}"


def test_a_folder_of_a_model_type_that_nobody_knows_may_say_what_it_is_like(folders, tmp_path):
    study, folder = tmp_path / "study.yaml", tmp_path / "model"
    shutil.copytree(folders("xlmr"), folder)
    study.write_text(STUDY)
    *_, known = [step.stage for step in expand(load(study), Inputs(load(study))).steps]
    study.write_text(STUDY.replace("folder: model", "folder: model, like: bert"))
    assert refused(study)[0] == "E232" and "is known" in refused(study)[1]
    edited(folder, "config.json", model_type="our-own-roberta")
    study.write_text(STUDY)
    assert refused(study)[0] == "E217" and "add 'like: <that>'" in refused(study)[1]
    for wrong, said in (("xlm-robert", "write 'xlm-roberta'"), ("their-own", "known: ")):
        study.write_text(STUDY.replace("folder: model", f"folder: model, like: {wrong}"))
        assert refused(study)[0] == "E232" and said in refused(study)[1]
    study.write_text(STUDY.replace("folder: model", "hub: FacebookAI/xlm-roberta-large, revision: pin, like: bert"))
    assert refused(study)[0] == "E232"
    study.write_text(STUDY.replace("folder: model", "folder: model, like: xlm-roberta"))
    assert not looked(study)
    *_, alike = [step.stage for step in expand(load(study), Inputs(load(study))).steps]
    assert alike.weights.like == "xlm-roberta" and alike.id != known.id
    net, plain = nets.load(folder, like="xlm-roberta"), nets.load(folders("xlmr"))
    assert all(torch.equal(a, b) for a, b in zip(net.encoder.parameters(), plain.encoder.parameters(), strict=True))
    study.write_text(STUDY.replace("folder: model", "folder: model, like: deberta-v2"))  # of other names: nothing of it fits
    assert "would be drawn at random" in looked(study)[0].message


def test_a_tokenizer_that_knows_nothing_is_found(folders, tmp_path):
    shutil.copytree(folders("xlmr"), tmp_path / "model")
    (tmp_path / "study.yaml").write_text(STUDY)
    path = tmp_path / "model" / "tokenizer.json"
    told = json.loads(path.read_text())
    vocabulary = [[piece, score] for piece, score in told["model"]["vocab"] if piece.startswith("<")]
    told["model"]["vocab"] = vocabulary
    path.write_text(json.dumps(told))
    (found,) = looked(tmp_path / "study.yaml")
    assert "knows no piece" in found.message


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_found_in_every_form_of_floats(dtype, wrong, tmp_path):
    tensor = torch.randn(300, 7).mul(100).to(dtype)
    if wrong is not None and dtype.is_floating_point:
        tensor[np.random.default_rng(0).integers(300), 3] = wrong
    save_file({"a": torch.zeros(3), "x": tensor}, tmp_path / "model.safetensors")
    (rows,) = weights.parts(tmp_path).values()
    path = tmp_path / "model.safetensors"
    assert finite(path, rows["a"]) and finite(path, rows["x"]) == (wrong is None or not dtype.is_floating_point)


@pytest.mark.parametrize("kind", ["pair", "retrieve"])
def test_lengths_that_leave_no_room_for_text_are_found(folders, tmp_path, kind):
    shutil.copytree(folders("xlmr"), tmp_path / "model")
    target = {"pair": "xnli", "retrieve": "tatoeba"}[kind]

    def codes(scoring: str, recipe: str = "max_length: 64") -> list[str]:
        text = STUDY.replace("target: [xnli]", f"target: [{target}]") + f"scoring: {{{scoring}}}\n"
        (tmp_path / "study.yaml").write_text(text + (f"recipe: {{{recipe}}}\n" if kind == "pair" else ""))
        return [finding.code for finding in looked(tmp_path / "study.yaml")]

    least = {"pair": 6, "retrieve": 3}[kind]  # special tokens, and a token of each text
    assert codes(f"max_length: {least}") == [] and codes(f"max_length: {least - 1}") == ["E231"]
    if kind == "pair":
        assert codes("max_length: 64", f"max_length: {least - 1}") == ["E231"]
    else:
        assert codes("max_length: 64, prefix: 'query: '") == []
        assert codes(f"max_length: 64, prefix: '{'the same again ' * 40}'") == ["E231"]
