"""Properties of tilings: every voxel covered, halos whole, tiles known by their index, nothing impossible accepted."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from core.errors import GridError
from core.geometry.grid import Box
from core.geometry.tiles import Interval, Tiling, halo_patches, patches, slabs, volume
from tests.core.strategies import tilings


@given(tilings())
@settings(max_examples=80, deadline=None)
def test_every_voxel_is_covered_and_each_tile_is_known_by_its_index(tiling: Tiling) -> None:
    covered = np.zeros(tiling.shape, int)
    for n, tile in enumerate(tiling.tiles()):
        assert tile.index == n
        assert tiling.tile(n) == tile == tiling.at(*tiling.place(tile))
        assert tile.read.intersect(tile.write) == tile.write
        covered[tile.write.slices] += 1
    assert covered.min() >= 1
    assert len(tiling) == n + 1
    if tiling.window is None:
        assert covered.max() == 1


@given(tilings())
@settings(max_examples=40, deadline=None)
def test_json_keeps_a_tiling(tiling: Tiling) -> None:
    assert Tiling.from_json(json.loads(json.dumps(tiling.to_json()))) == tiling


@given(tilings())
@settings(max_examples=40, deadline=None)
def test_touching_gives_just_the_tiles_that_write_into_a_box(tiling: Tiling) -> None:
    box = Box(tuple(n // 3 for n in tiling.shape), tuple(n // 3 + (n + 2) // 3 for n in tiling.shape))
    expected = [tile for tile in tiling.tiles() if tile.write.intersect(box)]
    assert list(tiling.touching(box)) == expected


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_are_cut_along_their_axis_alone(axis: int) -> None:
    tiling = slabs((20, 21, 22), axis, 8, halo=2)
    assert [len(a) for a in tiling.axes] == [3 if a == axis else 1 for a in range(3)]
    assert tiling.axes[axis][1] == Interval(6, 18, 8, 16)


def test_halos_are_whole_inside_the_volume_and_patches_no_larger_than_asked() -> None:
    tiling = halo_patches((100, 70, 9), 32, 5)
    for tile in tiling.tiles():
        for n, size, a, b, c, d in zip(
            tiling.shape, tile.read.shape, tile.read.start, tile.write.start, tile.write.stop, tile.read.stop, strict=True
        ):
            assert size <= 32
            assert a == max(0, b - 5)
            assert d == min(n, c + 5)


def test_overlapping_patches_are_of_one_size_and_share_what_was_asked() -> None:
    tiling = patches((100, 70, 9), 32, 8, "hann")
    assert {tile.read.shape for tile in tiling.tiles()} == {(32, 32, 9)}
    for axis in tiling.axes:
        assert all(first.write_stop - second.write_start >= 8 for first, second in pairwise(axis))


@pytest.mark.parametrize(
    "make",
    [
        lambda: patches((9, 9, 9), 4, 4, "hann"),
        lambda: patches((9, 9, 9), 4, -1, "hann"),
        lambda: halo_patches((9, 9, 9), 4, 2),
        lambda: slabs((9, 9, 9), 3, 2),
        lambda: slabs((9, 9, 9), 0, 0),
        lambda: volume((9, 9, 9)).tile(1),
        lambda: replace(volume((9, 9, 9)), shape=(9, 9, 10)),
        lambda: replace(slabs((9, 9, 9), 2, 4), axes=(*volume((9, 9, 9)).axes[:2], slabs((9, 9, 9), 2, 4).axes[2][1:])),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(make) -> None:
    with pytest.raises(GridError, match=r"expected .*, but got .*\. (Make|Correct|Use)"):
        make()


def test_a_million_tiles_are_not_made() -> None:
    tiling = halo_patches((6400, 6400, 6400), 64, 0)
    assert len(tiling) == 10**6
    assert tiling.tile(999_999).write.stop == (6400, 6400, 6400)
    assert [tile.index for tile in tiling.touching(Box((60, 0, 0), (70, 1, 1)))] == [0, 1]


def test_the_largest_tile_is_that_with_most_voxels_read() -> None:
    tiling = halo_patches((50, 20, 20), 16, (3, 0, 0))
    assert tiling.most_voxels == max(int(np.prod(tile.read.shape)) for tile in tiling.tiles())
    assert volume((5, 6, 7)).most_voxels == 210


def test_a_volume_of_a_patchs_size_is_one_patch() -> None:
    assert len(patches((16, 16, 16), 16, 4, "hann")) == 1
    assert len(patches((17, 16, 16), 16, 4, "hann")) == 2


def test_a_halo_too_large_says_how_large_the_patch_must_be():
    with pytest.raises(GridError, match=r"halo-too-large: .* got \(2, 9, 3\) for .*larger \(more than 18\)"):
        halo_patches((40, 40, 40), 16, (2, 9, 3))


def test_an_overlap_too_large_says_how_large_it_may_be():
    with pytest.raises(GridError, match=r"overlap-too-large: expected an overlap of 0 to 15 for patches of 16, but got 16"):
        patches((40, 40, 40), 16, 16, "hann")
