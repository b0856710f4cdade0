"""Files at a URI, on this machine or on S3: read, list, hash, and write whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from core.errors import InputError
from core.io import s3
from core.io.drafts import draft

T = TypeVar("T")
Writer = Callable[[IO[bytes]], None]
Json = Any

BLOCK = 1 << 22  # bytes read at a time
LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
LASTING_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP}


def is_remote(uri: str) -> bool:
    """Whether ``uri`` is on S3."""
    return uri.startswith("s3://")


def absolute(uri: str) -> str:
    """The same place, by a name that does not hang on the folder of the call."""
    return uri if is_remote(uri) else str(Path(uri).absolute())


def join(uri: str, *parts: str) -> str:
    """The URI of ``parts`` below ``uri``; empty parts are left out."""
    return "/".join([uri.rstrip("/") if uri != "/" else "", *(part.strip("/") for part in parts if part.strip("/"))])


def name_of(uri: str) -> str:
    """The last part of a URI."""
    return uri.rstrip("/").rpartition("/")[2]


def parent_of(uri: str) -> str:
    """All but the last part of a URI."""
    return uri.rstrip("/").rpartition("/")[0] or ("/" if uri.startswith("/") else ".")


def open_uri(uri: str) -> IO[bytes]:
    """Open a file for reading bytes; what is no regular file (a pipe, a socket, a device) is refused at once, never waited for.

    Raises:
        FileNotFoundError: there is none.
        InputError: special-file.
    """
    if is_remote(uri):
        with s3.reached(uri) as disk:
            handle: IO[bytes] = disk.open(uri, "rb", block_size=4 * BLOCK)
        return handle
    return _open_regular(uri)


def _open_regular(path: str) -> IO[bytes]:
    kind = Path(path).stat().st_mode  # before it is opened: opening a tape drive moves it
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(kind):
        remedy = "leave it out"
        raise InputError("special-file", "a regular file", f"{special_kind(kind)} at {name_of(path)}", remedy)
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def special_kind(mode: int) -> str:
    """What a file is that is no regular one, by its mode."""
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    return next((name for test, name in kinds if test(mode)), "no file")


def size(uri: str) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not is_remote(uri):
        return Path(uri).stat().st_size
    with s3.reached(uri) as disk:
        return int(disk.size(uri))


def read_bytes(uri: str) -> bytes:
    """The whole of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not is_remote(uri):
        with _open_regular(uri) as handle:
            return handle.read()
    with s3.reached(uri) as disk:
        return bytes(disk.cat_file(uri, max_concurrency=1))  # one request; s3fs would ask for the size first


def read_start(uri: str, count: int) -> bytes:
    """The first bytes of a file, at most ``count``; one request on S3.

    Raises:
        FileNotFoundError: there is none.
    """
    if not is_remote(uri):
        with _open_regular(uri) as handle:
            return handle.read(count)
    with s3.reached(uri) as disk:
        return bytes(disk.cat_file(uri, start=0, end=count)) if size(uri) else b""


def exists(uri: str) -> bool:
    """Whether there is a file or a folder."""
    if not is_remote(uri):
        return Path(uri).exists()
    with s3.reached(uri) as disk:
        return bool(disk.exists(uri))


def real(uri: str) -> str:
    """Where a URI lies, however it is named: "a", "./a", "b/../a" and a link to it are one place on this machine."""
    return uri.rstrip("/") if is_remote(uri) else os.path.realpath(uri)


def is_folder(uri: str) -> bool:
    """Whether ``uri`` is a folder (on S3: a prefix of something)."""
    if not is_remote(uri):
        return Path(uri).is_dir()
    with s3.reached(uri) as disk:
        return bool(disk.isdir(uri))


def listdir(uri: str) -> list[str]:
    """Names of the files and folders directly below ``uri``, sorted; empty where there is no such folder."""
    try:
        if is_remote(uri):
            with s3.reached(uri) as disk:
                names = [name_of(entry) for entry in disk.ls(uri, detail=False) if name_of(entry) != name_of(uri)]
        else:
            names = [entry.name for entry in os.scandir(uri)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names)


def _local_walk(folder: str, prefix: str) -> Iterator[str]:
    """As ``walk``; a link back to a folder that was seen ends there."""
    seen = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        at_top = top == folder
        folders[:] = [name for name in folders if not name.startswith(".") and (not at_top or name.startswith(prefix))]
        if (real := os.path.realpath(top)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(top, name).relative_to(folder).as_posix() for name in names if not at_top or name.startswith(prefix))


def walk(uri: str, prefix: str = "") -> list[str]:
    """Paths of all files below ``uri``, relative to it, sorted, without hidden files and folders.

    Args:
        uri: a folder.
        prefix: look only at its own files and folders whose names begin so.
    """
    if is_remote(uri):
        base = uri.partition("://")[2].rstrip("/") + "/"
        with s3.reached(uri) as disk:
            listed = disk.find(base, prefix=prefix)
        paths = [path.removeprefix(base) for path in listed if path.startswith(base)]
    else:
        paths = list(_local_walk(uri.rstrip("/") or "/", prefix))
    return sorted(path for path in paths if path and not any(part.startswith(".") for part in path.split("/")))


