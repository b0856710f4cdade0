"""Agreement between scanners, against closed forms and published figures."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import FeaturesError
from core.evaluation.agreement import icc, identified, slope_of

SHROUT_FLEISS = np.array(  # Shrout & Fleiss 1979, table 2: six targets, four judges; their ICC(2,1) is .29
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]]
)


def test_the_published_example():
    assert icc(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)


def test_an_offset_of_a_scanner_counts_against_agreement_and_a_unit_does_not():
    persons = np.arange(10.0)
    alike = np.stack([persons, persons], axis=1)
    assert icc(alike) == pytest.approx(1)
    shifted = alike + np.array([0, 5.0])
    persons_ms, scanners_ms = 2 * persons.var(ddof=1), 10 * 2 * 2.5**2  # no error is left
    assert icc(shifted) == pytest.approx(persons_ms / (persons_ms + 2 * scanners_ms / 10))
    assert icc(1000 * shifted) == pytest.approx(icc(shifted))
    assert icc(np.full((4, 3), 7.0)) == 0


def test_who_is_alike_on_all_scanners_is_identified_and_noise_is_not():
    draw = np.random.default_rng(0)
    own = draw.standard_normal((40, 1, 8)).repeat(3, axis=1)
    assert identified(own + 0.01 * draw.standard_normal(own.shape)) == 1
    assert identified(draw.standard_normal(own.shape)) < 0.12
    assert identified(np.concatenate([own * [1] * 8, np.ones((40, 3, 2))], axis=2)) == 1  # what does not vary does not count


def test_a_slope_and_its_interval():
    draw, x = np.random.default_rng(0), np.arange(30.0)
    assert slope_of(x, 2 * x + 1).slope == pytest.approx(2)
    inside = [slope_of(x, 2 * x + draw.normal(0, 5, 30)) for _ in range(400)]
    assert np.mean([one.low <= 2 <= one.high for one in inside]) == pytest.approx(0.95, abs=0.03)


def test_too_few_are_refused():
    with pytest.raises(FeaturesError, match=r"agreement-few: expected two persons or more, each seen by two scanners"):
        icc(np.zeros((1, 3)))
    with pytest.raises(FeaturesError, match="agreement-few"):
        identified(np.zeros((4, 1, 2)))
    with pytest.raises(FeaturesError, match="agreement-few"):
        slope_of(np.ones(5), np.arange(5.0))
