"""Masks filled by a brain prior: ``python -m tests.benchmarks.prior_filling MODEL T1W --planted 6 --set steps=40 start=``.

Balls are masked in healthy tissue, where the truth is known: PSNR in them (peak: the truth's range), beside scikit-image's
biharmonic inpainting. With ``--mask FILE`` the mask of lesions is filled instead, and the mean in it is told before and after,
relative to the white matter about it: lesions of multiple sclerosis are darker in T1w, and a fill should not be. No services.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from core.evaluation.metrics.image import psnr
from core.geometry.grid import Array
from core.io.nifti import load
from core.methods.base import Measured
from core.methods.registry import build_method
from core.operators.forward_model import LesionMask
from core.stats import scan_stats

ROWS = {"decoder": "inverse-sr-decoder", "cg": "inverse-sr-cg", "ldm": "inverse-sr-ldm", "red": "inverse-sr-red"}
EDGE = 10  # voxels of tissue at least between a ball's centre and the background


def balls(image: Array, count: int, radius: float) -> Array:
    """A mask of balls at seeded places within the brain; voxels of 1 mm or so."""
    inside = ndimage.distance_transform_edt(image > 0) > EDGE
    places = np.argwhere(inside)
    centres = places[np.random.default_rng(0).choice(len(places), count, replace=False)]
    away = np.ones(image.shape, np.bool_)
    away[tuple(centres.T)] = False
    mask: Array = ndimage.distance_transform_edt(away) <= radius
    return mask


def biharmonic(image: Array, mask: Array) -> Array:
    """The same voxels by scikit-image, ball by ball."""
    from skimage.restoration import inpaint_biharmonic

    filled = image.copy()
    labels, _ = ndimage.label(mask)
    for box in ndimage.find_objects(labels):
        wide = tuple(slice(max(0, side.start - 4), side.stop + 4) for side in box)
        filled[wide] = inpaint_biharmonic(image[wide], mask[wide])
    return filled


def told(row: str, restored: Array, truth: Array, mask: Array, took: float, *, planted: bool) -> str:
    """A line: the error in planted masks, or how bright a lesion is beside what lies about it."""
    if planted:
        span = float(truth.max() - truth.min())
        return f"{row:11}  PSNR in the mask {psnr(restored, truth, data_range=span, mask=mask):.2f} dB  {took:.0f} s"
    about = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask) & (truth > 0)
    bright = np.median(truth[about])  # mostly white matter
    return f"{row:11}  mean in the mask {restored[mask].mean() / bright:.3f} of the median about it  {took:.0f} s"


def main() -> None:
    """Print a line for each row."""
    words = argparse.ArgumentParser()
    words.add_argument("model")
    words.add_argument("image", type=Path)
    words.add_argument("--mask", type=Path)
    words.add_argument("--planted", type=int, default=6)
    words.add_argument("--radius", type=float, default=6)
    words.add_argument("--rows", nargs="+", default=["decoder"], choices=list(ROWS))
    words.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the rows")
    said = words.parse_args()
    options: dict[str, Any] = dict(pair.split("=", 1) for pair in said.set)
    truth, grid, _ = load(str(said.image))
    mask = load(str(said.mask))[0] > 0 if said.mask else balls(truth, said.planted, said.radius)
    scan = Measured(np.where(mask, np.float32(0), truth), grid, scan_stats(truth), LesionMask(), noise=(1, 2), mask=mask)
    planted = said.mask is None
    print(told("as it is" if said.mask else "empty", truth if said.mask else scan.image, truth, mask, 0, planted=planted))  # noqa: T201
    print(told("biharmonic", biharmonic(scan.image, mask), truth, mask, 0, planted=planted), flush=True)  # noqa: T201
    for row in said.rows:
        start = time.process_time()
        (restored,) = build_method(ROWS[row], options, said.model).restore([scan], grid)
        print(told(row, restored, truth, mask, time.process_time() - start, planted=planted), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
