"""Interpolation between grids: that of scipy, exact where it can be, the same in parts as in the whole."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.geometry.grid import Box, Grid
from core.geometry.resample import COARSER, SPLINE_REACH, axis_matrices, interpolate, reach_box, sampling_matrix


def scan(shape=(20, 22, 12), spacing=(1.0, 1.0, 4.0), seed=0) -> tuple[np.ndarray, Grid]:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-30, 12, 5)
    return np.random.default_rng(seed).random(shape, dtype=np.float32), Grid(shape, affine)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("voxel_size", [1.0, 0.7])
def test_it_is_scipys_interpolation(order, voxel_size):
    image, grid = scan()
    target = grid.isotropic(voxel_size)
    places = grid.voxel(target.world(np.indices(target.shape).reshape(3, -1).T))
    wanted = ndimage.map_coordinates(image.astype(np.float64), places.T, order=order, mode="mirror").reshape(target.shape)
    np.testing.assert_allclose(interpolate(image, grid, target, order), wanted, atol=1e-6, rtol=0)


def test_nearest_repeats_the_slices():
    image, grid = scan()
    np.testing.assert_array_equal(interpolate(image, grid, grid.isotropic(1.0), 0), np.repeat(image, 4, axis=2))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_measured_voxels_that_are_also_target_voxels_keep_their_bits(order):
    image, grid = scan()
    np.testing.assert_array_equal(interpolate(image, grid, grid, order), image)
    inside = Box((2, 0, 3), (9, 22, 7))
    np.testing.assert_array_equal(interpolate(image, grid, grid.crop(inside), order), image[inside.slices])
    finer = grid.refine(2, 4, centres="decimation")
    np.testing.assert_allclose(interpolate(image, grid, finer, order)[:, :, ::4], image, atol=3e-7)


@given(st.integers(1, 9), st.integers(1, 40), st.floats(0.1, 4), st.sampled_from([0, 1, 3]))
@settings(max_examples=60, deadline=None)
def test_rows_sum_to_one_wherever_the_scan_tells_anything(n_in, n_out, scale, order):
    offset = ((n_in - 1) - scale * (n_out - 1)) / 2
    places = scale * np.arange(n_out) + offset
    matrix = reduce(lambda done, one: one @ done, axis_matrices(n_in, n_out, scale, offset, order))
    inside = (places > -0.99) & (places < n_in - 0.01)
    np.testing.assert_allclose(matrix.sum(axis=1)[inside], 1, atol=1e-7)
    outside = (places < -1.01) | (places > n_in + 0.01)
    assert not matrix[outside].any()


def test_a_coarser_target_is_antialiased():
    stripes = np.zeros((4, 4, 64), np.float32)
    stripes[:, :, ::2] = 1  # the finest pattern there is: a coarse voxel can only show its mean
    grid = Grid(stripes.shape, np.eye(4))
    for order in (1, 3):
        coarse = interpolate(stripes, grid, grid.refine(2, Fraction(1, 4)), order)
        np.testing.assert_allclose(coarse[:, :, 2:-2], 0.5, atol=0.02)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_rows_of_a_cropped_target_are_rows_of_the_whole(order):
    image, grid = scan(spacing=(1.0, 0.868, 3.7))
    target = grid.isotropic(0.93)
    box = Box((3, 5, 17), (15, 16, 31))
    whole = interpolate(image, grid, target, order)
    np.testing.assert_array_equal(interpolate(image, grid, target.crop(box), order), whole[box.slices])


def test_the_scan_says_nothing_far_outside_its_field_of_view():
    image, grid = scan()
    wider = grid.pad((4, 0, 3), (4, 0, 3))
    out = interpolate(image, grid, wider, 3)
    np.testing.assert_array_equal(out[4:-4, :, 3:-3], image)
    assert np.count_nonzero(out) == np.count_nonzero(image)


def test_a_turned_grid_is_reached_too() -> None:
    source = Grid((30, 30, 30), np.eye(4))
    angle = np.radians(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = (13, 9, 10)
    target = Grid((10, 10, 10), affine)
    world = target.world(np.argwhere(np.ones(target.shape))).reshape(*target.shape, 3)
    ramp = np.add.outer(np.add.outer(np.arange(30), 2.0 * np.arange(30)), 3.0 * np.arange(30)).astype(np.float32)
    np.testing.assert_allclose(interpolate(ramp, source, target, 3), world @ [1.0, 2.0, 3.0], atol=5e-3)


@pytest.mark.parametrize("size", [0.7, 1.0, 2.6])
@pytest.mark.parametrize("start", [0, 5, 40])
def test_the_reach_holds_what_interpolation_feels_and_little_else(start: int, size: float) -> None:
    """What lies outside of it may be anything: the target does not see it."""
    image, source = scan((16, 60, 18), (1.0, 1.2, 1.0))
    whole = source.isotropic(size)
    target = whole.crop(Box((2, min(start, whole.shape[1] - 4), 1), (6, min(start + 4, whole.shape[1]), 5)))
    box = reach_box(source, target, SPLINE_REACH)
    other = np.full_like(image, 1e3)
    other[box.slices] = image[box.slices]
    assert np.abs(interpolate(other, source, target, 3) - interpolate(image, source, target, 3)).max() < 1e-4
    for (scale, offset), a, b, m, n in zip(
        source.index_map(target), box.start, box.stop, target.shape, source.shape, strict=True
    ):
        far = SPLINE_REACH * max(1.0, scale)
        assert max(0, offset - far - 1) <= a <= max(0, offset - far)
        assert min(n, offset + scale * (m - 1) + far + 1) <= b <= min(n, offset + scale * (m - 1) + far + 2)


def test_the_reach_of_a_target_beyond_the_scan_is_its_nearest_voxel() -> None:
    source = Grid((10, 10, 10), np.eye(4))
    for shift, expected in ((-90, (0, 1)), (90, (9, 10))):
        away = Grid((3, 3, 3), np.array([[1.0, 0, 0, shift], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        box = reach_box(source, away, 2)
        assert (box.start[0], box.stop[0]) == expected
        assert (box.start[1], box.stop[1]) == (0, 5)


def test_a_spline_sampled_at_its_own_voxels_is_they_and_between_them_it_is_interpolation() -> None:
    assert np.array_equal(sampling_matrix(7, 3, 2.0, 1.0), np.eye(7)[[1, 3, 5]])
    values = np.random.default_rng(0).random(12)
    between = np.clip(0.7 * np.arange(20) - 1.0, 0, 11)
    told = ndimage.map_coordinates(values, [between], order=3, mode="mirror")
    assert sampling_matrix(12, 20, 0.7, -1.0) @ values == pytest.approx(told, abs=1e-7)
    assert sampling_matrix(12, 20, 0.7, -1.0).sum(axis=1) == pytest.approx(1)


def test_places_are_whole_only_where_sizes_agree_too() -> None:
    """Voxels twice as large whose first centre is nearly whole are not moved; nearly equal ones are."""
    (exact,) = axis_matrices(9, 9, 1 + 1e-6, 5e-5, 1)
    assert np.array_equal(exact, np.eye(9))
    (halves,) = axis_matrices(9, 17, 0.5, 5e-5, 1)
    assert halves[0].tolist()[:2] == pytest.approx([1 - 5e-5, 5e-5], abs=1e-9)


def test_voxels_of_one_size_that_are_shifted_are_not_taken_for_the_same() -> None:
    (halves,) = axis_matrices(9, 8, 1.0, 0.5, 1)
    assert np.array_equal(halves[3], [0, 0, 0, 0.5, 0.5, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="read-only"):
        axis_matrices(9, 17, 0.5, 0.0, 3)[0][0, 0] = 1


def test_sizes_that_differ_by_rounding_alone_share_a_matrix() -> None:
    rows = axis_matrices(20, 18, 1.25, 0.5, 1)[-1]
    assert axis_matrices(20, 18, 1.25 + 3e-11, 0.5, 1)[-1] is rows
    assert axis_matrices(20, 18, 1.25 + 3e-10, 0.5, 1)[-1] is not rows


@pytest.mark.parametrize(("scale", "matrices"), [(COARSER, 2), (COARSER + 1e-6, 1)])
def test_a_spline_has_its_prefilter_up_to_the_size_that_counts_as_coarser(scale: float, matrices: int) -> None:
    assert len(axis_matrices(20, 18, scale, 0.5, 3)) == matrices
