"""From noise to image: ancestral, re-noise, DDIM, PLMS, DPM-Solver++ (2M), the same with noise, and predictor-corrector.

Each reads like its paper's algorithm, one step from time t to the next time s a turn of the loop, and takes the same things:

    denoise   x and t to the expected image x0; ``core.diffusion.predictions.denoiser`` makes one of any network
    start     x at times[0], commonly ``prior(schedule, noise)``
    schedule  alpha and sigma of a time
    times     explicit, falling, the last one that of the result; see ``core.diffusion.schedules``
    noise     of a number, standard normal in the shape of ``start``: 0 is the start's, then one number for each use
    clamp     applied to every predicted image, None leaves them

Samplers work point by point, so a crop of the noise gives the crop of the sample, bit for bit, where ``denoise`` is pointwise
too. They are out of place and keep gradients: who wants none calls them under ``torch.no_grad``. l is the log-SNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Protocol

from core.diffusion.predictions import Denoise, eps_from_x0, score_from_x0, x0_from_eps
from core.diffusion.schedules import Level, Schedule, check_times
from core.errors import UsageError
from core.geometry.grid import Box
from core.noise import Key, normal_tensor

if TYPE_CHECKING:
    from torch import Tensor

Noise = Callable[[int], "Tensor"]
Clamp = Callable[["Tensor"], "Tensor"]
Predictor = Callable[["Tensor", "Tensor", float, float, "Tensor | None"], "Tensor"]

START = 0  # number of the start's noise
ADAMS_BASHFORTH = {  # weights of the newest prediction and those before it, by how many there are
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


class Sampler(Protocol):
    """What the samplers of ``SAMPLERS`` have in common."""

    def __call__(
        self,
        denoise: Denoise,
        start: Tensor,
        schedule: Schedule,
        times: Sequence[float],
        noise: Noise,
        *,
        clamp: Clamp | None = None,
    ) -> Tensor:
        """The sample at ``times[-1]``, in the shape of ``start``.

        Raises:
            UsageError: times that do not fall, or that the schedule does not know.
        """
        ...


def voxel_noise(box: Box, key: Key, device: str) -> Noise:
    """Noise of a box of the target grid, (x, y, z) float32: a tile's is the crop of the volume's (see ``core.noise``).

    Args:
        box: of voxel indices on the whole target grid.
        key: of the scan, from ``core.noise.field_key``.
        device: of torch.
    """
    return lambda number: normal_tensor(box, key, number, device)


def stacked(noises: Sequence[Noise]) -> Noise:
    """The noise of several tiles as a batch of one channel: (n, 1, x, y, z) of n times (x, y, z)."""

    def noise(number: int) -> Tensor:
        import torch

        return torch.stack([each(number) for each in noises])[:, None]

    return noise


def prior(schedule: Schedule, noise: Noise) -> Tensor:
    """What sampling starts from: pure noise of the schedule's standard deviation."""
    return noise(START) * schedule.prior_sd


def ancestral(
    denoise: Denoise, start: Tensor, schedule: Schedule, times: Sequence[float], noise: Noise, *, clamp: Clamp | None = None
) -> Tensor:
    """Draw x_s from the posterior q(x_s | x_t, x0) with the predicted x0 (Ho et al. 2020; Kingma et al. 2021).

    As the code of Kim et al. 2023. With c = 1 - exp(l_t - l_s): mean = alpha_s (x_t (1 - c) / alpha_t + c x0), variance =
    sigma_s^2 c; the last step adds no noise. See ``Sampler`` for the arguments.
    """
    image, x = _clamped(denoise, clamp), start
    for n, t, s in _steps(times):
        (alpha_t, _), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        c = _share(schedule, t, s)
        x = x * (alpha_s * (1 - c) / alpha_t) + image(x, t) * (alpha_s * c)
        if n < len(times) - 1:
            x = x + noise(n) * (sigma_s * math.sqrt(c))
    return x


