"""What earlier calls harmonised and this one would not is taken away: scans rejected or broken since, and all of another model.

So are maps of another fit: all of them where this call makes none.

Whoever trains on the folder must not meet scans of two models, or such as somebody rejected. What an earlier call made of other
scans by the very model stays: next month's scans may come beside last month's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.engine.records import ScanRecord
from core.io import files
from core.io.output import Output
from tasks.harmonize import work
from tasks.harmonize.maps import COMBAT, SPACE, map_of
from tasks.harmonize.tables import Member

DESCS = (work.LABEL, COMBAT)
OURS = tuple(f"{SPACE}{desc}_" for desc in DESCS)  # in the name of each map and of its sidecar


def take_away(out: str, members: Sequence[Member], asked: Collection[str], mapped: Sequence[Member] | None = None) -> list[str]:
    """Remove harmonised scans that were asked for and are not among these, or made by another model, their records and maps.

    Args:
        out: output folder or s3:// prefix.
        members: scans that this call harmonised.
        asked: names of the scans that it was to harmonise; nothing stays of those that did not come through, for whatever reason.
        mapped: the scans that maps may be of; None: any, for what makes them is given. Others were made by another fit.

    Returns:
        names of the scans.
    """
    kept, models = {member.piece.name for member in members}, {member.piece.model for member in members}
    names = []
    for site in files.listdir(files.join(out, work.LABEL)):
        folder = Output(files.join(out, work.LABEL, site))
        former = [
            record
            for record in folder.records()
            if record.outputs
            and (name := f"{site}/{record.key}") not in kept
            and (name in asked or (models and record.provenance.get("Model") not in models))
        ]
        for record in former:
            _remove(folder, record)
        if former:
            work.write_persons(out, site)
        names += [f"{site}/{record.key}" for record in former]
    _remove_maps(out, None if mapped is None else {_stem(map_of(member.piece, desc)) for member in mapped for desc in DESCS})
    return names


def _remove(folder: Output, record: ScanRecord) -> None:
    """The record last: whatever stops this, the next call finds it."""
    for path in record.outputs:
        files.remove(folder.path(path))
        files.remove_empty(folder.uri, path.rpartition("/")[0])
    files.remove(folder.record(record.key))


def _remove_maps(out: str, kept: Collection[str] | None) -> None:
    """Maps of scans that are not there, or are not among those that are kept."""
    for path in files.walk(files.join(out, "maps")):
        stem = scan = _stem(path)
        for ours in OURS:
            scan = scan.replace(ours, f"desc-{work.LABEL}_")
        there = files.exists(files.join(out, work.LABEL, f"{scan}.nii.gz"))
        wanted = kept is None or files.join(out, "maps", stem) in kept
        if any(name in path for name in OURS) and not (there and wanted):
            files.remove(files.join(out, "maps", path))
            files.remove_empty(files.join(out, "maps"), path.rpartition("/")[0])


def _stem(path: str) -> str:
    return path.removesuffix(".gz").rpartition(".")[0]
