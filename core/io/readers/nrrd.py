"""NRRD files, by pynrrd: .nrrd, and .nhdr with its voxels in the same folder (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Box, Grid
from core.io import files
from core.io import validation as gate
from core.io.arrays.slabs import Slab, StoredAs, cut, empty_like_stored
from core.io.inventory.entries import Entry
from core.io.names import beside
from core.io.readers.base import Image, Reading
from core.io.validation import Header, Trust

NAMES = (".nrrd", ".nhdr")
MAGIC = b"NRRD000"
SPACES = {  # name or short name of a space: signs by which it becomes RAS
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
}
ENCODINGS = {"raw", "gzip", "gz"}
SCANNER = 1
REMEDY = "convert it to NIfTI"
Fields = dict[str, Any]


def _fields(uri: str) -> tuple[Fields, int]:
    """The header's fields, and how many bytes it takes.

    Raises:
        InputError: file-missing, header-invalid.
    """
    import nrrd

    try:
        with files.open_uri(uri) as handle:
            fields = dict(nrrd.read_header(handle))
            return fields, handle.tell()
    except FileNotFoundError as error:
        raise InputError("file-missing", "a file", "none there", f"check the path {files.name_of(uri)}") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError("header-invalid", "an NRRD header", str(error)[:200], gate.REMEDY) from error


def _data_file(fields: Fields) -> str:
    return str(fields.get("data file", fields.get("datafile", "")) or "")


def _affine(fields: Fields) -> NDArray[np.float64]:
    space = str(fields.get("space", "")).lower()
    if space not in SPACES:
        got = f"the space {space}" if space else "no space: left and right are a guess"
        wanted = "space left-posterior-superior, right-anterior-superior or left-anterior-superior"
        raise InputError("orientation-unknown", wanted, got, "set it with a tool that knows the scan")
    if any(unit not in {"mm", ""} for unit in fields.get("space units", ())):
        raise InputError("units-not-mm", "lengths in mm", ", ".join(map(str, fields["space units"])), "convert the file to mm")
    directions, origin = fields.get("space directions"), fields.get("space origin")
    if directions is None or origin is None or np.shape(directions) != (3, 3) or np.shape(origin) != (3,):
        raise InputError("orientation-unknown", "space directions and space origin", "none of three axes", REMEDY)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, np.float64).T
    affine[:3, 3] = np.asarray(origin, np.float64)
    return np.diag([*SPACES[space], 1.0]) @ affine


def _header(fields: Fields, before: int, size: int) -> Header:
    """What a header says, if a brain scan can have it; ``before`` are the bytes before the voxels of a file of ``size``."""
    from nrrd.reader import _determine_datatype

    sizes = [int(n) for n in fields["sizes"]]
    if len(sizes) != 3 or min(sizes) < 1:
        remedy = "give a 3-D image; of a series, pick or average the volumes first"
        raise InputError("not-3d", "three axes", "x".join(map(str, sizes)), remedy)
    if str(fields.get("encoding")) not in ENCODINGS:
        raise InputError("nrrd-encoding", "raw or gzip voxels", str(fields.get("encoding")), REMEDY)
    if any(int(fields.get(name, 0)) for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise InputError("nrrd-skip", "voxels right after the header", "lines or bytes to skip", REMEDY)
    stored, shape = np.dtype(_determine_datatype(fields)), (sizes[0], sizes[1], sizes[2])
    what = f"{'x'.join(map(str, sizes))} voxels of {stored.itemsize} bytes"
    packed = fields["encoding"] != "raw"
    gate.check_capacity(math.prod(shape) * stored.itemsize, max(0, size - before), packed, what)
    affine = gate.check_affine(_affine(fields), "space")
    gate.check_field(shape, affine)
    return Header(shape, affine, SCANNER, stored, before, 1.0, 0.0)


def _checked(uris: Sequence[str]) -> tuple[Fields, Header]:
    fields, before = _fields(uris[0])
    if not files.exists(uris[-1]) or files.is_folder(uris[-1]):
        raise InputError(
            "file-missing", "the file of the voxels beside the header", "none there", f"add {files.name_of(uris[-1])}"
        )
    before = 0 if len(uris) > 1 else before
    try:
        return fields, _header(fields, before, files.size(uris[-1]))
    except InputError:
        raise
    except Exception as error:
        raise InputError("header-invalid", "an NRRD header", str(error)[:200], gate.REMEDY) from error


def _voxels(uris: Sequence[str], fields: Fields, header: Header) -> NDArray[Any]:
    import nrrd

    plain = {name: value for name, value in fields.items() if name not in {"data file", "datafile"}}
    content = io.BytesIO(files.read_bytes(uris[-1])[header.offset :])
    try:
        return np.asarray(nrrd.read_data(plain, content, index_order="F"))
    except Exception as error:
        raise InputError("file-truncated", "as many voxels as the header claims", str(error)[:200], gate.REMEDY) from error


class Nrrd:
    """Reads .nrrd and .nhdr."""

    kind = "nrrd"

    def can_read(self, entry: Entry) -> bool:
        """By its name; else by its magic."""
        return entry.name.lower().endswith(NAMES) or (not entry.kind and entry.head.startswith(MAGIC))

    def read(self, entries: Sequence[Entry]) -> Reading:
        """One image a file; the file of the voxels counts to its header."""
        reading = Reading()
        for entry in entries:
            if not entry.name.lower().endswith(NAMES):
                got = f"one by its content, named {entry.name}"
                reading.trouble("name-odd", entry, "an NRRD file by its name", "name it .nrrd", got)
                continue
            try:
                data = _data_file(_fields(entry.uri)[0]) if entry.name.lower().endswith(".nhdr") else ""
            except InputError as error:
                reading.trouble(error.code, entry, error.wanted, error.remedy, error.got)
                continue
            if "/" in data or "\\" in data or " " in data or "%" in data or data.upper().startswith("LIST"):
                reading.trouble("nrrd-elsewhere", entry, "one file of voxels in the same folder", REMEDY, f"{data!r}")
                continue
            beside_it = f"{entry.folder}/{data}".lstrip("/")
            uris = (entry.uri, files.join(files.parent_of(entry.uri), data)) if data else (entry.uri,)
            reading.images.append(Image(entry.path, uris, self.kind, (entry.path, beside_it) if data else (entry.path,)))
        return reading

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:  # noqa: ARG002 - the format has one transform
        """Read and check a header.

        Raises:
            InputError: header-invalid, not-3d, nrrd-encoding, nrrd-skip, orientation-unknown, units-not-mm, affine-singular,
                field-of-view, header-lies, file-truncated.
        """
        return _checked(uris)[1]

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:  # noqa: ARG002
        """Read an image; it is in memory as a whole.

        Raises:
            InputError: as ``header``, and voxels-nonfinite, voxels-zero, voxels-constant, voxels-extreme.
        """
        fields, header = _checked(uris)
        canonical, orientation = Grid(header.shape, header.affine).canonical()
        image = empty_like_stored(header.shape, orientation)
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit in float32 is seen
            orientation.inverse().apply(image)[...] = _voxels(uris, fields, header)
        seen = gate.Seen()
        seen.look(image)
        if not seen.bad:
            yield from cut(Slab(Box.whole(canonical.shape), image, canonical, StoredAs(orientation, header.code)), thickness)
        seen.check()

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Of the JSON file beside it."""
        return beside(uris[0])
