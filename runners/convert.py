"""A folder whose files are not of the form that is read: pickled weights to safetensors, SentencePiece's file to tokenizer.json.

Once, by `xlift models convert` and where `xlift models fetch` meets them.
"""

import json
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from xlift.registry import weights
from xlift.registry.files import raw_digest, write_atomically
from xlift.registry.findings import UserError, first_line

RECORD = "converted.json"
UNEQUAL = 0.01  # share of texts on which a tokenizer may differ from SentencePiece: they hold characters that it alone removes


def convert(folder: Path) -> dict[str, str]:
    """Write a folder's pickled weights as safetensors, and a tokenizer.json; sha-256 of every file read and written, by name.

    Pickles are read with `weights_only`, which refuses whatever is not a tensor, by a process that does nothing else. The
    digests are kept in converted.json; what was read stays, and is never read again.

    Raises:
        UserError: there is nothing to convert; or pickles hold more than tensors, or are damaged; or the tokenizer that is
            made splits texts otherwise than SentencePiece does.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    done = (folder / weights.WEIGHTS).exists() or (folder / weights.INDEX).exists()
    pickles = [] if done else sorted(folder.glob("pytorch_model*.bin"))
    pieces = (
        [] if (folder / weights.TOKENIZER).exists() else [path for name in weights.PIECES if (path := folder / name).is_file()]
    )
    if not pickles and not pieces:
        what = "its weights are safetensors already" if done else "no pytorch_model.bin, nor parts of one"
        raise UserError(f"{folder}: {what}")
    written = [*(_weights(folder, pickles) if pickles else ()), *(_tokenizer(folder, pieces[0]) if pieces else ())]
    digests = {path.name: raw_digest(path) for path in (*pickles, *pieces[:1], *(folder / name for name in written))}
    write_atomically(folder / RECORD, json.dumps(digests, indent=1).encode())
    return digests


def _tokenizer(folder: Path, pieces: Path) -> list[str]:
    """tokenizer.json by transformers' own class of the model, held against SentencePiece itself on texts of its own pieces."""
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    try:
        known = SentencePieceProcessor(model_file=str(pieces))
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # the boundary: whatever a damaged file, or another version, does to its reader
        raise UserError(f"{pieces}: no tokenizer can be made of it ({first_line(error)})", "copy it again") from error
    every = list(range(known.get_piece_size()))
    texts = [known.decode(every[start : start + 8]) for start in every[::8]]
    unknown = known.id_to_piece(known.unk_id())
    unequal = 0
    for text, encoding in zip(texts, made.encode_batch(texts, add_special_tokens=False), strict=True):
        told = [unknown if known.is_unknown(known.piece_to_id(piece)) else piece for piece in known.encode(text, out_type=str)]
        unequal += told != [made.id_to_token(each) for each in encoding.ids]
    if unequal > UNEQUAL * len(texts):
        what = f"{pieces}: the tokenizer that transformers makes of it splits {unequal:,} of {len(texts):,} texts otherwise"
        raise UserError(what, "take another version of transformers, or save a tokenizer.json into the folder")
    made.save(str(folder / _part(weights.TOKENIZER)))
    (folder / _part(weights.TOKENIZER)).replace(folder / weights.TOKENIZER)
    return [weights.TOKENIZER]


def _weights(folder: Path, found: list[Path]) -> list[str]:
    """The names of what pickles were written to."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, found))
    process.start()
    theirs.close()
    try:
        failure = ours.recv()
    except EOFError:
        failure = "the process that read it died, as one does that runs out of memory"
    finally:
        process.join()
    written = _names(found)
    if failure:
        for name in written:
            (folder / name).unlink(missing_ok=True)
            (folder / _part(name)).unlink(missing_ok=True)
        raise UserError(f"{folder}: {failure}")
    return written


def _names(found: list[Path]) -> list[str]:
    """The names of the files that are written; the index last, since it makes the others known."""
    if len(found) == 1:
        return [weights.WEIGHTS]
    return [*(f"model-{at:05}-of-{len(found):05}.safetensors" for at in range(1, len(found) + 1)), weights.INDEX]


def _part(name: str) -> str:
    """Its name until it is whole."""
    return f".{name}.part"


def _work(pipe: Connection, found: list[Path]) -> None:
    """What is wrong, or nothing, into the pipe."""
    try:
        pipe.send(_written(found))
    except Exception as error:  # whatever a damaged file does to its reader
        pipe.send(f"{type(error).__name__}: {error}")


def _written(found: list[Path]) -> str | None:
    import torch
    from safetensors.torch import save_file

    folder, names, places, size = found[0].parent, _names(found), dict[str, str](), 0
    for path, name in zip(found, names, strict=False):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            return f"{path.name} cannot be read as tensors and nothing else ({first_line(error)})"
        if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
            return f"{path.name} holds more than named tensors"
        whole = {key: tensor.clone().contiguous() for key, tensor in state.items()}  # tied weights stand in each of their places
        temporary = folder / _part(name)
        save_file(whole, temporary, metadata={"format": "pt"})
        temporary.replace(folder / name)
        places |= dict.fromkeys(whole, name)
        size += sum(tensor.nbytes for tensor in whole.values())
    if len(found) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": places}
        write_atomically(folder / weights.INDEX, json.dumps(index, indent=1).encode())
    return None
