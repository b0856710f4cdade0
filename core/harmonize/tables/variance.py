"""How much of each feature the site, age and sex explain: the site's share should go, the others' should stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.significance import holm
from core.harmonize.tables.design import SAME, Term, complete, covariate_columns, site_columns, terms_of
from core.harmonize.tables.table import Features, Values

SITE = "site"
SURE = 0.05  # p after Holm
FEWEST = 3  # degrees of freedom of an interval
Z95 = 1.959964  # of a normal distribution, both sides of 95 %
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """What one factor explains of a feature, the others held fixed.

    Attributes:
        partial: partial R² (for a category the partial eta²), 0 to 1: of what the other factors leave, the part that this one
            explains. By chance alone its mean is columns / (n - 1 - columns of the others), so that small cohorts are never at 0.
        p: of the F test.
        p_holm: the same, adjusted over the features (Holm 1979).
        effect: of one more unit of a number, or of the second of two levels over the first, in the feature's unit; else None.
        error: standard error of the effect.
        n: scans of a site's share, persons of another's.
        free: degrees of freedom that the whole model leaves.
    """

    partial: float
    p: float
    p_holm: float
    effect: float | None
    error: float | None
    n: int
    free: int = 0

    @property
    def correlation(self) -> tuple[float, float, float] | None:
        """Of the feature with the factor, all others held fixed: partial r and its 95 % interval by Fisher's z.

        Within sites, where the sites are among the others; None of a factor of several columns, or of too few scans.
        """
        if self.effect is None or self.free < FEWEST:
            return None
        r = float(np.copysign(np.sqrt(min(self.partial, 1 - SAME)), self.effect))
        z, half = np.arctanh(r), Z95 / np.sqrt(self.free - 1)
        return r, float(np.tanh(z - half)), float(np.tanh(z + half))


@dataclass(frozen=True)
class _Fit:
    """A linear model: what it leaves, its rank, and the coefficients of its last columns."""

    rest: float
    rank: int
    slopes: Values
    errors: Values


def explained(features: Features, covariates: Sequence[str] = ("age", "sex")) -> dict[str, dict[str, Share]]:
    """What site and covariates explain of each feature.

    The site's share is of all scans, unknown covariates taken as the mean. That of a covariate is of the scans of which all
    covariates are known, as means by person (of the sites too, for who was seen at several): age and sex are the person's, so
    that further scans of one tell no more of them. Left out are factors that cannot be told apart (a covariate that is the same
    for all scans of a site) or are the same for all scans, and features that do not vary.

    Args:
        features: of all sites.
        covariates: those that the table does not have, or not vary, are left out.

    Returns:
        by factor ("site", then the covariates), by feature.
    """
    present = [name for name in covariates if any(value is not None for value in features.covariates.get(name, ()))]
    terms = terms_of(features, present)
    names = [term.name for term in terms]
    whole = complete(features, names)
    shares = {SITE: _by_feature(features, terms, None)} | {term.name: _by_feature(whole, terms, term) for term in terms}
    return {factor: _adjusted(by_feature) for factor, by_feature in shares.items() if by_feature}


def giving(features: Features, most: int = 6) -> list[tuple[str, float]]:
    """The features that give the site away, those most that do it most: name, and the site's partial R², surely above chance."""
    shares = explained(features).get(SITE, {})
    sure = sorted((-share.partial, name) for name, share in shares.items() if share.p_holm < SURE)
    return [(name, -partial) for partial, name in sure[:most]]


def _adjusted(shares: Mapping[str, Share]) -> dict[str, Share]:
    ps = holm([share.p for share in shares.values()])
    return {name: replace(share, p_holm=p) for (name, share), p in zip(shares.items(), ps, strict=True)}


def _by_feature(features: Features, terms: Sequence[Term], term: Term | None) -> dict[str, Share]:
    """The share of a term, or of the site (None), of each feature that it can be told of."""
    others = [covariate_columns(features, [other]) for other in terms if other is not term]
    sites = site_columns(features)
    ones = np.ones((len(features), 1))
    tested = sites if term is None else covariate_columns(features, [term])
    rest = np.concatenate([ones if term is None else sites, *others], axis=1)
    who = np.arange(len(features)) if term is None else np.unique(features.persons, return_inverse=True)[1]
    values = zip(features.names, features.values.T, strict=True)
    parts = {name: _share(column, rest, tested, term, who) for name, column in values}
    return {name: share for name, share in parts.items() if share is not None}


def _share(values: Values, rest: Values, tested: Values, term: Term | None, who: Labels) -> Share | None:
    """Of means over the scans of which the feature is known and ``who`` (n,) is the same."""
    from scipy.stats import f as fisher

    known = np.isfinite(values)
    whole, without, factor = (_means(columns[known], who[known]) for columns in (values[:, None], rest, tested))
    if len(whole) < 3:
        return None
    y = whole[:, 0] - whole.mean()
    small, full = _fit(y, without), _fit(y, np.concatenate([without, factor], axis=1))
    steps, free = full.rank - small.rank, len(y) - full.rank
    if steps < 1 or free < 1 or small.rest <= SAME**2 * float((whole**2).sum()):
        return None
    partial = max(0.0, 1.0 - full.rest / small.rest)
    ratio = ((small.rest - full.rest) / steps) / (full.rest / free) if full.rest > 0 else np.inf
    single = term is not None and len(term.centre) == 1 and steps == 1
    effect, error = (float(full.slopes[-1]), float(full.errors[-1])) if single else (None, None)
    return Share(partial, float(fisher.sf(max(ratio, 0.0), steps, free)), 1.0, effect, error, len(y), free)


def _means(columns: Values, who: Labels) -> Values:
    """Of columns (n, k), by what is the same in ``who`` (n,)."""
    names, rows, counts = np.unique(who, return_inverse=True, return_counts=True)
    sums: Values = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, rows, columns)
    return sums / counts[:, None]


def _fit(y: Values, columns: Values) -> _Fit:
    """Least squares by singular values; columns that others make superfluous do not count."""
    u, sizes, v = np.linalg.svd(columns, full_matrices=False)
    used = sizes > SAME * sizes.max(initial=0.0)
    u, sizes, v = u[:, used], sizes[used], v[used]
    left = y - u @ (u.T @ y)
    rest, free = float(left @ left), len(y) - len(sizes)
    errors = np.sqrt(((v.T / sizes) ** 2).sum(axis=1) * rest / max(free, 1))
    return _Fit(rest, len(sizes), (v.T / sizes) @ (u.T @ y), errors)
