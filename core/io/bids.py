"""What is there to restore: a BIDS dataset, a folder of NIfTI files and DICOM series, or a table of paths; local or on S3.

A table (.tsv, tab-separated, ``n/a`` for nothing) has the column ``path`` (of a NIfTI file or a DICOM folder; absolute, a URI,
or relative to the table) and may have ``participant_id``, ``session_id``, ``suffix`` and ``reference`` (path of the truth);
further columns are ignored.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from core.errors import AccessError, InputError, UsageError
from core.io import dicom, files, s3
from core.io.derivatives import DESC, allowed, derivative_stem, plain_stem, safe_key
from core.settings.scans import Selection

Kind = Literal["nifti", "dicom"]
Entities = dict[str, str]

NIFTI = (".nii", ".nii.gz")
NOT_SCANS = {"mask", "dseg", "probseg", "defacemask"}  # suffixes of labels, taken only where asked for
LABEL = re.compile(r"[0-9A-Za-z+]+")
BIDS_FILE = re.compile(r"(sub-[^/]+)/(?:(ses-[^/]+)/)?(?:([a-z]+)/)?[^/]+")
SPECIAL = ("datatype", "suffix", "ext")


@dataclass(frozen=True)
class Source:
    """A scan that was found.

    Attributes:
        key: unique name in its cohort, safe as a file name ("sub-01_ses-1_T1w").
        uris: its file, or the one folder of a DICOM series.
        kind: how it is read.
        stem: path of its restored image in the output, without extension ("sub-01/anat/sub-01_desc-restored_T1w").
        group: scans of one person and session (of one folder, where there are no entities) have the same.
        relative: its path in the input; only the name where it lies elsewhere.
        entities: BIDS entities by their short names, with "suffix" and "datatype".
        sidecar: allow-listed metadata of its JSON sidecars, inherited as BIDS says.
        reference: the truth that its table names.
        simulation: what the sidecar of a simulated scan tells of how it was made (see ``core.operators.sidecar``).
    """

    key: str
    uris: tuple[str, ...]
    kind: Kind
    stem: str
    group: str
    relative: str
    entities: Entities = field(default_factory=dict)
    sidecar: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    simulation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A scan that was found but cannot be taken, with its named reason."""

    key: str
    uri: str
    code: str
    reason: str


def _refuse(key: str, uri: str, error: InputError) -> Refused:
    return Refused(safe_key(key), uri, error.code, str(error))


def is_nifti(path: str) -> bool:
    """Whether a path is named as a NIfTI file."""
    return path.endswith(NIFTI)


def without_extension(path: str) -> str:
    """A path without .nii or .nii.gz."""
    return path.removesuffix(".gz").removesuffix(".nii")


def _entities(path: str) -> Entities:
    """All that the name of a file says; suffix included, extension left out."""
    from bids2table import parse_bids_entities

    found = parse_bids_entities(path)
    return {name: value for name, value in found.items() if name != "ext"}


def _check_entities(path: str, entities: Entities) -> None:
    """Refuse a name that BIDS does not allow.

    Raises:
        InputError: entity-unsafe, entity-invalid, entity-repeated, entity-mismatch, name-not-bids.
    """
    name = without_extension(files.name_of(path))
    said = [part.partition("-")[0] for part in name.split("_")[:-1]]
    match = BIDS_FILE.fullmatch(path)
    remedy = "rename the file as BIDS says"
    for entity, value in entities.items():
        if ".." in value or "/" in value or "\\" in value:
            raise InputError("entity-unsafe", "entities that are no paths", f"{entity}-{value}", remedy)
        if not LABEL.fullmatch(value):
            raise InputError("entity-invalid", "letters and digits", f"{entity}-{value}", remedy)
    if "sub" not in entities or "suffix" not in entities or any("-" not in part for part in name.split("_")[:-1]):
        raise InputError("name-not-bids", "sub-<label>[_<entity>-<label>]_<suffix>", name, remedy)
    if len(set(said)) < len(said):
        raise InputError("entity-repeated", "each entity once in a name", name, remedy)
    folders = [f"{entity}-{entities[entity]}" if entity in entities else None for entity in ("sub", "ses")]
    if match and [match[1], match[2]] != folders:
        raise InputError("entity-mismatch", f"a file of {match[1]} {match[2] or ''}".rstrip(), name, "move or rename the file")


