"""What the sites of a ComBat have in common: mean, effects of covariates and spread, by least squares; and what these leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.harmonize.tables import conditions
from core.harmonize.tables.design import SAME, Term, covariate_columns, site_columns
from core.harmonize.tables.persons import least_squares
from core.harmonize.tables.table import Features, Values

FLAT = 1e-10  # share of a feature's size below which its spread is rounding


@dataclass(frozen=True)
class Pooled:
    """What the sites have in common; of a feature that is flagged: mean 0, no slope, sd 1, no noise.

    Attributes:
        mean: float64 (f,), over the scans, or of the reference site.
        slopes: float64 (k, f), by the terms' columns.
        sd: float64 (f,), of the noise.
        shifts: float64 (s, f), by how much each of the sites, sorted, is above the mean.
        noise: float64 (n, f), what mean, site, covariates and the persons' intercepts leave; NaN where unknown.
        flags: features that cannot be fitted, with the reason.
        ratio: float64 (f,), of the variance of a person's intercept to that of the noise; None: persons have none.
    """

    mean: Values
    slopes: Values
    sd: Values
    shifts: Values
    noise: Values
    flags: dict[str, str]
    ratio: Values | None = None

    @classmethod
    def of(cls, features: Features, terms: Sequence[Term], reference: str | None, *, intercept: bool = False) -> Pooled:
        """By least squares, each feature over the scans of which it is known."""
        sites, covariates = site_columns(features), covariate_columns(features, terms)
        f, width = len(features.names), sites.shape[1] + covariates.shape[1]
        conditions.check_enough(features, width)
        coefficients = np.zeros(f), np.zeros((covariates.shape[1], f)), np.ones(f), np.zeros((sites.shape[1], f))
        made = cls(*coefficients, np.full((len(features), f), np.nan), _flags(features), np.zeros(f) if intercept else None)
        known = np.isfinite(features.values)
        patterns = {
            column.tobytes(): column for column in known.T
        }  # features that are known for the same scans are fitted together
        for pattern in patterns.values():
            alike = (known == pattern[:, None]).all(axis=0)
            chosen = [n for n in np.flatnonzero(alike).tolist() if features.names[n] not in made.flags]
            if chosen:
                design = np.concatenate([sites, covariates], axis=1)[pattern]
                made._fit(features, np.flatnonzero(pattern), chosen, design, reference)
        return made

    def _fit(self, every: Features, rows: NDArray[np.int64], chosen: list[int], design: Values, reference: str | None) -> None:
        """Fit the features at ``chosen``, known for the scans at ``rows`` and for no other."""
        features = every.select(rows.tolist())
        values, s = features.values[:, chosen], len(features.sites)
        if len(design) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
            self.flags.update({features.names[n]: "known for too few scans to tell site and covariates apart" for n in chosen})
            return
        fitted, noise, ratio = least_squares(design, values, None if self.ratio is None else features.persons)
        counts = np.array([len(features.rows([site])) for site in features.sites])
        weights = counts / counts.sum() if reference is None else np.array(features.sites) == reference
        sd = np.sqrt((noise[_spread_of(np.array(features.site), reference)] ** 2).mean(axis=0))
        flat = np.atleast_1d(sd <= FLAT * np.abs(values).max(axis=0))
        self.flags.update({features.names[n]: _flat(reference) for n in np.array(chosen)[flat].tolist()})
        good = np.array(chosen)[~flat]
        self.mean[good], self.sd[good] = (weights @ fitted[:s])[~flat], sd[~flat]
        self.slopes[:, good], self.shifts[:, good] = fitted[s:, ~flat], fitted[:s, ~flat] - self.mean[good]
        self.noise[np.ix_(rows, good)] = noise[:, ~flat]
        if self.ratio is not None:
            self.ratio[good] = ratio[~flat]


def _spread_of(site: NDArray[np.str_], reference: str | None) -> NDArray[np.bool_]:
    """The scans whose noise the pooled standard deviation is of: the reference's, or those of sites of more than one scan."""
    if reference is not None:
        return np.asarray(site == reference)
    names, counts = np.unique(site, return_counts=True)
    return np.isin(site, names[counts > 1])


def _flat(reference: str | None) -> str:
    """Why a feature without spread is left."""
    return "the same for all scans of a site" if reference is None else f"the same for all scans of {reference}"


def _flags(features: Features) -> dict[str, str]:
    """Features that cannot be fitted, told from their values alone."""
    flags = {name: f"unknown for all scans of {site}" for site in features.sites for name in unknown_at(features, site)}
    for name, column in zip(features.names, features.values.T, strict=True):
        known = column[np.isfinite(column)]
        if known.size and name not in flags and known.min() == known.max():
            flags[name] = "constant"
    return flags


def unknown_at(features: Features, site: str) -> list[str]:
    """Features that are known of no scan of a site."""
    known = np.atleast_1d(np.isfinite(features.values[features.rows([site])]).any(axis=0))
    return [features.names[n] for n in np.flatnonzero(~known).tolist()]


def spreads_of(features: Features, terms: Sequence[Term], pooled: Pooled, reference: str | None) -> tuple[Values, Values]:
    """What covariates do to the spread of features, beside the sites.

    By least squares of the logarithm of the pooled fit's noise, on the same columns. The noise is without the persons' intercepts
    where they have some, as is all that is divided by the standard deviation.

    Args:
        features: of the fit.
        terms: covariates.
        pooled: that fit.
        reference: its reference site, if any: the standard deviations are of that site's scans.

    Returns:
        the pooled standard deviations (f,) once that is taken off, and by how much a unit of each column of the terms adds to the
        logarithm of the standard deviation, (k, f).
    """
    covariates, site = covariate_columns(features, terms), np.array(features.site)
    design, sites = np.concatenate([site_columns(features), covariates], axis=1), len(features.sites)
    spreads, sd = np.zeros((covariates.shape[1], len(features.names))), pooled.sd.copy()
    for number, name in enumerate(features.names):
        if name in pooled.flags:
            continue
        known = np.isfinite(pooled.noise[:, number])
        noise = pooled.noise[known, number]
        logs = np.log(np.maximum(np.abs(noise), SAME * sd[number]))
        spreads[:, number] = np.linalg.lstsq(design[known], logs, rcond=None)[0][sites:]
        narrowed = noise / np.exp(covariates[known] @ spreads[:, number])
        sd[number] = np.sqrt(np.mean(narrowed[_spread_of(site[known], reference)] ** 2))
    return sd, spreads
