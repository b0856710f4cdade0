"""Overlapping predictions become one volume: gathered block by block, by a running lerp along each axis.

Weights of a window on a product of intervals factorise by axis, so they need neither a weight volume nor a normalising pass:
along an axis, tile i moves the running value v to v + t (p - v) with t = w_i / (w_0 + ... + w_i). Where predictions agree the
difference is zero, so the very bits remain; and since every voxel is computed alone, in the order of the tiles, the bits do not
depend on how the volume is cut into blocks, nor on who predicted what when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.grid import Array, Box, Triple
from core.tiles import Axis, Interval, Tile, Tiling, Window

Predict = Callable[[Tile], Array]
TRUNCATE = 8  # a gaussian window's length in standard deviations


def window_weights(n: int, window: Window) -> NDArray[np.float64]:
    """Weights (n) of a tile along one axis: positive everywhere, tapering towards both ends.

    Sampled at the voxels' centres, at half-integers, so that no voxel has weight 0 and no floor is needed.
    """
    centre = (np.arange(n) + 0.5) / n
    if window == "hann":
        return np.asarray(np.sin(np.pi * centre) ** 2)
    return np.asarray(np.exp(-0.5 * ((centre - 0.5) * TRUNCATE) ** 2))


@lru_cache(maxsize=64)
def lerp_factors(axis: Axis, window: Window | None) -> tuple[Array, ...]:
    """For each interval of an axis, the factor t (float32, 0 to 1) over its write part; 1 where it is the first to cover."""
    total = np.zeros(max(one.write_stop for one in axis))
    factors = []
    for one in axis:
        here = slice(one.write_start, one.write_stop)
        weights = (
            np.ones(one.write_stop - one.write_start)
            if window is None
            else window_weights(one.write_stop - one.write_start, window)
        )
        total[here] += weights
        factors.append((weights / total[here]).astype(np.float32))
    return tuple(factors)


def per_axis_weights(axis: Axis, window: Window | None) -> NDArray[np.float64]:
    """The share (intervals, voxels) that each interval has in the blended result; every column sums to 1."""
    shares = np.zeros((len(axis), max(one.write_stop for one in axis)))
    for n, (one, factor) in enumerate(zip(axis, lerp_factors(axis, window), strict=True)):
        here = slice(one.write_start, one.write_stop)
        shares[:, here] *= 1 - factor
        shares[n, here] = factor
    return shares


def _with(box: Box, axis: int, start: int, stop: int) -> Box:
    """The box, cut to start:stop along an axis."""
    first, last = list(box.start), list(box.stop)
    first[axis], last[axis] = start, stop
    return Box((first[0], first[1], first[2]), (last[0], last[1], last[2]))


def _along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))


def _lerp(out: Array, part: Array, factor: Array, axis: int) -> None:
    """Move ``out`` towards ``part`` by ``factor`` along ``axis``, in place."""
    step = part - out
    step *= factor.reshape([-1 if a == axis else 1 for a in range(3)])
    out += step


def _join(out: Array, part: Array, one: Interval, factor: Array, axis: int, origin: int, seen: int) -> None:
    """Bring the next part into ``out``, whose first voxel along ``axis`` is ``origin``; ``seen``: covered up to here."""
    start = max(one.write_start, origin)
    stop = start + part.shape[axis]
    middle = min(max(seen, start), stop)
    if middle > start:
        there = out[_along(axis, start - origin, middle - origin)]
        t = factor[start - one.write_start : middle - one.write_start]
        _lerp(there, part[_along(axis, 0, middle - start)], t, axis)
    if stop > middle:
        out[_along(axis, middle - origin, stop - origin)] = part[_along(axis, middle - start, stop - start)]


def _gather(box: Box, tiling: Tiling, predict: Predict, axis: int, chosen: tuple[int, ...]) -> Array:
    """The blended voxels of ``box`` from the tiles whose intervals above ``axis`` are ``chosen`` (z first)."""
    if axis < 0:
        z, y, x = chosen
        tile = tiling.at(x, y, z)
        return predict(tile)[box.relative_to(tile.read.start).slices]
    numbers = tiling.meeting(axis, box.start[axis], box.stop[axis])
    intervals, factors = tiling.axes[axis], lerp_factors(tiling.axes[axis], tiling.window)
    if len(numbers) == 1:
        return _gather(box, tiling, predict, axis - 1, (*chosen, numbers[0]))
    out = np.empty(box.shape, np.float32)
    origin = seen = box.start[axis]
    for n in numbers:
        one = intervals[n]
        start, stop = max(one.write_start, box.start[axis]), min(one.write_stop, box.stop[axis])
        part = _gather(_with(box, axis, start, stop), tiling, predict, axis - 1, (*chosen, n))
        _join(out, part, one, factors[n], axis, origin, seen)
        seen = max(seen, stop)
    return out


def gather(block: Box, tiling: Tiling, predict: Predict) -> Array:
    """The blended voxels of one output block.

    Args:
        block: which voxels.
        tiling: of the volume.
        predict: gives the prediction of a tile, float32 of ``tile.read.shape``; asked in the tiling's order, each tile once.

    Returns:
        float32 array of ``block.shape``, which does not share memory with a prediction.
    """
    found = _gather(block, tiling, predict, 2, ())
    return found.copy() if found.base is not None else found


def stream(tiling: Tiling, predict: Predict, thickness: int) -> Iterator[tuple[Box, Array]]:
    """The whole volume as slabs of ``thickness`` planes along z, each given once and final.

    Each tile is predicted once, and dropped as soon as the slabs are past it: memory does not grow with the number of planes.

    Yields:
        the slab's box and its voxels.
    """
    held: dict[int, tuple[int, Array]] = {}

    def remembered(tile: Tile) -> Array:
        if tile.index not in held:
            held[tile.index] = tile.write.stop[2], predict(tile)
        return held[tile.index][1]

    nx, ny, nz = tiling.shape
    for start in range(0, nz, thickness):
        stop = min(start + thickness, nz)
        box = Box((0, 0, start), (nx, ny, stop))
        yield box, gather(box, tiling, remembered)
        for index in [index for index, (end, _) in held.items() if end <= stop]:
            del held[index]


def blend(tiling: Tiling, predict: Predict) -> Array:
    """The whole volume at once."""
    shape: Triple = tiling.shape
    return gather(Box.whole(shape), tiling, predict)
