"""Properties of blending: agreement kept bit for bit, order and blocks of no account."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from core.geometry.blend import blend, gather, shares, stream, window_weights
from core.geometry.grid import Box
from core.geometry.tiles import Tile, Tiling, halo_patches, patches
from tests.core.strategies import tilings


def cut(image: np.ndarray, tile: Tile) -> np.ndarray:
    return image[tile.read.slices]


def noise(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def disagreeing(seed: int, tile: Tile) -> np.ndarray:
    return noise(tile.read.shape, seed + tile.index)


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
        made = np.zeros((len(axis), max(interval.write_stop for interval in axis)))
        direct = np.zeros_like(made)
        for n, one in enumerate(axis):
            made[n, one.write_start : one.write_stop] = shares(axis, tiling.window)[n][0]
            length = one.write_stop - one.write_start
            direct[n, one.write_start : one.write_stop] = 1 if tiling.window is None else window_weights(length, tiling.window)
        np.testing.assert_allclose(made.sum(axis=0), 1, atol=1e-5)
        np.testing.assert_allclose(made, direct / direct.sum(axis=0), atol=1e-5)


def test_blending_equals_the_weighted_mean() -> None:
    tiling = patches((30, 20, 25), 12, 5, "gaussian")
    total, weight = np.zeros(tiling.shape), np.zeros(tiling.shape)
    for tile in tiling.tiles():
        w = [window_weights(n, "gaussian") for n in tile.read.shape]
        product = w[0][:, None, None] * w[1][:, None] * w[2]
        total[tile.read.slices] += product * disagreeing(3, tile)
        weight[tile.read.slices] += product
    np.testing.assert_allclose(blend(tiling, partial(disagreeing, 3)), total / weight, atol=2e-5)


def test_each_tile_is_predicted_once_and_dropped_at_once() -> None:
    tiling = patches((40, 40, 200), 20, 6, "hann")
    asked: list[int] = []
    alive: list[int] = []

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            if self.base is None:
                alive.pop()

    def predict(tile: Tile) -> np.ndarray:
        assert not alive
        asked.append(tile.index)
        alive.append(tile.index)
        made = Tracked(tile.read.shape, np.float32)
        made[:] = tile.index
        return made

    for _ in stream(tiling, predict, 10):
        assert not alive, "predictions that the stream is done with are kept"
    assert asked == list(range(len(tiling)))


def test_memory_does_not_grow_with_the_planes() -> None:
    def peak(planes: int) -> int:
        tiling = patches((32, 32, planes), 32, 8, "hann")
        tracemalloc.start()
        for _ in stream(tiling, lambda tile: np.ones(tile.read.shape, np.float32), 16):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(64)  # compiles
    assert peak(1024) < 1.2 * peak(256)


@pytest.mark.parametrize("window", ["hann", "gaussian"])
def test_patches_leave_no_seams_where_a_network_blurs(window) -> None:
    image = noise((64, 64, 64)) + np.float32(3)
    tiling = patches(image.shape, 32, 12, window)
    whole = uniform_filter(image, 5, mode="constant")
    found = blend(tiling, lambda tile: uniform_filter(cut(image, tile), 5, mode="constant"))
    for axis, intervals in enumerate(tiling.axes):
        others = tuple({0, 1, 2} - {axis})
        steps, true = (np.abs(np.diff(one, axis=axis)).mean(axis=others) for one in (found, whole))
        faces = {end - 1 for one in intervals for end in (one.write_start, one.write_stop) if 0 < end < 64}
        assert (steps / true)[list(faces)].max() < 1.02


def test_with_a_halo_of_the_networks_reach_the_result_is_the_whole_volumes() -> None:
    image = noise((50, 41, 33))

    def network(part: np.ndarray) -> np.ndarray:
        return uniform_filter(uniform_filter(part, 5, mode="constant") ** 2, 3, mode="constant")

    found = blend(halo_patches(image.shape, 24, 3), lambda tile: network(cut(image, tile)))
    np.testing.assert_allclose(found, network(image), atol=1e-6 * np.ptp(network(image)))
    short = blend(halo_patches(image.shape, 24, 2), lambda tile: network(cut(image, tile)))
    assert np.abs(short - network(image)).max() > 1e-3


@given(tilings(), st.data())
@settings(max_examples=30, deadline=None)
def test_an_impulse_lands_on_its_voxel(tiling: Tiling, data: st.DataObject) -> None:
    image = np.zeros(tiling.shape, np.float32)
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in tiling.shape)
    image[voxel] = 1
    found = blend(tiling, partial(cut, image))
    assert np.argwhere(found).tolist() == [list(voxel)]


def test_windows_are_positive_and_taper() -> None:
    for window in ("hann", "gaussian"):
        weights = window_weights(64, window)
        assert weights.min() > 0
        assert weights[0] < 0.01 * weights.max()
        np.testing.assert_allclose(weights, weights[::-1])


def test_lerp_copies_where_nothing_was_before() -> None:
    tiling = patches((50, 1, 1), 20, 5, "hann")
    assert shares(tiling.axes[0], "hann")[0][1].max() == 0
    nans = blend(tiling, lambda tile: np.full(tile.read.shape, tile.index, np.float32))
    assert np.isfinite(nans).all()


def test_windows_by_hand() -> None:
    assert window_weights(2, "hann") == pytest.approx([0.5, 0.5])
    assert window_weights(4, "hann")[0] == pytest.approx(np.sin(np.pi / 8) ** 2)
    assert window_weights(4, "gaussian")[0] == pytest.approx(
        np.exp(-0.5 * 3**2)
    )  # three of eight standard deviations from the middle
