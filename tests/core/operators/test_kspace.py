"""Lines of k-space that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import GridError
from core.operators.kspace import kept_lines, zero_filled_matrix


def test_lines_are_one_in_n_and_a_full_centre():
    line = kept_lines(64, 4, 0.25)
    frequency = np.fft.fftfreq(64) * 64
    assert line[np.abs(frequency) <= 8].all()
    assert line[frequency % 4 == 0].all()
    assert line.sum() == 17 + 11  # -8 to 8; then 12, 16, ..., 28 on both sides and -32
    assert np.array_equal(line[1:], line[1:][::-1])


@pytest.mark.parametrize("n", [1, 2, 15, 16, 41])
@pytest.mark.parametrize(("keep_one_in", "centre"), [(2, 0.0), (4, 0.1), (100, 0.4), (3, 1.0), (1, 0.0)])
def test_the_image_is_that_of_the_transform_and_back(n, keep_one_in, centre):
    """The definition, by FFT."""
    line = np.random.default_rng(0).random(n)
    by_hand = np.fft.ifft(np.fft.fft(line) * kept_lines(n, keep_one_in, centre))
    assert np.abs(by_hand.imag).max() < 1e-15
    assert zero_filled_matrix(n, keep_one_in, centre) @ line == pytest.approx(by_hand.real, abs=1e-13)


def test_zero_filling_is_an_orthogonal_projection_that_keeps_the_mean():
    matrix = zero_filled_matrix(30, 3, 0.2)
    assert matrix @ matrix == pytest.approx(matrix, abs=1e-14)
    assert pytest.approx(matrix, abs=1e-15) == matrix.T
    assert matrix.sum(axis=1) == pytest.approx(1)
    assert np.trace(matrix) == pytest.approx(kept_lines(30, 3, 0.2).sum())
    assert np.trace(matrix) < 30


def test_all_lines_are_the_identity_exactly():
    assert np.array_equal(zero_filled_matrix(12, 1, 0.0), np.eye(12))


@pytest.mark.parametrize(("keep_one_in", "centre"), [(0, 0.1), (2, -0.1), (2, 1.1)])
def test_what_cannot_be_is_refused(keep_one_in, centre):
    with pytest.raises(GridError, match="lines-invalid: expected an acceleration of at least 1 and a centre in"):
        kept_lines(8, keep_one_in, centre)
