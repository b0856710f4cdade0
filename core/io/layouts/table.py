"""A table that names the scans, a line each."""

from __future__ import annotations

from core.errors import InputError, UsageError
from core.io import files, readers
from core.io.derivatives import allowed, derivative_stem, plain_stem, safe_key
from core.io.entries import Entry
from core.io.layouts.base import Discovery
from core.io.layouts.bids import group_of, key_of
from core.io.names import LABEL, Entities, entities_of, is_nifti, without_extension
from core.io.readers import Image
from core.io.scans import Candidate, Filters, Source, candidate, simulation
from core.io.tables import Row, read_table
from core.settings.scans import Selection

UNKNOWN = {"", "n/a"}


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path or path.startswith("/") else files.join(folder, path)


def _row_entities(row: Row) -> Entities:
    """Entities of a table's row: those of the file's name, and what the columns say above them."""
    said = entities_of(without_extension(row.get("path", "")))
    entities = {name: value for name, value in said.items() if LABEL.fullmatch(value)}
    columns = {"sub": row.get("participant_id", ""), "ses": row.get("session_id", ""), "suffix": row.get("suffix", "")}
    return entities | {name: value.removeprefix(f"{name}-") for name, value in columns.items() if value}


def _image(uri: str) -> Image:
    """The image at a URI that a table names; whether it is there comes to light when it is read."""
    name = files.name_of(uri)
    if is_nifti(uri):
        return Image(name, (uri,), "nifti", (name,))
    if files.is_folder(uri):
        return Image(name, (uri,), "dicom", (name,))
    entries = [Entry(name, uri)]
    if uri.lower().endswith(".hdr"):
        others = (sibling for sibling in files.listdir(files.parent_of(uri)) if sibling.lower().startswith(name.lower()[:-4]))
        entries += [Entry(sibling, files.join(files.parent_of(uri), sibling)) for sibling in others if sibling != name]
    reading = readers.read(entries)
    for trouble in reading.troubles:
        if trouble.path == name:
            raise trouble.error
    image = next((candidate for candidate in reading.images if candidate.uris[0] == uri or candidate.kind == "dicom"), None)
    if image is None:
        code, got = ("file-missing", "none there") if not files.exists(uri) else ("not-image", "another file")
        raise InputError(code, "NIfTI, DICOM, .mgz or .nrrd", got, f"check the path {name}")
    return image


def _source(row: Row, folder: str) -> Source:
    uri = _absolute(row["path"], folder)
    name = without_extension(files.name_of(uri))
    near = uri == files.join(folder, row["path"]) and ".." not in row["path"].split("/")
    entities = _row_entities(row)
    for entity, value in entities.items():
        if not LABEL.fullmatch(value):
            code = "entity-unsafe" if ".." in value or "/" in value else "entity-invalid"
            column = {"sub": "participant_id", "ses": "session_id"}.get(entity, entity)
            raise InputError(code, "letters and digits", f"others in the column {column}", "correct the table")
    image = _image(uri)
    if {"sub", "suffix"} <= set(entities):
        stem = derivative_stem({"sub": entities["sub"], "datatype": "anat"} | entities)
        key = key_of(stem)
    else:
        inside = without_extension(row["path"]).rstrip("/")
        stem, key = plain_stem(inside if near else name), safe_key(inside if near else name)
    relative = row["path"] if near else files.name_of(uri)
    reference = _absolute(row["reference"], folder) if row.get("reference") else None
    sidecar = readers.metadata(image.kind, image.uris)
    evidence = (f"sub-{entities['sub']}",) if "sub" in entities else image.evidence
    group = group_of(entities) or key
    mask = _absolute(row["mask"], folder) if row.get("mask") else None
    known, made = allowed(sidecar), simulation(sidecar)
    return Source(key, image.uris, image.kind, stem, group, relative, entities, known, reference, evidence, made, mask)


def from_table(uri: str, selection: Selection) -> Discovery:
    """The scans that a table names; the ledger counts its lines.

    Raises:
        UsageError: as ``read_table`` and ``Filters.keep``; table-columns.
    """
    head, rows = read_table(uri)
    if "path" not in head:
        got = f"{len(head)} others"  # untold: a table without a first line of names begins with its data
        raise UsageError("table-columns", "a column 'path', separated by tabs", got, "name the column of the scans 'path'")
    discovery, folder = Discovery(), files.parent_of(uri)
    meant: list[tuple[int, Row, Candidate]] = []
    for number, raw in rows.items():
        row = {name: value for name, value in raw.items() if value not in UNKNOWN}
        if "path" in row:
            meant.append((number, row, candidate(row["path"], _row_entities(row))))
        else:
            error = InputError("path-missing", "a path", f"none in line {number}", "complete the table")
            discovery.refuse(f"line-{number}", uri, error, (f"line {number}",))
    filters = Filters(selection)
    left = filters.keep([scan for *_, scan in meant])
    discovery.ledger.filters = filters.told
    for number, row, scan in meant:
        line = (f"line {number}",)
        if scan.path in left:
            discovery.leave(line, left[scan.path])
            continue
        try:
            discovery.take(_source(row, folder), line)
        except InputError as error:
            discovery.refuse(f"line-{number}", row["path"], error, line)
    return discovery
