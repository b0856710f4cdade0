"""How well the width of slices is read from a scan's voxels: sharp scans degraded with widths that are known.

Between slices a head moves a little, within their planes as far as a normal draw says of which the scan has a standard deviation.

``python -m tests.benchmarks.slice_width DATA fit`` gives calibration and radius of the interval on the persons that may be
trained on; ``... DATA report`` the mean error and the coverage on never-used ones, and on other heads and contrasts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import shift

from core.geometry.grid import Array, Grid
from core.io.readers import load_at
from core.operators.forward_model import SliceProfile
from core.operators.linear import apply_axis
from core.operators.profile import profile_matrix
from core.operators.width import agreed, crossing, inside, slice_width

DISTANCES, GAPS = (3.0, 4.0, 5.0, 6.0), (0.0, 0.1, 0.2, 0.3, 0.5)
MOTION = (0.0, 0.3, 0.6)  # mm: standard deviations of a head's place from slice to slice
SHARP = "ds002748/sub-{0:02d}/anat/sub-{0:02d}_T1w.nii.gz"
WHOLE = "ds000011/sub-{0:02d}/anat/sub-{0:02d}_T1w.nii.gz"
GROUPS = {
    "persons 53-60": [SHARP.format(n) for n in range(53, 61)],
    "persons 01-04": [SHARP.format(n) for n in range(1, 5)],
    "other head, T1w": [WHOLE.format(n) for n in range(1, 9)],
    "patient, T1w": ["openms/patient07/T1w.nii.gz"],
    "patient, T1w_ce": ["openms/patient07/T1w_ce.nii.gz"],
    "patient, T2w": ["openms/patient07/T2w.nii.gz"],
    "patient, FLAIR": ["openms/patient07/FLAIR.nii.gz"],
}


def thick(image: Array, grid: Grid, axis: int, distance: float, gap: float) -> tuple[Array, Grid]:
    """A sharp scan as slices of a distance in mm and a gap."""
    factor = distance / grid.spacing[axis]
    count = math.floor(image.shape[axis] / factor)
    rows = profile_matrix(image.shape[axis], count, factor, (factor - 1) / 2, SliceProfile().slice_profile, gap=gap)
    shape, steps = list(image.shape), np.ones(4)
    shape[axis], steps[axis] = count, factor
    return apply_axis(rows, image, axis), Grid((shape[0], shape[1], shape[2]), grid.affine @ np.diag(steps))


def moved(image: Array, grid: Grid, axis: int, mm: float, draw: np.random.Generator) -> Array:
    """A thick scan of a head that moves within the planes from slice to slice, by a standard deviation in mm."""
    voxels = [size for at, size in enumerate(grid.spacing) if at != axis]
    planes = np.moveaxis(image, axis, 0)
    placed = [shift(plane, draw.normal(0, mm, 2) / voxels, mode="nearest") for plane in planes] if mm else list(planes)
    return np.ascontiguousarray(np.moveaxis(np.stack(placed), 0, axis))


def cases(data: Path, paths: list[str], draws: int, seed: int) -> Iterator[tuple[str, Array, Grid, float]]:
    """Thick scans of each sharp one with the widths of their slices: axis, distance, gap and motion are drawn."""
    draw = np.random.default_rng(seed)
    for number, path in enumerate(paths):
        image, grid, _ = load_at(str(data / path))
        for turn in range(draws):
            distance, gap = DISTANCES[(number + turn) % 4], float(draw.choice(GAPS))
            axis = int(draw.integers(3))
            scan, coarse = thick(image, grid, axis, distance, gap)
            yield path, moved(scan, coarse, axis, float(draw.choice(MOTION)), draw), coarse, distance * (1 - gap)


def fit(data: Path) -> None:
    """Print the true width over the crossing, its middle, and the radius that holds 90 % of them."""
    logs, shares = [], []
    paths = [SHARP.format(n) for n in range(5, 53)] + [WHOLE.format(n) for n in range(1, 5)] * 4
    for path, scan, grid, width in cases(data, paths, 1, 1):
        axis = max(range(3), key=lambda at: grid.spacing[at])
        both = [crossing(scan[inside(scan, grid)], grid.spacing, along, axis) for along in range(3) if along != axis]
        print(path[:15], f"distance {grid.spacing[axis]:.3g} width {width:.3g}", both, flush=True)  # noqa: T201
        if (mean := agreed(both, grid.spacing[axis])) is not None:
            logs.append(math.log(width / mean))
            shares.append(width / grid.spacing[axis])
    middle = float(np.median(logs))
    off = np.abs(1 - np.exp(middle - np.asarray(logs))) * shares
    radius = float(np.quantile(off, 0.9, method="higher"))
    print(f"calibration {math.exp(middle):.3f}, radius {radius:.3f} of the distance")  # noqa: T201


def report(data: Path) -> None:
    """Print the errors and the coverage of each group, a line each."""
    for name, paths in GROUPS.items():
        errors, within, whole = [], [], []
        for path, scan, grid, width in cases(data, paths, 4, 2):
            told = slice_width(scan, grid)
            if told is None:
                print(f"{path}: cannot tell")  # noqa: T201
                continue
            errors.append(told.mm - width)
            within.append(told.low <= width <= told.high)
            whole.append((told.high < max(grid.spacing)) == (width < max(grid.spacing)))
        print(  # noqa: T201
            f"{name}: {len(errors)} scans, mean |error| {np.mean(np.abs(errors)):.2f} mm, bias {np.mean(errors):+.2f}, worst "
            f"{np.max(np.abs(errors)):.2f}, covered {100 * np.mean(within):.0f} %, gaps right {100 * np.mean(whole):.0f} %",
            flush=True,
        )


if __name__ == "__main__":
    {"fit": fit, "report": report}[sys.argv[2]](Path(sys.argv[1]))
