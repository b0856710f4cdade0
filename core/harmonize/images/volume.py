"""What makes volumes alike, as one model: bias field, resolution, intensities, curve, noise, extent; each if wanted.

    restored --site's bias field--> --Gaussian per axis--> prepared --peaks, curve--> mapped --noise--> --rough mask--> harmonised
              N4 beyond the          what its site needs            normaliser,              up to the noisiest site,
              reference's                                           site's curve             band by band

What is fitted is a handful of numbers a site, in up to three looks at its scans: as they are, prepared, and mapped. A scan that
comes next month gets the same bytes whatever else comes with it: those of its site where the fit knew it, else what it tells of
itself. Nothing is sharpened and no noise is taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import WeightsError
from core.geometry.grid import Array, Grid
from core.harmonize.images.bias import Fields, Trend, bias_field, field_of, trend_of
from core.harmonize.images.brain import brain
from core.harmonize.images.curve import Curves, Landmarks, landmarks
from core.harmonize.images.intensity import Normaliser, Reading, read
from core.harmonize.images.resolution import Resolution, Widths, blurred, sharpness
from core.harmonize.images.texture import Powers, Texture, noise_of, powers
from core.noise import field_key
from core.settings.harmonize import VolumeSteps
from core.tissues import Contrast

Kept = NDArray[np.bool_]

VERSION = 4  # of what is fitted
ROUNDS = 6  # looks at harmonised scans, by which what was fitted is mended


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
    """

    steps: VolumeSteps
    contrast: Contrast = "T1w"
    fields: Fields | None = None
    resolution: Resolution | None = None
    normaliser: Normaliser | None = field(default=None, hash=False)
    curves: Curves | None = None
    texture: Texture | None = None

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
        mask = brain(image, scan.grid, stripped=scan.stripped) if self.steps.looked else scan.mask
        return Made(image, mask, tuple(word for word in notes if word))

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
        if softer := self._softer(scan):
            made = replace(made, notes=(softer, *made.notes))
        if self.steps.brain_only:
            return replace(made, image=np.where(made.mask, made.image, np.float32(0)))
        return made

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


PARTS: dict[str, Any] = {"fields": Fields, "resolution": Resolution, "curves": Curves, "texture": Texture}


