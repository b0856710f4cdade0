"""Rows of InverseSR's table 1: ``python -m tests.benchmarks.prior_table MODEL DATA --persons 01 --rows decoder --set steps=40``.

Axial slices of true scans are dropped, all but one in ``--factor``, or with ``--thick`` averaged over so many, and restored;
figures are those of the protocol, without and with the measured slices put back (dropped slices alone can be). No services, one
process. ``--set start=cubic`` begins where the prior's mean code is not wanted; ``--atlas`` then finds the prior's frame by the
atlas that it was trained in, not by its mean image.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.geometry.grid import Array, Box, Grid
from core.io.nifti import load
from core.methods.base import Measured
from core.methods.inverse_sr.frame import moved, picked
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.protocol import scores
from core.methods.inverse_sr.windows import placed
from core.methods.registry import build_method
from core.operators.forward import Beside
from core.operators.forward_model import DroppedSlices, SliceProfile
from core.stats import scan_stats

ROWS = {"decoder": "inverse-sr-decoder", "ldm": "inverse-sr-ldm", "red": "inverse-sr-red", "cg": "inverse-sr-cg"}


def seen(path: Path, factor: int, *, thick: bool) -> tuple[Measured, Array, Grid]:
    """A scan that lacks slices, or whose slices are thick, its truth, and the truth's grid."""
    image, grid, _ = load(str(path))
    whole = grid.shape[2] // factor * factor if thick else (grid.shape[2] - 1) // factor * factor + 1
    box = Box((0, 0, 0), (*grid.shape[:2], whole))
    truth, target = np.ascontiguousarray(image[box.slices]), grid.crop(box)
    forward = SliceProfile(factor=factor) if thick else DroppedSlices(factor=factor)
    made = forward.degrade(truth, target, 2, np.random.default_rng(0), Beside(None))
    return Measured(made.image, made.grid, scan_stats(made.image), forward, noise=(1, 2)), truth, target


def line(person: str, row: str, kept: str, restored: Array, truth: Array, took: float) -> str:
    """Of the table."""
    said = "  ".join(f"{name} {value:.4f}" for name, value in scores(restored, truth, None).items())
    return f"sub-{person}  {row:8}  {kept:16}  {said}  {took:.0f} s"


def main() -> None:
    """Print two lines for each person and row."""
    words = argparse.ArgumentParser()
    words.add_argument("model")
    words.add_argument("data", type=Path)
    words.add_argument("--persons", nargs="+", default=["01", "02", "03", "04"])
    words.add_argument("--rows", nargs="+", default=["decoder"], choices=[*ROWS, "unires"])
    words.add_argument("--factor", type=int, default=4)
    words.add_argument("--thick", action="store_true")
    words.add_argument("--atlas", action="store_true")
    words.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the rows")
    said = words.parse_args()
    options: dict[str, Any] = dict(pair.split("=", 1) for pair in said.set)
    for person in said.persons:
        path = said.data / f"ds002748/sub-{person}/anat/sub-{person}_T1w.nii.gz"
        scan, truth, target = seen(path, said.factor, thick=said.thick)
        cubic = build_method("cubic").restore([scan], target)[0]
        print(line(person, "cubic", "as it is", cubic, truth, 0), flush=True)  # noqa: T201
        if said.atlas:
            options["register_scan"] = "false"
            window = Prior.load(said.model).window
            rigid = placed(cubic, target, window).affine @ np.linalg.inv(window.affine)
            scan, target = (replace(scan, grid=moved(scan.grid, np.linalg.inv(rigid))), moved(target, np.linalg.inv(rigid)))
        for row in said.rows:
            start = time.process_time()
            wanted = options | {"keep_measured": "false"} if row in ROWS else {}
            (restored,) = build_method(ROWS.get(row, row), wanted, said.model if row in ROWS else None).restore([scan], target)
            took = time.process_time() - start
            print(line(person, row, "not put back", restored, truth, took), flush=True)  # noqa: T201
            if (measured := picked(scan, target)) is not None:
                print(line(person, row, "put back", measured.put(restored), truth, took), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
