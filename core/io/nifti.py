"""NIfTI-1 and NIfTI-2 files: scaled float32 on a canonical grid in, float32 out, each written file read again and compared."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError, InputError, StoreError
from core.geometry.grid import Array, Box, Grid, Orientation, Triple
from core.io import files
from core.io import validation as gate
from core.io.validation import Header, RawHeader, Seen, Trust

GZIP_MAGIC = b"\x1f\x8b"
GZIP = 31  # zlib's name for a gzip header and trailer
LEVEL = 2  # of isal: as small as zlib's level 1 at a fifth of the time
CHUNK = 1 << 20  # bytes of float32 voxels handled at a time: they stay in the processor's cache
WIDTH = 16  # planes at least: a cache line of an image that lies in memory along axis 2
LONGEST_NIFTI1 = 32767
MAX_SHIFT = 1e-3  # mm at a corner of a written file: what float32 leaves, and no more


@dataclass(frozen=True)
class StoredAs:
    """How a scan lay in its file, so that its restored image is stored alike.

    Attributes:
        orientation: from the stored axes to the canonical ones.
        code: NIfTI code of the space (1 scanner, 2 aligned, 3 Talairach, 4 MNI).
    """

    orientation: Orientation
    code: int


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
def _opened(uri: str) -> Iterator[tuple[IO[bytes], int, bool]]:
    """The plain bytes of a file, its size as stored, and whether it is compressed; faults get their names."""
    from isal import igzip

    try:
        with files.open_uri(uri) as handle:
            magic = handle.read(2)
            size = handle.seek(0, 2)
            handle.seek(0)
            if not magic:
                raise InputError("file-empty", "a NIfTI file", "0 bytes", gate.REMEDY)
            compressed = magic == GZIP_MAGIC
            if uri.endswith(".gz") and not compressed:
                raise InputError("not-gzip", "gzip bytes in a file named .gz", f"bytes {magic.hex()}", gate.REMEDY)
            yield (igzip.IGzipFile(fileobj=handle) if compressed else handle), size, compressed
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError("file-missing", "a file", "none there", f"check the path {files.name_of(uri)}") from error
    except PermissionError as error:
        raise InputError("file-forbidden", "a file that may be read", str(error), "check its permissions") from error
    except EOFError as error:
        raise InputError("file-truncated", "a whole gzip file", "one that ends early", gate.REMEDY) from error
    except (igzip.BadGzipFile, zlib.error, igzip.isal_zlib.IsalError) as error:
        raise InputError("gzip-damaged", "gzip bytes that unpack", str(error), gate.REMEDY) from error


def _parse(stream: IO[bytes]) -> RawHeader:
    """Make nibabel's header from the first bytes of a file, unchecked."""
    import nibabel

    block = stream.read(540)
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        size = kind.sizeof_hdr
        for order, sign in (("little", "<"), ("big", ">")):
            magic = block[4:8] if size == 540 else block[344:348]
            if len(block) >= size and int.from_bytes(block[:4], order) == size and magic in {b"n+1\0", b"n+2\0"}:  # type: ignore[arg-type]
                return kind(block[:size], sign, check=False)
    raise InputError("not-nifti", "a NIfTI-1 or NIfTI-2 header", f"{len(block)} bytes that begin {block[:4].hex()}", gate.REMEDY)


def header(uri: str, trust: Trust | None = None) -> Header:
    """Read and check a header; takes no memory for voxels.

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file.
        trust: which transform to use where qform and sform disagree by more than 1 mm or 1 degree; None refuses.

    Raises:
        InputError: with a named code for everything that is wrong with the file (see ``gate``).
    """
    with _opened(uri) as (stream, size, compressed):
        return gate.check_header(_parse(stream), size, compressed=compressed, trust=trust)


def _read_exactly(stream: IO[bytes], part: memoryview) -> memoryview:
    done = 0
    while done < len(part):
        count = stream.readinto(part[done:])  # type: ignore[attr-defined]
        if not count:
            raise InputError("file-truncated", "as many voxels as the header claims", "fewer", gate.REMEDY)
        done += count
    return part


