"""Pickled weights to safetensors, once, in a process of its own: `xlift models convert`."""

import json
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from xlift.registry import weights
from xlift.registry.files import raw_digest, write_atomically
from xlift.registry.findings import UserError, first_line

RECORD = "converted.json"


def convert(folder: Path) -> dict[str, str]:
    """Write a folder's pickled weights as safetensors beside them; sha-256 of every file read and written, by name.

    They are read with `weights_only`, which refuses whatever is not a tensor, by a process that does nothing else. The
    digests are kept in converted.json; the pickles stay, and are never read again.

    Raises:
        UserError: there are safetensors already, or no pickles; or they hold more than tensors, or are damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if (folder / weights.WEIGHTS).exists() or (folder / weights.INDEX).exists():
        raise UserError(f"{folder}: its weights are safetensors already")
    found = sorted(folder.glob("pytorch_model*.bin"))
    if not found:
        raise UserError(f"{folder}: no pytorch_model.bin, nor parts of one")
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
    digests = {path.name: raw_digest(path) for path in (*found, *(folder / name for name in written))}
    write_atomically(folder / RECORD, json.dumps(digests, indent=1).encode())
    return digests


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
