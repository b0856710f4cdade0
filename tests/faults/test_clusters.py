"""Wherever the work runs, however it is cut, and whichever worker dies: the same bytes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from core.methods import registry
from tests.faults.cohorts import leftovers, mlflow_states, products, restored, states
from tests.faults.conftest import OPTIONS, Runner

pytestmark = pytest.mark.timeout(900)  # workers that die are slow to come back on a machine that is busy
LOCAL = ("--cluster", "local", "--workers", "2")
WAYS = {
    "one worker": ("--workers", "1"),
    "tiles": ("--mode", "tile"),
    "four workers, tiles": ("--mode", "tile", "--workers", "4"),
    "Dask": ("--mode", "scan", *LOCAL),
    "Dask, tiles": ("--mode", "tile", *LOCAL),
}


FAST = "four workers, tiles"


def alike(out: Path) -> dict[str, str]:
    """The store's voxels and the restored scans."""
    return {name: digest for name, digest in products(out).items() if not name.endswith(".json")}


@pytest.mark.parametrize("way", [pytest.param(one, marks=() if one == FAST else pytest.mark.slow) for one in WAYS])
def test_interpolation_gives_the_same_bytes(isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], way: str) -> None:
    isovox("run", cohort, out, *OPTIONS, *WAYS[way])
    assert products(out) == expected
    assert leftovers(out) == []
    scans = json.loads((out / "isovox" / "plan.json").read_text())["scans"]
    assert {scan["mode"] for scan in scans} == {"tile" if "tile" in way else "scan"}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small UNet that was never trained."""
    import torch

    from core.models.bundle import save_model
    from core.networks import build

    config = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "unet"
    save_model(str(folder), "UNet", config, build("UNet", config).state_dict(), "Never trained: for tests.")
    return folder


def untrained(method: str, folder: Path) -> Path:
    """A method's smallest network with random weights."""
    registry.resolve(registry.family_of(method).mock)(str(folder), method)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.learned())
def test_a_network_gives_the_same_bytes_by_scan_and_by_tile(isovox: Runner, cohort: Path, tmp_path: Path, method: str) -> None:
    model = untrained(method, tmp_path / "model")
    how = ("--method", method, "--model", model, "--voxel-size", "2", "--patch", "32", "--overlap", "8")
    quick = [f"{name}={value}" for name, value in registry.methods()[method].quick.items()]
    how = (*how, "--participant-label", "01", "02", *(("--method-options", *quick) if quick else ()))
    isovox("run", cohort, tmp_path / "scan", *how, "--mode", "scan", "--workers", "1")
    whole = alike(tmp_path / "scan")
    assert len([name for name in whole if "restored " in name]) == 2
    for name, way in {"tile": ("--workers", "2"), "dask": LOCAL}.items():
        isovox("run", cohort, tmp_path / name, *how, "--mode", "tile", *way)
        assert alike(tmp_path / name) == whole
        assert leftovers(tmp_path / name) == []


@pytest.mark.slow
def test_tiles_survive_a_killed_run_and_are_not_predicted_again(
    isovox: Runner, cohort: Path, tmp_path: Path, model: Path
) -> None:
    how = ("--method", "network", "--model", model, "--voxel-size", "2", "--patch", "32", "--overlap", "8")
    how = (*how, "--participant-label", "01", "--mode", "tile", "--workers", "1")
    isovox("run", cohort, tmp_path / "whole", *how)
    kill = {"at": "core.io.arrays.store:Store.write_tile", "from": 9, "act": "kill"}
    isovox("run", cohort, tmp_path / "out", *how, faults=[kill], code=-signal.SIGKILL)
    plan = json.loads((tmp_path / "out" / "isovox" / "plan.json").read_text())
    again = {"at": "core.io.arrays.store:Store.write_tile", "from": plan["scans"][0]["tiles"] - 7, "act": "kill"}
    isovox("run", cohort, tmp_path / "out", *how, faults=[again])
    assert products(tmp_path / "out") == products(tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_killed_in_mid_restore_is_replaced(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    once = str(tmp_path / "died")
    kill = {"at": "core.io.arrays.store:Store.write_block", "match": "restored", "act": "kill", "once": once, "in_worker": True}
    isovox("run", cohort, out, *OPTIONS, *LOCAL, faults=[kill])
    assert Path(once).exists()
    assert products(out) == expected
    assert set(mlflow_states(out)) == {"FINISHED"}


@pytest.mark.slow
def test_a_scan_that_kills_its_workers_fails_alone(isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]) -> None:
    kill = {"at": "core.io.arrays.store:Store.write_block", "match": "sub-02_T1w/cubic/restored", "to": 99, "act": "kill"}
    said = isovox("run", cohort, out, *OPTIONS, *LOCAL, faults=[kill | {"in_worker": True}], code=3)
    assert states(out) == {
        "sub-01_T1w": ("done", ""),
        "sub-02_T1w": ("failed", "worker-killed"),
        "sub-03_T1w": ("done", ""),
    }
    assert "worker-killed" in said
    assert restored(out).items() <= {Path(name).name: digest for name, digest in expected.items()}.items()
    assert "1 done + 2 skipped" in isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_a_run_that_is_stopped(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], number: signal.Signals
) -> None:
    sleep = {
        "at": "core.io.arrays.store:Store.write_block",
        "match": "restored",
        "act": "sleep",
        "with": "100",
        "in_worker": True,
    }
    run = isovox.start("run", cohort, out, *OPTIONS, *LOCAL, faults=[sleep])
    process = psutil.Process(run.pid)
    run.wait_for(lambda: list(out.glob("isovox/cohort.zarr/*/cubic/restored/zarr.json")))
    workers = process.children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(number)
    assert run.wait() in {128 + number, -number}
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert set(mlflow_states(out)) == {"FINISHED"}
