"""Slices of a known width in fields without a direction: the width is read, whatever distance, axis, noise and unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from core.geometry.grid import Grid
from core.operators.linear import apply_axis
from core.operators.profile import profile_matrix
from core.operators.width import SliceWidth, agreed, can_tell, crossing, slice_width

N = 96


def field(seed: int = 0) -> np.ndarray:
    """White noise whose band ends softly, the same along all axes; voxels of 1 mm."""
    white = np.random.default_rng(seed).normal(size=(N, N, N))
    return gaussian_filter(white, 1.0, mode="wrap").astype(np.float32) * 100


def sliced(image: np.ndarray, axis: int, distance: float, width: float) -> tuple[np.ndarray, Grid]:
    count = math.floor(N / distance)
    rows = profile_matrix(N, count, distance, (distance - 1) / 2, "box", gap=1 - width / distance)
    steps = np.ones(4)
    steps[axis] = distance
    scan = apply_axis(rows, image, axis)
    return scan, Grid(scan.shape, np.diag(steps))


@pytest.mark.parametrize(("distance", "width"), [(3.0, 3.0), (4.0, 4.0), (4.0, 3.0), (5.0, 3.0), (6.0, 4.0)])
@pytest.mark.parametrize("axis", [0, 2])
def test_the_crossing_is_the_width(axis: int, distance: float, width: float) -> None:
    scan, grid = sliced(field(1), axis, distance, width)
    crossings = [crossing(scan, grid.spacing, along, axis) for along in range(3) if along != axis]
    assert None not in crossings
    assert np.mean([value for value in crossings if value]) == pytest.approx(width, abs=0.35 if distance < 5 else 0.7)


def test_noise_of_the_scan_and_its_unit_do_not_move_it() -> None:
    scan, grid = sliced(field(1), 2, 4.0, 3.0)
    clean = crossing(scan, grid.spacing, 0, 2)
    noisy = scan + np.random.default_rng(2).normal(0, 0.5 * scan.std(), scan.shape).astype(np.float32)
    assert crossing(noisy, grid.spacing, 0, 2) == pytest.approx(clean, abs=0.35)
    assert crossing(scan * 1e-6 + 7, grid.spacing, 0, 2) == pytest.approx(clean, abs=0.05)


def test_gaps_are_told_from_none() -> None:
    whole = slice_width(*sliced(field(3), 1, 5.0, 5.0))
    gaps = slice_width(*sliced(field(3), 1, 5.0, 2.5))
    assert whole is not None
    assert gaps is not None
    assert whole.low < 5.0 < whole.high
    assert whole.gap(5.0) == 0
    assert gaps.high < 5.0
    assert gaps.gap(5.0) == 0.3  # of 0.5: more is not believed by voxels alone


def test_the_gap_is_zero_unless_the_interval_excludes_slices_without_one() -> None:
    assert SliceWidth(mm=4.0, low=3.0, high=5.0).gap(5.0) == 0
    assert SliceWidth(mm=4.0, low=3.0, high=4.9).gap(5.0) == 0.2
    assert SliceWidth(mm=6.0, low=5.5, high=6.5).gap(5.0) == 0
    assert SliceWidth(mm=1.0, low=0.0, high=2.2).gap(5.0) == 0.3


def test_axes_of_the_planes_that_disagree_tell_nothing() -> None:
    """As where a head moves along one of them from slice to slice."""
    image, grid = sliced(field(3), 2, 5.0, 5.0)
    draw = np.random.default_rng(0)
    moved = np.stack([shift(plane, (draw.normal(0, 2), 0), mode="wrap") for plane in np.moveaxis(image, 2, 0)], axis=2)
    assert slice_width(image, grid) is not None
    assert slice_width(moved, grid) is None
    assert agreed([3.0, 4.0], 5.0) == 3.5
    assert agreed([3.0, 4.5], 5.0) is None
    assert agreed([3.0, None], 5.0) is None


def test_the_end_of_what_is_tried_is_no_measurement() -> None:
    image, grid = sliced(field(3), 2, 5.0, 5.0)
    alike = np.repeat(image[..., :1], image.shape[2], axis=2)
    opposite = alike * (-1) ** np.arange(image.shape[2], dtype=np.float32)
    for scan in (alike, opposite):
        assert crossing(scan, grid.spacing, 0, 2) is None
        assert slice_width(scan, grid) is None


def test_a_voxel_far_brighter_than_all_others_does_not_move_it() -> None:
    image, grid = sliced(field(3), 2, 4.0, 4.0)
    faulty = image.copy()
    faulty[40, 40, 12] = 1e6
    plain, found = slice_width(image, grid), slice_width(faulty, grid)
    assert plain is not None
    assert found is not None
    assert found.mm == pytest.approx(plain.mm, abs=0.2)


@pytest.mark.parametrize(("shape", "size"), [((96, 96, 96), 1.0), ((96, 96, 96), 1.9), ((96, 96, 11), 4.0), ((31, 96, 24), 4.0)])
def test_where_the_voxels_cannot_tell_nothing_is_told(shape, size: float) -> None:
    grid = Grid(shape, np.diag([1, 1, size, 1.0]))
    assert not can_tell(grid)
    assert slice_width(np.random.default_rng(0).random(shape, np.float32), grid) is None


def test_an_image_without_detail_tells_nothing() -> None:
    assert slice_width(np.ones((40, 40, 20), np.float32), Grid((40, 40, 20), np.diag([1, 1, 4, 1.0]))) is None
