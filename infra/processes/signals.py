"""Being told to stop: SIGTERM unwinds the stack as Ctrl-C does, so that every ``with`` closes what it opened.

A command says in one line what is kept, and ends with 130 (Ctrl-C) or 143 (SIGTERM), whatever libraries make of the interruption.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE = 30.0  # seconds to close what is open, before the process ends all the same: what is written is whole or absent
SHOW_CURSOR = "\x1b[?25h"
CLEAR_LINE = "\r\x1b[K"  # of a bar
AGAIN = 0.1  # seconds until an exception that was lost is raised once more
_came: list[int] = []  # numbers of the signals that came
_lost: list[int] = []  # of those whose exception nobody was shown


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


@contextmanager
def kept_from_children() -> Iterator[None]:
    """What is begun in the block never hears of Ctrl-C, which a terminal sends to all processes; this one ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def came() -> int:
    """The number of the signal that told this process to stop; 0 where none did."""
    return _came[0] if _came else 0


def end_in_one_line(advice: str) -> None:
    """From now on Ctrl-C and SIGTERM say one line and unwind the stack; what libraries write after it is not shown.

    A second one ends the process at once. Call it in the main thread of a command's process.

    Args:
        advice: what is kept and how to go on.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if _lost:
            _lost.clear()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(128 + number)
        if _came:
            os._exit(128 + number)
        _came.append(number)
        _say(f"isovox: stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}; {advice}\n")
        timer = threading.Timer(GRACE, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and & set it
            signal.signal(number, stop)
    _keep_from_prefect()
    _raise_what_is_lost()


def _raise_what_is_lost() -> None:
    """Raise once more an exception that came up where Python lets none out: a finaliser, a callback, as each import has one."""
    usual, main = sys.unraisablehook, threading.main_thread().ident or 0

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not _came or not issubclass(lost.exc_type, KeyboardInterrupt | Terminated):
            usual(lost)
            return
        _lost.append(came())
        timer = threading.Timer(AGAIN, signal.pthread_kill, (main, came()))  # not here, where it would be lost again
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook


def _keep_from_prefect() -> None:
    """Let no flow of this process take the place of ours by its own handler, which first tells a server that may be gone."""
    install = signal.signal

    def unless_prefects(number: int, handler: Any) -> Any:
        if str(getattr(handler, "__module__", "")).partition(".")[0] == "prefect":
            return signal.getsignal(number)
        return install(number, handler)

    signal.signal = unless_prefects  # type: ignore[assignment]


def _say(line: str) -> None:
    """Write the last line, and let nothing follow it."""
    terminal = sys.stdout.isatty() or sys.stderr.isatty()
    os.write(2, ((CLEAR_LINE + SHOW_CURSOR if terminal else "") + line).encode())
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    if not sys.stdout.isatty():
        os.dup2(quiet, 1)


def end() -> None:
    """End the process with the signal's exit code, without what interpreters and libraries do at their end."""
    os._exit(128 + came())
