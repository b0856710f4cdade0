"""The main job: a cohort in, isotropic volumes out, each with how far it can be trusted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.io import derivatives, files
from core.io.arrays.store import remove_partials
from core.io.claim import mark
from core.io.lock import cohort_lock
from core.io.output import Output
from core.io.participants import write_people
from core.settings.run import RunSettings
from flows.crashed_runs import remembered
from flows.runs.address import tell_addresses
from flows.runs.ending import with_failed
from flows.runs.group import with_group
from flows.runs.names import flow_run_name, run_name
from flows.runs.paces import learn
from flows.runs.planning import plan_run
from flows.runs.progress import bars, note, waiting
from flows.weights import Choice, choose_weights
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from infra.services import local_state
from tasks.course import Course
from tasks.pipeline import stages
from tasks.pipeline.changes import Changes, changes_of, note_removed, nothing_new, seen_now
from tasks.pipeline.context import RunContext, run_context
from tasks.pipeline.discover import unfinished
from tasks.pipeline.pages import write_cohort_page
from tasks.pipeline.results import counts, verified_records, with_skipped
from tasks.tracking.tracker import CohortTracker

BATCH_VOXELS = 2**22  # restored voxels that share a task run; a head at 1 mm is twice that and has its own
BATCH_SCANS = 64
_PLANS: ContextVar[tuple[CohortPlan, ...]] = ContextVar("plans", default=())


def batches(groups: Sequence[tuple[ScanPlan, ...]]) -> Iterator[list[list[str]]]:
    """The groups of scans in batches: a large scan alone, small ones together."""
    batch: list[list[str]] = []
    voxels = 0
    for group in groups:
        size = sum(math.prod(scan.target_grid.shape) for scan in group)
        if batch and (voxels + size > BATCH_VOXELS or len(batch) == BATCH_SCANS):
            yield batch
            batch, voxels = [], 0
        batch.append([scan.key for scan in group])
        voxels += size
    if batch:
        yield batch


def _work(context: RunContext, todo: set[str]) -> None:
    """Send the batches, a few at a time."""
    groups = [group for group in context.plan.groups() if any(scan.key in todo for scan in group)]
    context.expect(scan for group in groups for scan in group)
    flying: deque[PrefectFuture[State | None]] = deque()
    for number, batch in enumerate(batches(groups)):
        name = batch[0][0] if len(batch) == 1 else f"batch-{number}"
        flying.append(stages.process_batch.submit(context.plan.digest, name, batch))
        if len(flying) > 2 * context.plan.settings.compute.workers:
            flying.popleft().result()
    for future in flying:
        future.result()


def _pieces(plan: CohortPlan, todo: set[str]) -> dict[str, int]:
    """How many tiles and steps there are to do; scans that are restored together share theirs."""
    totals = {"tiles": 0, "steps": 0}
    for unit, count in (group[0].pieces for group in plan.groups() if any(scan.key in todo for scan in group)):
        totals[unit] += count
    return totals


def _close(context: RunContext, skipped: set[str], changes: Changes) -> list[ScanRecord]:
    """Count again from what is on disk, and write the cohort's page."""
    context.write_failures()
    note_removed(context.out, changes.removed)
    records = verified_records(context.out, context.plan)
    write_cohort_page(context.out, context.plan, records, changes.notes())
    write_people(context.out.uri, context.out.records())
    stages.tell_table(context.plan.digest, records)
    for record in filter(context.tells, records):
        context.tracker.scan(record)
    context.tracker.log_report(context.out.cohort_page, context.out.plan)
    everything = with_skipped(records, skipped)
    stages.tell_summary(context.plan.digest, changes, counts(everything))
    return everything


def _write_plan(out: Output, plan: CohortPlan) -> None:
    mark(out.uri, "run", plan.settings.input)
    files.write_json(out.plan, plan.model_dump(mode="json"))
    facts = {"PlanDigest": plan.digest, "SettingsDigest": plan.settings_digest, "Method": plan.settings.method}
    derivatives.write_dataset_files(out.uri, plan.settings.input, facts)


def _remove_leftovers(out: Output, todo: set[str]) -> None:
    """Remove what killed writers left; of the store, which is nearly all of a large cohort, below the scans that are open."""
    files.remove_leftovers(out.uri, but=[out.store])
    for key in todo:
        files.remove_leftovers(files.join(out.store, key))
        remove_partials(Path(out.store, key))


