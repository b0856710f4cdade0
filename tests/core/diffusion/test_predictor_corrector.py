"""Predictor and corrector against a normal prior, whose score is linear."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.diffusion.samplers import Langevin, ancestral, predictor_corrector, reverse_diffusion, ve_ancestral
from core.diffusion.schedules import Cosine, Geometric, ve_times
from core.errors import UsageError
from tests.core.diffusion.gaussian import PRIOR, Probe, moments

EYE = torch.eye(3, dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)
VE = Geometric(0.05, 20.0)


def linear_steps(times, predictor, corrector: Langevin, *, corrector_first: bool, noisy_end: bool) -> tuple[Tensor, Tensor]:
    """Mean and covariance by the published steps in the score's own matrix: score = -(C + sigma^2)^-1 (x - mean)."""
    mean, cov = ZERO, VE.prior_sd**2 * EYE
    sigmas = [VE.alpha_sigma(t)[1] for t in times]

    def move(size: float, variance: float, sigma: float) -> None:
        nonlocal mean, cov
        pull = torch.linalg.inv(PRIOR.cov + sigma**2 * EYE)
        step = EYE - size * pull
        mean, cov = step @ mean + size * pull @ PRIOR.mean, step @ cov @ step.T + variance * EYE

    def settle(sigma: float) -> None:
        for _ in range(corrector.repeats if sigma > 0 else 0):
            size = 2 * (corrector.snr * sigma) ** 2
            move(size, 2 * size, sigma)

    for n, (t, s) in enumerate(pairwise(sigmas), 2):
        if corrector_first:
            settle(t)
        drop = t**2 - s**2
        variance = drop if predictor is reverse_diffusion else drop * s**2 / t**2
        move(drop, variance if n < len(sigmas) or noisy_end else 0.0, t)
        if not corrector_first:
            settle(s)
    return mean, cov


@pytest.mark.parametrize("predictor", [reverse_diffusion, ve_ancestral])
@pytest.mark.parametrize("corrector_first", [True, False])
@pytest.mark.parametrize(("repeats", "noisy_end"), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize("times", [ve_times(15), ve_times(15)[:-1]], ids=["to clean", "to the least sigma"])
def test_predictor_and_corrector_make_the_published_steps(predictor, corrector_first, repeats, noisy_end, times) -> None:
    corrector = Langevin(0.2, repeats, measured=False)
    options = {"predictor": predictor, "corrector_first": corrector_first, "noisy_end": noisy_end}
    uses = (len(times) - 1) * (repeats + 1)
    start = (ZERO, VE.prior_sd**2 * EYE)
    made = moments(predictor_corrector, PRIOR, VE, times, uses, *start, corrector=corrector, **options)
    expected = linear_steps(times, predictor, corrector, corrector_first=corrector_first, noisy_end=noisy_end)
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("predictor", [reverse_diffusion, ve_ancestral])
def test_predictions_come_to_have_the_prior_as_steps_grow(predictor) -> None:
    errors = []
    for steps in (100, 400):
        options = {"predictor": predictor, "corrector": Langevin(repeats=0)}
        mean, cov = moments(predictor_corrector, PRIOR, VE, ve_times(steps), steps, ZERO, VE.prior_sd**2 * EYE, **options)
        assert (mean - PRIOR.mean).norm() < 0.02
        errors.append(float((cov - PRIOR.cov).norm()))
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.1


def test_the_ancestral_predictor_alone_is_the_ancestral_sampler() -> None:
    probe, times = Probe(15), ve_times(15)
    arguments = (PRIOR.denoiser(VE), probe.start, VE, times, probe.noise)
    alone = predictor_corrector(*arguments, predictor=ve_ancestral, corrector=Langevin(repeats=0))
    torch.testing.assert_close(alone, ancestral(*arguments))


@pytest.mark.parametrize("snr", [0.05, 0.16])
def test_corrections_settle_at_the_marginal_but_for_their_step(snr: float) -> None:
    """x + e score + sqrt(2 e) n rests at variance v / (1 - e / 2 v), which is v for small steps."""
    sigma, corrector = 1.5, Langevin(snr, measured=False)
    v, e = 4.0 + sigma**2, 2 * (snr * sigma) ** 2
    one = torch.ones(1, dtype=torch.float64)
    pull = float(corrector.correct(one, one * 4.0 / v, sigma, one * 0))  # x0 of a prior of variance 4
    push = float(corrector.correct(one * 0, one * 0, sigma, one))
    assert push**2 / (1 - pull**2) == pytest.approx(v / (1 - e / (2 * v)), rel=1e-9)


def test_a_measured_correction_has_the_published_size_for_each_image_by_itself() -> None:
    draw = torch.Generator().manual_seed(1)
    x, x0, noise = (torch.randn(2, 1, 4, 5, 6, dtype=torch.float64, generator=draw) for _ in range(3))
    sigma, snr = 0.7, 0.16
    made = Langevin(snr).correct(x, x0, sigma, noise)
    for n in range(2):
        score = (x0[n] - x[n]) / sigma**2
        e = 2 * (snr * noise[n].norm() / score.norm()) ** 2
        torch.testing.assert_close(made[n], x[n] + e * score + (2 * e).sqrt() * noise[n])


def test_where_noise_prevails_both_sizes_of_correction_agree() -> None:
    draw = torch.Generator().manual_seed(1)
    eps, noise = (torch.randn(1, 1, 40, 40, 40, dtype=torch.float64, generator=draw) for _ in range(2))
    x = 3.0 * eps
    made = [Langevin(measured=measured).correct(x, x * 0, 3.0, noise) for measured in (True, False)]
    torch.testing.assert_close(*made, rtol=0, atol=0.03)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("corrector_first", [True, False])
def test_predictor_and_corrector_share_no_noise(repeats: int, corrector_first: bool) -> None:
    probe = Probe(30)
    options = {"corrector": Langevin(repeats=repeats, measured=False), "corrector_first": corrector_first, "noisy_end": True}
    made = predictor_corrector(PRIOR.denoiser(VE), probe.start, VE, ve_times(6), probe.noise, **options)
    corrected = 6 if corrector_first else 5
    assert probe.asked == [*range(1, 6 + corrected * repeats + 1)]
    assert all(one.trace() > 0 for one in probe.maps(made)[1][: len(probe.asked) + 1])


def test_a_schedule_that_shrinks_the_signal_is_refused_by_the_corrector() -> None:
    with pytest.raises(UsageError, match=r"schedule-unfit: .*\. Use Geometric"):
        predictor_corrector(pytest.fail, ZERO, Cosine(), [0.9, 0.1], pytest.fail)


def test_what_is_not_said_is_as_the_code_of_song_et_al():
    """One correction at each time, before the step."""
    times, numbers = ve_times(6), []

    def noise(number: int) -> Tensor:
        numbers.append(number)
        return torch.full((3,), 0.1 * number, dtype=torch.float64)

    def run(**how) -> Tensor:
        return predictor_corrector(PRIOR.denoiser(VE), torch.ones(3, dtype=torch.float64), VE, times, noise, **how)

    plain = run()
    assert torch.equal(plain, run(corrector=Langevin(0.16, 1, True), corrector_first=True))
    assert not torch.equal(plain, run(corrector_first=False))
    assert not torch.equal(plain, run(corrector=Langevin(repeats=0)))
