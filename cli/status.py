"""The command ``isovox status``: what is done, flagged, failed and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, planned_run, say

if TYPE_CHECKING:
    from core.io.output import Output

STARTING = 300.0  # seconds at most from the start of a command's servers to its lock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run, or of another command")
    parser.add_argument("--watch", action="store_true", help="show how far the work there is, until it ends")
    parser.add_argument("--ratings", metavar="FILE", help="table that the cohort's page wrote: what people said of each scan")


def _show_ratings(uri: str, keys: Sequence[str]) -> None:
    """Print a line a scan that was rated or remarked, how many there are of each, and what is of other cohorts."""
    from core.io.ratings import RATINGS, read_ratings

    known = set(keys)
    ratings = read_ratings(uri)
    ours = [rating for rating in ratings if rating.scan in known]
    for rating in ours:
        say(f"{rating.scan}: {rating.text()}")
    counts = ", ".join(f"{sum(rating.rating == word for rating in ours)} {word}" for word in RATINGS)
    others = f"; {len(ratings) - len(ours)} of scans that are not here" if len(ratings) > len(ours) else ""
    say(f"ratings: {len(ours)} of {len(known)} scans: {counts}{others}")


def _courses(out: Output) -> list[str]:
    """Where the work on an output tells how far it is; that on the sites of a harmonisation tells in their own folders."""
    from core.io import claim, files
    from core.io.output import Output

    harmonised = claim.kind_of(out.uri) == "harmonize"
    inside = [files.join(out.uri, name) for name in files.listdir(out.uri)] if harmonised else []
    return [Output(place).course for place in (out.uri, *inside)]


def _works(out: Output) -> bool:
    """Whether a command works on an output, or has begun to: the folder of its servers is there before its lock is."""
    from core.io import claim
    from core.io.lock import owner
    from infra.services import local_state

    if owner(out.lock) is not None:
        return True
    state = local_state(out.uri)
    return claim.kind_of(out.uri) is None and state.is_dir() and time.time() - state.stat().st_mtime < STARTING


def _other(out: Output, kind: str) -> int:
    """Print how far what works on an output of another command is, and where to look on."""
    from core.io import files
    from core.io.lock import owner
    from flows.runs.progress import latest

    if other := owner(out.lock):
        say(f"isovox {kind} works here: {other}")
        if standing := latest(_courses(out)):
            say(standing.line())
        return OK
    page = files.join(out.uri, "report.html")
    say(f"an output of isovox {kind}; no process is working on it" + (f"; report: {page}" if files.exists(page) else ""))
    return OK


def execute(options: argparse.Namespace) -> int:
    """Print each planned scan's state, re-read from its files; exit code 0 while a run works, if none has failed.

    Of what other commands make, how far the work is.
    """
    from cli.helpers.tables import show
    from core.io import claim
    from core.io.lock import owner
    from core.io.output import Output
    from tasks.pipeline.results import progress_of, verified_records

    place = Output(options.out)
    if options.watch:
        from flows.runs.progress import watch

        watch(partial(_courses, place), partial(_works, place))
    if (kind := claim.kind_of(place.uri)) not in {None, "run"}:
        return _other(place, str(kind))
    out, planned = planned_run(options.out)
    records = verified_records(out, planned)
    progress = progress_of(out, planned, records)
    show(records, out, planned, progress)
    for note in planned.notes:
        say(f"note: {note}")
    if options.ratings:
        _show_ratings(options.ratings, [record.key for record in records])
    other = owner(out.lock)
    if other:
        say(f"a run works here: {other}")
    failed = any(record.state == "failed" and record.key not in progress for record in records)
    return FAILED if failed or (progress and not other) else OK