def _run(plan: CohortPlan, todo: set[str], changes: Changes) -> list[ScanRecord]:
    settings = plan.settings
    out = Output(settings.out)
    skipped = {scan.key for scan in plan.scans} - todo
    if not files.is_remote(out.uri):
        _remove_leftovers(out, todo)
    files.remove(out.ending)
    files.remove(out.seen)
    _write_plan(out, plan)
    with ExitStack() as stack:
        waiting("opening the run's records in MLflow")
        tracker = stack.enter_context(CohortTracker(local_state(out.uri), out.uri, settings.tracking_uri))
        params = settings.model_dump(mode="json", exclude={"input", "out", "reference", "tracking_uri"})
        tracker.start(run_name(settings), plan.digest, params, {"isovox": plan.version})
        tell_addresses(note, tracker.own_page())
        waiting("starting workers")
        pool = stack.enter_context(open_cluster(settings.compute))
        forecast = sum(scan.forecast.seconds for scan in plan.scans if scan.key in todo) / max(settings.compute.workers, 1)
        totals = {"scans": len(todo), **_pieces(plan, todo)}
        tell = stack.enter_context(bars("restoring", totals, forecast, out.course))
        bar = stages.start_progress()
        tell = stages.with_bar(tell, bar, Course("restoring", totals, forecast))
        context = stack.enter_context(run_context(plan, partial(run_bounded, pool), tracker, tell))
        _work(context, todo)
        learn(settings, context.paces())
        records = _close(context, skipped, changes)
        by_state = counts(records)
        stages.end_progress(bar, by_state)
        tracker.finish("FAILED" if by_state["failed"] else "FINISHED", {name: float(n) for name, n in by_state.items()})
    # Last: with it, the next run knows that nothing is left to do.
    files.write_json(out.ending, {"plan": plan.digest, "skipped": sorted(skipped), "counts": by_state, "notes": changes.notes()})
    return records


@contextmanager
def with_plans(plans: Iterable[CohortPlan]) -> Iterator[None]:
    """While the block runs, a flow with a plan's settings carries it out, where it would plan anew.

    Inputs that changed since are found when they are read, by their sha256.

    Args:
        plans: of a moment ago, checked.
    """
    token = _PLANS.set(tuple(plans))
    try:
        yield
    finally:
        _PLANS.reset(token)


def _given(settings: RunSettings, choice: Choice) -> CohortPlan | None:
    """The plan that the caller made, if it is of these settings and this model."""
    return next((plan for plan in _PLANS.get() if _is_of(plan, settings, choice)), None)


def _is_of(plan: CohortPlan, settings: RunSettings, choice: Choice) -> bool:
    kept = all(choice.others.get(name) == weights for name, weights in plan.others.items())
    return kept and (plan.settings, plan.weights) == (settings, choice.weights)


def _plan_and_run(settings: RunSettings, choice: Choice) -> dict[str, int]:
    """How many scans are in each state."""
    out = Output(settings.out)
    plan = _given(settings, choice)
    if plan is None:
        plan = plan_run(settings, choice)
    with remembered(out):
        todo = unfinished(plan)
        changes = changes_of(plan, todo, choice.newer, choice.newer_others)
        log = get_run_logger()
        log.info("%s: %s", files.name_of(settings.input), changes.counts())
        for note in changes.notes():
            log.warning("%s", note)
        return counts(_run(plan, todo, changes))


def _said(settings: RunSettings, choice: Choice) -> dict[str, Any]:
    """The settings, and the models that single scans may have of their own."""
    others = {name: weights.sha256 for name, weights in choice.others.items()}
    return settings.model_dump(mode="json") | ({"others": others} if others else {})


def restore_cohort(settings: RunSettings, *, quick: bool = False) -> State:
    """Plan, restore, report: the body that both flows share."""
    out = Output(settings.out)
    with cohort_lock(out.lock):
        choice = choose_weights(settings)
        # Looked at before the plan: what comes later is seen next time. Of a plan that was made before, that is too late.
        early = _given(settings, choice) is None
        seen = seen_now(_said(settings, choice), choice.weights) if early else None
        if quick and nothing_new(out, seen):
            return Completed(message="nothing is new: names, sizes and dates are as the latest run found them")
        by_state = _plan_and_run(settings, choice)
        if seen and not by_state["failed"]:
            files.write_json(out.seen, seen)
    text = ", ".join(f"{n} {state}" for state, n in by_state.items() if n)
    if by_state["flagged"]:
        name = deployment.name or files.name_of(settings.input)
        resource = {"prefect.resource.id": f"isovox.cohort.{name}", "prefect.resource.name": name}
        emit_event("isovox.cohort-flagged", resource, payload=by_state)
    return with_failed(text) if by_state["failed"] else Completed(message=text)


@flow(
    name="reprocess-cohort",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type] # Prefect's is invariant in its futures
    validate_parameters=True,
)
def reprocess_cohort(settings: RunSettings, quick: bool = False) -> State:  # noqa: FBT001, FBT002 - of a form
    """Restore what is new or changed in a cohort; the rest is skipped.

    Args:
        settings: what to restore, how, and where to.
        quick: end at once where a listing of the input tells of nothing new; else every file is read to see whether it changed.

    Returns:
        Completed, or Failed where a scan failed; the message counts the states.

    Raises:
        UsageError, PlanError: nothing was begun.
        BusyError: another run works on the same output.
    """
    return restore_cohort(with_group(settings), quick=quick)
