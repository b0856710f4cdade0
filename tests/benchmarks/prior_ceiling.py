"""What a brain prior can show at best: ``python -m tests.benchmarks.prior_ceiling MODEL DATA [PERSON …]``.

Images of persons 53 to 60, whom it was not trained on, or of those named, are coded and decoded, and held against the same
person's thick slices (4 voxels of 1 mm) under cubic interpolation. PSNR in dB over the whole image, data range 1 (the 99.9th
percentile).

    native    on the scan's own grid: through the window and back, with the autoencoder and without it
    window    on the prior's grid: the autoencoder, and cubic of slices of 4 of its voxels
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.io.nifti import load
from core.methods.inverse_sr import windows
from core.methods.inverse_sr.frame import Frame
from core.methods.inverse_sr.prior import Prior
from core.operators.forward import Beside
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats

PERSONS = [str(number) for number in range(53, 61)]
FACTOR = 4


def psnr(image: Array, truth: Array) -> float:
    """In dB."""
    return float(-10 * np.log10(np.mean(np.square(image.astype(np.float64) - truth))))


def cubic(truth: Array, grid: Grid) -> tuple[Array, Array]:
    """The truth, cut to whole slices, and what cubic interpolation makes of its slices."""
    box = Box((0, 0, 0), (*grid.shape[:2], grid.shape[2] // FACTOR * FACTOR))
    whole, part = np.ascontiguousarray(truth[box.slices]), grid.crop(box)
    seen = SliceProfile(factor=FACTOR).degrade(whole, part, 2, np.random.default_rng(0), Beside(None))
    return interpolate(seen.image, seen.grid, part, 3), whole


def figures(prior: Prior, path: Path) -> dict[str, float]:
    """Of one person."""
    image, grid, _ = load(str(path))
    truth = image / np.float32(scan_stats(image).upper)
    there = windows.placed(truth, grid, prior.window)
    window = windows.seen_on(truth, grid, there)
    with torch.no_grad():
        decoded = prior.decode(prior.encode(torch.from_numpy(window)[None, None]))[0, 0].numpy()
    frame, nothing = Frame(there), np.zeros_like(truth)
    return {
        "native cubic": psnr(*cubic(truth, grid)),
        "native window": psnr(frame.bring(window, grid, nothing), truth),
        "native autoencoder": psnr(frame.bring(decoded, grid, nothing), truth),
        "window cubic": psnr(*cubic(window, prior.window)),
        "window autoencoder": psnr(decoded, window),
    }


def main(model: str, data: Path, persons: Sequence[str] = PERSONS) -> None:
    """Print a line for each person, and the means."""
    prior = Prior.load(model)
    rows = []
    for number in persons:
        rows.append(figures(prior, data / f"ds002748/sub-{number}/anat/sub-{number}_T1w.nii.gz"))
        print(f"sub-{number} " + "  ".join(f"{name} {value:.2f}" for name, value in rows[-1].items()), flush=True)  # noqa: T201
    print("mean   " + "  ".join(f"{name} {np.mean([row[name] for row in rows]):.2f}" for name in rows[0]))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:] or PERSONS)
