"""A run of the main job from this process, with a Prefect server at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from core.engine.records import ScanRecord
    from core.io.output import Output


def is_finished(out: Output, plan: CohortPlan) -> bool:
    """Whether a run of this plan came to its very end, and its plan and the cohort's page are whole."""
    from core.io import files

    try:
        same = files.read_json(out.plan).get("digest") == plan.digest
    except (FileNotFoundError, ValueError):
        return False
    return same and was_counted(out, plan) and bool(out.page_whole(out.cohort_page))


def run_flow(plan: CohortPlan) -> list[ScanRecord]:
    """Run the flow with a Prefect server at hand; the records of all planned scans, as this run's table shows them."""
    from contextlib import ExitStack

    from core.io import files
    from core.io.output import Output
    from infra.processes.signals import terminable
    from infra.services import local_state, prefect_server
    from tasks.pipeline.results import verified_records, with_skipped

    out = Output(plan.settings.out)
    with ExitStack() as stack:
        stack.enter_context(terminable())
        stack.enter_context(prefect_server(local_state(out.uri)))
        from flows.reprocess import reprocess_cohort, with_plan

        with with_plan(plan):
            state = reprocess_cohort(plan.settings, return_state=True)
        if state.is_crashed() or (state.is_failed() and not was_counted(out, plan)):
            error = state.result(raise_on_failure=False)
            raise error if isinstance(error, Exception) else RuntimeError(state.message)
    ending = files.read_json(out.ending)
    return with_skipped(verified_records(out, plan), ending["skipped"])


def was_counted(out: Output, plan: CohortPlan) -> bool:
    """Whether the run came to its end and counted its scans."""
    from core.io import files

    try:
        return bool(files.read_json(out.ending)["plan"] == plan.digest)
    except (FileNotFoundError, ValueError, KeyError):
        return False
