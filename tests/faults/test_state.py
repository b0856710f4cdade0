"""``kill -9`` in the middle of a scan that is restored step by step: the next run goes on from its last state, bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from core.io.arrays.named_arrays import read_about
from tests.faults.cohorts import build_cohort, leftovers, products, states
from tests.faults.conftest import Runner

STEPS, KILLED = 12, 8
STEP = "core.methods.unires.joint_tv:Problem.advance"
OPTIONS = ("--method", "unires", "--method-options", f"iterations={STEPS}", "tolerance=0", "--voxel-size", "2")
AT_ONCE = ("--state-minutes", "0", "--workers", "1")
ALWAYS = {"core.engine.iterate:SHARE": 1e9}


def note(path: Path, **where: Any) -> dict[str, Any]:
    """Count the steps that are made."""
    return {"at": STEP, "act": "note", "with": str(path), "to": 10**6, **where}


def count(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.fixture(scope="module")
def one_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cohort(tmp_path_factory.mktemp("cohort") / "bids", 1, (30, 36, 10))


@pytest.fixture(scope="module")
def undisturbed(isovox: Runner, one_scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    isovox("run", one_scan, folder, *OPTIONS)
    return folder


def test_a_run_killed_in_mid_scan_goes_on_from_its_last_state(
    isovox: Runner, one_scan: Path, undisturbed: Path, out: Path, tmp_path: Path
) -> None:
    killed = [{"at": STEP, "from": KILLED, "act": "kill"}]
    isovox("run", one_scan, out, *OPTIONS, *AT_ONCE, faults=killed, constants=ALWAYS, code=-signal.SIGKILL)
    state = out / "isovox" / "state" / "sub-01_T1w.safetensors"
    assert read_about(str(state))["step"] == KILLED - 1
    isovox("run", one_scan, out, *OPTIONS, faults=[note(tmp_path / "steps")])
    assert count(tmp_path / "steps") == STEPS - (KILLED - 1)
    assert products(out) == products(undisturbed)
    assert leftovers(out) == []
    assert set(states(out).values()) == {("done", "")}
    record = json.loads((out / "isovox" / "scans" / "sub-01_T1w.json").read_text())
    assert [step for step, _ in record["steps"]["relative_change"]] == list(range(1, STEPS + 1))
    assert record["steps"] == json.loads((undisturbed / "isovox" / "scans" / "sub-01_T1w.json").read_text())["steps"]


@pytest.mark.slow
def test_a_worker_killed_in_mid_scan_hands_its_state_to_the_next(
    isovox: Runner, one_scan: Path, undisturbed: Path, out: Path, tmp_path: Path
) -> None:
    killed = {"at": STEP, "from": KILLED, "act": "kill", "once": str(tmp_path / "once"), "in_worker": True}
    options = (*OPTIONS, *AT_ONCE, "--cluster", "local")
    isovox("run", one_scan, out, *options, faults=[killed, note(tmp_path / "steps", in_worker=True)])
    assert count(tmp_path / "steps") <= KILLED + STEPS - 1  # all from the first step on would be one more
    assert products(out) == products(undisturbed)
    assert leftovers(out) == []
