"""Known answers, symmetry and the rule of what is better, on scores whose truth is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import IsovoxError
from core.evaluation.metrics.significance import (
    Comparison,
    almost_stochastic_order,
    bootstrap_interval,
    compare,
    fewest_scans,
    holm,
    is_better,
    wilcoxon,
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


def test_wilcoxon_by_hand() -> None:
    assert wilcoxon(np.arange(1.0, 7.0)) == pytest.approx(2 * 2.0**-6)  # 6 of 6 with one sign
    assert wilcoxon(np.array([1.0])) == wilcoxon(np.zeros(9)) == 1.0
    assert wilcoxon(np.array([0.0, 0.0, *np.arange(1.0, 7.0)])) == wilcoxon(np.arange(1.0, 7.0))


def test_the_interval_is_that_of_a_mean() -> None:
    differences = np.random.default_rng(1).normal(0.5, 1.0, 400)
    low, high = bootstrap_interval(differences, seed=0) or (0, 0)
    error = 1.96 * differences.std() / 20
    assert (low, high) == pytest.approx((differences.mean() - error, differences.mean() + error), abs=0.01)


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    tries = [bootstrap_interval(draw.normal(1.0, 1.0, 40), seed=k, resamples=999) for k in range(300)]
    assert 0.90 <= np.mean([low < 1 < high for low, high in tries if low < high]) <= 0.98


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
    assert up.significant
    assert down.significant


def test_order_by_its_extremes() -> None:
    low, high = np.arange(10.0), np.arange(20.0, 30.0)
    assert almost_stochastic_order(high, low, seed=0, bootstraps=20) == 0.0
    assert almost_stochastic_order(low, high, seed=0, bootstraps=20) > 0.99
    assert almost_stochastic_order(low, low, seed=0, bootstraps=20) >= 0.5


def test_deepsig_prints_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    almost_stochastic_order(np.ones(3), np.ones(3), seed=0, bootstraps=5)
    assert capfd.readouterr() == ("", "")
    assert not [each for each in recwarn if "deepsig" in str(each.filename)]


def test_what_is_better_is_better() -> None:
    a, b = scores(12, 1.5)
    c, d = scores(12, -1.5, seed=1)
    better, reasons = is_better(
        compare({"psnr": a, "lpips": c}, {"psnr": b, "lpips": d}, lower_is_better={"lpips"}, bootstraps=50)
    )
    assert better
    assert [reason.split(" (")[0] for reason in reasons] == ["better by psnr", "better by lpips"]


def test_what_is_worse_by_one_metric_is_not_better() -> None:
    a, b = scores(12, 1.5)
    better, reasons = is_better(compare({"psnr": a, "ssim": b}, {"psnr": b, "ssim": a}, bootstraps=50))
    assert not better
    assert [reason.split(" (")[0] for reason in reasons] == ["might be worse by ssim"]
    assert "12 scans" in reasons[0]


def test_equal_scores_are_no_gain() -> None:
    (found,) = compare({"psnr": [30.0] * 8}, {"psnr": [30.0] * 8}, bootstraps=10)
    assert (found.difference, found.interval, found.p, found.p_holm, found.eps_min) == (0.0, (0.0, 0.0), 1.0, 1.0, 0.5)
    better, reasons = is_better([found])
    assert not better
    assert len(reasons) == 1
    assert reasons[0].startswith("not significantly better by psnr")


def test_a_metric_that_ties_throughout_does_not_stand_in_the_way() -> None:
    tied = Comparison("ssim", True, 20, 0.0, (0.0, 0.0), 1.0, 1.0, 0.5)
    assert is_better([comparison("psnr", 1.0, half=0.2, p=0.001), tied])[0]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (comparison("psnr", 1.0, half=1.1, p=0.001), "might be worse by psnr"),
        (comparison("psnr", 1.0, half=0.5, p=0.05), "not significantly better by psnr"),
        (comparison("psnr", 1.0, half=0.5, p=0.01, eps=0.5), "not significantly better by psnr"),
        (comparison("psnr", 1.0, half=0.5, p=0.01, eps=None), "not significantly better by psnr"),
        (comparison("psnr", -1.0, half=0.5, p=0.01), "might be worse by psnr"),
    ],
    ids=["interval", "p", "order", "order not computed", "worse"],
)
def test_each_of_the_three_figures_can_refuse(one: Comparison, said: str) -> None:
    better, reasons = is_better([one])
    assert not better
    assert reasons[0].startswith(said)


def test_a_margin_allows_to_be_a_little_worse() -> None:
    found = [comparison("psnr", 1.0, half=0.2, p=0.001), comparison("ssim", 0.0, half=0.01, p=0.9)]
    assert not is_better(found)[0]
    assert is_better(found, margins={"ssim": 0.02})[0]
    assert not is_better(found, margins={"ssim": 0.005})[0]


@pytest.mark.parametrize("n", [1, 2])
def test_few_scans_show_nothing_however_clear(n: int) -> None:
    (found,) = compare({"psnr": [40.0] * n}, {"psnr": [30.0 - k for k in range(n)]}, bootstraps=10)
    assert (found.interval is None, found.eps_min is None) == (n == 1, n == 1)
    better, reasons = is_better([found])
    assert not better
    assert reasons[-1] == f"{n} scans cannot show a difference by 1 metrics: at least 6 are needed"


@pytest.mark.parametrize("metrics", [1, 2, 3, 4])
def test_the_fewest_scans_are_enough_and_one_less_is_not(metrics: int) -> None:
    for n, enough in ((fewest_scans(metrics), True), (fewest_scans(metrics) - 1, False)):
        found = {f"m{k}": list(np.arange(1.0, n + 1)) for k in range(metrics)}
        assert (compare(found, {k: [0.0] * n for k in found}, bootstraps=None)[0].p_holm < 0.05) == enough


def test_a_comparison_is_one_line_and_a_json_value() -> None:
    found = compare({"psnr": [1.0]}, {"psnr": [0.0]})[0]
    assert "interval none for one scan" in str(found)
    assert "eps_min not computed" in str(found)
    assert found.to_json()["interval"] is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(IsovoxError, match=r"scores-finite: wanted finite scores of psnr; got others for scans \[1\]"):
        compare({"psnr": [1.0, 2.0]}, {"psnr": [1.0, wrong]})


@pytest.mark.parametrize(
    ("a", "b"),
    [({"psnr": [1.0]}, {"psnr": [1.0, 2.0]}), ({"psnr": []}, {"psnr": []}), ({"psnr": [1.0]}, {"ssim": [1.0]}), ({}, {})],
    ids=["other scans", "no scans", "other metrics", "no metrics"],
)
def test_scores_that_are_no_pairs_are_refused(a: dict[str, list[float]], b: dict[str, list[float]]) -> None:
    with pytest.raises(IsovoxError, match="scores-paired"):
        compare(a, b)


def test_without_deepsig_the_order_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepsig", None)
    with pytest.raises(IsovoxError, match="deepsig-missing"):
        compare({"psnr": [1.0, 2.0]}, {"psnr": [0.0, 1.0]})
    assert compare({"psnr": [1.0, 2.0]}, {"psnr": [0.0, 1.0]}, bootstraps=None)[0].eps_min is None
