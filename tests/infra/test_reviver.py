"""A supervisor that was killed is started again; one that was told to end, or cannot begin, is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from threading import Event

import pytest

from infra.group.reviver import revive

Start = Callable[[], "subprocess.Popen[bytes]"]


def starts(*codes: str) -> tuple[Start, list[subprocess.Popen[bytes]]]:
    """Starts Python with one code after the other; what was started."""
    rest, started = list(codes), []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", rest.pop(0)]))
        return started[-1]

    return start, started


def test_what_is_killed_is_started_again_until_it_ends_well() -> None:
    kill = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    start, started = starts(kill, kill, "")
    assert revive(start, Event(), first=0.01) == 0
    assert [process.returncode for process in started] == [-9, -9, 0]


@pytest.mark.parametrize(("early", "count"), [(60.0, 1), (0.0, 2)])
def test_a_fault_at_once_is_final_and_a_later_one_is_not(early: float, count: int) -> None:
    start, started = starts("raise SystemExit(3)", "")
    assert revive(start, Event(), first=0.01, early=early) == (3 if count == 1 else 0)
    assert len(started) == count


def test_what_is_told_to_end_ends_what_it_started() -> None:
    start, started = starts("import time; time.sleep(60)")
    told = Event()
    threading.Timer(0.5, told.set).start()
    begun = time.monotonic()
    assert revive(start, told) == -signal.SIGTERM
    assert time.monotonic() - begun < 20
    assert len(started) == 1
