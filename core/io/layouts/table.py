"""A table that names the scans, a line each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from posixpath import normpath

from core.errors import InputError, UsageError
from core.io import files, readers
from core.io.derivatives import DESCRIBED, allowed, derivative_stem, safe_key
from core.io.layouts.base import Discovery
from core.io.layouts.bids import group_of, key_of
from core.io.layouts.folder import described, why_left, withheld
from core.io.names import LABEL, Entities, entities_of, without_extension
from core.io.plain_names import SUFFIXES, Unnamed, agent_of, stems_of
from core.io.scans import Candidate, Filters, Source, candidate, simulation
from core.io.tables import Row, absolute, read_table, says
from core.settings.scans import Selection


def _row_entities(row: Row) -> Entities:
    """Entities of a table's row: those of the file's name, and what the columns say above them."""
    named = entities_of(without_extension(row.get("path", "")))
    entities = {name: value for name, value in named.items() if LABEL.fullmatch(value)}
    columns = {"sub": row.get("participant_id", ""), "ses": row.get("session_id", ""), "suffix": row.get("suffix", "")}
    return entities | {name: value.removeprefix(f"{name}-") for name, value in columns.items() if value}


def labels_of(row: Row) -> dict[str, set[str]]:
    """What a selection goes by, of a table's row: labels by entity."""
    return candidate(row.get("path", ""), _row_entities(row)).said


def _is_near(path: str) -> bool:
    """Whether a path leads below the folder of its table, and so names its scan as it stands."""
    return not ("://" in path or path.startswith("/") or ".." in path.split("/"))


def _named_by_path(row: Row) -> bool:
    """Whether nothing but its path names a scan."""
    return not {"sub", "suffix"} <= set(_row_entities(row))


def _far_names(rows: Iterable[Row], folder: str) -> dict[str, str]:
    """Names of scans that lie elsewhere, by their paths: the last parts of a path, as few as no other's are.

    Two scans /x/p1/t1.nii.gz and /x/p2/t1.nii.gz are p1/t1 and p2/t1; one alone is t1.
    """
    far = {row["path"] for row in rows if not _is_near(row["path"]) and _named_by_path(row)}
    left = {path: normpath(without_extension(absolute(path, folder))).strip("/").split("/") for path in far}
    names: dict[str, str] = {}
    depth = 1
    while left:
        ends = {path: "/".join(parts[-depth:]) for path, parts in left.items()}
        counts = Counter(ends.values())
        names |= {path: end for path, end in ends.items() if counts[end] == 1 or depth >= len(left[path])}
        left = {path: parts for path, parts in left.items() if path not in names}
        depth += 1
    return names


def _inside(row: Row, folder: str, far: Mapping[str, str]) -> str:
    """What names a scan that nothing but its path names."""
    if _is_near(row["path"]):
        return without_extension(row["path"]).rstrip("/")
    return far.get(row["path"], without_extension(files.name_of(absolute(row["path"], folder))))


def _candidates(rows: Sequence[Row], folder: str) -> list[Candidate]:
    """What a selection goes by, of each line; no file is opened, so that no words of a DICOM series' header take part."""
    far, entities = _far_names(rows, folder), [_row_entities(row) for row in rows]
    names = [_inside(row, folder, far) for row in rows]
    plain = {
        name: Unnamed(name, labels)
        for name, labels in zip(names, entities, strict=True)
        if all(map(LABEL.fullmatch, labels.values())) and not ("sub" in labels and labels.get("suffix") in SUFFIXES)
    }
    stems = stems_of(list(plain.values()), files.name_of(folder))
    keys = [_key(labels, name) for labels, name in zip(entities, names, strict=True)]
    lines = zip(rows, entities, names, keys, strict=True)
    return [candidate(row["path"], said, stems.get(name, ""), (key, group_of(said) or key)) for row, said, name, key in lines]


def _key(entities: Entities, inside: str) -> str:
    """The key of a scan: of its person and contrast where both are stated, else of its path."""
    stated = {"sub", "suffix"} <= set(entities)
    return key_of(derivative_stem({"datatype": "anat"} | entities)) if stated else safe_key(inside)


def _with_stems(
    places: Mapping[tuple[str, ...], list[tuple[int, Source]]], names: Mapping[int, str], folder: str
) -> dict[int, Source]:
    """The scans by their lines; those that only their paths name with names for their outputs."""
    scans = {number: source for same in places.values() for number, source in same}
    plain = {
        names[number]: Unnamed(names[number], scan.entities, scan.evidence, str(scan.sidecar.get(DESCRIBED, "")))
        for number, scan in scans.items()
        if not scan.stem
    }
    stems = stems_of(list(plain.values()), files.name_of(folder))
    return {number: scan if scan.stem else replace(scan, stem=stems[names[number]]) for number, scan in scans.items()}


