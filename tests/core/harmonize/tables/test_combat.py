"""ComBat: known site effects are taken away, age and sex stay, and each case in which it cannot be done has its name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FeaturesError
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.design import complete
from core.harmonize.tables.table import Features, concatenate
from tests.core.harmonize.tables.sites import AGE, SCALES, SEX, cohort, table

COUNTS = {"a": 60, "b": 50, "c": 40}


def slopes(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Effect of a year and of F over M on each feature, the sites held fixed; by plain least squares."""
    age = np.array(features.covariates["age"], np.float64)
    woman = np.array(features.covariates["sex"]) == "F"
    sites = np.array([[site == one for one in features.sites] for site in features.site], np.float64)
    fitted = np.linalg.lstsq(np.column_stack([age, woman, sites]), features.values, rcond=None)[0]
    return fitted[0], fitted[1]


def left(features: Features) -> np.ndarray:
    """What remains of the features without age and sex, as the simulation added them."""
    by_age, by_sex = slopes(features)
    age = np.array(features.covariates["age"], np.float64)[:, None]
    return features.values - by_age * age - by_sex * (np.array(features.covariates["sex"]) == "F")[:, None]


def site_shifts(features: Features) -> np.ndarray:
    """Means by site of what remains, in pooled standard deviations: (sites, features)."""
    rest = left(features)
    means = np.array([rest[features.rows([site])].mean(axis=0) for site in features.sites])
    return (means - means.mean(axis=0)) / rest.std(axis=0)


def plain_combat(features: Features) -> np.ndarray:
    """The formulas of the paper, feature by feature, in loops."""
    y, n = features.values, len(features)
    x = np.zeros((n, len(features.sites) + 2))
    for row in range(n):
        x[row, features.sites.index(features.site[row])] = 1
        x[row, -2] = features.covariates["age"][row]
        x[row, -1] = features.covariates["sex"][row] == "M"
    s = len(features.sites)
    beta = np.linalg.inv(x.T @ x) @ x.T @ y
    alpha = sum(np.mean([site == one for site in features.site]) * beta[i] for i, one in enumerate(features.sites))
    sigma = np.sqrt(((y - x @ beta) ** 2).sum(axis=0) / n)
    known = alpha + x[:, s:] @ beta[s:]
    z = (y - known) / sigma
    out = np.empty_like(y)
    for site in features.sites:
        rows = features.rows([site])
        m = len(rows)
        g_hat, d_hat = z[rows].mean(axis=0), z[rows].var(axis=0, ddof=1)
        g_bar, tau2 = g_hat.mean(), g_hat.var(ddof=1)
        v_bar, s2 = d_hat.mean(), d_hat.var(ddof=1)
        lam, theta = (v_bar**2 + 2 * s2) / s2, (v_bar**3 + v_bar * s2) / s2
        for f in range(y.shape[1]):
            g, d = g_hat[f], d_hat[f]
            for _ in range(500):
                g = (m * tau2 * g_hat[f] + d * g_bar) / (m * tau2 + d)
                d = (theta + 0.5 * sum((z[row, f] - g) ** 2 for row in rows)) / (m / 2 + lam - 1)
            for row in rows:
                out[row, f] = sigma[f] / np.sqrt(d) * (z[row, f] - g) + known[row, f]
    return out


def test_it_is_what_the_formulas_say() -> None:
    features = cohort({"a": 12, "b": 9, "c": 7}, features=5)
    assert np.allclose(Combat.fit(features).apply(features).values, plain_combat(features), rtol=1e-7, atol=1e-7)


def test_shift_and_scale_of_the_sites_are_gone() -> None:
    before = cohort(COUNTS)
    after = Combat.fit(before).apply(before)
    assert np.abs(site_shifts(before)).max() > 1
    assert np.abs(site_shifts(after)).max() < 0.2  # the standard error of a mean of 40 is 0.16
    spreads = np.array([left(after)[after.rows([site])].std(axis=0) for site in after.sites])
    assert (spreads.max(axis=0) / spreads.min(axis=0)).max() < 1.35
    assert max(SCALES.values()) / min(SCALES.values()) == 4


