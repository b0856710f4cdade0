"""Samplers against a normal prior, for which the exact denoiser makes every sampler affine and its answer known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.diffusion.samplers import (
    ADAMS_BASHFORTH,
    SAMPLERS,
    ancestral,
    ddim,
    dpm_solver,
    plms,
    prior,
    renoise,
    sde_dpm_solver,
)
from core.diffusion.schedules import Cosine, Discrete, Geometric, continuous_times, ddim_times, ve_times
from core.errors import UsageError
from tests.core.diffusion.gaussian import POINT, PRIOR, Probe, moments

EYE = torch.eye(3, dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)
COSINE = Cosine()
TABLE = Discrete.scaled_linear(1000, 0.0015, 0.0205)
VE = Geometric(0.05, 20.0)
GRIDS = [(COSINE, continuous_times(20)), (TABLE, ddim_times(45)), (TABLE, range(956, -2, -33)), (COSINE, [0.9, 0.7, 0.65, 0.2])]
DETERMINISTIC = {"ddim": ddim, "plms": plms, "dpm-solver++": dpm_solver}
NO_NOISE: Callable[[int], Tensor] = lambda number: pytest.fail(f"asked for the noise {number}")  # noqa: E731


def posterior(level_t, level_s) -> tuple[float, float, float]:
    """q(x_s | x_t, x0) by conditioning the joint normal of both: weights of x_t and x0, and the variance."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = level_t, level_s
    shared = alpha_t / alpha_s * sigma_s**2
    return shared / sigma_t**2, alpha_s - shared / sigma_t**2 * alpha_t, sigma_s**2 - shared**2 / sigma_t**2


# --- with noise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_ancestral_draws_from_the_posterior_of_each_step(schedule, times) -> None:
    steps = len(times) - 1
    mean, cov = PRIOR.marginal(schedule.alpha_sigma(times[0]))
    made = moments(ancestral, PRIOR, schedule, times, steps, mean, cov)
    for n, (t, s) in enumerate(pairwise(times), 1):
        level = schedule.alpha_sigma(t)
        of_x, of_x0, variance = posterior(level, schedule.alpha_sigma(s))
        gain = PRIOR.gain(level)
        step = of_x * EYE + of_x0 * gain
        mean = step @ mean + of_x0 * (PRIOR.mean - level[0] * gain @ PRIOR.mean)
        cov = step @ cov @ step.T + (variance if n < steps else 0) * EYE
    torch.testing.assert_close(made, (mean, cov))


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_renoise_keeps_nothing_but_the_prediction(schedule, times) -> None:
    steps = len(times) - 1
    mean, cov = PRIOR.marginal(schedule.alpha_sigma(times[0]))
    made = moments(renoise, PRIOR, schedule, times, steps, mean, cov)
    for n, (t, s) in enumerate(pairwise(times), 1):
        (alpha_t, _), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        gain = alpha_s * PRIOR.gain(schedule.alpha_sigma(t))
        mean = alpha_s * PRIOR.mean + gain @ (mean - alpha_t * PRIOR.mean)
        cov = gain @ cov @ gain.T + (sigma_s**2 if n < steps else 0) * EYE
    torch.testing.assert_close(made, (mean, cov))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_where_the_image_is_known_ddim_has_the_marginal_at_any_eta(schedule, times, eta: float) -> None:
    mean, cov = POINT.marginal(schedule.alpha_sigma(times[0]))
    made = moments(ddim, POINT, schedule, times, len(times) - 1, mean, cov, eta=eta)
    torch.testing.assert_close(made, POINT.marginal(schedule.alpha_sigma(times[-1])))


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_where_the_image_is_known_ancestral_has_the_marginal_but_for_the_last_noise(schedule, times) -> None:
    mean, cov = POINT.marginal(schedule.alpha_sigma(times[0]))
    made = moments(ancestral, POINT, schedule, times, len(times) - 1, mean, cov)
    expected, whole = POINT.marginal(schedule.alpha_sigma(times[-1]))
    left = math.exp(schedule.log_snr(times[-2]) - schedule.log_snr(times[-1]))
    torch.testing.assert_close(made, (expected, whole * left))


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_ddim_with_eta_1_is_ancestral_with_noise_at_the_end(schedule, times) -> None:
    probe = Probe(len(times) - 1)
    run = [s(PRIOR.denoiser(schedule), probe.start, schedule, times, probe.noise) for s in (ancestral, eta_of(1.0))]
    (offset, one), (same, other) = (probe.maps(x) for x in run)
    torch.testing.assert_close(offset, same)
    torch.testing.assert_close(one[:-1], other[:-1])
    *_, variance = posterior(*(schedule.alpha_sigma(t) for t in times[-2:]))
    torch.testing.assert_close(other[-1], math.sqrt(variance) * EYE)
    assert not one[-1].any()


