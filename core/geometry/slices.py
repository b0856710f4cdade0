"""Slices of a volume as 2-D images along any axis, the slabs that a volume is cut into, and the mean over several axes.

A slice's rows and columns are the two world axes that it does not run along, in the order R, A, S: whatever the order and the
direction in which a file stores its voxels, a slice of the same anatomy holds the same values in the same places.

    along   slices     rows run to   columns run to
    0       sagittal   anterior      superior
    1       coronal    right         superior
    2       axial      right         anterior

    slab of slice 3 with 2 neighbours (channels):   1 2 [3] 4 5        of slice 0, mirrored at the end:   2 1 [0] 1 2
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError
from core.geometry.grid import Array, Box, Grid, Orientation, Triple
from core.geometry.tiles import Tile, Tiling, slabs, volume

Places = NDArray[np.int_]


def across(grid: Grid) -> int:
    """The axis across a scan's slices: that whose slices have the pixels nearest to squares, however thick the slices are.

    Of axes that are alike in this the coarsest; axial slices where the voxels are cubes (see ``Grid.slice_axis``).
    """
    if grid.slice_axis is None:
        return 2

    def order(axis: int) -> tuple[float, bool]:
        pixel = [size for at, size in enumerate(grid.spacing) if at != axis]
        return -round(max(pixel) / min(pixel), 2), axis == grid.slice_axis

    return max(range(3), key=order)


def mirrored(places: Places, n: int) -> Places:
    """Places on an axis of ``n`` slices, those beyond an end mirrored at the outermost slice: 2 1 | 0 1 2."""
    if n == 1:
        return np.zeros_like(places)
    folded = places % (2 * n - 2)
    return np.asarray(np.where(folded < n, folded, 2 * n - 2 - folded))


@dataclass(frozen=True)
class SliceStack:
    """The slices of a grid along one world axis.

    Attributes:
        grid: of the volume, in any of the 48 orientations, oblique or not.
        axis: world axis that the slices follow each other along: 0 sagittal, 1 coronal, 2 axial slices; they are counted
            from the left, the back and below.
    """

    grid: Grid
    axis: int

    def __post_init__(self) -> None:
        """Refuse an axis that there is not."""
        if self.axis not in {0, 1, 2}:
            raise GridError("slice-axis", "an axis of 0 (sagittal), 1 (coronal) or 2 (axial)", str(self.axis), "correct it")

    @cached_property
    def _canonical(self) -> tuple[Grid, Orientation]:
        return self.grid.canonical()

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self._canonical[0].shape[self.axis]

    def planes(self, image: Array) -> Array:
        """The slices (count, rows, columns) of an image on the grid; a view, no copy."""
        return np.moveaxis(self._canonical[1].apply(image), self.axis, 0)

    def image(self, planes: Array) -> Array:
        """The image on the grid whose slices (count, rows, columns) these are, C-contiguous; undoes ``planes``."""
        return np.ascontiguousarray(self._canonical[1].inverse().apply(np.moveaxis(planes, 0, self.axis)))

    def grid_of(self, place: int) -> Grid:
        """The canonical grid of one slice, at its place in the world.

        Raises:
            GridError: there is no such slice.
        """
        start, stop = [0, 0, 0], list(self._canonical[0].shape)
        start[self.axis], stop[self.axis] = place, place + 1
        return self._canonical[0].crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))


def slab(planes: Array, places: Sequence[int], neighbours: int, out: Array) -> None:
    """Slices with their neighbours as channels, mirrored at the ends.

    Args:
        planes: (count, rows, columns).
        places: of the slices that are wanted.
        neighbours: how many on either side.
        out: (places, 2 * neighbours + 1, rows, columns), where they are written; the slice itself is the middle channel.
    """
    around = np.asarray(places, dtype=np.int_)[:, None] + np.arange(-neighbours, neighbours + 1)
    for channels, numbers in zip(out, mirrored(around, len(planes)), strict=True):
        for channel, number in zip(channels, numbers, strict=True):
            channel[...] = planes[number]


@dataclass(frozen=True)
class Padding:
    """Slices made larger to whole multiples, as a network needs them: mirrored at their far ends, cut off again after.

    Attributes:
        shape: rows and columns as they are.
        multiple: that both are brought to.
    """

    shape: tuple[int, int]
    multiple: int

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns that the network gets."""
        rows, columns = (math.ceil(n / self.multiple) * self.multiple for n in self.shape)
        return rows, columns

    def apply(self, planes: Any) -> Any:
        """Planes (..., rows, columns) of numpy or torch, padded; as they are where they fit already."""
        if self.padded == self.shape:
            return planes
        rows, columns = (mirrored(np.arange(m), n) for n, m in zip(self.shape, self.padded, strict=True))
        return planes[..., rows[:, None], columns]

    def undo(self, planes: Any) -> Any:
        """The part of padded planes (..., rows, columns) that is no padding."""
        return planes[..., : self.shape[0], : self.shape[1]]


@dataclass(frozen=True)
class Brackets:
    """Between which slices of a scan each slice of another grid lies, and how far from the first to the second.

    Attributes:
        below: numbers of the scan's slices below, or at the place.
        above: of those above; the same as ``below`` where nothing lies between, and beyond the outermost slices.
        share: of the slice above, from 0 to below 1; the one below has the rest.
    """

    below: Places
    above: Places
    share: NDArray[np.float64]


