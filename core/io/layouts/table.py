"""A table that names the scans, a line each."""

from __future__ import annotations

from core.errors import InputError, UsageError
from core.io import files, readers
from core.io.derivatives import allowed, derivative_stem, plain_stem, safe_key
from core.io.layouts.base import Discovery
from core.io.layouts.bids import group_of, key_of
from core.io.layouts.folder import why_left
from core.io.names import LABEL, Entities, entities_of, without_extension
from core.io.scans import Candidate, Filters, Source, candidate, simulation
from core.io.tables import Row, read_table
from core.settings.scans import Selection

UNKNOWN = {"", "n/a"}


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path or path.startswith("/") else files.join(folder, path)


def _row_entities(row: Row) -> Entities:
    """Entities of a table's row: those of the file's name, and what the columns say above them."""
    named = entities_of(without_extension(row.get("path", "")))
    entities = {name: value for name, value in named.items() if LABEL.fullmatch(value)}
    columns = {"sub": row.get("participant_id", ""), "ses": row.get("session_id", ""), "suffix": row.get("suffix", "")}
    return entities | {name: value.removeprefix(f"{name}-") for name, value in columns.items() if value}


def _source(row: Row, folder: str) -> Source:
    uri = _absolute(row["path"], folder)
    name = without_extension(files.name_of(uri))
    near = uri == files.join(folder, row["path"]) and ".." not in row["path"].split("/")
    entities = _row_entities(row)
    for entity, value in entities.items():
        if not LABEL.fullmatch(value):
            code = "entity-unsafe" if ".." in value or "/" in value else "entity-invalid"
            column = {"sub": "participant_id", "ses": "session_id"}.get(entity, entity)
            raise InputError(
                code, "labels of letters and digits", f"other characters in the column {column}", "correct the table"
            )
    image = readers.image_at(uri)
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


def from_table(uri: str, selection: Selection, *, labels: bool = False) -> Discovery:
    """The scans that a table names; the ledger counts its lines.

    Masks, labels and phase images are left out by their names, as they are in a folder.

    Args:
        uri: of the table.
        selection: which lines are meant.
        labels: whether the table names label images: then none is left out by its name.

    Raises:
        UsageError: as ``read_table`` and ``Filters.keep``; table-columns.
    """
    head, rows = read_table(uri)
    if "path" not in head:
        got = f"{len(head)} other columns"  # untold: a table without a first line of names begins with its data
        raise UsageError("table-columns", "a column 'path', separated by tabs", got, "name the column of the scans 'path'")
    discovery, folder = Discovery(), files.parent_of(uri)
    meant: list[tuple[int, Row, Candidate]] = []
    for number, raw in rows.items():
        row = {name: value for name, value in raw.items() if value not in UNKNOWN}
        if "path" in row:
            entities = _row_entities(row)
            if kind := "" if labels else why_left(row["path"], entities, selection):
                discovery.leave((f"line {number}",), kind)
            else:
                meant.append((number, row, candidate(row["path"], entities)))
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
        except PermissionError as error:
            if files.is_remote(row["path"]):  # all of a storage is closed, not one scan
                raise
            closed = InputError("file-forbidden", "files that may be read", str(error.filename), "check their permissions")
            discovery.refuse(f"line-{number}", row["path"], closed, line)
    return discovery
