"""Goal 4: cubic interpolation between slices against scipy, both in one run, in turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from tests.benchmarks.harness import Row, faster, in_turns, tell, within

SHAPE, FACTOR = (160, 224, 40), 4
ROUNDS = 7


def rows() -> list[Row]:
    """Speed against scipy's affine transform (same geometry, ends mirrored), and the largest difference for values in 0..1."""
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    source = Grid(SHAPE, np.diag([1.0, 1.0, float(FACTOR), 1.0]))
    target = source.isotropic(1.0)
    (_, _, (scale, offset)) = source.index_map(target)

    def ours() -> Any:
        return interpolate(image, source, target, 3)

    def peer() -> Any:
        return ndimage.affine_transform(
            image, [1, 1, scale], [0, 0, offset], target.shape, output=np.float32, order=3, mode="mirror"
        )

    difference = float(np.abs(ours() - peer()).max())
    mine, theirs = in_turns([ours, peer], ROUNDS)
    return [
        faster(4, "cubic, 4 mm slices to 1 mm, CPU s (scipy)", mine, theirs, 80),
        within(4, "cubic, largest difference from scipy", difference, 1e-6),
    ]


if __name__ == "__main__":
    tell(rows())
