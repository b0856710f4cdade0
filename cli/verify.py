"""The command ``isovox verify``: is an output whole?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, refuse_while_busy, say

if TYPE_CHECKING:
    from tasks.pipeline.verify import Found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run, or s3://…")
    parser.add_argument("--mend", action="store_true", help="remove damaged images, so that the next run makes them anew")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _told(verified: Found) -> str:
    parts = [f"verified {verified.scans} scans: {verified.files} files by sha256, {verified.images} images by every block"]
    parts += [f"{verified.failed} failed scans have none"] if verified.failed else []
    parts += [f"{verified.waiting} wait for the next run"] if verified.waiting else []
    parts += [f"{verified.states} are half restored"] if verified.states else []
    count = len(verified.problems)
    return f"{'; '.join(parts)}; {'no problem' if not count else '1 problem' if count == 1 else f'{count} problems'}"


def execute(options: argparse.Namespace) -> int:
    """Re-read an output; a line for each problem and a count."""
    from core.io.output import Output
    from flows.runs.progress import bars, be_quiet
    from tasks.pipeline.verify import keys_of, mend, read_plan
    from tasks.pipeline.verify import verify as look

    if options.quiet:
        be_quiet()
    out = Output(options.out)
    refuse_while_busy(out, "an output on which nothing works")
    with bars("verifying", {"scans": len(keys_of(out, read_plan(out)))}) as tell:
        verified = look(out, tell)
    for problem in verified.problems:
        say(str(problem))
    say(_told(verified))
    if options.mend:
        from core.io.lock import cohort_lock

        with cohort_lock(out.lock):
            keys = mend(out, verified.problems)
        say(f"{len(keys)} scans will be made anew by the next run{': ' if keys else ''}{', '.join(keys)}")
    return FAILED if verified.problems else OK