def _labels(wanted: Sequence[str], prefix: str) -> set[str]:
    return {label.removeprefix(prefix) for label in wanted}


def selected(entities: Entities, selection: Selection) -> bool:
    """Whether a scan with these entities is asked for; labels may come with or without their prefix."""
    wanted = {
        "sub": _labels(selection.participant_label, "sub-"),
        "ses": _labels(selection.session_label, "ses-"),
        "suffix": set(selection.suffix),
        "acq": _labels(selection.acquisition, "acq-"),
    }
    return all(not labels or entities.get(name) in labels for name, labels in wanted.items())


class _Sidecars:
    """The JSON files of a dataset by their folders; each is read once."""

    def __init__(self, root: str, paths: Sequence[str]) -> None:
        self._root = root
        self._folders: dict[str, list[tuple[str, Entities]]] = {}
        self._content: dict[str, Any] = {}
        for path in paths:
            if path.endswith(".json") and path != "dataset_description.json" and "suffix" in (said := _entities(path)):
                self._folders.setdefault(str(PurePosixPath(path).parent), []).append((path, said))

    def _read(self, path: str) -> Any:
        if path not in self._content:
            try:
                self._content[path] = files.read_json(files.join(self._root, path))
            except ValueError as error:
                remedy = "correct the JSON file"
                raise InputError("sidecar-unreadable", f"JSON in {files.name_of(path)}", str(error)[:80], remedy) from error
        return self._content[path]

    def of(self, path: str, entities: Entities) -> dict[str, Any]:
        """Metadata of a scan from all JSON files that apply to it, the nearest last."""
        beside = [one for parent in PurePosixPath(path).parents for one in self._folders.get(str(parent), [])]
        applies = [
            (one.count("/"), len(said), one)
            for one, said in beside
            if all(entities.get(name) == value for name, value in said.items() if name != "datatype")
        ]
        merged: dict[str, Any] = {}
        for _, _, one in sorted(applies):
            content = self._read(one)
            merged |= content if isinstance(content, dict) else {}
        return merged


def simulation(sidecar: dict[str, Any]) -> dict[str, Any]:
    """What a sidecar tells of a simulation by isovox, and nothing else of it; empty where it tells none."""
    own = sidecar.get("Isovox")
    told = {key: own[key] for key in ("Degradation", "Axis") if key in own} if isinstance(own, dict) else {}
    return {"Isovox": told} if "Degradation" in told else {}


def _is_candidate(path: str, entities: Entities, selection: Selection) -> bool:
    """Whether a file of a BIDS dataset is meant: intensities in anat/, or any suffix asked for; never our own results."""
    if not is_nifti(path) or not path.startswith("sub-") or entities.get("desc") == DESC:
        return False
    if not selection.suffix and (entities.get("datatype") != "anat" or entities.get("suffix") in NOT_SCANS):
        return False
    return selected(entities, selection)


def _from_bids(root: str, paths: Sequence[str], selection: Selection) -> Iterator[Source | Refused]:
    sidecars = _Sidecars(root, paths)
    for path in paths:
        entities = _entities(path)
        if not _is_candidate(path, entities, selection):
            continue
        uri, name = files.join(root, path), without_extension(files.name_of(path))
        try:
            _check_entities(path, entities)
            stem = derivative_stem(entities)
            sidecar = sidecars.of(path, entities)
        except InputError as error:
            yield _refuse(name, uri, error)
            continue
        known, made = allowed(sidecar), simulation(sidecar)
        yield Source(_key(stem), (uri,), "nifti", stem, _group(entities), path, entities, known, simulation=made)


def _key(stem: str) -> str:
    return files.name_of(stem).replace(f"_desc-{DESC}", "")


def _group(entities: Entities) -> str:
    return "_".join(f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities)


def _is_dicom(uri: str) -> bool:
    with files.open_uri(uri) as handle:
        return handle.read(132)[128:] == b"DICM"


