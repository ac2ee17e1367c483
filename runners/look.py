"""A look at the folders of a plan's models before a run is paid for: tokenizer, lengths, shapes and numbers."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from xlift.registry import weights
from xlift.registry.findings import Finding, UserError, first_line
from xlift.registry.kinds import KINDS
from xlift.registry.manifest.models import Model
from xlift.registry.plan import Plan
from xlift.runners.data.preflight import lengths

SENTENCES = ("The cat sat on the mat.", "Кот сидел на коврике.", "猫坐在垫子上。")
PIECE = 1 << 24  # numbers looked at at once
# The bits of a float that are all set where it is no number, or infinite.
EXPONENTS = {"F64": ("<u8", 0x7FF << 52), "F32": ("<u4", 0xFF << 23), "F16": ("<u2", 0x1F << 10), "BF16": ("<u2", 0xFF << 7)}


def look(plan: Plan) -> list[Finding]:
    """What is wrong with the models that have a folder with weights (E229), and lengths that leave no room for text (E231)."""
    study, found = plan.study, list[Finding]()
    models = list(enumerate(study.facts.models.values()))
    there = [(index, model, model.folder) for index, model in models if model.folder and weights.files(model.folder)]
    if there and find_spec("torch") is None:
        place = study.place(("models",))
        return [Finding("W229", place, "no model was looked at: torch is not installed here", "pip install 'xlift[train]'")]
    for index, model, folder in there:
        place = study.place(("models", index, "folder"))
        faults = [Finding("E229", place, f"{model.id}: {message}", hint) for message, hint in _faults(model, folder)]
        found += faults or _lengths(plan, model, folder)
    return list(dict.fromkeys(found))


def _lengths(plan: Plan, model: Model, folder: Path) -> Iterator[Finding]:
    """Where special tokens, or a prefix, take all the room that a text could have."""
    from xlift.runners import nets
    from xlift.runners.kinds import tokens

    tokenizer = tokens.framed(nets.read_tokenizer(folder), model.architecture.reads)
    for task, kind, length, prefix in lengths(plan, model.id):
        place = plan.study.place_of_task(task)
        try:
            room = tokens.room_for(tokenizer, pair=KINDS[kind].texts == 2 and not model.section.form, max_length=length)
        except UserError as error:
            yield Finding("E231", place, f"{model.id}, {task}: {error.message}", error.hint)
            continue
        taken = len(tokens.pieces(tokenizer, [prefix])[0].ids) if prefix else 0
        if taken >= room:
            message = f"{model.id}, {task}: the prefix of {taken} tokens leaves no room for text in max_length {length}"
            yield Finding("E231", place, message, "write a shorter prefix, or a larger scoring.max_length")


def _faults(model: Model, folder: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a folder, the cheapest to find first, and what would do."""
    import torch
    from transformers.utils import logging

    from xlift.runners import nets
    from xlift.runners.kinds import tokens

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        tokenizer = nets.read_tokenizer(folder)
        last = max(tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        tokens.framed(tokenizer, model.architecture.reads)
        unknown, texts = tokenizer.unk_token_id, tokens.pieces(tokenizer, SENTENCES)
    except UserError as error:
        yield error.message, error.hint or "save the tokenizer that belongs to the model"
        return
    if all(not text.ids or set(text.ids) == {unknown} for text in texts):
        yield "its tokenizer knows no piece of three sentences in three scripts", "give the tokenizer that belongs to the model"
    try:
        config = nets.configured(folder, model.layers, model.section.like)
        if model.architecture.from_padding and config.pad_token_id is None:
            what = "its configuration has no pad_token_id, from which positions are numbered"
            yield what, "write pad_token_id into config.json"
            return
        kind, options = nets.class_of(config, model.section.form)
        state = {name: torch.empty(shape) for name, shape in weights.tensors(folder).items()}  # memory that nobody touches
        made, told = nets.filled(kind, config, state, ignore_mismatched_sizes=True, **options)
    except Exception as error:  # the boundary: whatever a configuration makes of transformers
        why = f"{type(error).__name__}: {first_line(error)}"
        yield f"no model can be made of its configuration ({why})", "give a folder that transformers saved"
        return
    if told["mismatched_keys"]:
        name, held, wanted = min(told["mismatched_keys"])
        yield f"{name} is {_by(held)} in its weights and {_by(wanted)} by its configuration", "copy both again"
    if told["missing_keys"]:
        yield f"its weights lack {nets.some(told['missing_keys'])}, which would be drawn at random", "give the whole model"
    rows = made.get_input_embeddings().weight.shape[0]
    if last >= rows:
        what = f"its tokenizer has a token of number {last}, and there are {rows} rows of embeddings"
        yield what, "give the tokenizer that belongs to the model, or resize its embeddings and save it"
    read = ((path, name, row) for path, rows in weights.parts(folder).items() for name, row in rows.items())
    if wrong := next(((path, name) for path, name, row in read if not finite(path, row)), None):
        yield f"{wrong[1]} in {wrong[0].name} holds what is no number", "copy it again, or train it again"


def _by(shape: object) -> str:
    return " x ".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def finite(path: Path, row: dict) -> bool:
    """Whether all numbers of a tensor are finite, from its row of a safetensors header; other than floats are."""
    if row["dtype"] not in EXPONENTS:
        return True
    form, bits = EXPONENTS[row["dtype"]]
    begin, end = row["data_offsets"]
    with open(path, "rb") as file:
        (header,) = np.fromfile(file, "<u8", 1)
        file.seek(8 + int(header) + begin)
        left = (end - begin) // np.dtype(form).itemsize
        while left:
            numbers = np.fromfile(file, form, min(left, PIECE))
            if ((numbers & numbers.dtype.type(bits)) == bits).any():
                return False
            left -= len(numbers)
    return True
