"""The classifier of sites: certain where sites differ, at chance where they do not, honest about folds and persons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import FeaturesError
from core.harmonize.tables import sites
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.sites import Classifier, _dealt, _folds, _interval, by_combat, of_covariates, site_accuracy
from core.harmonize.tables.table import Features
from tests.core.harmonize.tables.sites import cohort, table

COUNTS = {"a": 30, "b": 30, "c": 30}


def test_sites_that_differ_are_told_and_after_combat_they_are_not() -> None:
    before = cohort(COUNTS, features=8, shifts={"a": 0.0, "b": 6.0, "c": -4.0})
    found = site_accuracy(before, permutations=21)
    held_out = site_accuracy(before, by_combat(), permutations=21)
    assert found.balanced > 0.9
    assert found.told
    assert found.p == 1 / 22
    assert held_out.balanced < 0.5
    assert not held_out.told
    assert found.interval[0] <= found.balanced <= found.interval[1]
    assert (found.chance, found.folds, found.scans) == (pytest.approx(1 / 3), 5, 90)
    assert [sum(row) for row in found.confusion] == [30, 30, 30]


def test_features_harmonised_with_the_held_out_scans_fall_below_chance() -> None:
    """Why the harmonisation must be fitted within the folds."""
    before = cohort({"a": 20, "b": 20, "c": 20}, features=8)
    after = Combat.fit(before).apply(before)
    assert site_accuracy(after, permutations=1).balanced < 0.2
    assert 0.15 < site_accuracy(before, by_combat(), permutations=1).balanced < 0.5


@pytest.mark.parametrize("classifier", ["linear", "forest"])
def test_noise_is_at_chance(classifier: Classifier) -> None:
    draw = np.random.default_rng(0)
    noise = table(draw.standard_normal((90, 4)), ["a", "b", "c"] * 30)
    found = site_accuracy(noise, classifier=classifier, permutations=21)
    assert not found.told
    assert found.null[0] < 1 / 3 < found.null[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chance_is_of_every_deal_however_good_the_first_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is told, which is when "below chance" is said, most deals are as good as what was found."""
    tried, real = [], sites._balanced
    monkeypatch.setattr(sites, "_balanced", lambda *labels: tried.append(real(*labels)) or tried[-1])
    noise = table(np.random.default_rng(seed).standard_normal((40, 3)), ["a", "b"] * 20)
    found = site_accuracy(noise, permutations=60, seed=seed)
    assert len(tried) == 61
    assert found.null == (np.percentile(tried[1:], 2.5), np.percentile(tried[1:], 97.5))
    assert found.p == sum(chance >= found.balanced for chance in tried) / 61


def test_sites_that_differ_in_spread_alone_are_told_by_the_forest() -> None:
    draw = np.random.default_rng(1)
    values = draw.standard_normal((80, 4)) * np.repeat([1.0, 3.0], 40)[:, None]
    spread = table(values, ["a"] * 40 + ["b"] * 40)
    assert site_accuracy(spread, permutations=1).balanced < 0.65
    forest = site_accuracy(spread, classifier="forest", permutations=20)
    assert forest.balanced > 0.8
    assert forest.told


def test_the_same_seed_gives_the_same_answer() -> None:
    features = cohort({"a": 10, "b": 10}, features=3)
    assert site_accuracy(features, permutations=5, seed=3) == site_accuracy(features, permutations=5, seed=3)


def test_the_scans_of_a_person_stay_in_one_fold() -> None:
    """A person's scans are alike: torn apart over folds they would tell the site of noise."""
    draw = np.random.default_rng(0)
    own = draw.standard_normal((24, 30)).repeat(4, axis=0)
    site = [("a", "b")[n % 2] for n in range(24) for _ in range(4)]
    scans = tuple(f"sub-{n:02d}_run-{run}" for n in range(24) for run in range(4))
    features = Features(scans, tuple(site), {}, tuple(f"f{n}" for n in range(30)), own + 0.01 * draw.standard_normal((96, 30)))
    torn = replace(features, scans=tuple(scan.replace("_run", "run") for scan in scans))
    assert not site_accuracy(features, permutations=21).told
    assert site_accuracy(torn, permutations=1).balanced > 0.95


def travelling(*, shift: float = 0.0, persons: int = 20) -> Features:
    """The same persons at three sites; without ``shift`` no site does anything to them."""
    draw = np.random.default_rng(5)
    own, site = draw.standard_normal((persons, 12)).repeat(3, axis=0), ("a", "b", "c") * persons
    values = own + 0.1 * draw.standard_normal(own.shape)
    values[:, 0] += shift * np.tile([0, 1, 2], persons)
    who = tuple(f"p{n:02d}" for n in range(persons) for _ in range(3))
    scans = tuple(f"{where}/sub-{name}" for where, name in zip(site, who, strict=True))
    return Features(scans, site, {}, tuple(f"f{n}" for n in range(12)), values, who)


