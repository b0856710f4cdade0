"""How far figures of the same persons agree between scanners: intraclass correlation, identification, a planted effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import FeaturesError

Values = NDArray[np.float64]


def icc(values: Values) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, one measurement (Shrout & Fleiss, Psychological Bulletin 86, 1979).

    Args:
        values: (persons, scanners), finite, two of each or more.

    Returns:
        at most 1; 0 or below where persons differ no more than scanners make them; 0 where nothing differs.

    Raises:
        FeaturesError: agreement-few.
    """
    n, k = _checked(values)
    mean = values.mean()
    persons = k * float(((values.mean(axis=1) - mean) ** 2).sum()) / (n - 1)
    scanners = n * float(((values.mean(axis=0) - mean) ** 2).sum()) / (k - 1)
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + mean
    error = float((left**2).sum()) / ((n - 1) * (k - 1))
    total = persons + (k - 1) * error + k * (scanners - error) / n
    return (persons - error) / total if total > 0 else 0.0


def _checked(values: Values) -> tuple[int, int]:
    if values.ndim < 2 or min(values.shape[:2]) < 2:
        wanted = "two persons or more, each seen by two scanners or more"
        raise FeaturesError("agreement-few", wanted, str(values.shape), "take more persons or scanners")
    return values.shape[0], values.shape[1]


def identified(values: Values) -> float:
    """Share of persons whose nearest neighbour among another scanner's scans is themselves; over all pairs of scanners.

    Args:
        values: (persons, scanners, features), finite. Features count by their standard deviation over all scans; those that do
            not vary do not count.

    Raises:
        FeaturesError: agreement-few.
    """
    n, k = _checked(values)
    spread = values.reshape(n * k, -1).std(axis=0)
    scaled = values[:, :, spread > 0] / spread[spread > 0]
    rates = []
    for first in range(k):
        for other in (scanner for scanner in range(k) if scanner != first):
            apart = ((scaled[:, None, first] - scaled[None, :, other]) ** 2).sum(axis=-1)
            rates.append(float((apart.argmin(axis=1) == np.arange(n)).mean()))
    return float(np.mean(rates))


@dataclass(frozen=True)
class Slope:
    """A slope by least squares.

    Attributes:
        slope: in units of y a unit of x.
        low: of the 95 % interval, by Student's t.
        high: likewise.
    """

    slope: float
    low: float
    high: float


def slope_of(x: Values, y: Values) -> Slope:
    """The slope of y over x, with its interval.

    Raises:
        FeaturesError: agreement-few, below three points or where x does not vary.
    """
    from scipy.stats import linregress, t

    if len(x) < 3 or float(np.ptp(x)) == 0:
        raise FeaturesError("agreement-few", "three points or more of different x", str(len(x)), "take more persons")
    fitted = linregress(x, y)
    half = float(t.isf(0.025, len(x) - 2)) * float(fitted.stderr)
    return Slope(float(fitted.slope), float(fitted.slope) - half, float(fitted.slope) + half)
