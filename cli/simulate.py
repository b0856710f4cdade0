"""The command ``isovox simulate``: degraded versions of a cohort of sharp scans, as a BIDS dataset."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, console, say
from core.settings.simulate import SimulateSettings

if TYPE_CHECKING:
    from core.engine.records import ScanRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, SimulateSettings)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.helpers.options import settings_from
    from flows.runs.progress import be_quiet
    from flows.simulate import simulate
    from infra.clusters import check_cluster
    from infra.processes.signals import terminable

    if options.quiet:
        be_quiet()
    settings = settings_from(options, SimulateSettings)
    check_cluster(settings.compute)
    with terminable():
        records = simulate(settings)
    if not options.quiet:
        _show(records, settings)
    return FAILED if any(record.state == "failed" for record in records) else OK


def _show(records: list[ScanRecord], settings: SimulateSettings) -> None:
    """Print a line a scan and where the dataset is."""
    from cli.helpers.tables import simulation_table, summary

    terminal = console()
    terminal.print(simulation_table(records))
    terminal.print(summary(records))
    say(f"dataset: {settings.out}")
