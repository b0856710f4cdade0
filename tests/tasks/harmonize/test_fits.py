"""ComBat of a table whose ages and sexes are known in part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import FeaturesError
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize.fits import fitted_on
from tests.core.harmonize.tables.sites import cohort


def test_where_no_scan_has_both_age_and_sex_that_is_said() -> None:
    table = cohort({"a": 10, "b": 10})
    ages, sexes = table.covariates["age"], table.covariates["sex"]
    half = {"age": (*ages[:10], *[None] * 10), "sex": (*[None] * 10, *sexes[10:])}
    settings = HarmonizeSettings(sites=("x",), out="out")
    with pytest.raises(FeaturesError, match=r"covariate-missing: expected scans with age and sex, but got none that has both\. "):
        fitted_on(settings, replace(table, covariates=half))
    assert fitted_on(settings.model_copy(update={"preserve": ("age",)}), replace(table, covariates=half)).sites == ("a", "b")
