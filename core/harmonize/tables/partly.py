"""ComBat of a table whose covariates are known in part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.errors import FeaturesError
from core.harmonize.tables.combat import FEWEST, Combat
from core.harmonize.tables.design import complete
from core.harmonize.tables.table import Features


def fit_partly(features: Features, preserve: Sequence[str], reference_site: str | None = None, **options: Any) -> Combat:
    """Fitted on the scans whose covariates are known; what is unknown is taken as the mean, also to learn what a site does.

    A site of which at most half are known, and fewer than ``FEWEST``, tells what it does by all its scans: a mean over many, as
    of mean age, is nearer than that over a few of known age.

    Args:
        features: all sites' scans.
        preserve: covariates whose effects are kept.
        reference_site: as of ``Combat.fit``; its scans of known covariates are the scale, however few.
        options: as of ``Combat.fit``.

    Raises:
        FeaturesError: as ``Combat.fit``; reference-site, also where fewer than two of its scans are known.
    """
    known = complete(features, preserve)
    every, whole = Counter(features.site), Counter(known.site)
    if reference_site is not None and whole[reference_site] < 2 <= every[reference_site]:
        covariates = " and ".join(preserve)
        wanted = f"a reference site with two scans or more of known {covariates}"
        remedy = f"complete {covariates} of its persons, choose another site, or --preserve none"
        raise FeaturesError(
            "reference-site", wanted, f"{whole[reference_site]} of {every[reference_site]} of {reference_site}", remedy
        )
    few = {site for site, count in whole.items() if count < FEWEST and 2 * count <= every[site] and site != reference_site}
    others = known.select(known.rows([site for site in known.sites if site not in few]))
    fitted = Combat.fit(others if len(others) >= FEWEST else known, preserve, reference_site, **options)
    return fitted.extend(features, 1, missing="mean")
