"""What is known of each scan as columns of a linear model: sites, and covariates that are to be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from core.errors import FeaturesError
from core.harmonize.tables.table import CATEGORIES, Covariate, Features, Values, some

SAME = 1e-9  # share of a column's norm below which what others leave of it is rounding
DEGREE = 3  # of splines
THIRDS = 1 / 3, 2 / 3  # of the different values: where a spline's knots are
FEWEST = 8  # different values that a spline takes
NEAR = 0.95  # share of a covariate that the sites tell, from which it is hardly separable


@dataclass(frozen=True)
class Term:
    """A covariate in a linear model: a number by one column, or by those of a cubic B-spline; a category of k levels by k - 1.

    Columns are centred on the scans that it was fitted on, so that 0 stands for their mean.

    Attributes:
        name: of the covariate.
        levels: of a category, sorted; None for a number.
        centre: mean of each column.
        low: least number that was seen; 0 for a category.
        high: the largest.
        knots: within these of the spline; None for a straight line.
    """

    name: str
    levels: tuple[str, ...] | None
    centre: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0
    knots: tuple[float, ...] | None = None

    @classmethod
    def of(cls, name: str, values: Covariate, *, smooth: bool = False) -> Term:
        """Fit to the known values; a name such as "sex" is a category even where it is coded by numbers.

        Args:
            name: of the covariate.
            values: of the scans.
            smooth: a number by a spline with knots at its thirds, where it has values enough to tell.
        """
        known = [value for value in values if value is not None]
        if name in CATEGORIES or any(isinstance(value, str) for value in known):
            levels = tuple(sorted({_level(value) for value in known}))
            columns = np.array([[_level(value) == level for level in levels[1:]] for value in known], dtype=np.float64)
            return cls(name, levels, tuple(columns.reshape(len(known), -1).mean(axis=0).tolist()) if known else ())
        numbers = [float(value) for value in known]
        if not numbers:
            return cls(name, (), ())
        if smooth and len(set(numbers)) >= FEWEST:
            line = cls(name, None, (0.0,) * (len(THIRDS) + DEGREE), min(numbers), max(numbers), _thirds(numbers))
            return replace(line, centre=tuple(np.mean([line._spline(value) for value in numbers], axis=0).tolist()))
        return cls(name, None, (float(np.mean(numbers)),), min(numbers), max(numbers))

    @property
    def constant(self) -> bool:
        """Whether all scans have the same; then there is nothing to keep."""
        return self.low == self.high if self.levels is None else len(self.levels) < 2

    def columns(self, values: Covariate, scans: Sequence[str]) -> Values:
        """Columns (n, k) for ``values``; zeros, the mean, where one is unknown.

        Raises:
            FeaturesError: a level that was not fitted, or a text for a number.
        """
        rows = [self._row(value, scan) for value, scan in zip(values, scans, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(len(values), len(self.centre))

    def unseen(self, value: float | str | None) -> bool:
        """Whether a value is a level that was not fitted."""
        return self.levels is not None and value is not None and _level(value) not in self.levels

    def _row(self, value: float | str | None, scan: str) -> list[float]:
        if value is None:
            return [0.0] * len(self.centre)
        if self.levels is None and self.knots is not None:
            columns = self._spline(_number(self.name, value, scan))
            return [column - centre for column, centre in zip(columns, self.centre, strict=True)]
        if self.levels is None:
            return [_number(self.name, value, scan) - self.centre[0]]
        level = _level(value)
        if self.unseen(value):
            wanted, got = f"{self.name} among {some(self.levels)}", f"{level} of {scan}"
            raise FeaturesError("covariate-level", wanted, got, "fit on scans of that level too, or correct the table")
        return [float(level == other) - centre for other, centre in zip(self.levels[1:], self.centre, strict=True)]

    def _spline(self, value: float) -> list[float]:
        """The basis of the cubic B-splines at a value but the first, for all of them sum to 1; beyond the fit as at its end."""
        from scipy.interpolate import BSpline

        ends = [self.low] * (DEGREE + 1), [self.high] * (DEGREE + 1)
        knots = np.array([*ends[0], *(self.knots or ()), *ends[1]])
        row = BSpline.design_matrix([min(max(value, self.low), self.high)], knots, DEGREE).toarray()[0]
        return [float(share) for share in row[1:]]

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return {name: value for name, value in asdict(self).items() if name != "knots" or value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Term:
        """From what ``to_json`` gave."""
        levels = None if value["levels"] is None else tuple(value["levels"])
        knots = value.get("knots")
        about = (value["name"], levels, tuple(value["centre"]), value["low"], value["high"])
        return cls(*about, None if knots is None else tuple(knots))


def _thirds(numbers: Sequence[float]) -> tuple[float, ...]:
    first, second = np.quantile(np.unique(numbers), THIRDS).tolist()
    return first, second


def _level(value: float | str) -> str:
    """A category as a text: 1 and 1.0 are one."""
    return value if isinstance(value, str) else f"{value:g}"


def _number(name: str, value: float | str, scan: str) -> float:
    if isinstance(value, str):
        raise FeaturesError("covariate-text", f"a number for {name}", f"{value!r} of {scan}", "correct the table")
    return float(value)


def terms_of(features: Features, names: Sequence[str], *, smooth: bool = False) -> tuple[Term, ...]:
    """The covariates of ``names`` as terms, numbers by splines where ``smooth``; those that are constant are left out.

    Raises:
        FeaturesError: the table has no such covariate.
    """
    if missing := [name for name in names if name not in features.covariates]:
        wanted, got = f"columns for {some(names)}", f"no {some(missing)}"
        raise FeaturesError("covariate-column", wanted, got, "add the column, or do not ask to preserve it")
    terms = [Term.of(name, features.covariates[name], smooth=smooth) for name in names]
    return tuple(term for term in terms if not term.constant)


def covariate_columns(features: Features, terms: Sequence[Term]) -> Values:
    """All terms' columns (n, k), k 0 where there is none.

    Raises:
        FeaturesError: as ``Term.columns``; or a table without that covariate.
    """
    if missing := [term.name for term in terms if term.name not in features.covariates]:
        remedy = "add the column; the model keeps the effects of these covariates"
        raise FeaturesError("covariate-column", f"columns for {some(missing)}", "none", remedy)
    columns = [term.columns(features.covariates[term.name], features.scans) for term in terms]
    return np.concatenate([np.zeros((len(features), 0)), *columns], axis=1)


def site_columns(features: Features) -> Values:
    """A column (n, s) of 0 and 1 for each of ``features.sites``."""
    return np.array([[site == name for name in features.sites] for site in features.site], dtype=np.float64).reshape(
        len(features), len(features.sites)
    )


def lacking(features: Features, names: Sequence[str]) -> dict[str, str]:
    """Scans of which a covariate is unknown, with the names of what is."""
    known = {name: features.covariates.get(name, (None,) * len(features)) for name in names}
    absent = {scan: [name for name in names if known[name][row] is None] for row, scan in enumerate(features.scans)}
    return {scan: " and ".join(missing) for scan, missing in absent.items() if missing}


def as_fitted(features: Features, terms: Sequence[Term]) -> Features:
    """The scans with levels that were not fitted as unknown."""
    known = {
        term.name: tuple(None if term.unseen(value) else value for value in features.covariates[term.name])
        for term in terms
        if term.name in features.covariates
    }
    return replace(features, covariates={**features.covariates, **known})


def complete(features: Features, names: Sequence[str]) -> Features:
    """The scans of which all covariates of ``names`` are known."""
    without = lacking(features, names)
    return features.select([row for row, scan in enumerate(features.scans) if scan not in without])


def told(column: Values, by: Values) -> float:
    """The share of a column (n,) or of columns (n, k), each centred, that a linear model of ``by`` (n, m) tells: R², 0 to 1."""
    centred = column - column.mean(axis=0)
    left = centred - by @ np.linalg.lstsq(by, centred, rcond=None)[0]
    total = float((centred**2).sum())
    return 1.0 - float((left**2).sum()) / total if total else 1.0


def check_separable(features: Features, terms: Sequence[Term]) -> dict[str, str]:
    """Refuse covariates that the site, or the site and the others, determine.

    Returns:
        covariates that are almost determined by the site, with a sentence each; their effect is hardly told from the site's.

    Raises:
        FeaturesError: "covariate-confounded", with the names.
    """
    sites, names = site_columns(features), [term.name for term in terms]
    columns = [term.columns(features.covariates[term.name], features.scans) for term in terms]
    by_site = {name: told(column, sites) for name, column in zip(names, columns, strict=True)}
    whole = np.concatenate([sites, *columns], axis=1)
    if _rank(whole) < whole.shape[1]:
        culprits = [name for name, each in zip(names, columns, strict=True) if _rank_lost(each, sites)]
        got = f"the site determines {some(culprits)}" if culprits else f"site and {some(names)} determine one another"
        remedy = "add scans that differ within a site, or do not preserve it (the effect then goes with the site)"
        raise FeaturesError("covariate-confounded", f"{some(names)} to vary within the sites", got, remedy)
    return {
        name: f"the site tells {share:.0%} of {name}: its effect is hardly told from the site's"
        for name, share in by_site.items()
        if share >= NEAR
    }


def apart(features: Features, terms: Sequence[Term]) -> dict[str, str]:
    """What to know of covariates whose values sites have not in common: numbers, such as ages, and words for a category.

    Of ages that two sites do not share the effect is told by the model, not by the scans; a third word for a category that one
    site alone has may be for what others call otherwise.
    """
    notes = {}
    for term in terms:
        values = {site: _known_at(features, term.name, site) for site in features.sites}
        if note := _words_apart(term, values) if term.levels is not None else _ends_apart(term, values):
            notes[term.name] = note
    return notes


def _known_at(features: Features, name: str, site: str) -> list[float | str]:
    return [value for row in features.rows([site]) if (value := features.covariates[name][row]) is not None]


def _ends_apart(term: Term, values: Mapping[str, Sequence[float | str]]) -> str:
    numbers = {site: [float(value) for value in known if not isinstance(value, str)] for site, known in values.items()}
    ends = {site: (min(known), max(known)) for site, known in numbers.items() if known}
    pairs = [(a, b) for a in ends for b in ends if a < b and (ends[a][1] < ends[b][0] or ends[b][1] < ends[a][0])]
    if not pairs:
        return ""
    names = some(f"{a} and {b}" for a, b in pairs)
    return f"{names} have no {term.name} in common: what is the site's and what the {term.name}'s is a guess"


def _words_apart(term: Term, values: Mapping[str, Sequence[float | str]]) -> str:
    words = {site: {_level(value) for value in known} for site, known in values.items()}
    where = {level: [site for site, known in words.items() if level in known] for level in term.levels or ()}
    alone = [f"{level} at {sites[0]}" for level, sites in where.items() if len(sites) == 1]
    if len(where) < 3 or len(words) < 2 or not alone:
        return ""
    return f"a word of one site alone ({some(alone)}): where others have another word for it, write it as they do"


def _rank(columns: Values) -> int:
    """Rank after scaling each column to one length."""
    lengths = np.linalg.norm(columns, axis=0)
    scaled = columns / np.where(lengths > 0, lengths, 1.0)
    return int(np.linalg.matrix_rank(scaled, tol=SAME * max(columns.shape)))


def _rank_lost(columns: Values, others: Values) -> bool:
    """Whether ``columns`` add less than their own number to the rank of ``others``."""
    gained = _rank(np.concatenate([others, columns], axis=1)) - _rank(others)
    return gained < int(columns.shape[1])
