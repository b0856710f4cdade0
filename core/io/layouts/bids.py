"""A BIDS dataset: persons in folders, entities in names, metadata in JSON files that apply to all below them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from core.errors import AccessError, InputError
from core.io import files
from core.io.derivatives import DESC, allowed, derivative_stem, is_restored
from core.io.inventory.entries import DESCRIPTION, Listing
from core.io.layouts.base import Discovery, take_rest, unexplained
from core.io.names import (
    LABEL,
    NOT_SCANS,
    Entities,
    entities_of,
    is_nifti,
    is_other_scanners,
    role,
    sidecar_at,
    without_extension,
)
from core.io.readers import Image, Trouble, read
from core.io.scans import Candidate, Filters, Source, candidate, is_asked, simulation
from core.settings.scans import Selection

FILE = re.compile(r"(sub-[^/]+)/(?:(ses-[^/]+)/)?(?:([a-z]+)/)?[^/]+")
INSIDE = re.compile(r"sub-[^/]+/(ses-[^/]+/)?[a-z]+/sub-[^/]+")
DATATYPES = {*("anat", "func", "dwi", "fmap", "perf", "pet", "meg", "eeg", "ieeg", "beh", "micr", "nirs", "motion", "mrs")}
BESIDE = {"code", "stimuli", "phenotype", "models", "figures", "logs"}  # folders of a dataset that hold no persons


def is_bids(paths: Sequence[str]) -> bool:
    """Whether the files of a folder are those of a BIDS dataset."""
    return DESCRIPTION in paths or any(INSIDE.fullmatch(path) and is_nifti(path) for path in paths)


def check_entities(path: str, entities: Entities) -> None:
    """Refuse a name that BIDS does not allow.

    Raises:
        InputError: entity-unsafe, entity-invalid, entity-repeated, entity-mismatch, name-not-bids.
    """
    name = without_extension(files.name_of(path))
    names = [part.partition("-")[0] for part in name.split("_")[:-1]]
    match = FILE.fullmatch(path)
    remedy = "rename the file as BIDS says"
    for entity, value in entities.items():
        if ".." in value or "/" in value or "\\" in value:
            raise InputError("entity-unsafe", "labels without / and ..", f"{entity}-{value}", remedy)
        if not LABEL.fullmatch(value):
            raise InputError("entity-invalid", "labels of letters and digits", f"{entity}-{value}", remedy)
    if "sub" not in entities or "suffix" not in entities or any("-" not in part for part in name.split("_")[:-1]):
        raise InputError("name-not-bids", "a name of the form sub-<label>[_<entity>-<label>]_<suffix>", name, remedy)
    if len(set(names)) < len(names):
        raise InputError("entity-repeated", "each entity once in a name", name, remedy)
    folders = [f"{entity}-{entities[entity]}" if entity in entities else None for entity in ("sub", "ses")]
    if match and [match[1], match[2]] != folders:
        raise InputError("entity-mismatch", f"a file of {match[1]} {match[2] or ''}".rstrip(), name, "move or rename the file")


def _check_place(path: str) -> None:
    """Refuse an image that lies where BIDS has none.

    Raises:
        InputError: place-not-bids.
    """
    if _datatype(path) not in DATATYPES or not path.startswith("sub-"):
        wanted = "sub-<label>/[ses-<label>/]anat/<file>"
        raise InputError("place-not-bids", wanted, path, "move it there, or leave it out with --exclude")


def _datatype(path: str) -> str:
    """The folder of its kind of data; "" where a file lies elsewhere."""
    parts = path.split("/")[1:-1]
    parts = parts[1:] if parts and parts[0].startswith("ses-") else parts
    return parts[0] if len(parts) == 1 else ""


class _Sidecars:
    """The JSON files of a dataset by their folders; each is read once."""

    def __init__(self, root: str, paths: Sequence[str]) -> None:
        self._root = root
        self._folders: dict[str, list[tuple[str, Entities]]] = {}
        self._content: dict[str, Any] = {}
        self._closed: AccessError | None = None
        for path in paths:
            if path.endswith(".json") and path != DESCRIPTION and "suffix" in (entities := entities_of(path)):
                self._folders.setdefault(str(PurePosixPath(path).parent), []).append((path, entities))

    def _read(self, path: str) -> Any:
        if path not in self._content:
            try:
                self._content[path] = sidecar_at(files.join(self._root, path))
            except AccessError as error:  # of an object on S3
                self._closed = error
                raise InputError("sidecar-unreadable", error.wanted, error.got, error.remedy) from error
        return self._content[path]

    def check_access(self) -> None:
        """Refuse a storage that gave none of the files which were asked for: it is closed, not a scan or two of it.

        Raises:
            AccessError: it.
        """
        if self._closed and not self._content:
            raise self._closed

    def of(self, path: str, entities: Entities) -> dict[str, Any]:
        """Metadata of a scan from all JSON files that apply to it, the nearest last."""
        beside = [sidecar for parent in PurePosixPath(path).parents for sidecar in self._folders.get(str(parent), [])]
        applies = [
            (sidecar.count("/"), len(stated), sidecar)
            for sidecar, stated in beside
            if all(entities.get(name) == value for name, value in stated.items() if name != "datatype")
        ]
        merged: dict[str, Any] = {}
        for _, _, sidecar in sorted(applies):
            content = self._read(sidecar)
            merged |= content if isinstance(content, dict) else {}
        return merged


def _entities(path: str) -> Entities:
    """Of an image, whatever its format."""
    return entities_of(path if path.endswith((".nii", ".nii.gz")) else f"{without_extension(path)}.nii.gz")


def _why_left(path: str, entities: Entities, selection: Selection) -> str:
    """The kind by which an image is left out whatever the labels; "" where it is meant: intensities in anat/, or a suffix."""
    if is_restored(entities):
        return "own"
    asked = is_asked(entities.get("suffix"), selection)
    if (kind := role(path)) and not (asked and kind == "mask"):
        return kind
    if not path.startswith("sub-") and path.partition("/")[0] in BESIDE:
        return "outside"
    suffix = entities.get("suffix", "")
    other = _datatype(path) in DATATYPES - {"anat"} or is_other_scanners(path, suffix)
    if not selection.suffix and (suffix in NOT_SCANS or other):
        return "mask" if suffix in NOT_SCANS else "other-datatype"
    return ""


def from_bids(root: str, listing: Listing, selection: Selection) -> Discovery:
    """The scans of a dataset.

    Raises:
        UsageError: as ``Filters.keep``.
        AccessError: a storage that gives none of its sidecars.
    """
    discovery = Discovery()
    discovery.ledger.unread = listing.unread
    entries = list(unexplained(listing.entries, discovery))
    reading = read(entries)
    take_rest(reading, discovery)
    meant: list[tuple[Image | Trouble, Entities, Candidate]] = []
    for outcome in reading.found():
        entities = _entities(outcome.path)
        if kind := _why_left(outcome.path, entities, selection):
            discovery.leave(outcome.files, kind)
        else:
            meant.append((outcome, entities, _candidate(outcome.path, entities)))
    filters = Filters(selection)
    left = filters.keep([scan for *_, scan in meant])
    discovery.ledger.filters = filters.told
    sidecars = _Sidecars(root, [entry.path for entry in entries if not entry.unreadable])
    for image, entities, scan in meant:
        if scan.path in left:
            discovery.leave(image.files, left[scan.path])
        else:
            _take(root, image, entities, sidecars, discovery)
    sidecars.check_access()
    return discovery


def _candidate(path: str, entities: Entities) -> Candidate:
    """What a selection goes by, of an image; one without a suffix is refused, and has no other name."""
    return candidate(
        path, entities, names=(*([key_of(derivative_stem(entities))] if "suffix" in entities else []), group_of(entities))
    )


def _take(root: str, image: Image | Trouble, entities: Entities, sidecars: _Sidecars, discovery: Discovery) -> None:
    name, uri = without_extension(files.name_of(image.path)), files.join(root, image.path)
    try:
        if isinstance(image, Trouble):
            raise image.error
        check_entities(image.path, entities)
        _check_place(image.path)
        stem = derivative_stem(entities)
        sidecar = sidecars.of(image.path, entities)
    except InputError as error:
        discovery.refuse(name, uri, error, image.files)
    else:
        key, group = key_of(stem), group_of(entities)
        known, person = allowed(sidecar), (f"sub-{entities['sub']}",)
        scan = Source(key, image.uris, image.kind, stem, group, image.path, entities, known, None, person, simulation(sidecar))
        discovery.take(scan, image.files)


def key_of(stem: str) -> str:
    """The key of a scan, from the path of its restored image."""
    return files.name_of(stem).replace(f"_desc-{DESC}", "")


def group_of(entities: Entities) -> str:
    """What scans of one person and session share."""
    return "_".join(f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities)
