"""NIfTI files: .nii and .nii.gz, and pairs of .hdr and .img, in capitals or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.io import nifti
from core.io.arrays.slabs import Slab
from core.io.dicom.files import is_dicom
from core.io.inventory.entries import Entry
from core.io.names import beside, is_nifti
from core.io.readers.base import Image, Reading
from core.io.validation import Header, Trust

HEADER = ".hdr"
VOXELS = (".img", ".img.gz")
NEARNESS: tuple[Callable[[str, str], Any], ...] = (  # of two halves' names, the nearest first
    lambda stem, end: (stem, end.islower()),
    lambda stem, _: stem,
    lambda stem, _: stem.lower(),
)


def _is_header(entry: Entry) -> bool:
    return entry.name.lower().endswith(HEADER)


def _is_voxels(entry: Entry) -> bool:
    return entry.name.lower().endswith(VOXELS)


def _halved(path: str) -> tuple[str, str]:
    """The path of one of a pair without its ending, and the ending without .gz."""
    plain = path[:-3] if path.lower().endswith(".gz") else path
    return plain[:-4], plain[-4:]


def _paired(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The voxels of each header that has some, by its path.

    The name must be the same; in another case only where nothing has it as it is, and no two could be meant.
    """
    headers, voxels = [e for e in entries if _is_header(e)], [e for e in entries if _is_voxels(e)]
    pairs: dict[str, Entry] = {}
    for key in NEARNESS:
        taken = {half.path for half in pairs.values()}
        alike: dict[Any, tuple[list[Entry], list[Entry]]] = defaultdict(lambda: ([], []))
        for header in headers:
            if header.path not in pairs:
                alike[key(*_halved(header.path))][0].append(header)
        for half in voxels:
            if half.path not in taken:
                alike[key(*_halved(half.path))][1].append(half)
        for named, held in alike.values():
            held.sort(key=lambda half: half.name.lower().endswith(".gz"))
            packed = [half.name.lower().endswith(".gz") for half in held]
            if len(named) == 1 and packed[:1] != packed[1:2] and held:
                pairs[named[0].path] = held[0]
    return pairs


class Nifti:
    """Reads NIfTI."""

    kind = "nifti"

    def can_read(self, entry: Entry) -> bool:
        """By its name; else by the magic of its header."""
        lower = entry.name.lower()
        if is_nifti(lower) or lower.endswith((HEADER, *VOXELS)):
            return True
        return not entry.kind and nifti.magic_of(entry.start) is not None

    def read(self, entries: Sequence[Entry]) -> Reading:
        """Single files, and pairs by their common name."""
        reading = Reading()
        paired = _paired(entries)
        for entry in entries:
            if is_nifti(entry.name):
                reading.images.append(Image(entry.path, (entry.uri,), self.kind, (entry.path,)))
            elif _is_header(entry):
                self._pair(entry, paired.get(entry.path), reading)
            elif not _is_voxels(entry):
                remedy = "name it .nii, or .nii.gz where it is compressed"
                reading.trouble("name-odd", entry, "a NIfTI file by its name", remedy, f"one by its content, named {entry.name}")
        claimed = {voxels.path for voxels in paired.values()}
        for entry in entries:
            if entry.path in claimed or not (_is_header(entry) or _is_voxels(entry)):
                continue
            if is_dicom(entry.head):  # as GE names its slices
                reading.passed.append(entry)
            elif _is_voxels(entry):
                reading.trouble("pair-incomplete", entry, "a header (.hdr) beside the voxels", "add it, or leave the file out")
        return reading

    def _pair(self, entry: Entry, voxels: Entry | None, reading: Reading) -> None:
        """A header and the file of its voxels."""
        if voxels is not None:
            both = (entry.path, voxels.path)
            reading.images.append(Image(entry.path, (entry.uri, voxels.uri), self.kind, both))
        elif nifti.magic_of(entry.start) is None and int.from_bytes(entry.start[:4], "little") != nifti.ANALYZE:
            reading.left[entry.path] = "unknown"
        else:
            reading.trouble("pair-incomplete", entry, "voxels (.img) beside the header", "add them, or leave the file out")

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:
        """See ``core.io.nifti.header``."""
        return nifti.header(uris[0], trust, *uris[1:])

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:
        """See ``core.io.nifti.slabs``."""
        return nifti.slabs(uris[0], thickness, trust, *uris[1:])

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Of the JSON file beside it."""
        return beside(uris[0])
