"""Options of ComBat crossed with one another: each keeps its promise beside the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.harmonize.tables.combat import Combat
from core.harmonize.tables.table import Features, concatenate
from tests.core.harmonize.tables.sites import table


def twice_seen(persons: int = 150) -> Features:
    """Persons who differ by 3 and were seen at both sites, with noise of 1."""
    draw = np.random.default_rng(0)
    theirs = 3 * draw.standard_normal((persons, 6))
    second = np.arange(2 * persons) % 2
    values = theirs.repeat(2, axis=0) + draw.standard_normal((2 * persons, 6)) + second[:, None]
    age = draw.uniform(20, 80, persons).repeat(2)
    features = table(values.tolist(), ["ab"[which] for which in second], age=age.tolist())
    return replace(features, of=tuple(f"p{number // 2}" for number in range(2 * persons)))


def within(values: np.ndarray) -> float:
    """The standard deviation of a scan about its person, the sites' means aside."""
    apart = values[::2] - values[1::2]
    return float((apart - apart.mean(axis=0)).std() / np.sqrt(2))


@pytest.mark.parametrize("reference", [None, "a"])
def test_a_spread_that_is_kept_beside_persons_intercepts_is_that_of_the_noise(reference: str | None) -> None:
    before = twice_seen()
    after = Combat.fit(before, ("age",), reference, spread=True, intercept=True).apply(before)
    assert within(after.values) == pytest.approx(within(before.values), rel=0.05)


def unlike(scans: int = 400) -> Features:
    """A site of spread 1, another of 3; age does nothing to either."""
    draw = np.random.default_rng(1)
    values = draw.standard_normal((2 * scans, 6)) * np.repeat([1.0, 3.0], scans)[:, None]
    return table(values.tolist(), ["a"] * scans + ["b"] * scans, age=draw.uniform(20, 80, 2 * scans).tolist())


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(("reference", "spread"), [("a", 1.0), ("b", 3.0)])
def test_where_the_spread_is_kept_the_others_come_to_the_references(reference: str, spread: float, *, intercept: bool) -> None:
    before = unlike()
    after = Combat.fit(before, ("age",), reference, spread=True, intercept=intercept).apply(before)
    assert after.values[:400].std() == pytest.approx(spread, rel=0.05)
    assert after.values[400:].std() == pytest.approx(spread, rel=0.05)
    rows = before.rows([reference])
    assert np.array_equal(after.values[rows], before.values[rows])


def test_a_single_scan_does_not_pull_a_spread_that_is_kept() -> None:
    before = unlike(20)
    age = float(np.mean(before.covariates["age"]))
    sites = [f"s{number}" for number in range(30)]
    more = table(np.zeros((30, 6)).tolist(), sites, age=[age] * 30)
    more = replace(more, scans=tuple(f"single {number}" for number in range(30)))
    alone, beside = (Combat.fit(features, ("age",), spread=True) for features in (before, concatenate([before, more])))
    assert beside.sd == pytest.approx(alone.sd, rel=1e-6)


def generalised(features: Features, persons: float) -> np.ndarray:
    """By how much b is above a: generalised least squares where persons' variance is known, the noise's being 1."""
    who, site = np.array(features.persons), np.array(features.site)
    covariance = np.eye(len(who)) + persons * (who[:, None] == who)
    design = np.column_stack([np.ones(len(who)), site == "b"])
    weighted = np.linalg.solve(covariance, design)
    fitted: np.ndarray = np.linalg.solve(design.T @ weighted, weighted.T @ features.values)[1]
    return fitted


def test_beside_persons_intercepts_a_sites_effect_is_by_generalised_least_squares() -> None:
    """Of 92 persons at a 12 were at b, too: how these differ from the others is nothing of b's."""
    draw = np.random.default_rng(2)
    who = [*range(12), *range(12), *range(12, 92)]
    site = ["a"] * 12 + ["b"] * 12 + ["a"] * 80
    values = 3 * draw.standard_normal((92, 6))[who] + draw.standard_normal((104, 6))
    values[12:24] += 1.0
    features = replace(table(values.tolist(), site), of=tuple(f"p{number}" for number in who))
    fitted = Combat.fit(features, (), "a", intercept=True, bayes=False)
    expected = [generalised(features, ratio)[number] for number, ratio in enumerate(fitted.ratio)]
    assert fitted.effects["b"].location * fitted.sd == pytest.approx(expected, rel=1e-6)
