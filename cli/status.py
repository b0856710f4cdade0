"""The command ``isovox status``: what is done, flagged, failed and why."""

from __future__ import annotations

import argparse

from cli.console import FAILED, OK, planned_run, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run")


def execute(options: argparse.Namespace) -> int:
    """Print each planned scan's state, re-read from its files."""
    from cli.tables import show
    from core.io.lock import owner
    from tasks.pipeline.results import verified_records

    out, planned = planned_run(options.out)
    records = verified_records(out, planned)
    show(records, out)
    if other := owner(out.lock):
        say(f"a run works here: {other['user']} on {other['host']}, process {other['pid']}, since {other['since']}")
    return FAILED if any(record.state == "failed" for record in records) else OK