def renoise(
    denoise: Denoise, start: Tensor, schedule: Schedule, times: Sequence[float], noise: Noise, *, clamp: Clamp | None = None
) -> Tensor:
    """Noise the predicted image afresh at every step: x_s = alpha_s x0 + sigma_s n (Kim et al. 2023, algorithm 2).

    As in the paper, not in its code: nothing of x_t but the prediction lives on. The last step adds no noise, and its alpha,
    0.99992 at t = 0, stays. That is no reversal of the forward process: for a normal posterior and many steps the samples have
    half of its variance, so look smoother than they should. See ``Sampler`` for the arguments.
    """
    image, x = _clamped(denoise, clamp), start
    for n, t, s in _steps(times):
        alpha_s, sigma_s = schedule.alpha_sigma(s)
        x = image(x, t) * alpha_s
        if n < len(times) - 1:
            x = x + noise(n) * sigma_s
    return x


def ddim(
    denoise: Denoise,
    start: Tensor,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,
    *,
    clamp: Clamp | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12): x_s = alpha_s x0 + sqrt(sigma_s^2 - v) eps + sqrt(v) n with v = eta^2 sigma_s^2 c.

    c = 1 - exp(l_t - l_s) is their (1 - a_t / a_s) / (1 - a_t), for any schedule. The last step adds noise too.

    Args:
        denoise: see ``Sampler``, as for all the others.
        start: x at times[0].
        schedule: alpha and sigma of a time.
        times: falling.
        noise: not used where ``eta`` is 0.
        clamp: of the predicted images; the noise is then that which leads to the clamped image.
        eta: 0 is deterministic, 1 has the variance of ``ancestral``.

    Raises:
        UsageError: eta outside [0, 1], or times as for ``Sampler``.
    """
    if not 0 <= eta <= 1:
        raise UsageError("eta-outside", "eta from 0 to 1", str(eta), "choose 0 for deterministic steps, 1 for ancestral ones")
    image, x = _clamped(denoise, clamp), start
    for n, t, s in _steps(times):
        alpha_s, sigma_s = schedule.alpha_sigma(s)
        x0, c = image(x, t), _share(schedule, t, s)
        eps = eps_from_x0(x, x0, schedule.alpha_sigma(t))
        x = x0 * alpha_s + eps * (sigma_s * math.sqrt(1 - eta**2 * c))
        if eta > 0 and sigma_s > 0:
            x = x + noise(n) * (eta * sigma_s * math.sqrt(c))
    return x


def plms(
    denoise: Denoise,
    start: Tensor,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,  # noqa: ARG001
    *,
    clamp: Clamp | None = None,
) -> Tensor:
    """Pseudo linear multistep (Liu et al. 2022, "PNDM", as latent-diffusion has it): DDIM moves along combined noises.

    The first step is Heun's (n + 1 evaluations for n steps), the next ones take Adams-Bashforth weights of order 2, 3 and from
    then on 4. The raw noise of each time goes into the history, not the combined one. Deterministic. For tables, whose first
    alpha is about 0.01 or more: from t = 1 of a cosine schedule the first steps are too long for it, and ``dpm_solver`` is not.
    See ``Sampler``.
    """
    image, x = _clamped(denoise, clamp), start
    history: list[Tensor] = []
    for _, t, s in _steps(times):
        here, there = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        eps = eps_from_x0(x, image(x, t), here)
        history = [eps, *history[:3]]
        combined = _weighted(history)
        if len(history) == 1 and there[1] > 0:
            trial = _move(x, eps, here, there)
            combined = (eps + eps_from_x0(trial, image(trial, s), there)) / 2
        x = _move(x, combined, here, there)
    return x


def dpm_solver(
    denoise: Denoise,
    start: Tensor,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,  # noqa: ARG001
    *,
    clamp: Clamp | None = None,
) -> Tensor:
    """DPM-Solver++ (2M) (Lu et al. 2022, algorithm 2): exponential integrator of second order in h = (l_s - l_t) / 2.

    x_s = sigma_s / sigma_t x_t - alpha_s (exp(-h) - 1) D with D = x0 + (x0 - previous x0) h / (2 previous h). The first step, and
    one to where no noise is left, take D = x0. Deterministic. See ``Sampler``.
    """
    image, x, before = _clamped(denoise, clamp), start, None
    for _, t, s in _steps(times):
        (_, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        x0, h = image(x, t), (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        slope = 0.0 if before is None or sigma_s == 0 else h / (2 * before[1])
        d = x0 if before is None else x0 + (x0 - before[0]) * slope
        x, before = x * (sigma_s / sigma_t) - d * (alpha_s * math.expm1(-h)), (x0, h)
    return x


def sde_dpm_solver(
    denoise: Denoise, start: Tensor, schedule: Schedule, times: Sequence[float], noise: Noise, *, clamp: Clamp | None = None
) -> Tensor:
    """SDE-DPM-Solver++ (2M) (Lu et al. 2022, appendix; algorithm 2 for the reversal with noise), h = (l_s - l_t) / 2.

    x_s = sigma_s / sigma_t exp(-h) x_t + alpha_s (1 - exp(-2h)) D + sigma_s sqrt(1 - exp(-2h)) n, D as in ``dpm_solver``. With
    D = x0 that is DDIM with eta = 1. A step to where no noise is left is x0. See ``Sampler`` for the arguments.
    """
    image, x, before = _clamped(denoise, clamp), start, None
    for n, t, s in _steps(times):
        (_, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        x0, h = image(x, t), (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        slope = 0.0 if before is None or sigma_s == 0 else h / (2 * before[1])
        d = x0 if before is None else x0 + (x0 - before[0]) * slope
        share = -math.expm1(-2 * h)
        x, before = x * (sigma_s / sigma_t * math.exp(-h)) + d * (alpha_s * share), (x0, h)
        if sigma_s > 0:
            x = x + noise(n) * (sigma_s * math.sqrt(share))
    return x


def reverse_diffusion(x: Tensor, x0: Tensor, sigma_t: float, sigma_s: float, noise: Tensor | None) -> Tensor:
    """Predict x + (sigma_t^2 - sigma_s^2) score + sqrt(sigma_t^2 - sigma_s^2) n (Song et al. 2021, "Score-SDE", algorithm 2)."""
    step = sigma_t**2 - sigma_s**2
    x = x + score_from_x0(x, x0, (1.0, sigma_t)) * step
    return x if noise is None else x + noise * math.sqrt(step)


def ve_ancestral(x: Tensor, x0: Tensor, sigma_t: float, sigma_s: float, noise: Tensor | None) -> Tensor:
    """The same mean, with the posterior's variance sigma_s^2 (sigma_t^2 - sigma_s^2) / sigma_t^2 (Score-SDE, eq. 47)."""
    x = reverse_diffusion(x, x0, sigma_t, sigma_s, None)
    return x if noise is None else x + noise * (sigma_s / sigma_t * math.sqrt(sigma_t**2 - sigma_s**2))


