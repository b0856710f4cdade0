"""A small cohort of real anatomy, one Prefect server for all runs, and runs as a user starts them: as processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
HOW = ("--method", "cubic", "--voxel-size", "2")
Run = Callable[..., subprocess.CompletedProcess]

INJECTED = """
import os, signal, sys
from importlib import import_module
module, _, name = {where!r}.partition(":")
owner = import_module(module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
real, calls = getattr(owner, last), []
def counted(*args, **kwargs):
    calls.append(1)
    if len(calls) == {number}:
        {action}
    return real(*args, **kwargs)
setattr(owner, last, counted)
from flows.cli import main
sys.exit(main(sys.argv[1:]))
"""
PLAIN = "import sys; from flows.cli import main; sys.exit(main())"


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from infra.services import START, start_prefect

    service = start_prefect(tmp_path_factory.mktemp("prefect"))
    try:
        service.wait_healthy(START)
        yield f"{service.url}/api"
    finally:
        service.stop()


@pytest.fixture(scope="session")
def anatomy() -> tuple[np.ndarray, np.ndarray]:
    """Slices of 6 mm at 2 x 2 mm from the MNI152 T1w, with noise, and their affine."""
    from flows.demo import load_template

    image, grid = load_template()
    nx, ny, nz = (n // size for n, size in zip(image.shape, (2, 2, 6), strict=True))
    thick = image[: nx * 2, : ny * 2, : nz * 6].reshape(nx, 2, ny, 2, nz, 6).mean(axis=(1, 3, 5))
    affine = grid.affine @ np.diag([2, 2, 6, 1.0])
    noise = np.random.default_rng(0).normal(0, 0.01, thick.shape)
    return (1000 * np.abs(thick + noise)).astype(np.int16), affine


def write_scan(folder: Path, label: str, image: np.ndarray, affine: np.ndarray) -> Path:
    import nibabel

    path = folder / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


def write_cohort(folder: Path, anatomy: tuple[np.ndarray, np.ndarray]) -> Path:
    folder.mkdir()
    (folder / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    image, affine = anatomy
    write_scan(folder, "01", image, affine)
    write_scan(folder, "02", image[:, ::-1], affine)
    return folder


@pytest.fixture
def cohort(tmp_path: Path, anatomy: tuple[np.ndarray, np.ndarray]) -> Path:
    """Two scans in a BIDS dataset."""
    return write_cohort(tmp_path / "data", anatomy)


@pytest.fixture(scope="session")
def run(prefect_url: str) -> Run:
    """Start ``isovox`` with these words; where ``at`` names a function, do ``action`` at its n-th call."""

    def start(*words: object, at: str = "", number: int = 1, action: str = "os.kill(os.getpid(), signal.SIGKILL)"):
        code = INJECTED.format(where=at, number=number, action=action) if at else PLAIN
        environ = os.environ | {"PREFECT_API_URL": prefect_url, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=240, check=False)

    return start


def fingerprints(out: Path) -> dict[str, str]:
    """The sha256 of what a run exports: images and sidecars."""
    paths = sorted([*out.glob("sub-*/**/*.nii.gz"), *out.glob("sub-*/**/*.json")])
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="session")
def finished(run: Run, anatomy: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing disturbed; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    done = run("run", write_cohort(folder / "data", anatomy), folder / "out", *HOW)
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="session")
def undisturbed(finished: Path) -> dict[str, str]:
    """Digests of what that run exported."""
    return fingerprints(finished)