def crc32(uri: str) -> int:
    """The CRC-32 of a file's bytes: ten times faster than sha256, to find damage, not intent."""
    from isal import isal_zlib

    value = 0
    with open_uri(uri) as handle:
        while block := handle.read(BLOCK):
            value = isal_zlib.crc32(block, value)
    return value


def _hash_file(uri: str) -> str:
    digest = hashlib.sha256()
    with open_uri(uri) as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256(uri: str) -> str:
    """The sha256 (hex) of a file's bytes, or of the names and bytes of all files in a folder (a DICOM series).

    Raises:
        FileNotFoundError: there is neither.
    """
    if not is_folder(uri):
        return _hash_file(uri)
    lines = "\n".join(f"{_hash_file(join(uri, path))} {path}" for path in walk(uri))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def sha256_all(uris: Iterable[str]) -> str:
    """One sha256 (hex) for several files or folders: that of the one, or of all digests in order."""
    digests = [sha256(uri) for uri in uris]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _write_local(path: Path, writer: Writer, place: Callable[[Path, Path], object] | None = None) -> None:
    with draft(path, place) as hidden, hidden.open("wb") as handle:
        writer(handle)
        handle.flush()
        os.fsync(handle.fileno())


def write_atomic(uri: str, content: bytes | Writer) -> None:
    """Write a file whole or not at all; folders above it are made.

    Locally: a hidden file beside it, flushed to disk, then renamed. On S3: one upload, in parts where it is large, which appears
    when it is complete.

    Args:
        uri: where.
        content: the bytes, or a function that writes them to the open file that it gets.
    """
    writer: Writer = (lambda handle: void(handle.write(content))) if isinstance(content, bytes) else content
    if not is_remote(uri):
        _write_local(Path(uri), writer)
        return
    if isinstance(content, bytes):
        with s3.reached(uri) as disk:
            disk.pipe_file(uri, content, chunksize=s3.PART)
        return
    with tempfile.NamedTemporaryFile(suffix=".isovox") as handle:
        writer(handle)
        handle.flush()
        with s3.reached(uri) as disk:
            disk.put_file(handle.name, uri, chunksize=s3.PART)


def void(_: object) -> None:
    """Nothing, whatever the argument."""


def _json_bytes(value: Json) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(uri: str, value: Json) -> None:
    """Write a JSON value whole or not at all; NaN and infinity, which JSON has not, raise ValueError."""
    write_atomic(uri, _json_bytes(value))


def create_json(uri: str, value: Json) -> bool:
    """Write a JSON value only where there is no file yet; of several writers one succeeds.

    Returns:
        whether it was written.
    """
    content = _json_bytes(value)
    try:
        if is_remote(uri):
            with s3.reached(uri) as disk:
                disk.pipe_file(uri, content, mode="create")
        else:
            _write_local(Path(uri), lambda handle: void(handle.write(content)), os.link)
    except OSError as error:
        if isinstance(error, FileExistsError) or s3.is_conflict(error):
            return False
        raise
    return True


def read_json(uri: str) -> Json:
    """The JSON value in a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except RecursionError as error:
        raise ValueError("values too deep in one another") from error


def remove(uri: str) -> None:
    """Remove a file or a folder with all in it; nothing where there is none."""
    if is_remote(uri):
        with suppress(FileNotFoundError), s3.reached(uri) as disk:
            disk.rm(uri, recursive=True)
    elif Path(uri).is_dir() and not Path(uri).is_symlink():
        shutil.rmtree(uri)
    else:
        Path(uri).unlink(missing_ok=True)


def remove_empty(root: str, folder: str) -> None:
    """Remove a folder below a root and those above it up to the root, as far as nothing is in them; on S3 there are none.

    Args:
        root: that stays.
        folder: relative to it.
    """
    if is_remote(root):
        return
    with suppress(OSError):
        while folder:
            Path(root, folder).rmdir()
            folder = folder.rpartition("/")[0]


def remove_leftovers(uri: str, but: Collection[str] = ()) -> int:
    """Remove the hidden files that killed writers left anywhere below a local folder; call it only while nobody writes there.

    Args:
        uri: the folder.
        but: folders below it that are left alone.

    Returns:
        how many there were.
    """
    removed = 0
    for folder, inner, names in () if is_remote(uri) else os.walk(uri):
        inner[:] = [name for name in inner if join(folder, name) not in but]
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                Path(folder, name).unlink(missing_ok=True)
                removed += 1
    return removed


def is_passing(error: BaseException) -> bool:
    """Whether a fault of the storage may pass: dropped connections, 5xx answers; not a missing file or a full disk."""
    if isinstance(error, LASTING):
        return False
    if isinstance(error, OSError):
        return error.errno not in LASTING_NUMBERS
    return s3.is_passing(error)


def retrying(work: Callable[[], T], attempts: int, wait: float = 0.5, sleep: Callable[[float], object] = time.sleep) -> T:
    """Do ``work``, again after a fault of the storage that may pass.

    Args:
        work: what to do; idempotent.
        attempts: how many times at most, at least 1.
        wait: seconds before the second attempt; doubled each time, at most 30, with up to a half more at random.
        sleep: how to wait.

    Raises:
        OSError: the fault, after the last attempt or where it cannot pass.
    """
    for attempt in range(attempts - 1):
        try:
            return work()
        except Exception as error:
            if not is_passing(error):
                raise
        sleep(min(30.0, wait * 2**attempt) * random.uniform(1.0, 1.5))  # noqa: S311
    return work()
