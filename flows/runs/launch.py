"""A run of the main job from this process, with a Prefect server at hand."""

from __future__ import annotations

from collections.abc import Callable
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


def was_begun(out: Output) -> bool:
    """Whether a run has written its plan there."""
    from core.io import files

    return files.exists(out.plan)


def run_flow(plan: CohortPlan) -> list[ScanRecord]:
    """Run the flow with a Prefect server at hand; the records of all planned scans, as this run's table shows them."""
    from core.io.output import Output

    return run_beside(Output(plan.settings.out), lambda: plan)[1]


def run_beside(out: Output, make: Callable[[], CohortPlan]) -> tuple[CohortPlan, list[ScanRecord]]:
    """Plan while the Prefect server starts, and run.

    Args:
        out: of the run.
        make: plans; it is called in another thread.

    Returns:
        the plan, and the records of all planned scans, as this run's table shows them.

    Raises:
        What ``make`` raises.
    """
    from flows.runs.beside import served

    return served(out.uri, make, lambda plan: (plan, _run(out, plan)), "flows.reprocess")


def _run(out: Output, plan: CohortPlan) -> list[ScanRecord]:
    """Run the flow, the server being there."""
    from core.io import files
    from flows.reprocess import reprocess_cohort, with_plans
    from tasks.pipeline.results import verified_records, with_skipped

    with with_plans([plan]):
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