def eta_of(eta: float):
    return lambda *arguments: ddim(*arguments, eta=eta)


def error_of_the_prior(sampler, steps: int, **options) -> tuple[float, float]:
    """How far the samples' mean and covariance are from the prior's."""
    mean, cov = moments(sampler, PRIOR, COSINE, continuous_times(steps), steps, ZERO, EYE, **options)
    expected, whole = PRIOR.marginal(COSINE.alpha_sigma(0))
    return float((mean - expected).norm()), float((cov - whole).norm())


@pytest.mark.parametrize("sampler", [ancestral, eta_of(0.5), eta_of(1.0)], ids=["ancestral", "eta 0.5", "eta 1"])
def test_samples_come_to_have_the_prior_as_steps_grow(sampler) -> None:
    coarse, fine = error_of_the_prior(sampler, 50), error_of_the_prior(sampler, 200)
    assert coarse[0] < 1e-3
    assert 3.0 < coarse[1] / fine[1] < 5.5
    assert fine[1] < 0.06


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_the_first_step_of_sde_dpm_solver_is_that_of_ddim_with_all_its_noise(schedule, times) -> None:
    made = []
    for sampler in (sde_dpm_solver, eta_of(1.0)):
        probe = Probe(1)
        made.append(sampler(PRIOR.denoiser(schedule), probe.start, schedule, times[:2], probe.noise))
    torch.testing.assert_close(*made)


@pytest.mark.parametrize(("schedule", "times"), GRIDS)
def test_where_the_image_is_known_sde_dpm_solver_has_the_marginal(schedule, times) -> None:
    uses, level = len(times) - 1, schedule.alpha_sigma(times[0])
    mean, cov = moments(sde_dpm_solver, POINT, schedule, times, uses, *POINT.marginal(level))
    expected, whole = POINT.marginal(schedule.alpha_sigma(times[-1]))
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(cov, whole, atol=1e-9, rtol=1e-6)


def test_the_second_order_of_sde_dpm_solver_saves_steps() -> None:
    first, second = error_of_the_prior(eta_of(1.0), 50), error_of_the_prior(sde_dpm_solver, 50)
    assert second[1] < first[1] / 4
    assert error_of_the_prior(sde_dpm_solver, 200)[1] < second[1] / 3


def test_many_steps_of_renoise_keep_half_of_the_variance() -> None:
    """With V the samples' covariance and r the noise-to-signal ratio a step makes of V: V (1 - 2 r / C) + r, at rest at C / 2."""
    mean, cov = moments(renoise, PRIOR, COSINE, continuous_times(600), 600, ZERO, EYE)
    assert (mean - PRIOR.mean).norm() < 1e-3
    assert (cov - PRIOR.cov / 2).norm() < 0.05 * PRIOR.cov.norm()


# --- deterministic ------------------------------------------------------------------------------------------------------


class Straight:
    """sigma = t beside an untouched signal: noise over signal, along which DDIM moves, is even in time, and PLMS at its best."""

    prior_sd = 10.0

    def log_snr(self, t: float) -> float:
        return -2 * math.log(t)

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        return 1.0, t


def error_of_the_flow(sampler, schedule, times) -> float:
    """How far the affine map is from that of the probability flow."""
    probe = Probe(0)
    offset, (matrix,) = probe.maps(sampler(PRIOR.denoiser(schedule), probe.start, schedule, times, NO_NOISE))
    expected, exact = PRIOR.flow(schedule.alpha_sigma(times[0]), schedule.alpha_sigma(times[-1]))
    return float((offset - expected).norm() + (matrix - exact).norm())


