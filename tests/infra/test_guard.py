"""What the guard starts never outlives the process that started it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.processes import guard

SLEEP = "import time; time.sleep(600)"
SLEEPERS = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = """
import subprocess, sys, time
guarded = subprocess.Popen([sys.executable, {guard!r}, sys.executable, "-c", {command!r}], stdin=subprocess.PIPE)
print(guarded.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def family(pid: int, size: int) -> list[int]:
    end = time.monotonic() + 10
    while len(found := psutil.Process(pid).children(recursive=True)) < size and time.monotonic() < end:
        time.sleep(0.05)
    return [pid, *(child.pid for child in found)]


def test_all_end_when_the_parent_is_killed_outright() -> None:
    text = PARENT.format(guard=guard.__file__, command=SLEEPERS)
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    members = family(int(parent.stdout.readline()), 2)
    assert len(members) == 3
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while any(map(alive, members)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, members))


@pytest.mark.parametrize("how", ["close", "SIGTERM"])
def test_a_command_that_ignores_sigterm_is_killed(how: str, tmp_path: Path) -> None:
    program = tmp_path / "guard.py"
    program.write_text(Path(guard.__file__).read_text().replace("GRACE = 10.0", "GRACE = 0.5"))
    started = subprocess.Popen([sys.executable, program, sys.executable, "-c", STUBBORN], stdin=-1, stdout=-1, text=True)
    assert started.stdout is not None
    assert started.stdin is not None
    assert started.stdout.readline() == "up\n"
    members = family(started.pid, 1)
    started.stdin.close() if how == "close" else started.send_signal(signal.SIGTERM)
    started.wait(timeout=10)
    assert not any(map(alive, members))


def test_the_status_of_a_command_that_ends_by_itself_is_handed_on() -> None:
    started = subprocess.Popen([sys.executable, guard.__file__, sys.executable, "-c", "raise SystemExit(7)"], stdin=-1)
    assert started.wait(timeout=10) == 7
