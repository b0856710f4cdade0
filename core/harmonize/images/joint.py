r"""Widths, noise and curves of all sites mended together, by what each of them does to what is measured of a scan.

    harmonised scans --measure--> figures of each site --\
                                                          least squares --> widths, noise and curves that make them alike
    each parameter moved by a step --> slopes -----------/

Mended each by a figure of its own, as ``Resolution``, ``Texture`` and ``Curves`` do, they rest where a fault of one is made good
by another: a scan that its Gaussian left too soft gets noise for the anatomy that it lacks, and both tell its site. Here every
parameter answers for every figure: Gauss and Newton's steps, damped (Levenberg, Quart. Appl. Math. 2, 1944), with slopes taken
once, by differences, on few scans of each site. Volumes and percentiles are not among the figures: persons' anatomy is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.harmonize.images.curve import Curves, rising
from core.harmonize.images.resolution import FWHM, Resolution, triple
from core.harmonize.images.texture import Texture

Values = NDArray[np.float64]

DARKEST = "darkest"  # the first landmark of a curve: the darkest tissue's first quartile
LEVELS = (DARKEST, "csf_intensity", "gm_intensity", "wm_intensity", "gm_sd", "wm_sd")  # which the reference's scans set
FIGURES = (*LEVELS, "noise", "sharpness", "spectrum_low", "spectrum_middle", "spectrum_high")  # others of core.harmonize.features
SHOWN = 4  # scans of a site by which slopes are taken
ROUNDS = 4  # looks at all scans, by which all is mended
WIDTH = 0.075  # voxels² of variance: a step
NOISE = 0.15  # of the common power in a band: a step
CURVE = 0.005  # of the distance of the outermost landmarks: a step
DAMPING = 0.15  # of a figure's spread among persons: a step that changes less is not worth taking
MOST = 2.0  # steps a round
FAR = 3.0  # of a normal distribution's standard deviations, as the median deviation tells it: beyond, a figure counts as so far
LEAST_SPREAD = 0.002  # of a figure, where persons hardly differ, or each site has but one


@dataclass(frozen=True)
class Parts:
    """What is mended."""

    resolution: Resolution
    texture: Texture
    curves: Curves

    @property
    def sites(self) -> tuple[str, ...]:
        """All that are known."""
        return tuple(self.resolution.added)

    def steps_of(self, site: str, voxel: float) -> Values:
        """A site's parameters in steps: variances along three axes, power in each band, landmarks.

        Args:
            site: a known one.
            voxel: edge of the harmonised voxels, mm.
        """
        variances = np.square(np.array(self.resolution.added[site]) / FWHM) / (WIDTH * voxel**2)
        noise = np.array(self.texture.added[site]) / (NOISE * self._power)
        return np.concatenate([variances, noise, np.array(self.curves.sites[site]) / self._line])

    def at(self, steps: Mapping[str, Values], voxel: float) -> Parts:
        """With these parameters; a site whose curve leaves its scans as they are keeps it."""
        bands = 3 + len(self.texture.common)
        widths, noise, curves = dict(self.resolution.added), dict(self.texture.added), dict(self.curves.sites)
        for site, values in steps.items():
            widths[site] = triple(FWHM * np.sqrt(np.maximum(values[:3], 0) * WIDTH * voxel**2))
            noise[site] = (np.maximum(values[3:bands], 0) * NOISE * self._power).tolist()
            curves[site] = rising((values[bands:] * self._line).tolist()) if self.bends(site) else curves[site]
        return Parts(
            replace(self.resolution, added=widths), replace(self.texture, added=noise), replace(self.curves, sites=curves)
        )

    def bends(self, site: str) -> bool:
        """Whether a site has a curve of its own."""
        return self.curves.sites[site] != self.curves.common

    @property
    def _power(self) -> Values:
        power: Values = np.maximum(np.array(self.texture.common), 1e-20)
        return power

    @property
    def _line(self) -> float:
        return CURVE * (self.curves.common[-1] - self.curves.common[0])


@dataclass(frozen=True)
class Mend:
    """What is known on the way.

    Attributes:
        voxel: edge of the harmonised voxels, mm.
        slopes: of each site: what a step of each parameter changes of each figure; empty before they were taken.
    """

    voxel: float = 0.0
    slopes: dict[str, list[list[float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, voxels: Sequence[float], seen: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> Mend:
        """The mean slopes of each site's scans that were looked at."""
        return cls(float(np.median(voxels)), {site: np.mean(np.array(scans), axis=0).tolist() for site, scans in seen.items()})

    def mended(self, parts: Parts, seen: Mapping[str, Sequence[Sequence[float]]], reference: str | None) -> Parts:
        """With parameters by which the sites' figures come together.

        A site that should get less blur or noise than none has none, and the others get more: at no place do all get some.

        Levels come to the reference's, or where none is named to the mean of the sites, as all else does.

        Args:
            parts: as they were when the scans were harmonised.
            seen: ``FIGURES`` of each site's harmonised scans; a site without any keeps what it has.
            reference: site.
        """
        now = {site: _middle(np.array(scans)) for site, scans in seen.items()}
        spread, wanted = _spread(seen), np.mean(list(now.values()), axis=0)
        if reference in now:
            wanted[: len(LEVELS)] = now[reference][: len(LEVELS)]
        steps = {site: parts.steps_of(site, self.voxel) for site in parts.sites}
        for site in now.keys() & self.slopes.keys():
            slopes = np.array(self.slopes[site]).T / spread[:, None]
            damped = slopes.T @ slopes + DAMPING**2 * np.eye(slopes.shape[1])
            move = np.linalg.solve(damped, slopes.T @ ((wanted - now[site]) / spread))
            steps[site] = steps[site] + np.clip(move, -MOST, MOST)
        added = slice(0, 3 + len(parts.texture.common))
        least = np.min([values[added] for values in steps.values()], axis=0)
        for values in steps.values():
            values[added] -= least
        return parts.at(steps, self.voxel)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Mend:
        """What ``to_json`` wrote."""
        return cls(**value)


def _middle(scans: Values) -> Values:
    """Mean figures of a site's scans, each no further from the median than ``FAR``."""
    median = np.median(scans, axis=0)
    reach = FAR * 1.4826 * np.median(np.abs(scans - median), axis=0)
    middle: Values = np.clip(scans, median - reach, median + reach).mean(axis=0)
    return middle


def _spread(seen: Mapping[str, Sequence[Sequence[float]]]) -> Values:
    """How much figures differ among the persons of a site."""
    scans = [np.array(theirs) for theirs in seen.values()]
    size = np.abs(np.median(np.concatenate(scans), axis=0))
    several = [np.std(theirs, axis=0, ddof=1) for theirs in scans if len(theirs) > 1]
    spread: Values = np.maximum(np.median(several, axis=0) if several else 0.0, LEAST_SPREAD * size)
    return np.maximum(spread, 1e-12)