def brackets(source: Grid, target: Grid, axis: int) -> Brackets:
    """Where the slices of ``target`` lie between those of ``source``.

    Args:
        source: canonical grid of the scan.
        target: canonical grid with the same directions.
        axis: along which the slices follow each other.

    Raises:
        GridError: grids that are turned against each other.
    """
    scale, offset = source.index_map(target)[axis]
    places = np.round(scale * np.arange(target.shape[axis]) + offset, 7)  # a crop's are those of the whole
    places = places.clip(0, source.shape[axis] - 1)
    below = np.floor(places).astype(np.int_)
    share = places - below
    return Brackets(below, below + (share > 0), share)


@dataclass(frozen=True)
class AveragedSlabs(Tiling):
    """The slabs of several axes one after the other, each covering the volume: their predictions are averaged.

    A voxel is moved by the prediction of each axis in turn, v - t (v - p) with t = w_n / (w_0 + ... + w_n), so where all axes
    agree the very bits remain. Axes come in rising order, so where the last is z a stream of blocks along z gives each as soon
    as its slabs are there; it holds one volume, however many axes there are.

    Attributes:
        shape: of the volume.
        axes: the slabs of each axis; whole where none are cut along it.
        along: axes whose slabs count, rising.
        weights: of these, above 0.
    """

    along: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse axes out of order and weights that are none."""
        super().__post_init__()
        rising = bool(self.along) and list(self.along) == sorted(set(self.along)) and set(self.along) <= {0, 1, 2}
        if not rising or len(self.weights) != len(self.along) or min(self.weights) <= 0 or self.window is not None:
            got = f"axes {self.along}, weights {self.weights}, window {self.window}"
            raise GridError("slab-axes", "rising axes of 0 to 2, a weight above 0 for each, no window", got, "correct them")

    def __len__(self) -> int:
        """How many slabs there are, of all axes."""
        return sum(len(self.axes[axis]) for axis in self.along)

    def tile(self, index: int) -> Tile:
        """The slab with this index; ``part`` says of which axis of ``along`` it is.

        Raises:
            GridError: there is none.
        """
        first = 0
        for part, axis in enumerate(self.along):
            if first <= index < first + len(self.axes[axis]):
                return self._slab(part, axis, index - first, index)
            first += len(self.axes[axis])
        raise GridError("tile-index", f"0 to {len(self) - 1}", str(index), "use an index of this tiling")

    def _slab(self, part: int, axis: int, number: int, index: int) -> Tile:
        interval = self.axes[axis][number]
        ends = [[0, 0, 0], list(self.shape), [0, 0, 0], list(self.shape)]
        for end, at in zip(
            ends, (interval.read_start, interval.read_stop, interval.write_start, interval.write_stop), strict=True
        ):
            end[axis] = at
        a, b, c, d = ((x, y, z) for x, y, z in ends)
        return Tile(index, Box(a, b), Box(c, d), part)

    def touching(self, box: Box) -> Iterator[Tile]:
        """The slabs that meet ``box``, in order: those of the first axis, then of the next."""
        first = 0
        for part, axis in enumerate(self.along):
            for number in self.meeting(axis, box.start[axis], box.stop[axis]):
                yield self._slab(part, axis, number, first + number)
            first += len(self.axes[axis])

    def share(self, tile: Tile) -> float:
        """How far a slab's prediction moves what the axes before it made: 1 for the first axis."""
        return self.weights[tile.part] / list(accumulate(self.weights))[tile.part]

    @property
    def most_voxels(self) -> int:
        """Voxels of the largest slab."""
        return max(math.prod(self._slab(0, axis, n, 0).read.shape) for axis in self.along for n in range(len(self.axes[axis])))

    def to_json(self) -> dict[str, Any]:
        """A JSON value that tells this tiling from any other."""
        return {**super().to_json(), "along": list(self.along), "weights": list(self.weights)}


def slab_tiling(shape: Triple, axes: Sequence[int], thickness: int, weights: Sequence[float] | None = None) -> Tiling:
    """Slabs of whole planes along an axis, or along several whose predictions are averaged.

    Args:
        shape: of the volume.
        axes: along which it is cut, each once, in any order.
        thickness: planes of a slab.
        weights: of the axes, above 0; equal where None.

    Raises:
        GridError: a thickness below 1, or axes and weights that do not fit.
    """
    given = list(weights) if weights is not None else [1.0] * len(axes)
    if len(given) != len(axes) or not axes:
        raise GridError("slab-axes", "axes, and a weight for each", f"axes {axes}, weights {given}", "give as many")
    pairs = sorted(zip(axes, given, strict=True))
    cut = {axis: slabs(shape, axis, thickness) for axis, _ in pairs}
    if len(pairs) == 1:
        return cut[pairs[0][0]]
    whole = volume(shape).axes
    x, y, z = (cut[axis].axes[axis] if axis in cut else whole[axis] for axis in range(3))
    return AveragedSlabs(shape, (x, y, z), None, tuple(axis for axis, _ in pairs), tuple(weight for _, weight in pairs))
