"""The command ``isovox run``: restore a cohort."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, calm, refuse_while_busy, say
from cli.plan import plan_with
from core.settings.run import RunSettings

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from core.engine.records import ScanRecord
    from core.io.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def _go_on(out: Output, plan: CohortPlan) -> tuple[CohortPlan, list[ScanRecord]]:
    """What is left of a run is done; where nothing is, no server is started."""
    from flows.runs.launch import is_finished, run_flow
    from flows.runs.progress import waiting
    from tasks.pipeline.discover import unfinished
    from tasks.pipeline.results import verified_records, with_skipped

    if plan.refused or unfinished(plan) or not is_finished(out, plan):
        waiting("starting services")
        return plan, run_flow(plan)
    return plan, with_skipped(verified_records(out, plan), {scan.key for scan in plan.scans})


def execute(options: argparse.Namespace) -> int:
    """Restore a cohort; where all is done already, nothing is started."""
    from cli.helpers.options import settings_from
    from core.io.claim import check_place
    from core.io.output import Output
    from flows.runs.launch import run_beside, was_begun
    from flows.runs.progress import be_quiet, waiting
    from flows.weights import choose_weights
    from infra.clusters import check_cluster

    calm()
    if options.quiet:
        be_quiet()
    settings = settings_from(options, RunSettings)
    check_cluster(settings.compute)
    out = Output(settings.out)
    check_place(out.uri)
    refuse_while_busy(out, "one run at a time on an output folder")
    choice = choose_weights(settings)
    make = partial(plan_with, settings, choice, quiet=options.quiet)
    if was_begun(out):  # there may be nothing left to do
        plan, records = _go_on(out, make())
    else:
        waiting("starting services, and looking at the scans meanwhile")
        plan, records = run_beside(out, make)
    if not options.quiet:
        show_all(records, out, plan)
    return FAILED if any(record.state == "failed" for record in records) else OK


def show_all(records: list[ScanRecord], out: Output, plan: CohortPlan) -> None:
    """What became of each scan, and what is to be known of all of them."""
    from cli.helpers.tables import show

    show(records, out, plan)
    for note in plan.notes:
        say(f"note: {note}")
