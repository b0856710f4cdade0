"""Tiles of a volume: what each reads, what it writes, and the tilings that cover a grid exactly.

A tiling is the product of the intervals of its three axes, so no list of tiles is ever made.

    overlap:  |--- tile 0 ---|             halo:   |h|--- write 0 ---|h|
                       |--- tile 1 ---|                          |h|--- write 1 ---|h|
              read = write, blended                read = write and its halo, nothing blended
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from core.errors import GridError
from core.geometry.grid import Box, Triple

Window = Literal["hann", "gaussian"]


@dataclass(frozen=True, order=True)
class Tile:
    """One piece of work on a target grid.

    Attributes:
        index: place in the tiling's fixed order (axis 2 slowest, so that planes along z finish early).
        read: voxels that the method predicts (with overlap or halo).
        write: voxels in which this prediction counts; ``read`` itself where tiles are blended,
            a disjoint core where a halo is thrown away.
        part: which of several predictions of the same voxels that are averaged, 0 where there is one.
    """

    index: int
    read: Box
    write: Box
    part: int = 0


@dataclass(frozen=True, order=True)
class Interval:
    """A tile's extent along one axis."""

    read_start: int
    read_stop: int
    write_start: int
    write_stop: int


Axis = tuple[Interval, ...]


@dataclass(frozen=True)
class Tiling:
    """Tiles that cover a volume.

    Attributes:
        shape: of the volume.
        axes: the intervals of each axis, by their start.
        window: weights by which overlapping tiles are blended; None where the write boxes are disjoint.
    """

    shape: Triple
    axes: tuple[Axis, Axis, Axis]
    window: Window | None = None

    def __post_init__(self) -> None:
        """Refuse intervals that leave a voxel out."""
        for n, axis in zip(self.shape, self.axes, strict=True):
            covered = 0
            for interval in axis:
                inside = 0 <= interval.read_start <= interval.write_start < interval.write_stop <= interval.read_stop <= n
                if not inside or interval.write_start > covered:
                    raise GridError(
                        "tiling-gap", f"intervals that cover 0:{n} in order", repr(axis), "make it with a constructor"
                    )
                covered = max(covered, interval.write_stop)
            if covered != n:
                raise GridError("tiling-gap", f"intervals that cover 0:{n}", f"0:{covered}", "make it with a constructor")

    def __len__(self) -> int:
        """How many tiles there are."""
        return math.prod(len(axis) for axis in self.axes)

    def at(self, x: int, y: int, z: int) -> Tile:
        """The tile of the x-th, y-th and z-th interval."""
        ends = [axis[n] for axis, n in zip(self.axes, (x, y, z), strict=True)]
        read = Box(_triple([interval.read_start for interval in ends]), _triple([interval.read_stop for interval in ends]))
        write = Box(_triple([interval.write_start for interval in ends]), _triple([interval.write_stop for interval in ends]))
        return Tile(x + len(self.axes[0]) * (y + len(self.axes[1]) * z), read, write)

    def tile(self, index: int) -> Tile:
        """The tile with this index.

        Raises:
            GridError: there is none.
        """
        if not 0 <= index < len(self):
            raise GridError("tile-index", f"0 to {len(self) - 1}", str(index), "use an index of this tiling")
        return self.at(*self._place(index))

    def _place(self, index: int) -> Triple:
        rest, x = divmod(index, len(self.axes[0]))
        z, y = divmod(rest, len(self.axes[1]))
        return x, y, z

    def place(self, tile: Tile) -> Triple:
        """Which interval of each axis ``tile`` is made of."""
        return self._place(tile.index)

    def tiles(self) -> Iterator[Tile]:
        """All tiles in order."""
        return (self.tile(index) for index in range(len(self)))

    def meeting(self, axis: int, start: int, stop: int) -> list[int]:
        """Numbers of the intervals of an axis whose write part meets start:stop, in order."""
        return [n for n, interval in enumerate(self.axes[axis]) if interval.write_start < stop and start < interval.write_stop]

    def touching(self, box: Box) -> Iterator[Tile]:
        """The tiles whose write box meets ``box``, in order."""
        x, y, z = (self.meeting(axis, box.start[axis], box.stop[axis]) for axis in range(3))
        return (self.at(c, b, a) for a, b, c in product(z, y, x))

    def share(self, tile: Tile) -> float:  # noqa: ARG002 - the same for all
        """How far a tile's prediction moves what earlier tiles made of its voxels, where no window says: 1, wholly."""
        return 1.0

    @property
    def most_voxels(self) -> int:
        """Voxels of the largest tile."""
        return math.prod(max(interval.read_stop - interval.read_start for interval in axis) for axis in self.axes)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back."""
        ends = [
            [[interval.read_start, interval.read_stop, interval.write_start, interval.write_stop] for interval in axis]
            for axis in self.axes
        ]
        return {"shape": list(self.shape), "axes": ends, "window": self.window}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tiling:
        """The tiling that ``to_json`` wrote."""
        x, y, z = (tuple(Interval(*ends) for ends in axis) for axis in value["axes"])
        return cls(_triple(value["shape"]), (x, y, z), value["window"])


def _triple(values: list[int]) -> Triple:
    x, y, z = values
    return x, y, z


def _whole(n: int) -> Axis:
    return (Interval(0, n, 0, n),)


def _cores(n: int, core: int, halo: int) -> Axis:
    """Disjoint cores of equal size, but for the last, each read with a halo inside the volume."""
    starts = range(0, n, core)
    return tuple(Interval(max(0, a - halo), min(n, a + core + halo), a, min(n, a + core)) for a in starts)


def _overlapped(n: int, size: int, overlap: int) -> Axis:
    """Intervals of one size, spread evenly so that neighbours share ``overlap`` or more."""
    if n <= size:
        return _whole(n)
    count = math.ceil((n - overlap) / (size - overlap))
    starts = [round(float(a)) for a in np.linspace(0, n - size, count)]
    return tuple(Interval(a, a + size, a, a + size) for a in starts)


def volume(shape: Triple) -> Tiling:
    """One tile: the whole volume."""
    return Tiling(shape, (_whole(shape[0]), _whole(shape[1]), _whole(shape[2])))


def slabs(shape: Triple, axis: int, thickness: int, halo: int = 0) -> Tiling:
    """Slabs of ``thickness`` planes along ``axis``, each read with ``halo`` planes more on either side.

    Raises:
        GridError: a thickness below 1, a negative halo, no such axis.
    """
    if thickness < 1 or halo < 0 or axis not in {0, 1, 2}:
        got = f"thickness {thickness}, halo {halo}, axis {axis}"
        raise GridError("tiling-size", "a thickness of at least 1, a halo of at least 0, axis 0 to 2", got, "correct them")
    x, y, z = (_cores(n, thickness, halo) if a == axis else _whole(n) for a, n in enumerate(shape))
    return Tiling(shape, (x, y, z))


def patches(shape: Triple, size: int, overlap: int, window: Window) -> Tiling:
    """Patches of ``size`` voxels an axis that share at least ``overlap`` with each neighbour and are blended.

    Along an axis shorter than ``size`` the patch is as long as the axis.

    Raises:
        GridError: an overlap that is negative or not below the size.
    """
    if not 0 <= overlap < size:
        remedy = "make the overlap smaller or the patch larger"
        raise GridError("overlap-too-large", f"an overlap of 0 to {size - 1} for patches of {size}", str(overlap), remedy)
    x, y, z = (_overlapped(n, size, overlap) for n in shape)
    return Tiling(shape, (x, y, z), window if overlap else None) if overlap else halo_patches(shape, size, 0)


def halo_patches(shape: Triple, size: int, halo: int | Triple) -> Tiling:
    """Patches of at most ``size`` voxels an axis of which the outer ``halo`` (of each axis) is read but thrown away.

    With a halo of the network's receptive-field radius the result is that of the whole volume.

    Raises:
        GridError: a halo that leaves nothing, along an axis that is longer than a patch.
    """
    halos = (halo, halo, halo) if isinstance(halo, int) else halo
    if min(halos) < 0 or any(n > size and size - 2 * margin < 1 for n, margin in zip(shape, halos, strict=True)):
        remedy = f"make the patch larger (more than {2 * max(halos)}), or the halo smaller"
        raise GridError("halo-too-large", "a halo that leaves a core", f"{halo} for patches of {size}", remedy)
    x, y, z = (_whole(n) if n <= size else _cores(n, size - 2 * margin, margin) for n, margin in zip(shape, halos, strict=True))
    return Tiling(shape, (x, y, z))
