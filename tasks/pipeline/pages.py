"""Report pages: each scan's on a worker, the cohort's in the flow."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from functools import partial

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import IsovoxError
from core.geometry.resample import Order, interpolate
from core.io import files
from core.io.output import Output
from tasks.pipeline.export import read_restored, versions
from tasks.report import CohortView, ScanView, cohort_page, niivue, scan_page, scan_picture, viewer_page
from tasks.restore.maps import path_of_map
from tasks.restore.work import Job, mended, path_of, read_plan, scans_of, steadily, store_of, timed

NEAREST: Order = 0


def _view(job: Job, scan: ScanPlan, record: ScanRecord) -> ScanView:
    consistency = store_of(job).read(path_of(job, scan, "consistency"))  # first, while there is room: reading takes some more
    restored = read_restored(job, scan)
    measured = restored.measured
    path = path_of(job, scan, "restored")
    up = posixpath.relpath(".", "reports")
    return ScanView(
        record=record,
        source=interpolate(measured.image, measured.grid, restored.target, NEAREST),
        cubic=restored.cubic,
        restored=restored.image,
        target=restored.target,
        consistency=consistency,
        measured_grid=measured.grid,
        maps={name: store_of(job).read(path_of_map(path, name)) for name in record.maps},
        links={"cohort": f"{up}/report.html", "viewer": f"{scan.key}_viewer.html", "image": f"{up}/{scan.stem}.nii.gz"},
        thresholds=read_plan(job.out, job.plan).settings.quality,
    )


def _report(job: Job, scan: ScanPlan) -> None:
    out = Output(job.out)
    record = out.read_record(scan.key)
    if record is None:
        raise IsovoxError("record-missing", f"the record of {scan.key}", "none", "run again")
    view = _view(job, scan, record)
    if not files.exists(out.viewer_script):
        files.write_atomic(out.viewer_script, niivue())
    files.write_atomic(out.picture(scan.key), scan_picture(view))
    files.write_atomic(out.viewer_page(scan.key), viewer_page(view).encode())
    files.write_atomic(out.scan_page(scan.key), scan_page(view).encode())  # last: with it the report counts as made


def report(job: Job) -> float:
    """Write the pages of the job's scans; seconds it took."""
    return timed(lambda: [mended(job, partial(steadily, job, partial(_report, job, scan))) for scan in scans_of(job)])


def write_cohort_page(out: Output, plan: CohortPlan, records: Sequence[ScanRecord], notes: Sequence[str] = ()) -> None:
    """Write the cohort's page: every planned scan with its state and reason, and what else is to be known."""
    settings = plan.settings.model_dump(mode="json", exclude={"input", "out", "reference", "tracking_uri"})
    links = {record.key: f"reports/{record.key}.html" for record in records if files.exists(out.scan_page(record.key))}
    view = CohortView(
        records=records,
        title=files.name_of(plan.settings.input),
        settings=settings,
        plan_digest=plan.digest,
        versions=versions(),
        links=links,
        notes=[*notes, *plan.files.lines()],
    )
    files.write_atomic(out.cohort_page, cohort_page(view).encode())
