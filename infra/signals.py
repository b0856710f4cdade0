"""Being told to stop: SIGTERM unwinds the stack as Ctrl-C does, so that every ``with`` closes what it opened."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM came; uncaught, the process ends with the usual status 143."""


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Terminated(128 + number)


@contextmanager
def terminable() -> Iterator[None]:
    """While the block runs, SIGTERM raises Terminated in the main thread.

    A handler that someone else set (Prefect sets one while a flow runs) is left alone; outside the main thread nothing is done.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
