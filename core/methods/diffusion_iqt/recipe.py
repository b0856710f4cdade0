"""How DiffusionIQT is trained: it tells the truth from the truth under noise; the rows of the paper's table 2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from core.diffusion.schedules import Cosine
from core.methods.diffusion_iqt.cross_batch import x0_of
from core.methods.diffusion_iqt.presets import sizes
from core.training.batch import Batch
from core.training.objectives.base import Objective
from core.training.objectives.denoising import Denoising
from core.training.recipe import Context, Recipe, Stage, write_network

SCHEDULE = Cosine()


def expected(network: nn.Module, noisy: Tensor, batch: Batch, times: Sequence[float]) -> Tensor:
    """What the network takes for the truth; continuous time t ~ U(0, 1), one for all patches of a block."""
    log_snr = torch.tensor([SCHEDULE.log_snr(t) for t in times]).to(noisy)
    return x0_of(network, noisy, batch.inputs, log_snr)


def _denoising(network: nn.Module, _: Context) -> Objective:
    return Denoising(network, expected, SCHEDULE)


def _row(name: str, *, deep_feature: bool, cross_batch: bool) -> Recipe:
    presets = sizes(deep_feature=deep_feature, cross_batch=cross_batch)
    return Recipe(name, "diffusion-iqt", presets, [Stage(_denoising)], partial(write_network, residual=False))


FULL = _row("diffusion-iqt", deep_feature=True, cross_batch=True)
DEEP = _row("diffusion-iqt-deep", deep_feature=True, cross_batch=False)
BASE = _row("diffusion-iqt-base", deep_feature=False, cross_batch=False)
