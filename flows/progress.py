"""Progress bars on a terminal; nothing in a log or where quiet was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.events import Advanced, Tell

_quiet = False


def be_quiet() -> None:
    """Show no bars in this process."""
    global _quiet  # noqa: PLW0603 - a property of the process's terminal
    _quiet = True


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

        def tell(event: Advanced) -> None:
            if event.unit in known:
                progress.advance(known[event.unit], event.count)
                task = progress.tasks[known[event.unit]]
                progress.update(known[event.unit], rate=f"{task.speed:.2g}/s" if task.speed else "")

        yield tell
