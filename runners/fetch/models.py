"""`xlift models fetch`: the weights of a study's models on the hub, in folders that runs read and for which nobody goes online.

Of a repository the files are taken that the loader reads (`registry.weights`), at the pinned commit, with the bytes that the hub
names; pickles are converted in a process of their own, and do not stay; where there is no tokenizer.json, it is made of
SentencePiece's file. A folder is there whole, or not yet.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from xlift.registry import weights
from xlift.registry.findings import UserError
from xlift.runners.convert import convert
from xlift.runners.fetch import remote
from xlift.runners.fetch.locked import Loaded, Source
from xlift.runners.fetch.remote import Remote

Tell = Callable[[str, int, int], None]  # what is under way, bytes so far, bytes in all


def folder_of(models: Path, hub: str, revision: str) -> Path:
    """Where the weights of a model at a commit are below a folder of models."""
    return models / hub.replace("/", "--") / revision[:12]


def needed(files: Sequence[Remote]) -> list[Remote]:
    """The files of a model's repository that are read: safetensors, or pickles where it has no others.

    UserError where it has no configuration, no weights or no tokenizer that is read.
    """
    by_name = {file.path: file for file in files}
    where = f"{files[0].repository} at {files[0].commit[:8]}" if files else "the repository"
    if weights.WEIGHTS in by_name:
        own = [weights.WEIGHTS]
    elif weights.INDEX in by_name:
        own = [weights.INDEX, *(name for name in by_name if name.startswith("model-") and name.endswith(".safetensors"))]
    else:
        own = [name for name in by_name if name.startswith("pytorch_model") and name.endswith(".bin")]
    tokenizer = next((name for name in (weights.TOKENIZER, *weights.PIECES) if name in by_name), weights.TOKENIZER)
    lacks = [name for name in (weights.CONFIG, tokenizer) if name not in by_name]
    if lacks or not own:
        do = "download it, save what is missing with transformers, and name the folder beside hub"
        raise UserError(f"{where} has no {lacks[0] if lacks else 'weights of a form that is read'}", do)
    return [by_name[name] for name in (weights.CONFIG, tokenizer, *weights.TOKENS, *sorted(own)) if name in by_name]


def fetch(hub: str, revision: str, folder: Path, tell: Tell = lambda *_: None) -> Loaded | None:
    """The files of a model at a commit in a folder; None where it was there. UserError where it holds something else.

    An interrupted fetch goes on: files that are whole are not asked for again.
    """
    if (folder / weights.CONFIG).is_file():
        return None
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds something else than a model", "name another folder, or empty it")
    files = needed(remote.listed(hub, revision, "model"))
    making = folder.with_name(f".{folder.name}.part")
    making.mkdir(parents=True, exist_ok=True)
    whole, so_far = sum(file.size for file in files), 0
    for file in files:
        tell(file.place, so_far, whole)
        remote.fetched(file, making)
        so_far += file.size
    tell("", whole, whole)
    shutil.rmtree(making / ".cache", ignore_errors=True)  # the client's own notes
    names = [file.path for file in files]
    pickles = [name for name in names if name.endswith(".bin")]
    made = convert(making) if pickles or weights.TOKENIZER not in names else {}
    for name in pickles:
        (making / name).unlink()
    weights.opened(making)
    os.replace(making, folder)
    sources = tuple(Source(**remote.as_dict(file)) for file in files)
    converted = {name: mark for name, mark in made.items() if name not in names}
    return Loaded(hub=hub, revision=revision, sources=sources, converted=converted)


def verified(loaded: Loaded, folder: Path) -> list[str]:
    """What of a model's folder is not as a lock has it, a sentence each; of pickles it is what they were converted to."""
    fetched = {source.path: source.digest for source in loaded.sources if not source.path.endswith(".bin")}
    wrong = []
    for name, mark in (fetched | loaded.converted).items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{loaded.hub}: {name} is not there")
        elif remote.digest(path, len(mark)) != mark:
            wrong.append(f"{loaded.hub}: {name} is not what was {'fetched' if name in fetched else 'made of what was fetched'}")
    return wrong
