"""Location and scale of a site by empirical Bayes: each feature's estimate drawn towards what the site does to all.

Johnson, Li & Rabinovic, Adjusting batch effects in microarray expression data using empirical Bayes methods, Biostatistics 8
(2007), section 3.2: the location of a site has a normal prior over the features, its variance an inverse gamma, both fitted by
moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.harmonize.tables.table import Values

CLOSE = 1e-10  # change at which the iteration ends, in the unit of the standardised features
MOST = 10_000  # iterations
STILL = 1e-12  # variance, in that unit, below which a feature does not vary at a site


@dataclass(frozen=True)
class Effect:
    """What a site adds to f standardised features, and by what it multiplies their variance.

    Attributes:
        location: float64 (f,), in pooled standard deviations; 0 leaves as it is.
        scale: float64 (f,), above 0, a factor of the variance; 1 leaves as it is.
    """

    location: Values
    scale: Values


@dataclass(frozen=True)
class _Priors:
    """Mean and variance of the locations; shape and rate of the scales (infinite where the scales do not differ)."""

    mean: float
    variance: float
    shape: float
    rate: float
    middle: float


@dataclass(frozen=True, eq=False)
class Moments:
    """What a site's standardised features tell of its effect: all that there is to keep of the scans.

    Attributes:
        count: int64 (f,), known values.
        mean: float64 (f,), of these; 0 where there is none.
        squares: float64 (f,), sum of their squared distances from the mean.
    """

    count: NDArray[np.int64]
    mean: Values
    squares: Values

    @classmethod
    def of(cls, standardised: Values) -> Moments:
        """Of values (n, f), NaN where unknown."""
        known = np.isfinite(standardised)
        count = known.sum(axis=0)
        mean = np.where(known, standardised, 0.0).sum(axis=0) / np.maximum(count, 1)
        return cls(count, mean, (np.where(known, standardised - mean, 0.0) ** 2).sum(axis=0))

    def at(self, used: NDArray[np.bool_]) -> Moments:
        """Those of some of the features."""
        return Moments(self.count[used], self.mean[used], self.squares[used])

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Of the features of all parts, one after another."""
        arrays = ([getattr(part, name) for part in parts] for name in ("count", "mean", "squares"))
        return cls(*map(np.concatenate, arrays))


def effect_of(moments: Moments, *, drawn_together: bool = True) -> Effect:
    """The effect of a site from its own standardised features.

    Only one known value of a feature, or several without spread, tell a location and no scale, which is then 1. One feature alone
    has nobody to be drawn towards: its plain mean and variance.

    Args:
        moments: at least one known value of each feature.
        drawn_together: by empirical Bayes; else each feature has its own mean and variance.
    """
    spread = moments.squares / np.maximum(moments.count - 1, 1)
    varies = (moments.count > 1) & (spread > STILL)
    if len(moments.mean) < 2 or not drawn_together:
        return Effect(moments.mean, np.where(varies, spread, 1.0))
    return _posterior(moments, np.where(varies, spread, 1.0), varies)


def _posterior(moments: Moments, spread: Values, varies: NDArray[np.bool_]) -> Effect:
    """The posterior modes, in turn until neither moves (equations 3.1 and 3.2 of the supplement)."""
    count, mean = moments.count, moments.mean
    priors = _priors(mean, spread[varies])
    location, scale = mean, spread
    for _ in range(MOST):
        moved = (count * priors.variance * mean + scale * priors.mean) / (count * priors.variance + scale)
        squares = moments.squares + count * (mean - moved) ** 2
        scaled = np.where(varies, _scale(squares, count, priors), 1.0)
        change = max(np.abs(moved - location).max(), np.abs(scaled / scale - 1).max())
        location, scale = moved, scaled
        if change < CLOSE:
            break
    return Effect(location, scale)


def _scale(squares: Values, count: NDArray[np.int64], priors: _Priors) -> Values:
    if not np.isfinite(priors.shape):
        return np.full_like(squares, priors.middle)
    scale: Values = (priors.rate + squares / 2) / (count / 2 + priors.shape - 1)
    return scale


def _priors(mean: Values, spread: Values) -> _Priors:
    """By moments over the features; ``spread`` of those that vary."""
    middle = float(spread.mean()) if spread.size else 1.0
    variance = float(spread.var(ddof=1)) if spread.size > 1 else 0.0
    if variance <= STILL * middle**2:
        return _Priors(float(mean.mean()), float(mean.var(ddof=1)), np.inf, np.inf, middle)
    shape, rate = (2 * variance + middle**2) / variance, (middle * variance + middle**3) / variance
    return _Priors(float(mean.mean()), float(mean.var(ddof=1)), shape, rate, middle)
