"""The plan of a run, with what a user sees while its scans are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import counted

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from core.settings.run import RunSettings
    from flows.weights import Choice


def plan_run(settings: RunSettings, choice: Choice, doing: str = "looking at scans") -> CohortPlan:
    """Plan a run with weights that are chosen; a bar follows the scans, and the forecast is told. Nothing is written.

    Raises:
        UsageError, PlanError: as ``plan_cohort`` and ``check_plan``.
    """
    from flows.runs.paces import paces_here
    from flows.runs.progress import bars, note
    from infra.clusters import gpu_memory
    from tasks.course import spoken
    from tasks.pipeline.discover import check_plan, plan_cohort

    with bars(doing, {}) as tell:
        plan = plan_cohort(settings, choice.weights, choice.others, paces=paces_here(settings), tell=tell)
    check_plan(plan, gpu_memory(settings.compute))
    count = counted(len(plan.scans), "scan")
    note(f"{count} planned: {spoken(plan.forecast.seconds)} by the forecast")
    return plan
