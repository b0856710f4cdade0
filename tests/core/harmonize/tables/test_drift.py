"""Drift: silent where nothing moved, also in small cohorts; loud where a feature moved, widened, or became unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.errors import FeaturesError
from core.harmonize.tables.drift import drift, psi, summary, untold, worst
from core.harmonize.tables.table import Features, concatenate
from tests.core.harmonize.tables.sites import table


def features(values: np.ndarray) -> Features:
    return table(values, ["x"] * len(values))


def normal(n: int, f: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, f))


def test_psi_by_hand() -> None:
    reference, new = np.array([1.0, 1, 2, 2]), np.array([1.0, 2, 2, 2])  # two bins: 2 + 2 and 1 + 3, half a value added
    p, q = np.array([2.5, 2.5]) / 5, np.array([1.5, 3.5]) / 5
    assert psi(reference, new, bins=2) == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_psi_of_large_normal_cohorts_is_that_of_the_distributions() -> None:
    """A shift by half a standard deviation: the integral over ten equal bins."""
    edges = stats.norm.ppf(np.linspace(0, 1, 11))
    p, q = np.full(10, 0.1), np.diff(stats.norm.cdf(edges - 0.5))
    found = psi(normal(200_000)[:, 0], normal(200_000, seed=1)[:, 0] + 0.5)
    assert found == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=0.03)


@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(8, 60))
@settings(max_examples=30, deadline=None)
def test_psi_is_no_less_than_zero_and_zero_of_itself(seed: int, n: int, m: int) -> None:
    one, other = normal(n, seed=seed)[:, 0], normal(m, seed=seed + 1)[:, 0]
    assert psi(one, one) == pytest.approx(0, abs=1e-12)
    assert psi(one, other) >= 0
    assert psi(one * 7 - 3, other * 7 - 3) == pytest.approx(psi(one, other))


@pytest.mark.parametrize(("n", "m"), [(10, 8), (20, 20), (100, 12), (200, 200)])
def test_equal_cohorts_of_any_size_seldom_cry(n: int, m: int) -> None:
    cries = sum(worst(drift(features(normal(n, 5, seed)), features(normal(m, 5, seed + 1000)))) != "ok" for seed in range(60))
    assert cries <= 9  # 5 % each by PSI and by KS are expected


def at(sites: dict[str, float], n: int, seed: int) -> Features:
    """A feature of n scans of each site, a standard deviation about its mean."""
    names = [site for site in sites for _ in range(n)]
    return table(normal(len(names), seed=seed) + np.array([[sites[name]] for name in names]), names)


def test_another_share_of_the_sites_is_no_drift_and_that_of_a_small_site_is_not_drowned() -> None:
    reference = at({"A": 0.0, "B": 3.0}, 40, 0)
    (alone,) = drift(reference, at({"A": 0.0}, 40, 1))
    assert (alone.verdict, alone.site) == ("ok", "A")
    mixed = concatenate([at({"A": 0.0}, 200, 2), replace(at({"B": 6.0}, 10, 3), scans=tuple(f"b{n}" for n in range(10)))])
    (moved,) = drift(reference, mixed)
    assert (moved.verdict, moved.site, moved.n_new) == ("drift", "B", 10)


def test_sites_of_which_nothing_can_be_told_are_named() -> None:
    reference, new = at({"A": 0.0, "B": 3.0}, 40, 0), at({"B": 3.0, "C": 0.0}, 7, 1)
    assert untold(reference, new) == "not in the reference: C; of fewer than 8 persons: B"
    assert untold(reference, reference) == ""
    (strange,) = drift(reference, at({"C": 0.0}, 40, 1))
    assert (strange.verdict, strange.reason) == ("unknown", "no site in common: C of the new scans, A, B of the reference")


@pytest.mark.parametrize(("n", "m"), [(30, 20), (200, 40)])
def test_a_large_shift_is_drift(n: int, m: int) -> None:
    new = normal(m, 4, 1)
    new[:, 2] += 2.0
    found = drift(features(normal(n, 4)), features(new))
    assert [one.verdict for one in found] == ["ok", "ok", "drift", "ok"]
    assert found[2].reason.startswith("median")
    assert found[2].p_holm < 0.05
    assert worst(found) == "drift"
    assert summary(found) == "4 features: 1 drift, 3 ok; drift of f2"


def test_a_change_of_spread_alone_is_seen() -> None:
    (found,) = drift(features(normal(200)), features(3 * normal(100, seed=1)))
    assert found.verdict == "drift"


def test_a_small_shift_of_large_cohorts_is_watched_and_a_tiny_one_is_not() -> None:
    reference = features(normal(5000))
    (small,), (tiny,) = (drift(reference, features(normal(5000, seed=1) + shift)) for shift in (0.35, 0.1))
    assert (small.verdict, tiny.verdict) == ("watch", "ok")
    assert tiny.p_holm < 0.05  # sure, but of no matter


def test_repeated_scans_of_few_persons_make_nothing_sure() -> None:
    """No true difference: 12 persons of 6 scans that are nearly alike are 12, not 72."""
    cries = 0
    for seed in range(40):
        new = np.repeat(normal(12, 3, seed), 6, axis=0) + 0.1 * normal(72, 3, seed + 500)
        names = tuple(f"sub-{row // 6}_run-{row % 6}" for row in range(72))
        cries += worst(drift(features(normal(60, 3, seed + 900)), replace(features(new), scans=names))) != "ok"
    assert cries <= 6


def test_few_scans_tell_nothing() -> None:
    found = drift(features(normal(50)), features(normal(7) + 100))
    assert [(one.verdict, one.psi, one.reason) for one in found] == [
        ("unknown", None, "too few values: 50 of the reference, 7 new")
    ]
    assert worst(found) == "unknown"
    assert [one.verdict for one in drift(features(normal(50)), features(normal(50)).select([]))] == ["unknown"]


def test_values_that_became_unknown_are_seen() -> None:
    new = normal(40, 2, 1)
    new[:25, 0] = np.nan
    new[:35, 1] = np.nan
    some, most = drift(features(normal(100, 2)), features(new))
    assert some.verdict == "drift"
    assert some.reason.endswith("unknown 0% → 62%")
    assert (most.verdict, most.reason) == ("watch", "known for 5 of 40 new scans")


def test_a_constant_feature_that_moves_either_way_is_drift() -> None:
    reference = features(np.full((30, 1), 5.0))
    for value, verdict in ((5.0, "ok"), (5.1, "drift"), (4.9, "drift")):
        assert [one.verdict for one in drift(reference, features(np.full((30, 1), value)))] == [verdict]


def test_a_feature_of_few_values_is_counted_by_value() -> None:
    reference = features(np.array([[0.0]] * 90 + [[1.0]] * 10))
    (same,), (other,), (between,) = (
        drift(reference, features(np.array([[0.0]] * zeros + [[value]] * (100 - zeros))))
        for zeros, value in ((88, 1.0), (40, 1.0), (90, 0.5))
    )
    assert (same.verdict, other.verdict, between.verdict) == ("ok", "drift", "drift")


def test_ks_is_scipys_and_holm_is_over_the_features() -> None:
    one, other = normal(40, 3), normal(30, 3, 1)
    found = drift(features(one), features(other))
    tests = [stats.ks_2samp(one[:, n], other[:, n]) for n in range(3)]
    assert [(each.ks, each.p) for each in found] == [pytest.approx((test.statistic, test.pvalue)) for test in tests]
    assert min(each.p_holm for each in found) == pytest.approx(min(1, 3 * min(test.pvalue for test in tests)))
    assert found[0].to_json()["feature"] == "f0"


def test_a_feature_that_is_gone_is_an_error() -> None:
    reference = features(normal(20, 2))
    with pytest.raises(FeaturesError, match=r"feature-missing.*no f1"):
        drift(reference, reference.only(["f0"]))
    turned = drift(reference, replace(reference).only(["f1", "f0"]))
    assert [(one.feature, one.psi) for one in turned] == [("f0", pytest.approx(0)), ("f1", pytest.approx(0))]
    with pytest.raises(FeaturesError, match="drift-empty"):
        psi(np.array([np.nan]), np.array([1.0]))
