"""How much signal and how much noise there is at a time, x_t = alpha x0 + sigma n, and the times at which samplers stop.

Four schedules: cosine log-SNR for continuous time in [0, 1]; linear and scaled-linear tables for whole timesteps; geometric
standard deviations that leave the signal as it is ("variance exploding"). All numbers are float64 in Python, whatever the
images are. A grid of times is an explicit list, in falling order, the last one the time of the result: n steps are n + 1
times. Counts by which papers name their grids are no counts of steps ("45" walks 46), so no sampler computes a grid itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

Level = tuple[float, float]  # alpha and sigma

CLEAN = -1.0  # the time of a table at which no noise is left
CLEAN_VE = -math.inf  # likewise of geometric sigmas


class Schedule(Protocol):
    """What samplers ask of a schedule."""

    @property
    def prior_sd(self) -> float:
        """Standard deviation of the noise from which sampling starts."""
        ...

    def log_snr(self, t: float) -> float:
        """log(alpha^2 / sigma^2) at ``t``; infinite where no noise is left."""
        ...

    def alpha_sigma(self, t: float) -> Level:
        """Factors of the image and of the noise at ``t``."""
        ...


@dataclass(frozen=True)
class Cosine:
    """Cosine log-SNR over continuous time (Nichol & Dhariwal 2021 as Kim et al. 2023 have it); 0 is all but clean, 1 is noise.

    Attributes:
        offset: of the time, so that the first steps are not too small.
        floor: least noise-to-signal ratio.
        lowest: least log-SNR. At t = 1 the formula gives minus infinity, and rounding makes of it -34 in float32 or -75 in
            float64: numbers that no network saw in training. At -20 the signal's share, 4.5e-5, is as good as none.
    """

    offset: float = 0.008
    floor: float = 1e-5
    lowest: float = -20.0

    @property
    def prior_sd(self) -> float:
        """Standard deviation of the noise from which sampling starts: 1."""
        return 1.0

    def log_snr(self, t: float) -> float:
        """-log(cos((t + offset) / (1 + offset) * pi / 2)^-2 - 1), kept within ``lowest`` and -log(``floor``).

        Raises:
            UsageError: a time outside [0, 1].
        """
        if not 0 <= t <= 1:
            raise UsageError("time-outside", "a time from 0 to 1", str(t), "make the times by continuous_times")
        angle = (t + self.offset) / (1 + self.offset) * math.pi / 2
        return max(self.lowest, -math.log(max(self.floor, math.tan(angle) ** 2)))

    def alpha_sigma(self, t: float) -> Level:
        """sqrt(sigmoid(l)) and sqrt(sigmoid(-l)) of the log-SNR l."""
        log_snr = self.log_snr(t)
        return 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))


@dataclass(frozen=True, eq=False)
class Discrete:
    """A table over whole timesteps 0 to n - 1 (Ho et al. 2020); time -1 is the clean image.

    Attributes:
        alphas_cumprod: (n,) float64, falling within (0, 1): the "alpha_t" of DDIM, squares of our alphas.
    """

    alphas_cumprod: NDArray[np.float64]

    @classmethod
    def linear(cls, steps: int, first: float, last: float) -> Discrete:
        """Variances that rise evenly from ``first`` to ``last`` (DDPM: 1e-4 to 0.02)."""
        return cls.from_betas(np.linspace(first, last, steps))

    @classmethod
    def scaled_linear(cls, steps: int, first: float, last: float) -> Discrete:
        """Standard deviations that rise evenly; latent-diffusion code calls this one "linear".

        The brain prior of InverseSR has 1000 steps from 0.0015 to 0.0205, latent super-resolution from 0.0015 to 0.0155.
        """
        return cls.from_betas(np.linspace(math.sqrt(first), math.sqrt(last), steps) ** 2)

    @classmethod
    def from_betas(cls, betas: NDArray[np.float64]) -> Discrete:
        """From the variances of the single steps.

        Raises:
            UsageError: no betas, or some outside (0, 1).
        """
        if betas.ndim != 1 or not betas.size or not ((betas > 0) & (betas < 1)).all():
            raise UsageError("betas-invalid", "a row of numbers between 0 and 1", str(betas), "correct the schedule's ends")
        return cls(np.cumprod(1 - betas, dtype=np.float64))

    @property
    def prior_sd(self) -> float:
        """Standard deviation of the noise from which sampling starts: 1, though a little signal is left at the last step."""
        return 1.0

    def log_snr(self, t: float) -> float:
        """log(a / (1 - a)) with a the cumulated product; infinite at -1."""
        signal = self._kept(t)
        return math.inf if signal == 1 else math.log(signal) - math.log1p(-signal)

    def alpha_sigma(self, t: float) -> Level:
        """sqrt(a) and sqrt(1 - a); 1 and 0 at -1."""
        signal = self._kept(t)
        return math.sqrt(signal), math.sqrt(1 - signal)

    def _kept(self, t: float) -> float:
        steps = len(self.alphas_cumprod)
        if not CLEAN <= t < steps or t != math.floor(t):
            raise UsageError("time-outside", f"a whole timestep from -1 to {steps - 1}", str(t), "make the times by ddim_times")
        return 1.0 if t == CLEAN else float(self.alphas_cumprod[int(t)])


@dataclass(frozen=True)
class Geometric:
    """Standard deviations first * (last / first)^t beside an untouched signal (Song et al. 2021, VE-SDE); -inf is clean.

    Attributes:
        first: sigma at t = 0, above 0.
        last: sigma at t = 1.
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        """Refuse sigmas that do not rise."""
        if not 0 < self.first < self.last:
            raise UsageError("sigmas-invalid", "0 < first < last", f"{self.first}, {self.last}", "swap or correct them")

    @property
    def prior_sd(self) -> float:
        """Standard deviation of the noise from which sampling starts: the largest sigma."""
        return self.last

    def log_snr(self, t: float) -> float:
        """-2 log(sigma); infinite at -inf."""
        return -2 * (math.log(self.first) + t * math.log(self.last / self.first))

    def alpha_sigma(self, t: float) -> Level:
        """1 and sigma.

        Raises:
            UsageError: a time outside [0, 1] that is not -inf.
        """
        if not (0 <= t <= 1 or t == CLEAN_VE):
            raise UsageError("time-outside", "a time from 0 to 1, or -inf", str(t), "make the times by ve_times")
        return 1.0, self.first * (self.last / self.first) ** t


