"""The command ``isovox status``: what is done, flagged, failed and why."""

from __future__ import annotations

import argparse

from cli.console import FAILED, OK, planned_run, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run")


def execute(options: argparse.Namespace) -> int:
    """Print each planned scan's state, re-read from its files; exit code 0 while a run works, if none has failed."""
    from cli.tables import show
    from core.io.lock import owner
    from tasks.pipeline.results import progress_of, verified_records

    out, planned = planned_run(options.out)
    records = verified_records(out, planned)
    progress = progress_of(out, planned, records)
    show(records, out, planned, progress)
    other = owner(out.lock)
    if other:
        say(f"a run works here: {other}")
    failed = any(record.state == "failed" and record.key not in progress for record in records)
    return FAILED if failed or (progress and not other) else OK
