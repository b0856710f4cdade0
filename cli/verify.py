"""The command ``isovox verify``: is an output whole?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, refuse_while_busy, say
from core.errors import counted

if TYPE_CHECKING:
    from core.io.output import Output
    from tasks.pipeline.verify import Found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run or of isovox harmonize, or s3://…")
    parser.add_argument("--mend", action="store_true", help="remove damaged images, so that the next run makes them anew")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _told(verified: Found) -> str:
    files, images = counted(verified.files, "file"), counted(verified.images, "image")
    parts = [f"verified {counted(verified.scans, 'scan')}: {files} by sha256, {images} by every block"]
    bare, left = verified.failed - verified.left, verified.left
    parts += [f"{counted(bare, 'failed scan')} {'has' if bare == 1 else 'have'} none"] if bare else []
    parts += [f"{counted(left, 'failed scan')} {'has' if left == 1 else 'have'} an image from before the failure"] if left else []
    parts += [f"{verified.waiting} wait for the next run"] if verified.waiting else []
    parts += [f"{verified.states} are half restored"] if verified.states else []
    count, none = len(verified.problems), verified.failed and not verified.scans
    whole = "no problem, for nothing is restored: isovox status says why" if none else "no problem"
    return f"{'; '.join(parts)}; {counted(count, 'problem') if count else whole}"


def execute(options: argparse.Namespace) -> int:
    """Re-read an output; a line for each problem and a count."""
    from core.io.output import Output
    from flows.runs.progress import bars, be_quiet
    from tasks.pipeline.verify import Found, below, keys_of, parts_of, read_plan
    from tasks.pipeline.verify import verify as look

    if options.quiet:
        be_quiet()
    out = Output(options.out)
    parts = parts_of(out)
    for part in dict.fromkeys((out, *parts)):
        refuse_while_busy(part, "an output on which nothing works")
    with bars("verifying", {"scans": sum(len(keys_of(part, read_plan(part))) for part in parts)}) as tell:
        seen = [look(part, tell) for part in parts]
    verified = sum((below(out, part, its) for part, its in zip(parts, seen, strict=True)), Found())
    for problem in verified.problems:
        say(str(problem))
    say(_told(verified))
    if options.mend:
        keys = [key for part, its in zip(parts, seen, strict=True) for key in _mended(part, its)]
        scans = counted(len(keys), "scan")
        say(f"{scans} will be made anew by the next run{': ' if keys else ''}{', '.join(keys)}")
    return FAILED if verified.problems else OK


def _mended(part: Output, verified: Found) -> list[str]:
    from core.io.lock import cohort_lock
    from tasks.pipeline.verify import mend

    with cohort_lock(part.lock):
        return mend(part, verified.problems)
