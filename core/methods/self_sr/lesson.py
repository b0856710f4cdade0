"""What the network learns from: parts of a sharp volume, degraded along an axis within the slices as the scan is across them.

volume --A along x or y, noise--> thick scan --inputs--> channels;   the volume itself is the truth

Slabs across the slices' axis are held out of it: they tell whether the fit helps where it did not look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import ISOTROPIC, Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.methods.anyscan.inputs import Units, network_inputs
from core.operators.forward_model import SliceProfile
from core.training.data.drawn_slices import coarse_grid, measured

ShownOn = Callable[[Grid, Grid], Grid]  # of the scan's grid and a patch's to that on which a network works

AROUND = 5  # slices on either side of a patch; what lies beyond hardly changes its inputs
EDGE = 32  # voxels of a patch within the slices, at most
LEAST = 8  # of them, of a volume that can teach
FAINT = 0.1  # of the unit: what is brighter is the head
HELD = 8  # one voxel in so many along the slices' axis goes into a slab that is held out; there are two


@dataclass(frozen=True, eq=False)
class Lesson:
    """A volume to learn from.

    Attributes:
        image: float32 (x, y, z) in the network's unit.
        voxel: edge of its voxels within the slices, mm.
        axis: of the slices, along which it is not degraded.
        how: the scan's slices.
        spacing: of their centres, mm.
        noise: standard deviation of the scan's noise, in the network's unit.
        size: of a patch; 1 along ``axis`` where the network works in planes.
        first: where patches may begin along each axis.
        held: where those begin along ``axis`` that are held out.
    """

    image: Array
    voxel: float
    axis: int
    how: SliceProfile
    spacing: float
    noise: float
    size: Triple
    first: tuple[range, ...]
    held: tuple[int, ...]

    @property
    def within(self) -> tuple[int, ...]:
        """The two axes within the slices."""
        return tuple(at for at in range(3) if at != self.axis)

    def starts(self, *, held: bool) -> list[int]:
        """Where patches begin along the slices' axis: those that are held out, or those to learn from."""
        if held:
            return list(self.held)
        thick = self.size[self.axis]
        return [start for start in self.first[self.axis] if all(abs(start - other) >= thick for other in self.held)]

    def draw(self, draw: np.random.Generator, across: int, shown_on: ShownOn, *, held: bool = False) -> tuple[Array, Array]:
        """An example: channels (6, x, y, z) as the network is shown them, and the truth (1, x, y, z).

        Args:
            draw: all that is random comes from it.
            across: the axis that is degraded.
            shown_on: the grid that the network works on.
            held: of the slabs that are held out.
        """
        starts = self.starts(held=held)
        first = [int(draw.integers(lines.start, lines.stop)) for lines in self.first]
        first[self.axis] = starts[int(draw.integers(len(starts)))]
        box = Box((first[0], first[1], first[2]), _triple(a + n for a, n in zip(first, self.size, strict=True)))
        return self._degraded(box, across, draw, shown_on)

    def _degraded(self, box: Box, across: int, draw: np.random.Generator, shown_on: ShownOn) -> tuple[Array, Array]:
        """The channels of a patch, seen through slices that lie across another axis, and the truth."""
        around = math.ceil(AROUND * self.spacing / self.voxel)
        start, stop = list(box.start), list(box.stop)
        start[across] = max(0, start[across] - around)
        stop[across] = min(self.image.shape[across], stop[across] + around)
        columns = Box(_triple(start), _triple(stop))
        grid = Grid(columns.shape, np.diag([self.voxel] * 3 + [1.0]))
        coarse = coarse_grid(grid, across, self.spacing, float(draw.random()))
        width = self.spacing * (1 - self.how.slice_gap) / self.voxel
        lost = self.noise * math.sqrt(max(0.0, 1 - 1 / max(width, 1.0)))  # the average over a slice takes this much away
        scan = measured(self.image[columns.slices], grid, coarse, self.how, lost, draw)
        target = shown_on(coarse, grid.crop(box.relative_to(columns.start)))
        truth = interpolate(self.image[columns.slices], grid, target, 3)
        return network_inputs(scan, coarse, target, self.how, Units(0.0, 1.0, self.noise)), truth[None]


def lesson_of(
    image: Array, voxel: float, axis: int, how: SliceProfile, spacing: float, noise: float, *, planar: bool
) -> Lesson | None:
    """The lesson of a volume; None where it is too small to teach, or its slices are no thicker than its voxels.

    Args:
        image: float32 (x, y, z) in the network's unit.
        voxel: see ``Lesson``, likewise the following.
        axis: of the slices.
        how: the scan's slices.
        spacing: of their centres, mm.
        noise: of the scan.
        planar: whether the network works in planes.
    """
    lines = _occupied(image)
    low, high = lines[axis].start, lines[axis].stop
    slab = (high - low) // HELD
    middles = [low + (high - low) * part // 3 for part in (1, 2)]
    size = [_even(min(EDGE, *(len(lines[at]) for at in range(3) if at != axis)))] * 3
    size[axis] = 1 if planar else _even(min(EDGE, slab))
    if spacing <= ISOTROPIC * voxel or size[axis] < 1 or min(size[at] for at in range(3) if at != axis) < LEAST:
        return None
    first = tuple(range(line.start, line.stop - n + 1) for line, n in zip(lines, size, strict=True))
    held = tuple(start for middle in middles for start in range(middle - slab // 2, middle - slab // 2 + slab - size[axis] + 1))
    lesson = Lesson(image, voxel, axis, how, spacing, noise, _triple(size), first, held)
    return lesson if held and lesson.starts(held=False) else None


def _triple(values: Iterable[int]) -> Triple:
    x, y, z = values
    return x, y, z


def _even(n: int) -> int:
    return n - n % 2


def _occupied(image: Array) -> tuple[range, ...]:
    """Where the head lies along each axis; all of an axis where nothing is bright."""
    bright = image > FAINT
    ranges = []
    for axis, n in enumerate(image.shape):
        places = np.flatnonzero(bright.any(axis=tuple({0, 1, 2} - {axis})))
        ranges.append(range(int(places[0]), int(places[-1]) + 1) if places.size else range(n))
    return tuple(ranges)
