"""How far a restoration has come: told by its worker in a small file beside its state, read by the run.

A file reaches the run from a thread, a process, a job or a pod alike, outlives its worker, and asks nothing of a cluster.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from core.errors import RestorationError
from core.io import files, lock

EVERY, EVERY_REMOTE = 2.0, 15.0  # seconds between two tellings, and between two looks; on S3
AGAIN = 5.0  # seconds until a lock that is not there is looked for once more: a shared disk may miss a file that is written anew

_log = logging.getLogger(__name__)


def interval(uri: str) -> float:
    """Seconds between two tellings at a place."""
    return EVERY_REMOTE if files.is_remote(uri) else EVERY


@dataclass(frozen=True)
class Progress:
    """How far a restoration has come.

    Attributes:
        unit: what is counted, "steps" or "tiles".
        done: how many.
        total: of how many at most.
        at: when it was told, in the worker's seconds: two that differ were told one after the other.
    """

    unit: str
    done: int
    total: int
    at: float


def read_progress(uri: str) -> Progress | None:
    """What a worker told last; None where it told nothing, or nothing that can be read."""
    try:
        content = files.read_json(uri)
        return Progress(str(content["unit"]), int(content["done"]), int(content["total"]), float(content["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_wanted(held: str, run: str) -> None:
    """Go on only as long as the run that sent the work holds the output; a fault of the storage tells nothing.

    The workers of a group outlive its runs: else those that are cancelled would keep them for hours.

    Args:
        held: where the lock of the output lies.
        run: what the lock says of the run that sent the work; empty where it had none.

    Raises:
        RestorationError: it has ended, or another one works there.
    """
    if not run or _holds(held, run):
        return
    time.sleep(AGAIN)
    if not _holds(held, run):
        got = "one that has ended"
        raise RestorationError("run-ended", "a run that waits for this work", got, "run again: it goes on from what is finished")


def _holds(held: str, run: str) -> bool:
    try:
        return lock.token(held) == run
    except OSError:
        return True


class Listener:
    """Reads what workers tell, now and then; safe from several threads that ask of different scans.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        self._known: dict[str, Progress | None] = {}

    def news(self, uri: str) -> Progress | None:
        """What was told since this was asked last; None where nothing was, or where it is too early to look again.

        What a killed run left behind is no news.
        """
        now = self._clock()
        if now < self._next.get(uri, -math.inf):
            return None
        self._next[uri] = now + interval(uri)
        progress = read_progress(uri)
        fresh = uri in self._known and progress != self._known[uri]
        self._known[uri] = progress
        return progress if fresh else None

    def forget(self, uri: str) -> None:
        """Ask no more of a restoration that is over."""
        self._next.pop(uri, None)
        self._known.pop(uri, None)


class Reporter:
    """Tells how far a restoration has come, now and then; what cannot be told is not told, and the work goes on.

    As a context manager it removes what it told, however the work ends.

    Args:
        uri: of the file.
        clock: gives seconds.
        check: called each time; what it raises ends the work.
    """

    def __init__(self, uri: str, clock: Callable[[], float] = time.time, check: Callable[[], object] = lambda: None) -> None:
        self._uri, self._clock, self._check = uri, clock, check
        self._next = clock() + interval(uri)
        self._told = False

    def __call__(self, unit: str, done: int, total: int) -> None:
        """Tell, where it is time.

        Args:
            unit: "steps" or "tiles".
            done: how many.
            total: of how many at most.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next = now + interval(self._uri)
        self._check()
        try:
            files.write_json(self._uri, {"unit": unit, "done": done, "total": total, "at": now})
        except Exception as error:  # noqa: BLE001 - whatever ails the storage, the work itself will meet it
            _log.warning("progress of %s cannot be told: %s", self._uri, error)
        self._told = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._told or not files.is_remote(self._uri):  # a killed worker may have told something; on S3 to ask costs requests
            files.remove(self._uri)
