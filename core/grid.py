"""The only place that knows orientation: a voxel grid in world space (mm, RAS+), and boxes of voxels in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError

Triple = tuple[int, int, int]
Array = NDArray[np.float32]


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
        x, y, z = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of a numpy array."""
        x, y, z = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    def intersect(self, other: Box) -> Box | None:
        """The common part, or None where there is none."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return None
        return Box(start, stop)  # type: ignore[arg-type]

    def relative_to(self, origin: Triple) -> Box:
        """The same voxels, counted from ``origin``."""
        start = tuple(a - o for a, o in zip(self.start, origin, strict=True))
        stop = tuple(b - o for b, o in zip(self.stop, origin, strict=True))
        return Box(start, stop)  # type: ignore[arg-type]


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
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

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

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """The grid that ``to_json`` wrote."""
        x, y, z = value["shape"]
        return cls((x, y, z), np.array(value["affine"], dtype=np.float64))

    def crop(self, box: Box) -> Grid:
        """The grid of the voxels in ``box``, at the same world positions."""
        affine = self.affine.copy()
        affine[:3, 3] = (self.affine @ [*box.start, 1.0])[:3]
        return Grid(box.shape, affine)
