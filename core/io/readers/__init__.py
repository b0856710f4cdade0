"""The formats that are read: one small protocol, one file a format; what none of them takes is told with its reason."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.io import files
from core.io.arrays.slabs import Slab, StoredAs
from core.io.dicom.files import is_dicom
from core.io.inventory.entries import Entry
from core.io.names import IMAGES, is_nifti
from core.io.readers.base import RENAME, Image, Reader, Reading, Trouble
from core.io.readers.dicom import Dicom
from core.io.readers.mgh import Mgh
from core.io.readers.nifti import Nifti
from core.io.readers.nrrd import Nrrd
from core.io.validation import Header, Levels, Trust, check_not_declared

READERS: tuple[Reader, ...] = (Nifti(), Mgh(), Nrrd(), Dicom())  # in the order in which they are asked
FOREIGN = (  # formats of scans that none of them reads
    *(".mnc", ".mnc.gz", ".mha", ".mhd", ".par", ".rec", ".brik", ".brik.gz", ".head", ".v"),
    *(".nii.bz2", ".nii.zst", ".nii.xz", ".nii.zip", ".spr"),
    *(".mif", ".mif.gz", ".mih", ".gipl", ".gipl.gz", ".vmr", ".inr", ".inr.gz", ".fdf", ".img.bz2"),
)
FOREIGN_STARTS = (b"mrtrix image", b"ObjectType = Image", b"IMGF")  # of MRtrix, MetaImage, and GE before DICOM
ARRAYS = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02")  # HDF5 and netCDF, in which MINC keeps its images
MINC = re.compile(rb"minc-2\.0|[xyz]space")  # a group, or a dimension, of its images: within the first bytes
PACKED = re.compile(r"\.(nii|mgz|mgh|nrrd)(\.gz)?\.[0-9a-z]+$")  # "x.nii.gz.gpg": whatever it is, it was made of a scan

GET = "get what it leads to (datalad get, git annex get), or leave it out"
PAIRS = (".hdr", ".img", ".img.gz", ".nhdr")  # one of two files of an image

__all__ = [
    "READERS",
    "Image",
    "Reader",
    "Reading",
    "Trouble",
    "header",
    "image_at",
    "load",
    "load_at",
    "metadata",
    "partners",
    "read",
    "scan_header",
    "slabs",
]


def _of(kind: str) -> Reader:
    return next(reader for reader in READERS if reader.kind == kind)


def read(entries: Sequence[Entry]) -> Reading:
    """The images in files, and what of them is not taken and why; every file is in one of the three."""
    reading, asked, there = Reading(), [], {entry.path for entry in entries}
    for entry in entries:
        if entry.unreadable:
            lost = entry.unreadable.startswith(("a link", "unreadable"))  # pipes and devices are no scans
            if lost and entry.kind != "hidden" and IMAGES.search(entry.name):
                reading.trouble("file-unreadable", entry, "a file that can be read", GET, f"{entry.unreadable}, {entry.name}")
            else:
                asked.append(entry)  # for DICOM alone, which has no names: a slice may be lost
            continue
        lower = entry.name.lower()
        if entry.misnamed and _is_meant(entry):
            named = f"{entry.path}, whose name holds other bytes"
            reading.trouble("name-encoding", entry, "names of files and folders in UTF-8", RENAME, named)
            continue
        packed = not entry.kind and PACKED.search(lower) and not any(reader.can_read(entry) for reader in READERS[:-1])
        foreign = lower.endswith(FOREIGN) or (not entry.kind and _is_foreign(entry.start))
        if entry.kind == "hidden" or not (packed or foreign):
            asked.append(entry)
        else:
            reading.trouble("format-unread", entry, "NIfTI, DICOM, .mgz or .nrrd", "convert it to NIfTI, or leave it out")
    for reader in READERS:
        able = [_may_ask(reader, entry) for entry in asked]
        part = reader.read([entry for entry, can in zip(asked, able, strict=True) if can])
        asked = [entry for entry, can in zip(asked, able, strict=True) if not can] + part.passed
        reading.images += [replace(image, files=tuple(path for path in image.files if path in there)) for image in part.images]
        reading.troubles += part.troubles
        reading.left |= part.left
    reading.left |= {entry.path: "special" if entry.unreadable else entry.kind for entry in asked}
    claimed = {path for image in reading.images for path in image.files}
    reading.left = {path: kind for path, kind in reading.left.items() if path not in claimed}
    return reading


def _is_foreign(start: bytes) -> bool:
    """Whether a file begins as a scan of a format that none reads; an HDF5 or netCDF file is one where it is MINC."""
    return start.startswith(FOREIGN_STARTS) or (start.startswith(ARRAYS) and MINC.search(start) is not None)


def _is_meant(entry: Entry) -> bool:
    """Whether a file would be taken for a scan, slices of DICOM aside, by its name or its content."""
    lower = entry.name.lower()
    named = lower.endswith(FOREIGN) or PACKED.search(lower) or any(reader.can_read(entry) for reader in READERS[:-1])
    return bool(named) and not entry.kind and not is_dicom(entry.head)  # of slices the reader of DICOM says more


def _may_ask(reader: Reader, entry: Entry) -> bool:
    return entry.kind != "hidden" and (not entry.unreadable or reader is READERS[-1]) and reader.can_read(entry)


def image_at(uri: str) -> Image:
    """The image at a URI that a table or a setting names; whether a NIfTI file is there comes to light when it is read.

    Args:
        uri: of a file of any format that is read, of one of a pair, or of the folder of a DICOM series.

    Raises:
        InputError: file-missing, not-image, and what a reader says of a file that it cannot take.
    """
    name = files.name_of(uri)
    named = is_nifti(uri)
    if not (named and files.is_remote(uri)) and files.is_folder(uri):  # of storage, a name as NIfTI is enough
        return Image(name, (uri,), "dicom", (name,))
    if named:
        return Image(name, (uri,), "nifti", (name,))
    reading = read([Entry(name, uri), *_partners(uri)])
    for trouble in reading.troubles:
        if name in trouble.files:
            raise trouble.error
    image = next((image for image in reading.images if uri in image.uris or image.kind == "dicom"), None)
    if image is None:
        code, got = ("file-missing", "none there") if not files.exists(uri) else ("not-image", "another file")
        raise InputError(code, "a scan as NIfTI, DICOM, .mgz or .nrrd", got, f"check the path {name}")
    return image


def _partners(uri: str) -> list[Entry]:
    """The files beside one of a pair that may be the other."""
    name, folder = files.name_of(uri), files.parent_of(uri)
    if not name.lower().endswith(PAIRS) or not files.exists(uri):
        return []
    stem = re.sub(r"\.gz$", "", name.lower()).rpartition(".")[0] + "."
    others = (sibling for sibling in files.listdir(folder) if sibling.lower().startswith(stem) and sibling != name)
    return [Entry(sibling, files.join(folder, sibling)) for sibling in others]


def partners(uri: str) -> list[Entry]:
    """The other files, in its folder, of the image that a file is of; none of an image that is one file."""
    others = _partners(uri)
    images = read([Entry(files.name_of(uri), uri), *others]).images if others else []
    whole = next((image.uris for image in images if uri in image.uris), ())
    return [other for other in others if other.uri in whole]


def header(kind: str, uris: Sequence[str], trust: Trust | None = None) -> Header:
    """Read and check an image without its voxels.

    Args:
        kind: name of the reader.
        uris: of the image.
        trust: which transform to use where a NIfTI header's two disagree; None refuses such a scan.

    Raises:
        InputError: with a named code for everything that is wrong with it.
    """
    return _of(kind).header(uris, trust)


def scan_header(kind: str, uris: Sequence[str], trust: Trust | None = None) -> Header:
    """As ``header``, of an image of intensities.

    Raises:
        InputError: as ``header``; voxels-labels, where it declares labels.
    """
    parsed = header(kind, uris, trust)
    check_not_declared(labels=parsed.labels)
    return parsed


def slabs(kind: str, uris: Sequence[str], thickness: int, trust: Trust | None = None) -> Iterator[Slab]:
    """Read an image of intensities through the gate, ``thickness`` planes along z at a time.

    Raises:
        InputError: with a named code for everything that is wrong with it; voxels-labels for a mask or labels, at the end
            where its header does not declare them.
    """
    levels = Levels()
    for slab in _of(kind).slabs(uris, thickness, trust):
        check_not_declared(labels=slab.stored.labels)
        levels.look(slab.image)
        yield slab
        del slab  # before the next is read
    levels.check()


def load(kind: str, uris: Sequence[str], trust: Trust | None = None) -> tuple[Array, Grid, StoredAs]:
    """Read a whole image of intensities through the gate.

    Returns:
        scaled float32 image (x, y, z) on its canonical RAS grid, that grid, and how it was stored.

    Raises:
        InputError: with a named code for everything that is wrong with it.
    """
    (slab,) = slabs(kind, uris, sys.maxsize, trust)
    return slab.image, slab.grid, slab.stored


def load_at(uri: str, trust: Trust | None = None) -> tuple[Array, Grid, StoredAs]:
    """Read the whole image at a URI through the gate, whatever its format, masks and labels too; what comes is as of ``load``.

    Raises:
        InputError: as ``image_at`` and the readers.
    """
    image = image_at(uri)
    (slab,) = _of(image.kind).slabs(image.uris, sys.maxsize, trust)
    return slab.image, slab.grid, slab.stored


def load_labels(uri: str, trust: Trust | None = None) -> tuple[Array, Grid, StoredAs]:
    """As ``load_at``, of a mask or labels: one value in every voxel is a mask of nothing or of all.

    Raises:
        InputError: as ``load_at``, but for voxels-zero and voxels-constant.
    """
    image, slab = image_at(uri), None
    try:
        for slab in _of(image.kind).slabs(image.uris, sys.maxsize, trust):  # noqa: B007 - what is wrong comes after the slab
            pass
    except InputError as error:
        if slab is None or error.code not in {"voxels-zero", "voxels-constant"}:
            raise
    if slab is None:
        raise InputError("voxels-zero", "an image with voxels", "none", f"check the file {files.name_of(uri)}")
    return slab.image, slab.grid, slab.stored


def metadata(kind: str, uris: Sequence[str]) -> dict[str, Any]:
    """Metadata of an image: from the format itself, allow-listed, or all that a JSON file beside it says."""
    return _of(kind).metadata(uris)
