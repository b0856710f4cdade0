"""A trial of harmonisation: ``isovox evaluate harmonisation``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from core.settings.harmonisation import HarmonisationTrial

if TYPE_CHECKING:
    from tasks.evaluate.harmonisation_table import Row


def trial(settings: HarmonisationTrial) -> list[Row]:
    """Simulate, fit on half of the persons, score the others, with a progress bar; a row a rival.

    Raises:
        UsageError: no such cohort, persons-few.
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
    from tasks.evaluate import harmonisation, harmonisation_maps, harmonisation_table

    claim.check(settings.out, [settings.cohort], "evaluate")
    out, times = Output(settings.out), harmonisation.stages() + harmonisation_maps.STAGES
    with (
        cohort_lock(out.lock),
        counted_beside(settings.compute, settings.cohort, settings.selection) as (pool, scans),
        bars("harmonising persons", {"persons": times * scans}, told_at=out.course) as tell,
    ):
        claim.begin(settings.out, "evaluate")
        dispatch = partial(run_bounded, pool)
        trial, made = harmonisation.run(settings, tell, dispatch)
        return harmonisation_table.write(*harmonisation_maps.run(trial, made, tell, dispatch))
