"""What came of a run, re-read from what is on disk: each planned scan in exactly one state, and the table of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import IsovoxError, fault
from core.io import files
from core.io.lock import owner
from core.io.output import Output

UNFINISHED = "not-finished"  # the code of a scan that no run has come to


def _verified(out: Output, plan: CohortPlan, scan: ScanPlan) -> ScanRecord:
    """A scan's record, failed where its files are not whole or where there is none."""
    record = out.read_record(scan.key)
    lost = ScanRecord(key=scan.key, state="failed", digest=scan.digest, plan_digest=plan.digest, method=plan.way(scan).method)
    if record is None or (record.digest != scan.digest and record.state != "failed"):
        return lost.model_copy(update={"code": UNFINISHED, "reason": "not-finished: the run ended before this scan. Run again."})
    if record.state == "failed" or out.outputs_whole(record):
        return record
    missing = ", ".join(path for path in record.outputs)
    reason = (
        f"output-missing: {fault(f'{missing} with the recorded bytes', 'other bytes or no file')}. Run again to make them anew."
    )
    return lost.model_copy(update={"code": "output-missing", "reason": reason})


def verified_records(out: Output, plan: CohortPlan) -> list[ScanRecord]:
    """A record of each planned scan, checked against the files; in the order of the keys.

    Raises:
        IsovoxError: the states do not add up to what was planned.
    """
    refused = [
        ScanRecord(key=refusal.key, state="failed", code=refusal.code, reason=refusal.reason, plan_digest=plan.digest)
        for refusal in plan.refused
    ]
    records = sorted([_verified(out, plan, scan) for scan in plan.scans] + refused, key=lambda record: record.key)
    if len({record.key for record in records}) != plan.planned:
        got = f"{len({record.key for record in records})} distinct ones"
        raise IsovoxError("count", f"{plan.planned} records", got, "report it: two scans share a key")
    return records


def with_skipped(records: list[ScanRecord], skipped: Collection[str]) -> list[ScanRecord]:
    """The records as this run's table shows them: what was already done is skipped."""
    return [
        record.model_copy(update={"state": "skipped", "reason": _before(record)})
        if record.key in skipped and record.state != "failed"
        else record
        for record in records
    ]


def _before(record: ScanRecord) -> str:
    return f"flagged before: {record.reason}" if record.state == "flagged" else "done before"


def counts(records: list[ScanRecord]) -> dict[str, int]:
    """How many scans are in each state."""
    by_state = Counter(record.state for record in records)
    return {state: by_state[state] for state in ("done", "skipped", "flagged", "failed")}


def progress_of(out: Output, plan: CohortPlan, records: Sequence[ScanRecord]) -> dict[str, str]:
    """How scans stand to which no run has come yet, by key: waiting, running or interrupted; read from what lies on disk.

    Args:
        out: of a run.
        plan: of that run.
        records: as ``verified_records`` gives them.
    """
    open_keys = [record.key for record in records if record.code == UNFINISHED]
    if open_keys and owner(out.lock):
        begun = set(files.listdir(out.store))
        return {key: "running" if key in begun else "waiting" for key in open_keys}
    try:
        ended = files.read_json(out.ending).get("plan") == plan.digest
    except (FileNotFoundError, ValueError):
        ended = False
    return dict.fromkeys(open_keys, "waiting" if ended else "interrupted")


REASONS = {
    "running": "a run works on it",
    "waiting": "the next run makes it",
    "interrupted": "the run ended before this scan; the same command goes on",
}


def row(record: ScanRecord) -> dict[str, Any]:
    """A record as a line of a table: figures that are not known are left out as None."""
    return {
        "scan": record.key,
        "method": record.method,
        "psnr": record.metrics.get("psnr"),
        "ssim": record.metrics.get("ssim"),
        "consistency": record.quality.get("consistency"),
        "state": record.state,
        "seconds": round(sum(record.seconds.values()), 1) if record.seconds else None,
        "reason": record.reason,
    }
