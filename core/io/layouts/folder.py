"""A folder of images that is no BIDS dataset, as scanners, archives and colleagues leave it."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from core.errors import InputError
from core.io import files, readers
from core.io.derivatives import DESCRIBED, WITHHELD, allowed, entity_names, is_restored, safe_key
from core.io.inventory.entries import DESCRIPTION, Listing
from core.io.layouts.base import Discovery, take_rest, unexplained
from core.io.layouts.bids import group_of
from core.io.name_words import WITHIN
from core.io.names import LABEL, NOT_SCANS, Entities, entities_of, is_other_scanners, role, without_extension
from core.io.plain_names import Unnamed, dataset_of, stems_of
from core.io.readers import Image, Trouble, read
from core.io.scans import Candidate, Filters, Source, candidate, is_asked, simulation
from core.settings.scans import Selection


def _entities(inside: str) -> Entities:
    """What a name says in the words of BIDS: ``case01-T1`` says nothing in them, but names a person and a contrast."""
    entities = {name: value for name, value in entities_of(inside).items() if LABEL.fullmatch(value)}
    return entities if "sub" in entities else {name: value for name, value in entities.items() if name in entity_names()}


def why_left(path: str, entities: Entities, selection: Selection) -> str:
    """The kind by which an image is left out whatever the labels, by its name; "" where it is meant, or its suffix is asked for.

    Args:
        path: of the image.
        entities: of its name, or of its line in a table.
        selection: whose suffixes are asked for.
    """
    if is_restored(entities):
        return "own"
    asked = is_asked(entities.get("suffix"), selection)
    suffix = entities.get("suffix", "")
    kind = role(path) or ("mask" if suffix in NOT_SCANS else "other-datatype" if is_other_scanners(path, suffix) else "")
    return kind if kind == "phase" or not asked else ""


def from_folder(root: str, listing: Listing, selection: Selection) -> Discovery:
    """The scans of a folder.

    Raises:
        UsageError: as ``Filters.keep``.
    """
    discovery = Discovery()
    discovery.ledger.unread = listing.unread
    reading = read(list(unexplained(listing.entries, discovery)))
    take_rest(reading, discovery)
    meant: list[tuple[Image | Trouble, str, Entities]] = []
    for outcome in reading.found():
        inside = inside_of(outcome, root)
        entities = _entities(inside)
        if kind := why_left(outcome.path, entities, selection):
            discovery.leave(outcome.files, kind)
        else:
            meant.append((outcome, inside, entities))
    described = _described(listing)
    stems = stems_of([_unnamed(*scan, described) for scan in meant], files.name_of(root))
    filters = Filters(selection)
    left = filters.keep([_candidate(image, inside, entities, stems[inside], root) for image, inside, entities in meant])
    discovery.ledger.filters = filters.told
    for image, inside, entities in meant:
        if (path := image.path or inside) in left:
            discovery.leave(image.files, left[path])
        else:
            _take(root, image, inside, entities, stems[inside], discovery)
    return discovery


def _candidate(image: Image | Trouble, inside: str, entities: Entities, stem: str, root: str) -> Candidate:
    """What a selection goes by, of an image whose restored one lies at a stem."""
    names = safe_key(inside), _group(image, entities, stem, root)
    return candidate(image.path or inside, entities, stem, names)


def _group(image: Image | Trouble, entities: Entities, stem: str, root: str) -> str:
    """What scans of one person and session share; the person is told from others of that label, of other datasets."""
    named = entities | {"sub": stem.partition("/")[0].removeprefix("sub-")} if "sub" in entities else entities
    return group_of(named) or safe_key(image.path.rpartition("/")[0] or files.name_of(root))


def inside_of(image: Image | Trouble, root: str) -> str:
    """What names an image in its input."""
    return without_extension(image.path) or files.name_of(root)


def _described(listing: Listing) -> set[str]:
    """The folders that say of themselves that they are datasets; rawdata says it of the folder around it."""
    folders = (entry.path.rpartition("/")[0] for entry in listing.entries if files.name_of(entry.path) == DESCRIPTION)
    return {"/".join(part for part in folder.split("/") if part not in WITHIN) for folder in folders}


def _unnamed(image: Image | Trouble, inside: str, entities: Entities, described: Container[str]) -> Unnamed:
    dataset = dataset_of(inside, entities["sub"], described) if "sub" in entities else ""
    if isinstance(image, Trouble):
        return Unnamed(inside, entities, dataset=dataset)
    return Unnamed(inside, entities, image.evidence, image.description, dataset)


def described(kind: str, sidecar: dict[str, Any]) -> dict[str, Any]:
    """The description of a DICOM series, which its reader made safe."""
    return {DESCRIBED: sidecar[DESCRIBED]} if kind == "dicom" and DESCRIBED in sidecar else {}


def withheld(kind: str, sidecar: dict[str, Any]) -> int:
    """How many words of a DICOM series' description its reader left out, as they may name a person."""
    return int(sidecar.get(WITHHELD, 0)) if kind == "dicom" else 0


def _take(root: str, image: Image | Trouble, inside: str, entities: Entities, stem: str, discovery: Discovery) -> None:
    uri = files.join(root, image.path) if image.path else root
    try:
        if isinstance(image, Trouble):
            raise image.error
        sidecar = readers.metadata(image.kind, image.uris)
    except InputError as error:
        discovery.refuse(inside, uri, error, image.files)
    except OSError as error:
        if files.is_remote(uri):  # all of a storage cannot be reached, not one scan
            raise
        reason = InputError("file-unreadable", "files that can be read", str(error.strerror), "check the disk, or leave it out")
        discovery.refuse(inside, uri, reason, image.files)
    else:
        person = stem.partition("/")[0]  # told from others of that label in other datasets, and from others of one study
        group = _group(image, entities, stem, root)
        evidence = (person,) if "sub" in entities else tuple(f"{uid} {person}" for uid in image.evidence)
        path = image.path or inside
        key, known, made = safe_key(inside), allowed(sidecar) | described(image.kind, sidecar), simulation(sidecar)
        words = withheld(image.kind, sidecar)
        scan = Source(key, image.uris, image.kind, stem, group, path, entities, known, None, evidence, made, withheld=words)
        discovery.take(scan, image.files)