def order(sampler, schedule, first: float, last: float, steps: int) -> tuple[float, float]:
    """Observed order of convergence from ``steps`` to twice as many, and the error of the finer one."""
    grids = [[first + (last - first) * k / n for k in range(n + 1)] for n in (steps, 2 * steps)]
    coarse, fine = (error_of_the_flow(sampler, schedule, grid) for grid in grids)
    return math.log2(coarse / fine), fine


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [(ddim, COSINE, 1), (plms, COSINE, 2), (dpm_solver, COSINE, 2), (ddim, Straight(), 1), (plms, Straight(), 4)],
)
def test_the_flow_is_reached_at_the_order_of_the_method(sampler, schedule, expected: int) -> None:
    first, last = (0.95, 0.05) if schedule is COSINE else (6.0, 0.5)
    reached, error = order(sampler, schedule, first, last, 200)
    assert reached == pytest.approx(expected, abs=0.25)
    assert error < {1: 0.01, 2: 5e-5, 4: 5e-8}[expected]


def test_on_the_papers_grids_more_order_is_less_error() -> None:
    errors = {name: error_of_the_flow(sampler, TABLE, ddim_times(50)) for name, sampler in DETERMINISTIC.items()}
    assert errors["plms"] < errors["ddim"] / 5
    assert errors["dpm-solver++"] < errors["ddim"] / 2


