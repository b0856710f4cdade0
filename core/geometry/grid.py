"""The only place that knows orientation: a voxel grid in world space (mm, RAS+), and boxes of voxels in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError, listed

Triple = tuple[int, int, int]
Array = NDArray[np.float32]
Points = NDArray[np.float64]
Centres = Literal["profile", "decimation"]

SAME_STEP = 1e-5  # relative difference of voxel sizes that is rounding, not geometry
LOST_EXTENT = 1e-3  # of a voxel: a rest of the field of view too small to deserve a voxel of its own
SAME_PLACE = 0.01  # of a voxel: how far parallel axes may drift apart over a whole grid
OBLIQUE_ANGLE = 1e-3  # rad
ISOTROPIC = 1.1  # ratio of voxel sizes up to which no axis is the slice axis


def _triple(values: Iterable[Any]) -> Triple:
    x, y, z = (int(value) for value in values)
    return x, y, z


@dataclass(frozen=True, order=True)
class Box:
    """A half-open box of voxels: ``start`` included, ``stop`` excluded, one integer an axis."""

    start: Triple
    stop: Triple

    def __post_init__(self) -> None:
        """Refuse a box that runs backwards."""
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise GridError("box-backwards", "stop >= start on every axis", f"{self.start}..{self.stop}", "swap them")

    @classmethod
    def whole(cls, shape: Triple) -> Box:
        """The box of a whole array."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Triple:
        """Voxels an axis."""
        return _triple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of a numpy array."""
        x, y, z = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    def intersect(self, other: Box) -> Box | None:
        """The common part, or None where there is none."""
        start = _triple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = _triple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return None
        return Box(start, stop)

    def relative_to(self, origin: Triple) -> Box:
        """The same voxels, counted from ``origin``."""
        start = _triple(a - o for a, o in zip(self.start, origin, strict=True))
        stop = _triple(b - o for b, o in zip(self.stop, origin, strict=True))
        return Box(start, stop)


@dataclass(frozen=True)
class Orientation:
    """A reordering and flipping of the three axes of an array: one of 48.

    Attributes:
        order: axis ``i`` of the result is axis ``order[i]`` of the array.
        flips: whether axis ``i`` of the result runs backwards.
    """

    order: Triple
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Reorient a 3-D array; a view, no copy."""
        return array.transpose(self.order)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def inverse(self) -> Orientation:
        """The orientation that undoes this one, exactly."""
        order = _triple(self.order.index(axis) for axis in range(3))
        x, y, z = (self.flips[axis] for axis in order)
        return Orientation(order, (x, y, z))


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid: ``shape`` and the 4x4 ``affine`` from voxel indices to world mm (RAS+, NIfTI convention)."""

    shape: Triple
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check and freeze the values."""
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GridError("affine-singular", "a finite invertible 4x4 affine", repr(affine.tolist()), "fix the header")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GridError("shape-invalid", "three sizes of at least 1", repr(self.shape), "check the image")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", _triple(self.shape))

    def __eq__(self, other: object) -> bool:
        """Same shape and the same affine, bit for bit."""
        return isinstance(other, Grid) and self.shape == other.shape and bool((self.affine == other.affine).all())

    def __hash__(self) -> int:
        """By value."""
        return hash((self.shape, self.affine.tobytes()))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm an axis."""
        x, y, z = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def extent(self) -> tuple[float, float, float]:
        """Field of view in mm an axis, from the outer face of the first voxel to that of the last."""
        x, y, z = (n * size for n, size in zip(self.shape, self.spacing, strict=True))
        return x, y, z

    @property
    def slice_axis(self) -> int | None:
        """The axis of the coarsest voxel size, the last of equals; None where all sizes agree within 10 %."""
        size = self.spacing
        if max(size) <= ISOTROPIC * min(size):
            return None
        return max(range(3), key=lambda axis: (round(size[axis], 4), axis))

    @property
    def codes(self) -> tuple[str, str, str]:
        """Where each axis points to, by the nearest of R, L, A, P, S, I."""
        x, y, z = ("LPI"[world] if back else "RAS"[world] for world, back in self._directions())
        return x, y, z

    @property
    def oblique(self) -> bool:
        """Whether an axis leaves its nearest world axis by more than 1e-3 rad."""
        cosines = np.abs(self._cosines())
        along = np.array([cosines[world, axis] for axis, (world, _) in enumerate(self._directions())])
        across = np.sqrt(np.maximum((cosines**2).sum(axis=0) - along**2, 0))
        return bool((np.arctan2(across, along) > OBLIQUE_ANGLE).any())

    def _cosines(self) -> NDArray[np.float64]:
        return self.affine[:3, :3] / np.array(self.spacing, dtype=np.float64)

    def _directions(self) -> list[tuple[int, bool]]:
        """For each axis the nearest world axis and whether it runs backwards; no world axis twice."""
        cosines = self._cosines()
        best = max(permutations(range(3)), key=lambda worlds: round(math.prod(abs(cosines[worlds, range(3)])), 9))
        return [(world, bool(cosines[world, axis] < 0)) for axis, world in enumerate(best)]

    def world(self, points: Points) -> Points:
        """World positions in mm of voxel coordinates, both (n, 3)."""
        positions: Points = np.asarray(points, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return positions

    def voxel(self, points: Points) -> Points:
        """Voxel coordinates of world positions in mm, both (n, 3); voxel centres are whole numbers."""
        shifted = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], shifted.T).T, dtype=np.float64)

    def corners(self) -> Points:
        """The eight corners of the field of view in mm, (8, 3): outer faces of the outermost voxels, not their centres."""
        return self.world(np.array(list(product(*((-0.5, n - 0.5) for n in self.shape)))))

    def reorient(self, orientation: Orientation) -> Grid:
        """The grid of ``orientation.apply(image)``: every voxel keeps its world position."""
        move = np.zeros((4, 4))
        move[3, 3] = 1
        for axis, (old, flip) in enumerate(zip(orientation.order, orientation.flips, strict=True)):
            move[old, axis] = -1 if flip else 1
            move[old, 3] = self.shape[old] - 1 if flip else 0
        return Grid(_triple(self.shape[axis] for axis in orientation.order), self.affine @ move)

    def canonical(self) -> tuple[Grid, Orientation]:
        """The closest RAS grid with the same voxels, and the orientation that takes an image there.

        Nothing is resampled: an oblique grid stays oblique. ``orientation.inverse()`` leads back.
        """
        directions = self._directions()
        order = _triple(next(axis for axis, (at, _) in enumerate(directions) if at == world) for world in range(3))
        x, y, z = (directions[axis][1] for axis in order)
        orientation = Orientation(order, (x, y, z))
        return self.reorient(orientation), orientation

    def index_map(self, other: Grid) -> tuple[tuple[float, float], ...]:
        """How the voxels of a parallel grid lie in this one.

        Args:
            other: a grid whose axes have the same directions, in the same order.

        Returns:
            (scale, offset) an axis: voxel ``i`` of ``other`` lies at ``scale * i + offset`` of this grid.

        Raises:
            GridError: where the axes differ so much that voxels drift by more than 0.01 voxel across ``other``.
        """
        between = np.linalg.solve(self.affine, other.affine)
        scales = between.diagonal()[:3]
        drift = np.abs(between[:3, :3] - np.diag(scales)) @ (np.array(other.shape) - 1)
        if drift.max() > SAME_PLACE or scales.min() <= 0:
            got = f"axes {''.join(other.codes)} that drift by {drift.max():.3g} voxels from {''.join(self.codes)}"
            raise GridError("grids-not-parallel", "grids with parallel axes", got, "make both canonical, or resample one first")
        return tuple((round(float(a), 12), round(float(b), 12)) for a, b in zip(scales, between[:3, 3], strict=True))

    def _sampled(self, first: Sequence[float], step: Sequence[float], shape: Iterable[int]) -> Grid:
        """The grid whose voxel ``i`` lies at ``first + step * i`` of this one, an axis."""
        move = np.diag([*step, 1.0])
        move[:3, 3] = first
        return Grid(_triple(shape), self.affine @ move)

    def _steps(self, voxel_size: float) -> list[float]:
        """A voxel size in voxels of each axis; exactly 1 where the axis has it already."""
        steps = [voxel_size / size for size in self.spacing]
        return [1.0 if abs(step - 1) < SAME_STEP else step for step in steps]

    def _stepped(self, steps: Sequence[float], shape: Sequence[int], start_on_first: Sequence[bool]) -> Grid:
        """New steps (in voxels of this grid), centred on the old field of view or starting on its first voxel."""
        first = [
            0.0 if on_first else ((n - 1) - step * (m - 1)) / 2
            for n, m, step, on_first in zip(self.shape, shape, steps, start_on_first, strict=True)
        ]
        return self._sampled(first, steps, shape)

    def refine(self, axis: int, factor: Fraction | int, centres: Centres = "profile") -> Grid:
        """Make an axis finer (or, with a factor below 1, coarser); the others stay.

        ```
        one slice, factor 4     |       o       |        'o' centre of the measured slice
        profile                 | x | x | x | x |        new centres tile the slice that was averaged
        decimation                      x   x   x   x    the first new centre is the slice that was kept
        ```
        The new axis has ceil(n * factor) voxels. Where that is not whole, "profile" lets the field of view
        grow by equal parts of a voxel at both ends, so nothing moves and nothing is stretched.

        Args:
            axis: 0, 1 or 2.
            factor: new voxels for an old one; above 0.
            centres: "profile" where a slice is an average over its thickness, "decimation" where it is one of ``factor``
                thin slices whose others were dropped.

        Raises:
            GridError: for a factor that is not above 0.
        """
        if factor <= 0:
            raise GridError("factor-invalid", "a factor above 0", str(factor), "give how many new voxels one old voxel becomes")
        steps, shape = [1.0, 1.0, 1.0], list(self.shape)
        steps[axis], shape[axis] = float(1 / Fraction(factor)), math.ceil(shape[axis] * Fraction(factor))
        return self._stepped(steps, shape, [centres == "decimation" and at == axis for at in range(3)])

    def isotropic(self, voxel_size: float, centres: Centres = "profile") -> Grid:
        """The grid with cubic voxels over the same field of view, in the same directions.

        Sizes are rounded up and centred, so at most one voxel is gained and the world stays in place. An axis that has this
        voxel size already keeps its voxels.

        Args:
            voxel_size: mm.
            centres: see ``refine``; "decimation" concerns the slice axis alone.
        """
        steps = self._steps(voxel_size)
        shape = [max(1, math.ceil(n / step - LOST_EXTENT)) for n, step in zip(self.shape, steps, strict=True)]
        decimated = self.slice_axis if centres == "decimation" else None
        return self._stepped(steps, shape, [axis == decimated and step < 1 for axis, step in enumerate(steps)])

    def with_axis(self, other: Grid, axis: int) -> Grid:
        """This grid with the voxels of a parallel one along an axis, at their places in the world along it.

        Args:
            other: a grid whose axes have the same directions, in the same order.
            axis: 0, 1 or 2.

        Raises:
            GridError: grids that are turned against each other.
        """
        first, step, shape = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], list(self.shape)
        step[axis], first[axis] = self.index_map(other)[axis]
        shape[axis] = other.shape[axis]
        return self._sampled(first, step, shape)

    def pad(self, before: Triple, after: Triple) -> Grid:
        """More voxels at the start and the end of each axis (fewer where negative); the others keep their places."""
        shape = (b + n + a for b, n, a in zip(before, self.shape, after, strict=True))
        return self._sampled([-float(n) for n in before], (1.0, 1.0, 1.0), shape)

    def crop(self, box: Box) -> Grid:
        """The grid of the voxels in ``box``, at the same world positions.

        Raises:
            GridError: where the box leaves the grid or is empty.
        """
        if Box.whole(self.shape).intersect(box) != box:
            raise GridError("box-outside", f"a box within {self.shape}", f"{box.start}..{box.stop}", "cut it to the grid")
        return self._sampled([float(n) for n in box.start], (1.0, 1.0, 1.0), box.shape)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """The grid that ``to_json`` wrote."""
        return cls(_triple(value["shape"]), np.array(value["affine"], dtype=np.float64))


def fused_grid(grids: Sequence[Grid], voxel_size: float, names: Sequence[str] = ()) -> Grid:
    """The isotropic grid over all of ``grids``, in the directions of the first.

    Args:
        grids: of the scans of one person, in one world space.
        voxel_size: mm.
        names: of the scans, which a refusal says.

    Returns:
        the bounding box of all fields of view, sizes rounded up and centred; of one grid alone, its ``isotropic`` grid.

    Raises:
        GridError: fields-apart, where some lie apart from the others.
    """
    boxes = [grids[0].voxel(grid.corners()) for grid in grids]
    _check_meet([(box.min(axis=0), box.max(axis=0)) for box in boxes], names or [f"scan {n + 1}" for n in range(len(grids))])
    corners = np.concatenate(boxes)
    low, high = corners.min(axis=0), corners.max(axis=0)
    steps = grids[0]._steps(voxel_size)  # noqa: SLF001
    shape = [max(1, math.ceil(length / step - LOST_EXTENT)) for length, step in zip(high - low, steps, strict=True)]
    first = [(a + b) / 2 - step * (n - 1) / 2 for a, b, step, n in zip(low, high, steps, shape, strict=True)]
    return grids[0]._sampled(first, steps, shape)  # noqa: SLF001


def _check_meet(boxes: Sequence[tuple[Points, Points]], names: Sequence[str]) -> None:
    """Refuse boxes of which some lie apart from the others; a voxel's width between them counts as meeting."""
    (low, high), left = boxes[0], dict(zip(names[1:], boxes[1:], strict=True))
    while left:
        near = {name: box for name, box in left.items() if (box[0] <= high + 1).all() and (box[1] >= low - 1).all()}
        if not near:
            wanted, remedy = "fields of view that meet", "check the headers, or restore these scans alone"
            got = f"{listed(list(left))} apart from {listed([name for name in names if name not in left])}"
            raise GridError("fields-apart", wanted, got, remedy)
        left = {name: box for name, box in left.items() if name not in near}
        low = np.min([low, *(box[0] for box in near.values())], axis=0)
        high = np.max([high, *(box[1] for box in near.values())], axis=0)