# -- the fit ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What a fit needs to know of a scan, in three looks.

    Attributes:
        site: whose it is.
        trend: of the restored scan's bias field; empty where that is left.
        sharpness: of the restored scan, in the last looks of the mapped one; empty where resolution is left.
        reading: of the prepared scan, for the normaliser.
        landmarks: of the prepared scan, for its site's curve; empty where that is left.
        powers: of the scan as harmonised; empty where noise is left.
    """

    site: str
    trend: Trend = field(default_factory=list, hash=False)
    sharpness: list[float] = field(default_factory=list, hash=False)
    reading: Reading = field(default_factory=list, hash=False)
    landmarks: Landmarks = field(default_factory=list, hash=False)
    powers: Powers = field(default_factory=list, hash=False)

    def to_json(self) -> dict[str, Any]:
        """What was seen, without the site; bit for bit."""
        return {name: value for name, value in vars(self).items() if name != "site" and value}

    def seen(self, more: Mapping[str, Any]) -> Look:
        """With what another look gave."""
        return replace(self, **more)


def look_first(steps: VolumeSteps, scan: Scan, contrast: Contrast = "T1w") -> Look:
    """Bias field and sharpness of a restored scan, where they are wanted; sharpness without all that N4 takes for a field.

    Raises:
        InputError: sharpness-unknown.
    """
    trend = scan.own_trend() if steps.bias_field else []
    if not steps.resolution:
        return Look(scan.site, trend)
    even = scan.image / field_of(trend, scan.mask) if trend else scan.image
    return Look(scan.site, trend, sharpness(even, scan.mask, scan.grid, contrast))


def look_again(model: VolumeModel, method: str, scan: Scan) -> Look:
    """What the normaliser and the curves are fitted on: of the scan as ``model`` prepares it.

    Raises:
        InputError: as ``VolumeModel.map``.
    """
    made = model.prepare(scan)
    known: Any = method
    reading = [] if method == "none" else read(known, made.image, made.mask, model.contrast)
    marks = landmarks(made.image, made.mask, model.contrast) if model.steps.curve else []
    return Look(scan.site, reading=reading, landmarks=marks)


def look_last(model: VolumeModel, scan: Scan) -> Look:
    """What the model is mended by: sharpness of the scan as mapped, landmarks and powers as harmonised.

    Noise widens what lies around a tissue's peak: the curves of sites of unlike noise are mended where all have the same.

    Raises:
        InputError: as ``VolumeModel.map``.
    """
    mapped, made = model.made(scan)
    sharp = sharpness(mapped.image, mapped.mask, scan.grid, model.contrast) if model.steps.resolution else []
    loud = powers(made.image, mapped.mask) if model.steps.noise_level else []
    if not model.steps.curve:
        return Look(scan.site, sharpness=sharp, powers=loud)
    mask = mapped.mask if model.texture is None else brain(made.image, scan.grid, stripped=scan.stripped)
    return Look(scan.site, sharpness=sharp, landmarks=landmarks(made.image, mask, model.contrast), powers=loud)


def fit_first(steps: VolumeSteps, looks: Sequence[Look], reference: str | None, contrast: Contrast = "T1w") -> VolumeModel:
    """The model after the first look: all that prepares a scan."""
    fields = Fields.fit(_by_site(looks, "trend"), reference) if steps.bias_field else None
    resolution = Resolution.fit(_by_site(looks, "sharpness")) if steps.resolution else None
    return VolumeModel(steps, contrast, fields, resolution)


def fit_again(model: VolumeModel, looks: Sequence[Look], normaliser: Normaliser | None, reference: str | None) -> VolumeModel:
    """The model after the second look: with the normaliser and the sites' curves, all but the noise."""
    curves = None
    if model.steps.curve:
        mapped = [replace(look, landmarks=_on_scale(look, normaliser)) for look in looks]
        curves = Curves.fit(_by_site(mapped, "landmarks"), reference)
    return replace(model, normaliser=normaliser, curves=curves)


def last_looks(steps: VolumeSteps) -> int:
    """How often harmonised scans are looked at."""
    return ROUNDS if steps.resolution or steps.curve or steps.noise_level else 0


def fit_last(model: VolumeModel, looks: Sequence[Look], reference: str | None) -> VolumeModel:
    """The model after a look at harmonised scans: widths, curves and noise are mended.

    Where noise is matched, the first of these looks is of scans without any: it is fitted, and curves are mended from the next
    on, where all have the same.
    """
    early = model.steps.noise_level and model.texture is None
    curves = model.curves if model.curves is None or early else model.curves.refined(_by_site(looks, "landmarks"), reference)
    resolution = None if model.resolution is None else model.resolution.refined(_by_site(looks, "sharpness"))
    seen = _by_site(looks, "powers")
    texture = None
    if model.steps.noise_level:
        texture = Texture.fit(seen) if model.texture is None else model.texture.refined(seen)
    return replace(model, resolution=resolution, curves=curves, texture=texture)


def _on_scale(look: Look, normaliser: Normaliser | None) -> Landmarks:
    """Landmarks of a prepared scan where the normaliser puts them."""
    if normaliser is None:
        return look.landmarks
    line = np.array(look.landmarks, np.float32).reshape(-1, 1, 1)
    return [float(value) for value in normaliser.apply_by(line, look.reading).ravel()]


def _by_site(looks: Sequence[Look], what: str) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = defaultdict(list)
    for look in looks:
        parts[look.site].append(getattr(look, what))
    return dict(parts)
