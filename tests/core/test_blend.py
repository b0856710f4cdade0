"""Properties of tilings and of blending: every voxel covered, agreement kept bit for bit, order and blocks of no account."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.blend import blend, gather, lerp_factors, per_axis_weights, stream, window_weights
from core.errors import GridError
from core.grid import Box
from core.tiles import Tile, Tiling, halo_patches, patches, slabs, volume

SHAPES = st.tuples(*[st.integers(1, 40)] * 3)


@st.composite
def tilings(draw) -> Tiling:
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["volume", "slabs", "hann", "gaussian", "halo"]))
    size = draw(st.integers(3, 20))
    if kind == "volume":
        return volume(shape)
    if kind == "slabs":
        return slabs(shape, draw(st.integers(0, 2)), size, draw(st.integers(0, 3)))
    if kind == "halo":
        return halo_patches(shape, size, draw(st.integers(0, (size - 1) // 2)))
    return patches(shape, size, draw(st.integers(0, size - 1)), kind)


def cut(image: np.ndarray, tile: Tile) -> np.ndarray:
    return image[tile.read.slices]


def noise(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def disagreeing(seed: int, tile: Tile) -> np.ndarray:
    return noise(tile.read.shape, seed + tile.index)


@given(tilings())
@settings(max_examples=80, deadline=None)
def test_every_voxel_is_covered_and_each_tile_is_known_by_its_index(tiling: Tiling) -> None:
    covered = np.zeros(tiling.shape, int)
    for n, tile in enumerate(tiling.tiles()):
        assert tile.index == n
        assert tile.read.intersect(tile.write) == tile.write
        covered[tile.write.slices] += 1
    assert covered.min() >= 1
    assert len(tiling) == n + 1
    if tiling.window is None:
        assert covered.max() == 1
    assert Tiling.from_json(tiling.to_json()) == tiling


@given(tilings(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_identity_comes_back_bit_for_bit(tiling: Tiling, seed: int) -> None:
    for image in (noise(tiling.shape, seed), np.full(tiling.shape, 0.1, np.float32), _ramp(tiling.shape)):
        assert blend(tiling, partial(cut, image)).tobytes() == image.tobytes()


def _ramp(shape) -> np.ndarray:
    return (np.arange(shape[0])[:, None, None] * 0.3 + np.arange(shape[1])[:, None] * 0.7 + np.arange(shape[2])).astype(
        np.float32
    )


@given(tilings(), st.integers(1, 17))
@settings(max_examples=60, deadline=None)
def test_stream_and_gather_of_any_block_give_the_same_bits(tiling: Tiling, thickness: int) -> None:
    whole = blend(tiling, partial(disagreeing, 7))
    streamed = list(stream(tiling, partial(disagreeing, 7), thickness))
    assert np.concatenate([part for _, part in streamed], axis=2).tobytes() == whole.tobytes()
    start = tuple(n // 3 for n in tiling.shape)
    stop = tuple(max(a + 1, 2 * n // 3) for a, n in zip(start, tiling.shape, strict=True))
    assert gather(Box(start, stop), tiling, partial(disagreeing, 7)).tobytes() == whole[Box(start, stop).slices].tobytes()


@given(tilings())
@settings(max_examples=60, deadline=None)
def test_shares_sum_to_one_and_equal_the_normalised_window(tiling: Tiling) -> None:
    for axis in tiling.axes:
        shares = per_axis_weights(axis, tiling.window)
        np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)
        direct = np.zeros_like(shares)
        for n, one in enumerate(axis):
            length = one.write_stop - one.write_start
            direct[n, one.write_start : one.write_stop] = 1 if tiling.window is None else window_weights(length, tiling.window)
        np.testing.assert_allclose(shares, direct / direct.sum(axis=0), atol=1e-5)


def test_blending_equals_the_weighted_mean() -> None:
    tiling = patches((30, 20, 25), 12, 5, "gaussian")
    total, weight = np.zeros(tiling.shape), np.zeros(tiling.shape)
    for tile in tiling.tiles():
        w = [window_weights(n, "gaussian") for n in tile.read.shape]
        product = w[0][:, None, None] * w[1][:, None] * w[2]
        total[tile.read.slices] += product * disagreeing(3, tile)
        weight[tile.read.slices] += product
    np.testing.assert_allclose(blend(tiling, partial(disagreeing, 3)), total / weight, atol=2e-5)


def test_each_tile_is_predicted_once_and_dropped_when_passed() -> None:
    tiling = patches((40, 40, 200), 20, 6, "hann")
    asked: list[int] = []
    alive: list[int] = []

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            if self.base is None:
                alive.pop()

    def predict(tile: Tile) -> np.ndarray:
        asked.append(tile.index)
        alive.append(tile.index)
        made = Tracked(tile.read.shape, np.float32)
        made[:] = tile.index
        return made

    most = 0
    for _ in stream(tiling, predict, 10):
        most = max(most, len(alive))
    assert asked == list(range(len(tiling)))
    assert most <= 3 * len(tiling.axes[0]) * len(tiling.axes[1]), "layers behind the stream are kept"


def test_windows_are_positive_and_taper() -> None:
    for window in ("hann", "gaussian"):
        weights = window_weights(64, window)
        assert weights.min() > 0
        assert weights[0] < 0.01 * weights.max()
        np.testing.assert_allclose(weights, weights[::-1])


def test_lerp_copies_where_nothing_was_before() -> None:
    tiling = patches((50, 1, 1), 20, 5, "hann")
    assert lerp_factors(tiling.axes[0], "hann")[0].min() == 1
    nans = blend(tiling, lambda tile: np.full(tile.read.shape, tile.index, np.float32))
    assert np.isfinite(nans).all()


@pytest.mark.parametrize(
    "make", [lambda: patches((9, 9, 9), 4, 4, "hann"), lambda: halo_patches((9, 9, 9), 4, 2), lambda: slabs((9, 9, 9), 3, 2)]
)
def test_what_cannot_be_is_refused_with_a_remedy(make) -> None:
    with pytest.raises(GridError, match=r"wanted .*; got .*; (make|correct)"):
        make()


def test_a_million_tiles_are_not_made() -> None:
    tiling = halo_patches((6400, 6400, 6400), 64, 0)
    assert len(tiling) == 10**6
    assert tiling.tile(999_999).write.stop == (6400, 6400, 6400)
    assert [tile.index for tile in tiling.touching(Box((60, 0, 0), (70, 1, 1)))] == [0, 1]
