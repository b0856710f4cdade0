"""A cohort of so many tiny scans through ``isovox run``, whole: killed on its way, resumed, and verified.

python whole.py COUNT FOLDER      prints, as JSON, times and the driver's memory
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
SHAPE, VOXEL = (16, 16, 8), (8.0, 8.0, 16.0)
WAY = ("--method", "nearest", "--voxel-size", "8", "--cluster", "local", "--workers", "2", "--quiet")


def build(folder: Path, count: int) -> None:
    """A BIDS dataset of tiny balls in noise."""
    from core.geometry.grid import Grid
    from tests.faults.cohorts import DESCRIPTION, write_scan

    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    x, y, z = np.indices(SHAPE) - np.reshape([7.5, 7.5, 3.5], (3, 1, 1, 1))
    ball, draw, grid = 200.0 * (x**2 + y**2 + 4 * z**2 < 40), np.random.default_rng(0), Grid(SHAPE, np.diag([*VOXEL, 1]))
    for number in range(1, count + 1):
        image = (ball + draw.normal(10, 3, SHAPE)).clip(0).astype(np.float32)
        write_scan(folder, f"{number:05}", image, grid)


def done(out: Path) -> int:
    """How many scans have a record."""
    records = out / "isovox" / "scans"
    return sum(entry.name.endswith(".json") for entry in os.scandir(records)) if records.is_dir() else 0


def watch(folder: Path, stop_at: int | None = None) -> dict[str, Any]:
    """Start a run, look at it every second, and kill it where told."""
    out = folder / "out"
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "cli", "run", str(folder / "bids"), str(out), *WAY]
        run = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    me, began, before, seen, first = psutil.Process(run.pid), time.monotonic(), done(out), [], 0.0
    while run.poll() is None:
        count, after = done(out), time.monotonic() - began
        first = first or (after if count > before else 0.0)
        seen.append((count, me.memory_info().rss / 1e6))
        if stop_at and count >= stop_at:
            os.kill(run.pid, signal.SIGKILL)
        time.sleep(1)
    end, spent = done(out), {"code": run.returncode, "s": round(time.monotonic() - began, 1)}
    if end == before:
        return spent | {"new": 0}
    half = next(rss for count, rss in seen if count >= (before + end) // 2)
    memory = {"mb_at_half": round(half), "mb_at_end": round(seen[-1][1])}
    return spent | memory | {"new": end - before, "s_to_first": round(first, 1)}


def run(count: int, folder: Path) -> dict[str, Any]:
    """Build, run until a third is done, kill, and run to the end.

    Args:
        count: how many scans, at least 30.
        folder: new, for all that is written.
    """
    build(folder / "bids", count)
    killed = watch(folder, count // 3)
    resumed = watch(folder)
    again = watch(folder)
    return {"killed": killed, "resumed": resumed, "again": again}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(run(int(sys.argv[1]), Path(sys.argv[2])), indent=1))  # noqa: T201
