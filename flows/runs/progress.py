"""What a user sees while work runs: the account of the input, and bars on a terminal; nothing where quiet was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.settings.scans import Selection

from tasks.events import Advanced, Event, Tell

_quiet = False


def be_quiet() -> None:
    """Show no bars in this process."""
    global _quiet  # noqa: PLW0603 - a property of the process's terminal
    _quiet = True


def counted(input_uri: str, selection: Selection) -> int:
    """How many scans a selection finds; where every file of the input went is told, unless quiet was asked for.

    Raises:
        UsageError: as ``core.io.bids.survey``.
    """
    from core.io.bids import survey

    discovery = survey(input_uri, selection)
    for line in discovery.ledger.account().lines():
        note(line)
    return len(discovery.scans)


def note(line: str) -> None:
    """Tell the user of something, unless quiet was asked for."""
    if not _quiet:
        sys.stderr.write(f"{line}\n")


@contextmanager
def bars(totals: dict[str, int]) -> Iterator[Tell]:
    """Bars by unit, with rate and time left; yields what hears of the work."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description:>6}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
    shown = not _quiet and sys.stderr.isatty()
    progress = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), disable=not shown)
    with progress:
        known = {name: progress.add_task(name, total=total, rate="") for name, total in totals.items() if total}

        def tell(event: Event) -> None:
            if isinstance(event, Advanced) and event.unit in known:
                progress.advance(known[event.unit], event.count)
                task = progress.tasks[known[event.unit]]
                progress.update(known[event.unit], rate=f"{task.speed:.2g}/s" if task.speed else "")

        yield tell
