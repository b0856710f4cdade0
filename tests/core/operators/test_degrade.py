"""Scans of low resolution: geometry, constants, means, linearity, crops, and what each operator does to a line."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import GridError, UsageError
from core.geometry.grid import Grid
from core.operators.degrade import acquisition_of, degrade, degraded_grid
from core.settings.degradation import Degradation
from core.settings.scans import Acquisition
from core.tissues import Tissues
from tests.phantoms import brain

OPERATORS = get_args(Degradation.model_fields["operator"].annotation)
LINEAR = [one for one in OPERATORS if one != "low-field"]
OBLIQUE = np.array([[0.9, 0.1, 0.02, -30], [-0.1, 1.1, 0.05, 12], [0, -0.04, 0.7, 5], [0, 0, 0, 1.0]])
HOWS = [
    Degradation(operator="slice-profile", factor=4),
    Degradation(operator="slice-profile", factor=3, slice_profile="gaussian", slice_gap=0.2),
    Degradation(operator="slice-mask", factor=5),
]


def made(image, how, axis=2, affine=OBLIQUE, **given):
    draw = np.random.default_rng(0)
    return degrade(image.astype(np.float32), Grid(image.shape, affine), axis, how, **({"tissues": None, "draw": draw} | given))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def name(how) -> str:
    return f"{how.operator}-{how.slice_profile}"


@given(st.tuples(*[st.integers(8, 30)] * 3), st.integers(0, 2), st.integers(2, 8), st.sampled_from(OPERATORS))
@settings(max_examples=60, deadline=None)
def test_slices_are_counted_and_stay_in_their_place(shape, axis, factor, operator):
    grid, how = Grid(shape, OBLIQUE), Degradation(operator=operator, factor=factor)
    coarse = degraded_grid(grid, axis, how)
    assert coarse.shape == tuple(n // factor if one == axis else n for one, n in enumerate(shape))
    assert coarse.spacing[axis] == pytest.approx(grid.spacing[axis] * factor)
    first = [0.0, 0, 0]
    first[axis] = 0.0 if operator == "slice-mask" else (factor - 1) / 2
    assert coarse.world(np.zeros((1, 3))) == pytest.approx(grid.world(np.array([first])), abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("operator", ["slice-profile", "low-field"])
def test_the_field_of_view_is_kept_where_slices_fill_it(operator, axis):
    grid = Grid((24, 16, 32), OBLIQUE)
    coarse = degraded_grid(grid, axis, Degradation(operator=operator, factor=8))
    assert coarse.corners() == pytest.approx(grid.corners(), abs=1e-9)


@pytest.mark.parametrize("how", HOWS, ids=name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_constant_stays_constant_up_to_the_border(how, axis):
    result, coarse = made(np.full((20, 21, 22), 7.0), how, axis)
    assert result.shape == coarse.shape
    assert result.dtype == np.float32
    assert result == pytest.approx(7.0, rel=1e-6)


def test_a_box_averages_exactly_the_voxels_of_its_slice():
    image = noise((5, 6, 26))
    result, _ = made(image, Degradation(factor=4))
    assert result == pytest.approx(image[:, :, :24].reshape(5, 6, 6, 4).mean(3), rel=1e-5)
    assert result.mean() == pytest.approx(image[:, :, :24].mean(), rel=1e-6)


def test_a_gap_is_not_seen():
    image = np.zeros((2, 2, 16), np.float32)
    image[:, :, 0::4] = image[:, :, 3::4] = 100.0  # the outer voxels of each slice of 4
    half, _ = made(image, Degradation(factor=4, slice_gap=0.5))
    assert half == pytest.approx(0.0, abs=1e-6)


def test_a_gaussian_keeps_the_mean_of_what_lies_inside():
    image = np.zeros((2, 2, 96), np.float32)
    image[:, :, 40:56] = noise((2, 2, 16))
    result, _ = made(image, Degradation(factor=4, slice_profile="gaussian"))
    assert result.sum() * 4 == pytest.approx(image.sum(), rel=0.02)


def test_a_gaussian_is_as_wide_as_said():
    """A step seen through it: 10 % to 90 % takes 1.088 of its FWHM (and of the voxels' own width a little)."""
    image = np.repeat(np.array([0.0, 1.0]), 200)[None, None]
    how = Degradation(operator="low-field", factor=8)
    from core.operators.degrade import _matrix

    n, edges = 400, []
    for shift in range(8):  # slices of every phase make one fine curve
        rolled = np.roll(image[0, 0], shift)
        rolled[:shift] = 0
        edges += list(zip((np.arange(n // 8) * 8 + 3.5 - shift), _matrix(n, how) @ rolled, strict=True))
    places, values = np.array(sorted(edges)).T
    low, high = (np.interp(level, values, places) for level in (0.1, 0.9))
    assert high - low == pytest.approx(1.088 * 8 * 0.75, rel=0.03)


def test_a_mask_keeps_one_slice_as_it_was():
    image = noise((5, 6, 26))
    result, _ = made(image, Degradation(operator="slice-mask", factor=4))
    assert np.array_equal(result, image[:, :, :24:4])


@pytest.mark.parametrize("how", HOWS, ids=name)
def test_noise_free_operators_are_linear(how):
    one, other = noise((6, 7, 30)), noise((6, 7, 30), 1)
    both = made(2 * one - 3 * other, how)[0]
    assert both == pytest.approx(2 * made(one, how)[0] - 3 * made(other, how)[0], abs=1e-3)


@pytest.mark.parametrize("how", HOWS, ids=name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_crop_of_the_columns_gives_the_bits_of_the_whole(how, axis):
    image = noise((33, 34, 35))
    at = [slice(7, 12), slice(20, 29), slice(3, 11)]
    at[axis] = slice(None)
    assert np.array_equal(made(image[tuple(at)], how, axis)[0], made(image, how, axis)[0][tuple(at)])


@pytest.mark.parametrize("axis", [0, 2])
def test_low_field_of_a_crop_is_that_of_the_whole_but_for_the_noise(axis):
    image, _ = brain((40, 40, 40))
    tissues, how = Tissues.fit(image), Degradation(operator="low-field", factor=8)
    at = [slice(7, 23)] * 3
    at[axis] = slice(None)
    silent = {"tissues": tissues, "draw": Silent(), "snr": (60.0, 50.0)}
    assert np.array_equal(made(image[tuple(at)], how, axis, **silent)[0], made(image, how, axis, **silent)[0][tuple(at)])


class Silent:
    """A generator that draws no noise."""

    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_the_same_draw_gives_the_same_bits_and_another_does_not():
    image, _ = brain((24, 24, 24))
    given = {"tissues": Tissues.fit(image)}
    how = Degradation(operator="low-field", factor=4)
    one, same, other = (made(image, how, draw=np.random.default_rng(seed), **given)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("operator", LINEAR)
def test_what_is_not_random_draws_nothing(operator):
    draw = np.random.default_rng(5)
    made(noise((8, 8, 8)), Degradation(operator=operator), draw=draw)
    assert draw.random() == np.random.default_rng(5).random()


def test_settings_of_low_field_are_those_of_the_paper_unless_said():
    """6 of every 8 voxels, a gap of 2."""
    assert acquisition_of(Degradation(operator="low-field", factor=8)) == Acquisition(slice_profile="gaussian", slice_gap=0.25)
    said = Degradation(operator="low-field", slice_gap=0.0, slice_profile="box")
    assert acquisition_of(said) == Acquisition(slice_profile="box", slice_gap=0.0)
    assert acquisition_of(Degradation(operator="slice-mask", slice_gap=0.3)) == Acquisition(slice_profile="point", slice_gap=0)
    assert acquisition_of(HOWS[1]) == Acquisition(slice_profile="gaussian", slice_gap=0.2)
    again = Degradation.model_validate(said.model_dump())
    assert again == said


def test_too_few_slices_are_refused():
    with pytest.raises(
        GridError, match=r"factor-too-large: wanted at least 8 voxels .* got 7 voxels on axis 1; lower the factor"
    ):
        made(noise((9, 7, 9)), Degradation(factor=8), axis=1)


def test_an_image_that_is_not_on_its_grid_is_refused():
    with pytest.raises(GridError, match="image-shape: wanted an image of"):
        degrade(noise((9, 9, 9)), Grid((9, 9, 8), np.eye(4)), 2, HOWS[0], tissues=None, draw=np.random.default_rng(0))


def test_low_field_without_tissues_is_refused():
    with pytest.raises(UsageError, match=r"tissues-missing: .* fit them with Tissues\.fit"):
        made(noise((9, 9, 9)), Degradation(operator="low-field"))
