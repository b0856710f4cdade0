"""What makes volumes alike, as one model: bias field, resolution, intensities, curve, noise, extent; each if wanted.

    restored --site's bias field--> --Gaussian per axis--> prepared --peaks, curve--> mapped --noise--> --rough mask--> harmonised
              N4 beyond the          what its site needs            normaliser,              up to the noisiest site,
              reference's                                           site's curve             band by band

What is fitted (``fit``) is a handful of numbers a site. A scan that comes next month gets the same bytes whatever else comes with
it: those of its site where the fit knew it, else what it tells of itself. Nothing is sharpened and no noise is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import WeightsError
from core.geometry.grid import Array, Grid
from core.harmonize.images.bias import Fields, Trend, bias_field, field_of, trend_of
from core.harmonize.images.brain import found_anew
from core.harmonize.images.curve import Curves, landmarks
from core.harmonize.images.intensity import Normaliser, read
from core.harmonize.images.joint import SHOWN, Mend, Parts
from core.harmonize.images.resolution import Resolution, Widths, blurred, sharpness
from core.harmonize.images.texture import Texture, noise_of, powers
from core.noise import field_key
from core.settings.harmonize import VolumeSteps
from core.tissues import Contrast

Kept = NDArray[np.bool_]

VERSION = 8  # of what is fitted


@dataclass(frozen=True)
class Made:
    """A scan on its way.

    Attributes:
        image: float32.
        mask: True in the brain: found anew, once all brains are as bright and as sharp, for blur moves a threshold.
        notes: what could not be done, in words.
    """

    image: Array
    mask: Kept
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A restored scan.

    Attributes:
        image: finite float32 (x, y, z), on cubic voxels.
        grid: of it.
        mask: True in the brain.
        site: whose scan it is.
        name: of the scan, from which its noise is drawn.
        stripped: whether all but the brain was set to 0.
        trend: of its bias field where that is known, for N4 takes longer than all else.
    """

    image: Array = field(hash=False)
    grid: Grid = field(hash=False)
    mask: Kept = field(hash=False)
    site: str
    name: str = ""
    stripped: bool = True
    trend: tuple[float, ...] | None = None

    def own_trend(self) -> Trend:
        """Of its bias field, as N4 sees it."""
        return trend_of(bias_field(self.image, self.mask, self.grid), self.mask) if self.trend is None else list(self.trend)


