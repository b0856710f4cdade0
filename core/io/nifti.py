"""NIfTI-1 and NIfTI-2 files: scaled float32 on a canonical grid in, float32 out, each written file read again and compared."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO

import numpy as np

from core.errors import GridError, InputError, StoreError
from core.geometry.grid import Array, Grid
from core.io import files
from core.io import validation as gate
from core.io.arrays.slabs import CHUNK, Slab, StoredAs, opened, slabs_of
from core.io.validation import Header, RawHeader, Trust

GZIP = 31  # zlib's name for a gzip header and trailer
ANALYZE = 348  # bytes of a header without the magic of NIfTI
LEVEL = 2  # of isal: as small as zlib's level 1 at a fifth of the time
WIDTH = 16  # planes at least: a cache line of an image that lies in memory along axis 2
LONGEST_NIFTI1 = 32767
MAX_SHIFT = 1e-3  # mm at a corner of a written file: what float32 leaves, and no more


PAIRED = {b"ni1\0", b"ni2\0"}  # magic of a header whose voxels lie in a file beside it
SINGLE = {b"n+1\0", b"n+2\0"}


def magic_of(block: bytes) -> tuple[int, str, bytes] | None:
    """Size of the header that begins with ``block``, its byte order ("<" or ">") and its magic; None where it is no NIfTI."""
    for size, at in ((348, 344), (540, 4)):
        for order in ("<", ">"):
            length = int.from_bytes(block[:4], "little" if order == "<" else "big")
            if len(block) >= size and length == size and block[at : at + 4] in SINGLE | PAIRED:
                return size, order, block[at : at + 4]
    return None


def _parse(stream: IO[bytes], *, pair: bool = False) -> RawHeader:
    """Make nibabel's header from the first bytes of a file, unchecked."""
    import nibabel

    block = stream.read(540)
    magic = magic_of(block)
    if magic is None or magic[2] not in (PAIRED if pair else SINGLE):
        got = f"{len(block)} bytes that begin {block[:4].hex()}"
        if magic:
            got = "the header of a file of its own" if pair else "a header whose voxels lie in another file"
        elif len(block) >= ANALYZE and ANALYZE in {int.from_bytes(block[:4], order) for order in ("little", "big")}:
            got = "one of Analyze, in which left and right are a guess"
        raise InputError("not-nifti", "a NIfTI-1 or NIfTI-2 header", got, gate.REMEDY)
    size, order, _ = magic
    header = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}[size](block[:size], order, check=False)
    if not header.structarr["pixdim"][0]:  # the standard takes 0 as 1
        header.structarr["pixdim"][0] = 1
    return header


@contextmanager
def _checked(uri: str, voxels: str | None, trust: Trust | None) -> Iterator[tuple[IO[bytes], Header, bool]]:
    """The plain bytes that hold the voxels, the checked header, and whether they are compressed."""
    with opened(uri) as (stream, size, compressed):
        raw = _parse(stream, pair=voxels is not None)
        if voxels is None:
            yield stream, gate.check_header(raw, size, compressed=compressed, trust=trust), compressed
            return
    with opened(voxels) as (stream, size, compressed):
        yield stream, gate.check_header(raw, size, compressed=compressed, trust=trust, pair=True), compressed


def header(uri: str, trust: Trust | None = None, voxels: str | None = None) -> Header:
    """Read and check a header; takes no memory for voxels.

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file, or of the .hdr of a pair.
        trust: which transform to use where qform and sform disagree by more than 1 mm or 1 degree; None refuses.
        voxels: the .img of a pair.

    Raises:
        InputError: with a named code for everything that is wrong with the file (see ``gate``).
    """
    with _checked(uri, voxels, trust) as (_, parsed, _):
        return parsed


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


def slabs(uri: str, thickness: int, trust: Trust | None = None, voxels: str | None = None) -> Iterator[Slab]:
    """Read a scan through the gate, slab by slab (see ``slabs_of``).

    Args:
        uri: local path or s3:// of a .nii or .nii.gz file, or of the .hdr of a pair.
        thickness: planes along z of a slab; the last may have less.
        trust: which transform to use where qform and sform disagree; None refuses such a scan.
        voxels: the .img of a pair.

    Yields:
        the slabs, scaled; from the top where the file goes downwards.

    Raises:
        InputError: with a named code for everything that is wrong with the file (see ``gate``). What is wrong with its voxels
            or its checksum comes to light only at the end; a slab that is not finite is never given.
    """
    with _checked(uri, voxels, trust) as (stream, parsed, compressed):
        yield from slabs_of(stream, parsed, thickness, compressed=compressed)


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
            for pending in looks:
                pending.result()
        if self.put_in != self.came_out:
            raise StoreError("write-damaged", f"checksum {self.put_in:08x}", f"{self.came_out:08x}", "report this processor")


def _verify(uri: str, check: int, on: Grid) -> None:
    """Read a written file again: its bytes (by their CRC-32) and its geometry must be what was meant."""
    remedy = "check the disk or the object store, then run again"
    if (got := files.crc32(uri)) != check:
        raise StoreError("write-damaged", f"bytes with checksum {check:08x}", f"{got:08x}", remedy)
    with opened(uri) as (stream, _, _):
        raw = _parse(stream)
    apart = gate.shift(raw.get_best_affine(), on.affine, on.shape)
    if raw.get_data_shape() != on.shape or not apart < MAX_SHIFT:
        place = f"shape {raw.get_data_shape()}, corners {apart:.2g} mm away"
        raise StoreError("write-damaged", f"shape {on.shape}, corners within {MAX_SHIFT} mm", place, remedy)


def save(uri: str, image: Array, on: Grid, stored: StoredAs | None = None) -> str:
    """Write a float32 image whole or not at all, and read it again to make sure; one that does not read back is removed.

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
    try:
        _verify(uri, proof.packed, on)
    except StoreError:
        files.remove(uri)  # of a scan that fails for it no image may stay
        raise
    return proof.digest.hexdigest()
