"""Variance explained: known shares, and what the F test of plain least squares says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from core.harmonize.tables.combat import Combat
from core.harmonize.tables.table import Features
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


def seen_often(seed: int, *, travelling: bool) -> Features:
    """12 persons of four scans each, at their own site or at all four; age does nothing."""
    draw = np.random.default_rng(seed)
    values = draw.standard_normal((12, 40)).repeat(4, axis=0) + 0.3 * draw.standard_normal((48, 40))
    site = list("abcd") * 12 if travelling else ["ab"[number % 2] for number in range(12) for _ in range(4)]
    features = table(values.tolist(), site, age=draw.uniform(20, 80, 12).repeat(4).tolist())
    return replace(features, of=tuple(f"p{number // 4}" for number in range(48)))


@pytest.mark.parametrize("travelling", [False, True])
def test_where_persons_are_scanned_often_an_interval_counts_persons(*, travelling: bool) -> None:
    """Of 95 % intervals of an effect that is none, 95 % hold 0."""
    shares = [
        share for seed in range(40) for share in explained(seen_often(seed, travelling=travelling), ("age",))["age"].values()
    ]
    held = np.mean([share.correlation[1] <= 0 <= share.correlation[2] for share in shares])
    assert held == pytest.approx(0.95, abs=0.03)
    assert np.mean([share.p < 0.05 for share in shares]) == pytest.approx(0.05, abs=0.03)
    assert {(share.n, share.free) for share in shares} == {(12, 10 if travelling else 9)}


def test_a_second_scan_that_says_the_same_makes_no_effect_surer() -> None:
    features = cohort({"a": 12, "b": 12}, features=3)
    again = [row for row in range(24) for _ in range(1 + row % 3)]
    names = tuple(f"{features.scans[row]}_run-{number}" for number, row in enumerate(again))
    doubled = Features(
        names, tuple(features.site[row] for row in again),
        {name: tuple(values[row] for row in again) for name, values in features.covariates.items()},
        features.names, features.values[again],
    )  # fmt: skip
    for factor in ("age", "sex"):
        for name, share in explained(features)[factor].items():
            repeated = explained(doubled)[factor][name]
            assert (repeated.partial, repeated.p, repeated.free) == pytest.approx((share.partial, share.p, share.free))
