"""What makes volumes alike, as one model: bias field, resolution, intensities, noise, extent; each step where it is wanted.

    restored --bias field--> --Gaussian per axis--> prepared --intensities--> --noise--> --rough mask--> harmonised
                 N4          what its site needs                 normaliser    up to the noisiest site

What is fitted is a handful of numbers a site. A scan that comes next month gets the same bytes whatever else comes with it: those
of its site where the fit knew it, else what its own sharpness tells. Nothing is sharpened and no noise is taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.harmonize.bias import bias_field
from core.harmonize.brain import bounds
from core.harmonize.intensity import Normaliser, Reading, read
from core.harmonize.resolution import Curve, Resolution, Widths, blurred, sharpness
from core.noise import field_key
from core.settings.harmonize import VolumeSteps
from core.stats import scan_stats
from core.tissues import GM, WM, Contrast, Tissues

Kept = NDArray[np.bool_]

NOISIER = 1.25  # times the common noise, from which a scan is told


@dataclass(frozen=True)
class Prepared:
    """A scan whose bias field is gone and whose sharpness is the common one.

    Attributes:
        image: float32.
        told: what could not be done, in words.
    """

    image: Array
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeModel:
    """What was fitted.

    Attributes:
        steps: that are taken.
        contrast: of the scans.
        resolution: common sharpness; None where it is left.
        normaliser: of intensities; None where they are left.
        noise: common noise, as a share of the distance of grey and white matter; None where it is left.
    """

    steps: VolumeSteps
    contrast: Contrast = "T1w"
    resolution: Resolution | None = None
    normaliser: Normaliser | None = field(default=None, hash=False)
    noise: float | None = None

    def prepare(self, image: Array, grid: Grid, mask: Kept, site: str) -> Prepared:
        """Take the bias field away and bring the scan to the common sharpness.

        Args:
            image: finite float32 (x, y, z), on cubic voxels.
            grid: of it.
            mask: True in the brain.
            site: whose scan it is.

        Raises:
            InputError: sharpness-unknown.
        """
        even = flattened(image, grid, mask) if self.steps.bias_field else image
        if self.resolution is None:
            return Prepared(even)
        known = site in self.resolution.added
        curve = [] if known else sharpness(even, mask, self.contrast)
        widths, beyond = self.resolution.widths(site, curve, grid.spacing[0]), "" if known else self.resolution.beyond(curve)
        return Prepared(blurred(even, grid, widths), (beyond,) if beyond else ())

    def apply(self, image: Array, grid: Grid, mask: Kept, site: str, name: str) -> Prepared:
        """A restored scan as the harmonised one, and what could not be done.

        Args:
            image: finite float32 (x, y, z), on cubic voxels.
            grid: of it.
            mask: True in the brain.
            site: whose scan it is.
            name: of the scan, from which its noise is drawn.

        Raises:
            InputError: sharpness-unknown, intensity-flat, intensity-unfit, tissues-not-found.
        """
        prepared = self.prepare(image, grid, mask, site)
        mapped, notes = prepared.image, [*prepared.told]
        if self.normaliser is not None:
            reading = read(self.normaliser.method, mapped, mask, self.contrast)
            mapped = self.normaliser.apply_by(mapped, reading)
            notes += [beyond] if (beyond := self.normaliser.beyond(reading)) else []
        if self.noise is not None:
            mapped, level = self._noisy(mapped, mask, name)
            notes += [f"noisier than what was fitted, by {level:.2g}; no noise was taken away"] if level > NOISIER else []
        if self.steps.brain_only:
            mapped = np.where(mask, mapped, np.float32(0))
        return Prepared(mapped, tuple(notes))

    def _noisy(self, image: Array, mask: Kept, name: str) -> tuple[Array, float]:
        """The image with noise up to the common level, and its own level over the common one."""
        level, step = noise_level(image, mask, self.contrast)
        common = self.noise or 0.0
        missing = step * float(np.sqrt(max(common**2 - level**2, 0.0)))
        noise = np.random.default_rng(field_key(0, name)).standard_normal(image.shape, np.float32)
        return np.where(image == 0, image, np.abs(image + np.float32(missing) * noise)), level / max(common, 1e-9)

    def widths_of(self, site: str) -> Widths:
        """FWHM in mm, an axis, that the scans of a known site are seen through."""
        return (0.0, 0.0, 0.0) if self.resolution is None else self.resolution.added[site]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit; the normaliser has a place of its own."""
        return {
            "steps": self.steps.model_dump(),
            "resolution": None if self.resolution is None else self.resolution.to_json(),
            "noise": self.noise,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], contrast: Contrast, normaliser: Normaliser | None) -> VolumeModel:
        """What ``to_json`` wrote."""
        resolution = None if value["resolution"] is None else Resolution.from_json(value["resolution"])
        return cls(VolumeSteps.model_validate(value["steps"]), contrast, resolution, normaliser, value["noise"])


