"""The command ``isovox plan``: what a run would do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, calm, console, say
from core.settings.run import RunSettings

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from flows.weights import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser)
    parser.add_argument("--quiet", action="store_true", help="no table")
    parser.add_argument("--files", action="store_true", help="a line for every file below the input: taken, refused or left out")


def make_plan(options: argparse.Namespace) -> CohortPlan:
    """The plan of the run that the options describe; a newer model than the output's is told."""
    from cli.helpers.options import settings_from
    from core.io.claim import check_place
    from flows.weights import choose_weights
    from infra.clusters import check_cluster

    settings = settings_from(options, RunSettings)
    check_cluster(settings.compute)
    check_place(settings.out)
    return plan_with(settings, choose_weights(settings), quiet=options.quiet)


def plan_with(settings: RunSettings, choice: Choice, *, quiet: bool) -> CohortPlan:
    """The plan of a run with weights that are chosen; a newer model than the output's is told."""
    from flows.runs.planning import plan_run

    plan = plan_run(settings, choice)
    for method, current, newer in [] if quiet else choice.kept():
        count = sum(scan.method == method for scan in plan.scans)
        say(
            f"{newer.name} version {newer.version} is there; this output keeps to version {current.version}, which made it: "
            f"{count} scans would be restored again with --on-new-model redo"
        )
    return plan


def _list_files(options: argparse.Namespace) -> int:
    """Print what becomes of every file of the input, headers looked at; exit code 3 where some are refused."""
    from cli.helpers.options import settings_from
    from core.io.bids import survey
    from tasks.pipeline.discover import plan_scans

    settings = settings_from(options, RunSettings)
    discovery = survey(settings.input, settings.selection, settings.out)
    discovery.ledger.refuse({refusal.key for refusal in plan_scans(discovery.scans, settings)[1]})
    for line in (*discovery.ledger.names(), *discovery.ledger.account().lines()):
        say(line)
    return FAILED if discovery.ledger.refused else OK


def execute(options: argparse.Namespace) -> int:
    """Print what a run would do; nothing is written."""
    from cli.helpers.tables import plan_summary, plan_table
    from flows.runs.progress import be_quiet
    from tasks.pipeline.discover import unfinished

    calm()
    if options.quiet:
        be_quiet()
    if options.files:
        return _list_files(options)
    planned = make_plan(options)
    if not options.quiet:
        terminal = console()
        terminal.print(plan_table(planned, unfinished(planned)))
        terminal.print(plan_summary(planned), markup=False)
    return FAILED if planned.refused else OK
