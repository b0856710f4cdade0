"""Two runs on one output: the second says who works there and leaves; a dead owner blocks nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.faults.cohorts import leftovers, mlflow_states, products
from tests.faults.conftest import OPTIONS, Runner


def test_the_second_run_says_who_works_there_and_leaves(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    slow = {"at": "tasks.pipeline.export:_export", "act": "sleep", "with": "4"}
    first = isovox.start("run", cohort, out, *OPTIONS, faults=[slow])
    first.wait_for((out / "isovox" / "lock.json").exists)
    said = isovox("run", cohort, out, *OPTIONS, code=75)
    assert "already-running" in said
    assert f"process {first.pid}" in said
    assert socket.gethostname() in said
    assert first.wait() == 0
    assert products(out) == expected
    assert leftovers(out) == []


@pytest.mark.slow
def test_a_run_that_both_saw_free_is_left_to_the_first(isovox: Runner, cohort: Path, out: Path) -> None:
    late = {"at": "flows.runs.launch:run_flow", "act": "sleep", "with": "3"}
    slow = {"at": "tasks.pipeline.export:_export", "act": "sleep", "with": "8"}
    second = isovox.start("run", cohort, out, *OPTIONS, faults=[late])
    first = isovox.start("run", cohort, out, *OPTIONS, faults=[slow])
    assert second.wait() == 75
    assert "already-running" in second.text
    assert first.wait() == 0


@pytest.mark.slow
def test_sigterm_ends_a_run_in_order_and_the_next_completes_it(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    slow = {"at": "tasks.pipeline.export:_export", "from": 2, "act": "sleep", "with": "60"}
    run = isovox.start("run", cohort, out, *OPTIONS, faults=[slow])
    run.wait_for((out / "sub-01" / "anat" / "sub-01_desc-restored_T1w.json").exists)
    time.sleep(0.5)
    asked = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait() in {143, -signal.SIGTERM}, run.text
    assert time.monotonic() - asked < 40
    assert "KILLED" in mlflow_states(out)
    assert "RUNNING" not in mlflow_states(out)
    assert not (out / "isovox" / "lock.json").exists()
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert set(mlflow_states(out)) == {"FINISHED"}


@pytest.mark.slow
def test_the_lock_of_a_dead_process_is_taken_over(isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]) -> None:
    dead = {"token": "x", "host": socket.gethostname(), "user": "someone", "pid": 2**22 - 1, "born": 1.0, "since": "", "beat": 0}
    (out / "isovox" / "lock.json").write_text(json.dumps(dead))
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert leftovers(out) == []
