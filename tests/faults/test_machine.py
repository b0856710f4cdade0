"""Small machines: little memory for a large scan, hardly any shared memory."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.io import nifti
from tests.faults.cohorts import products, states
from tests.faults.conftest import OPTIONS, Runner
from tests.faults.test_clusters import LOCAL

SHARED = "256k"  # less than one image of the cohort takes; a container has 64 MB
WITHIN = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
MOUNT = f'mount -t tmpfs -o size={SHARED} tmpfs /dev/shm && exec "$@"'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_needs_no_shared_memory(
    isovox: Runner, plain_environment: dict[str, str], cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    within = [*WITHIN, MOUNT, "sh"]
    if not shutil.which("unshare") or subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a namespace with a /dev/shm of its own")
    assert b"256K" in subprocess.run([*within, "df", "-h", "/dev/shm"], capture_output=True, check=True).stdout  # noqa: S108
    run = isovox.start_alone("run", cohort, out, *OPTIONS, *LOCAL, "--mode", "tile", env=plain_environment, within=within)
    assert run.wait() == 0, run.text
    assert products(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_scan_of_512_voxels_an_axis_fits_into_2_gib_and_into_its_forecast(isovox: Runner, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = np.zeros((512, 512, 128), np.float32)
    x, y, z = np.ogrid[-1:1:512j, -1:1:512j, -1:1:128j]
    for plane in range(128):
        head = 1000.0 * (x**2 + y**2 + z[..., plane : plane + 1] ** 2 < 0.8)[..., 0]
        image[..., plane] = np.hypot(head + random.normal(0, 20, head.shape), random.normal(0, 20, head.shape))
    scan, out, peak = tmp_path / "sub-01_T1w.nii.gz", tmp_path / "out", tmp_path / "peak"
    nifti.save(str(scan), image, Grid(image.shape, np.diag([0.45, 0.45, 1.8, 1])), None)
    tell = {"at": "flows.reprocess:_close", "act": "tell-peak", "with": str(peak), "after": True}
    how = ("--method", "cubic", "--voxel-size", "0.45", "--workers", "1")
    run = isovox.start_alone("run", scan, out, *how, faults=[tell], env=isovox.environment)
    assert run.wait() == 0, run.text
    assert set(states(out).values()) == {("done", "")}
    (planned,) = json.loads((out / "isovox" / "plan.json").read_text())["scans"]
    assert planned["target"]["shape"] == [512, 512, 512]
    assert int(peak.read_text()) < 2 * 2**30
    assert int(peak.read_text()) < planned["forecast"]["memory"]
