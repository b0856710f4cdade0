"""The command ``isovox simulate``: degraded versions of a cohort of sharp scans, as a BIDS dataset."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from core.settings.simulate import SimulateSettings

if TYPE_CHECKING:
    from core.engine.records import ScanRecord


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:  # noqa: ARG001 - one command
    """Add the command's arguments to its parser."""
    from cli.options import add_settings

    add_settings(parser, SimulateSettings)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.commands import guarded

    return guarded(_simulate, options)


def _simulate(options: argparse.Namespace) -> int:
    from cli.commands import FAILED, OK
    from cli.options import settings_from
    from flows.progress import be_quiet
    from flows.simulate import simulate
    from infra.signals import terminable

    if options.quiet:
        be_quiet()
    settings = settings_from(options, SimulateSettings)
    with terminable():
        records = simulate(settings)
    if not options.quiet:
        _show(records, settings)
    return FAILED if any(record.state == "failed" for record in records) else OK


def _show(records: list[ScanRecord], settings: SimulateSettings) -> None:
    """Print a line a scan and where the dataset is."""
    from rich.console import Console

    from cli.commands import _say
    from cli.tables import simulation_table, summary

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(simulation_table(records))
    console.print(summary(records))
    _say(f"dataset: {settings.out}")
