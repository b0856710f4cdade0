"""DDIM without noise as a function that keeps gradients: from the noise z_T to the code z_0 (InverseSR, eq. 2).

The levels are those of the authors' code: timesteps 991, 969, ..., 23, 1 and then 0: 46 steps, the paper's T = 46 and the
code's 45; the last step ends at the noise of timestep 0, not at a clean code. A network that predicts sqrt(1 - abar) z, the best
one where codes are standard normal, multiplies z in a step by sqrt(a a') + sqrt((1 - a)(1 - a')), and in all of them by 0.9611.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from core.diffusion.predictions import x0_from_eps
from core.diffusion.schedules import Schedule, check_times, ddim_times
from core.errors import UsageError

Epsilon = Callable[[Tensor, int, Tensor], Tensor]  # z_t, its timestep and the conditions to the noise in z_t

COUNTED = 45  # as the authors' code counts its steps
STEPS = 46


def times_of(last: int = STEPS) -> list[float]:
    """Timesteps of the last ``last`` of the 46 steps, falling, one more than there are steps.

    Raises:
        UsageError: not 1 to 46.
    """
    if not 1 <= last <= STEPS:
        raise UsageError("chain-length", f"1 to {STEPS} steps of the chain", str(last), "correct it")
    return ddim_times(COUNTED)[-last - 1 :]


def chain(
    epsilon: Epsilon, z: Tensor, conditions: Tensor, schedule: Schedule, times: Sequence[float], *, recompute: bool = False
) -> Tensor:
    """The code at the end of the chain.

    Args:
        epsilon: the network.
        z: the code at ``times[0]``, (1, channels, x, y, z).
        conditions: (1, how many).
        schedule: alpha and sigma of a timestep.
        times: falling timesteps; see ``times_of``.
        recompute: keep for the gradient of each step its input alone, and make the rest of it anew: less memory, more time.

    Raises:
        UsageError: times that do not fall.
    """
    check_times(times)
    return _walk(epsilon, z, conditions, schedule, times, recompute=recompute)


def unchain(epsilon: Epsilon, z: Tensor, conditions: Tensor, schedule: Schedule, times: Sequence[float]) -> Tensor:
    """DDIM inversion: the z_T from which the chain comes near to a code (Song et al. 2021, section 4.3).

    Args:
        epsilon: the network.
        z: the code at ``times[-1]``.
        conditions: (1, how many).
        schedule: alpha and sigma of a timestep.
        times: falling, as for ``chain``.
    """
    check_times(times)
    return _walk(epsilon, z, conditions, schedule, list(reversed(times)), recompute=False)


def _walk(
    epsilon: Epsilon, z: Tensor, conditions: Tensor, schedule: Schedule, times: Sequence[float], *, recompute: bool
) -> Tensor:
    for t, s in pairwise(times):
        step = partial(_step, epsilon, schedule, t, s)
        z = checkpoint(step, z, conditions, use_reentrant=False) if recompute else step(z, conditions)
    return z


def _step(epsilon: Epsilon, schedule: Schedule, t: float, s: float, z: Tensor, conditions: Tensor) -> Tensor:
    """The predicted code at the level of ``s``, with the predicted noise."""
    eps = epsilon(z, int(t), conditions)
    alpha, sigma = schedule.alpha_sigma(s)
    return x0_from_eps(z, eps, schedule.alpha_sigma(t)) * alpha + eps * sigma
