"""Parts of k-space that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import GridError
from core.operators.kspace import Undersampling, centre_mask, fourier_matrix, fourier_operator, line_mask

SHAPE = (12, 15, 10)
IMAGE = np.random.default_rng(0).random(SHAPE)


def test_all_of_k_space_gives_the_image_back():
    everything = Undersampling(np.ones((1, 1, 1), bool), SHAPE)
    samples = everything.forward(IMAGE)
    assert samples == pytest.approx(np.fft.fftn(IMAGE, norm="ortho"), abs=1e-12)
    assert np.linalg.norm(samples) == pytest.approx(np.linalg.norm(IMAGE))
    assert everything.adjoint(samples) == pytest.approx(IMAGE, abs=1e-12)


def test_zero_filling_a_symmetric_mask_is_a_projection():
    operator = Undersampling(centre_mask(SHAPE, (0.6, 0.5, 0.7)), SHAPE)
    once = operator.adjoint(operator.forward(IMAGE))
    assert operator.adjoint(operator.forward(once)) == pytest.approx(once, abs=1e-12)
    assert once.mean() == pytest.approx(IMAGE.mean())
    assert once.var() < IMAGE.var()


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_the_centre_is_symmetric_and_as_large_as_asked(fraction):
    kept = centre_mask(SHAPE, (fraction, 1, 1))
    line = kept[:, 0, 0]
    assert kept[0, 0, 0]
    assert np.array_equal(line[1:], line[1:][::-1])
    assert abs(line.sum() - fraction * SHAPE[0]) <= 1
    assert (kept == line[:, None, None]).all()


def test_lines_are_one_in_n_and_a_full_centre():
    line = line_mask((1, 64, 1), 1, 4, 0.25)
    frequency = np.fft.fftfreq(64) * 64
    assert line.shape == (1, 64, 1)
    assert line[0, np.abs(frequency) <= 8, 0].all()
    assert line[0, frequency % 4 == 0, 0].all()
    assert line.sum() == 17 + 11  # -8 to 8; then 12, 16, ..., 28 on both sides and -32
    assert np.array_equal(line[0, 1:, 0], line[0, 1:, 0][::-1])


@pytest.mark.parametrize(("n_in", "n_out"), [(15, 5), (16, 8), (15, 8), (16, 5), (7, 21), (8, 24), (9, 10)])
def test_a_smaller_matrix_is_the_cropped_spectrum(n_in, n_out):
    """The definition, by FFT: crop or zero-fill the centred spectrum, shift by the offset of the first voxel's centre."""
    line = np.random.default_rng(0).random(n_in)
    frequency, spectrum = np.rint(np.fft.fftfreq(n_in) * n_in), np.fft.fft(line) / n_in
    kept = min(n_in, n_out)
    weight = np.where(2 * np.abs(frequency) < kept, 1.0, np.where(2 * np.abs(frequency) == kept, 0.5, 0.0))
    weight[2 * frequency == -n_in] *= 2  # stands for both ends
    centres = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    waves = np.exp(2j * np.pi * centres[:, None] * frequency / n_in)
    assert fourier_matrix(n_in, n_out) @ line == pytest.approx((waves @ (weight * spectrum)).real, abs=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(15, 5), (16, 8), (16, 11), (8, 24), (9, 10), (1, 4)])
def test_rows_sum_to_one_and_a_slow_wave_survives(n_in, n_out):
    matrix = fourier_matrix(n_in, n_out)
    assert matrix.sum(axis=1) == pytest.approx(1)
    if min(n_in, n_out) > 2:
        wave, centres = 2 * np.pi / n_in, (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
        assert matrix @ np.cos(wave * np.arange(n_in) + 0.3) == pytest.approx(np.cos(wave * centres + 0.3), abs=1e-12)


@pytest.mark.parametrize(("coarse", "fine"), [(5, 15), (7, 16), (9, 10)])
def test_zero_filling_loses_nothing(coarse, fine):
    assert fourier_matrix(fine, coarse) @ fourier_matrix(coarse, fine) == pytest.approx(np.eye(coarse), abs=1e-12)


def test_equal_sizes_are_the_identity():
    x = IMAGE.astype(np.float32)
    assert fourier_operator(SHAPE, SHAPE).forward(x) is x


def test_a_mask_of_another_image_is_refused():
    with pytest.raises(GridError, match=r"mask-mismatch: wanted a mask for images of \(12, 15, 10\); got one of \(12, 15, 9\)"):
        Undersampling(np.ones((12, 15, 9), bool), SHAPE)
