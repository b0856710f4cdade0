"""Runs a command and ends it, with all it started, when its standard input is closed: so when its parent ends, however it ends.

Where this program itself is killed outright, the kernel ends the command.

A program of its own, of the standard library alone: ``python guard.py COMMAND…``.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

PR_SET_PDEATHSIG = 1
GRACE = 10.0  # seconds between being asked to end and being ended


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_with(parent: int) -> None:
    """Called in the command's process before it begins: it is killed when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before
            os._exit(1)


def main(command: list[str]) -> int:
    """The command's exit status; 0 where it was ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: os.close(sys.stdin.fileno()))
    end = partial(_end_with, os.getpid())
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end)  # noqa: S603, PLW1509
    status = _watch(child)
    _signal_group(child.pid, signal.SIGTERM)
    latest = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < latest:
        time.sleep(0.05)
    _signal_group(child.pid, signal.SIGKILL)
    return status


def _watch(child: subprocess.Popen[bytes]) -> int:
    """Until the child ends by itself, or the parent closes the pipe."""
    while (status := child.poll()) is None:
        try:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1):
                return 0
        except (OSError, ValueError):  # SIGTERM closed it
            return 0
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
