"""How DiffusionIQT is trained: it tells the truth from the truth under noise; the rows of the paper's table 2.

As in the paper and its code, scan and truth are z-scores by figures of the training's own data, the same for both, so that noise
of standard deviation 1 is as strong as the image, and what is predicted is never darker than the background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from core.diffusion.schedules import Cosine
from core.methods.diffusion_iqt.cross_batch import x0_of
from core.methods.diffusion_iqt.presets import sizes
from core.models.scaling import Scaling
from core.training.batch import Batch
from core.training.objectives.base import Objective
from core.training.objectives.denoising import Denoising
from core.training.recipe import Context, Recipe, Stage, Trained, write_network

SCHEDULE = Cosine()
LOOKED_AT = 64  # examples, by which mean and standard deviation are told
MEAN, SD = 0.24, 0.31  # of brains within their box, where the 99.9th percentile is 1; of trainings that measured none
UNITS = Scaling(low=-MEAN / SD, high=(1 - MEAN) / SD)
LEAST = 1e-3  # of a standard deviation


def z_scores(examples: Dataset[Batch]) -> dict[str, float]:
    """Ends of the units in which the truths that are learned from have mean 0 and standard deviation 1.

    Args:
        examples: whose first are looked at, in units of the scans' 99.9th percentile.
    """
    truths = torch.stack([examples[n].truth for n in range(min(LOOKED_AT, len(examples)))]).double()  # type: ignore[arg-type]
    mean, sd = float(truths.mean()), max(LEAST, float(truths.std()))
    return {"low": -mean / sd, "high": (1 - mean) / sd}


class ZScores(Denoising):
    """``Denoising`` that works in z-scores; figures and what it restores are in the examples' units.

    Args:
        network: that learns.
        units: in which it does.
    """

    def __init__(self, network: nn.Module, units: Scaling = UNITS) -> None:
        super().__init__(network, self._expected, SCHEDULE)
        self.sd = 1 / (units.high - units.low)
        self.mean, self.low = -units.low * self.sd, units.low

    def _expected(self, network: nn.Module, noisy: Tensor, batch: Batch, times: Sequence[float]) -> Tensor:
        """What the network takes for the truth, in z-scores; continuous time t ~ U(0, 1), one for all patches of a block."""
        log_snr = torch.tensor([SCHEDULE.log_snr(t) for t in times]).to(noisy)
        return x0_of(network, noisy, batch.inputs, log_snr).clamp_min(self.low)

    def scored(self, batch: Batch) -> Batch:
        """Examples as z-scores."""
        inputs, truth = ((image - self.mean) / self.sd for image in (batch.inputs, batch.truth))
        return Batch(inputs, truth, batch.conditions)

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
        """See ``Denoising.loss``."""
        return super().loss(module, self.scored(batch), draw, step)

    def score(self, network: nn.Module, batch: Batch, restored: Tensor) -> Tensor:
        """See ``Denoising.score``."""
        return super().score(network, self.scored(batch), restored) - 20 * math.log10(self.sd)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """See ``Denoising.restore``."""
        return super().restore(network, self.scored(batch)) * self.sd + self.mean


def _denoising(network: nn.Module, context: Context) -> Objective:
    return ZScores(network, _units(context.measured))


def _units(measured: Mapping[str, float]) -> Scaling:
    return Scaling(**measured) if measured else UNITS


def _write(folder: str, trained: Trained) -> None:
    (measured,) = trained.measured.values() or ({},)
    write_network(folder, trained, residual=False, scaling=_units(measured))


def _row(name: str, *, deep_feature: bool, cross_batch: bool) -> Recipe:
    presets = sizes(deep_feature=deep_feature, cross_batch=cross_batch)
    return Recipe(name, "diffusion-iqt", presets, [Stage(_denoising, measures=z_scores)], _write)


FULL = _row("diffusion-iqt", deep_feature=True, cross_batch=True)
DEEP = _row("diffusion-iqt-deep", deep_feature=True, cross_batch=False)
BASE = _row("diffusion-iqt-base", deep_feature=False, cross_batch=False)
