"""What is asked of the hub: commits, listings and files, which are compared with the digests that it names.

The hub's client stores whatever bytes it was sent: nothing but this verifies them. No code of a repository is looked at.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from xlift.registry.findings import UserError, first_line
from xlift.registry.known.hub import CONVERTED

Type = Literal["dataset", "model"]
Answer = TypeVar("Answer")
SHARD = re.compile(r"-(\d+)-of-(\d+)\.parquet$")


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at a commit. `digest` is what the hub names it by: sha-256 of a large file, git's sha-1 of a small one."""

    repository: str
    commit: str
    path: str
    size: int  # bytes
    digest: str
    type: Type = "dataset"

    @property
    def place(self) -> str:
        return f"{self.repository} at {self.commit[:8]}, {self.path}"


def commit_of(repository: str, branch: str, kind: Type) -> str:
    """The commit that a branch stands for today. UserError where it cannot be had."""

    def ask() -> str | None:
        from huggingface_hub import HfApi

        refs = HfApi().list_repo_refs(repository, repo_type=kind)
        found = [*refs.branches, *refs.converts]
        return next((str(each.target_commit) for each in found if each.name == branch or each.ref == branch), None)

    commit = _asked(ask, f"{repository}, {branch}", repository)
    if commit is None:
        what = "no conversion to Parquet of" if branch == CONVERTED else f"no branch {branch} in"
        raise UserError(f"the hub has {what} {repository}", "give its files by hand, below the data folder")
    return commit


def listed(repository: str, commit: str, kind: Type) -> list[Remote]:
    """All files of a repository at a commit."""

    def ask() -> list[Remote]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = HfApi().list_repo_tree(repository, repo_type=kind, revision=commit, recursive=True)
        return [
            Remote(repository, commit, file.path, file.size, file.lfs.sha256 if file.lfs else file.blob_id, kind)
            for file in tree
            if isinstance(file, RepoFile)
        ]

    return _asked(ask, f"{repository} at {commit[:8]}", repository)


def parquet(files: Sequence[Remote], config: str, split: str) -> list[Remote]:
    """The Parquet files of a configuration and split, in the order of their shards.

    `<config>/<split>-NNNNN-of-MMMMM.parquet`, where the configuration `default` is the folder `data`; or, of the hub's own
    conversion, `<config>/<split>/NNNN.parquet`. UserError where there is none, or a shard is missing.
    """
    folders = {config, "data"} if config == "default" else {config}
    found = []
    for file in files:
        folder, _, name = file.path.rpartition("/")
        whole = SHARD.search(name)
        if (folder in folders and whole and name[: whole.start()] == split) or (
            folder == f"{config}/{split}" and name.endswith(".parquet")
        ):
            found.append(file)
    found.sort(key=lambda file: file.path)
    where = f"{files[0].repository} at {files[0].commit[:8]}" if files else "the repository"
    if not found:
        script = any(file.path.endswith(".py") for file in files)
        do = (
            "it holds a script, which is not run: name a commit of its conversion" if script else "see that configuration's files"
        )
        raise UserError(f"{where} has no Parquet of {config}, {split}", do)
    shards = [SHARD.search(file.path) for file in found]
    numbers = [int(shard[1]) for shard in shards if shard]
    count = int(shards[-1][2]) if shards[-1] else len(found)
    if numbers and numbers != list(range(count)):
        raise UserError(f"{where}: of the {count} shards of {config}, {split} there are {len(numbers)}", "take another commit")
    if not numbers and [Path(file.path).stem for file in found] != [f"{at:04d}" for at in range(len(found))]:
        raise UserError(f"{where}: a shard of {config}, {split} is missing", "take another commit")
    return found


def fetched(file: Remote, folder: Path | None = None) -> Path:
    """A file in a folder, or in the hub's cache, with the bytes that the hub names; what differs is deleted and asked for again.

    UserError where it cannot be had, or differs twice.
    """
    if folder and (folder / file.path).is_file() and digest(folder / file.path, len(file.digest)) == file.digest:
        return folder / file.path
    for _ in range(2):
        path = _asked(lambda: _download(file, folder), file.place, file.repository)
        if digest(path, len(file.digest)) == file.digest:
            return path
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    raise UserError(
        f"{file.place}: the hub names other bytes than it sends ({file.digest[:12]})", "try again later; nothing is kept"
    )


def _download(file: Remote, folder: Path | None) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(file.repository, file.path, repo_type=file.type, revision=file.commit, local_dir=folder))


def digest(path: Path, length: int = 64) -> str:
    """Sha-256 of a file's bytes; or git's sha-1 of it as a blob, where a digest of 40 digits is compared."""
    if length == 64:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _asked(ask: Callable[[], Answer], what: str, repository: str) -> Answer:
    """What the hub answers; whatever its client raises in words, with what would do."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError as error:
        do = f"accept its terms on the hub's page of {repository}, and log in (hf auth login, or HF_TOKEN)"
        raise UserError(f"{what}: the hub gives it to those alone who accept its terms", do) from error
    except errors.RepositoryNotFoundError as error:
        do = "it was renamed or is private: see its page, and log in (hf auth login, or HF_TOKEN) if it is yours"
        raise UserError(f"{what}: the hub has no such repository, or does not show it", do) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{what}: the hub has no such commit", "its history was rewritten: `xlift data pin` writes today's"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        do = "fetch where there is a network, and copy the folder; HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 forbids it"
        raise UserError(f"{what}: the hub is not reached, and it is not in its cache", do) from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{what}: the hub has no such file", "take another commit") from error
    except Exception as error:  # the boundary: what its client raises differs from one version to the next
        raise UserError(
            f"{what}: {_without_token(first_line(error))}", "what was fetched is kept: the same command goes on"
        ) from error


def _without_token(text: str) -> str:
    return re.sub(r"hf_\w+", "hf_…", text)


def as_dict(file: Remote) -> dict[str, Any]:
    """As a lock has it."""
    return {"repository": file.repository, "commit": file.commit, "path": file.path, "size": file.size, "digest": file.digest}
