"""What is read of a model's folder, and nothing else of it: one list of files, which is loaded, and hashed.

Weights are looked at by their headers: safetensors alone, whole, and what they hold. Nothing is unpickled here.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xlift.registry.files import small
from xlift.registry.findings import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
PIECES = ("spiece.model", "sentencepiece.bpe.model")  # SentencePiece's own files, of which a tokenizer.json is made
TOKENS = ("tokenizer_config.json", "special_tokens_map.json")  # which name the special tokens, where they are there
ADAPTER = "adapter_config.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
LARGEST = 100_000_000  # bytes of a header, as in the format's description


class WeightsError(UserError):
    """Weights that cannot be used."""


def pickles(folder: Path) -> list[Path]:
    """Files of weights whose reading may run code."""
    return sorted({path for pattern in PICKLES for path in folder.glob(pattern)})


def files(folder: Path) -> list[Path]:
    """The safetensors of a model's weights, one file or several by an index; none where there are none.

    Raises:
        WeightsError: there are pickles alone, an adapter beside them, or the index names what is not there.
    """
    if (folder / ADAPTER).is_file():
        raise WeightsError(f"{ADAPTER} names other weights", "merge the adapter into the model's weights, or remove it")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        found = named(folder)
        if absent := [path.name for path in found if not path.is_file()]:
            raise WeightsError(f"{INDEX} names {absent[0]}, which is not there", "copy it again")
        return found
    if unread := pickles(folder):
        raise WeightsError(
            f"{unread[0].name} is a pickle, whose reading may run code", f"xlift models convert {folder} writes safetensors"
        )
    return []


def named(folder: Path) -> list[Path]:
    """The files that a folder's index names, whether or not they are there."""
    return [folder / name for name in sorted(set(_index(folder / INDEX).values()))]


def opened(folder: Path) -> list[str]:
    """The files that are read of a model's folder, by name, sorted: its configuration, weights and tokenizer.

    Raises:
        WeightsError: the weights cannot be used, or there is no tokenizer beside them.
    """
    found = files(folder)
    if not (folder / TOKENIZER).is_file():
        raise WeightsError(
            f"there is no {TOKENIZER}",
            "xlift models convert makes it of SentencePiece's file; else save it there with transformers",
        )
    index = [INDEX] if found != [folder / WEIGHTS] else []
    there = [name for name in TOKENS if (folder / name).is_file()]
    return sorted([CONFIG, TOKENIZER, *there, *index, *(path.name for path in found)])


def parts(folder: Path) -> dict[Path, dict[str, dict[str, Any]]]:
    """Of each weight file the tensors that are read of it: name -> its row of the header (dtype, shape, data_offsets).

    An index says which file a tensor is read from, whatever else that file holds.
    """
    held = {path: dict(_header(path)) for path in files(folder)}
    if not held or folder / WEIGHTS in held:
        return held
    wanted: dict[Path, dict[str, dict[str, Any]]] = {path: {} for path in held}
    for tensor, name in _index(folder / INDEX).items():
        if tensor not in held[folder / name]:
            raise WeightsError(f"{INDEX} names {tensor} of {name}, which does not hold it", "copy both again")
        wanted[folder / name][tensor] = held[folder / name][tensor]
    return wanted


def _index(path: Path) -> dict[str, str]:
    try:
        found = json.loads(small(path))["weight_map"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error})", "copy it again") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) and Path(name).name == name for name in found.values()):
        raise WeightsError(f"{path.name} names no files of its folder", "copy it again")
    return found


def tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's weights; WeightsError where a file is damaged or ends too early."""
    return {name: tuple(row["shape"]) for rows in parts(folder).values() for name, row in rows.items()}


def _header(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a safetensors file's header, whose tensors are whole."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 0 < length <= min(size - 8, LARGEST):
                raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
            rows = {name: row for name, row in json.loads(file.read(length)).items() if name != "__metadata__"}
        end = 8 + length + max((row["data_offsets"][1] for row in rows.values()), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise WeightsError(f"{path.name} is no whole safetensors file ({error})", "copy it again") from error
    if size != end:
        raise WeightsError(f"{path.name} has {size:,} bytes, and its header tells of {end:,}", "copy it again")
    yield from rows.items()
