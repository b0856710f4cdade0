"""The bias field of a scan by N4 (Tustison et al., IEEE Transactions on Medical Imaging 29, 2010), as SimpleITK has it.

N4 takes smooth anatomy for a field: the middle of a brain is not as bright as its cortex on any scanner. What it finds at the
reference is therefore no fault of a scanner, and what it finds beyond that elsewhere is. Both are told as polynomials of low
degree in the brain's own frame, so that brains of any size and place compare:

    log field of N4 = anatomy and the reference's field + what the site adds + what is this scan's own

The site's part is taken away whole, the scan's own as far as persons of the site differ more than those of the calmest site do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import bounds

Kept = NDArray[np.bool_]
Values = NDArray[np.float64]
Trend = list[float]

COARSE = 6.0  # mm: voxels that the field is fitted on
ROUNDS = (50, 50, 30)  # of the three levels
POINTS = 4  # of the splines, an axis, at the first level
LARGEST = 1.0  # logarithm, either way: beyond the brain splines run away
DEGREE = 3  # of the polynomials, over all axes
POWERS = tuple(power for power in np.ndindex((DEGREE + 1,) * 3) if 0 < sum(power) <= DEGREE)
SAMPLED = 40_000  # voxels that a trend is fitted to, at most
FEWEST = 4  # persons of a site that says what is common, or calm: fewer may be odd, or alike, by chance


def bias_field(image: Array, mask: Kept, grid: Grid) -> Array:
    """The field that multiplied a scan, as N4 sees it; its mean logarithm in the brain is 0.

    Args:
        image: finite float32 (x, y, z).
        mask: True in the brain; the fit looks at nothing else, and at voxels above 0 alone.
        grid: of both.

    Returns:
        float32 of the image's shape, above 0; the same bytes for the same bytes, on one thread.
    """
    import SimpleITK as sitk  # noqa: N813 - as its pages name it

    within = mask & (image > 0)
    whole, brain = (_itk(array, grid) for array in (np.maximum(image, np.float32(0)), within.astype(np.uint8)))
    steps = [max(1, round(COARSE / size)) for size in grid.spacing]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(list(ROUNDS))
    n4.SetNumberOfControlPoints([POINTS] * 3)
    n4.Execute(sitk.Shrink(whole, steps), sitk.Shrink(brain, steps))
    logs = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(whole)).T.astype(np.float32)
    logs -= logs[within].mean(dtype=np.float64).astype(np.float32)
    return np.asarray(np.exp(np.clip(logs, -LARGEST, LARGEST)), np.float32)


def _itk(array: NDArray[np.generic], grid: Grid) -> object:
    import SimpleITK as sitk  # noqa: N813 - as its pages name it

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing([float(size) for size in grid.spacing])
    return image


def trend_of(field: Array, mask: Kept) -> Trend:
    """The logarithm of a field as polynomials in the brain's frame: coefficients by least squares over the brain."""
    places = np.argwhere(mask)
    places = places[:: -(-len(places) // SAMPLED)]
    lines = _frame(mask)
    parts = ([lines[axis][power[axis]][places[:, axis]] for axis in range(3)] for power in ((0, 0, 0), *POWERS))
    columns = [np.prod(part, axis=0) for part in parts]
    logs = np.log(field[tuple(places.T)].astype(np.float64))
    return [float(weight) for weight in np.linalg.lstsq(np.stack(columns, axis=1), logs, rcond=None)[0][1:]]


def field_of(trend: Sequence[float], mask: Kept) -> Array:
    """The field, float32 of the mask's shape, that a trend tells; beyond the brain's bounds it goes on as at them."""
    x, y, z = _frame(mask)
    weights = np.zeros((DEGREE + 1,) * 3)
    for power, weight in zip(POWERS, trend, strict=True):
        weights[power] = weight
    logs = np.einsum("ijk,ia,jb,kc->abc", weights, x, y, z, optimize=True)
    return np.asarray(np.exp(np.clip(logs, -LARGEST, LARGEST)), np.float32)


def _frame(mask: Kept) -> list[Values]:
    """Legendre polynomials of each axis, (degree + 1, n): -1 and 1 are the brain's ends."""
    box = bounds(mask)
    lines = []
    for axis, n in enumerate(mask.shape):
        middle, half = (box.start[axis] + box.stop[axis] - 1) / 2, max((box.stop[axis] - box.start[axis]) / 2, 1.0)
        place = np.clip((np.arange(n) - middle) / half, -1, 1)
        lines.append(np.asarray(np.polynomial.legendre.legvander(place, DEGREE).T, np.float64))
    return lines


@dataclass(frozen=True)
class Fields:
    """What the sites' fields have beyond the reference's.

    Attributes:
        common: trend of what N4 finds at the reference: anatomy, and the reference's own field.
        added: what each site has beyond that.
        trust: how far a scan's own departure from its site is taken for a field, 0 to 1.
        elsewhere: likewise of a scan of a site that is not known, from the common one.
    """

    common: Trend
    added: dict[str, Trend]
    trust: dict[str, float]
    elsewhere: float

    @classmethod
    def fit(cls, trends: Mapping[str, Sequence[Trend]], reference: str | None) -> Self:
        """By empirical Bayes: persons of the calmest site differ by anatomy and N4's errors alone.

        So does the one person of a site from what its next one will show: as far as that may be all it shows, it is no field.

        Args:
            trends: of each site's persons, the mean of a person's scans.
            reference: the site whose mean is the common one; None: the mean of the sites of several persons.
        """
        means = {site: np.mean(np.array(theirs), axis=0) for site, theirs in trends.items()}
        several = [site for site, theirs in trends.items() if len(theirs) >= FEWEST]
        common = np.mean([means[site] for site in several or means], axis=0) if reference is None else means[reference]
        spreads = {site: float(np.var(np.array(t), axis=0, ddof=1).sum()) for site, t in trends.items() if len(t) > 1}
        least = min(spreads[site] for site in several) if several else _pooled(spreads, trends)
        between = float(np.mean([((mean - common) ** 2).sum() for mean in means.values()]))
        lone = _share(between, least)
        return cls(
            common.tolist(),
            {site: ((mean - common) * (1.0 if site in spreads else lone)).tolist() for site, mean in means.items()},
            {site: _share(spreads.get(site, 0.0) - least, least) for site in means},
            lone,
        )

    def known(self, site: str) -> bool:
        """Whether a scan's own trend does not matter."""
        return self.trust.get(site) == 0.0

    def beyond(self, site: str, own: Sequence[float]) -> Trend:
        """The trend of the field that is taken away from a scan.

        Args:
            site: of the scan.
            own: its trend; any where ``known``.
        """
        added = np.array(self.added.get(site, [0.0] * len(POWERS)))
        if self.known(site):
            return [float(weight) for weight in added]
        share = self.trust.get(site, self.elsewhere)
        return [float(weight) for weight in added + share * (np.array(own) - self.common - added)]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**value)


def _pooled(spreads: Mapping[str, float], trends: Mapping[str, Sequence[Trend]]) -> float:
    """The spread of all sites' persons about their own site's mean; 0 where no site has two."""
    free = {site: len(trends[site]) - 1 for site in spreads}
    return sum(free[site] * spread for site, spread in spreads.items()) / max(sum(free.values()), 1)


def _share(signal: float, noise: float) -> float:
    """Of a variance that is the signal's."""
    return max(signal, 0.0) / (max(signal, 0.0) + noise) if noise > 0 else float(signal > 0)
