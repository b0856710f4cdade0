"""What repeated scans of a person have in common: a random intercept, so that they do not weigh as scans of several.

Beer et al., NeuroImage 220 (2020), longitudinal ComBat: beside the mean, covariates and the site a feature has an intercept of a
person, normally distributed, with a variance that restricted maximum likelihood finds (Laird & Ware, Biometrics 38, 1982). Of a
ratio of that variance to the noise's the fit is least squares of values from which a part of each person's mean is taken off; the
ratio is looked for on a grid, for all features together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.harmonize.tables.table import Features, Values

SHARES = np.concatenate([np.linspace(0, 0.95, 39), [0.97, 0.98, 0.99]])  # of the persons' variance in all: the grid


def intercepts(design: Values, values: Values, persons: Sequence[str]) -> tuple[Values, Values]:
    """Coefficients, and the ratio of the persons' variance to the noise's.

    Args:
        design: (n, p), of full rank.
        values: (n, f), all known.
        persons: n names.

    Returns:
        (p, f) and (f,); the ratio is 0 where nobody was scanned twice.
    """
    member = _member(persons)
    count, free = member.sum(axis=1), len(design) - design.shape[1]
    best = np.full(values.shape[1], np.inf)
    made = np.zeros((design.shape[1], values.shape[1])), np.zeros(values.shape[1])
    for share in SHARES if count.max() > 1 else SHARES[:1]:
        ratio = share / (1 - share)
        part = (1 - 1 / np.sqrt(1 + count * ratio)) / count
        x, y = (both - member.T @ (part[:, None] * (member @ both)) for both in (design, values))
        fitted = np.linalg.lstsq(x, y, rcond=None)[0]
        squares = ((y - x @ fitted) ** 2).sum(axis=0)
        known = np.linalg.slogdet(x.T @ x)[1] + np.log1p(count * ratio).sum()
        loss = free * np.log(np.maximum(squares, 1e-300)) + known
        better = loss < best - 1e-9
        best = np.where(better, loss, best)
        for kept, now in zip(made, (fitted, np.full(values.shape[1], ratio)), strict=True):
            kept[..., better] = now[..., better]
    return made


def own(left: Values, persons: Sequence[str], ratio: Values) -> Values:
    """Each scan's person's intercept, (n, f): the best linear prediction from what mean, covariates and site leave.

    Args:
        left: (n, f), NaN where unknown.
        persons: n names.
        ratio: (f,).
    """
    member = _member(persons)
    known = np.isfinite(left)
    total, count = member @ np.where(known, left, 0.0), member @ known
    predicted: Values = member.T @ (total * ratio / (1 + count * ratio))
    return predicted


def least_squares(design: Values, values: Values, persons: Sequence[str] | None) -> tuple[Values, Values, Values]:
    """Coefficients (p, f), what they leave (n, f), and the ratio (f,) of the persons' variance to the noise's.

    With persons, what is left is without their intercepts.
    """
    if persons is None:
        fitted = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], np.float64)
        return fitted, values - design @ fitted, np.zeros(values.shape[1])
    fitted, ratio = intercepts(design, values, persons)
    left = values - design @ fitted
    return fitted, left - own(left, persons, ratio), ratio


def linear(columns: Values, coefficients: Values) -> Values:
    """Columns (n, k) times coefficients (k, f), one column after the other: a row has the same bits whichever are beside it.

    A matrix product rounds one row otherwise than many.
    """
    made: Values = np.zeros((len(columns), coefficients.shape[1]))
    for column, row in zip(columns.T, coefficients, strict=True):
        made += column[:, None] * row
    return made


def means_by_site(left: Values, features: Features) -> Values:
    """Of each scan's site, (n, f), of what is known; 0 where nothing is."""
    means = np.zeros_like(left)
    for site in features.sites:
        rows = features.rows([site])
        known = np.isfinite(left[rows])
        means[rows] = np.where(known, left[rows], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return means


def _member(persons: Sequence[str]) -> NDArray[np.float64]:
    """Scans by person: (persons, n), 0 or 1."""
    names, rows = np.unique(np.array(persons), return_inverse=True)
    member: NDArray[np.float64] = (rows == np.arange(len(names))[:, None]).astype(np.float64)
    return member
