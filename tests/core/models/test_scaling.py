"""Intensities go into a network's units and come back; the usual scaling is what it was, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from core.models.scaling import UPPER, Scaling
from core.stats import scan_stats

IMAGE = np.random.default_rng(0).gamma(4, 30, (9, 8, 7)).astype(np.float32) - np.float32(20)
STATS = scan_stats(IMAGE)


@pytest.mark.parametrize("scaling", [UPPER, Scaling(kind="range"), Scaling(kind="range", low=-1)])
def test_there_and_back_again(scaling):
    scaled = scaling.apply(IMAGE, STATS)
    assert scaled.dtype == np.float32
    back = scaling.undo(scaled, STATS)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, IMAGE, atol=1e-4)


def test_the_upper_percentile_becomes_one_and_zero_stays():
    assert (UPPER.apply(IMAGE, STATS) == IMAGE / np.float32(STATS.upper)).all()
    assert np.signbit(UPPER.undo(np.array([-0.0], np.float32), STATS))[0]


def test_a_range_reaches_from_low_to_high():
    scaled = Scaling(kind="range", low=-1).apply(IMAGE, STATS)
    assert (scaled.min(), scaled.max()) == (pytest.approx(-1, abs=1e-6), pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize("scaling", [UPPER, Scaling(kind="range")])
def test_a_constant_scan_stays_finite(scaling):
    flat = np.zeros((3, 3, 3), np.float32)
    assert np.isfinite(scaling.apply(flat, scan_stats(flat))).all()
