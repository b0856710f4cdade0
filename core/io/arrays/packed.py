"""Gzip files as they are unpacked: other bytes behind a whole file do not matter, as gzip itself warns and goes on."""

from __future__ import annotations

import io
import zlib
from typing import IO

from isal import igzip

MAGIC = b"\x1f\x8b"
GZIP = 31  # zlib's name for a gzip header and trailer


def unpack_whole(content: bytes) -> bytes | None:
    """What whole gzip members hold at the beginning of some bytes; None where the first is not whole."""
    rest, parts = content, []
    while rest.startswith(MAGIC):
        member = zlib.decompressobj(GZIP)
        try:
            part = member.decompress(rest)
        except zlib.error:
            break
        if not member.eof:
            return None
        parts.append(part)
        rest = member.unused_data
    return b"".join(parts) if parts else None


class PackedFile(igzip.IGzipFile):  # type: ignore[misc] # isal tells no types
    """A gzip file; where its end is not as it should be, it is unpacked as a whole to see whether only bytes follow it."""

    def __init__(self, handle: IO[bytes]) -> None:
        super().__init__(fileobj=handle)
        self._handle = handle
        self._whole: io.BytesIO | None = None

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes.

        Raises:
            EOFError, gzip.BadGzipFile: the file ends early, or is damaged.
        """
        if self._whole is not None:
            return self._whole.read(size)
        at = self.tell()
        try:
            return bytes(super().read(size))
        except (EOFError, igzip.BadGzipFile):
            self._handle.seek(0)
            content = unpack_whole(self._handle.read())
            if content is None:
                raise
        self._whole = io.BytesIO(content)
        self._whole.seek(at)
        return self._whole.read(size)
