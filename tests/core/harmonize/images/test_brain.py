"""A brain that is found anew is where it was, whatever was made of the scan's brightness."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from core.geometry.grid import Grid
from core.harmonize.images.brain import KEPT, brain, found_anew

GRID = Grid((84, 84, 84), np.diag([2.0, 2.0, 2.0, 1.0]))


def head(grey: float) -> np.ndarray:
    """White matter within grey, fluid and scalp around them: balls of 52, 66, 72 and 80 mm."""
    far = 2 * np.sqrt(np.square(np.indices(GRID.shape) - 41.5).sum(0))
    image = np.select([far < 52, far < 66, far < 72, far < 80], [180.0, grey, 10.0, 160.0], 0.0)
    return (image + np.random.default_rng(0).normal(0, 2, image.shape)).clip(0).astype(np.float32)


def test_where_grey_matter_is_below_the_threshold_the_brain_stays_where_it_was() -> None:
    known = brain(head(120.0), GRID, stripped=False)
    dark = head(40.0)
    assert np.count_nonzero(brain(dark, GRID, stripped=False)) < KEPT * np.count_nonzero(known)
    np.testing.assert_array_equal(found_anew(dark, GRID, known, stripped=False), known)


def test_where_scalp_is_taken_for_brain_the_brain_stays_where_it_was() -> None:
    known = brain(head(120.0), GRID, stripped=False)
    bridged = np.maximum(head(120.0), np.where(np.indices(GRID.shape)[2] > 41, head(120.0).max() * (head(120.0) > 4), 0)).astype(
        np.float32
    )
    assert np.count_nonzero(brain(bridged, GRID, stripped=False)) * KEPT > np.count_nonzero(known)
    np.testing.assert_array_equal(found_anew(bridged, GRID, known, stripped=False), known)


def test_a_little_less_sharp_it_is_found_anew() -> None:
    known, soft = brain(head(120.0), GRID, stripped=False), gaussian_filter(head(120.0), 1.5)
    again = found_anew(soft, GRID, known, stripped=False)
    np.testing.assert_array_equal(again, brain(soft, GRID, stripped=False))
    assert not np.array_equal(again, known)
