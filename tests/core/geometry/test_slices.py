"""Slices: the same anatomy in the same places for any storage, each covered once, ends mirrored, axes averaged in order."""

from __future__ import annotations

from functools import partial
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import GridError
from core.geometry.blend import blend, gather, stream
from core.geometry.grid import Box, Grid, Orientation
from core.geometry.slices import AveragedSlabs, Padding, SliceStack, brackets, mirrored, slab, slab_tiling
from core.geometry.tiles import Tiling, slabs

ORIENTATIONS = [Orientation(order, flips) for order in permutations(range(3)) for flips in product([False, True], repeat=3)]


def oblique() -> Grid:
    """A grid that is turned by 0.3 rad about x and 0.2 rad about z, with voxels of three sizes."""
    a, b = 0.3, 0.2
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    spin = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = spin @ turn @ np.diag([1, 1.5, 4])
    affine[:3, 3] = [-10, 20, 5]
    return Grid((5, 6, 7), affine)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_slices_are_the_same_however_the_volume_is_stored(orientation: Orientation, axis: int) -> None:
    grid, image = oblique(), noise((5, 6, 7))
    stored, stack = orientation.apply(image), SliceStack(grid.reorient(orientation), axis)
    planes = stack.planes(stored)
    assert planes.tobytes() == SliceStack(grid, axis).planes(image).tobytes()
    assert planes.shape == (stack.count, *np.delete((5, 6, 7), axis))
    back = stack.image(planes)
    assert back.flags.c_contiguous
    assert back.tobytes() == stored.tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rows_and_columns_run_to_anterior_right_and_superior(axis: int) -> None:
    grid = Grid((3, 4, 5), np.diag([-1.0, 2, 3, 1]))  # stored from right to left
    x, y, z = np.meshgrid(*(np.arange(n) for n in (3, 4, 5)), indexing="ij")
    right, anterior, superior = (-x).astype(np.float32), y.astype(np.float32), z.astype(np.float32)
    rows, columns = {0: (anterior, superior), 1: (right, superior), 2: (right, anterior)}[axis]
    along = (right, anterior, superior)[axis]
    stack = SliceStack(grid, axis)
    assert (np.diff(stack.planes(rows), axis=1) == 1).all()
    assert (np.diff(stack.planes(columns), axis=2) == 1).all()
    assert (np.diff(stack.planes(along), axis=0) == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7], ids=str)
def test_the_grid_of_a_slice_lies_where_the_slice_does(orientation: Orientation, axis: int) -> None:
    grid = oblique()
    stack = SliceStack(grid.reorient(orientation), axis)
    start = [0, 0, 0]
    start[axis] = 3
    one = stack.grid_of(3)
    assert one.shape[axis] == 1
    np.testing.assert_allclose(one.affine[:3, 3], grid.world(np.array([start]))[0], atol=1e-9)


def test_neighbours_beyond_the_ends_are_mirrored() -> None:
    planes = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    made = np.empty((3, 5, 2, 3), np.float32)
    slab(planes, [0, 2, 4], 2, made)
    np.testing.assert_array_equal(made[:, :, 0, 0], [[2, 1, 0, 1, 2], [0, 1, 2, 3, 4], [2, 3, 4, 3, 2]])
    np.testing.assert_array_equal(mirrored(np.arange(-3, 5), 2), [1, 0, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(mirrored(np.arange(-2, 3), 1), 0)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 8, 16]))
@settings(max_examples=60, deadline=None)
def test_padding_is_undone_and_mirrors_what_is_there(rows: int, columns: int, multiple: int) -> None:
    padding, planes = Padding((rows, columns), multiple), noise((2, 3, rows, columns))
    made = padding.apply(planes)
    assert made.shape == (2, 3, *padding.padded)
    assert all(0 <= m - n < multiple and m % multiple == 0 for m, n in zip(padding.padded, (rows, columns), strict=True))
    assert padding.undo(made).tobytes() == planes.tobytes()
    assert set(made.ravel().tolist()) <= set(planes.ravel().tolist())
    if 1 < rows < padding.padded[0]:
        np.testing.assert_array_equal(made[:, :, rows, :columns], planes[:, :, rows - 2])
    assert padding.apply(torch.from_numpy(planes)).numpy().tobytes() == made.tobytes()


