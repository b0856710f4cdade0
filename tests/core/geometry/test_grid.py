"""Geometry: world positions survive everything that a grid can do."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import GridError
from core.geometry.grid import Box, Grid, Orientation, fused_grid
from core.operators.linear import apply_axis
from core.operators.profile import profile_matrix

ORIENTATIONS = [Orientation(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
SHAPE = (5, 7, 4)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    about = []
    for axis, angle in enumerate((x, y, z)):
        turn = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        about.append(turn)
    return about[0] @ about[1] @ about[2]


def grid(shape=SHAPE, spacing=(0.9, 1.1, 4.0), angles=(0.0, 0.0, 0.0), origin=(-71.3, -102.9, 33.7)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = rotation(*angles) * spacing
    affine[:3, 3] = origin
    return Grid(shape, affine)


def places(on: Grid) -> np.ndarray:
    """World position of every voxel, (x, y, z, 3)."""
    return on.world(np.moveaxis(np.indices(on.shape), 0, -1).reshape(-1, 3)).reshape(*on.shape, 3)


# --- orientation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.2, 0.25), (-0.6, 0.1, -0.4)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_canonical_keeps_every_voxel_in_place_and_leads_back(orientation, angles):
    base = grid(angles=angles)
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    stored, stored_image = base.reorient(orientation), orientation.apply(image)

    canonical, found = stored.canonical()

    assert canonical.codes == ("R", "A", "S")
    assert np.linalg.det(canonical.affine[:3, :3]) > 0
    assert np.array_equal(found.apply(stored_image), image)
    assert np.abs(places(canonical) - places(base)).max() < 1e-9
    assert np.abs(found.apply(places(stored)[..., 0]) - places(canonical)[..., 0]).max() < 1e-9
    assert np.abs(np.sort(stored.corners(), axis=0) - np.sort(canonical.corners(), axis=0)).max() < 1e-9
    assert np.array_equal(found.inverse().apply(image), stored_image)
    assert np.abs(canonical.reorient(found.inverse()).affine - stored.affine).max() < 1e-9


def test_the_48_orientations_have_48_codes_of_both_hands():
    stored = [grid(angles=(0.3, -0.2, 0.25)).reorient(one) for one in ORIENTATIONS]
    assert len({one.codes for one in stored}) == 48
    assert sum(np.linalg.det(one.affine[:3, :3]) < 0 for one in stored) == 24


@pytest.mark.parametrize("seed", range(20))
def test_codes_and_orientation_agree_with_nibabel(seed):
    import nibabel

    angles = np.random.default_rng(seed).uniform(-0.7, 0.7, 3)
    stored = grid(angles=angles).reorient(ORIENTATIONS[seed * 2])
    image = nibabel.Nifti1Image(np.random.default_rng(seed).random(stored.shape, dtype=np.float32), stored.affine)
    expected = nibabel.as_closest_canonical(image)

    canonical, orientation = stored.canonical()

    assert stored.codes == nibabel.aff2axcodes(stored.affine)
    assert np.array_equal(orientation.apply(np.asarray(image.dataobj)), np.asarray(expected.dataobj))
    assert np.abs(canonical.affine - expected.affine).max() < 1e-9


def test_orientation_gives_views():
    image = np.zeros(SHAPE, np.float32)
    assert all(np.shares_memory(one.apply(image), image) for one in ORIENTATIONS)


def test_real_headers_stay_in_place(scans):
    import nibabel

    found = sorted(scans.rglob("*.nii.gz"))
    assert found
    for path in found[:20]:
        header = nibabel.load(path)
        stored = Grid(header.shape[:3], header.affine)
        canonical, orientation = stored.canonical()
        corners = np.array(list(product(*((0, n - 1) for n in canonical.shape))))
        back = np.array([orientation.apply(np.indices(stored.shape)[axis])[tuple(corners.T)] for axis in range(3)]).T
        assert np.abs(canonical.world(corners) - stored.world(back)).max() < 1e-3
        assert canonical.codes == ("R", "A", "S")


@pytest.mark.parametrize(("angle", "oblique"), [(0.0, False), (5e-4, False), (2e-3, True), (0.5, True)])
def test_oblique_from_a_milliradian(angle, oblique):
    assert all(grid(angles=(0, angle, 0)).reorient(one).oblique is oblique for one in ORIENTATIONS)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 4), 2), ((4, 1, 1), 0), ((0.9, 3, 0.9), 1), ((1, 1, 1.09), None), ((1, 4, 4), 2), ((1, 1, 1.2), 2)],
)
def test_the_slice_axis_is_the_coarsest(spacing, axis):
    assert grid(spacing=spacing).slice_axis == axis


def test_world_and_voxel_are_inverse():
    on = grid(angles=(0.3, -0.2, 0.25))
    points = np.random.default_rng(0).uniform(-100, 100, (50, 3))
    assert np.abs(on.world(on.voxel(points)) - points).max() < 1e-10
    assert on.world(np.zeros((1, 3)))[0] == pytest.approx(on.affine[:3, 3])


def test_corners_are_outer_faces_and_span_the_extent():
    on = grid()
    assert np.ptp(on.corners(), axis=0) == pytest.approx(on.extent)
    assert on.extent == pytest.approx((4.5, 7.7, 16.0))


# --- finer and coarser grids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("factor", [2, 3, Fraction(5, 1)])
def test_profile_centres_tile_the_old_voxel(axis, factor):
    on = grid(angles=(0.3, -0.2, 0.25))
    fine = on.refine(axis, factor)
    assert fine.extent == pytest.approx(on.extent)
    parts = np.stack(np.array_split(np.moveaxis(places(fine), axis, 0), on.shape[axis])).mean(axis=1)
    assert np.abs(parts - np.moveaxis(places(on), axis, 0)).max() < 1e-9
    assert fine.corners() == pytest.approx(on.corners())


@pytest.mark.parametrize("axis", range(3))
def test_decimation_centres_start_on_the_kept_slice(axis):
    on = grid(angles=(0.3, -0.2, 0.25))
    fine = on.refine(axis, 4, "decimation")
    assert fine.shape[axis] == 4 * on.shape[axis]
    assert np.abs(np.moveaxis(places(fine), axis, 0)[::4] - np.moveaxis(places(on), axis, 0)).max() < 1e-9


@pytest.mark.parametrize("centres", ["profile", "decimation"])
def test_coarser_then_finer_is_the_same_grid_where_it_divides(centres):
    on = grid(shape=(5, 7, 24))
    back = on.refine(2, Fraction(1, 6), centres).refine(2, 6, centres)
    assert back.shape == on.shape
    assert np.abs(back.affine - on.affine).max() < 1e-9


@given(
    st.integers(1, 300),
    st.fractions(min_value=Fraction(1, 9), max_value=9, max_denominator=12),
)
def test_any_rational_factor_grows_by_less_than_a_voxel_equally_at_both_ends(n, factor):
    on = grid(shape=(3, 3, n))
    new = on.refine(2, factor)
    assert new.spacing[2] == pytest.approx(on.spacing[2] / factor)
    grown = new.extent[2] - on.extent[2]
    assert -1e-6 < grown < new.spacing[2] * (1 + 1e-9)
    assert new.corners().mean(axis=0) == pytest.approx(on.corners().mean(axis=0))


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 300)] * 3),
    st.tuples(*[st.floats(0.3, 10)] * 3),
    st.floats(0.3, 3),
)
def test_isotropic_keeps_the_field_of_view(shape, spacing, voxel_size):
    on = grid(shape, spacing, angles=(0.3, -0.2, 0.25))
    new = on.isotropic(voxel_size)
    assert new.spacing == pytest.approx((voxel_size,) * 3, rel=2e-5)
    for before, after in zip(on.extent, new.extent, strict=True):
        assert -0.01 * voxel_size < after - before < voxel_size
    assert new.corners().mean(axis=0) == pytest.approx(on.corners().mean(axis=0), abs=1e-6)
    on.index_map(new)  # parallel


def test_isotropic_is_exact_where_it_divides_and_keeps_axes_that_fit():
    on = grid(shape=(180, 210, 40), spacing=(1.0, 1.0000001, 4.0))
    new = on.isotropic(1.0)
    assert new.shape == (180, 210, 160)
    assert new.index_map(on) == ((1.0, 0.0), (1.0, 0.0), (4.0, 1.5))
    assert np.array_equal(new.affine[:3, :2], on.affine[:3, :2])


def test_a_header_with_a_rounding_error_gains_no_slice():
    assert grid(shape=(180, 210, 40), spacing=(1.0, 1.0, np.float64(np.float32(4.0000005)))).isotropic(1.0).shape == (
        180,
        210,
        160,
    )
    assert fused_grid([grid(shape=(180, 210, 40), spacing=(1.0, 1.0, 4.0000005))], 1.0).shape == (180, 210, 160)
    assert grid(shape=(180, 210, 40), spacing=(1.0, 1.0, 4.01)).isotropic(1.0).shape == (180, 210, 161)


def test_isotropic_of_dropped_slices_starts_on_the_first_slice():
    on = grid(shape=(180, 200, 40), spacing=(0.9, 0.9, 4.0))
    assert on.isotropic(1.0, "decimation").index_map(on)[2] == (4.0, 0.0)
    assert on.isotropic(1.0, "decimation").index_map(on)[:2] == on.isotropic(1.0).index_map(on)[:2]


@pytest.mark.parametrize("n_slices", [203, 34])
@pytest.mark.parametrize("distance", [6.0, 5.5])
def test_volume_and_place_of_an_object_survive_thick_slices(n_slices, distance):
    """An ellipsoid measured on thick slices and interpolated to 1 mm keeps its volume within 0.5 % and its centre."""
    fine = Grid((40, 40, round(n_slices * distance)), np.eye(4))
    radius = np.array([17.0, 17.0, 0.4 * fine.shape[2]])
    middle = np.array(fine.shape) / 2 + (0.2, -0.4, 3.3)
    ball = np.clip(0.5 + 17 * (1 - np.linalg.norm((places(fine) - middle) / radius, axis=-1)), 0, 1)
    thick = fine.refine(2, Fraction(1) / Fraction(distance))
    measured = apply_axis(profile_matrix(fine.shape[2], thick.shape[2], *fine.index_map(thick)[2]), ball, 2)

    target = thick.isotropic(1.0)
    restored = apply_axis(profile_matrix(thick.shape[2], target.shape[2], *thick.index_map(target)[2]), measured, 2)

    def volume(image, on):
        return image.sum() * np.prod(on.spacing)

    def centre(image, on):
        return (places(on)[..., 2] * image).sum() / image.sum()

    assert abs(volume(restored, target) / volume(ball, fine) - 1) < 0.005
    assert abs(volume(restored > 0.5, target) / volume(ball > 0.5, fine) - 1) < 0.005
    assert abs(centre(restored, target) - centre(ball, fine)) < 0.1


# --- crops, maps, fusion -------------------------------------------------------------------------------------------------


def test_crop_and_pad_keep_places():
    on = grid(angles=(0.3, -0.2, 0.25))
    box = Box((1, 2, 1), (4, 7, 3))
    assert np.abs(places(on.crop(box)) - places(on)[box.slices]).max() < 1e-9
    back = on.crop(box).pad((1, 2, 1), (1, 0, 1))
    assert back.shape == on.shape
    assert np.abs(back.affine - on.affine).max() < 1e-9


@pytest.mark.parametrize("box", [Box((0, 0, 0), (5, 7, 5)), Box((-1, 0, 0), (2, 2, 2)), Box((1, 1, 1), (1, 2, 2))])
def test_a_crop_outside_is_refused(box):
    with pytest.raises(GridError, match=r"box-outside: expected a box within \(5, 7, 4\), but got .*\. Cut it"):
        grid().crop(box)


def test_index_map_says_where_voxels_lie():
    on = grid(angles=(0.3, -0.2, 0.25))
    fine = on.refine(2, Fraction(7, 3)).crop(Box((1, 0, 2), (5, 6, 9)))
    scale, offset = np.array(on.index_map(fine)).T
    voxels = np.array([[0, 0, 0], [3, 5, 6]])
    assert on.voxel(fine.world(voxels)) == pytest.approx(voxels * scale + offset, abs=1e-9)


@pytest.mark.parametrize("turned", [grid(angles=(0.0, 0.01, 0.0)), grid().reorient(Orientation((0, 1, 2), (True, False, False)))])
def test_index_map_refuses_axes_that_differ(turned):
    with pytest.raises(
        GridError, match=r"grids-not-parallel: expected grids with parallel axes, but got axes .* drift by .*\. Make both"
    ):
        grid(shape=(80, 80, 30)).index_map(turned.pad((30, 30, 30), (30, 30, 30)))


def test_the_grid_of_one_fused_scan_is_its_isotropic_grid():
    on = grid(shape=(50, 60, 11), angles=(0.3, -0.2, 0.25))
    fused = fused_grid([on], 1.3)
    assert fused.shape == on.isotropic(1.3).shape
    assert np.abs(fused.affine - on.isotropic(1.3).affine).max() < 1e-9


def test_fields_of_view_that_do_not_meet_are_not_fused():
    low, high, middle = (grid((40, 40, 10), origin=(0.0, 0.0, z)) for z in (0.0, 80.0, 40.0))
    with pytest.raises(GridError, match=r"fields-apart: expected fields of view that meet, but got c, d apart from a, b\."):
        fused_grid([low, low, high, high], 1.0, "abcd")
    assert fused_grid([low, high, middle], 1.0).shape[2] == 120  # by the one between them


def test_a_fused_grid_holds_all_fields_of_view_tightly():
    scans = [grid((50, 60, 11)), grid((20, 70, 60), (4, 1, 1), (0.1, 0, 0.2)), grid((60, 15, 64), (1, 5, 1), (0, 0.1, 0))]
    fused = fused_grid(scans, 1.0)
    corners = fused.voxel(np.concatenate([scan.corners() for scan in scans]))
    outer = np.array(fused.shape) - 0.5
    assert (corners > -0.5 - 0.01).all()
    assert (corners < outer + 0.01).all()
    assert (corners.min(axis=0) < 0.5).all()
    assert (corners.max(axis=0) > outer - 1).all()
    assert fused.codes == scans[0].codes
    fused.index_map(scans[0])  # parallel


# --- values --------------------------------------------------------------------------------------------------------------


def test_json_gives_the_same_bits():
    on = grid(angles=(0.3, -0.2, 0.25))
    assert Grid.from_json(on.to_json()) == on
    assert hash(Grid.from_json(on.to_json())) == hash(on)


def test_a_grid_is_frozen():
    with pytest.raises(ValueError, match="read-only"):
        grid().affine[0, 0] = 2


@pytest.mark.parametrize("value", [np.zeros((4, 4)), np.diag([1, 1, np.nan, 1]), np.eye(3)])
def test_a_singular_affine_is_refused(value):
    with pytest.raises(GridError, match=r"affine-singular: expected a finite invertible 4x4 affine, but got .*\. Fix"):
        Grid(SHAPE, value)


@pytest.mark.parametrize("shape", [(0, 1, 1), (3, 3)])
def test_a_shape_without_voxels_is_refused(shape):
    with pytest.raises(GridError, match=r"shape-invalid: expected three sizes"):
        Grid(shape, np.eye(4))


def test_a_factor_of_nothing_is_refused():
    with pytest.raises(GridError, match=r"factor-invalid: expected a factor above 0, but got -2"):
        grid().refine(2, -2)


def test_boxes_meet():
    box = Box((1, 2, 3), (4, 6, 8))
    assert box.intersect(Box((3, 0, 0), (9, 9, 4))) == Box((3, 2, 3), (4, 6, 4))
    assert box.intersect(Box((4, 0, 0), (9, 9, 9))) is None
    assert box.relative_to((1, 1, 1)) == Box((0, 1, 2), (3, 5, 7))
    with pytest.raises(GridError, match="box-backwards"):
        Box((1, 1, 1), (0, 2, 2))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_taken_from_another_grid_keeps_that_grids_places(axis):
    fine = Grid((8, 9, 10), np.array([[0, -1.5, 0, 3], [1, 0, 0, -7], [0, 0, 2, 11], [0, 0, 0, 1]]))
    other = fine.refine(axis, Fraction(1, 3)).crop(Box((0, 0, 0), (2, 3, 3)))
    made = fine.with_axis(other, axis)
    assert made.shape == tuple(other.shape[a] if a == axis else fine.shape[a] for a in range(3))
    for a, (scale, offset) in enumerate(made.index_map(other)):
        assert (a != axis) or (scale, offset) == pytest.approx((1, 0))
    for a, (scale, offset) in enumerate(made.index_map(fine)):
        assert (a == axis) or (scale, offset) == pytest.approx((1, 0))


def test_grids_are_equal_only_bit_for_bit():
    grid = Grid((3, 4, 5), np.diag([1.0, 2, 3, 1]))
    for change in (1e-9, -1e-9):
        affine = grid.affine.copy()
        affine[0, 3] += change
        assert Grid(grid.shape, affine) != grid
    assert Grid((3, 4, 5), np.diag([1.0, 2, 3, 1])) == grid
    assert Grid((3, 4, 6), grid.affine) != grid


def test_axes_may_drift_by_a_hundredth_of_a_voxel_across_the_other_grid():
    """Over its voxels, from the first centre to the last."""
    grid = Grid((101, 101, 101), np.eye(4))
    for drift, allowed in ((0.0099, True), (0.0101, False)):
        affine = np.eye(4)
        affine[1, 0] = drift / 100
        other = Grid((101, 2, 2), affine)
        if allowed:
            assert grid.index_map(other)[1] == pytest.approx((1.0, 0.0))
        else:
            with pytest.raises(GridError, match="grids-not-parallel"):
                grid.index_map(other)


def test_a_scan_thinner_than_a_voxel_is_fused_on_one():
    thin = Grid((40, 40, 1), np.diag([1.0, 1, 0.4, 1]))
    assert fused_grid([thin], 1.0).shape == (40, 40, 1)
