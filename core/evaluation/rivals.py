"""Ways to make the scans of several scanners alike, fitted on a reference scanner's scans, for a trial against a truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.harmonize.intensity import Normaliser, Reading, inside, profile, read
from core.harmonize.resolution import Curve, sharpness
from core.harmonize.volume import Look, VolumeModel, fit_resolution, fit_rest, flattened, look_again
from core.settings.harmonize import VolumeSteps

Kept = NDArray[np.bool_]

PLAIN = ("z-score", "nyul", "white-stripe", "fcm", "tissues")  # intensities alone
OURS = {  # each with all before it; of the scan without its bias field
    "tissues, bias": VolumeSteps(),
    "tissues, bias, resolution": VolumeSteps(resolution=True),
    "tissues, bias, resolution, noise": VolumeSteps(resolution=True, noise_level=True),
}
RAW, HISTOGRAM = "raw", "histogram"
NAMES = (RAW, "z-score", "nyul", "white-stripe", "fcm", HISTOGRAM, "tissues", *OURS)
STEPS = VolumeSteps(resolution=True, noise_level=True)  # that the fit looks at


@dataclass(frozen=True)
class Seen:
    """A scan of a person, restored to the common grid.

    Attributes:
        scanner: number.
        image: float32 (x, y, z).
        grid: of it.
        mask: True in the brain.
        name: of the scan.
        flat: the image without its bias field, where that is known; it takes longer than all else.
    """

    scanner: int
    image: Array = field(hash=False)
    grid: Grid = field(hash=False)
    mask: Kept = field(hash=False)
    name: str = ""
    flat: Array | None = field(default=None, hash=False)

    @property
    def site(self) -> str:
        """The scanner as a site."""
        return site_of(self.scanner)

    def even(self) -> Seen:
        """The scan without its bias field."""
        return replace(self, image=flattened(self.image, self.grid, self.mask) if self.flat is None else self.flat)


def site_of(scanner: int) -> str:
    """A scanner's name as a site."""
    return f"scanner{scanner}"


@dataclass(frozen=True)
class Readings:
    """What the fits need of a scan.

    Attributes:
        site: of the scan.
        plain: by method; of the reference scanner alone.
        quantiles: of the brain; likewise.
        sharpness: without bias field.
    """

    site: str
    plain: Mapping[str, Reading]
    quantiles: list[float]
    sharpness: Curve


def read_first(seen: Seen) -> Readings:
    """What all fits but the last need of a scan.

    Raises:
        InputError: a scan that cannot be read.
    """
    reference = seen.scanner == 0
    known: Any = PLAIN if reference else ()
    plain = {method: reading for method in known if (reading := _read(method, seen)) is not None}
    quantiles = profile(inside(seen.image, seen.mask)) if reference else []
    return Readings(seen.site, plain, quantiles, sharpness(seen.even().image, seen.mask))


def _read(method: Any, seen: Seen) -> Reading | None:
    """What a method reads of a scan; None where it refuses the scan."""
    try:
        return read(method, seen.image, seen.mask)
    except InputError:
        return None


def read_second(seen: Seen, models: Mapping[str, VolumeModel]) -> dict[str, tuple[Reading, float | None]]:
    """What the last fits need: of the scan as each model prepares it."""
    even = seen.even()
    return {name: look_again(model, "tissues", even.image, seen.grid, seen.mask, seen.site) for name, model in models.items()}


@dataclass(frozen=True)
class Rivals:
    """All of them, fitted.

    Attributes:
        plain: normalisers by name; a scan that one refuses is left as it is.
        quantiles: mean of the reference's.
        ours: volume models by name.
    """

    plain: Mapping[str, Normaliser]
    quantiles: list[float]
    ours: Mapping[str, VolumeModel]

    def made(self, seen: Seen, names: Sequence[str] = NAMES) -> dict[str, Array]:
        """The scan by each of ``names``.

        Raises:
            InputError: a scan that cannot be mapped.
        """
        even = seen.even() if set(names) & set(self.ours) else seen
        return {name: self._made(name, seen, even) for name in names}

    def _made(self, name: str, seen: Seen, even: Seen) -> Array:
        if name == RAW:
            return seen.image
        if name == HISTOGRAM:
            return matched(seen, self.quantiles)
        if name in self.plain:
            reading = _read(name, seen)
            return seen.image if reading is None else self.plain[name].apply_by(seen.image, reading)
        return self.ours[name].apply(even.image, seen.grid, seen.mask, seen.site, seen.name).image


def begin(readings: Sequence[Readings], voxel: float) -> dict[str, VolumeModel]:
    """Our models after the first look."""
    looks = [Look(reading.site, reading.sharpness) for reading in readings]
    return {name: fit_resolution(steps, looks, voxel) for name, steps in OURS.items()}


def fit(
    readings: Sequence[Readings],
    models: Mapping[str, VolumeModel],
    second: Sequence[Mapping[str, tuple[Reading, float | None]]],
) -> Rivals:
    """All rivals: intensities by the reference scanner's scans, sharpness and noise by all scanners'.

    Args:
        readings: of the first look, a scan each.
        models: of ``begin``.
        second: of the second look, in the order of ``readings``.
    """
    reference = [number for number, reading in enumerate(readings) if reading.site == site_of(0)]
    known = [readings[number].plain for number in reference]
    plain = {name: _normaliser(name, [said[name] for said in known if name in said]) for name in PLAIN}
    quantiles = np.mean([readings[number].quantiles for number in reference], axis=0).tolist()
    ours = {}
    for name, model in models.items():
        looks = [Look(reading.site, noise=said[name][1]) for reading, said in zip(readings, second, strict=True)]
        ours[name] = fit_rest(model, looks, _normaliser("tissues", [second[number][name][0] for number in reference]))
    return Rivals(plain, quantiles, ours)


def _normaliser(method: Any, readings: Sequence[Reading]) -> Normaliser:
    return Normaliser.fit_readings(method, readings)


def matched(seen: Seen, quantiles: Sequence[float]) -> Array:
    """Histogram matching: each quantile of the brain on the reference's; beyond them by the ends' ratio."""
    own = np.array(profile(inside(seen.image, seen.mask)))
    common = np.array(quantiles)
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(own)) > 0])
    mapped = np.interp(seen.image, own[rising], common[rising])
    above, below = seen.image > own[-1], seen.image < own[0]
    mapped[above] = seen.image[above] * (common[-1] / own[-1])
    mapped[below] = seen.image[below] * (common[0] / own[0])
    return np.where(seen.image == 0, np.float32(0), mapped).astype(np.float32)
