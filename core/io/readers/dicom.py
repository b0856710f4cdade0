"""DICOM files, whatever they are named: put into series by their identifiers, across folders; no file decides for its folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from core.errors import InputError
from core.geometry.grid import Box
from core.io import files
from core.io.arrays.slabs import Slab, cut
from core.io.dicom import series as dicom
from core.io.dicom.files import Other, Slice, finished, is_alike, is_dicom, look
from core.io.inventory.entries import Entry
from core.io.readers.base import RENAME, Image, Reading, Trouble
from core.io.validation import Header, Trust

NOT_SLICES = {"no-image": "dicom-other", "phase": "phase", "localizer": "localizer"}  # kinds of the ledger
Member = tuple[Entry, Slice]


def _kind_of(entry: Entry) -> str:
    """What a file is, by its first bytes, that no reader knows."""
    if entry.unreadable:
        return "special"
    if not entry.head:
        return "empty"
    return "text" if entry.is_text else "unknown"


def _unreadable(lost: Sequence[Entry], whole: int) -> InputError:
    """Why a series is refused of which files cannot be read, beside ``whole`` that can."""
    if misnamed := [entry for entry in lost if entry.misnamed]:
        got = f"{len(misnamed)} of {len(lost) + whole} with other bytes, such as {misnamed[0].name}"
        return InputError("name-encoding", "names of files and folders in UTF-8", got, RENAME)
    return dicom.unreadable_members(len(lost), whole, lost[0].name)


def _closed(folder: str, lost: Sequence[Entry]) -> Trouble:
    """Files that may not be read and whose names do not say what they are: any may be a scan."""
    got = f"{len(lost)} that may not, such as {lost[0].name}"
    error = InputError("file-forbidden", "files that may be read", got, "check their permissions")
    paths = tuple(entry.path for entry in lost)
    return Trouble(folder or lost[0].path, files.parent_of(lost[0].uri), paths, error)


class Dicom:
    """Reads DICOM series; asked last, it gets all that no other reader knows and no name explains."""

    kind = "dicom"

    def can_read(self, entry: Entry) -> bool:
        """Whether its name does not say that it is something else."""
        return not entry.kind

    def read(self, entries: Sequence[Entry]) -> Reading:
        """Each series as one image."""
        reading = Reading()
        members: list[Member] = []
        broken: dict[str, list[Entry]] = defaultdict(list)
        others: list[Entry] = []
        for entry in entries:
            what = look(entry.uri) if is_dicom(entry.head) else Other(entry.uri, "")
            if isinstance(what, Slice):
                members.append((entry, what))
            elif what.kind == "broken":
                broken[entry.folder].append(entry)
            elif what.kind in NOT_SLICES:
                reading.left[entry.path] = NOT_SLICES[what.kind]
            else:
                others.append(entry)
        self._others(others, members, broken, reading)
        for together in _connected(members):
            self._series(together, broken, reading)
        for folder, lost in broken.items():  # of folders without a slice that can be read
            paths = tuple(entry.path for entry in lost)
            error = _unreadable(lost, 0)
            reading.troubles.append(Trouble(folder or lost[0].path, files.parent_of(lost[0].uri), paths, error))
        return reading

    def _others(
        self, others: Sequence[Entry], members: Sequence[Member], broken: dict[str, list[Entry]], reading: Reading
    ) -> None:
        """Files that are no DICOM: lost slices where they are named as those beside them, compressed ones, or something else."""
        names: dict[str, list[str]] = defaultdict(list)
        for entry, _ in members:
            names[entry.folder].append(entry.name)
        forbidden: dict[str, list[Entry]] = defaultdict(list)
        for entry in others:
            packed = entry.head != entry.start and is_dicom(entry.start)
            hidden, beside = packed or entry.forbidden, names.get(entry.folder, [])
            if beside and (hidden or is_alike(entry.name, beside, text=entry.is_text)):
                broken[entry.folder].append(entry)
            elif entry.forbidden:
                forbidden[entry.folder].append(entry)
            elif packed:
                reading.trouble("dicom-compressed", entry, "DICOM as it is", "unpack it (gunzip)")
            elif finished(entry.name.lower()).endswith(".dcm"):
                broken[entry.folder].append(entry)
            else:
                reading.left[entry.path] = _kind_of(entry)
        for folder, lost in forbidden.items():
            reading.troubles.append(_closed(folder, lost))

    def _series(self, together: dict[tuple[str, str], list[Member]], broken: dict[str, list[Entry]], reading: Reading) -> None:
        """The series of folders that share some: each its own image."""
        folders = sorted({entry.folder for series in together.values() for entry, _ in series})
        lost = [entry for folder in folders for entry in broken.pop(folder, [])]
        for name, members in _named(together):
            paths = tuple(entry.path for entry, _ in members)
            path, uris = _place(members, name, alone=len(together) == 1)
            if lost:  # any series of these folders may be the one that misses them
                error = _unreadable(lost, len(members))
                reading.troubles.append(Trouble(path, uris[0], (*paths, *(entry.path for entry in lost)), error))
            else:
                evidence = tuple(sorted({uid for _, plane in members for uid in plane.evidence}))
                description = members[0][1].description
                reading.images.append(Image(path, uris, self.kind, paths, evidence, description))

    def header(self, uris: Sequence[str], trust: Trust | None) -> Header:  # noqa: ARG002 - DICOM has one transform
        """See ``core.io.dicom.series.header``."""
        return dicom.header(uris)

    def slabs(self, uris: Sequence[str], thickness: int, trust: Trust | None) -> Iterator[Slab]:  # noqa: ARG002
        """See ``core.io.dicom.series.load_series``."""
        image, grid, stored = dicom.load_series(uris)
        yield from cut(Slab(Box.whole(grid.shape), image, grid, stored), thickness)

    def metadata(self, uris: Sequence[str]) -> dict[str, Any]:
        """Of the first file that can be read."""
        return dicom.metadata(uris)


def _connected(members: Sequence[Member]) -> Iterator[dict[tuple[str, str], list[Member]]]:
    """The series by groups that share no folder with another group."""
    series: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for entry, plane in members:
        series[plane.series if plane.series[1] else ("", entry.folder)].append((entry, plane))
    inside: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, its in series.items():
        for entry, _ in its:
            inside[entry.folder].add(name)
    left = dict(series)
    while left:
        reached, todo = set(), [next(iter(left))]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += [other for entry, _ in series[name] for other in inside[entry.folder] - reached]
        yield {name: left.pop(name) for name in list(left) if name in reached}


def _named(together: dict[tuple[str, str], list[Member]]) -> list[tuple[str, list[Member]]]:
    """The series with a name each: its number by the scanner where that tells them apart, else its place in their order."""
    ordered = sorted(together.values(), key=lambda members: (members[0][1].number, members[0][0].path))
    numbers = [members[0][1].number for members in ordered]
    distinct = len(set(numbers)) == len(numbers) and all(numbers)
    return [(f"series-{numbers[n] if distinct else n + 1}", members) for n, members in enumerate(ordered)]


def _place(members: Sequence[Member], name: str, *, alone: bool) -> tuple[str, tuple[str, ...]]:
    """What names a series, and where it lies: its folders where nothing else lies in them, else its files."""
    folders = {entry.folder: files.parent_of(entry.uri) for entry, _ in members}
    first = min(folders)
    if alone:
        return first, tuple(folders[folder] for folder in sorted(folders))
    return f"{first}/{name}".lstrip("/"), tuple(sorted(entry.uri for entry, _ in members))
