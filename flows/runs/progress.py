"""What a user sees while work runs: what is waited for, the account of the input, and a bar; nothing where quiet was asked for.

On a terminal the bar moves; elsewhere a line is written every half minute, without escape codes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.settings.scans import Selection

from tasks.course import Course, Standing
from tasks.events import Tell

LINES = 30.0  # seconds between two lines where there is no terminal
TOLD, TOLD_REMOTE = 2.0, 15.0  # seconds between two tellings to other processes; on S3

_quiet = False
_COUNTED: ContextVar[int | None] = ContextVar("counted", default=None)


def be_quiet() -> None:
    """Show nothing of the progress in this process."""
    global _quiet  # noqa: PLW0603 - a property of the process's terminal
    _quiet = True


def counted(input_uri: str, selection: Selection) -> int:
    """How many scans a selection finds; where every file of the input went is told, unless quiet was asked for.

    Raises:
        UsageError: as ``core.io.bids.survey``.
    """
    from core.io.bids import survey

    if (before := _COUNTED.get()) is not None:
        return before
    waiting("looking through the input")
    discovery = survey(input_uri, selection)
    for line in discovery.ledger.account().lines():
        note(line)
    return len(discovery.scans)


@contextmanager
def counted_before(count: int) -> Iterator[None]:
    """While the block runs, ``counted`` is told what was counted a moment ago."""
    token = _COUNTED.set(count)
    try:
        yield
    finally:
        _COUNTED.reset(token)


def note(line: str) -> None:
    """Tell the user of something, unless quiet was asked for."""
    if not _quiet:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def waiting(what: str) -> None:
    """Tell the user what is waited for, where that takes seconds."""
    note(f"{what} …")


@contextmanager
def bars(doing: str, totals: Mapping[str, int], forecast: float | None = None, told_at: str | None = None) -> Iterator[Tell]:
    """A bar with what is counted, rate and time left; yields what hears of the work.

    Args:
        doing: what is done, such as "restoring".
        totals: how many there are to do, by what is counted; the finest last.
        forecast: seconds that it is said to take.
        told_at: URI of a file that tells other processes of it while the block runs.
    """
    course = Course(doing, totals, forecast)
    with ExitStack() as stack:
        if not _quiet and sys.stderr.isatty():
            stack.enter_context(_drawn(course))
        elif not _quiet:
            stack.enter_context(_every(LINES, lambda: note(course.standing().line())))
        if told_at is not None:
            stack.enter_context(_telling(course, told_at))
        yield course.hear


@contextmanager
def _drawn(course: Course) -> Iterator[None]:
    """A bar on the terminal, drawn anew by its own clock."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Moving(ProgressColumn):
        """Moves the bar, and says how far it is."""

        def render(self, task: Task) -> Text:
            standing = course.standing()
            task.completed = standing.per_cent
            return Text(standing.text())

    console = Console(stderr=True)
    width = max(8, min(40, (console.width - 70) // 2))  # what is said has room first
    columns = [TextColumn("{task.description}"), BarColumn(width), Moving()]
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        progress.add_task(course.standing().doing, total=100)
        yield


@contextmanager
def _telling(course: Course, uri: str) -> Iterator[None]:
    """Write how far the work is to a file, which is removed at the end."""
    from core.io import files

    def write() -> None:
        with suppress(Exception):  # whatever ails the storage, the work itself will meet it
            files.write_json(uri, course.standing().to_json() | {"at": time.time()})

    with _every(TOLD_REMOTE if files.is_remote(uri) else TOLD, write):
        yield
    with suppress(Exception):
        files.remove(uri)


@contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Do something now and then, in a thread, while the block runs."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def watch(places: Callable[[], Iterable[str]], alive: Callable[[], Any], pause: float = TOLD) -> None:
    """Show how far the work of another process is, until it ends.

    Args:
        places: URIs of the files that it may tell by.
        alive: whether it works still.
        pause: seconds between two looks.
    """
    shown, since = "", -LINES
    while alive():
        standing = latest(places())
        if standing is not None and sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K{standing.line()}")
            shown = "\n"
        elif standing is not None and time.monotonic() - since >= LINES:
            sys.stdout.write(f"{standing.line()}\n")
            since = time.monotonic()
        sys.stdout.flush()
        time.sleep(pause)
    sys.stdout.write(shown)


def latest(places: Iterable[str]) -> Standing | None:
    """How far the work is that told last; None where none tells that can be read."""
    from core.io import files

    standings: list[tuple[float, Standing]] = []
    for uri in places:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            value = files.read_json(uri)
            at = float(value.pop("at", 0.0))
            standings.append((at, Standing.of_json(value)))
    return max(standings, key=itemgetter(0))[1] if standings else None
