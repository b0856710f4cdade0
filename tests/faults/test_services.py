"""Prefect's or MLflow's server away, or gone in mid-run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psutil
import pytest

from tests.faults.cohorts import mlflow_states, products, restored, states
from tests.faults.conftest import OPTIONS, Runner

IMPATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "1"}  # by default Prefect's client asks a server that is gone for four minutes
GONE = ("--tracking-uri", "http://127.0.0.1:9")


@pytest.mark.slow
def test_without_mlflow_the_run_goes_on(isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]) -> None:
    said = isovox("run", cohort, out, *OPTIONS, *GONE)
    assert "planned 3 = 3 done" in said
    assert products(out) == expected
    assert (out / "isovox" / "tracking-unsent.jsonl").exists()


@pytest.mark.slow
def test_mlflow_gone_in_mid_run_is_told_later(isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]) -> None:
    lost = {"at": "mlflow:MlflowClient.log_batch", "from": 3, "to": 99, "act": "drop"}
    isovox("run", cohort, out, *OPTIONS, faults=[lost])
    assert products(out) == expected
    (out / "report.html").unlink()  # something to do
    isovox("run", cohort, out, *OPTIONS)
    assert mlflow_states(out) == ["FINISHED"] * 4
    assert not (out / "isovox" / "tracking-unsent.jsonl").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", ["restore", "export"])
def test_prefect_gone_in_mid_run_costs_nothing_that_was_done(
    isovox: Runner, plain_environment: dict[str, str], cohort: Path, out: Path, expected: dict[str, str], moment: str
) -> None:
    at = {"restore": "tasks.restore.work:_restore", "export": "tasks.pipeline.export:_export"}[moment]
    slow = {"at": at, "match": "sub-02", "act": "sleep", "with": "5"}
    run = isovox.start_alone("run", cohort, out, *OPTIONS, faults=[slow], env=plain_environment | IMPATIENT)
    first = {"restore": "isovox/cohort.zarr/sub-01_T1w/measured/zarr.json", "export": "isovox/scans/sub-01_T1w.json"}[moment]
    run.wait_for((out / first).exists)
    server = psutil.Process(json.loads((out / "isovox" / "prefect-server.json").read_text())["pid"])
    for process in [*server.children(recursive=True), server]:
        process.kill()
    run.wait()
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert set(states(out).values()) == {("done", "")}
    assert set(mlflow_states(out)) == {"FINISHED"}


@pytest.mark.slow
def test_a_run_with_a_server_of_its_own_gives_the_same_bytes_and_leaves_no_process(
    isovox: Runner, plain_environment: dict[str, str], cohort: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = isovox.start_alone("run", cohort, out, *OPTIONS, env=plain_environment)
    run.wait_for((out / "isovox" / "prefect-server.json").exists)
    started = psutil.Process(run.pid).children(recursive=True)
    assert run.wait() == 0, run.text
    assert products(out) == expected
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    shutil.rmtree(out / "isovox" / "prefect")
    assert len(restored(out)) == 3
