r"""What a site's contrast does within tissues, beside where their peaks lie: one rising curve a site, onto the reference's.

    scan of the site 0 -- CSF: quartiles -- GM: quartiles -- WM: quartiles -->     lines between, through the origin below,
                       \    \   \           \   \   \         \   \   \            the last slope above
    reference        0 -- CSF ----------- GM ------------ WM --------------->

A scanner that shows white matter flat and grey matter steep has peaks where ``tissue_map`` takes them back from, but not what
lies around them. The quartiles are those of each tissue's own voxels, by their posterior probabilities: shares move them little,
a site's are the median of its scans', so that persons keep what is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array
from core.tissues import DARK_TO_BRIGHT, Contrast, Tissues

Kept = NDArray[np.bool_]
Landmarks = list[float]

QUARTILES = 0.25, 0.5, 0.75
BINS = 2048
STEP = 0.5  # of what is left that a round takes back: classes told anew answer by up to twice what a curve does
APART = 1e-3  # of the distance of the outermost: no two landmarks are nearer


def landmarks(image: Array, mask: Kept, contrast: Contrast = "T1w") -> Landmarks:
    """Quartiles of each tissue's voxels, dark to bright, rising.

    Raises:
        InputError: tissues-not-found.
    """
    tissues = Tissues.fit(image, mask, contrast)
    values = image[mask & (image > 0)]
    counts, edges = np.histogram(values, BINS, (0.0, float(np.percentile(values, 99.9))))
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
    quartiles: list[float] = []
    for tissue in DARK_TO_BRIGHT[contrast]:
        below = np.cumsum(counts * tissues.share(middles, tissue).astype(np.float64))
        quartiles += [float(np.interp(share * below[-1], below, edges[1:])) for share in QUARTILES]
    return rising(quartiles)


def rising(values: Sequence[float]) -> Landmarks:
    """Each above the one before."""
    step = APART * max(values[-1] - values[0], 1e-9)
    lines = np.arange(len(values)) * step
    return [float(value) for value in np.maximum.accumulate(np.array(values) - lines) + lines]


def _through(values: NDArray[Any], known: Sequence[float], common: Sequence[float]) -> NDArray[np.float64]:
    """Values by lines that take ``known`` to ``common``; from the origin below them, on with the last slope above."""
    x, y = np.array(known), np.array(common)
    below = y[0] / x[0] if x[0] > 0 < y[0] else (y[1] - y[0]) / (x[1] - x[0])
    mapped: NDArray[np.float64] = np.interp(values, x, y) + np.minimum(values - x[0], 0) * below
    mapped += np.maximum(values - x[-1], 0) * ((y[-1] - y[-2]) / (x[-1] - x[-2]))
    return mapped


@dataclass(frozen=True)
class Curves:
    """The sites' curves.

    Attributes:
        common: landmarks of the reference, on the common scale of intensities.
        sites: of each site, on that scale.
    """

    common: Landmarks
    sites: dict[str, Landmarks]

    @classmethod
    def fit(cls, landmarks: Mapping[str, Sequence[Landmarks]], reference: str | None) -> Self:
        """The median scan's landmarks at each site, and at the reference; None: the mean of the sites."""
        sites = {site: np.median(np.array(theirs), axis=0) for site, theirs in landmarks.items()}
        common = np.mean(list(sites.values()), axis=0) if reference is None else sites[reference]
        return cls(rising(common.tolist()), {site: rising(known.tolist()) for site, known in sites.items()})

    def apply(self, image: Array, known: Sequence[float]) -> Array:
        """The image with ``known`` landmarks on the common ones; 0 stays 0, and what rises goes on rising.

        Args:
            image: float32 on the common scale.
            known: of its site, or of the scan itself.
        """
        if list(known) == self.common:
            return image
        mapped = _through(image, known, self.common).astype(np.float32)
        return np.where(image == 0, np.float32(0), mapped)

    def refined(self, landmarks: Mapping[str, Sequence[Landmarks]], reference: str | None) -> Self:
        """With each site's landmarks where they must have been for ``landmarks`` to come about, those of its harmonised scans.

        What a site's scans still show beside the reference's, tissues told anew and noise of all sites alike, is taken back.
        """
        now = {site: np.array(rising(np.median(np.array(theirs), axis=0).tolist())) for site, theirs in landmarks.items()}
        wanted = np.mean(list(now.values()), axis=0) if reference is None else now.get(reference, np.array(self.common))
        sites = {}
        for site, known in self.sites.items():
            seen = _through(np.array(self.common), wanted, wanted + STEP * (now.get(site, wanted) - wanted))
            sites[site] = known if known == self.common else rising(_through(seen, self.common, known).tolist())
        return replace(self, sites=sites)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**value)
