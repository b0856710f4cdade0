"""Peak memory and time of a harmonisation of many small scans of three sites, killed half way and gone on with.

    python -m tests.benchmarks.harmonize_scale --scans 1000

Each scan is a phantom of 24^3 voxels of 8 mm; all steps are on. Printed is a line a run: scans, seconds, peak memory of
the largest process (of the run's and of those that it waited for), and how many harmonised scans there are. The first run is
killed once a third of the scans is harmonised.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from tests.phantoms import brain

SITES = {"oslo": (1.0, 2.0), "bonn": (9.0, 4.0), "york": (3.0, 6.0)}  # brightness and noise
VOXEL = 8.0
OPTIONS = "--intensity tissues --bias-field --resolution --curve --noise-level --brain-only --reference-site oslo --quiet"


def write(folder: Path, scans: int) -> list[str]:
    """The sites' datasets; NAME=PATH of each."""
    for number in range(scans):
        site, (gain, noise) = list(SITES.items())[number % len(SITES)]
        image = gain * brain((24, 24, 24), seed=number, noise=noise)[0]
        path = folder / site / f"sub-{number:04d}" / "anat" / f"sub-{number:04d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([VOXEL, VOXEL, VOXEL, 1.0])), path)
    return [f"{site}={folder / site}" for site in SITES]


def written(out: Path) -> int:
    """Harmonised scans."""
    return len(list((out / "harmonized").rglob("*desc-harmonized*.nii.gz")))


def run(words: list[str], out: Path, stop_at: int, workers: int) -> str:
    """A run, killed once so many scans are harmonised; what it took."""
    said = ["--voxel-size", f"{VOXEL:g}", "--cluster", "in-process", "--workers", str(workers), *OPTIONS.split()]
    start, log = time.monotonic(), out.parent / "log.txt"
    environment = os.environ | {"ISOVOX_HOME": str(out.parent / "home")}
    with log.open("w") as told:
        command = [sys.executable, "-m", "cli", "harmonize", *words, str(out), *said]
        process = subprocess.Popen(command, start_new_session=True, env=environment, stdout=told, stderr=told)
    ended, status, used = os.wait4(process.pid, os.WNOHANG)
    while not ended:
        time.sleep(1)
        if written(out) >= stop_at:
            os.killpg(process.pid, signal.SIGKILL)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, -signal.SIGKILL}:
        sys.stdout.write(log.read_text())
    peak = used.ru_maxrss / 1024
    took = f"{time.monotonic() - start:.0f} s, {used.ru_utime:.0f} s of CPU"
    return f"{took}, at most {peak:.0f} MB, {written(out)} harmonised, code {code}"


def main() -> None:
    """Write, run, kill, run again, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words, out = write(Path(folder), said.scans), Path(folder) / "out"
        for name, stop_at in (("killed", said.scans // 3), ("went on", said.scans + 1), ("again", said.scans + 1)):
            sys.stdout.write(f"{said.scans} scans, {name}: {run(words, out, stop_at, said.workers)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