@pytest.mark.parametrize(("schedule", "times"), [*GRIDS, (VE, ve_times(12)), (VE, ve_times(1)), (TABLE, [500, -1])])
@pytest.mark.parametrize("sampler", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_where_the_image_is_known_any_step_is_exact(sampler, schedule, times) -> None:
    probe = Probe(0)
    offset, (matrix,) = probe.maps(sampler(POINT.denoiser(schedule), probe.start, schedule, times, NO_NOISE))
    expected, exact = POINT.flow(schedule.alpha_sigma(times[0]), schedule.alpha_sigma(times[-1]))
    torch.testing.assert_close(offset, expected)
    torch.testing.assert_close(matrix, exact)


@pytest.mark.parametrize(("steps", "degree"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_adams_bashforth_integrates_polynomials(steps: int, degree: int) -> None:
    """Where eps is t^k, the step from t to t - h adds the exact integral, once the history is long enough; Heun's start is of
    degree 1 as well.
    """
    schedule, times = Straight(), [2 - 0.125 * n for n in range(steps + 1)]
    for k in range(degree + 1):
        known = lambda x, t: x - t * t**k  # noqa: B023, E731
        before, after = (plms(known, ZERO, schedule, times[:n], NO_NOISE) if n > 1 else ZERO for n in (steps, steps + 1))
        exact = (times[steps] ** (k + 1) - times[steps - 1] ** (k + 1)) / (k + 1)
        torch.testing.assert_close(after - before, ZERO + exact)


def test_dpm_solver_takes_the_image_of_the_middle_of_its_step_also_on_uneven_times() -> None:
    """Where x0 is half the log-SNR, drawing on the line through the last two gives its value half-way."""
    times = [0.9, 0.7, 0.65, 0.2]
    known = lambda x, t: x * 0 + COSINE.log_snr(t) / 2  # noqa: E731
    for n in (2, 3):
        (_, sigma_t), (alpha_s, sigma_s) = (COSINE.alpha_sigma(t) for t in times[n - 1 : n + 1])
        half, next_half = (COSINE.log_snr(t) / 2 for t in times[n - 1 : n + 1])
        before = dpm_solver(known, ZERO + 1, COSINE, times[:n], NO_NOISE)
        after = dpm_solver(known, ZERO + 1, COSINE, times[: n + 1], NO_NOISE)
        decay = math.exp(half - next_half)
        torch.testing.assert_close(after, before * sigma_s / sigma_t + alpha_s * (1 - decay) * (half + next_half) / 2)


@pytest.mark.parametrize("sampler", [dpm_solver, sde_dpm_solver])
def test_a_step_to_where_no_noise_is_left_is_the_last_image_predicted(sampler) -> None:
    """Nothing is drawn out of the two last images there: the step is infinite in the log-SNR."""
    times = ve_times(4)
    made = sampler(lambda x, t: x * 0 + t, ZERO + 1, VE, times, lambda _: ZERO)
    torch.testing.assert_close(made, ZERO + times[-2])


def test_adams_bashforth_weighs_to_one() -> None:
    assert all(sum(weights) == pytest.approx(1) and len(weights) == n for n, weights in ADAMS_BASHFORTH.items())


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "predictor-corrector"])
def test_every_time_is_evaluated_once_and_by_plms_the_second_twice(name: str) -> None:
    asked: list[float] = []
    times = ddim_times(45)

    def denoise(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return x

    SAMPLERS[name](denoise, ZERO, TABLE, times, lambda _: ZERO)
    expected = times[:-1]
    assert asked == ([*expected[:2], *expected[1:]] if name == "plms" else expected)


def test_ddim_ends_at_the_first_entry_of_the_table_and_not_at_one() -> None:
    """The end of the papers' grid: with x0 known and no noise in it, what is left is sqrt(1 - abar(0)) eps."""
    x = torch.ones(3, dtype=torch.float64)
    made = ddim(lambda x, _: x * 0, x, TABLE, ddim_times(45), NO_NOISE)
    torch.testing.assert_close(made, x * math.sqrt(0.0015) / math.sqrt(1 - TABLE.alphas_cumprod[991]))


def test_gradients_go_through_the_whole_chain() -> None:
    start = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sampler in DETERMINISTIC.values():
        run = lambda x: sampler(PRIOR.denoiser(TABLE), x, TABLE, ddim_times(45), NO_NOISE)  # noqa: B023, E731
        probe = Probe(0)
        _, (matrix,) = probe.maps(run(probe.start))
        torch.testing.assert_close(torch.autograd.functional.jacobian(run, start), matrix)


# --- what holds for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "last"), [(ancestral, 19), (renoise, 19), (eta_of(0.5), 20)])
def test_every_step_adds_noise_of_its_own_and_none_that_of_the_start(sampler, last: int) -> None:
    probe = Probe(20)
    made = sampler(PRIOR.denoiser(COSINE), probe.start, COSINE, continuous_times(20), probe.noise)
    assert probe.asked == [*range(1, last + 1)]
    assert all(one.trace() > 0 for one in probe.maps(made)[1][: last + 1])


def test_the_start_has_the_schedules_spread_and_the_noise_of_number_0() -> None:
    assert prior(VE, lambda number: ZERO + 2 + number).tolist() == [40, 40, 40]
    assert prior(COSINE, lambda number: ZERO + 2 + number).tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_predicted_image_is_clamped(name: str) -> None:
    schedule, times = (VE, ve_times(8)) if name == "predictor-corrector" else (TABLE, range(959, -2, -120))
    seen = []

    def clamp(x0: Tensor) -> Tensor:
        seen.append(x0)
        return x0 * 0 + 0.25

    made = SAMPLERS[name](lambda x, _: x, ZERO + 1, schedule, times, lambda _: ZERO + 1, clamp=clamp)
    assert len(seen) >= 8
    torch.testing.assert_close(made, ZERO + 0.25)


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_from_the_very_start_is_close_to_float64(name: str) -> None:
    """Though alpha is 4.5e-5 at t = 1 of the cosine schedule; PLMS is for tables."""
    grids = {"predictor-corrector": (VE, ve_times(20)), "plms": (TABLE, ddim_times(45))}
    schedule, times = grids.get(name, (COSINE, continuous_times(20)))
    field = torch.randn(50, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    made = [
        SAMPLERS[name](PRIOR.denoiser(schedule), prior(schedule, noise), schedule, times, noise)
        for noise in (lambda n: field[n % 50], lambda n: field[n % 50].float())
    ]
    assert made[1].dtype == torch.float32
    torch.testing.assert_close(made[1].double(), made[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_times_that_do_not_fall_are_refused_before_the_first_prediction(name: str) -> None:
    with pytest.raises(UsageError, match=r"times-invalid: expected times that fall, but got 0.2 and then 0.5\. Sort them"):
        SAMPLERS[name](NO_NOISE, ZERO, VE, [0.9, 0.2, 0.5], NO_NOISE)


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_without_meaning_is_refused(eta: float) -> None:
    with pytest.raises(UsageError, match="eta-outside: expected eta from 0 to 1"):
        ddim(NO_NOISE, ZERO, COSINE, [0.9, 0.1], NO_NOISE, eta=eta)
