"""A brain that is found anew is where it was, whatever was made of the scan's brightness."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from core.geometry.grid import Grid
from core.harmonize.images.brain import brain, found_anew

GRID = Grid((84, 84, 84), np.diag([2.0, 2.0, 2.0, 1.0]))


def head(grey: float) -> np.ndarray:
    """White matter within grey, fluid and scalp around them: balls of 52, 66, 72 and 80 mm."""
    far = 2 * np.sqrt(np.square(np.indices(GRID.shape) - 41.5).sum(0))
    image = np.select([far < 52, far < 66, far < 72, far < 80], [180.0, grey, 10.0, 160.0], 0.0)
    return (image + np.random.default_rng(0).normal(0, 2, image.shape)).clip(0).astype(np.float32)


def test_a_heads_brain_has_the_fluid_about_it_and_stays_where_it_was() -> None:
    """Balls of 72 mm with their fluid: what is 4 mm beyond grey matter's border is in, but for T2w, and scalp is not."""
    known = brain(head(120.0), GRID, stripped=False)
    far = 2 * np.sqrt(np.square(np.indices(GRID.shape) - 41.5).sum(0))
    assert known[far < 68].all()
    assert not known[far > 71].any()
    assert not brain(head(120.0), GRID, stripped=False, contrast="T2w")[far > 70].any()
    np.testing.assert_array_equal(found_anew(head(40.0), GRID, known, stripped=False), known)


def test_sulci_are_closed() -> None:
    image = head(120.0)
    image[:, 40:43, 60:] = 10.0  # 6 mm wide, 28 mm deep
    known = brain(image, GRID, stripped=False)
    far = 2 * np.sqrt(np.square(np.indices(GRID.shape) - 41.5).sum(0))
    assert known[far < 62].all()


def test_a_stripped_brain_a_little_less_sharp_is_found_anew() -> None:
    far = 2 * np.sqrt(np.square(np.indices(GRID.shape) - 41.5).sum(0))
    image = np.where(far < 70, head(120.0), np.float32(0))
    known, soft = brain(image, GRID, stripped=True), gaussian_filter(image, 1.5)
    again = found_anew(soft, GRID, known, stripped=True)
    np.testing.assert_array_equal(again, brain(soft, GRID, stripped=True))
    assert not np.array_equal(again, known)
