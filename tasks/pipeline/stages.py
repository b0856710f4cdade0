"""The Prefect tasks: one run a stage and batch of scans, in the flow's own process; the work goes to the pool of the run."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator, Sequence
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from core.engine.records import ScanRecord
from core.errors import listed
from core.io import files
from tasks.course import Course, Standing
from tasks.events import Event, Reached, Tell
from tasks.pipeline import export, pages
from tasks.pipeline.changes import SHOWN, Changes
from tasks.pipeline.context import RUNS, RunContext
from tasks.pipeline.results import row
from tasks.restore import work

Groups = list[list[str]]
ENDED = "the run was ended meanwhile: the next one goes on from what is finished"

_log = logging.getLogger(__name__)


@task(name="ingest", cache_policy=NO_CACHE)
def ingest_scans(plan: str, groups: Groups) -> Groups:
    """NIfTI or DICOM into the store; the groups that came through the gate."""
    return RUNS[plan].stage("ingest", work.ingest, groups)


@task(name="restore", cache_policy=NO_CACHE)
def restore_scans(plan: str, groups: Groups) -> Groups:
    """Measured to restored, in the store; the groups that came through."""
    return RUNS[plan].restore(groups)


@task(name="export", cache_policy=NO_CACHE)
def export_scans(plan: str, groups: Groups) -> Groups:
    """Quality, NIfTI, sidecars and records; the groups that came through."""
    return RUNS[plan].stage("export", export.export, groups)


@task(name="report", cache_policy=NO_CACHE)
def report_scans(plan: str, groups: Groups) -> Groups:
    """Pages and pictures; the groups that came through."""
    context = RUNS[plan]
    through = context.stage("report", pages.report, groups)
    for record in _told(context, through):
        key = record.key
        picture = base64.b64encode(files.read_bytes(context.out.picture(key))).decode()
        create_image_artifact(
            f"data:image/jpeg;base64,{picture}", key=f"scan-{slug(key)}", description=f"{key}: before and after"
        )
    return through


@task(name="register", cache_policy=NO_CACHE)
def register_scans(plan: str, groups: Groups) -> None:
    """Tell MLflow of the scans' outcomes."""
    context = RUNS[plan]
    for record in _told(context, groups):
        context.tracker.scan(record, [context.out.scan_page(record.key), context.out.picture(record.key)])


def _told(context: RunContext, groups: Groups) -> Iterator[ScanRecord]:
    """Records of the scans that MLflow and Prefect hear of one by one."""
    records = (context.out.read_record(key) for keys in groups for key in keys)
    return (record for record in records if record is not None and context.tells(record))


@task(name="batch", task_run_name="{name}", cache_policy=NO_CACHE)
def process_batch(plan: str, name: str, groups: Groups) -> State | None:  # noqa: ARG001 - the name is the task run's
    """All stages of a batch of scans: a large scan alone, or small ones together; none after the end of a cancelled run."""
    through = groups
    for stage in (ingest_scans, restore_scans, export_scans, report_scans):
        if plan in RUNS and through:
            through = stage(plan, through)
    if plan not in RUNS:
        return Cancelled(message=ENDED)
    register_scans(plan, groups)
    RUNS[plan].end(groups)
    return None


def start_progress() -> UUID:
    """The progress bar on the flow run's page."""
    made = create_progress_artifact(0.0, key="progress", description="restoring")
    assert isinstance(made, UUID)  # noqa: S101 - outside an event loop the identifier itself comes back
    return made


def show_progress(progress: UUID, standing: Standing) -> None:
    """Move the bar of ``start_progress``."""
    _move(progress, standing.per_cent, standing.line())


def end_progress(progress: UUID, states: dict[str, int]) -> None:
    """Leave the bar of ``start_progress`` full, with what became of the scans: those that failed have no tiles to be counted."""
    _move(progress, 100.0, f"ended: {', '.join(f'{n} {state}' for state, n in states.items() if n)}")


def _move(progress: UUID, per_cent: float, text: str) -> None:
    """A server that does not take it stops no restoration."""
    try:
        update_progress_artifact(progress, progress=per_cent, description=text)
    except Exception as error:  # noqa: BLE001 - whatever ails the server, the next batch of scans will meet it
        _log.warning("the progress of the run cannot be shown: %s", error)


def with_bar(tell: Tell, progress: UUID, course: Course) -> Tell:
    """What hears of a run's work, and moves the bar of ``start_progress`` with it, with what a terminal says."""

    def hear(event: Event) -> None:
        tell(event)
        course.hear(event)
        if isinstance(event, Reached):
            show_progress(progress, course.standing())

    return hear


def tell_table(plan: str, records: Sequence[ScanRecord]) -> None:
    """The cohort's table on the flow run's page; of a large cohort, the scans to be looked at."""
    rows = [row(record) for record in records if RUNS[plan].tells(record)]
    which = "every planned scan" if len(rows) == len(records) else f"{len(rows)} scans to look at, of {len(records)}"
    create_table_artifact(rows, key="cohort", description=f"{which}, with state and figures; all are in the cohort's report")


def tell_summary(plan: str, changes: Changes, states: dict[str, int]) -> None:
    """What the run found and did, with the address of the report where a server shows it."""
    context = RUNS[plan]
    page = context.tracker.page("report.html")
    lines = [f"**Scans in the input:** {changes.counts()}", f"**Outcome:** {', '.join(f'{n} {s}' for s, n in states.items())}"]
    lines += [
        f"**{kind.capitalize()}:** {listed(getattr(changes, kind), SHOWN)}"
        for kind in ("new", "changed")
        if getattr(changes, kind)
    ]
    lines += [f"**Note:** {note}" for note in changes.notes()]
    lines.append(f"**Report:** [report.html]({page})" if page else f"**Report:** `{context.out.cohort_page}`")
    create_markdown_artifact("\n\n".join(lines), key="summary", description="what was new, changed or gone, and what came of it")
    if page:
        create_link_artifact(page, "report of the cohort", key="report", description="every scan, and how far it can be trusted")


def slug(key: str) -> str:
    """A key as Prefect takes it: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
