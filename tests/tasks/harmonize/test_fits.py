"""ComBat of a table whose ages and sexes are known in part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import FeaturesError
from core.harmonize.tables.table import Features
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


def lacking(known: int, site: str = "c") -> Features:
    """Three sites of 30 scans, of one of which ages and sexes are known of so many."""
    table = cohort({"a": 30, "b": 30, "c": 30})
    left = [row for row, name in enumerate(table.site) if name == site][known:]
    unknown = {name: tuple(None if row in left else value for row, value in enumerate(c)) for name, c in table.covariates.items()}
    return replace(table, covariates=unknown)


def apart(table: Features) -> float:
    """How far the third site's scans are from the others' after ComBat, beside what age and sex do; mean over features, in sd."""
    whole = cohort({"a": 30, "b": 30, "c": 30})
    after = fitted_on(HarmonizeSettings(sites=("x",), out="out"), table).apply(table, missing="mean").values
    right = fitted_on(HarmonizeSettings(sites=("x",), out="out"), whole).apply(whole).values
    off = (after - right) / right.std(axis=0)
    third = np.array(table.site) == "c"
    return float(np.abs(off[third].mean(axis=0) - off[~third].mean(axis=0)).mean())


def test_a_site_of_which_few_ages_are_known_learns_from_all_its_scans() -> None:
    unknown = apart(lacking(0))
    for known in (1, 2, 4, 9):
        assert apart(lacking(known)) < 1.5 * unknown  # learnt from the few alone, 1.9 to 5 times
        assert fitted_on(HarmonizeSettings(sites=("x",), out="out"), lacking(known)).counts["c"] == 30
    assert fitted_on(HarmonizeSettings(sites=("x",), out="out"), lacking(10)).counts["c"] == 10


def test_a_reference_site_of_one_known_age_is_told_as_that() -> None:
    settings = HarmonizeSettings(sites=("x",), out="out", reference_site="c")
    said = r"reference-site: .* two scans or more of known age and sex, but got 1 of 30 of c\. Complete age and sex"
    with pytest.raises(FeaturesError, match=said):
        fitted_on(settings, lacking(1))
    assert fitted_on(settings, lacking(2)).reference == "c"
