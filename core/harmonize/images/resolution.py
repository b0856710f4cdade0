r"""How sharp a scan is along each axis, and all scans brought to the sharpness of the site that is least sharp.

The power of anatomy falls with the frequency in much the same way in all brains; a transfer function makes it fall faster, along
each axis by its own width. Fitted to the power P of a brain, its tissues at fixed brightnesses (``tissue_map``), is

    P = exp(level - STEEP log|f| - 4 pi^2 (v_x f_x^2 + v_y f_y^2 + v_z f_z^2))

by Whittle's likelihood (Whittle, J. R. Statist. Soc. B 15, 1953) over the frequencies below half the highest,
where anatomy is far above the noise. The v are variances of the transfer function but for what anatomy itself has of such a fall,
the same at every site: seen through a Gaussian, a scan's v grow by just the Gaussian's variance, and the difference of two sites
is that of their transfer functions. A site's are the median of its scans'. Scans are only ever made less sharp: the common v are
the largest of any site. What harmonised scans still differ by is taken back, for no scanner's transfer function is a Gaussian.

        v |          site b, the common v
          |   site a -----> b      by a Gaussian of variance v_b - v_a, true to it however narrow it is
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import bounds
from core.harmonize.images.spectrum import Spectrum
from core.harmonize.images.tissue_map import map_peaks, read_peaks
from core.tissues import DARK_TO_BRIGHT, Contrast

Kept = NDArray[np.bool_]
Values = NDArray[np.float64]
Widths = tuple[float, float, float]

LEVELS = (30.0, 75.0, 105.0)  # of the tissues, from dark to bright, while sharpness is measured
PLAIN = {"range": [-np.inf, np.inf]}  # any scan is taken there
BAND = 0.08, 0.5  # of the highest frequency: the fit looks at these
STEEP = 3.0  # exponent of the fall of anatomy's power
STEPS = 30  # of the fit
SETTLED = 1e-6
FWHM = float(np.sqrt(8 * np.log(2)))  # of a Gaussian of standard deviation 1
NEAR = 0.5  # mm of FWHM: a scan that is so much less sharp is told
TAIL = 8  # voxels of a narrow kernel, beyond which it is next to 0
STEP = 0.5  # of what harmonised scans still differ by, that a round takes back


def raised(added: Mapping[str, Sequence[float]], seen: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Values]:
    """What each site gets, so that all come nearer to the largest that is seen of any; at no place do all get some.

    Args:
        added: what each site got.
        seen: what came of it, of each site's scans; a site without scans keeps what it has.
    """
    now = {site: np.median(np.array(scans), axis=0) for site, scans in seen.items()}
    most = np.max(list(now.values()), axis=0)
    wanted = {site: np.array(values) + STEP * (most - now.get(site, most)) for site, values in added.items()}
    least = np.min(list(wanted.values()), axis=0)
    return {site: values - least for site, values in wanted.items()}


@dataclass(frozen=True)
class Resolution:
    """A common sharpness.

    Attributes:
        common: variances, mm² an axis, that all scans are brought to.
        added: FWHM in mm, an axis, of the Gaussian through which the scans of a site are seen.
        softest: the largest variances of a scan that a site was fitted on.
        own: the median ones.
    """

    common: Widths
    added: dict[str, Widths]
    softest: dict[str, Widths]
    own: dict[str, Widths]

    @classmethod
    def fit(cls, seen: Mapping[str, Sequence[Sequence[float]]]) -> Resolution:
        """The sharpness of the least sharp site, and what takes each site there.

        Args:
            seen: of each site's scans, by ``sharpness``.
        """
        by_site = {site: np.median(np.array(scans), axis=0) for site, scans in seen.items()}
        common = np.max(list(by_site.values()), axis=0)
        softest = {site: triple(np.max(np.array(scans), axis=0)) for site, scans in seen.items()}
        added = {site: _added(own, common) for site, own in by_site.items()}
        return cls(triple(common), added, softest, {site: triple(own) for site, own in by_site.items()})

    def refined(self, seen: Mapping[str, Sequence[Sequence[float]]]) -> Resolution:
        """With widths by which harmonised scans come nearer to each other in sharpness.

        Args:
            seen: of each site's harmonised scans, by ``sharpness``.
        """
        variances = {site: np.square(np.array(widths) / FWHM) for site, widths in self.added.items()}
        wider = raised({site: values.tolist() for site, values in variances.items()}, seen)
        return replace(self, added={site: triple(FWHM * np.sqrt(values)) for site, values in wider.items()})

    def settled(self) -> Resolution:
        """With the variances that the middle site's are brought to as the common ones: rounds moved them, other sites' follow."""
        reached = [np.array(self.own[site]) + np.square(np.array(widths) / FWHM) for site, widths in self.added.items()]
        return replace(self, common=triple(np.median(reached, axis=0)))

    def widths(self, site: str, own: Sequence[float]) -> Widths:
        """FWHM in mm, an axis, that a scan is seen through: its site's, or of a site that is not known by its own sharpness."""
        return self.added[site] if site in self.added else _added(own, self.common)

    def beyond(self, site: str, own: Sequence[float]) -> str:
        """Why a scan is less sharp than it should be, or nothing: than its site's, or of a site that is not known, than any."""
        softest = self.softest.get(site, np.max(list(self.own.values()), axis=0))
        excess = np.array(own) - np.array(softest)
        short = [axis for axis, more in zip("RAS", excess, strict=True) if more > (NEAR / FWHM) ** 2]
        return f"less sharp along {' and '.join(short)} than what was fitted; it was not sharpened" if short else ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Resolution:
        """What ``to_json`` wrote."""
        tables = ({site: triple(each) for site, each in value[name].items()} for name in ("added", "softest", "own"))
        return cls(triple(value["common"]), *tables)


