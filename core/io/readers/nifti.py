"""NIfTI files: .nii and .nii.gz, and pairs of .hdr and .img, in capitals or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from core.io import nifti
from core.io.arrays.slabs import Slab
from core.io.dicom.files import is_dicom
from core.io.inventory.entries import Entry
from core.io.names import beside, is_nifti
from core.io.readers.base import Image, Reading
from core.io.validation import Header, Trust

VOXELS = (".img", ".img.gz")
ANALYZE = 348  # bytes of a header without the magic of NIfTI


class Nifti:
    """Reads NIfTI."""

    kind = "nifti"

    def can_read(self, entry: Entry) -> bool:
        """By its name; else by the magic of its header."""
        lower = entry.name.lower()
        if is_nifti(lower) or lower.endswith((".hdr", *VOXELS)):
            return True
        return not entry.kind and nifti.magic_of(entry.start) is not None

    def read(self, entries: Sequence[Entry]) -> Reading:
        """Single files, and pairs by their common name."""
        reading = Reading()
        halves = {entry.path.lower(): entry for entry in entries if entry.name.lower().endswith((".hdr", *VOXELS))}
        for entry in entries:
            if is_nifti(entry.name):
                reading.images.append(Image(entry.path, (entry.uri,), self.kind, (entry.path,)))
            elif entry.name.lower().endswith(".hdr"):
                self._pair(entry, halves, reading)
            elif not entry.name.lower().endswith(VOXELS):
                remedy = "name it .nii, or .nii.gz where it is compressed"
                reading.trouble("name-odd", entry, "a NIfTI file by its name", remedy, f"one by its content, named {entry.name}")
        for entry in halves.values():
            if is_dicom(entry.head):  # as GE names its slices
                reading.passed.append(entry)
            elif entry.name.lower().endswith(VOXELS):
                reading.trouble("pair-incomplete", entry, "a header (.hdr) beside the voxels", "add it, or leave the file out")
        return reading

    def _pair(self, entry: Entry, halves: dict[str, Entry], reading: Reading) -> None:
        """A header and, taken out of ``halves``, the file of its voxels."""
        stem = entry.path.lower()[:-4]
        voxels = next((half for end in VOXELS if (half := halves.pop(stem + end, None))), None)
        if voxels is None:
            if nifti.magic_of(entry.start) is None and int.from_bytes(entry.start[:4], "little") != ANALYZE:
                reading.left[entry.path] = "unknown"
            else:
                reading.trouble("pair-incomplete", entry, "voxels (.img) beside the header", "add them, or leave the file out")
        else:
            both = (entry.path, voxels.path)
            reading.images.append(Image(entry.path, (entry.uri, voxels.uri), self.kind, both))

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:
        """See ``core.io.nifti.header``."""
        return nifti.header(uris[0], trust, *uris[1:])

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:
        """See ``core.io.nifti.slabs``."""
        return nifti.slabs(uris[0], thickness, trust, *uris[1:])

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Of the JSON file beside it."""
        return beside(uris[0])
