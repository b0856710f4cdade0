"""Overlapping predictions become one volume: each moves the voxels that it covers, in the tiling's order, by a running lerp.

Weights of a window on a product of intervals factorise by axis, so they need neither a weight volume nor a normalising pass:
tile n moves the running value v to v - t (v - p) with t = w_n / (w_0 + ... + w_n), where w_n is a product of shares, one an axis.
Where predictions agree the difference is zero, so the very bits remain; and since every voxel is computed alone, in the order
of the tiles, the bits do not depend on how the volume is cut into blocks, nor on who predicted what when.

With the shares a, b, c of a tile's intervals along x, y, z, and the sums A, B, C of those of earlier intervals (all shares of
an axis sum to 1), the tiles before it and itself weigh C + c (B + b (A + a)); so  t = a b / (C/c + B + b (A + a)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Box, Triple
from core.geometry.tiles import Axis, Interval, Tile, Tiling, Window

Predict = Callable[[Tile], Array]
Shares = tuple[Array, ...]
TRUNCATE = 8  # a gaussian window's length in standard deviations


def window_weights(n: int, window: Window) -> NDArray[np.float64]:
    """Weights (n) of a tile along one axis: positive everywhere, tapering towards both ends.

    Sampled at the voxels' centres, at half-integers, so that no voxel has weight 0 and no floor is needed.
    """
    centre = (np.arange(n) + 0.5) / n
    if window == "hann":
        return np.asarray(np.sin(np.pi * centre) ** 2)
    return np.asarray(np.exp(-0.5 * ((centre - 0.5) * TRUNCATE) ** 2))


def _weights(interval: Interval, window: Window | None) -> NDArray[np.float64]:
    n = interval.write_stop - interval.write_start
    return np.ones(n) if window is None else window_weights(n, window)


@lru_cache(maxsize=64)
def shares(axis: Axis, window: Window | None) -> Shares:
    """For each interval of an axis, (2, voxels) over its write part: its share in the result, and that of all before it."""
    total = np.zeros(max(interval.write_stop for interval in axis))
    for interval in axis:
        total[interval.write_start : interval.write_stop] += _weights(interval, window)
    before = np.zeros_like(total)
    parts = []
    for interval in axis:
        here = slice(interval.write_start, interval.write_stop)
        share = _weights(interval, window) / total[here]
        parts.append(np.stack([share, before[here]]).astype(np.float32))
        before[here] += share
    return tuple(parts)


def _axis_shares(tiling: Tiling) -> list[Shares]:
    return [] if tiling.window is None else [shares(axis, tiling.window) for axis in tiling.axes]


def _bring(tile: Tile, prediction: Array, tiling: Tiling, weights: list[Shares], block: Box, out: Array) -> None:
    """Bring a prediction into the block that it meets; tiles must come in order."""
    common = block.intersect(tile.write)
    if common is None:
        return
    if tiling.window is None:
        _move(out[common.relative_to(block.start).slices], prediction[common.relative_to(tile.read.start).slices], tiling, tile)
        return
    from core.geometry.lerp import lerp_into

    chosen = zip(weights, tiling.place(tile), common.relative_to(tile.write.start).slices, strict=True)
    x, y, z = (np.ascontiguousarray(axis[n][:, cut]) for axis, n, cut in chosen)
    corners = common.relative_to(block.start).start, common.relative_to(tile.read.start).start, common.shape
    lerp_into(out, np.ascontiguousarray(prediction, np.float32), corners, x, y, z[1] / z[0])


def _move(here: Array, new: Array, tiling: Tiling, tile: Tile) -> None:
    """Move voxels towards a prediction by the tile's share, in place; wholly where it is the first."""
    share = tiling.share(tile)
    here[...] = new if share == 1 else here - np.float32(share) * (here - new)


def gather(block: Box, tiling: Tiling, predict: Predict) -> Array:
    """The blended voxels of one output block.

    Args:
        block: which voxels.
        tiling: of the volume.
        predict: gives the prediction of a tile, float32 of ``tile.read.shape``; asked in the tiling's order, each tile once.

    Returns:
        float32 array of ``block.shape``, which does not share memory with a prediction.
    """
    weights = _axis_shares(tiling)
    out = np.empty(block.shape, np.float32)
    for tile in tiling.touching(block):
        _bring(tile, predict(tile), tiling, weights, block, out)
    return out


def stream(tiling: Tiling, predict: Predict, thickness: int) -> Iterator[tuple[Box, Array]]:
    """The whole volume as slabs of ``thickness`` planes along z, each given once and final.

    Each tile is predicted once, blended into the slabs that it meets and dropped; a slab is given as soon as the tiles are past
    it. So memory holds one layer of slabs, and does not grow with the number of planes.

    Yields:
        the slab's box and its voxels.
    """
    nx, ny, nz = tiling.shape
    weights = _axis_shares(tiling)
    waiting: dict[Box, Array] = {}
    begun = 0
    for tile in tiling.tiles():
        for box in [box for box in waiting if box.stop[2] <= tile.write.start[2]]:
            yield box, waiting.pop(box)
        while begun < tile.write.stop[2]:
            box = Box((0, 0, begun), (nx, ny, min(begun + thickness, nz)))
            waiting[box] = np.empty(box.shape, np.float32)
            begun = box.stop[2]
        prediction = predict(tile)
        for box, out in waiting.items():
            _bring(tile, prediction, tiling, weights, box, out)
        del prediction
    yield from waiting.items()


def blend(tiling: Tiling, predict: Predict) -> Array:
    """The whole volume at once."""
    shape: Triple = tiling.shape
    return gather(Box.whole(shape), tiling, predict)