def _dicom_folders(root: str, paths: Sequence[str]) -> list[str]:
    """Folders (relative; "" is the root) whose first file is DICOM."""
    first: dict[str, str] = {}
    for path in paths:
        extension = PurePosixPath(path).suffix.lower()
        named = extension in {"", ".dcm", ".ima"} or extension[1:].isdigit()
        if named and files.name_of(path).upper() != "DICOMDIR":
            first.setdefault(path.rpartition("/")[0], path)
    return [folder for folder, path in first.items() if _is_dicom(files.join(root, path))]


def _from_folder(root: str, paths: Sequence[str], selection: Selection) -> Iterator[Source | Refused]:
    found: list[tuple[str, Kind]] = [(path, "nifti") for path in paths if is_nifti(path)]
    found += [(folder, "dicom") for folder in _dicom_folders(root, paths)]
    for path, kind in sorted(found):
        inside = without_extension(path) or files.name_of(root)
        entities = {name: value for name, value in _entities(inside).items() if LABEL.fullmatch(value)}
        label_map = not selection.suffix and entities.get("suffix") in NOT_SCANS
        if label_map or entities.get("desc") == DESC or not selected(entities, selection):
            continue
        group = _group(entities) or safe_key(path.rpartition("/")[0] or files.name_of(root))
        uri = files.join(root, path)
        try:
            sidecar = _metadata(uri, kind)
        except InputError as error:
            yield _refuse(inside, uri, error)
            continue
        known, made = allowed(sidecar), simulation(sidecar)
        key, stem = safe_key(inside), plain_stem(inside)
        yield Source(key, (uri,), kind, stem, group, path or inside, entities, known, simulation=made)


def _metadata(uri: str, kind: Kind) -> dict[str, Any]:
    """Metadata of a DICOM series, or of the JSON file beside a scan, if there is one that can be read."""
    if kind == "dicom":
        return dicom.metadata(uri)
    try:
        content = files.read_json(without_extension(uri) + ".json")
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path or path.startswith("/") else files.join(folder, path)


def _row_entities(row: dict[str, str]) -> Entities:
    """Entities of a table's row: those of the file's name, and what the columns say above them."""
    said = _entities(without_extension(row["path"]))
    entities = {name: value for name, value in said.items() if LABEL.fullmatch(value)}
    columns = {"sub": row.get("participant_id", ""), "ses": row.get("session_id", ""), "suffix": row.get("suffix", "")}
    return entities | {name: value.removeprefix(f"{name}-") for name, value in columns.items() if value}


def _row(row: dict[str, str], folder: str) -> Source:
    uri = _absolute(row["path"], folder)
    name = without_extension(files.name_of(uri))
    near = uri == files.join(folder, row["path"]) and ".." not in row["path"].split("/")
    entities = _row_entities(row)
    for entity, value in entities.items():
        if not LABEL.fullmatch(value):
            code = "entity-unsafe" if ".." in value or "/" in value else "entity-invalid"
            column = {"sub": "participant_id", "ses": "session_id"}.get(entity, entity)
            raise InputError(code, "letters and digits", f"others in the column {column}", "correct the table")
    kind: Kind = "dicom" if not is_nifti(uri) and files.is_folder(uri) else "nifti"
    if {"sub", "suffix"} <= set(entities):
        stem = derivative_stem({"sub": entities["sub"], "datatype": "anat"} | entities)
        key = _key(stem)
    else:
        inside = without_extension(row["path"]).rstrip("/")
        stem, key = plain_stem(inside if near else name), safe_key(inside if near else name)
    relative = row["path"] if near else files.name_of(uri)
    reference = _absolute(row["reference"], folder) if row.get("reference") else None
    sidecar, group = _metadata(uri, kind), _group(entities) or key
    known, made = allowed(sidecar), simulation(sidecar)
    return Source(key, (uri,), kind, stem, group, relative, entities, known, reference, made)


def _row_or_refusal(row: dict[str, str], number: int, folder: str) -> Source | Refused:
    try:
        return _row(row, folder)
    except InputError as error:
        return _refuse(f"line-{number}", row["path"], error)


