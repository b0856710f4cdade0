"""The command ``isovox simulate``: degraded versions of a cohort of sharp scans, as a BIDS dataset."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from core.config import SimulateSettings

if TYPE_CHECKING:
    from core.records import ScanRecord


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:  # noqa: ARG001 - one command
    """Add the command's arguments to its parser."""
    from flows.options import add_settings

    add_settings(parser, SimulateSettings)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from flows.commands import guarded

    return guarded(_simulate, options)


def _simulate(options: argparse.Namespace) -> int:
    from flows.commands import FAILED, OK
    from flows.options import settings_from
    from flows.progress import be_quiet
    from infra.signals import terminable

    if options.quiet:
        be_quiet()
    settings = settings_from(options, SimulateSettings)
    with terminable():
        records = simulate(settings)
    if not options.quiet:
        _show(records, settings)
    return FAILED if any(record.state == "failed" for record in records) else OK


def simulate(settings: SimulateSettings) -> list[ScanRecord]:
    """Make degraded versions of a cohort, with a progress bar; one record a scan.

    Raises:
        UsageError: no such input, or a setting that cannot be meant.
        BusyError: another run works on the same output.
    """
    from core.io.bids import discover
    from core.io.lock import cohort_lock
    from core.io.output import Output
    from flows.progress import bars
    from tasks import simulate as tasks

    total = len(discover(settings.input, settings.selection))
    with cohort_lock(Output(settings.out).lock), bars({"scans": total}) as advance:
        return tasks.simulate(settings, advance)


def _show(records: list[ScanRecord], settings: SimulateSettings) -> None:
    """Print a line a scan and where the dataset is."""
    from rich.console import Console

    from flows.commands import _say
    from flows.tables import simulation_table, summary

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(simulation_table(records))
    console.print(summary(records))
    _say(f"dataset: {settings.out}")
