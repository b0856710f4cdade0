"""How thick the slices of scans are of which nobody tells it: by their voxels, read once for the same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from core.engine.plan import ScanPlan
from core.errors import InputError, counted
from core.geometry.grid import Grid
from core.io import readers
from core.io.bids import Source
from core.io.validation import Trust
from core.operators.profile import gap_in_words
from core.operators.sidecar import at_odds, is_told, overlap
from core.operators.width import REVISION, SliceWidth, can_tell, slice_width
from core.settings.run import RunSettings
from core.settings.scans import AcquisitionSettings
from tasks.pipeline.earlier import as_planned

SHEARED = 1.0  # degrees


def width_of(source: Source, grid: Grid, sha256: str, settings: RunSettings) -> SliceWidth | None:
    """The width of a scan's slices, in mm; None where someone tells it, or its voxels cannot.

    What an earlier run into the same output read from the same bytes is taken from its plan.

    Args:
        source: the scan.
        grid: its canonical one.
        sha256: of its bytes.
        settings: of the run.
    """
    if not can_tell(grid) or is_told(source.sidecar | source.simulation, settings.slices, grid):
        return None
    widths = (scan.width for scan in as_planned(sha256, settings))
    known = next((width for width in widths if width and width.revision == REVISION), None)
    return known or _measured(sha256, source.kind, source.uris, settings.trust)


@lru_cache(maxsize=4096)
def _measured(sha256: str, kind: str, uris: tuple[str, ...], trust: Trust | None) -> SliceWidth | None:  # noqa: ARG001
    """The width by the voxels; None for a scan that the gate will refuse."""
    try:
        image, grid, _ = readers.load(kind, uris, trust)
    except InputError:
        return None
    return slice_width(image, grid)


def notes(scans: Sequence[ScanPlan], said: AcquisitionSettings) -> tuple[str, ...]:
    """What a plan says of how large voxels and how thick slices are: by headers at odds with themselves, by voxels, by sidecars.

    Args:
        scans: of the plan.
        said: of their slices by the user.
    """
    overlaps = _alike({scan.key: overlap_of(scan, said) for scan in scans})
    odds = _alike({scan.key: at_odds(scan.metadata, scan.source_grid, said) for scan in scans})
    doubts = _alike({scan.key: scan.doubt for scan in scans})
    return (
        *(f"the header of {whose} {how}" for how, whose in doubts.items()),
        *(f"axes of {whose} {how}" for how, whose in _alike({scan.key: _sheared(scan.source_grid) for scan in scans}).items()),
        *_read(scans),
        *(f"slices of {whose} overlap: {how}" for how, whose in overlaps.items()),
        *(f"slices of {whose} are {how}" for how, whose in odds.items()),
    )


def _sheared(grid: Grid) -> str:
    """By how many degrees axes are off a right angle, as slices of a tilted gantry lie, in words; "" of less than one."""
    directions = grid.affine[:3, :3] / np.array(grid.spacing)
    angle = float(np.degrees(np.arcsin(min(np.abs(np.triu(directions.T @ directions, 1)).max(), 1.0))))
    said = f"are {angle:.1f} degrees off a right angle, and so are those of what is restored, told by its sform alone"
    return said if angle >= SHEARED else ""


def overlap_of(scan: ScanPlan, said: AcquisitionSettings) -> str:
    """What a scan's slices are taken as where they are thicker than they are apart, in words; else empty."""
    return overlap(scan.metadata, scan.source_grid, said, scan.width)


def _alike(words: Mapping[str, str]) -> dict[str, str]:
    """Whose slices are told of in the same words: the one scan, or how many; of words by scan, empty of those not told of."""
    alike: dict[str, list[str]] = defaultdict(list)
    for key, how in words.items():
        if how:
            alike[how].append(key)
    return {how: keys[0] if len(keys) == 1 else f"{len(keys)} scans" for how, keys in alike.items()}


def _read(scans: Sequence[ScanPlan]) -> tuple[str, ...]:
    """How many widths were read from voxels, and each scan whose slices have gaps by it."""
    seen = [scan for scan in scans if scan.width is not None]
    if not seen:
        return ()
    number = counted(len(seen), "scan")
    unknown = f"nobody tells how thick the slices of {number} are: read from the voxels, with 90 % intervals"
    gaps = [scan for scan in seen if scan.forward.slices[1] > 0]
    thick = [(scan.key, scan.width.describe(), scan.forward.slices[1]) for scan in gaps if scan.width]
    return (
        unknown,
        *(f"slices of {key} look {width} thick, and are taken as with {gap_in_words(gap)}" for key, width, gap in thick),
    )