@dataclass(frozen=True)
class VolumeModel:
    """What was fitted.

    Attributes:
        steps: that are taken.
        contrast: of the scans.
        fields: of the sites; None where bias fields are left.
        resolution: common sharpness; None where it is left.
        normaliser: of intensities; None where they are left.
        curves: of the sites within tissues; None where they are left.
        texture: common noise; None where it is left.
        mend: what is known while the parts are mended together; None before and after.
    """

    steps: VolumeSteps
    contrast: Contrast = "T1w"
    fields: Fields | None = None
    resolution: Resolution | None = None
    normaliser: Normaliser | None = field(default=None, hash=False)
    curves: Curves | None = None
    texture: Texture | None = None
    mend: Mend | None = None

    def prepare(self, scan: Scan) -> Made:
        """Take the bias field away and bring the scan to the common sharpness.

        Raises:
            InputError: sharpness-unknown.
        """
        even = self._even(scan)
        if self.resolution is None:
            return self._found_anew(even, scan)
        known = scan.site in self.resolution.added
        own = [] if known else sharpness(even, scan.mask, scan.grid, self.contrast)
        beyond = "" if known else self.resolution.beyond(scan.site, own)
        seen = blurred(even, scan.grid, self.resolution.widths(scan.site, own))
        return self._found_anew(seen, scan, beyond)

    def _found_anew(self, image: Array, scan: Scan, *notes: str) -> Made:
        mask = self.brain_of(image, scan) if self.steps.looked else scan.mask
        return Made(image, mask, tuple(word for word in notes if word))

    def brain_of(self, image: Array, scan: Scan) -> Kept:
        """Where the brain is in what was made of a scan."""
        return found_anew(image, scan.grid, scan.mask, stripped=scan.stripped)

    def _even(self, scan: Scan) -> Array:
        if self.fields is None:
            return scan.image
        own = [] if self.fields.known(scan.site) else scan.own_trend()
        return scan.image / field_of(self.fields.beyond(scan.site, own), scan.mask)

    def map(self, scan: Scan) -> Made:
        """The prepared scan on the common scale of intensities, its brain found anew where scans were prepared.

        Raises:
            InputError: as ``prepare``; intensity-flat, intensity-unfit, tissues-not-found, brain-not-found.
        """
        made = self.prepare(scan)
        image, notes = made.image, [*made.notes]
        if self.normaliser is not None:
            reading = read(self.normaliser.method, image, made.mask, self.contrast)
            image = self.normaliser.apply_by(image, reading)
            notes += [beyond] if (beyond := self.normaliser.beyond(reading)) else []
        if self.curves is not None:
            own = self.curves.sites.get(scan.site)
            image = self.curves.apply(image, landmarks(image, made.mask, self.contrast) if own is None else own)
        return self._found_anew(image, scan, *notes)

    def apply(self, scan: Scan) -> Made:
        """A restored scan as the harmonised one, and what could not be done.

        Raises:
            InputError: as ``map``.
        """
        made = self.made(scan)[1]
        first = tuple(word for word in (self._new(scan.site), self._softer(scan)) if word)
        made = replace(made, notes=(*first, *made.notes))
        if self.steps.brain_only:
            return replace(made, image=np.where(made.mask, made.image, np.float32(0)))
        return made

    def _new(self, site: str) -> str:
        """What to know of scans of a site that was not in the fit, where something is fitted a site."""
        known = [set(part.added) for part in (self.fields, self.resolution, self.texture) if part is not None]
        known += [] if self.curves is None else [set(self.curves.sites)]
        new = any(site not in sites for sites in known)
        return f"site {site} was not in the fit: made alike by what the scan tells of itself" if new else ""

    def _softer(self, scan: Scan) -> str:
        """Why a scan of a known site, which is seen through its site's Gaussian, comes out less sharp than the others."""
        if self.resolution is None or scan.site not in self.resolution.added:
            return ""
        return self.resolution.beyond(scan.site, sharpness(self._even(scan), scan.mask, scan.grid, self.contrast))

    def made(self, scan: Scan) -> tuple[Made, Made]:
        """The scan as mapped, and with the common noise; all of the head.

        Raises:
            InputError: as ``map``.
        """
        mapped = self.map(scan)
        return mapped, mapped if self.texture is None else self._noisy(mapped, scan)

    def _noisy(self, made: Made, scan: Scan) -> Made:
        """The image with what it lacks of the common noise; of a stripped scan in the brain alone, whose border it would move."""
        assert self.texture is not None  # noqa: S101 - asked before
        own = powers(made.image, made.mask)
        draw = np.random.default_rng(field_key(0, scan.name))
        noise = noise_of(made.image.shape, self.texture.lacking(scan.site, own), draw)
        where = made.mask if scan.stripped else made.image != 0
        noisy = np.where(where, np.abs(made.image + noise), made.image)
        beyond = self.texture.beyond(own)
        return Made(noisy, made.mask, (*made.notes, beyond) if beyond else made.notes)

    @property
    def parts(self) -> Parts:
        """What is mended together; all are wanted."""
        assert self.resolution is not None and self.texture is not None and self.curves is not None  # noqa: S101, PT018
        return Parts(self.resolution, self.texture, self.curves)

    def having(self, parts: Parts) -> VolumeModel:
        """With other parts."""
        return replace(self, resolution=parts.resolution, texture=parts.texture, curves=parts.curves)

    @property
    def shown(self) -> int | None:
        """How many scans of each site the next look is of; None: all."""
        return SHOWN if self.mend is not None and not self.mend.slopes else None

    def widths_of(self, site: str) -> Widths:
        """FWHM in mm, an axis, that the scans of a known site are seen through."""
        return (0.0, 0.0, 0.0) if self.resolution is None else self.resolution.added[site]

    def only(self, steps: VolumeSteps) -> VolumeModel:
        """With fewer steps: of scans prepared alike, without what comes after."""
        curves, texture = self.curves if steps.curve else None, self.texture if steps.noise_level else None
        return replace(self, steps=steps, curves=curves, texture=texture)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit; the normaliser has a place of its own."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {"version": VERSION, "steps": self.steps.model_dump()} | {
            name: part.to_json() for name, part in parts.items() if part is not None
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], contrast: Contrast, normaliser: Normaliser | None) -> VolumeModel:
        """What ``to_json`` wrote.

        Raises:
            WeightsError: harmonizer-version, of another version.
        """
        if (version := value.get("version")) != VERSION:
            raise WeightsError("harmonizer-version", f"steps of version {VERSION}", f"version {version}", "fit it again")
        parts: dict[str, Any] = {name: made.from_json(value[name]) for name, made in PARTS.items() if name in value}
        return cls(VolumeSteps.model_validate(value["steps"]), contrast, normaliser=normaliser, **parts)


PARTS: dict[str, Any] = {"fields": Fields, "resolution": Resolution, "curves": Curves, "texture": Texture, "mend": Mend}
