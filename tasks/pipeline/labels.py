"""Masks and labels beside scans: which scan they belong to, and how they come onto its restored grid."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from core.engine.plan import LabelImage, ScanPlan
from core.engine.quality import Problem
from core.errors import InputError, UsageError
from core.geometry.grid import Array, Grid
from core.io import files, nifti, readers
from core.io.arrays.slabs import StoredAs
from core.io.derivatives import DESC, bids_stem
from core.io.inventory.ledger import Ledger
from core.io.name_words import words_of
from core.io.names import entities_of, is_one_file, without_extension
from core.io.output import Output
from core.io.plain_names import camel, hex_of
from core.io.unchanged import check_unchanged
from core.labels import carried
from core.settings.run import RunSettings

Trust = Literal["sform", "qform"] | None
SEGMENTED = re.compile(r"seg|labels?$|aparc|parc|atlas")  # words of maps of several labels, not masks
LEFT_OUT = "label-left-out"  # the code of a flag
LONGEST_NAME = 255  # bytes of a file's name
SAME = 1e-2  # mm by which a voxel's place may differ on the same grid


def _stem(path: str, owner: ScanPlan, taken: Collection[str]) -> str:
    """Path of a carried label image in the output, without extension, that no other has.

    Its own name where that is BIDS, else after its scan; where it is taken, with the scan's contrast, or else a few hex digits.
    """
    contrast, digits = owner.stem.rpartition("_")[2], hex_of(path)
    stems = (_named(path, owner, apart) for apart in ("", contrast, digits))
    return next((stem for stem in stems if stem.casefold() not in taken), _named(path, owner, digits))


def _named(path: str, owner: ScanPlan, apart: str) -> str:
    """The same by what tells it from others, which may be empty."""
    entities = entities_of(path)
    if {"sub", "suffix", "datatype"} <= set(entities):
        person = owner.stem.partition("/")[0].removeprefix("sub-")  # another than its own where two datasets have that label
        same = {"sub": person} if owner.entities.get("sub") == entities["sub"] else {}
        return bids_stem(entities | same | {"desc": entities.get("desc", "") + apart + DESC})
    words = words_of(without_extension(files.name_of(path)))
    suffix = "dseg" if any(SEGMENTED.search(word.lower()) for word in words) else "mask"
    before = owner.stem.partition(f"_desc-{DESC}")[0]
    return f"{before}_desc-{camel(words)}{apart}{DESC.capitalize()}_{suffix}"


def grid_of(uri: str, trust: Trust) -> Grid | None:
    """The canonical grid of an image; None where it cannot be read."""
    try:
        image = readers.image_at(uri)
        return readers.header(image.kind, image.uris, trust).grid
    except (InputError, OSError):
        return None


def is_on(there: Grid, grid: Grid | None) -> bool:
    """Whether a grid is that of a scan."""
    return grid is not None and grid.shape == there.shape and np.allclose(grid.affine, there.affine, atol=SAME)


def _taken_by_others(out: Output, planned: Collection[str]) -> set[str]:
    """Paths without extension that runs over other scans wrote; two of a person may have a mask of one name in a folder each."""
    others = (record for record in out.records() if record.key not in planned)
    return {path.partition(".")[0].casefold() for record in others for path in record.outputs}


def with_labels(scans: Sequence[ScanPlan], refused: Collection[str], ledger: Ledger, settings: RunSettings) -> list[ScanPlan]:
    """The scans with the masks and labels that lie in their folders on their grids; the ledger tells that they are carried.

    Args:
        scans: planned.
        refused: keys of those that are not restored.
        ledger: of the input.
        settings: of the run.

    Raises:
        UsageError: labels-of-table.
    """
    if settings.input.lower().endswith(".tsv"):
        remedy = "name the folder or dataset in which they lie beside their scans, or leave out --carry-labels"
        raise UsageError("labels-of-table", "masks and labels beside the scans of a folder or dataset", "a table", remedy)
    folders: dict[str, list[ScanPlan]] = defaultdict(list)
    for scan in scans:
        folders[scan.relative.rpartition("/")[0]].append(scan)
    labels: dict[str, list[LabelImage]] = defaultdict(list)
    taken = _taken_by_others(Output(settings.out), {*refused, *(scan.key for scan in scans)})
    for path in sorted(path for path, kind in ledger.left.items() if kind in {"mask", "beside"} and is_one_file(path)):
        beside = folders.get(path.rpartition("/")[0], [])
        uri = files.join(settings.input, path)
        grid = grid_of(uri, settings.trust) if beside else None
        if owner := next((scan for scan in beside if is_on(scan.source_grid, grid)), None):
            stem = _stem(path, owner, taken)
            taken.add(stem.casefold())
            labels[owner.key].append(LabelImage(uri=uri, stem=stem, sha256=files.sha256(uri)))
            ledger.left[path] = "carried"
    there = sum(kind in {"mask", "beside", "carried"} for kind in ledger.left.values())
    ledger.filters = [*ledger.filters, f"--carry-labels: {sum(map(len, labels.values()))} of {there} masks and labels carried"]
    return [scan.model_copy(update={"labels": tuple(labels[scan.key])}) if scan.key in labels else scan for scan in scans]


def write_labels(out: Output, scan: ScanPlan, trust: Trust, stored: StoredAs) -> tuple[dict[str, str], list[Problem]]:
    """Write a scan's masks and labels on its restored grid.

    Returns:
        paths and sha256 of what was written; and a flag for each that could not be read and was left out.
    """
    written: dict[str, str] = {}
    problems: list[Problem] = []
    for label in scan.labels:
        path = f"{label.stem}.nii.gz"
        try:
            _check_name(files.name_of(path))
            image = carried(*_read(label, trust), scan.target_grid)
        except InputError as error:
            problems.append((LEFT_OUT, f"{LEFT_OUT}: {files.name_of(label.uri)} was not carried: {error}"))
        else:
            written[path] = nifti.save(out.path(path), image, scan.target_grid, stored)
    return written, problems


def _check_name(name: str) -> None:
    """Refuse a mask or labels whose carried image file systems could not name.

    Raises:
        InputError: name-too-long.
    """
    if (size := len(name.encode(errors="surrogateescape"))) > LONGEST_NAME:
        wanted = f"a name of at most {LONGEST_NAME} bytes for the carried image"
        raise InputError("name-too-long", wanted, f"{size}: {name[:40]}…", "shorten the name of the mask or labels")


def _read(label: LabelImage, trust: Trust) -> tuple[Array, Grid]:
    """A mask or labels as they were planned.

    Raises:
        InputError: input-changed, input-gone, or what is wrong with the image.
    """
    check_unchanged([label.uri], label.sha256)
    image, grid, _ = readers.load_labels(label.uri, trust)
    return image, grid
