"""Schedules against their formulas and published figures; grids of times against the steps that the papers' code walks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from core.diffusion.schedules import (
    CLEAN,
    CLEAN_VE,
    Cosine,
    Discrete,
    Geometric,
    check_times,
    continuous_times,
    ddim_times,
    ve_times,
)
from core.errors import UsageError

BRAIN = Discrete.scaled_linear(1000, 0.0015, 0.0205)
ZOOM = Discrete.scaled_linear(1000, 0.0015, 0.0155)
DDPM = Discrete.linear(1000, 1e-4, 0.02)
SRMRI = Geometric(0.01, 378.0)
CASES = [
    (Cosine(), continuous_times(20)),
    (BRAIN, ddim_times(45)),
    (ZOOM, ddim_times(200)),
    (DDPM, [*range(999, -2, -1)]),
    (SRMRI, ve_times(50)),
]


@pytest.mark.parametrize(("schedule", "times"), CASES)
def test_noise_falls_with_time_and_log_snr_says_the_same_as_alpha_and_sigma(schedule, times) -> None:
    levels = [schedule.alpha_sigma(t) for t in times]
    assert all(a[1] / a[0] > b[1] / b[0] for a, b in pairwise(levels))
    for t, (alpha, sigma) in zip(times, levels, strict=True):
        expected = 2 * math.log(alpha / sigma) if sigma > 0 else math.inf
        assert schedule.log_snr(t) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert alpha == 1 if schedule is SRMRI else alpha**2 + sigma**2 == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("t", [0, 0.05, 0.5, 0.95, 0.999])
def test_cosine_has_the_alpha_of_its_paper(t: float) -> None:
    alpha, _ = Cosine().alpha_sigma(t)
    assert alpha == pytest.approx(math.cos((t + 0.008) / 1.008 * math.pi / 2), rel=1e-12)
    published = -math.log(math.cos((t + 0.008) / 1.008 * math.pi / 2) ** -2 - 1)
    assert Cosine().log_snr(t) == pytest.approx(published, rel=1e-9)


def test_cosine_keeps_to_its_bounds() -> None:
    assert Cosine().log_snr(1) == -20
    assert Cosine().alpha_sigma(1)[0] == pytest.approx(4.54e-5, rel=1e-3)
    assert Cosine(offset=0.0).log_snr(0) == pytest.approx(-math.log(1e-5))


def test_tables_have_the_published_figures() -> None:
    kept = BRAIN.alphas_cumprod
    assert kept.dtype == np.float64
    assert kept[[0, 500, 999]] == pytest.approx([0.9985, 0.10768, 9.69e-5], rel=1e-3)
    assert ZOOM.alphas_cumprod[[0, 999]] == pytest.approx([0.9985, 6.69e-4], rel=1e-3)
    assert DDPM.alphas_cumprod[[0, 999]] == pytest.approx([0.9999, 4.036e-5], rel=1e-3)
    assert BRAIN.alpha_sigma(500)[0] ** 2 == pytest.approx(kept[500], rel=1e-15)


def test_clean_is_clean() -> None:
    assert BRAIN.alpha_sigma(CLEAN) == (1, 0)
    assert SRMRI.alpha_sigma(CLEAN_VE) == (1, 0)
    assert BRAIN.log_snr(CLEAN) == SRMRI.log_snr(CLEAN_VE) == math.inf


def test_what_sampling_starts_from() -> None:
    assert Cosine().prior_sd == BRAIN.prior_sd == 1
    assert SRMRI.prior_sd == SRMRI.alpha_sigma(1)[1] == pytest.approx(378)


def test_continuous_times_are_exact() -> None:
    assert continuous_times(20) == [n / 20 for n in range(20, -1, -1)]
    assert continuous_times(1) == [1, 0]


@pytest.mark.parametrize(("asked", "steps", "first", "stride"), [(45, 46, 991, 22), (150, 167, 997, 6), (200, 200, 996, 5)])
def test_ddim_times_are_those_of_the_papers_code(asked: int, steps: int, first: int, stride: int) -> None:
    times = ddim_times(asked)
    assert len(times) == steps + 1
    assert times == [*range(first, 0, -stride), 0]
    assert times[-2:] == [1, 0]


@pytest.mark.parametrize(("asked", "fits"), [(333, 250), (1000, 500), (700, 500), (105, 100), (0, 1), (1001, 500), (-3, 1)])
def test_ddim_times_that_leave_the_table_are_refused_and_the_next_count_that_fits_is_told(asked: int, fits: int) -> None:
    with pytest.raises(UsageError, match=rf"ddim-grid: expected .* 1000 timesteps, but got {asked} steps. Ask for {fits}\."):
        ddim_times(asked)
    assert ddim_times(fits)[0] < 1000


def test_ve_times_walk_the_discrete_sigmas_of_score_sde() -> None:
    sigmas = [SRMRI.alpha_sigma(t)[1] for t in ve_times(2000)]
    assert sigmas[:-1] == pytest.approx(np.geomspace(378, 0.01, 2000), rel=1e-12)
    assert sigmas[-1] == 0
    near = [SRMRI.alpha_sigma(t)[1] for t in ve_times(2000, 1e-5)]
    assert near[:-1] == pytest.approx(sigmas[:-1], rel=1.1e-4)
    assert ve_times(1) == [1, CLEAN_VE]


@pytest.mark.parametrize(
    ("schedule", "times"),
    [(Cosine(), [-0.1, 1.01, math.nan]), (BRAIN, [0.5, -2, 1000, math.nan]), (SRMRI, [-1, 2, math.nan])],
)
def test_times_that_a_schedule_does_not_have_are_refused(schedule, times) -> None:
    for t in times:
        with pytest.raises(UsageError, match=r"time-outside: expected .*, but got .*\. Make the times by"):
            schedule.alpha_sigma(t)


@pytest.mark.parametrize("times", [[], [1.0], [0.5, 0.5, 0], [0, 1], [1.0, math.nan, 0.0]])
def test_times_must_fall(times) -> None:
    with pytest.raises(UsageError, match="times-invalid"):
        check_times(times)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Discrete.linear(10, 0.0, 0.1),
        lambda: Discrete.linear(10, 0.1, 1.0),
        lambda: Discrete.linear(0, 0.1, 0.2),
        lambda: Geometric(1.0, 0.1),
        lambda: Geometric(0.0, 1.0),
        lambda: continuous_times(0),
        lambda: ve_times(0),
    ],
)
def test_schedules_and_counts_that_cannot_be_are_refused(make) -> None:
    with pytest.raises(UsageError, match=r"invalid: expected .*, but got"):
        make()
