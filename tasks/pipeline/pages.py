"""Report pages: each scan's on a worker, the cohort's in the flow."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import IsovoxError, UsageError
from core.geometry.resample import Order, interpolate
from core.io import files, participants
from core.io.output import Output
from tasks.pipeline.export import read_restored, versions
from tasks.pipeline.results import REASONS
from tasks.report import CohortView, ScanView, cohort_page, niivue, scan_page, scan_picture, thumbnail, viewer_of
from tasks.report.citation import citation
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
    files.write_atomic(out.thumbnail(scan.key), thumbnail(view))
    viewer = viewer_of(view)
    for name, script in viewer.scripts.items():
        files.write_atomic(out.volume(scan.key, name), script.encode())
    files.write_atomic(out.viewer_page(scan.key), viewer.page.encode())
    files.write_atomic(out.scan_page(scan.key), scan_page(view).encode())  # last: with it the report counts as made


def report(job: Job) -> float:
    """Write the pages of the job's scans; seconds it took."""
    return timed(lambda: [mended(job, partial(steadily, job, partial(_report, job, scan))) for scan in scans_of(job)])


def _sites(plan: CohortPlan) -> dict[str, str]:
    """The sites of the persons, as far as they are known."""
    try:
        people = participants.people(plan.settings.input, ("site",))
    except (UsageError, OSError):  # of an input that is gone or that has another table; its scans are restored all the same
        return {}
    return {name: str(known["site"]) for name, known in people.items() if known.get("site") is not None}


def _facts(plan: CohortPlan) -> dict[str, dict[str, str]]:
    """The contrast of each scan and the site of its person, where they are known."""
    sites = _sites(plan)
    facts = {}
    for scan in plan.scans:
        known = {"contrast": scan.named.get("suffix", ""), "site": sites.get(scan.participant, "")}
        facts[scan.key] = {name: value for name, value in known.items() if value}
    return facts


def _as_it_stands(record: ScanRecord, standing: str | None) -> ScanRecord:
    """A record with the reason why its scan is not finished, where it is not."""
    return record if standing is None else record.model_copy(update={"reason": REASONS[standing]})


def write_cohort_page(
    out: Output,
    plan: CohortPlan,
    records: Sequence[ScanRecord],
    notes: Sequence[str] = (),
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the cohort's page: every planned scan with its state and reason, and what else is to be known.

    Args:
        out: where it goes.
        plan: of the run.
        records: of all planned scans.
        notes: what is to be known beside these.
        unfinished: how scans stand to which no run has come yet, by key.
    """
    records = [_as_it_stands(record, unfinished.get(record.key)) for record in records]
    settings = plan.settings.model_dump(mode="json", exclude={"input", "out", "reference", "tracking_uri"})
    links = {record.key: f"reports/{record.key}.html" for record in records if files.exists(out.scan_page(record.key))}
    view = CohortView(
        records=records,
        title=files.name_of(plan.settings.input),
        settings=settings,
        plan_digest=plan.digest,
        versions=versions(),
        links=links,
        viewers={key: f"reports/{key}_viewer.html" for key in links},
        thumbnails={key: f"reports/{key}/thumbnail.webp" for key in links},
        facts=_facts(plan),
        notes=[*notes, *plan.notes, *plan.files.lines()],
        citation=(words := citation(plan, records, versions(), len(unfinished))),
        unfinished=unfinished,
    )
    files.write_atomic(out.citation, words.markdown().encode())
    files.write_atomic(out.scan_list, f"isovox.scans({json.dumps(list(links))});\n".encode())
    files.write_atomic(out.cohort_page, cohort_page(view).encode())