def triple(values: Sequence[float] | Values) -> Widths:
    """Three numbers, an axis each."""
    a, b, c = (float(value) for value in values)
    return a, b, c


def _added(own: Sequence[float] | Values, common: Sequence[float] | Values) -> Widths:
    return triple(FWHM * np.sqrt(np.maximum(np.array(common) - np.array(own), 0)))


def sharpness(image: Array, mask: Kept, grid: Grid, contrast: Contrast = "T1w") -> list[float]:
    """Variances of the transfer function in mm², an axis, but for what anatomy adds.

    Args:
        image: finite float32 (x, y, z).
        mask: True in the brain.
        grid: of both.
        contrast: says which tissue is brightest.

    Raises:
        InputError: sharpness-unknown, where the brain is too small or too flat to tell; tissues-not-found, intensity-unfit.
    """
    box = bounds(mask)
    brain, within = image[box.slices], mask[box.slices]
    peaks = read_peaks(brain, within, contrast)
    level = map_peaks(brain.astype(np.float64), peaks, PLAIN | {"peaks": _fixed(contrast)}, contrast).astype(np.float32)
    variances = _fit(Spectrum.of(level, within))
    return [float(variance) * size**2 for variance, size in zip(variances, grid.spacing, strict=True)]


def _fixed(contrast: Contrast) -> list[float]:
    """Brightnesses of CSF, GM and WM, from dark to bright the same for all contrasts."""
    order = DARK_TO_BRIGHT[contrast]
    return [LEVELS[order.index(tissue)] for tissue in range(3)]


def _fit(spectrum: Spectrum) -> Values:
    """The variances in voxels², by Fisher's scoring of Whittle's likelihood."""
    far = spectrum.radius
    used = (far >= BAND[0]) & (far < BAND[1])
    power, r = spectrum.power[used].astype(np.float64), far[used]
    columns = [np.ones(r.size)] + [-(np.pi**2) * np.broadcast_to(square, far.shape)[used] for square in spectrum.squares]
    design = np.stack(columns, axis=1)  # frequencies are shares of half a cycle a voxel: 4 pi^2 f^2 is pi^2 of their square
    theta = np.array([np.log(np.mean(power * r**STEEP)), 0.0, 0.0, 0.0])
    for _ in range(STEPS):
        ratio = power * r**STEEP / np.exp(np.clip(design @ theta, -50, 50))
        move = np.clip(np.linalg.lstsq(design, ratio - 1, rcond=None)[0], -1, 1)
        theta += move
        if np.abs(move).max() < SETTLED:
            break
    variances: Values = theta[1:]
    return variances


def blurred(image: Array, grid: Grid, widths: Widths) -> Array:
    """The image as seen through Gaussians of ``widths``, FWHM in mm, an axis; the image itself where all are 0."""
    from scipy.ndimage import convolve1d

    for axis, (width, size) in enumerate(zip(widths, grid.spacing, strict=True)):
        if width > 0:
            image = convolve1d(image, gaussian((width / size / FWHM) ** 2), axis, mode="nearest")
    return image


def gaussian(variance: float) -> Values:
    """The kernel, of odd length and sum 1, of a variance in voxels², whose transfer function is the Gaussian's.

    It is so within 0.005 below 0.45 cycles a voxel, within about 0.02 above. Averages of a Gaussian over voxels are
    wider than it by a twelfth of a voxel², or narrower where it is narrow itself.
    """
    radius = TAIL + int(np.ceil(6 * np.sqrt(variance)))
    frequencies = np.fft.rfftfreq(2 * radius + 1)
    kernel: Values = np.fft.fftshift(np.fft.irfft(np.exp(-2 * np.pi**2 * variance * frequencies**2), 2 * radius + 1))
    return kernel