def _scaled(values: NDArray[Any], found: Header) -> Array:
    if (found.slope, found.inter) != (1.0, 0.0):
        values = values * np.float64(found.slope) + found.inter
    return values.astype(np.float32, copy=False)


def _fill(stream: IO[bytes], found: Header, stored: Array, seen: Seen) -> None:
    """Read the next voxels, scaled, into ``stored`` (whole planes, any strides), a few planes at a time."""
    x, y, z = stored.shape
    plane = x * y * found.dtype.itemsize
    step = max(1, CHUNK // (4 * x * y))
    buffer = memoryview(bytearray(plane * min(step, z)))
    for start in range(0, z, step):
        piece = _read_exactly(stream, buffer[: plane * min(step, z - start)])
        values = _scaled(np.frombuffer(piece, found.dtype).reshape((x, y, -1), order="F"), found)
        stored[:, :, start : start + step] = values
        seen.look(values)


def load(uri: str, trust: Trust | None = None) -> tuple[Array, Grid, StoredAs]:
    """Read a scan through the gate.

    Takes memory for the float32 image and some 3 MiB more, whatever the stored type.

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file.
        trust: which transform to use where qform and sform disagree; None refuses such a scan.

    Returns:
        scaled float32 image (x, y, z) on its canonical RAS grid, that grid, and how it was stored.

    Raises:
        InputError: with a named code for everything that is wrong with the file (see ``gate``).
    """
    (slab,) = slabs(uri, sys.maxsize, trust)
    return slab.image, slab.grid, slab.stored


def slabs(uri: str, thickness: int, trust: Trust | None = None) -> Iterator[Slab]:
    """Read a scan through the gate, slab by slab.

    Where the planes along z follow one another in the file, as in most scans, that takes memory for one slab and some 3 MiB more;
    else the image is read as a whole and cut.

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file.
        thickness: planes along z of a slab; the last may have less.
        trust: which transform to use where qform and sform disagree; None refuses such a scan.

    Yields:
        the slabs, scaled; from the top where the file goes downwards.

    Raises:
        InputError: with a named code for everything that is wrong with the file (see ``gate``). What is wrong with its voxels
            or its checksum comes to light only at the end; a slab that is not finite is never given.
    """
    with _opened(uri) as (stream, size, compressed):
        found = gate.check_header(_parse(stream), size, compressed=compressed, trust=trust)
        canonical, orientation = Grid(found.shape, found.affine).canonical()
        seen = gate.Seen()
        stream.seek(found.offset)
        for box in _as_they_come(canonical.shape, thickness, orientation):
            image = empty_like_stored(_stored_shape(box, orientation), orientation)
            with np.errstate(over="ignore", invalid="ignore"):  # what does not fit in float32 is seen
                _fill(stream, found, orientation.inverse().apply(image), seen)
            if not seen.bad:
                yield from cut(Slab(box, image, canonical, StoredAs(orientation, found.code)), thickness)
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


def _output_header(on: Grid, code: int) -> RawHeader:
    """A header without any text: float32, slope 1, mm, sform = qform."""
    import nibabel

    kind = nibabel.Nifti1Header if max(on.shape) <= LONGEST_NIFTI1 else nibabel.Nifti2Header
    made = kind()
    made.set_data_dtype(np.float32)
    made.set_data_shape(on.shape)
    made.set_zooms(on.spacing)
    made.set_slope_inter(1.0, 0.0)
    made.set_xyzt_units("mm")
    made.set_sform(on.affine, code)
    made.set_qform(on.affine, code)
    if gate.shift(made.get_qform(), on.affine, on.shape) > 0.01:  # sheared: a quaternion cannot say it, so it says nothing
        made.set_qform(None)
        made.set_zooms(on.spacing)
    made["vox_offset"] = kind.sizeof_hdr + 4
    made["magic"] = made.single_magic
    return made


def _plain_bytes(image: Array, start: bytes) -> Iterator[bytes]:
    """The bytes of a file, uncompressed, some planes of axis 2 at a time."""
    yield start
    step = max(WIDTH, CHUNK // (4 * image.shape[0] * image.shape[1]))
    for first in range(0, image.shape[2], step):
        yield np.asarray(image[:, :, first : first + step], "<f4").tobytes(order="F")


class _Proof:
    """Follows a file as it is written: a second thread unpacks its bytes again and hashes them, while the next are packed."""

    def __init__(self, compress: bool) -> None:  # noqa: FBT001
        from isal import isal_zlib

        self.digest = hashlib.sha256()
        self.put_in, self.came_out, self.packed = 0, 0, 0  # CRC-32 of the image's bytes, of those unpacked, of the file's
        self._crc = isal_zlib.crc32
        self._packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP) if compress else None
        self._unpacker = isal_zlib.decompressobj(GZIP) if compress else None

    def pack(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes as one gzip member that tells neither a time nor a name; as they are where not compressed."""
        for block in blocks:
            self.put_in = self._crc(block, self.put_in)
            yield self._packer.compress(block) if self._packer else block
        if self._packer:
            yield self._packer.flush()

    def look(self, piece: bytes) -> None:
        """Take in the next bytes of the file."""
        self.digest.update(piece)
        self.packed = self._crc(piece, self.packed)
        self.came_out = self._crc(self._unpacker.decompress(piece) if self._unpacker else piece, self.came_out)

    def write(self, handle: IO[bytes], blocks: Iterator[bytes]) -> None:
        """Write the file."""
        with ThreadPoolExecutor(1) as second:
            looks = []
            for piece in self.pack(blocks):
                handle.write(piece)
                looks.append(second.submit(self.look, piece))
            for one in looks:
                one.result()
        if self.put_in != self.came_out:
            raise StoreError("write-damaged", f"checksum {self.put_in:08x}", f"{self.came_out:08x}", "report this processor")


def _verify(uri: str, check: int, on: Grid) -> None:
    """Read a written file again: its bytes (by their CRC-32) and its geometry must be what was meant."""
    remedy = "check the disk or the object store, then run again"
    if (got := files.crc32(uri)) != check:
        raise StoreError("write-damaged", f"bytes with checksum {check:08x}", f"{got:08x}", remedy)
    with _opened(uri) as (stream, _, _):
        found = _parse(stream)
    apart = gate.shift(found.get_best_affine(), on.affine, on.shape)
    if found.get_data_shape() != on.shape or not apart < MAX_SHIFT:
        place = f"shape {found.get_data_shape()}, corners {apart:.2g} mm away"
        raise StoreError("write-damaged", f"shape {on.shape}, corners within {MAX_SHIFT} mm", place, remedy)


def save(uri: str, image: Array, on: Grid, stored: StoredAs | None = None) -> str:
    """Write a float32 image whole or not at all, and read it again to make sure.

    The same image gives the same bytes. Header text and extensions are left out: they may name a person.

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file.
        image: float32 (x, y, z) on ``on``.
        on: canonical grid.
        stored: storage order and space code to use; RAS in scanner space where None.

    Returns:
        sha256 (hex) of the file.

    Raises:
        GridError: the image is not float32 of the grid's shape.
        StoreError: the file does not read back as it was written.
    """
    if image.shape != on.shape or image.dtype != np.float32:
        raise GridError("image-shape", f"float32 {on.shape}", f"{image.dtype} {image.shape}", "give an image on its own grid")
    if stored is not None:
        back = stored.orientation.inverse()
        image, on = back.apply(image), on.reorient(back)
    start = _output_header(on, stored.code if stored else 1).binaryblock + b"\0\0\0\0"
    proof = _Proof(uri.endswith(".gz"))
    files.write_atomic(uri, lambda handle: proof.write(handle, _plain_bytes(image, start)))
    _verify(uri, proof.packed, on)
    return proof.digest.hexdigest()