def test_age_and_sex_stay() -> None:
    before = cohort(COUNTS, seed=3)
    after = Combat.fit(before).apply(before)
    unit = np.random.default_rng(3)  # the spreads that the simulation multiplies its effects by
    unit.uniform(20, 80, 150), unit.choice(["F", "M"], 150), unit.uniform(10, 100, 12)
    spread = unit.uniform(0.5, 2, 12)
    for found, truth, near in zip(slopes(after), (AGE, SEX), (0.012, 0.42), strict=True):
        assert np.abs(found / spread - truth).max() < near
    assert np.abs(slopes(after)[0] / spread - AGE).mean() <= np.abs(slopes(before)[0] / spread - AGE).mean() * 1.05


def test_without_preserving_an_unequal_age_is_lost() -> None:
    draw = np.random.default_rng(0)
    age = np.concatenate([draw.uniform(20, 50, 80), draw.uniform(40, 80, 80)])
    values = 0.1 * age[:, None] + draw.standard_normal((160, 6))
    features = table(values, ["a"] * 80 + ["b"] * 80, age=age.tolist())
    with_age = Combat.fit(features, ("age",)).apply(features).values
    without = Combat.fit(features, ()).apply(features).values
    slope = [np.polyfit(age, one.mean(axis=1), 1)[0] for one in (with_age, without)]
    assert slope[0] == pytest.approx(0.1, abs=0.01)
    assert slope[1] < 0.07


def test_one_site_stays_bit_by_bit() -> None:
    features = cohort({"a": 8})
    assert np.array_equal(Combat.fit(features).apply(features).values, features.values)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_where_no_site_differs_little_changes(seed: int) -> None:
    features = cohort({"a": 60, "b": 60}, seed=seed, shifts={"a": 0.0, "b": 0.0}, scales={"a": 1.0, "b": 1.0})
    change = (Combat.fit(features).apply(features).values - features.values) / left(features).std(axis=0)
    assert np.sqrt((change**2).mean()) < 0.2  # the standard error of a mean of 60 is 0.13


def test_a_second_time_changes_little() -> None:
    before = cohort(COUNTS)
    once = Combat.fit(before).apply(before)
    twice = Combat.fit(once).apply(once)
    moved = np.abs(twice.values - once.values) / left(once).std(axis=0)
    assert moved.max() < 0.25
    assert moved.mean() < 0.03


