"""Slices and lesions that are left out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from core.errors import GridError
from core.geometry.grid import Grid
from core.operators.masks import lesion_mask, slice_decimation, slice_mask

SHAPE = (7, 9, 11)
IMAGE = np.random.default_rng(0).random(SHAPE, dtype=np.float32)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("phase", range(4))
def test_one_slice_in_n_is_kept_at_its_place(axis, phase):
    masked = np.moveaxis(slice_mask(SHAPE, axis, 4, phase).forward(IMAGE), axis, 0)
    image = np.moveaxis(IMAGE, axis, 0)
    for index in range(SHAPE[axis]):
        assert np.array_equal(masked[index], image[index] if index % 4 == phase else np.zeros_like(image[index]))


@pytest.mark.parametrize("axis", range(3))
def test_the_mask_is_decimation_and_its_adjoint(axis):
    dropped = slice_decimation(SHAPE, axis, 3, 2)
    assert np.array_equal(dropped.adjoint(dropped.forward(IMAGE)), slice_mask(SHAPE, axis, 3, 2).forward(IMAGE))
    assert np.array_equal(dropped.forward(IMAGE), np.take(IMAGE, range(2, SHAPE[axis], 3), axis))


@pytest.mark.parametrize("axis", range(3))
def test_decimation_lies_on_the_refined_grid(axis):
    grid = Grid(SHAPE, np.diag([0.9, 1.0, 1.1, 1.0]))
    thin = grid.refine(axis, Fraction(1, 4), "decimation")
    assert thin.shape == slice_decimation(SHAPE, axis, 4).shape_out
    assert grid.index_map(thin)[axis] == (4.0, 0.0)


def test_a_mask_is_small_in_memory():
    assert slice_mask((512, 512, 512), 1, 4).kept.nbytes == 512


def test_a_phase_outside_is_refused():
    with pytest.raises(GridError, match="phase-invalid"):
        slice_mask(SHAPE, 2, 4, 4)


def test_a_lesion_is_zeroed_and_nothing_else():
    lesion = IMAGE > 0.7
    filled = lesion_mask(lesion).forward(IMAGE)
    assert (filled[lesion] == 0).all()
    assert np.array_equal(filled[~lesion], IMAGE[~lesion])
