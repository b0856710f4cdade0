"""Intensities go into a network's units and come back; the usual scaling is what it was, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from core.models.domain import RINGING
from core.models.scaling import UPPER, Scaling, background, values_of
from core.stats import ScanStats, scan_stats

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
    scaled = UPPER.apply(UPPER.without_faults(image, stats), stats)
    if offset < -RINGING * stats.upper:
        assert scaled.min() == pytest.approx(0, abs=1e-6)
        assert np.percentile(scaled, 99.9) == pytest.approx(1, rel=1e-5)
    else:
        np.testing.assert_array_equal(scaled, image / np.float32(stats.upper))


def test_a_scan_below_zero_throughout_has_a_scale():
    image = -200 - IMAGE
    stats = scan_stats(image)
    scaled = UPPER.apply(UPPER.without_faults(image, stats), stats)
    assert scaled.min() == pytest.approx(0, abs=1e-6)
    assert np.percentile(scaled, 99.9) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("depth", [1, 12])
def test_a_voxel_far_below_the_air_changes_nothing_else(depth):
    image = np.abs(np.random.default_rng(1).normal(0, 300, (20, 20, 20))).astype(np.float32)
    faulty = image.copy()
    faulty[0, 0, 0] = -depth * np.percentile(image, 99.9)
    stats, plain = scan_stats(faulty), scan_stats(image)
    shown = UPPER.apply(UPPER.without_faults(faulty, stats), stats)
    wanted = UPPER.apply(image, plain)
    assert background(stats) == 0
    assert shown[0, 0, 0] >= 0
    np.testing.assert_allclose(shown.ravel()[1:], wanted.ravel()[1:], rtol=2e-2)
    whole = Scaling(kind="range")  # of a model that was trained to be shown all that there is
    assert whole.without_faults(faulty, stats) is faulty


def test_a_scan_without_faults_is_shown_as_it_is():
    for image in (np.abs(IMAGE), np.abs(IMAGE) - np.float32(1)):
        assert UPPER.without_faults(image, scan_stats(image)) is image


@pytest.mark.parametrize("shift", [0, -600])
def test_values_are_told_over_the_range_wherever_zero_lies(shift):
    stats = ScanStats(shift, 1500 + shift, 1000 + shift, 400, 300, 20, shift)
    assert values_of(stats) == {"lowest": pytest.approx(shift / (1000 + shift)), "noise": pytest.approx(0.02)}


def test_a_scan_without_a_range_tells_nothing():
    assert values_of(ScanStats(0, 0, 0, 0, 1, 1, 0)) == {"lowest": None, "noise": None}


def test_a_scan_that_was_read_before_the_percentile_was_taken_is_scaled_by_its_minimum():
    stats = ScanStats(-300, 1200, 1000, 400, 300, 5)
    assert background(stats) == -300
    assert UPPER.without_faults(IMAGE, stats) is IMAGE
