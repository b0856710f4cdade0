"""What a table must have for ComBat to be fitted: features, sites of several scans, covariates that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from core.errors import FeaturesError
from core.harmonize.tables.design import lacking
from core.harmonize.tables.table import Features, some

Single = Literal["location", "refuse"]


def check_reference(features: Features, reference: str | None) -> None:
    """Refuse a table without features, and a reference site that cannot be one.

    Raises:
        FeaturesError: features-none, reference-site.
    """
    if not features.names or not len(features):
        got = f"{len(features)} scans, {len(features.names)} features"
        raise FeaturesError("features-none", "scans with features", got, "measure them first")
    if reference is not None and Counter(features.site)[reference] < 2:
        got = f"{Counter(features.site)[reference]} of {reference}"
        remedy = f"choose one of {some(name for name, count in Counter(features.site).items() if count > 1)}"
        raise FeaturesError("reference-site", "a reference site with two scans or more", got, remedy)


def check_singles(features: Features, single: Single) -> None:
    """Refuse a site of one scan, where that is wanted.

    Raises:
        FeaturesError: site-single.
    """
    singles = sorted(site for site, count in Counter(features.site).items() if count == 1)
    if singles and single == "refuse":
        remedy = 'leave it out, merge it with another, or take away its location only (single="location")'
        raise FeaturesError("site-single", "two scans or more of each site", f"one of {some(singles)}", remedy)


def check_known(features: Features, preserve: Sequence[str]) -> None:
    """Refuse scans whose covariates are not known.

    Raises:
        FeaturesError: covariate-missing.
    """
    absent = {name: column for name, column in features.covariates.items() if name in preserve}
    if without := lacking(features, list(absent)):
        scan, names = next(iter(without.items()))
        got = f"{len(without)} without, first {scan} without {names}"
        remedy = 'complete the table, leave these scans out, or (in apply) take the mean (missing="mean")'
        raise FeaturesError("covariate-missing", f"{some(preserve)} of each scan", got, remedy)


def check_enough(features: Features, width: int) -> None:
    """Refuse fewer scans than a fit has unknowns.

    Raises:
        FeaturesError: scans-few.
    """
    if len(features) <= width:
        wanted = f"more scans than sites and columns of covariates ({width})"
        remedy = "add scans, merge sites, or preserve fewer covariates"
        raise FeaturesError("scans-few", wanted, str(len(features)), remedy)
