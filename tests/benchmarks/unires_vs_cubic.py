"""UniRes against interpolation on thick slices cut from real 1 mm scans: ``python -m tests.benchmarks.unires_vs_cubic DATA``.

Slices are averages of 4 or 8 planes; the truth is the scan itself, cut to a multiple. PSNR in dB over the whole image and over
the head (truth above 0), data range from the truth.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from core.geometry.grid import Box
from core.io.nifti import load
from core.methods.base import Measured
from core.methods.registry import build_method
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats

SUBJECTS = ("sub-01", "sub-02", "sub-03", "sub-04")
METHODS = ("linear", "cubic", "unires")


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """In dB over ``mask``."""
    span = float(truth.max() - truth.min())
    return float(10 * np.log10(span**2 / np.mean((image[mask] - truth[mask]).astype(np.float64) ** 2)))


def cases(data: Path) -> Any:
    """Each subject and slice thickness, with the figures of each method."""
    for subject in SUBJECTS:
        whole, grid, _ = load(str(data / f"ds002748/{subject}/anat/{subject}_T1w.nii.gz"))
        for thickness in (4, 8):
            box = Box((0, 0, 0), (*whole.shape[:2], whole.shape[2] // thickness * thickness))
            truth, target = np.ascontiguousarray(whole[box.slices]), grid.crop(box)
            thick = truth.reshape(*truth.shape[:2], -1, thickness).mean(axis=3)
            source = target.refine(2, Fraction(1, thickness))
            yield subject, thickness, truth, target, Measured(thick, source, scan_stats(thick), SliceProfile())


def main(data: Path) -> None:
    """Print a line for each subject, slice thickness and method, and the means."""
    found: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
    for subject, thickness, truth, target, measured in cases(data):
        for name in METHODS:
            start = time.perf_counter()
            (done,) = build_method(name).restore([measured], target)
            seconds = time.perf_counter() - start
            figures = (psnr(done, truth, np.ones(truth.shape, bool)), psnr(done, truth, truth > 0), seconds)
            found.setdefault((thickness, name), []).append(figures)
            line = f"{subject} {thickness} mm {name:7s} {figures[0]:6.2f} dB  head {figures[1]:6.2f} dB  {seconds:5.1f} s"
            print(line, flush=True)  # noqa: T201
    for (thickness, name), all_figures in sorted(found.items()):
        whole, head, seconds = np.mean(all_figures, axis=0)
        print(f"mean   {thickness} mm {name:7s} {whole:6.2f} dB  head {head:6.2f} dB  {seconds:5.1f} s")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
