"""What an earlier run wrote of a scan, and a later one takes away."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.io import files
from core.io.output import Output


def remove_former(out: Output, before: ScanRecord | None, kept: Collection[str], stems: Iterable[str]) -> None:
    """Remove what a scan's earlier record names, as it was written; nothing that another scan's name says.

    Args:
        out: output of the run.
        before: the earlier record; None where there is none.
        kept: paths that stay.
        stems: of the scans of the plan whose files stay.
    """
    others = set(stems)
    for path, digest in before.outputs.items() if before else ():
        if path in kept or path.partition(".")[0] in others or not files.exists(out.path(path)):
            continue
        if files.sha256(out.path(path)) == digest:
            files.remove(out.path(path))
            files.remove_empty(out.uri, path.rpartition("/")[0])


def write_failure(out: Output, plan: CohortPlan, record: ScanRecord) -> None:
    """Write the record of a scan that failed; what an earlier run made of other bytes, or by other settings, is gone.

    What was written of these very bytes and settings before the fault stays: ``isovox verify`` tells it.
    """
    before = out.read_record(record.key)
    if before is not None and before.digest != record.digest:
        with suppress(OSError):  # a storage that refuses this is why the scan failed, too
            remove_former(out, before, (), (scan.stem for scan in plan.scans if scan.key != record.key))
    out.write_record(record)


def left_by_failure(out: Output, scan: ScanPlan | None) -> bool:
    """Whether the restored image of a scan that failed lies in the output."""
    return scan is not None and files.exists(out.path(f"{scan.stem}.nii.gz"))
