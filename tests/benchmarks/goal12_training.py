"""Goal 12: training holds patches, not cohorts: its memory with many scans is that with few."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from infra.pools import SINGLE
from tests.benchmarks.harness import Row, tell, within

SHAPE = (160, 192, 160)  # 20 MB of float32
FEW, MANY = 3, 24
GROWTH = 1.1


def write_cohort(folder: Path, count: int) -> None:
    """So many heads in BIDS."""
    import nibabel

    from tests.phantoms import brain

    (folder / "dataset_description.json").write_text('{"Name": "heads", "BIDSVersion": "1.10.0"}')
    image, _ = brain(SHAPE, noise=3.0, head=True)
    for number in range(1, count + 1):
        path = folder / f"sub-{number:02}" / "anat" / f"sub-{number:02}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.Nifti1Image(np.roll(image, number, 0), np.eye(4)).to_filename(path)


def peak(count: int) -> int:
    """Peak of the resident memory of ``isovox train`` on so many scans, bytes, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder, "cohort")
        cohort.mkdir()
        write_cohort(cohort, count)
        command = [sys.executable, "-m", "tests.benchmarks.goal12_training", str(cohort), folder]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | SINGLE | {"ISOVOX_HOME": folder}
        )
    return int(done.stdout.splitlines()[-1])


def train(cohort: str, folder: str) -> None:
    """In that process: a few steps, and the peak."""
    from cli.main import main

    how = ["--steps", "12", "--validate-every", "6", "--validation-pairs", "4", "--validation", "01", "--quiet"]
    where = ["--out", f"{folder}/training", "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    code = main(["train", "unet-3d", cohort, "--preset", "tiny", *how, *where])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # noqa: T201
    sys.exit(code)


def rows() -> list[Row]:
    """Growth from few scans to many."""
    few, many = peak(FEW), peak(MANY)
    sizes = f"{few / 2**20:.0f} MiB with {FEW} scans, {many / 2**20:.0f} MiB with {MANY}"
    return [within(12, f"training, peak memory: {sizes}", many / few, GROWTH)]


if __name__ == "__main__":
    if sys.argv[1:]:
        train(sys.argv[1], sys.argv[2])
    else:
        tell(rows())
