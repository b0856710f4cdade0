"""The commands ``isovox verify`` and ``isovox clean``: is an output whole, and what of it may go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import BusyError

if TYPE_CHECKING:
    from core.io.output import Output
    from tasks.pipeline.clean import Item, Survey
    from tasks.pipeline.verify import Found

SHOWN = 20  # items of a kind that are told one by one


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run, or s3://…")
    if command == "verify":
        parser.add_argument("--mend", action="store_true", help="remove damaged images, so that the next run makes them anew")
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
    else:
        parser.add_argument("--yes", action="store_true", help="remove without asking what is not scratch, too")
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.commands import guarded

    return guarded({"verify": verify, "clean": clean}[options.command], options)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} GB"


# -- verify -----------------------------------------------------------------------------------------------------------------


def _refuse_while_busy(out: Output) -> None:
    from core.io.lock import owner

    if other := owner(out.lock):
        got = f"a run by {other['user']} on {other['host']} (process {other['pid']}) since {other['since']}"
        raise BusyError("already-running", "an output on which nothing works", got, "wait for it to end, or stop it")


def _told(found: Found) -> str:
    parts = [f"verified {found.scans} scans: {found.files} files by sha256, {found.images} images by every block"]
    parts += [f"{found.failed} failed scans have none"] if found.failed else []
    parts += [f"{found.waiting} wait for the next run"] if found.waiting else []
    count = len(found.problems)
    return f"{'; '.join(parts)}; {'no problem' if not count else '1 problem' if count == 1 else f'{count} problems'}"


def verify(options: argparse.Namespace) -> int:
    """Re-read an output; a line for each problem and a count."""
    from cli.commands import FAILED, OK
    from core.io.output import Output
    from flows.progress import bars, be_quiet
    from tasks.pipeline.verify import keys_of, mend, read_plan
    from tasks.pipeline.verify import verify as look

    if options.quiet:
        be_quiet()
    out = Output(options.out)
    _refuse_while_busy(out)
    with bars({"scans": len(keys_of(out, read_plan(out)))}) as advance:
        found = look(out, advance)
    for problem in found.problems:
        _say(str(problem))
    _say(_told(found))
    if options.mend:
        from core.io.lock import cohort_lock

        with cohort_lock(out.lock):
            keys = mend(out, found.problems)
        _say(f"{len(keys)} scans will be made anew by the next run{': ' if keys else ''}{', '.join(keys)}")
    return FAILED if found.problems else OK


# -- clean ------------------------------------------------------------------------------------------------------------------


def _list(items: Sequence[Item]) -> None:
    for item in items[:SHOWN]:
        _say(f"{item.kind:8} {_size(item.nbytes):>9} {len(item.paths):6} files  {item.what}")
    if len(items) > SHOWN:
        rest = items[SHOWN:]
        count = sum(len(item.paths) for item in rest)
        _say(f"{rest[0].kind:8} {_size(sum(item.nbytes for item in rest)):>9} {count:6} files  {len(rest)} more")


def _agrees(question: str, *, yes: bool) -> bool:
    """Whether to go on: told so, or asked at a terminal."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        _say(f"{question} not without --yes, as nobody can be asked here")
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _chosen(found: Survey, *, yes: bool) -> list[Item]:
    """What is to go: scratch, and the rest as told."""
    chosen = found.of("scratch")
    for kind, text in (("kept", "tiles that save the next run some work"), ("orphan", "orphans")):
        items = found.of(kind)  # type: ignore[arg-type]
        size = _size(sum(item.nbytes for item in items))
        if items and _agrees(f"remove {text} ({size}, {sum(len(item.paths) for item in items)} files)?", yes=yes):
            chosen += items
    return chosen


def clean(options: argparse.Namespace) -> int:
    """Say what may go and how much that is; remove scratch, and the rest when told."""
    from cli.commands import OK, _planned
    from core.io.lock import cohort_lock
    from tasks.pipeline.clean import remove, survey

    out, plan = _planned(options.out)
    with cohort_lock(out.lock):
        found = survey(out, plan)
        for kind in ("scratch", "kept", "orphan"):
            _list(found.of(kind))  # type: ignore[arg-type]
        for note in found.notes:
            _say(f"note: {note}")
        if not found.items:
            _say("nothing to remove")
            return OK
        chosen = [] if options.dry_run else _chosen(found, yes=options.yes)
        count, nbytes = remove(out, chosen)
    _say(f"removed {count} files, {_size(nbytes)}")
    return OK
