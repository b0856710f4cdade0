"""A run of the main job from this process, with a Prefect server at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import rmtree
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from core.engine.plan import CohortPlan
    from core.engine.records import ScanRecord
    from core.io.output import Output


SOON = 1.0  # seconds within which most plans that cannot be made fail: no server is started for them


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
    from infra.processes.signals import terminable
    from infra.services import local_state, prefect_server

    out = Output(plan.settings.out)
    with terminable(), prefect_server(local_state(out.uri)):
        return _run(out, plan)


def run_beside(out: Output, make: Callable[[], CohortPlan]) -> tuple[CohortPlan, list[ScanRecord]]:
    """Plan while the Prefect server starts, and run: the plan, and the records of all planned scans.

    Where the plan cannot be made, the output is left as it was.

    Args:
        out: of the run; nothing has begun there.
        make: plans; it is called in another thread.

    Raises:
        What ``make`` raises.
    """
    from flows.runs.progress import waiting
    from infra.processes.signals import terminable
    from infra.services import local_state, prefect_server

    state = local_state(out.uri)
    new = [folder for folder in (state, *state.parents) if not folder.exists()]
    served = Event()

    def and_wait() -> CohortPlan:
        plan = make()
        if not served.is_set():
            waiting("waiting for Prefect's server")
        return plan

    try:
        with terminable(), planning(and_wait) as planned, prefect_server(state):
            served.set()
            waiting("loading Prefect")
            import flows.reprocess  # noqa: F401 - it takes seconds, in which the plan goes on

            plan = planned()
            return plan, _run(out, plan)
    except Exception:
        if new and not was_begun(out):
            _remove(state, new)
        raise


@contextmanager
def planning(make: Callable[[], CohortPlan]) -> Iterator[Callable[[], CohortPlan]]:
    """Plan in another thread; yields what waits for the plan, and raises what planning raised."""
    made: list[CohortPlan] = []
    faults: list[BaseException] = []

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:  # noqa: BLE001 - it is raised where the plan is asked for
            faults.append(error)

    thread = Thread(target=work, daemon=True)  # an interrupted command does not wait for it
    thread.start()
    thread.join(SOON)
    if faults:
        raise faults[0]

    def planned() -> CohortPlan:
        while thread.is_alive():
            thread.join(0.1)  # so that a signal is heard
        if faults:
            raise faults[0]
        return made[0]

    yield planned


def _remove(state: Path, new: list[Path]) -> None:
    """Remove the services' folder of a run that never began, and the folders above it that were made for it."""
    rmtree(state, ignore_errors=True)
    for folder in new[1:]:
        try:
            folder.rmdir()
        except OSError:
            return


def _run(out: Output, plan: CohortPlan) -> list[ScanRecord]:
    """Run the flow, the server being there."""
    from core.io import files
    from flows.reprocess import reprocess_cohort, with_plan
    from tasks.pipeline.results import verified_records, with_skipped

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
