"""How often banding is found where none was planted, and where it was: ``python -m tests.benchmarks.banding DATA``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from core.banding import banding
from core.geometry.grid import Array, Grid
from core.io.readers import load_at
from core.operators.linear import apply_axis
from core.operators.profile import profile_matrix
from core.stats import scan_stats

PLANTED = (0.0, 0.02, 0.05)  # by which even slices are brighter


def thick(image: Array, grid: Grid, axis: int, distance: float) -> tuple[Array, Grid]:
    """A sharp scan as slices of a thickness in mm along an axis."""
    factor = distance / grid.spacing[axis]
    shape, steps = list(image.shape), np.ones(4)
    shape[axis], steps[axis] = math.floor(image.shape[axis] / factor), factor
    rows = profile_matrix(image.shape[axis], shape[axis], factor, (factor - 1) / 2)
    return apply_axis(rows, image, axis), Grid((shape[0], shape[1], shape[2]), grid.affine @ np.diag(steps))


def figures(name: str, image: Array, grid: Grid) -> None:
    """A line for a scan: its banding and limit as it is, and with bands planted."""
    axis, words = grid.slice_axis, []
    for planted in PLANTED:
        gains = np.where(np.arange(image.shape[axis or 0]) % 2, 1.0, 1 + planted).astype(np.float32)
        banded = image * gains.reshape([-1 if at == axis else 1 for at in range(3)])
        seen = banding(banded, grid, scan_stats(banded))
        words.append("cannot tell" if seen is None else f"{planted:.0%}: {seen.gain:+.4f} ({seen.limit:.4f}) {seen.found}")
    print(f"{name[-44:]:44s}", "; ".join(words), flush=True)  # noqa: T201


def main(data: Path) -> None:
    """Every scan as it is; the sharp ones as slices of 5 mm along each axis, too."""
    for number, path in enumerate(sorted(data.rglob("*.nii.gz"))):
        if "mask" in path.name or "labels" in path.parts:
            continue
        image, grid, _ = load_at(str(path))
        figures(str(path), image, grid)
        if max(grid.spacing) < 2:
            axis = number % 3
            figures(f"{path} 5 mm along {'RAS'[axis]}", *thick(image, grid, axis, 5.0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
