"""The command ``isovox run``: restore a cohort."""

from __future__ import annotations

import argparse

from cli.helpers.console import FAILED, OK, calm, refuse_while_busy
from cli.plan import make_plan
from core.settings.run import RunSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Restore a cohort; where all is done already, nothing is started."""
    from cli.helpers.options import settings_from
    from cli.helpers.tables import show
    from core.io.claim import check_place
    from core.io.output import Output
    from flows.runs.launch import is_finished, run_flow
    from flows.runs.progress import be_quiet
    from tasks.pipeline.discover import unfinished

    calm()
    if options.quiet:
        be_quiet()
    out = Output(settings_from(options, RunSettings).out)
    check_place(out.uri)
    refuse_while_busy(out, "one run at a time on an output folder")
    plan = make_plan(options)
    if plan.refused or unfinished(plan) or not is_finished(out, plan):
        records = run_flow(plan)
    else:
        from tasks.pipeline.results import verified_records, with_skipped

        records = with_skipped(verified_records(out, plan), {scan.key for scan in plan.scans})
    if not options.quiet:
        show(records, out, plan)
    return FAILED if any(record.state == "failed" for record in records) else OK
