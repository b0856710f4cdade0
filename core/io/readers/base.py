"""What a reader is: one small protocol that each format keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.errors import InputError
from core.io.arrays.slabs import Slab
from core.io.inventory.entries import Entry
from core.io.validation import Header, Trust

RENAME = "rename it (convmv -f latin1 -t utf8), or leave it out"


@dataclass(frozen=True)
class Image:
    """A 3-D image that was found.

    Attributes:
        path: what names it: its file, or the folder of its series, relative to the input.
        uris: its file, the two files of a pair, or the folders or files of a DICOM series.
        kind: name of the reader.
        files: paths of all its files.
        evidence: identifiers of the study and of the frame of reference, where the format tells them; kept in memory alone.
        description: words of the series' description that say how it was made (see ``core.io.plain_names``).
    """

    path: str
    uris: tuple[str, ...]
    kind: str
    files: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Trouble:
    """Files that look like a scan and cannot be taken, with the reason.

    Attributes:
        path: what would name the scan.
        uri: where it lies.
        files: paths of all its files.
        error: why.
    """

    path: str
    uri: str
    files: tuple[str, ...]
    error: InputError


Found = Image | Trouble


@dataclass
class Reading:
    """What a reader made of its files; each is in one of the four.

    Attributes:
        images: what can be taken.
        troubles: what looks like a scan and cannot.
        left: what is no scan, by its path, with its kind (see ``core.io.inventory.ledger``).
        passed: what is of another format after all; the readers after this one are asked.
    """

    images: list[Image] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    passed: list[Entry] = field(default_factory=list)

    def found(self) -> list[Found]:
        """The images and the troubles, in the order of their paths."""
        return sorted([*self.images, *self.troubles], key=lambda image: image.path)

    def trouble(self, code: str, entry: Entry, wanted: str, remedy: str, got: str = "") -> None:
        """Note one file that cannot be taken."""
        error = InputError(code, wanted, got or entry.name, remedy)
        self.troubles.append(Trouble(entry.path, entry.uri, (entry.path,), error))


class Reader(Protocol):
    """One format.

    Attributes:
        kind: its name, as plans keep it.
    """

    kind: str

    def can_read(self, entry: Entry) -> bool:
        """Whether a file is of this format, by its name or, where that explains nothing, by its first bytes."""

    def read(self, entries: Sequence[Entry]) -> Reading:
        """The images in files that ``can_read`` let pass, and what of them is not taken and why."""

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:
        """Read and check an image without its voxels.

        Raises:
            InputError: with a named code for everything that is wrong with it.
        """

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:
        """Read an image through the gate, ``thickness`` planes along z at a time.

        Raises:
            InputError: with a named code for everything that is wrong with it.
        """

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Metadata that the format itself holds, allow-listed, or all that a JSON file beside the image says."""
