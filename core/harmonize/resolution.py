r"""How sharp a scan is along each axis, and all scans brought to the sharpness of the site that is least sharp.

The mean square of differences of voxels k apart in the brain, V_k, grows with k the more slowly the sharper the scan, so that

    r = V_1 / V_4

falls with the width of the transfer function. Contrast and noise would move it: so it is measured of the scan with its tissues at
fixed brightnesses (``tissue_map``), seen through a Gaussian of two voxels along all axes, which leaves a 27th of the noise's
variance. (Of 2 mm T1w brains r is the same within 2 % for all persons of a scanner.) What a Gaussian of a known width makes of r
is measured on each scan, by ``gaussian_matrix``, the forward operators' own rows; a site's curve is the median of its scans'.
Scans are only ever made less sharp: the common r is that of the least sharp site.

        r |\___ site a
          |    \____            a is seen through a Gaussian of so many mm more
          |- - - - -\- - -  common r
          |  b \____ \
          +------------|---- FWHM, mm
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.harmonize.brain import bounds
from core.harmonize.tissue_map import map_peaks, read_peaks
from core.operators.linear import apply_axis
from core.operators.profile import gaussian_matrix
from core.tissues import DARK_TO_BRIGHT, Contrast

Kept = NDArray[np.bool_]
Curve = list[list[float]]  # r of each axis at each of WIDTHS
Widths = tuple[float, float, float]

WIDTHS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)  # voxels of the Gaussians that are tried
FIRST = 2.0  # voxels of the Gaussian that takes the noise away before r is measured
LEVELS = (30.0, 75.0, 105.0)  # of the tissues, from dark to bright, while r is measured
PLAIN = {"range": [-np.inf, np.inf]}  # any scan is taken there
LAGS = (1, 4)  # voxels
MARGIN = 2  # voxels of the brain's border that are not looked at
NEAR = 0.05  # of the common r: a scan that is so much less sharp is told


@dataclass(frozen=True)
class Resolution:
    """A common sharpness.

    Attributes:
        common: r of each axis that all scans are brought to.
        added: FWHM in mm, an axis, of the Gaussian through which the scans of a site are seen.
    """

    common: Widths
    added: dict[str, Widths]

    @classmethod
    def fit(cls, curves: Mapping[str, Sequence[Curve]], voxel: float) -> Resolution:
        """The sharpness of the least sharp site, and what takes each site there.

        Args:
            curves: of each site's scans, by ``sharpness``.
            voxel: size in mm.
        """
        by_site = {site: np.median(np.array(scans), axis=0) for site, scans in curves.items()}
        common = np.min([curve[:, 0] for curve in by_site.values()], axis=0)
        a, b, c = common.tolist()
        return cls((a, b, c), {site: _added(curve.tolist(), (a, b, c), voxel) for site, curve in by_site.items()})

    def widths(self, site: str, curve: Curve, voxel: float) -> Widths:
        """FWHM in mm, an axis, that a scan is seen through: its site's, or of a site that is not known by its own curve."""
        return self.added[site] if site in self.added else _added(curve, self.common, voxel)

    def beyond(self, curve: Curve) -> str:
        """Why a scan cannot be brought to the common sharpness, or nothing."""
        short = [axis for axis, line, r in zip("RAS", curve, self.common, strict=True) if line[0] < r * (1 - NEAR)]
        return f"less sharp along {' and '.join(short)} than what was fitted; it was not sharpened" if short else ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Resolution:
        """What ``to_json`` wrote."""
        return cls(_triple(value["common"]), {site: _triple(widths) for site, widths in value["added"].items()})


def _triple(values: Sequence[float]) -> Widths:
    a, b, c = (float(value) for value in values)
    return a, b, c


def sharpness(image: Array, mask: Kept, contrast: Contrast = "T1w") -> Curve:
    """R along each axis, as it is and through Gaussians of ``WIDTHS``.

    Args:
        image: finite float32 (x, y, z).
        mask: True in the brain.
        contrast: says which tissue is brightest.

    Raises:
        InputError: sharpness-unknown, where the brain is too small or too flat to tell; tissues-not-found, intensity-unfit.
    """
    from scipy.ndimage import binary_erosion

    box = bounds(mask)
    brain, within = image[box.slices], mask[box.slices]
    peaks = read_peaks(brain, within, contrast)
    brain = map_peaks(brain.astype(np.float64), peaks, PLAIN | {"peaks": _fixed(contrast)}, contrast).astype(np.float32)
    core = binary_erosion(np.pad(within, 1), iterations=MARGIN)[1:-1, 1:-1, 1:-1]
    calm = [reduce(lambda seen, other: _through(seen, other, FIRST), {0, 1, 2} - {axis}, brain) for axis in range(3)]
    widths = [float(np.hypot(FIRST, width)) for width in WIDTHS]
    return [[_ratio(_through(calm[axis], axis, width), core, axis) for width in widths] for axis in range(3)]


def _fixed(contrast: Contrast) -> list[float]:
    """Brightnesses of CSF, GM and WM, from dark to bright the same for all contrasts."""
    order = DARK_TO_BRIGHT[contrast]
    return [LEVELS[order.index(tissue)] for tissue in range(3)]


def blurred(image: Array, grid: Grid, widths: Widths) -> Array:
    """The image as seen through Gaussians of ``widths``, FWHM in mm, an axis; the image itself where all are 0."""
    for axis, (width, size) in enumerate(zip(widths, grid.spacing, strict=True)):
        image = _through(image, axis, width / size)
    return image


def _through(image: Array, axis: int, width: float) -> Array:
    n = image.shape[axis]
    return image if width <= 0 else apply_axis(gaussian_matrix(n, n, 1.0, 0.0, width), image, axis)


def _ratio(image: Array, core: Kept, axis: int) -> float:
    near, far = (_square(image, core, axis, lag) for lag in LAGS)
    if not far > 0:
        got = "too few voxels, or none that differ"
        raise InputError("sharpness-unknown", "a brain whose sharpness can be told", got, "check the scan, or leave it out")
    return near / far


def _square(image: Array, core: Kept, axis: int, lag: int) -> float:
    """Mean square of the differences of voxels so far apart, both in the core."""
    near, far = (tuple(part if at == axis else slice(None) for at in range(3)) for part in (slice(lag, None), slice(None, -lag)))
    both = core[near] & core[far]
    differences = (image[near] - image[far])[both]
    return float(np.square(differences, dtype=np.float64).mean()) if differences.size else 0.0


def _added(curve: Curve, common: Widths, voxel: float) -> Widths:
    """FWHM in mm an axis that takes r down to the common one."""
    return _triple([voxel * _width(line, r) for line, r in zip(curve, common, strict=True)])


def _width(line: Sequence[float], r: float) -> float:
    """Where a falling curve over ``WIDTHS`` squared meets r; 0 where it begins below."""
    falling = np.minimum.accumulate(np.array(line))
    return float(np.sqrt(np.interp(-r, -falling, np.square(WIDTHS))))
