"""Variance explained: known shares, and what the F test of plain least squares says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from core.harmonize.tables.combat import Combat
from core.harmonize.tables.variance import explained
from tests.core.harmonize.tables.sites import cohort, table


def test_site_alone_is_the_classical_analysis_of_variance() -> None:
    draw = np.random.default_rng(0)
    groups = [draw.standard_normal(8), draw.standard_normal(11) + 1, draw.standard_normal(6)]
    share = explained(table(np.concatenate(groups)[:, None], ["a"] * 8 + ["b"] * 11 + ["c"] * 6))["site"]["f0"]
    classical = stats.f_oneway(*groups)
    every = np.concatenate(groups)
    within = sum(((one - one.mean()) ** 2).sum() for one in groups)
    assert share.p == pytest.approx(classical.pvalue)
    assert share.partial == pytest.approx(1 - within / ((every - every.mean()) ** 2).sum())
    assert (share.n, share.effect) == (25, None)


def test_age_alone_is_the_correlation_squared() -> None:
    draw = np.random.default_rng(1)
    age = draw.uniform(20, 80, 30)
    values = 0.02 * age + draw.standard_normal(30)
    share = explained(table(values[:, None], ["a"] * 30, age=age.tolist()))["age"]["f0"]
    line = stats.linregress(age, values)
    assert share.partial == pytest.approx(line.rvalue**2)
    assert (share.effect, share.error, share.p) == pytest.approx((line.slope, line.stderr, line.pvalue))
    interval = stats.pearsonr(age, values).confidence_interval()
    assert share.correlation == pytest.approx((line.rvalue, interval.low, interval.high))


def test_a_share_is_of_what_the_others_leave() -> None:
    """Partial R² of age within sites is the squared correlation of what the site leaves of both."""
    features = cohort({"a": 30, "b": 20}, features=1)
    features = replace(features, covariates={"age": features.covariates["age"]})
    age, values = np.array(features.covariates["age"], np.float64), features.values[:, 0].copy()
    for site in features.sites:
        rows = features.rows([site])
        age[rows] -= age[rows].mean()
        values[rows] -= values[rows].mean()
    assert explained(features)["age"]["feature 0"].partial == pytest.approx(np.corrcoef(age, values)[0, 1] ** 2)


def test_combat_takes_the_sites_share_and_leaves_the_others() -> None:
    before = cohort({"a": 60, "b": 50, "c": 40})
    after = Combat.fit(before).apply(before)
    mean = [
        {factor: np.mean([share.partial for share in shares.values()]) for factor, shares in explained(one).items()}
        for one in (before, after)
    ]
    assert mean[0]["site"] > 0.5
    assert mean[1]["site"] < 0.02
    for factor in ("age", "sex"):
        assert mean[1][factor] > 0.8 * mean[0][factor] > 0.05
    assert all(share.p_holm < 0.05 for share in explained(after)["age"].values())
    assert not any(share.p_holm < 0.05 for share in explained(after)["site"].values())
    effects = [share.effect for share in explained(after)["sex"].values()]
    assert max(effects) < 0  # M against F


def test_what_cannot_be_told_is_left_out() -> None:
    values = np.random.default_rng(0).standard_normal((12, 2))
    values[:, 1] = 5.0
    features = table(values, ["a"] * 6 + ["b"] * 6, age=[30.0] * 6 + [60.0] * 6, sex=["F"] * 12)
    assert explained(features) == {}  # age is the site's, sex is constant
    assert set(explained(features, ())["site"]) == {"f0"}
    assert explained(table(values[:2], ["a", "b"]), ("age",)) == {}


def test_unknown_values_and_covariates_cost_their_scans_only() -> None:
    features = cohort({"a": 30, "b": 30}, features=2)
    values, ages = features.values.copy(), list(features.covariates["age"])
    values[:5, 0] = np.nan
    ages[10] = None
    found = explained(replace(features, values=values, covariates={"age": tuple(ages), "sex": features.covariates["sex"]}))
    assert [found["site"][name].n for name in features.names] == [55, 60]
    assert [found["age"][name].n for name in features.names] == [54, 59]


def test_holm_is_over_the_features() -> None:
    shares = explained(cohort({"a": 10, "b": 10}, features=5))["site"].values()
    assert min(share.p_holm for share in shares) == pytest.approx(min(1.0, 5 * min(share.p for share in shares)))
