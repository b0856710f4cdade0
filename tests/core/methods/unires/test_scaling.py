"""Bands of alternate slices are divided out before the scan is explained, where they are found and it is wanted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from core.engine.restore import restore_whole
from core.geometry.grid import Grid
from core.methods.base import Measured
from core.methods.unires.method import UniRes, UniResSettings
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats
from tests.phantoms import brain

HOW = {"iterations": 3}


def scan(gain: float) -> tuple[Measured, Grid]:
    """A head in 20 slices of 4 mm whose even ones are brighter by a share."""
    sharp, _ = brain((48, 48, 80), noise=2.0, head=True)
    grid = Grid(sharp.shape, np.eye(4))
    source = grid.refine(2, Fraction(1, 4))
    image = SliceProfile().operator(source, grid).forward(sharp)
    image[:, :, ::2] *= np.float32(1 + gain)
    return Measured(image, source, scan_stats(image), SliceProfile()), grid


def restored(gain: float, *, scaling: bool) -> np.ndarray:
    measured, grid = scan(gain)
    return restore_whole(UniRes(UniResSettings(scaling=scaling, **HOW)), [measured], grid)


def test_planted_bands_are_taken_out_of_the_restored_image() -> None:
    clean = restored(0.0, scaling=True)
    inside = clean > 20
    left, taken = (restored(0.12, scaling=scaling) for scaling in (False, True))
    off = [np.std(image[inside] / clean[inside]) for image in (left, taken)]
    assert off[1] < off[0] / 2


def test_a_scan_without_bands_gives_the_very_bits_with_and_without_scaling() -> None:
    np.testing.assert_array_equal(restored(0.0, scaling=True), restored(0.0, scaling=False))
    assert UniRes(UniResSettings(scaling=False)).evens is False
