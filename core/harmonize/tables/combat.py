"""ComBat: the sites' locations and scales taken from features, the effects of age and sex kept.

Johnson et al., Biostatistics 8 (2007); for imaging Fortin et al., Harmonization of cortical thickness measurements across
scanners and sites, NeuroImage 167 (2018). A feature y of a scan at site i with covariates x is

    y = mean + x · slopes + sd · (location_i + sqrt(scale_i) · noise)      and becomes      mean + x · slopes + sd · noise

where mean, slopes and sd are pooled over the sites (or are the reference site's), and location and scale come from empirical
Bayes. Scans count as independent of one another, also several of a person, but where each has an intercept (``persons``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from core.errors import FeaturesError
from core.harmonize.tables import conditions
from core.harmonize.tables.bayes import Effect, Moments, effect_of
from core.harmonize.tables.design import (
    Term,
    apart,
    as_fitted,
    check_separable,
    covariate_columns,
    lacking,
    site_columns,
    terms_of,
)
from core.harmonize.tables.persons import linear, means_by_site, own
from core.harmonize.tables.pooled import Pooled, spreads_of, unknown_at
from core.harmonize.tables.table import Features, Values, some

KIND, VERSION = "combat", 1
FEWEST = 10  # scans of an unseen site that are enough to estimate what it does
SMALL = 5  # scans of a site below which it is flagged

Unseen = Literal["refuse", "fit"]
Missing = Literal["refuse", "mean"]


@dataclass(frozen=True, eq=False)
class Combat:
    """A fitted harmonisation of f features.

    Attributes:
        names: of the features.
        terms: covariates whose effects are kept.
        mean: float64 (f,), of a scan with mean covariates, pooled over the sites or of the reference site.
        slopes: float64 (k, f), by the terms' columns.
        sd: float64 (f,), pooled.
        effects: of each site.
        counts: scans that each site was fitted on.
        reference: the site that stays as it is, if any.
        feature_flags: features that are returned as they came, with the reason.
        site_flags: sites whose effects are uncertain, with the reason.
        notes: what else to know, by covariate.
        spreads: float64 (k, f), what the terms' columns add to the logarithm of the standard deviation; None: nothing.
        bayes: whether the sites' effects are drawn together over the features.
        ratio: float64 (f,), of the variance of a person's intercept to that of the noise; None: persons have none.
        moments: of the sites' features, while the model is being fitted: what the effects are drawn of. No part of its JSON.
    """

    names: tuple[str, ...]
    terms: tuple[Term, ...]
    mean: Values
    slopes: Values
    sd: Values
    effects: Mapping[str, Effect]
    counts: Mapping[str, int]
    reference: str | None = None
    feature_flags: Mapping[str, str] = field(default_factory=dict)
    site_flags: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    spreads: Values | None = None
    bayes: bool = True
    ratio: Values | None = None
    moments: Mapping[str, Moments] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        features: Features,
        preserve: Sequence[str] = ("age", "sex"),
        reference_site: str | None = None,
        *,
        single: conditions.Single = "location",
        bayes: bool = True,
        spread: bool = False,
        smooth: bool = False,
        intercept: bool = False,
    ) -> Combat:
        """Learn what each site does.

        A site of one scan tells a location, not a scale: by default that is taken away, drawn towards the mean over its
        features, and the site is flagged. With one site there is nothing to compare with: all stays as it is. Features that do
        not vary within the sites, or are unknown for all scans of a site, stay as they are and are flagged.

        Args:
            features: all sites' scans.
            preserve: covariates whose effects are kept; numbers linearly, texts as categories.
            reference_site: the site whose scale the others are brought to; default: the mean of all scans.
            single: "refuse" a site of one scan instead.
            bayes: draw the sites' effects together over the features (empirical Bayes); else each feature stands alone.
            spread: keep what the covariates do to the spread of a feature, too (ComBatLS: Gardner et al. 2024); without it the
                site of those who differ more from each other, as the old do, is made as narrow as the others.
            smooth: keep effects of numbers as a cubic spline has them, not a straight line.
            intercept: give each person an intercept, so that repeated scans of one do not weigh as several (longitudinal ComBat:
                Beer et al. 2020).

        Raises:
            FeaturesError: "covariate-missing" of a scan, "covariate-confounded" with the site, "site-single", "reference-site",
                "scans-few", "features-none".
        """
        conditions.check_reference(features, reference_site)
        conditions.check_singles(features, single)
        conditions.check_known(features, preserve)
        terms = terms_of(features, preserve, smooth=smooth)
        notes = {name: f"{name} is the same for all scans" for name in preserve if name not in {term.name for term in terms}}
        near, far = check_separable(features, terms), apart(features, terms)
        notes |= {name: "; ".join(said[name] for said in (far, near) if name in said) for name in far | near}
        pooled = Pooled.of(features, terms, reference_site, intercept=intercept)
        sd, spreads = spreads_of(features, terms, pooled, reference_site) if spread and terms else (pooled.sd, None)
        about: tuple[Any, ...] = (reference_site, pooled.flags, {}, notes, spreads, bayes, pooled.ratio)
        fitted = cls(features.names, terms, pooled.mean, pooled.slopes, sd, {}, {}, *about)
        return fitted._with_sites(features, features.sites, site_columns(features) @ pooled.shifts)

    def _with_sites(self, features: Features, sites: Sequence[str], shifts: Values) -> Combat:
        """The effects of ``sites`` estimated, all else as it is.

        Args:
            features: scans of these sites.
            sites: to be estimated.
            shifts: (n, f), what each scan's site adds, as far as it is known beside the persons' intercepts.
        """
        counts = dict(self.counts) | {name: count for name, count in Counter(features.site).items() if name in sites}
        left = features.values - self._expected(features)
        standardised = (left - self._persons(left - shifts, features)) / self._sd(features)
        moments = {
            site: Moments.of(standardised[features.rows([site])])
            for site in sites
            if site != self.reference and len(counts) > 1  # one alone has nothing to be compared with
        }
        flags = {site: _site_flag(counts[site]) for site in sites if counts[site] < SMALL and site != self.reference}
        said = dict(self.site_flags) | flags
        grown: Combat = replace(self, counts=counts, site_flags=said, moments=dict(self.moments) | moments)
        return grown._drawn(sites)

    def _drawn(self, sites: Sequence[str]) -> Combat:
        """The effects of ``sites`` from their moments, over all features that are fitted; none where a site has no moments."""
        used = np.array([name not in self.feature_flags for name in self.names], dtype=bool)
        effects = dict(self.effects)
        for site in sites:
            effects[site] = Effect(np.zeros(len(self.names)), np.ones(len(self.names)))
            if site in self.moments and used.any():
                effect = effect_of(self.moments[site].at(used), drawn_together=self.bayes)
                effects[site].location[used], effects[site].scale[used] = effect.location, effect.scale
        return replace(self, effects=effects)

    def _expected(self, features: Features) -> Values:
        """What mean and covariates tell of each scan: (n, f)."""
        expected: Values = self.mean + linear(covariate_columns(features, self.terms), self.slopes)
        return expected

    def _sd(self, features: Features) -> Values:
        """The standard deviation of each scan's features: (f,), or (n, f) where covariates change it."""
        if self.spreads is None:
            return self.sd
        wider: Values = self.sd * np.exp(linear(covariate_columns(features, self.terms), self.spreads))
        return wider

    def _persons(self, left: Values, features: Features) -> Values | float:
        """The intercepts of the persons, (n, f), from what all else leaves; 0 where they have none."""
        return 0.0 if self.ratio is None else own(left, features.persons, self.ratio)

    @classmethod
    def joined(cls, parts: Sequence[Combat]) -> Combat:
        """One ComBat of those of different features of the same scans, the sites' effects drawn of all features."""
        first = parts[0]
        spreads = [part.spreads for part in parts if part.spreads is not None]
        ratios = [part.ratio for part in parts if part.ratio is not None]
        whole: Combat = replace(
            first,
            names=tuple(name for part in parts for name in part.names),
            mean=np.concatenate([part.mean for part in parts]),
            slopes=np.concatenate([part.slopes for part in parts], axis=1),
            sd=np.concatenate([part.sd for part in parts]),
            feature_flags={name: why for part in parts for name, why in part.feature_flags.items()},
            notes={name: why for part in parts for name, why in part.notes.items()},
            spreads=np.concatenate(spreads, axis=1) if spreads else None,
            ratio=np.concatenate(ratios) if ratios else None,
            moments={site: Moments.joined([part.moments[site] for part in parts]) for site in first.moments},
        )
        return whole._drawn(first.sites)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that are known, sorted."""
        return tuple(sorted(self.effects))

    def extend(self, features: Features, fewest: int = FEWEST, *, missing: Missing = "refuse") -> Combat:
        """Learn the sites that are not known yet; mean, slopes, sd and all known sites stay as they are, bit by bit.

        Args:
            features: scans, of known sites too.
            fewest: scans that an unseen site must have.
            missing: what to do with a scan of which a covariate is unknown: refuse it, or take the "mean" of the fit's scans,
                as of one whose level was not fitted.

        Raises:
            FeaturesError: "site-small" for one with fewer, "covariate-missing", or as ``apply``.
        """
        new = [site for site in features.sites if site not in self.effects]
        counts = Counter(features.site)
        if small := {site: counts[site] for site in new if counts[site] < fewest}:
            got = ", ".join(f"{count} of {site}" for site, count in small.items())
            remedy = "wait for more scans, or fit again with all sites"
            raise FeaturesError("site-small", f"at least {fewest} scans of a new site", got, remedy)
        theirs = features.only(self.names).select(features.rows(new))
        if missing == "refuse":
            conditions.check_known(theirs, [term.name for term in self.terms])
        else:
            theirs = as_fitted(theirs, self.terms)
        if unknown := [name for site in new for name in unknown_at(theirs, site) if name not in self.feature_flags]:
            got = f"none of {some(dict.fromkeys(unknown))}"
            raise FeaturesError("site-unknown-feature", "known values of each feature at a new site", got, "measure it there too")
        return self._with_sites(theirs, new, means_by_site(theirs.values - self._expected(theirs), theirs))

    def apply(
        self, features: Features, *, unseen: Unseen = "refuse", missing: Missing = "refuse", fewest: int = FEWEST
    ) -> Features:
        """Bring scans to the common scale; unknown values stay unknown, those of the reference site stay bit by bit.

        Args:
            features: scans; those of the fit, or others of its sites.
            unseen: what to do with a site that was not in the fit: refuse it, or "fit" its effect to these very scans.
            missing: what to do with a scan of which a covariate is unknown: refuse it, or take the "mean" of the fit's scans,
                as of one whose level was not fitted.
            fewest: scans that an unseen site must have to be fitted.

        Returns:
            the same scans with the features of ``names``, in that order.

        Raises:
            FeaturesError: "site-unseen", "site-small", "covariate-missing", "covariate-level", "feature-missing".
        """
        features = features.only(self.names)
        if unseen == "fit":
            return self.extend(features, fewest, missing=missing).apply(features, missing=missing)
        if new := [site for site in features.sites if site not in self.effects]:
            wanted = f"scans of the sites {some(self.sites)}"
            remedy = 'fit again with all sites, or estimate the new one from its own scans (unseen="fit")'
            raise FeaturesError("site-unseen", wanted, f"some of {some(new)}", remedy)
        if missing == "refuse":
            conditions.check_known(features, [term.name for term in self.terms])
        if not len(features):
            return features
        location = np.stack([self.effects[site].location for site in features.site])
        scale = np.stack([self.effects[site].scale for site in features.site])
        known = features if missing == "refuse" else as_fitted(features, self.terms)
        expected, sd = self._expected(known), self._sd(known)
        expected = expected + self._persons(features.values - expected - sd * location, features)
        harmonised = (features.values - expected - sd * location) / np.sqrt(scale) + expected
        return features.with_values(np.where((location == 0) & (scale == 1), features.values, harmonised))

    def flags(self, features: Features) -> dict[str, str]:
        """Scans whose harmonised features are to be taken with care, with the reasons."""
        without = lacking(features, [term.name for term in self.terms])
        reasons: dict[str, list[str]] = {scan: [] for scan in features.scans}
        for row, (scan, site) in enumerate(zip(features.scans, features.site, strict=True)):
            if site not in self.effects:
                reasons[scan].append(f"site {site} was not in the fit")
            elif site in self.site_flags:
                reasons[scan].append(f"site {site}: {self.site_flags[site]}")
            if scan in without:
                reasons[scan].append(f"{without[scan]} unknown, mean taken")
            reasons[scan] += [text for term in self.terms if (text := _beyond(term, features.covariates[term.name][row]))]
        return {scan: "; ".join(texts) for scan, texts in reasons.items() if texts}

    def to_json(self) -> dict[str, Any]:
        """As a JSON value that keeps all bits."""
        return {
            "kind": KIND,
            "version": VERSION,
            "names": list(self.names),
            "terms": [term.to_json() for term in self.terms],
            "mean": self.mean.tolist(),
            "slopes": self.slopes.tolist(),
            "sd": self.sd.tolist(),
            "effects": {
                site: {"location": effect.location.tolist(), "scale": effect.scale.tolist()}
                for site, effect in self.effects.items()
            },
            "counts": dict(self.counts),
            "reference": self.reference,
            "feature_flags": dict(self.feature_flags),
            "site_flags": dict(self.site_flags),
            "notes": dict(self.notes),
        } | self._later()

    def _later(self) -> dict[str, Any]:
        """What came later is said where it is not as usual."""
        spreads = {} if self.spreads is None else {"spreads": self.spreads.tolist()}
        ratio = {} if self.ratio is None else {"ratio": self.ratio.tolist()}
        return spreads | ratio | ({} if self.bayes else {"bayes": False})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Combat:
        """From what ``to_json`` gave.

        Raises:
            FeaturesError: a value of another kind or version.
        """
        if (stated := (value.get("kind"), value.get("version"))) != (KIND, VERSION):
            remedy = "fit the harmonisation again with this version"
            raise FeaturesError("combat-version", f"{KIND}, version {VERSION}", "{}, version {}".format(*stated), remedy)
        effects = {
            site: Effect(np.array(effect["location"], np.float64), np.array(effect["scale"], np.float64))
            for site, effect in value["effects"].items()
        }
        names, terms = tuple(value["names"]), tuple(Term.from_json(term) for term in value["terms"])
        slopes = np.array(value["slopes"], np.float64).reshape(-1, len(names))
        mean, sd = np.array(value["mean"], np.float64), np.array(value["sd"], np.float64)
        flags = value["feature_flags"], value["site_flags"], value["notes"]
        said = value.get("spreads")
        spreads = None if said is None else np.array(said, np.float64).reshape(-1, len(names))
        ratio = None if value.get("ratio") is None else np.array(value["ratio"], np.float64)
        later = (spreads, bool(value.get("bayes", True)), ratio)
        return cls(names, terms, mean, slopes, sd, effects, value["counts"], value["reference"], *flags, *later)


def _site_flag(count: int) -> str:
    if count == 1:
        return "one scan; its location was removed, not its scale"
    return f"{count} scans only; its effect is uncertain"


def _beyond(term: Term, value: float | str | None) -> str:
    """Why a scan is beyond the numbers and levels that were fitted, or nothing."""
    if term.unseen(value):
        return f"{term.name} {value} was not in the fit, mean taken"
    if term.levels is not None or not isinstance(value, (int, float)) or term.low <= value <= term.high:
        return ""
    return f"{term.name} {value:g} beyond the fit's {term.low:g} to {term.high:g}"