def _from_table(uri: str, selection: Selection) -> Iterator[Source | Refused]:
    lines = files.read_bytes(uri).decode("utf-8-sig").splitlines()
    reader = csv.DictReader(lines, delimiter="\t")
    if "path" not in (reader.fieldnames or []):
        got = f"{len(reader.fieldnames or [])} others"  # untold: a table without a first line of names begins with its data
        raise UsageError("table-columns", "a column 'path', separated by tabs", got, "name the column of the scans 'path'")
    for number, raw in enumerate(reader, start=2):
        row = {name: value.strip() for name, value in raw.items() if name and value and value.strip() not in {"", "n/a"}}
        if "path" not in row:
            error = InputError("path-missing", "a path", f"none in line {number}", "complete the table")
            yield _refuse(f"line-{number}", uri, error)
        elif selected(_row_entities(row), selection):
            yield _row_or_refusal(row, number, files.parent_of(uri))


def _without_duplicates(found: Sequence[Source | Refused]) -> Iterator[Source | Refused]:
    """Refuse all scans that would get the same name, rather than let one win."""
    names: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if isinstance(one, Source):
            for name in {one.key, one.stem}:
                names[name].append(one.uris[0])
    for one in found:
        if isinstance(one, Source) and (same := max(names[one.key], names[one.stem], key=len))[1:]:
            number = same.index(one.uris[0]) + 1
            got = f"{len(same)} scans that would all be {one.key}: {', '.join(map(files.name_of, same))}"
            error = InputError("entities-duplicate", "one scan for each set of entities", got, "rename or leave out all but one")
            yield Refused(f"{one.key}-duplicate{number}", one.uris[0], error.code, str(error))
        else:
            yield one


def is_bids(paths: Sequence[str]) -> bool:
    """Whether the files of a folder are those of a BIDS dataset."""
    inside = re.compile(r"sub-[^/]+/(ses-[^/]+/)?[a-z]+/sub-[^/]+")
    return "dataset_description.json" in paths or any(inside.fullmatch(path) and is_nifti(path) for path in paths)


def _found(uri: str, selection: Selection) -> Iterator[Source | Refused]:
    if not files.exists(uri):
        raise UsageError("input-missing", "a dataset, folder or table", f"nothing at {uri}", "check the path")
    if uri.endswith(".tsv"):
        return _from_table(uri, selection)
    if is_nifti(uri):
        return _from_folder(files.parent_of(uri), [files.name_of(uri)], selection)
    scans = [*files.listdir(uri), *files.walk(uri, "sub-")]  # never derivatives/ or sourcedata/, which may be huge
    if is_bids(scans):
        return _from_bids(uri, sorted(set(scans)), selection)
    return _from_folder(uri, [path for path in files.walk(uri) if ".zarr/" not in path], selection)


def discover(input_uri: str, selection: Selection | None = None) -> list[Source | Refused]:
    """Find the scans to restore, in the order of their keys.

    Args:
        input_uri: BIDS dataset, folder of NIfTI files and DICOM series, one NIfTI file, or table (.tsv); local or s3://.
        selection: participants, sessions, suffixes and acquisitions; by default all intensities (in BIDS, in anat/).

    Returns:
        the scans, and those refused by their name alone, with the reason.

    Raises:
        UsageError: there is nothing at ``input_uri``, it may not be read, nothing was selected, or a participant is not there.
    """
    selection = selection or Selection()
    try:
        found = list(_without_duplicates(list(_found(input_uri.rstrip("/"), selection))))
    except AccessError as error:
        raise UsageError("input-forbidden", error.wanted, error.got, error.remedy) from error
    except Exception as error:
        if not s3.is_forbidden(error):
            raise
        raise UsageError("input-forbidden", f"leave to read {input_uri}", str(error), "check its permissions") from error
    if not found:
        got = f"no scan in {input_uri} that fits the selection"
        raise UsageError("no-scans", "at least one scan", got, "check the path, the labels and the suffixes")
    there = {one.entities.get("sub") for one in found if isinstance(one, Source)}
    gone = _labels(selection.participant_label, "sub-") - there
    if gone and not any(isinstance(one, Refused) for one in found):
        raise UsageError(
            "participant-missing", "participants of the dataset", ", ".join(sorted(gone)), "check --participant-label"
        )
    return sorted(found, key=lambda one: one.key)
