"""Weights: safetensors alone and whole; pickles are converted once, and read nowhere else."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import XLMRobertaForMaskedLM

from xlift.registry import weights
from xlift.registry.findings import BadInput, UserError
from xlift.registry.manifest.load import load
from xlift.runners import nets
from xlift.runners.convert import convert

STUDY = """\
schema: xlift/1
id: weights
question: Are they whole?
data: {source: local}
models:
  - {id: own, family: ours, folder: model}
matrix: {intermediate: [none, mnli], target: [xnli], seed: {count: 1, from: 1}}
"""


@pytest.fixture
def folder(tmp_path, encoder, tokenizer):
    """A model as it was published long ago: a masked language model in one pickle."""
    whole = XLMRobertaForMaskedLM(encoder.config)
    folder = tmp_path / "model"
    whole.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(whole.state_dict(), folder / "pytorch_model.bin")
    (tmp_path / "study.yaml").write_text(STUDY)
    return folder


def finding(folder):
    with pytest.raises(BadInput) as caught:
        load(folder.parent / "study.yaml")
    (found,) = caught.value.findings
    assert found.place.line == 6 and found.place.column > 20
    return found


def test_a_pickle_is_refused_and_converted(folder):
    found = finding(folder)
    assert found.code == "E224" and "pickle" in found.message and "xlift models convert" in found.hint
    with pytest.raises(UserError, match="pickle.*xlift models convert"):
        nets.load(folder)
    digests = convert(folder)
    assert (
        set(digests) == {"pytorch_model.bin", "model.safetensors"}
        and json.loads((folder / "converted.json").read_text()) == digests
    )
    before = torch.load(folder / "pytorch_model.bin", weights_only=True)
    after = load_file(folder / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert weights.tensors(folder) == {name: tuple(tensor.shape) for name, tensor in before.items()}
    assert load(folder.parent / "study.yaml").facts.models["own"].folder == folder
    theirs = dict(nets.load(folder).encoder.named_parameters())
    assert all(torch.equal(before[f"roberta.{name}"], tensor) for name, tensor in theirs.items())
    with pytest.raises(UserError, match="safetensors already"):
        convert(folder)


def test_parts_keep_their_parts(folder):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    names = sorted(state)
    for at, part in enumerate((names[:5], names[5:]), 1):
        torch.save({name: state[name] for name in part}, folder / f"pytorch_model-{at:05}-of-00002.bin")
    (folder / "pytorch_model.bin").unlink()
    assert "model.safetensors.index.json" in convert(folder)
    assert set(weights.tensors(folder)) == set(names) and len(weights.files(folder)) == 2
    nets.load(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "names model-00002-of-00002.safetensors, which is not there" in finding(folder).message


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["XLIFT_TEST_EVIL"],)


@pytest.mark.parametrize("how", ["code", "cut", "list", "nothing"])
def test_what_is_no_file_of_tensors_leaves_nothing_behind(folder, how, tmp_path, monkeypatch):
    monkeypatch.setenv("XLIFT_TEST_EVIL", str(tmp_path / "evil"))
    path = folder / "pytorch_model.bin"
    if how == "code":
        path.write_bytes(pickle.dumps({"weight": Evil()}))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "list":
        torch.save([torch.zeros(2)], path)
    else:
        path.unlink()
    before = sorted(each.name for each in folder.iterdir())
    with pytest.raises(UserError, match="no pytorch_model.bin" if how == "nothing" else "pytorch_model.bin"):
        convert(folder)
    assert sorted(each.name for each in folder.iterdir()) == before
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("how", ["cut", "longer", "no header", "a long header", "empty", "json"])
def test_safetensors_that_are_not_whole_are_found_by_their_headers(folder, how):
    convert(folder)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-7],
            "longer": whole + b"0",
            "no header": whole[:5],
            "a long header": b"\xff" * 8 + whole[8:],
            "empty": b"",
            "json": whole[:8] + b"[" + whole[9:],
        }[how]
    )
    found = finding(folder)
    assert found.code == "E224" and "model.safetensors" in found.message and found.hint == "copy it again"


def test_an_index_that_leads_out_of_its_folder_is_refused(folder):
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../model.safetensors"}}')
    assert "names no files of its folder" in finding(folder).message


def test_a_missing_language_head_is_said_where_masked_language_modelling_would_go_on_with_it(folder):
    convert(folder)
    study = folder.parent / "study.yaml"
    study.write_text(
        STUDY.replace("seed:", "variant: [plain, mlm], seed:")
        + "mlm: {corpus: opus, languages: [en]}\ntasks: {opus: {kind: mlm}}\n"
    )
    assert not load(study).warnings
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.clone() for name, tensor in state.items() if name.startswith("roberta.")}, folder / "model.safetensors"
    )
    (said,) = load(study).warnings
    assert said.code == "W225" and said.place.line == 6
