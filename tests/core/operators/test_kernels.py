"""Antialiased resizing, against Pillow where it has the kernel and against the definition where it has not."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import GridError
from core.geometry.grid import Grid
from core.operators.kernels import KERNELS, resize_matrix

PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR, "lanczos3": Image.Resampling.LANCZOS}


def by_pillow(line: np.ndarray, n_out: int, kernel: str) -> np.ndarray:
    image = Image.fromarray(line.astype(np.float32)[None])
    return np.asarray(image.resize((n_out, 1), PILLOW[kernel]))[0]


@pytest.mark.parametrize("kernel", PILLOW)
@pytest.mark.parametrize("factor", [Fraction(1, 2), Fraction(1, 4), Fraction(3, 4), Fraction(2), Fraction(5, 2)])
def test_it_agrees_with_pillow_away_from_the_border(kernel, factor):
    line = np.random.default_rng(0).random(120)
    matrix = resize_matrix(120, factor, kernel)
    inner = slice(math.ceil(4 * max(1, factor)), -math.ceil(4 * max(1, factor)))
    assert (matrix @ line)[inner] == pytest.approx(by_pillow(line, len(matrix), kernel)[inner], abs=2e-6)


def test_lanczos2_is_its_formula():
    row = resize_matrix(41, Fraction(1, 2), "lanczos2")[10]
    at = (np.arange(41) - 20) / 2  # the middle one of 21 lies on the middle one of 41
    expected = np.where(np.abs(at) < 2, np.sinc(at) * np.sinc(at / 2), 0)
    assert row == pytest.approx(expected / expected.sum(), abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_a_box_that_divides_is_the_mean(n):
    assert resize_matrix(5 * n, Fraction(1, n), "box") == pytest.approx(np.kron(np.eye(5), np.full((1, n), 1 / n)), abs=1e-15)


def test_a_box_that_grows_repeats_voxels():
    assert np.array_equal(resize_matrix(4, 3, "box"), np.kron(np.eye(4), np.ones((3, 1))))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_factor_of_one_is_the_identity(kernel):
    assert np.array_equal(resize_matrix(31, 1, kernel), np.eye(31))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [Fraction(1, 3), Fraction(2, 3), Fraction(3)])
def test_the_border_is_mirrored(kernel, factor):
    """As if the line were followed by itself backwards, on both sides."""
    line = np.random.default_rng(0).random(24)
    n_out = len(resize_matrix(24, factor, kernel))
    long = np.concatenate([line[::-1], line, line[::-1]])
    whole = resize_matrix(72, factor, kernel) @ long
    assert resize_matrix(24, factor, kernel) @ line == pytest.approx(whole[n_out : 2 * n_out], abs=1e-12)


@given(st.integers(1, 60), st.fractions(Fraction(1, 9), 6, max_denominator=9), st.sampled_from(sorted(KERNELS)))
def test_rows_sum_to_one_and_the_shape_is_that_of_the_refined_grid(n, factor, kernel):
    matrix = resize_matrix(n, factor, kernel)
    assert matrix.shape == (Grid((n, 1, 1), np.eye(4)).refine(0, factor).shape[0], n)
    assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [Fraction(1, 2), Fraction(1, 3), Fraction(3), Fraction(3, 7)])
def test_voxels_stay_at_their_places_in_the_world(kernel, factor):
    old = Grid((61, 1, 1), np.diag([0.8, 1, 1, 1]))
    new = old.refine(0, factor)
    x = old.world(np.stack([np.arange(61), np.zeros(61), np.zeros(61)], axis=1))[:, 0]
    expected = new.affine[0, 0] * np.arange(new.shape[0]) + new.affine[0, 3]
    inner = (expected > 12) & (expected < 36)
    allowed = 0.5 * 0.8 + 1e-9 if kernel == "box" else 0.08
    assert inner.sum() > 3
    assert np.abs(resize_matrix(61, factor, kernel) @ x - expected)[inner].max() < allowed


def test_a_float_factor_with_a_rounding_error_does_not_grow_a_voxel():
    assert len(resize_matrix(30, 0.1, "box")) == 3


def test_a_factor_of_nothing_is_refused():
    with pytest.raises(GridError, match=r"factor-invalid: expected a factor above 0, but got 0\. Give"):
        resize_matrix(8, 0, "box")