@given(st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_a_feature_does_not_matter(factor: float, offset: float) -> None:
    features = cohort({"a": 9, "b": 11}, features=4)
    other = features.with_values(features.values * factor + offset)
    one, two = Combat.fit(features).apply(features).values, Combat.fit(other).apply(other).values
    assert np.allclose(one * factor + offset, two, rtol=1e-6, atol=1e-6 * factor)


def test_the_order_of_scans_and_features_does_not_matter() -> None:
    features = cohort({"a": 9, "b": 11, "c": 5}, features=4)
    rows = np.random.default_rng(0).permutation(25)
    turned = features.select(rows.tolist()).only(features.names[::-1])
    after = Combat.fit(turned).apply(turned)
    assert np.allclose(after.values[:, ::-1], Combat.fit(features).apply(features).values[rows], rtol=1e-9)


def test_the_reference_site_stays_and_the_others_come_to_it() -> None:
    before = cohort(COUNTS)
    after = Combat.fit(before, reference_site="b").apply(before)
    rows = before.rows(["b"])
    assert np.array_equal(after.values[rows], before.values[rows])
    assert np.abs(site_shifts(after)).max() < 0.15
    spread = [left(after)[after.rows([site])].std(axis=0).mean() for site in "abc"]
    assert spread == pytest.approx([spread[1]] * 3, rel=0.1)
    with pytest.raises(FeaturesError, match=r"reference-site: .*0 of d\. Choose one of a, b, c"):
        Combat.fit(before, reference_site="d")


def test_json_keeps_every_bit() -> None:
    features = cohort({"a": 9, "b": 1, "c": 30})
    fitted = Combat.fit(features, reference_site="c")
    again = Combat.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    assert np.array_equal(again.apply(features).values, fitted.apply(features).values)
    assert again.to_json() == fitted.to_json()
    assert (again.flags(features), again.sites) == (fitted.flags(features), ("a", "b", "c"))
    with pytest.raises(FeaturesError, match="combat-version"):
        Combat.from_json({"kind": "combat", "version": 99})


def test_new_scans_of_a_known_site_land_where_the_old_ones_did() -> None:
    every = cohort({"a": 120, "b": 120})
    old, new = every.select(range(0, 240, 2)), every.select(range(1, 240, 2))
    fitted = Combat.fit(old)
    joined = concatenate([fitted.apply(old), fitted.apply(new)])
    assert np.abs(site_shifts(joined)).max() < 0.2
    one_by_one = concatenate([fitted.apply(new.select([row])) for row in range(len(new))])
    assert np.allclose(one_by_one.values, fitted.apply(new).values, rtol=1e-12)


def test_a_site_of_one_scan_loses_its_location_and_is_flagged() -> None:
    features = cohort({"a": 30, "b": 30, "d": 1}, shifts={"a": 0.0, "b": 0.0, "d": 12.0})
    fitted = Combat.fit(features)
    after = fitted.apply(features)
    row = features.rows(["d"])[0]
    distance = [
        np.abs((one[row] - one[:60].mean(axis=0)) / left(features)[:60].std(axis=0)).mean()
        for one in (features.values, after.values)
    ]
    assert np.isfinite(after.values).all()
    assert distance[0] > 4 * distance[1]
    assert (fitted.effects["d"].scale == 1).all()
    assert fitted.flags(features) == {features.scans[row]: "site d: one scan; its location was removed, not its scale"}
    with pytest.raises(FeaturesError, match=r"site-single.*one of d.*Leave it out"):
        Combat.fit(features, single="refuse")


def test_a_single_scan_does_not_pull_the_spread_of_the_others() -> None:
    features = cohort({"a": 6, "b": 6, **{f"s{n}": 1 for n in range(8)}})
    with_singles, without = Combat.fit(features, ()), Combat.fit(features.select(range(12)), ())
    assert np.allclose(with_singles.sd, without.sd, rtol=1e-12)


def test_small_sites_are_flagged() -> None:
    features = cohort({"a": 30, "b": 3})
    assert set(Combat.fit(features).flags(features).values()) == {"site b: 3 scans only; its effect is uncertain"}


def test_features_that_do_not_vary_come_back_as_they_were() -> None:
    good = cohort({"a": 10, "b": 10}, features=3)
    by_site = [1.0 if site == "a" else 2.0 for site in good.site]
    features = Features(
        good.scans, good.site, good.covariates, (*good.names, "flat", "label"),
        np.column_stack([good.values, np.full(20, 7.0), by_site]),
    )  # fmt: skip
    fitted = Combat.fit(features)
    after = fitted.apply(features)
    assert np.array_equal(after.values[:, 3:], features.values[:, 3:])
    assert np.allclose(after.values[:, :3], Combat.fit(good).apply(good).values)
    assert fitted.feature_flags == {"flat": "constant", "label": "the same for all scans of a site"}


def test_a_feature_that_is_still_at_one_site_keeps_its_scale_there() -> None:
    good = cohort({"a": 12, "b": 12}, features=4)
    values = good.values.copy()
    values[good.rows(["b"]), 2] = 5.0
    features = good.with_values(values)
    after = Combat.fit(features, ()).apply(features)
    assert np.ptp(after.values[features.rows(["b"]), 2]) == 0
    assert np.isfinite(after.values).all()


def test_unknown_values_stay_unknown_and_move_no_other_feature_much() -> None:
    whole = cohort({"a": 40, "b": 40})
    values = whole.values.copy()
    values[3, 0] = values[50, 5] = np.nan
    after = Combat.fit(whole.with_values(values)).apply(whole.with_values(values))
    assert np.argwhere(np.isnan(after.values)).tolist() == [[3, 0], [50, 5]]
    known = np.isfinite(after.values)
    change = np.abs(after.values - Combat.fit(whole).apply(whole).values) / left(whole).std(axis=0)
    assert change[known].max() < 0.2


def test_a_feature_that_a_site_never_measured_is_left() -> None:
    whole = cohort({"a": 10, "b": 10}, features=3)
    values = whole.values.copy()
    values[whole.rows(["b"]), 1] = np.nan
    values[3:19, 2] = np.nan
    features = whole.with_values(values)
    fitted = Combat.fit(features)
    assert fitted.feature_flags == {
        "feature 1": "unknown for all scans of b",
        "feature 2": "known for too few scans to tell site and covariates apart",
    }
    assert np.array_equal(fitted.apply(features).values[:, 1:], values[:, 1:], equal_nan=True)


def test_confounded_covariates_are_refused_by_name() -> None:
    draw = np.random.default_rng(0)
    values, site = draw.standard_normal((20, 3)), ["a"] * 10 + ["b"] * 10
    age = draw.uniform(20, 80, 20).tolist()
    by_site = ["F"] * 10 + ["M"] * 10
    with pytest.raises(FeaturesError, match=r"covariate-confounded: .*the site determines sex\. .*do not preserve it"):
        Combat.fit(table(values, site, age=age, sex=by_site))
    with pytest.raises(FeaturesError, match=r"the site determines age, sex"):
        Combat.fit(table(values, site, age=[30.0] * 10 + [60.0] * 10, sex=by_site))
    with pytest.raises(FeaturesError, match=r"site and age, months determine one another"):
        Combat.fit(
            table(values, site, age=age, months=[12 * one + (50 if n < 10 else 9) for n, one in enumerate(age)]),
            ("age", "months"),
        )
    nearly = [30.0 + 0.5 * (n % 2) for n in range(10)] + [60.0 + 0.5 * (n % 2) for n in range(10)]
    fitted = Combat.fit(table(values, site, age=nearly), ("age",))
    assert set(fitted.notes) == {"age"}
    assert fitted.notes["age"].endswith("; the site tells 100% of age: its effect is hardly told from the site's")


def test_a_constant_covariate_has_nothing_to_keep() -> None:
    features = cohort({"a": 10, "b": 10})
    women = Features(
        features.scans, features.site, {"age": features.covariates["age"], "sex": ("F",) * 20}, features.names, features.values
    )
    fitted = Combat.fit(women)
    assert fitted.notes == {"sex": "sex is the same for all scans"}
    assert np.array_equal(fitted.apply(women).values, Combat.fit(women, ("age",)).apply(women).values)


def test_scans_without_covariates_are_refused_or_take_the_mean() -> None:
    features = cohort({"a": 20, "b": 20})
    ages = list(features.covariates["age"])
    ages[7] = None
    lacking = Features(
        features.scans, features.site, {"age": tuple(ages), "sex": features.covariates["sex"]}, features.names, features.values
    )
    with pytest.raises(FeaturesError, match=r"covariate-missing: .*1 without, first sub-007_T1w without age"):
        Combat.fit(lacking)
    fitted = Combat.fit(complete(lacking, ("age", "sex")))
    with pytest.raises(FeaturesError, match="covariate-missing"):
        fitted.apply(lacking)
    after = fitted.apply(lacking, missing="mean")
    others = [row for row in range(40) if row != 7]
    assert np.array_equal(after.values[others], fitted.apply(features).values[others])
    assert fitted.flags(lacking) == {"sub-007_T1w": "age unknown, mean taken"}
    with pytest.raises(FeaturesError, match=r"covariate-column.*no age"):
        Combat.fit(table([[1.0], [2.0]], ["a", "b"], sex=["F", "M"]))


def test_ages_apart_are_told_beside_that_the_site_tells_them() -> None:
    features = cohort({"a": 20, "b": 20})
    ages = [(20 if site == "a" else 70) + number % 3 for number, site in enumerate(features.site)]
    fitted = Combat.fit(replace(features, covariates={**features.covariates, "age": tuple(map(float, ages))}))
    assert "a and b have no age in common" in fitted.notes["age"]
    assert "; the site tells " in fitted.notes["age"]


def test_another_word_of_one_site_for_a_sex_is_told_and_another_share_of_the_sexes_is_not() -> None:
    features = cohort({"a": 20, "b": 20})

    def note(women_at_b: str) -> str:
        both = zip(features.site, features.covariates["sex"], strict=True)
        sexes = tuple(women_at_b if (site, sex) == ("b", "F") else sex for site, sex in both)
        return Combat.fit(replace(features, covariates={**features.covariates, "sex": sexes})).notes.get("sex", "")

    assert note("k").startswith("a word of one site alone (F at a, k at b): where others have another word")
    assert note("M") == note("F") == ""


def with_first_sex(features: Features, sex: str | None) -> Features:
    return replace(features, covariates={**features.covariates, "sex": (sex, *features.covariates["sex"][1:])})


def test_a_level_that_was_not_fitted_is_as_an_unknown_one_and_flagged() -> None:
    features = cohort({"a": 20, "b": 20})
    fitted = Combat.fit(features)
    other, unknown = (with_first_sex(features, sex) for sex in ("O", None))
    harmonised = fitted.apply(other, missing="mean")
    assert harmonised.covariates["sex"][0] == "O"
    assert np.array_equal(harmonised.values, fitted.apply(unknown, missing="mean").values)
    assert fitted.flags(other)[other.scans[0]] == "sex O was not in the fit, mean taken"
    assert "c" in fitted.extend(with_first_sex(cohort({"c": 20}), "O"), missing="mean").sites


def test_what_the_fit_did_not_see_is_refused_or_flagged() -> None:
    features = cohort({"a": 20, "b": 20})
    fitted = Combat.fit(features)
    other = Features(("x",), ("a",), {"age": (50.0,), "sex": ("O",)}, features.names, features.values[:1])
    with pytest.raises(FeaturesError, match=r"covariate-level: expected sex among F, M, but got O of x"):
        fitted.apply(other)
    child = Features(("x",), ("a",), {"age": (5.0,), "sex": ("F",)}, features.names, features.values[:1])
    assert "age 5 beyond the fit's" in fitted.flags(child)["x"]
    texts = Features(("x",), ("a",), {"age": ("old",), "sex": ("F",)}, features.names, features.values[:1])
    with pytest.raises(FeaturesError, match=r"covariate-text.*'old' of x"):
        fitted.apply(texts)
    with pytest.raises(FeaturesError, match=r"feature-missing.*feature 0"):
        fitted.apply(features.only(features.names[1:]))


def test_an_unseen_site_is_refused_or_learned_while_the_rest_is_frozen() -> None:
    every = cohort({"a": 60, "b": 60, "c": 60})
    old, new = every.select(every.rows("ab")), every.select(every.rows("c"))
    fitted = Combat.fit(old)
    with pytest.raises(
        FeaturesError, match=r"site-unseen: expected scans of the sites a, b, but got some of c\. .*unseen=\"fit\""
    ):
        fitted.apply(every)
    after = fitted.apply(every, unseen="fit")
    rows = every.rows("ab")
    assert np.array_equal(after.values[rows], fitted.apply(old).values)
    assert np.abs(site_shifts(after)).max() < 0.25
    grown = fitted.extend(new)
    assert np.array_equal(grown.apply(new).values, after.values[every.rows("c")])
    assert (grown.mean.tobytes(), grown.sd.tobytes(), grown.sites) == (
        fitted.mean.tobytes(),
        fitted.sd.tobytes(),
        ("a", "b", "c"),
    )
    with pytest.raises(FeaturesError, match=r"site-small: expected at least 10 scans of a new site, but got 4 of c"):
        fitted.apply(new.select(range(4)), unseen="fit")
    assert fitted.flags(new.select([0]))[new.scans[0]] == "site c was not in the fit"
    unmeasured = np.array(new.values)
    unmeasured[:, 0] = np.nan
    with pytest.raises(FeaturesError, match=r"site-unknown-feature.*feature 0"):
        fitted.extend(new.with_values(unmeasured))


def test_a_second_site_joins_one_that_was_alone() -> None:
    every = cohort({"a": 60, "b": 60})
    alone = Combat.fit(every.select(every.rows("a")))
    after = alone.apply(every, unseen="fit")
    assert np.array_equal(after.values[every.rows("a")], every.values[every.rows("a")])
    assert np.abs(site_shifts(after)).max() < 0.2


@pytest.mark.parametrize("features", [1, 2])
def test_few_features_give_finite_answers(features: int) -> None:
    before = cohort({"a": 40, "b": 40}, features=features)
    assert np.abs(site_shifts(Combat.fit(before).apply(before))).max() < 0.1


def test_features_that_are_copies_of_one_another_give_finite_answers() -> None:
    one = cohort({"a": 40, "b": 40}, features=1)
    copies = Features(one.scans, one.site, one.covariates, ("x", "y", "z"), np.repeat(one.values, 3, axis=1))
    after = Combat.fit(copies).apply(copies)
    assert np.isfinite(after.values).all()
    assert np.abs(site_shifts(after)).max() < 0.1


def test_too_few_scans_are_refused() -> None:
    with pytest.raises(FeaturesError, match=r"scans-few: expected more scans than .* \(4\), but got 4"):
        Combat.fit(cohort({"a": 3, "b": 1}, seed=2))
    with pytest.raises(FeaturesError, match="features-none"):
        Combat.fit(table([[1.0]], ["a"]).only([]))


def test_an_empty_table_stays_empty() -> None:
    features = cohort({"a": 20, "b": 20})
    assert len(Combat.fit(features).apply(features.select([]))) == 0


def test_without_empirical_bayes_each_feature_has_its_sites_own_mean_and_variance() -> None:
    features = cohort({"a": 30, "b": 30}, features=5)
    free = Combat.fit(features, (), bayes=False)
    rows = features.rows(["b"])
    standardised = (features.values[rows] - free.mean) / free.sd
    assert free.effects["b"].location == pytest.approx(standardised.mean(axis=0))
    assert free.effects["b"].scale == pytest.approx(standardised.var(axis=0, ddof=1))
    assert not np.allclose(free.effects["b"].location, Combat.fit(features, ()).effects["b"].location, atol=1e-6)
    again = Combat.from_json(free.to_json())
    assert np.array_equal(again.extend(features.select(rows)).apply(features).values, free.apply(features).values)
    assert not again.bayes


def test_what_age_does_to_the_spread_is_kept_where_that_is_wanted() -> None:
    """The old differ twice as much; one site has the old. Without ``spread`` they are made as narrow as the young."""
    draw, n = np.random.default_rng(3), 400
    age = np.concatenate([draw.uniform(20, 60, n), draw.uniform(40, 80, n)])
    wide = np.exp(np.log(2) / 40 * (age - 50))[:, None]
    site = ["a"] * n + ["b"] * n
    values = wide * draw.standard_normal((2 * n, 6)) + np.where(np.array(site) == "b", 3.0, 0.0)[:, None]
    features = table(values.tolist(), site, age=age.tolist())
    plain, kept = (Combat.fit(features, ("age",), spread=spread).apply(features) for spread in (False, True))
    truth = values - np.where(np.array(site) == "b", 3.0, 0.0)[:, None]
    narrow, right = (made.values[n:].std() / truth[n:].std() for made in (plain, kept))
    assert narrow < 0.9
    assert right == pytest.approx(1, abs=0.06)
    fitted = Combat.fit(features, ("age",), spread=True)
    assert fitted.spreads[0] == pytest.approx(np.log(2) / 40, rel=0.35)
    again = Combat.from_json(fitted.to_json())
    assert np.array_equal(again.apply(features).values, kept.values)


def test_sites_without_a_common_age_are_told() -> None:
    features = cohort({"a": 20, "b": 20}, features=2)
    ages = [30.0 + n % 20 if site == "a" else 51.0 + n % 20 for n, site in enumerate(features.site)]
    fitted = Combat.fit(replace(features, covariates={"age": tuple(ages)}), ("age",))
    assert "a and b have no age in common" in fitted.notes["age"]
    assert "age" not in Combat.fit(features, ("age",)).notes


def test_a_bent_effect_of_age_is_kept_where_that_is_wanted() -> None:
    """One site has the young and middle-aged, one the middle-aged and old: a line takes part of a bend for the sites'."""
    draw, n = np.random.default_rng(4), 150
    age = np.concatenate([draw.uniform(20, 52, n), draw.uniform(48, 80, n)])
    truth = 2 * np.tanh((age - 50) / 10)[:, None] + 0.3 * draw.standard_normal((2 * n, 5))
    site = ["a"] * n + ["b"] * n
    features = table((truth + np.where(np.array(site) == "b", 3.0, 0.0)[:, None]).tolist(), site, age=age.tolist())
    apart = {}
    for smooth in (False, True):
        made = Combat.fit(features, ("age",), "a", smooth=smooth).apply(features).values
        apart[smooth] = np.abs((made - truth)[n:].mean(axis=0)).max()
    assert apart[False] > 0.3
    assert apart[True] < apart[False] / 2
    fitted = Combat.fit(features, ("age",), "a", smooth=True)
    assert len(fitted.terms[0].centre) == 5
    again = Combat.from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.apply(features).values, fitted.apply(features).values)
    assert "knots" not in Combat.fit(features, ("age",)).to_json()["terms"][0]
    older = replace(features, covariates={"age": (90.0,) * (2 * n)})
    oldest = replace(features, covariates={"age": (float(age.max()),) * (2 * n)})
    assert np.array_equal(fitted.apply(older).values, fitted.apply(oldest).values)  # no spline runs away


