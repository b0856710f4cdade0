"""Being told to stop, wherever the main thread is at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FINALISED = """
import os, signal, sys, time, weakref
from infra.processes import signals
signals.end_in_one_line("kept")
class Lock: pass
def gone(_):  # as of a lock that an import leaves: nothing that is raised here comes out
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.05)
lock = Lock()
seen = weakref.ref(lock, gone)
try:
    del lock
    for _ in range(100):
        time.sleep(0.1)
    os.write(1, b"went on")
finally:
    os.write({pipe}, b"closed")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_where_python_lets_nothing_out_unwinds_all_the_same(tmp_path: Path, name: str) -> None:
    with (tmp_path / "said").open("w+b") as said:
        code = FINALISED.format(name=name, pipe=said.fileno())
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False, pass_fds=[said.fileno()])
        said.seek(0)
        assert said.read() == b"closed"
    assert b"stopped by" in run.stderr
    assert b"went on" not in run.stdout
    assert run.returncode in {128 + signal.SIGTERM, -signal.SIGINT, 1}
