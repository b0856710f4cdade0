"""Correlation of Fourier shells: 1 of equals, 0 of strangers, a closed form under noise, and planted structure is marked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.evaluation.metrics.ring_correlation import THRESHOLD, invented, measured_frequency, shell_correlation, windows
from core.geometry.grid import Grid

THICK = Grid((64, 64, 16), np.diag([1, 1, 4, 1.0]))
FINE = Grid((64, 64, 64), np.eye(4))


def noise(seed: int, shape: tuple[int, ...] = (32, 32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_equal_images_correlate_to_1_whatever_their_gain_and_offset() -> None:
    image = noise(0)
    np.testing.assert_allclose(shell_correlation(image * 3 + 7, image)[1:], 1, atol=1e-5)
    np.testing.assert_allclose(shell_correlation(-image, image)[1:], -1, atol=1e-5)


def test_independent_noise_does_not_correlate() -> None:
    curves = np.mean([shell_correlation(noise(n), noise(100 + n)) for n in range(20)], axis=0)
    assert np.abs(curves[3:]).max() < 0.06


def test_noise_on_one_of_them_leaves_the_root_of_the_signals_share() -> None:
    """P / sqrt(P (P + N)): 1 / sqrt(2) where noise is as strong as the signal."""
    curves = np.mean([shell_correlation(noise(n) + noise(100 + n), noise(n)) for n in range(20)], axis=0)
    np.testing.assert_allclose(curves[4:], np.sqrt(0.5), atol=0.03)


def test_only_what_lies_within_the_frequency_counts() -> None:
    """A wave of 8 periods a window is invented: seen within 0.25 periods a millimetre, not within 0.2."""
    truth = gaussian_filter(noise(1, FINE.shape), 1) * 20 + 20
    wave = 20 * np.cos(2 * np.pi * np.arange(64) / 4).astype(np.float32)
    assert windows(truth + wave, truth, 1.0, 0.2).share == 0
    assert windows(truth + wave, truth, 1.0, 0.25).share == 100


def test_structure_planted_in_a_window_is_marked_there_and_not_elsewhere() -> None:
    truth = gaussian_filter(noise(2, FINE.shape), 2) * 30 + 10
    other = gaussian_filter(noise(3, FINE.shape), 2) * 60
    restored = truth.copy()
    restored[2:26, 2:26, 2:26] += other[2:26, 2:26, 2:26]
    seen = windows(restored, truth, 1.0, measured_frequency(THICK))
    assert len(seen.starts) == 27
    picture = seen.picture(FINE.shape)
    assert picture[14, 14, 14] > 1 - THRESHOLD
    assert picture[40:, 40:, 40:].max() < 0.05
    assert 0 < invented(restored, truth, FINE, THICK)["invented"] < 50
    assert invented(truth, truth, FINE, THICK) == {"invented": 0.0}


def test_what_the_scan_did_not_measure_may_be_missing() -> None:
    """The truth without all beyond the frequencies of slices 4 mm apart is no candidate."""
    truth = gaussian_filter(noise(4, FINE.shape), 1.5) * 30 + 10
    spectrum = np.fft.fft(truth, axis=2)
    spectrum[..., np.abs(np.fft.fftfreq(64)) > 0.125] = 0
    smooth = np.fft.ifft(spectrum, axis=2).real.astype(np.float32)
    assert invented(smooth, truth, FINE, THICK)["invented"] == 0


@pytest.mark.parametrize("shape", [(6, 40, 40), (5, 5, 5)])
def test_images_too_small_have_no_figure(shape: tuple[int, int, int]) -> None:
    image = np.ones(shape, np.float32)
    assert invented(image, image, Grid(shape, np.eye(4)), Grid(shape, np.diag([1, 1, 2, 1.0]))) == {}
