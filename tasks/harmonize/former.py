"""What earlier calls harmonised and this one did not is taken away: scans rejected or withdrawn since, or of a site not named.

What it was mapped by is another model, or its person does not want it there: whoever trains on the folder must not meet it.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.engine.records import ScanRecord
from core.io import files
from core.io.output import Output
from tasks.harmonize import work
from tasks.harmonize.maps import COMBAT, SPACE, map_of
from tasks.harmonize.tables import Member

OURS = tuple(f"{SPACE}{desc}_" for desc in (work.LABEL, COMBAT))  # in the name of each map and of its sidecar


def take_away(out: str, members: Sequence[Member]) -> list[str]:
    """Remove harmonised scans, their records and maps, of all but these; names of the scans.

    Args:
        out: output folder or s3:// prefix.
        members: scans that this call harmonised.
    """
    kept = {member.piece.name for member in members}
    names = []
    for site in files.listdir(files.join(out, work.LABEL)):
        folder = Output(files.join(out, work.LABEL, site))
        former = [record for record in folder.records() if record.outputs and f"{site}/{record.key}" not in kept]
        for record in former:
            _remove(folder, record)
        if former:
            work.write_persons(out, site)
        names += [f"{site}/{record.key}" for record in former]
    _remove_maps(out, members)
    return names


def _remove(folder: Output, record: ScanRecord) -> None:
    """The record last: whatever stops this, the next call finds it."""
    for path in record.outputs:
        files.remove(folder.path(path))
        files.remove_empty(folder.uri, path.rpartition("/")[0])
    files.remove(folder.record(record.key))


def _remove_maps(out: str, members: Sequence[Member]) -> None:
    images = {map_of(member.piece, desc) for member in members for desc in (work.LABEL, COMBAT)}
    kept = images | {path.replace(".nii.gz", ".json") for path in images}
    for path in files.walk(files.join(out, "maps")):
        if any(name in path for name in OURS) and (uri := files.join(out, "maps", path)) not in kept:
            files.remove(uri)
            files.remove_empty(files.join(out, "maps"), path.rpartition("/")[0])
