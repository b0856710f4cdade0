"""Files on this machine are made under a hidden name beside their own, and appear whole."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMED = 200  # bytes of a file's name, of 255 at most, that are left in that of its draft


@contextmanager
def draft(path: Path, place: Callable[[Path, Path], object] | None = None) -> Iterator[Path]:
    """The hidden name under which a file is made; it takes its place when the block ends well, and is gone where that fails.

    Args:
        path: of the file; folders above it are made.
        place: puts the first path in the place of the second; by default it replaces what is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = _hidden(path)
    try:
        yield hidden
        (place or os.replace)(hidden, path)
        _sync_folder(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    """A name beside ``path`` that no other writer uses; as long as file systems allow, however long that of ``path`` is."""
    name = path.name.encode(errors="surrogateescape")[:NAMED].decode(errors="ignore")
    return path.with_name(f".{name}.{os.getpid()}-{threading.get_ident()}-{random.getrandbits(32):08x}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