def continuous_times(steps: int) -> list[float]:
    """``steps`` even steps from 1 to 0: 20 of them are the 21 times of Kim et al. 2023 1, 0.95, ..., 0."""
    _at_least_one(steps)
    return [n / steps for n in range(steps, -1, -1)]


def ddim_times(steps: int, table: int = 1000) -> list[float]:
    """The timesteps of latent-diffusion's DDIM and PLMS samplers: stride * k + 1 for all k that fit, then 0.

    The stride is ``table // steps`` and the offset 1. Where ``steps`` does not divide the table there are more steps than
    asked for: 45 makes the 46 steps 991, 969, ..., 23, 1 of InverseSR, and 150 makes 167. The end is timestep 0, which keeps
    its bit of noise, not the clean image.

    Args:
        steps: as the papers count.
        table: length of the schedule.

    Returns:
        falling timesteps, one more than there are steps.

    Raises:
        UsageError: a count whose offset grid leaves the table (333 and 1000 of 1000), or is not from 1 to ``table``.
    """
    if not _fits(steps, table):
        fewer = next((count for count in range(min(steps, table), 0, -1) if _fits(count, table)), 1)
        wanted, got = f"steps whose stride + 1 stays within {table} timesteps", f"{steps} steps"
        raise UsageError("ddim-grid", wanted, got, f"ask for {fewer}")
    return [float(t) for t in (*reversed(range(1, table + 1, table // steps)), 0)]


def _fits(steps: int, table: int) -> bool:
    """Whether the offset grid of so many steps ends before the table does."""
    return 1 <= steps <= table and (table - 1) % (table // steps) > 0


def ve_times(steps: int, last: float = 0.0) -> list[float]:
    """``steps`` even times from 1 to ``last``, then the clean image: sigmas in geometric order, then 0.

    The code of Song et al. feeds its network times that end at 1e-5 and steps along the sigmas of times that end at 0; the two
    differ by ``last * log(sigma_last / sigma_first)``, 1e-4 of a sigma, and here are one.
    """
    _at_least_one(steps)
    return [1 - (1 - last) * n / max(1, steps - 1) for n in range(steps)] + [CLEAN_VE]


def check_times(times: Sequence[float]) -> None:
    """Refuse times that do not fall, or fewer than two.

    Raises:
        UsageError: says where they rise.
    """
    if len(times) < 2:
        raise UsageError("times-invalid", "at least two times, start and end", str([*times]), "use a grid of this module")
    for t, s in pairwise(times):
        if not s < t:
            raise UsageError("times-invalid", "times that fall", f"{t} and then {s}", "sort them from noise to image")


def _at_least_one(steps: int) -> None:
    if steps < 1:
        raise UsageError("steps-invalid", "at least 1 step", str(steps), "ask for more steps")
