"""Location and scale of a site by empirical Bayes: each feature's estimate drawn towards what the site does to all.

Johnson, Li & Rabinovic, Adjusting batch effects in microarray expression data using empirical Bayes methods, Biostatistics 8
(2007), section 3.2: the location of a site has a normal prior over the features, its variance an inverse gamma, both fitted by
moments.
"""

from __future__ import annotations

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


def effect_of(standardised: Values, *, drawn_together: bool = True) -> Effect:
    """The effect of a site on its own standardised features.

    Only one known value of a feature, or several without spread, tell a location and no scale, which is then 1. One feature alone
    has nobody to be drawn towards: its plain mean and variance.

    Args:
        standardised: (n, f), NaN where unknown; at least one known value of each feature.
        drawn_together: by empirical Bayes; else each feature has its own mean and variance.
    """
    count = np.isfinite(standardised).sum(axis=0)
    mean = np.nanmean(standardised, axis=0)
    spread = np.nansum((standardised - mean) ** 2, axis=0) / np.maximum(count - 1, 1)
    varies = (count > 1) & (spread > STILL)
    if standardised.shape[1] < 2 or not drawn_together:
        return Effect(mean, np.where(varies, spread, 1.0))
    return _posterior(standardised, count, mean, np.where(varies, spread, 1.0), varies)


def _posterior(values: Values, count: NDArray[np.int64], mean: Values, spread: Values, varies: NDArray[np.bool_]) -> Effect:
    """The posterior modes, in turn until neither moves (equations 3.1 and 3.2 of the supplement)."""
    priors = _priors(mean, spread[varies])
    location, scale = mean, spread
    for _ in range(MOST):
        moved = (count * priors.variance * mean + scale * priors.mean) / (count * priors.variance + scale)
        squares = np.nansum((values - moved) ** 2, axis=0)
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
