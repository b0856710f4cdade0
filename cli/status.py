"""The command ``isovox status``: what is done, flagged, failed and why."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cli.helpers.console import FAILED, OK, planned_run, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run")
    parser.add_argument("--watch", action="store_true", help="show how far the run that works there is, until it ends")
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


def execute(options: argparse.Namespace) -> int:
    """Print each planned scan's state, re-read from its files; exit code 0 while a run works, if none has failed."""
    from cli.helpers.tables import show
    from core.io.lock import owner
    from tasks.pipeline.results import progress_of, verified_records

    out, planned = planned_run(options.out)
    if options.watch:
        from flows.runs.progress import watch

        watch(out.course, lambda: owner(out.lock))
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