def repeated(persons: int = 60, visits: int = 4, own: float = 2.0) -> tuple[Features, np.ndarray]:
    """Persons seen again and again, half at two sites; what is theirs, and the second site's shift of 1 and noise of 2."""
    draw = np.random.default_rng(6)
    theirs = own * draw.standard_normal((persons, 6))
    who = np.repeat(np.arange(persons), visits)
    second = (who % 2 == 0) & (np.arange(who.size) % visits >= visits // 2) | (who % 4 == 1)
    truth = theirs[who]
    noise = np.where(second, 2.0, 1.0)[:, None] * draw.standard_normal(truth.shape)
    site = np.where(second, "b", "a").tolist()
    features = table((truth + noise + second[:, None]).tolist(), site)
    return replace(features, of=tuple(f"p{n:02d}" for n in who)), truth


def test_the_variance_of_persons_is_found_and_repeated_scans_weigh_as_one_person() -> None:
    features, truth = repeated()
    fitted = Combat.fit(features, (), "a", intercept=True)
    assert np.sqrt(fitted.ratio).mean() == pytest.approx(2.0 / np.sqrt((1 + 4) / 2), rel=0.25)
    made, plain = fitted.apply(features).values, Combat.fit(features, (), "a").apply(features).values
    b = features.rows(["b"])
    left, without = (np.std((values - truth)[b]) for values in (made, plain))
    assert left < 0.87 * without  # the noise of the second site comes down, what is the persons' does not
    assert left < 0.7 * np.std((features.values - truth)[b])
    assert np.array_equal(made[features.rows(["a"])], features.values[features.rows(["a"])])
    again = Combat.from_json(json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.apply(features).values, made)
    assert again.extend(features).to_json() == fitted.to_json()


def test_without_repeated_scans_there_is_no_intercept_to_find() -> None:
    features = cohort({"a": 20, "b": 20}, features=3)
    fitted, plain = (Combat.fit(features, intercept=intercept) for intercept in (True, False))
    assert fitted.ratio.tolist() == [0.0] * 3
    assert fitted.slopes == pytest.approx(plain.slopes, rel=1e-9)
