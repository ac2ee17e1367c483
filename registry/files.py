"""Files on disk: where one of data is, what it holds, its digest, which is the same whether or not it is compressed; and how a
file is written whole."""

import errno
import gzip
import hashlib
import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from xlift.registry.findings import UserError

CHUNK = 1 << 20  # bytes
SMALL = 64 << 20  # bytes of a text that people write


class DataError(UserError):
    """Bad data: where, what, and what would do."""


def named(root: Path, task: str, split: str, language: str, pattern: str) -> Path:
    """The name that `pattern`, such as "{task}/{split}.{language}.jsonl", gives a file, whether or not there is one."""
    try:
        return root / pattern.format(task=task, split=split, language=language)
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"file pattern '{pattern}' cannot be filled ({error})", "use only {task}, {split} and {language} in it"
        ) from error


def path(root: Path, task: str, split: str, language: str, pattern: str) -> Path | None:
    """The file of one split and language, plain or with .gz; the plain one where both exist; None where neither does."""
    plain = named(root, task, split, language, pattern)
    for candidate in (plain, plain.with_name(plain.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def chunks(file: Path) -> Iterator[bytes]:
    """The uncompressed bytes of `file`, piece by piece."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: truncated or damaged gzip ({error})", "copy or download the file again") from error


def content(file: Path) -> bytes:
    """All uncompressed bytes of `file`."""
    return b"".join(chunks(file))


def whole(file: Path, tries: int = 3) -> bytes:
    """All bytes of a file that others may replace meanwhile: a network's file system calls the old one stale."""
    try:
        return file.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE or tries <= 1:
            raise
    return whole(file, tries - 1)


def small(file: Path, limit: int = SMALL) -> bytes:
    """All bytes of a text that somebody brings; OSError where it is no regular file, which may have no end, or is too large."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to would wait
    with os.fdopen(descriptor, "rb") as stream:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            raise IsADirectoryError(errno.EISDIR, "is a directory") if stat.S_ISDIR(kind) else OSError(errno.EINVAL, "is no file")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit >> 20} MB")
    return data


def raw_digest(file: Path) -> str:
    """Sha-256 of a file's bytes as they are, 64 hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(file: Path) -> str:
    """Sha-256 of the uncompressed bytes, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for piece in chunks(file):
        state.update(piece)
    return state.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, after a crash too."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        written(temporary, data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def written(path: Path, data: bytes) -> None:
    """Write a file that outlasts a crash of the machine."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