@dataclass(frozen=True)
class Langevin:
    """Corrector: x + e score + sqrt(2 e) n (Score-SDE, algorithm 4).

    Attributes:
        snr: signal-to-noise ratio of a correction.
        repeats: corrections at each time.
        measured: e = 2 (snr |n| / |score|)^2 as published, with norms of each entry of axis 0. These belong to the crop, so tiles
            do not agree about them. Otherwise e = 2 (snr sigma)^2, what they come to where noise prevails: the same in any tile.
    """

    snr: float = 0.16
    repeats: int = 1
    measured: bool = True

    def correct(self, x: Tensor, x0: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """One correction at one sigma."""
        score = score_from_x0(x, x0, (1.0, sigma))
        if not self.measured:
            return x + score * (2 * (self.snr * sigma) ** 2) + noise * (2 * self.snr * sigma)
        ratio = _norms(noise) / _norms(score) * self.snr
        return x + score * (ratio**2 * 2) + noise * (ratio * 2)

    def settle(self, denoise: Denoise, x: Tensor, t: float, sigma: float, noise: Noise, numbers: Iterator[int]) -> Tensor:
        """All corrections at one time, each with a new prediction and the noise of the next number."""
        for _ in range(self.repeats):
            x = self.correct(x, denoise(x, t), sigma, noise(next(numbers)))
        return x


def predictor_corrector(
    denoise: Denoise,
    start: Tensor,
    schedule: Schedule,
    times: Sequence[float],
    noise: Noise,
    *,
    clamp: Clamp | None = None,
    predictor: Predictor = reverse_diffusion,
    corrector: Langevin = Langevin(),
    corrector_first: bool = True,
    noisy_end: bool = False,
) -> Tensor:
    """Go on to the next sigma and let Langevin dynamics settle there, or the other way round (Score-SDE, algorithm 2).

    Args:
        denoise: see ``Sampler``, as for ``start``, ``times``, ``noise``, which gives each use a number of its own, and ``clamp``.
        start: of the largest sigma.
        schedule: one that leaves the signal as it is (alpha = 1).
        times: from ``ve_times``.
        noise: of a number.
        clamp: of the predicted images.
        predictor: ``reverse_diffusion`` or ``ve_ancestral``.
        corrector: with its own step size.
        corrector_first: correct at t and then go to s, as the code of Song et al.; else go and then correct at s, as their
            algorithm and that of SRMRI. Nothing is corrected where no noise is left.
        noisy_end: whether the last prediction gets noise, as it does in SRMRI's code.

    Raises:
        UsageError: a schedule that shrinks the signal, or times as for ``Sampler``.
    """
    image, x, numbers = _clamped(denoise, clamp), start, count(START + 1)
    for _, t, s in _steps(times):
        sigma_t, sigma_s = _sigma(schedule, t), _sigma(schedule, s)
        if corrector_first:
            x = corrector.settle(image, x, t, sigma_t, noise, numbers)
        last = s == times[-1] and not noisy_end
        x = predictor(x, image(x, t), sigma_t, sigma_s, None if last else noise(next(numbers)))
        if not corrector_first and sigma_s > 0:
            x = corrector.settle(image, x, s, sigma_s, noise, numbers)
    return x


SAMPLERS: dict[str, Sampler] = {
    "ancestral": ancestral,
    "renoise": renoise,
    "ddim": ddim,
    "plms": plms,
    "dpm-solver++": dpm_solver,
    "sde-dpm-solver++": sde_dpm_solver,
    "predictor-corrector": predictor_corrector,
}


def _steps(times: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """Number from 1, time and next time of each step."""
    check_times(times)
    for n, (t, s) in enumerate(pairwise(times), START + 1):
        yield n, t, s


def _clamped(denoise: Denoise, clamp: Clamp | None) -> Denoise:
    return denoise if clamp is None else lambda x, t: clamp(denoise(x, t))


def _share(schedule: Schedule, t: float, s: float) -> float:
    """The share c = 1 - exp(l_t - l_s), without loss where the two are near."""
    return -math.expm1(schedule.log_snr(t) - schedule.log_snr(s))


def _weighted(history: Sequence[Tensor]) -> Tensor:
    """Adams-Bashforth's combination, newest first."""
    newest, *older = (eps * weight for eps, weight in zip(history, ADAMS_BASHFORTH[len(history)], strict=True))
    return sum(older, newest)


def _move(x: Tensor, eps: Tensor, here: Level, there: Level) -> Tensor:
    """The deterministic step of DDIM along ``eps``."""
    return x0_from_eps(x, eps, here) * there[0] + eps * there[1]


def _sigma(schedule: Schedule, t: float) -> float:
    alpha, sigma = schedule.alpha_sigma(t)
    if alpha != 1:
        raise UsageError("schedule-unfit", "a schedule of geometric sigmas", f"alpha {alpha} at {t}", "use Geometric")
    return sigma


def _norms(values: Tensor) -> Tensor:
    """Euclidean norm of each entry of axis 0, in a shape that multiplies."""
    return values.square().sum(dim=tuple(range(1, values.ndim)), keepdim=True).sqrt()
