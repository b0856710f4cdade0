"""FreeSurfer's images: .mgh and, compressed, .mgz (surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from core.errors import InputError
from core.io import validation as gate
from core.io.arrays.slabs import Slab, opened, slabs_of
from core.io.inventory.entries import Entry
from core.io.names import beside
from core.io.readers.base import Image, Reading
from core.io.validation import Header, Trust

NAMES = (".mgh", ".mgz", ".mgh.gz")
VOXELS_AT = 284  # bytes of the header
GOOD_RAS = slice(28, 30)
TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
SCANNER = 1


def _looks_so(block: bytes) -> bool:
    """Whether bytes begin as an .mgh file: version 1, four sizes, a known type."""
    if len(block) < VOXELS_AT:
        return False
    version, *sizes, kind = np.frombuffer(block[:24], ">i4").tolist()
    return version == 1 and all(0 < size < 1 << 16 for size in sizes) and kind in TYPES


def _header(block: bytes, size: int, *, compressed: bool) -> Header:
    import nibabel

    if len(block) < VOXELS_AT:
        raise InputError("file-truncated", f"a header of {VOXELS_AT} bytes", f"{len(block)} bytes", gate.REMEDY)
    try:
        raw = nibabel.freesurfer.mghformat.MGHHeader(block[:VOXELS_AT])
        sizes, kind = [int(n) for n in raw["dims"]], int(raw["type"])
        known = any(block[GOOD_RAS])  # nibabel sets it, and directions of its own
        affine = np.asarray(raw.get_affine(), np.float64)
    except Exception as error:
        raise InputError("header-invalid", "a header that can be read", str(error)[:200], gate.REMEDY) from error
    if min(sizes) < 1 or sizes[3] != 1:
        remedy = "give a 3-D image; of a series, pick or average the volumes first"
        raise InputError("not-3d", "three axes and one frame", "x".join(map(str, sizes)), remedy)
    if kind not in TYPES:
        raise InputError("dtype-unknown", "voxels of a type of .mgh", f"code {kind}", gate.REMEDY)
    if not known:
        got = "goodRASFlag 0: left and right are a guess"
        raise InputError("orientation-unknown", "the directions of the axes", got, "set them with a tool that knows the scan")
    shape, stored = (sizes[0], sizes[1], sizes[2]), np.dtype(TYPES[kind])
    what = f"{'x'.join(map(str, shape))} voxels of {stored.itemsize} bytes"
    gate.check_capacity(VOXELS_AT + math.prod(shape) * stored.itemsize, size, compressed, what)
    gate.check_field(shape, gate.check_affine(affine, "affine"))
    return Header(shape, affine, SCANNER, stored, VOXELS_AT, 1.0, 0.0)


@contextmanager
def _checked(uri: str) -> Iterator[tuple[IO[bytes], Header, bool]]:
    with opened(uri) as (stream, size, compressed):
        yield stream, _header(stream.read(VOXELS_AT), size, compressed=compressed), compressed


class Mgh:
    """Reads .mgh and .mgz."""

    kind = "mgh"

    def can_read(self, entry: Entry) -> bool:
        """By its name; else by its header."""
        return entry.name.lower().endswith(NAMES) or (not entry.kind and _looks_so(entry.start))

    def read(self, entries: Sequence[Entry]) -> Reading:
        """One image a file."""
        reading = Reading()
        for entry in entries:
            if entry.name.lower().endswith(NAMES):
                reading.images.append(Image(entry.path, (entry.uri,), self.kind, (entry.path,)))
            else:
                got = f"one by its content, named {entry.name}"
                reading.trouble("name-odd", entry, "an .mgz file by its name", "name it .mgz, or .mgh if not compressed", got)
        return reading

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:  # noqa: ARG002 - the format has one transform
        """Read and check a header.

        Raises:
            InputError: header-invalid, not-3d, dtype-unknown, orientation-unknown, field-of-view, affine-singular, header-lies,
                file-truncated.
        """
        with _checked(uris[0]) as (_, header, _):
            return header

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:  # noqa: ARG002
        """Read an image slab by slab.

        Raises:
            InputError: as ``header``, and what ``slabs_of`` raises.
        """
        with _checked(uris[0]) as (stream, header, compressed):
            yield from slabs_of(stream, header, thickness, compressed=compressed)

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Of the JSON file beside it."""
        return beside(uris[0])
