"""Orders of readers, and how far they agree, against the definitions."""

from __future__ import annotations

import sys
from itertools import permutations

import numpy as np
import pytest

from core.evaluation.reading import agreement, krippendorff_alpha, most_frequent, order_of, weighted_kappa

NAN = float("nan")


def test_each_reader_has_an_order_of_their_own_that_stays() -> None:
    series = [f"{n:02}" for n in range(12)]
    orders = {reader: order_of(series, 0, reader) for reader in ("a", "b", "ab", "ba")}
    assert all(sorted(order) == series for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert orders["a"] == order_of(series, 0, "a") != order_of(series, 1, "a")


def test_levels_that_tie_are_all_told() -> None:
    assert most_frequent([2, 3, 3, 2, 1]) == [2, 3]
    assert most_frequent([4]) == [4]


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """1 - observed over expected squared distances."""
    apart = np.subtract.outer(a, b) ** 2
    return 1 - ((a - b) ** 2).mean() / apart.mean()


def test_weighted_kappa_is_its_definition_on_common_series() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(1, 5, (2, 20)).astype(float)
    assert weighted_kappa(a, b) == pytest.approx(kappa(a, b))
    assert weighted_kappa(a, a) == 1
    assert weighted_kappa(np.append(a, NAN), np.append(b, 4)) == pytest.approx(kappa(a, b))
    assert weighted_kappa(np.full(3, 2.0), np.full(3, 2.0)) is None
    assert weighted_kappa(np.array([1, NAN]), np.array([NAN, 2])) is None


def alpha(levels: np.ndarray) -> float:
    """Krippendorff's by all ordered pairs of answers: within series for the observed, of all for the expected disagreement."""
    units = [column[np.isfinite(column)] for column in levels.T]
    units = [unit for unit in units if len(unit) > 1]
    values = np.concatenate(units)
    counts = {level: (values == level).sum() for level in range(1, 5)}

    def apart(a: float, b: float) -> float:
        low, high = sorted((int(a), int(b)))
        return (sum(counts[level] for level in range(low, high + 1)) - (counts[low] + counts[high]) / 2) ** 2

    observed = sum(sum(apart(*pair) for pair in permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(values)
    expected = sum(apart(*pair) for pair in permutations(values, 2)) / (len(values) * (len(values) - 1))
    return 1 - observed / expected


def test_alpha_is_its_definition_with_missing_answers() -> None:
    draw = np.random.default_rng(1)
    levels = (draw.integers(1, 4, 12) + draw.integers(0, 2, (4, 12))).astype(float)
    levels[draw.random((4, 12)) < 0.3] = NAN
    assert krippendorff_alpha(levels) == pytest.approx(alpha(levels))
    assert 0.1 < alpha(levels) < 0.99
    assert krippendorff_alpha(np.full((2, 5), 3.0)) is None


def test_without_its_package_alpha_is_left_out_and_kappa_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    told = agreement(["a", "b", "c"], np.array([[1, 2, 3.0], [1, 2, 3], [3, 3, 3]]))
    assert told.alpha is None
    assert told.kappas["a", "b"] == 1
    assert told.kappas["a", "c"] == told.kappas["b", "c"] == 0
    assert told.kappa == pytest.approx(1 / 3)
