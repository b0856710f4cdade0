"""Scans as they are read, slab by slab: plain bytes from a file in, scaled float32 on a canonical grid out."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Box, Grid, Orientation, Triple
from core.io import files
from core.io import validation as gate
from core.io.validation import Header, Seen

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20  # bytes of float32 voxels handled at a time: they stay in the processor's cache


@dataclass(frozen=True)
class StoredAs:
    """How a scan lay in its file, so that its restored image is stored alike.

    Attributes:
        orientation: from the stored axes to the canonical ones.
        code: NIfTI code of the space (1 scanner, 2 aligned, 3 Talairach, 4 MNI).
        labels: whether its header declares labels.
    """

    orientation: Orientation
    code: int
    labels: bool = False


@dataclass(frozen=True)
class Slab:
    """Whole planes of a scan.

    Attributes:
        box: which voxels.
        image: float32 (x, y, z) of the box's shape.
        grid: canonical grid of the whole scan.
        stored: how it lies in its file.
    """

    box: Box
    image: Array
    grid: Grid
    stored: StoredAs


@contextmanager
def opened(uri: str) -> Iterator[tuple[IO[bytes], int, bool]]:
    """The plain bytes of a file, its size as stored, and whether it is compressed; faults get their names."""
    from isal import igzip

    from core.io.arrays.packed import PackedFile

    try:
        with files.open_uri(uri) as handle:
            magic = handle.read(2)
            size = handle.seek(0, 2)
            handle.seek(0)
            if not magic:
                raise InputError("file-empty", "a scan", "0 bytes", gate.REMEDY)
            compressed = magic == GZIP_MAGIC
            if uri.lower().endswith(".gz") and not compressed:
                raise InputError("not-gzip", "gzip bytes in a file named .gz", f"bytes {magic.hex()}", gate.REMEDY)
            yield (PackedFile(handle) if compressed else handle), size, compressed
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError("file-missing", "a file", "none there", f"check the path {files.name_of(uri)}") from error
    except PermissionError as error:
        raise InputError("file-forbidden", "a file that may be read", str(error), "check its permissions") from error
    except EOFError as error:
        raise InputError("file-truncated", "a whole gzip file", "one that ends early", gate.REMEDY) from error
    except (igzip.BadGzipFile, zlib.error, igzip.isal_zlib.IsalError) as error:
        raise InputError("gzip-damaged", "gzip bytes that unpack", str(error), gate.REMEDY) from error


def _read_exactly(stream: IO[bytes], part: memoryview) -> memoryview:
    done = 0
    while done < len(part):
        count = stream.readinto(part[done:])  # type: ignore[attr-defined]
        if not count:
            raise InputError("file-truncated", "as many voxels as the header claims", "fewer", gate.REMEDY)
        done += count
    return part


def _scaled(values: NDArray[Any], header: Header) -> NDArray[Any]:
    """Stored values in the scan's units: whole numbers as they are where nothing scales them, else float32."""
    if (header.slope, header.inter) != (1.0, 0.0):
        values = values * np.float64(header.slope) + header.inter
    return values if values.dtype.kind in "iu" else values.astype(np.float32, copy=False)


def _parts(stream: IO[bytes], sizes: list[int]) -> Iterator[memoryview]:
    """The next bytes in parts of these sizes; a second thread unpacks a part while the one before is in use."""
    buffers = [memoryview(bytearray(max(sizes))) for _ in range(2)]
    with ThreadPoolExecutor(1) as second:
        ahead = second.submit(_read_exactly, stream, buffers[0][: sizes[0]])
        for n, size in enumerate(sizes[1:], 1):
            part = ahead.result()
            ahead = second.submit(_read_exactly, stream, buffers[n % 2][:size])
            yield part
        yield ahead.result()


def _fill(stream: IO[bytes], header: Header, stored: Array, seen: Seen) -> None:
    """Read the next voxels, scaled, into ``stored`` (whole planes, any strides), a few planes at a time."""
    x, y, z = stored.shape
    step = max(1, CHUNK // (8 * x * y))  # there are two buffers
    counts = [min(step, z - start) for start in range(0, z, step)]
    parts = _parts(stream, [x * y * header.dtype.itemsize * count for count in counts])
    for n, (count, part) in enumerate(zip(counts, parts, strict=True)):
        values = _scaled(np.frombuffer(part, header.dtype).reshape((x, y, -1), order="F"), header)
        stored[:, :, n * step : n * step + count] = values
        seen.look(values)


def slabs_of(stream: IO[bytes], header: Header, thickness: int, *, compressed: bool) -> Iterator[Slab]:
    """The scan of a header from the plain bytes of its voxels, slab by slab.

    Where the planes along z follow one another in the file, as in most scans, that takes memory for one slab and some 3 MiB more;
    else the image is read as a whole and cut.

    Args:
        stream: plain bytes, of which voxels begin at ``found.offset``.
        header: checked header.
        thickness: planes along z of a slab; the last may have less.
        compressed: whether the stream unpacks, and compares a checksum at its end.

    Raises:
        InputError: file-truncated, voxels-nonfinite, voxels-zero, voxels-constant, voxels-extreme; what is wrong with the voxels
            comes to light only at the end, and a slab that is not finite is never given.
    """
    canonical, orientation = Grid(header.shape, header.affine).canonical()
    seen = gate.Seen()
    stream.seek(header.offset)
    for box in _as_they_come(canonical.shape, thickness, orientation):
        image = empty_like_stored(_stored_shape(box, orientation), orientation)
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit in float32 is seen
            _fill(stream, header, orientation.inverse().apply(image), seen)
        if not seen.bad:
            yield from cut(Slab(box, image, canonical, StoredAs(orientation, header.code, header.labels)), thickness)
        del image
    if compressed:
        stream.read(1)  # reaching the end makes gzip compare its checksum
    seen.check()


def _stored_shape(box: Box, orientation: Orientation) -> Triple:
    x, y, z = orientation.inverse().apply(np.broadcast_to(np.float32(0), box.shape)).shape
    return x, y, z


def _as_they_come(shape: Triple, thickness: int, orientation: Orientation) -> list[Box]:
    """The slabs in the file's order; the whole image where the voxels of a slab do not lie together."""
    nx, ny, nz = shape
    if orientation.order[2] != 2:
        return [Box.whole(shape)]
    boxes = [Box((0, 0, z), (nx, ny, min(z + thickness, nz))) for z in range(0, nz, thickness)]
    return boxes[::-1] if orientation.flips[2] else boxes


def cut(slab: Slab, thickness: int) -> Iterator[Slab]:
    """The slab in slabs of ``thickness`` planes."""
    nx, ny, nz = slab.box.shape
    for z in range(0, nz, thickness):
        stop = min(z + thickness, nz)
        box = Box((0, 0, slab.box.start[2] + z), (nx, ny, slab.box.start[2] + stop))
        yield replace(slab, box=box, image=slab.image[:, :, z:stop])


def empty_like_stored(shape: Triple, orientation: Orientation) -> Array:
    """An array for a canonical image, laid out in memory as a file with the stored ``shape`` is, with positive strides."""
    canonical = orientation.apply(np.broadcast_to(np.float32(0), shape)).shape
    order = sorted(range(3), key=lambda axis: orientation.order[axis], reverse=True)
    image = np.empty([canonical[axis] for axis in order], np.float32)
    return image.transpose(np.argsort(order))