def _stated_stem(scan: Unnamed) -> str:
    """The stem of a scan whose person and contrast are stated; "" where that is no contrast that is known."""
    agent = agent_of(scan)
    named = {"datatype": "anat"} | ({"ce": agent} if agent else {}) | scan.entities
    return derivative_stem(named) if scan.entities["suffix"] in SUFFIXES else ""


def _source(row: Row, folder: str, far: Mapping[str, str]) -> Source:
    uri = absolute(row["path"], folder)
    near = _is_near(row["path"])
    entities = _row_entities(row)
    for entity, value in entities.items():
        if not LABEL.fullmatch(value):
            code = "entity-unsafe" if ".." in value or "/" in value else "entity-invalid"
            column = {"sub": "participant_id", "ses": "session_id"}.get(entity, entity)
            raise InputError(
                code, "labels of letters and digits", f"other characters in the column {column}", "correct the table"
            )
    image = readers.image_at(uri)
    sidecar = readers.metadata(image.kind, image.uris)
    if {"sub", "suffix"} <= set(entities):
        description = str(described(image.kind, sidecar).get(DESCRIBED, ""))
        stem = _stated_stem(Unnamed(_inside(row, folder, far), entities, description=description))
    else:
        stem = ""
    key = _key(entities, _inside(row, folder, far))
    relative = row["path"] if near else files.name_of(uri)
    reference = absolute(row["reference"], folder) if row.get("reference") else None
    evidence = (f"sub-{entities['sub']}",) if "sub" in entities else image.evidence
    group = group_of(entities) or key
    mask = absolute(row["mask"], folder) if row.get("mask") else None
    known, made = allowed(sidecar) | described(image.kind, sidecar), simulation(sidecar)
    words = withheld(image.kind, sidecar)
    return Source(key, image.uris, image.kind, stem, group, relative, entities, known, reference, evidence, made, mask, words)


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
        # other columns untold: a table without a first line of names begins with its data
        got = f"{len(head)} other columns" if any(head) else "an empty table"
        raise UsageError("table-columns", "a column 'path', separated by tabs", got, "name the column of the scans 'path'")
    discovery, folder = Discovery(), files.parent_of(uri)
    meant: list[tuple[int, Row]] = []
    for number, raw in rows.items():
        row = {name: value for name, value in raw.items() if says(name, value)}
        if "path" in row:
            entities = _row_entities(row)
            if kind := "" if labels else why_left(row["path"], entities, selection):
                discovery.leave((f"line {number}",), kind)
            else:
                meant.append((number, row))
        else:
            error = InputError("path-missing", "a path", f"none in line {number}", "complete the table")
            discovery.refuse(f"line-{number}", uri, error, (f"line {number}",))
    filters = Filters(selection)
    left = filters.keep(_candidates([row for _, row in meant], folder))
    discovery.ledger.filters = filters.told
    far = _far_names((row for _, row in meant if row["path"] not in left), folder)
    places: dict[tuple[str, ...], list[tuple[int, Source]]] = defaultdict(list)
    for number, row in meant:
        if row["path"] in left:
            discovery.leave((f"line {number}",), left[row["path"]])
        elif source := _taken(row, number, folder, far, discovery):
            place = (str(number),) if labels else _place(source)  # one label image may serve several scans
            places[place].append((number, source))
    names = {number: _inside(row, folder, far) for number, row in meant if row["path"] not in left}
    named = _with_stems(places, names, folder)
    for same in places.values():
        for number, _ in same:
            _take(number, named[number], [other for other, _ in same], discovery)
    return discovery


def _taken(row: Row, number: int, folder: str, far: Mapping[str, str], discovery: Discovery) -> Source | None:
    """The scan of a line; None where it is refused, which is noted."""
    try:
        return _source(row, folder, far)
    except InputError as error:
        reason = error
    except PermissionError as error:
        if files.is_remote(row["path"]):  # all of a storage is closed, not one scan
            raise
        reason = InputError("file-forbidden", "files that may be read", str(error.filename), "check their permissions")
    discovery.refuse(f"line-{number}", row["path"], reason, (f"line {number}",))
    return None


def _place(source: Source) -> tuple[str, ...]:
    """Where a scan lies, however it is named."""
    return tuple(files.real(uri) for uri in source.uris)


def _take(number: int, source: Source, same: Sequence[int], discovery: Discovery) -> None:
    """Note a scan; one that several lines name is refused in each of them, for none says which is meant."""
    line = (f"line {number}",)
    if len(same) == 1:
        discovery.take(source, line)
        return
    got = f"lines {', '.join(map(str, same))}, which name the same file"
    error = InputError("scan-twice", "each scan in one line", got, "remove all but one of them")
    discovery.refuse(f"line-{number}", source.uris[0], error, line)
