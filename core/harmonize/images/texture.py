r"""Noise matched in level and texture: added until all sites have the power of the noisiest at each frequency.

power |\                       once sharpness and intensities are the common ones, what differs at the higher frequencies is
      | \___  noisiest         noise: its level, and its texture, as interpolation and filters leave it. What a site lacks
      |  \  \____              there is added as Gaussian noise of just that power; none is taken away.
      |   \______ site
      +---|--------------- share of the highest frequency
        FIRST
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array
from core.harmonize.images.resolution import raised
from core.harmonize.images.spectrum import Spectrum

Kept = NDArray[np.bool_]
Values = NDArray[np.float64]
Powers = list[float]

EDGES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.15, 1.3, 2.0)  # of the highest frequency of an axis; corners lie beyond 1
MIDDLES = (0.3125, 0.4375, 0.5625, 0.6875, 0.8125, 0.9375, 1.075, 1.2, 1.4)
BEFORE_CORNERS = 5  # of the bands: the last within an axis's highest frequency
NOISIER = 1.25  # times the common noise, from which a scan is told


def powers(image: Array, mask: Kept) -> Powers:
    """Power a voxel of the brain in each band of ``EDGES``; that of white noise is its variance in each.

    Raises:
        InputError: sharpness-unknown.
    """
    return Spectrum.of(image, mask).bands(EDGES)


@dataclass(frozen=True)
class Texture:
    """The common noise.

    Attributes:
        common: power in each band that all sites come to.
        added: what the scans of each site lack.
    """

    common: Powers
    added: dict[str, Powers]

    @classmethod
    def fit(cls, powers: Mapping[str, Sequence[Powers]]) -> Self:
        """The middle scan's powers at each site; the common ones are the largest of any."""
        sites = {site: np.median(np.array(theirs), axis=0) for site, theirs in powers.items()}
        common = np.max(list(sites.values()), axis=0)
        return cls(common.tolist(), {site: (common - known).tolist() for site, known in sites.items()})

    def refined(self, powers: Mapping[str, Sequence[Powers]]) -> Self:
        """With noise by which harmonised scans come nearer to each other in each band.

        Bands are wide and power falls within them, noise beats with what a scan has: what is added is not what comes of it.

        Args:
            powers: of each site's harmonised scans.
        """
        return replace(self, added={site: values.tolist() for site, values in raised(self.added, powers).items()})

    def settled(self, quiet: Mapping[str, Sequence[Powers]]) -> Self:
        """With the powers that the middle site's are brought to as the common ones: rounds moved them, other sites' follow.

        Args:
            quiet: of each site's scans before noise is added.
        """
        reached = [np.median(np.array(theirs), axis=0) + self.added[site] for site, theirs in quiet.items()]
        return replace(self, common=np.median(reached, axis=0).tolist())

    def lacking(self, site: str, own: Sequence[float]) -> Powers:
        """What a scan lacks: what its site does, or of a site that is not known, what it does itself by its ``own`` powers."""
        return self.added[site] if site in self.added else np.maximum(np.array(self.common) - own, 0).tolist()

    def beyond(self, own: Sequence[float]) -> str:
        """Why a scan cannot be brought to the common noise, or nothing."""
        level = float(np.sqrt(own[BEFORE_CORNERS] / max(self.common[BEFORE_CORNERS], 1e-20)))
        return f"noisier than what was fitted, by {level:.2g}; no noise was taken away" if level > NOISIER else ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**value)


def noise_of(shape: tuple[int, ...], lacking: Sequence[float], draw: np.random.Generator) -> Array:
    """Gaussian noise, float32 of a shape, of so much power a voxel in each band; next to none below the first."""
    from scipy.fft import irfftn, rfftn

    white = draw.standard_normal(shape, np.float32)
    x, y = (np.fft.fftfreq(n) * 2 for n in shape[:2])
    far = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + (np.fft.rfftfreq(shape[2]) * 2) ** 2)
    gain = np.sqrt(np.interp(far, MIDDLES, np.maximum(np.array(lacking), 0)))
    gain *= np.clip(far / EDGES[0], 0, 1) ** 2
    return np.asarray(irfftn(rfftn(white) * gain.astype(np.float32), s=shape), np.float32)