def test_a_person_seen_by_several_scanners_is_in_one_fold_and_without_site_effect_all_is_chance() -> None:
    features = travelling()
    labels, persons = np.tile([0, 1, 2], 20), np.repeat(np.arange(20), 3)
    dealt = _folds(labels, persons, np.random.default_rng(0))
    assert (dealt.reshape(20, 3) == dealt[::3, None]).all()
    assert np.bincount(dealt).tolist() == [12] * 5
    found = site_accuracy(features, permutations=49)
    assert found.null[0] <= found.balanced <= found.null[1]
    assert abs(found.balanced - 1 / 3) < 0.15
    by_site = site_accuracy(replace(features, of=()), permutations=1)
    assert by_site.balanced < found.balanced - 0.05  # who straddles folds is taken for another site's: below chance


def test_a_site_effect_smaller_than_persons_differ_is_told_of_the_same_persons() -> None:
    found = site_accuracy(travelling(shift=4.0), permutations=49)
    assert found.told
    assert found.balanced > 0.8


def test_sites_are_dealt_within_the_persons_who_saw_several() -> None:
    labels, persons = np.array([0, 1, 1, 2, 0, 1, 2, 2]), np.array([0, 0, 0, 0, 1, 2, 3, 3])
    draw = np.random.default_rng(0)
    deals = np.array([_dealt(labels, persons, draw) for _ in range(60)])
    assert (np.sort(np.unique(deals[:, [0, 1, 3]], axis=0), axis=1) == [0, 1, 2]).all()
    assert (deals[:, 1] == deals[:, 2]).all()  # two scans of a visit stay together
    assert (np.sort(deals[:, [4, 5, 6]], axis=1) == [0, 1, 2]).all()
    assert len(np.unique(deals, axis=0)) > 20


def test_folds_hold_every_site_and_every_scan_once() -> None:
    labels = np.repeat([0, 1, 2], [7, 12, 20])
    persons = np.arange(39) // 1
    dealt = _folds(labels, persons, np.random.default_rng(0))
    counts = np.array([[np.count_nonzero((labels == site) & (dealt == fold)) for fold in range(5)] for site in range(3)])
    assert counts.min() >= 1
    assert (np.ptp(counts, axis=1) <= 1).all()


def test_unequal_sites_do_not_raise_chance() -> None:
    draw = np.random.default_rng(0)
    found = site_accuracy(table(draw.standard_normal((110, 3)), ["a"] * 100 + ["b"] * 10), permutations=19)
    assert found.chance == 0.5
    assert found.balanced < 0.75


def test_small_sites_are_left_out_and_named() -> None:
    features = cohort({"a": 12, "b": 12, "c": 2}, features=3)
    found = site_accuracy(features, permutations=1)
    assert (found.sites, found.left_out, found.scans) == (("a", "b"), ("c",), 24)
    with pytest.raises(FeaturesError, match=r"classifier-sites: expected two sites of 3 persons or more, but got 9 of a, 2 of b"):
        site_accuracy(cohort({"a": 9, "b": 2}))


def test_unknown_and_constant_features_do_no_harm() -> None:
    features = cohort({"a": 12, "b": 12}, features=4)
    values = features.values.copy()
    values[::3, 0], values[:, 1], values[:, 2] = np.nan, 7.0, np.nan
    assert site_accuracy(features.with_values(values), permutations=1).balanced > 0.5
    values[:] = 7.0
    with pytest.raises(FeaturesError, match="classifier-features"):
        site_accuracy(features.with_values(values))


def test_age_alone_may_tell_the_site() -> None:
    features = cohort({"a": 15, "b": 15}, features=1)
    ages = [30.0 + n % 7 if site == "a" else 60.0 + n % 7 for n, site in enumerate(features.site)]
    older = replace(features, covariates={"age": tuple(ages), "sex": (None,) * 30})
    assert site_accuracy(of_covariates(older), permutations=21).told
    assert of_covariates(older).names == ("covariate 0",)
    assert of_covariates(replace(features, covariates={})).names == ()


def test_the_interval_is_that_of_a_share_where_each_person_is_seen_once() -> None:
    labels = np.repeat([0, 1], 100)
    predicted = np.where(np.arange(200) % 4 == 0, 1 - labels, labels)
    low, high = _interval(labels, np.arange(200), predicted, np.random.default_rng(0))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 200)
    assert (low, high) == (pytest.approx(0.75 - half, abs=0.015), pytest.approx(0.75 + half, abs=0.015))
    twice = _interval(np.repeat(labels, 2), np.arange(200).repeat(2), np.repeat(predicted, 2), np.random.default_rng(0))
    assert twice == pytest.approx((low, high))  # a second scan that says the same makes nothing surer
