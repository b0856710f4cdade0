"""Ways to make the scans of several scanners alike, fitted on a reference scanner's scans, for a trial against a truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.harmonize.images.fit import Look, fit_again, fit_first, look_first
from core.harmonize.images.intensity import Normaliser, Reading, inside, profile, read
from core.harmonize.images.volume import Scan, VolumeModel
from core.settings.harmonize import VolumeSteps

Kept = NDArray[np.bool_]

PLAIN = ("z-score", "nyul", "white-stripe", "fcm", "tissues")  # intensities alone
OURS = {  # each with all before it
    "tissues, bias": VolumeSteps(bias_field=True),
    "tissues, bias, resolution": VolumeSteps(bias_field=True, resolution=True),
    "tissues, bias, resolution, curve": VolumeSteps(bias_field=True, resolution=True, curve=True),
    "tissues, bias, resolution, curve, noise": VolumeSteps(bias_field=True, resolution=True, curve=True, noise_level=True),
}
BIAS, ALL = next(iter(OURS)), list(OURS)[-1]  # of ours the first and the last; those between are made of the last's parts
RAW, HISTOGRAM = "raw", "histogram"
NAMES = (RAW, "z-score", "nyul", "white-stripe", "fcm", HISTOGRAM, "tissues", *OURS)
REFERENCE = "scanner0"


@dataclass(frozen=True)
class Seen:
    """A scan of a person, restored to the common grid.

    Attributes:
        scanner: number.
        image: float32 (x, y, z).
        grid: of it.
        mask: True in the brain.
        name: of the scan.
        trend: of its bias field, where that is known; it takes longer than all else.
    """

    scanner: int
    image: Array = field(hash=False)
    grid: Grid = field(hash=False)
    mask: Kept = field(hash=False)
    name: str = ""
    trend: tuple[float, ...] | None = None

    @property
    def scan(self) -> Scan:
        """As our model takes it."""
        return Scan(self.image, self.grid, self.mask, site_of(self.scanner), self.name, trend=self.trend)


def site_of(scanner: int) -> str:
    """A scanner's name as a site."""
    return f"scanner{scanner}"


@dataclass(frozen=True)
class Readings:
    """What the fits need of a scan.

    Attributes:
        look: of ours.
        plain: by method; of the reference scanner alone.
        quantiles: of the brain; likewise.
    """

    look: Look
    plain: Mapping[str, Reading]
    quantiles: list[float]


def read_first(seen: Seen) -> Readings:
    """What all fits need of a scan as it is.

    Raises:
        InputError: a scan that cannot be read.
    """
    reference = seen.scanner == 0
    known: Any = PLAIN if reference else ()
    plain = {method: reading for method in known if (reading := _read(method, seen)) is not None}
    quantiles = profile(inside(seen.image, seen.mask)) if reference else []
    return Readings(look_first(OURS[ALL], seen.scan), plain, quantiles)


def _read(method: Any, seen: Seen) -> Reading | None:
    """What a method reads of a scan; None where it refuses the scan."""
    try:
        return read(method, seen.image, seen.mask)
    except InputError:
        return None


@dataclass(frozen=True)
class Rivals:
    """All of them, fitted.

    Attributes:
        plain: normalisers by name; a scan that one refuses is left as it is, see ``refuses``.
        quantiles: mean of the reference's.
        ours: volume models by name.
    """

    plain: Mapping[str, Normaliser]
    quantiles: list[float]
    ours: Mapping[str, VolumeModel]

    def refuses(self, name: str, seen: Seen) -> bool:
        """Whether a rival cannot read a scan."""
        return name in self.plain and _read(name, seen) is None

    def made(self, seen: Seen, names: Sequence[str] = NAMES) -> dict[str, Array]:
        """The scan by each of ``names``.

        Raises:
            InputError: a scan that cannot be mapped.
        """
        return {name: self._made(name, seen) for name in names}

    def _made(self, name: str, seen: Seen) -> Array:
        if name == RAW:
            return seen.image
        if name == HISTOGRAM:
            return matched(seen, self.quantiles)
        if name in self.plain:
            reading = _read(name, seen)
            return seen.image if reading is None else self.plain[name].apply_by(seen.image, reading)
        return self.ours[name].apply(seen.scan).image


def begin(looks: Sequence[Look]) -> dict[str, VolumeModel]:
    """Our first and last model after the first look."""
    return {name: fit_first(OURS[name], looks, REFERENCE) for name in (BIAS, ALL)}


def fit_ours(model: VolumeModel, looks: Sequence[Look]) -> VolumeModel:
    """A model of ours after the second look: with intensities and curves."""
    readings = [look.reading for look in looks if look.site == REFERENCE]
    seen = [look.reading for look in looks if look.site != REFERENCE]
    return fit_again(model, looks, Normaliser.fit_readings("tissues", readings, seen=seen), REFERENCE)


def fit(readings: Sequence[Readings], models: Mapping[str, VolumeModel]) -> Rivals:
    """All rivals, intensities by the reference scanner's scans.

    Args:
        readings: of the first look, a scan each.
        models: our first and last, whole.
    """
    reference = [reading for reading in readings if reading.look.site == REFERENCE]
    known = [reading.plain for reading in reference]
    plain = {name: _normaliser(name, [said[name] for said in known if name in said]) for name in PLAIN}
    quantiles = np.mean([reading.quantiles for reading in reference], axis=0).tolist()
    return Rivals(plain, quantiles, {name: models[BIAS] if name == BIAS else models[ALL].only(OURS[name]) for name in OURS})


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
