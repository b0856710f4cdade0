"""Degraded versions of a cohort of sharp scans, as a BIDS dataset."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from core.settings.simulate import SimulateSettings

if TYPE_CHECKING:
    from core.engine.records import ScanRecord


def simulate(settings: SimulateSettings) -> list[ScanRecord]:
    """Make degraded versions of a cohort, with a progress bar; one record a scan.

    Raises:
        UsageError: no such input, or a setting that cannot be meant.
        AccessError: storage that may not be written to.
        PlanError: disk-too-small.
        BusyError: another run works on the same output.
        ClusterError: the cluster cannot be had.
    """
    from core.io import claim
    from core.io.lock import cohort_lock
    from core.io.output import Output
    from flows.runs.beside import counted_beside
    from flows.runs.progress import bars
    from infra.dispatch import run_bounded
    from tasks.evaluate import simulate as work

    claim.check(settings.out, [settings.input], "simulate")  # before the lock is written there
    out = Output(settings.out)
    with (
        cohort_lock(out.lock),
        counted_beside(settings.compute, settings.input, settings.selection) as (pool, scans),
        bars("simulating", {"scans": scans}, told_at=out.course) as tell,
    ):
        return work.simulate(settings, tell, partial(run_bounded, pool))
