"""From the anatomy to a scan, on grids."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from core.errors import GridError
from core.geometry.grid import Box, Grid, Orientation
from core.geometry.resample import sampling_matrix
from core.operators.forward import parallel
from core.operators.forward_model import KSpace, LesionMask, SliceProfile
from core.operators.profile import profile_matrix
from core.operators.trilinear import resample

TARGET = Grid((12, 14, 24), np.array([[1, 0, 0, -20], [0, 1, 0, -30], [0, 0, 1, 10], [0, 0, 0, 1.0]]))
BOX = SliceProfile()


@pytest.mark.parametrize("axis", range(3))
def test_thick_slices_are_means_of_the_slices_they_cover(axis):
    source = TARGET.refine(axis, Fraction(1, 2))
    image = np.random.default_rng(0).random(TARGET.shape)
    pairs = np.moveaxis(image, axis, 0).reshape(TARGET.shape[axis] // 2, 2, *np.delete(TARGET.shape, axis))
    expected = np.moveaxis(pairs.mean(axis=1), 0, axis)
    assert BOX.operator(source, TARGET).forward(image) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("profile", ["box", "gaussian", "point"])
def test_the_same_grid_is_the_exact_identity(profile):
    image = np.random.default_rng(0).random(TARGET.shape, dtype=np.float32)
    from_header = Grid(TARGET.shape, (TARGET.affine * (1 + 6e-8)).astype(np.float32))
    for source in (TARGET, TARGET.isotropic(1.0), from_header):
        assert SliceProfile(slice_profile=profile).operator(source, TARGET).forward(image) is image


def test_profile_and_gap_act_across_the_slices_alone():
    source = Grid((10, 14, 6), np.diag([1.2, 1.0, 4.0, 1.0]))
    target = source.isotropic(1.0)
    x, y, z = SliceProfile(slice_profile="box", slice_gap=0.5).operator(source, target).matrices
    assert np.array_equal(x, sampling_matrix(12, 10, *target.index_map(source)[0]))
    assert np.array_equal(y, np.eye(14))
    assert np.array_equal(z[0], [0, 0.5, 0.5, 0] + [0] * 20)


def test_dropped_slices_are_decimation():
    source = TARGET.refine(2, Fraction(1, 4), "decimation")
    operator = SliceProfile(slice_profile="point").operator(source, source.isotropic(1.0, "decimation"))
    assert source.isotropic(1.0, "decimation").shape == TARGET.shape
    assert np.array_equal(operator.matrices[2], np.eye(24)[::4])


def test_a_crop_of_the_scan_sees_what_the_scan_sees_there():
    source = Grid((10, 14, 9), np.diag([0.9, 1.0, 3.3, 1.0]))
    target = source.isotropic(1.0)
    image = np.random.default_rng(0).random(target.shape)
    box = Box((2, 3, 1), (8, 14, 7))
    whole = SliceProfile(slice_profile="gaussian").operator(source, target).forward(image)
    part = SliceProfile(slice_profile="gaussian").operator(source.crop(box), target).forward(image)
    assert part == pytest.approx(whole[box.slices], abs=1e-9)


def test_a_smooth_object_is_measured_where_it_is():
    """A tilted, oblique pair of grids: world coordinates go in, world coordinates of the slices come out."""
    turn = np.array([[0.96, -0.28, 0, 3], [0.28, 0.96, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]])
    source = Grid((20, 22, 8), turn @ np.diag([0.9, 1.1, 4.5, 1]))
    target = source.isotropic(1.0)
    places = [on.world(np.moveaxis(np.indices(on.shape), 0, -1).reshape(-1, 3)) for on in (target, source)]
    for world in range(3):
        image, expected = (at[:, world].reshape(on.shape) for at, on in zip(places, (target, source), strict=True))
        measured = BOX.operator(source, target).forward(image)
        assert np.abs(measured - expected)[3:-3, 3:-3, 1:-1].max() < 0.1


def test_the_axis_that_is_named_wins_over_the_coarsest():
    """Slices of 2 mm along R of a scan that is 3 mm thick along S anyway."""
    source = Grid((8, 14, 8), np.diag([2.0, 1.0, 3.0, 1.0]))
    target = source.isotropic(1.0)
    x, _, z = SliceProfile(slice_profile="box", slice_gap=0.25, axis="R").operator(source, target).matrices
    assert np.array_equal(x, profile_matrix(16, 8, *target.index_map(source)[0], "box", gap=0.25))
    assert np.array_equal(z, np.eye(24)[1::3])  # samples at its centres
    turned = Orientation((2, 0, 1), (True, False, True))
    again = SliceProfile(slice_gap=0.25, axis="R").operator(source.reorient(turned), target.reorient(turned))
    image = np.random.default_rng(0).random(target.shape)
    whole = SliceProfile(slice_gap=0.25, axis="R").operator(source, target).forward(image)
    assert again.forward(turned.apply(image)) == pytest.approx(turned.apply(whole), abs=1e-12)


def test_a_k_space_without_an_axis_is_refused_where_no_axis_is_coarsest():
    with pytest.raises(GridError, match=r"axis-missing: expected the phase-encoding axis .*, but got none\. Name the axis"):
        KSpace().operator(TARGET, TARGET)


def test_a_mask_of_another_scan_and_one_that_is_missing_are_refused():
    with pytest.raises(GridError, match=r"mask-mismatch: expected a mask for images of \(12, 14, 24\)"):
        BOX.operator(TARGET, TARGET, np.zeros((12, 14, 23), bool))
    with pytest.raises(GridError, match=r"mask-missing: expected the mask of a scan of kind lesion-mask"):
        LesionMask().operator(TARGET, TARGET)


def test_turned_grids_are_not_parallel_and_a_ramp_goes_through_them_as_a_ramp():
    grid = Grid((20, 22, 24), np.eye(4))
    c, s = np.cos(0.2), np.sin(0.2)
    turned = Grid((8, 8, 8), np.array([[c, -s, 0, 6.0], [s, c, 0, 5], [0, 0, 1, 7], [0, 0, 0, 1]]))
    assert parallel(grid, grid.crop(Box((1, 2, 3), (5, 6, 7))))
    assert not parallel(turned, grid)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in turned.shape), indexing="ij"), axis=-1)
    for axis in range(3):
        ramp = np.broadcast_to(np.arange(grid.shape[axis], dtype=np.float32).reshape(np.roll((-1, 1, 1), axis)), grid.shape)
        seen = resample(grid, turned).forward(np.ascontiguousarray(ramp))
        assert seen == pytest.approx(turned.world(index.reshape(-1, 3).astype(float))[:, axis].reshape(turned.shape), abs=1e-4)


def test_resampling_has_a_row_for_each_axis() -> None:
    """The compiled loops do not look: of two rows they would read what lies behind them."""
    assert resample(Grid((4, 5, 6), np.eye(4)), Grid((3, 3, 3), np.eye(4))).affine.shape == (3, 4)