def flattened(image: Array, grid: Grid, mask: Kept) -> Array:
    """The image without its bias field."""
    return image / bias_field(image, mask, grid)


def noise_level(image: Array, mask: Kept, contrast: Contrast) -> tuple[float, float]:
    """The noise in the brain as a share of the distance of grey and white matter, and that distance.

    Raises:
        InputError: tissues-not-found.
    """
    box = bounds(mask)
    brain, within = image[box.slices], mask[box.slices]
    means = Tissues.fit(brain, within, contrast).means
    step = max(abs(means[WM] - means[GM]), 1e-9)
    return scan_stats(np.where(within, brain, np.float32(0))).noise_sd / step, step


@dataclass(frozen=True)
class Look:
    """What a fit needs to know of a scan, in two looks.

    Attributes:
        site: whose it is.
        sharpness: of the restored scan without its bias field; empty where resolution is left.
        reading: of the prepared scan, for the normaliser.
        noise: of the prepared scan; None where noise is left.
    """

    site: str
    sharpness: Curve = field(default_factory=list, hash=False)
    reading: Reading = field(default_factory=list, hash=False)
    noise: float | None = None


def look_first(steps: VolumeSteps, image: Array, grid: Grid, mask: Kept, contrast: Contrast = "T1w") -> Curve:
    """The sharpness of a restored scan, where it is wanted.

    Raises:
        InputError: sharpness-unknown.
    """
    if not steps.resolution:
        return []
    return sharpness(flattened(image, grid, mask) if steps.bias_field else image, mask, contrast)


def look_again(model: VolumeModel, method: str, image: Array, grid: Grid, mask: Kept, site: str) -> tuple[Reading, float | None]:
    """What the normaliser and the noise level are fitted on: of the scan as ``model`` prepares it.

    Raises:
        InputError: as ``VolumeModel.apply``.
    """
    prepared = model.prepare(image, grid, mask, site).image
    known: Any = method
    reading = [] if method == "none" else read(known, prepared, mask, model.contrast)
    return reading, noise_level(prepared, mask, model.contrast)[0] if model.steps.noise_level else None


def fit_resolution(steps: VolumeSteps, looks: Sequence[Look], voxel: float, contrast: Contrast = "T1w") -> VolumeModel:
    """The model after the first look: all that prepares a scan."""
    if not steps.resolution:
        return VolumeModel(steps, contrast)
    curves: dict[str, list[Curve]] = defaultdict(list)
    for look in looks:
        curves[look.site].append(look.sharpness)
    return VolumeModel(steps, contrast, Resolution.fit(curves, voxel))


def fit_rest(model: VolumeModel, looks: Sequence[Look], normaliser: Normaliser | None) -> VolumeModel:
    """The whole model after the second look: with the normaliser and the noise of the noisiest site."""
    noise = None
    if model.steps.noise_level:
        levels: dict[str, list[float]] = defaultdict(list)
        for look in looks:
            levels[look.site].append(float(look.noise or 0.0))
        noise = max(float(np.median(values)) for values in levels.values())
    return VolumeModel(model.steps, model.contrast, model.resolution, normaliser, noise)
