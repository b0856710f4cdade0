"""Known answers, symmetry and the rule of what is better, on scores whose truth is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from core.errors import IsovoxError
from core.evaluation.metrics.significance import (
    Comparison,
    almost_stochastic_order,
    by_person,
    compare,
    fewest_persons,
    holm,
    is_better,
    sign_flip,
    t_interval,
)


def scores(n: int, gain: float, spread: float = 0.3, seed: int = 0) -> tuple[list[float], list[float]]:
    """Scores of a better method and of a base, whose scans differ much and whose gain differs little."""
    draw = np.random.default_rng(seed)
    base = draw.normal(30, 2, n)
    return (base + gain + draw.normal(0, spread, n)).tolist(), base.tolist()


def comparison(metric: str, gain: float, *, half: float, p: float, eps: float | None = 0.1, n: int = 20) -> Comparison:
    return Comparison(metric, True, n, gain, (gain - half, gain + half), p, p, eps)


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [  # by hand from Holm 1979
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5], [0.5]),
        ([], []),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
)
def test_holm_by_hand(ps: list[float], adjusted: list[float]) -> None:
    assert holm(ps) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_none_and_bonferroni_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= min(1.0, p * len(ps)) for p, q in zip(ps, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(ps, kind="stable")] == sorted(adjusted)


def test_sign_flip_by_hand() -> None:
    assert sign_flip(np.arange(1.0, 7.0)) == pytest.approx(2 * 2.0**-6)  # 6 of 6 with one sign
    assert sign_flip(np.array([1.0, 1.0, 1.0, -1.0])) == pytest.approx(10 / 16)  # sums of 2 and more either way: 2 + 2 x 4
    assert sign_flip(np.array([1.0])) == sign_flip(np.zeros(9)) == 1.0


def test_sign_flips_of_many_persons_are_drawn_alike_and_near_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1.0, 40)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue, rel=0.1)


def test_the_interval_is_that_of_the_t_test() -> None:
    differences = np.random.default_rng(1).normal(0.5, 1.0, 7)
    expected = ttest_1samp(differences, 0).confidence_interval(0.9)
    assert t_interval(differences, confidence=0.9) == pytest.approx((expected.low, expected.high))
    assert t_interval(differences[:1]) is None
    assert t_interval(np.full(4, 2.0)) == (2.0, 2.0)


@pytest.mark.parametrize("n", [5, 6, 12])
def test_the_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    draws = np.random.default_rng(2).normal(1.0, 1.0, (2000, n))
    covered = np.mean([low < 1 < high for low, high in (t_interval(draw) or (0, 0) for draw in draws)])
    assert 0.94 <= covered <= 0.96  # a percentile bootstrap: 0.865 of 6


def test_persons_are_the_units() -> None:
    persons = [f"{person}" for person in (3, 1, 2) for _ in range(2)]
    assert by_person(np.array([1.0, 3.0, 5.0, 5.0, 0.0, 8.0]), persons).tolist() == [2.0, 5.0, 4.0]
    (found,) = compare({"psnr": [1.0, 3.0, 5.0, 5.0, 0.0, 8.0]}, {"psnr": [0.0] * 6}, persons=persons, bootstraps=None)
    assert (found.n, found.difference) == (3, pytest.approx(11 / 3))


def test_scans_of_one_person_make_nothing_significant() -> None:
    """No true difference, 8 persons of 5 scans that share most of their error: 5 % are significant by persons, not 37 %."""
    draw, persons = np.random.default_rng(4), [str(person) for person in range(8) for _ in range(5)]
    significant = {"scans": 0, "persons": 0}
    for _ in range(200):
        gains = np.repeat(draw.normal(0, 1, 8), 5) + draw.normal(0, 0.3, 40)
        interval = t_interval(gains) or (0, 0)
        significant["scans"] += not interval[0] < 0 < interval[1]
        (found,) = compare({"psnr": gains.tolist()}, {"psnr": [0.0] * 40}, persons=persons, bootstraps=None)
        significant["persons"] += found.p < 0.05
    assert significant["persons"] / 200 < 0.1
    assert significant["scans"] / 200 > 0.25


def test_pairs_are_seen_where_scans_differ_more_than_methods() -> None:
    a, b = scores(20, 0.5)
    (found,) = compare({"psnr": a}, {"psnr": b}, bootstraps=None)
    assert found.interval is not None
    assert found.interval[0] > 0.3
    assert found.interval[1] < 0.7
    assert found.p < 1e-4
    assert np.std(b) > 1


def test_the_same_scores_give_the_same_figures_and_leave_the_global_generator() -> None:
    a, b = scores(8, 0.5)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - what deepsig seeds
    first, second = (compare({"psnr": a}, {"psnr": b}, bootstraps=20) for _ in range(2))
    assert first == second
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_swapped_methods_swap_the_signs() -> None:
    a, b = scores(12, 0.4)
    (one,), (other,) = (compare({"psnr": x}, {"psnr": y}, bootstraps=None) for x, y in ((a, b), (b, a)))
    assert one.interval is not None
    assert other.interval is not None
    assert other.difference == pytest.approx(-one.difference)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]), abs=0.02)
    assert other.p == one.p


def test_a_metric_of_which_lower_is_better_is_the_other_ones_mirror() -> None:
    a, b = scores(12, 2.0)
    up = compare({"m": a}, {"m": b}, bootstraps=20)[0]
    down = compare({"m": [-x for x in a]}, {"m": [-x for x in b]}, lower_is_better={"m"}, bootstraps=20)[0]
    assert down.difference == pytest.approx(-up.difference)
    assert down.gain == pytest.approx(up.gain, abs=0.02)
    assert (down.p, down.eps_min) == (up.p, up.eps_min)


def test_order_by_its_extremes() -> None:
    low, high = np.arange(10.0), np.arange(20.0, 30.0)
    assert almost_stochastic_order(high, low, seed=0, bootstraps=20) == 0.0
    assert almost_stochastic_order(low, high, seed=0, bootstraps=20) > 0.99
    assert almost_stochastic_order(low, low, seed=0, bootstraps=20) >= 0.5


def test_deepsig_prints_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    almost_stochastic_order(np.ones(3), np.ones(3), seed=0, bootstraps=5)
    assert capfd.readouterr() == ("", "")
    assert not [each for each in recwarn if "deepsig" in str(each.filename)]


def test_a_small_gain_on_every_scan_is_better_however_much_scans_differ() -> None:
    """0.1 dB on each of 20 scans that differ by 0.8 dB: almost stochastic order, which takes them as unpaired, never saw it."""
    draw = np.random.default_rng(5)
    base = draw.normal(30, 0.8, 20)
    comparisons = compare({"psnr": (base + 0.1 + draw.normal(0, 0.05, 20)).tolist()}, {"psnr": base.tolist()}, bootstraps=50)
    assert comparisons[0].eps_min is not None
    assert comparisons[0].eps_min > 0.5
    better, reasons = is_better(comparisons)
    assert better
    assert [reason.split(" (")[0] for reason in reasons] == ["better by psnr"]


def test_what_is_worse_by_ssim_is_not_better_and_by_what_does_not_decide_it_may_be() -> None:
    a, b = scores(12, 1.5)
    psnr = {"psnr": a}, {"psnr": b}
    better, reasons = is_better(compare(psnr[0] | {"ssim": b}, psnr[1] | {"ssim": a}, bootstraps=None))
    assert not better
    assert [reason.split(" (")[0] for reason in reasons] == ["might be worse by ssim"]
    assert "12 persons" in reasons[0]
    assert is_better(compare(psnr[0] | {"ms_ssim": b}, psnr[1] | {"ms_ssim": a}, bootstraps=None))[0]


def test_equal_scores_are_no_gain() -> None:
    (found,) = compare({"psnr": [30.0] * 8}, {"psnr": [30.0] * 8}, bootstraps=10)
    assert (found.difference, found.interval, found.p, found.p_holm) == (0.0, (0.0, 0.0), 1.0, 1.0)
    assert found.eps_min is not None
    assert found.eps_min >= 0.5
    better, reasons = is_better([found])
    assert not better
    assert len(reasons) == 1
    assert reasons[0].startswith("not significantly better by psnr")


@pytest.mark.parametrize(
    ("decisive", "said"),
    [
        (comparison("psnr", 1.0, half=1.1, p=0.001), "not significantly better by psnr"),
        (comparison("psnr", 1.0, half=0.5, p=0.05), "not significantly better by psnr"),
        (comparison("psnr", -1.0, half=0.5, p=0.01), "not significantly better by psnr"),
        (comparison("psnr", 1.0, half=0.5, p=0.01, n=5), "5 persons cannot show a difference: at least 6 are needed"),
        (comparison("ssim", 1.0, half=0.5, p=0.01), "no psnr was scored, which decides"),
    ],
    ids=["interval", "p", "worse", "too few", "another metric"],
)
def test_each_figure_can_refuse(decisive: Comparison, said: str) -> None:
    better, reasons = is_better([decisive])
    assert not better
    assert reasons[0].startswith(said)


@pytest.mark.parametrize(("metric", "margin"), [("ssim", 0.001), ("miou", 0.005)])
def test_a_little_worse_is_allowed(metric: str, margin: float) -> None:
    gain = comparison("psnr", 1.0, half=0.2, p=0.001)
    assert is_better([gain, comparison(metric, 0.0, half=0.9 * margin, p=0.9)])[0]
    assert not is_better([gain, comparison(metric, 0.0, half=1.1 * margin, p=0.9)])[0]


@pytest.mark.parametrize("metrics", [1, 2, 3, 4])
def test_the_fewest_persons_are_enough_and_one_less_is_not(metrics: int) -> None:
    for n, enough in ((fewest_persons(metrics), True), (fewest_persons(metrics) - 1, False)):
        clear = {f"m{k}": list(np.arange(1.0, n + 1)) for k in range(metrics)}
        assert (compare(clear, {k: [0.0] * n for k in clear}, bootstraps=None)[0].p_holm < 0.05) == enough


def test_a_comparison_is_one_line_and_a_json_value() -> None:
    found = compare({"psnr": [1.0]}, {"psnr": [0.0]})[0]
    assert "interval none for one person" in str(found)
    assert "eps_min not computed" in str(found)
    assert found.to_json()["interval"] is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(
        IsovoxError, match=r"scores-finite: expected finite scores of psnr, but got NaN or infinity for scans \[1\]"
    ):
        compare({"psnr": [1.0, 2.0]}, {"psnr": [1.0, wrong]})


@pytest.mark.parametrize(
    ("a", "b"),
    [({"psnr": [1.0]}, {"psnr": [1.0, 2.0]}), ({"psnr": []}, {"psnr": []}), ({"psnr": [1.0]}, {"ssim": [1.0]}), ({}, {})],
    ids=["other scans", "no scans", "other metrics", "no metrics"],
)
def test_scores_that_are_no_pairs_are_refused(a: dict[str, list[float]], b: dict[str, list[float]]) -> None:
    with pytest.raises(IsovoxError, match="scores-paired"):
        compare(a, b)


def test_a_person_is_named_for_each_score() -> None:
    with pytest.raises(
        IsovoxError, match=r"scores-persons: expected a person for each of 2 scans, but got 1\. Name one for each"
    ):
        compare({"psnr": [1.0, 2.0]}, {"psnr": [1.0, 2.0]}, persons=["a"])


def test_without_deepsig_the_order_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepsig", None)
    with pytest.raises(IsovoxError, match="deepsig-missing"):
        compare({"psnr": [1.0, 2.0]}, {"psnr": [0.0, 1.0]})
    assert compare({"psnr": [1.0, 2.0]}, {"psnr": [0.0, 1.0]}, bootstraps=None)[0].eps_min is None
