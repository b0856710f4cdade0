"""Interpolation as methods: slab by slab what the whole volume gives."""

from __future__ import annotations

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.methods.base import Measured
from core.methods.interpolation.method import Cubic, Linear, Nearest
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats

METHODS = (Nearest, Linear, Cubic)


def scan(shape=(20, 22, 12), spacing=(1.0, 1.0, 4.0), seed=0) -> tuple[np.ndarray, Grid]:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-30, 12, 5)
    return np.random.default_rng(seed).random(shape, dtype=np.float32), Grid(shape, affine)


def measured(image, grid) -> Measured:
    return Measured(image, grid, scan_stats(image), SliceProfile())


@pytest.mark.parametrize("kind", METHODS)
def test_slabs_from_crops_give_the_whole_volume(kind):
    image, grid = scan((9, 8, 60), (1.0, 1.3, 4.0))
    target = grid.isotropic(1.0)
    method = kind()
    tiling = method.tiling(grid, target, TilingSettings())
    assert len(tiling) == 4
    whole = method.restore([measured(image, grid)], target)[0]
    for tile in tiling.tiles():
        part = measured(image, grid).crop(method.source_box(grid, target, tile))
        assert part.image.size < image.size
        (done,) = method.restore([part], target.crop(tile.read))
        assert done.dtype == np.float32
        np.testing.assert_allclose(done, whole[tile.read.slices], atol=5e-7, rtol=0)
