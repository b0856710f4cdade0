"""Intensities go into a network's units and come back; the usual scaling is what it was, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from core.models.domain import RINGING
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


@pytest.mark.parametrize("offset", [-0.5, -50.0])
def test_air_below_zero_is_shown_as_zero_and_ringing_stays_where_it_is(offset):
    image = IMAGE - IMAGE.min() + np.float32(offset)
    stats = scan_stats(image)
    scaled = UPPER.apply(image, stats)
    if offset < -RINGING * stats.upper:
        assert scaled.min() == 0
        assert np.percentile(scaled, 99.9) == pytest.approx(1, rel=1e-5)
    else:
        np.testing.assert_array_equal(scaled, image / np.float32(stats.upper))


def test_a_scan_below_zero_throughout_has_a_scale():
    image = -200 - IMAGE
    scaled = UPPER.apply(image, scan_stats(image))
    assert scaled.min() == 0
    assert np.percentile(scaled, 99.9) == pytest.approx(1, rel=1e-4)
