"""What is asked of the hub: the commit that a name stands for today, and the files of a model that are read."""

from collections.abc import Iterable
from pathlib import Path

from xlift.registry import weights
from xlift.registry.files import write_atomically
from xlift.registry.findings import Place, UserError, first_line
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.sections import PIN, Manifest


def pin(manifest: Manifest, root: Node, *what: str) -> dict[str, str]:
    """Write the hub's current commit in place of every `revision: pin` of a manifest; commits by the name on the hub.

    `what` may name `models`, or `data`, alone. Only these words change, in whichever file they stand. All commits are asked
    for first: where one cannot be had, no file is touched.

    Raises:
        UserError: the hub is not reachable, or has no such model or data set.
    """
    drafts: list[tuple[str, tuple[str | int, ...], str | None, str | None]] = [
        *(("models", ("models", at), model.hub, model.revision) for at, model in enumerate(manifest.models)),
        *(("data", ("tasks", at, "hub"), task.hub.dataset, task.hub.revision) for at, task in manifest.tasks.items() if task.hub),
    ]
    wanted = [(kind, path, hub) for kind, path, hub, revision in drafts if revision == PIN and hub and kind in (what or (kind,))]
    commits = {hub: _commit(hub, kind) for kind, _, hub in wanted}
    places = [(root.at((*path, "revision")).place, commits[hub]) for _, path, hub in wanted]
    for name in dict.fromkeys(place.file for place, _ in places):
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        write_atomically(path, _pinned(text, [each for each in places if each[0].file == name]).encode())
    return commits


def folder(name: str, revision: str) -> Path:
    """What of a model on the hub is read, in the hub's cache: one folder of a commit, and no other file of it asked for.

    Raises:
        UserError: the hub is not reachable, or has no safetensors or no tokenizer.json of it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def has(file: str) -> bool:
        try:
            hf_hub_download(name, file, revision=revision)
        except LocalEntryNotFoundError:
            if isinstance(try_to_load_from_cache(name, file, revision=revision), str | None):
                raise  # it is not known whether there is one
            return False
        except EntryNotFoundError:
            return False
        return True

    try:
        found = Path(hf_hub_download(name, weights.CONFIG, revision=revision)).parent
        lacking = [file for file in (weights.TOKENIZER, *weights.TOKENS) if not has(file)]
        if not has(weights.WEIGHTS) and has(weights.INDEX):
            for path in weights.named(found):
                hf_hub_download(name, path.name, revision=revision)
    except Exception as error:  # the boundary: what its client raises differs from one version to the next
        raise UserError(f"{name} at {revision[:8]}: {first_line(error)}") from error
    if weights.TOKENIZER in lacking or not weights.files(found):
        lacks = weights.TOKENIZER if weights.TOKENIZER in lacking else "safetensors"
        raise UserError(
            f"{name} at {revision[:8]} has no {lacks}",
            "download it, convert its weights with `xlift models convert FOLDER`, "
            "save its tokenizer, and name the folder beside hub",
        )
    return found


def _pinned(text: str, commits: Iterable[tuple[Place, str]]) -> str:
    """`text` with a commit at each place, the last place first, so that those before it stay."""
    lines = text.splitlines(keepends=True)
    for place, commit in sorted(commits, key=lambda each: (each[0].line, each[0].column), reverse=True):
        line, begin = lines[place.line - 1], place.column - 1
        lines[place.line - 1] = line[:begin] + commit + line[begin + place.width :]
    return "".join(lines)


def _commit(hub: str, kind: str) -> str:
    from huggingface_hub import HfApi

    try:
        ask = HfApi().dataset_info if kind == "data" else HfApi().model_info
        commit = ask(hub, timeout=30).sha
    except Exception as error:  # the boundary: what its client raises differs from one version to the next
        raise UserError(f"the hub does not tell the commit of {hub} ({first_line(error)})", "nothing was written") from error
    if not commit:
        raise UserError(f"the hub tells no commit of {hub}", "nothing was written")
    return commit