@given(st.tuples(*[st.integers(1, 20)] * 3), st.sets(st.integers(0, 2), min_size=1), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_slabs_cover_each_voxel_once_for_each_axis(shape, axes, thickness: int) -> None:
    tiling = slab_tiling(shape, sorted(axes, reverse=True), thickness)
    covered = np.zeros((len(axes), *shape), int)
    for n, tile in enumerate(tiling.tiles()):
        assert tile == tiling.tile(n)
        assert tile.index == n
        assert tile.read == tile.write
        assert sorted(tile.read.shape[a] < shape[a] for a in range(3))[:2] == [False, False]
        covered[(tile.part, *tile.write.slices)] += 1
    assert (covered == 1).all()
    assert len(tiling) == n + 1
    assert max(np.prod(tile.read.shape) for tile in tiling.tiles()) == tiling.most_voxels
    box = Box(tuple(m // 3 for m in shape), tuple(m // 3 + (m + 2) // 3 for m in shape))
    assert list(tiling.touching(box)) == [tile for tile in tiling.tiles() if tile.write.intersect(box)]


def random_predictions(tiling: Tiling) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {tile.index: rng.standard_normal(tile.read.shape).astype(np.float32) for tile in tiling.tiles()}


def predict(made: dict[int, np.ndarray], tile) -> np.ndarray:
    return made[tile.index]


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("block", [1, 5, 64])
def test_blocks_streamed_and_gathered_are_the_weighted_mean_of_the_axes(axes, block: int) -> None:
    shape, weights = (9, 8, 11), (1.0, 3.0, 0.5)[: len(axes)]
    tiling = slab_tiling(shape, axes, 4, weights)
    made = random_predictions(tiling)
    each = np.zeros((len(axes), *shape))
    for tile in tiling.tiles():
        each[(tile.part, *tile.write.slices)] = made[tile.index]
    whole = blend(tiling, partial(predict, made))
    np.testing.assert_allclose(whole, np.average(each, axis=0, weights=weights), atol=1e-6)
    streamed = np.full(shape, np.nan, np.float32)
    for box, array in stream(tiling, partial(predict, made), block):
        streamed[box.slices] = array
    assert streamed.tobytes() == whole.tobytes()
    part = Box((2, 3, 4), (9, 5, 10))
    assert gather(part, tiling, partial(predict, made)).tobytes() == np.ascontiguousarray(whole[part.slices]).tobytes()


def test_where_all_axes_agree_the_very_bits_remain() -> None:
    image = noise((7, 6, 5)) * np.float32(1e4)
    image[0, 0, 0] = -0.0
    tiling = slab_tiling(image.shape, (0, 1, 2), 2, (0.3, 1.7, 0.9))
    assert blend(tiling, lambda tile: image[tile.read.slices]).tobytes() == image.tobytes()


def test_a_stream_gives_its_first_block_once_its_slabs_are_past() -> None:
    tiling, asked = slab_tiling((8, 8, 32), (0, 2), 4), []

    def ask(tile) -> np.ndarray:
        asked.append(tile)
        return np.zeros(tile.read.shape, np.float32)

    box, _ = next(stream(tiling, ask, 8))
    assert box.stop[2] == 8
    assert asked[-1].read.stop[2] == 8  # none of those beyond was needed


def test_json_tells_one_tiling_from_another() -> None:
    tilings = [slab_tiling((8, 8, 8), axes, 4, weights) for axes, weights in (((0, 1), None), ((0, 2), None), ((0, 1), (1, 2)))]
    texts = [repr(tiling.to_json()) for tiling in tilings]
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    ("axes", "weights"), [((), None), ((0, 0), None), ((0, 1), (1.0,)), ((0, 1), (1.0, 0.0)), ((0, 3), None)]
)
def test_axes_and_weights_that_do_not_fit_are_refused(axes, weights) -> None:
    with pytest.raises(GridError, match=r"(slab-axes|tiling-size): expected .*ax[ei]s.*, but got .*\. "):
        slab_tiling((4, 4, 4), axes, 2, weights)


def test_there_is_no_slab_beyond_the_last_and_no_fourth_axis() -> None:
    tiling = slab_tiling((4, 4, 4), (0, 1), 2)
    assert isinstance(tiling, AveragedSlabs)
    with pytest.raises(GridError, match="tile-index: expected 0 to 3, but got 4"):
        tiling.tile(4)
    with pytest.raises(GridError, match=r"slice-axis: expected an axis of 0 .*, but got 3\. Correct it"):
        SliceStack(oblique(), 3)


def test_brackets_are_the_slices_around_and_the_ends_beyond() -> None:
    source = Grid((4, 4, 3), np.diag([1.0, 1, 4, 1]))
    found = brackets(source, source.refine(2, 4), 2)  # centres at -0.375, -0.125, 0.125, ...
    np.testing.assert_array_equal(found.below, [0] * 6 + [1] * 4 + [2] * 2)
    np.testing.assert_array_equal(found.above, [0, 0, *[1] * 4, *[2] * 6])
    np.testing.assert_allclose(found.share, [0, 0, *[0.125, 0.375, 0.625, 0.875] * 2, 0, 0])
    same = brackets(source, source, 2)
    np.testing.assert_array_equal(same.below, same.above)
    assert not same.share.any()


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_the_brackets_of_a_crop_are_those_of_the_whole(factor: int) -> None:
    source = Grid((4, 4, 30), np.diag([1.0, 1, 0.7 * factor, 1]))
    target = source.refine(2, factor)
    whole = brackets(source, target, 2)
    for start in range(0, target.shape[2] - 8, 5):
        here = slice(start, start + 8)
        low, high = whole.below[here].min(), whole.above[here].max() + 1
        crop = source.crop(Box((0, 0, low), (4, 4, high)))
        part = brackets(crop, target.crop(Box((0, 0, start), (4, 4, start + 8))), 2)
        np.testing.assert_array_equal(part.below + low, whole.below[here])
        np.testing.assert_array_equal(part.above + low, whole.above[here])
        np.testing.assert_allclose(part.share, whole.share[here], atol=1e-12)


def test_axes_without_weights_count_alike_and_the_uncut_ones_are_whole() -> None:
    equal, said = slab_tiling((5, 6, 7), (0, 2), 2), slab_tiling((5, 6, 7), (0, 2), 2, (1.0, 1.0))
    assert equal == said
    image = {0: 2.0, 2: 5.0}
    assert isinstance(equal, AveragedSlabs)
    made = blend(equal, lambda tile: np.full(tile.read.shape, image[0 if tile.read.shape[0] <= 2 else 2], np.float32))
    assert made == pytest.approx(3.5)
    tall = slab_tiling((9, 4, 5), (1, 2), 2)
    assert {tile.read.shape[0] for tile in tall.tiles()} == {9}


def test_planes_that_fit_are_the_very_planes() -> None:
    planes = noise((2, 8, 12))
    assert Padding((8, 12), 4).apply(planes) is planes
    padded = Padding((8, 11), 4).apply(noise((2, 8, 11)))
    assert padded.shape == (2, 8, 12)
    assert Padding((7, 12), 4).apply(noise((2, 7, 12))).shape == (2, 8, 12)


@pytest.mark.parametrize("axis", range(3))
def test_slabs_along_one_axis_are_averaged_with_none(axis):
    one = slab_tiling((6, 5, 4), [axis], 2)
    assert type(one) is Tiling
    assert one == slabs((6, 5, 4), axis, 2)
    assert type(slab_tiling((6, 5, 4), [axis, (axis + 1) % 3], 2)) is AveragedSlabs
